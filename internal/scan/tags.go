package scan

import (
	"io"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
	"obdgate/internal/policy"
	"obdgate/internal/visit"
)

// tags follows every frame of a scan: counts it by its tag and writes the masked recording.
type tags struct {
	tagger *policy.Tagger
	record io.Writer
	counts visit.Frames
	line   []byte
	err    error
	emit   func(*frame.Frame, policy.FrameTag)
}

func newTags(o Options) *tags {
	t := &tags{tagger: policy.NewTagger(o.Policy, o.DBC), record: o.Record}
	t.emit = t.take
	return t
}

// frame is diag's tap.
func (t *tags) frame(f frame.Frame) { t.tagger.Push(&f, t.emit) }

func (t *tags) take(f *frame.Frame, tag policy.FrameTag) {
	t.counts.Total++
	if tag.Class == policy.Technical {
		t.counts.Technical++
	} else {
		t.counts.Personal++
	}
	if t.record == nil || t.err != nil {
		return
	}
	masked := *f
	masked.Time = masked.Time.Truncate(time.Microsecond) // what every reader of candump logs understands
	tag.Mask(&masked)
	t.line = canlog.Append(t.line[:0], &masked, "can0")
	t.line = append(t.line, '\n')
	_, t.err = t.record.Write(t.line)
}

// close ends the stream: frames whose message never ended are personal.
func (t *tags) close() (visit.Frames, error) {
	t.tagger.Flush(t.emit)
	return t.counts, t.err
}
