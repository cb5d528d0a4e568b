// Package monitor listens to a bus, tags every frame and writes it down as it comes. It only listens: it is handed
// something that frames can be received from, and nothing to send with.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"obdgate/dbc"
	"obdgate/internal/crash"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/policy"
)

// Feed is where frames come from: a link.Link, or a recording, whose end is io.EOF.
type Feed interface {
	Recv(ctx context.Context) (frame.Frame, error)
}

// BatchFeed is a Feed that can hand over many frames at a time; socketcan.Link is one. A batch has a frame at least, unless
// there is an error.
type BatchFeed interface {
	Feed
	RecvBatch(ctx context.Context, into []frame.Frame) (int, error)
}

// Several are feeds of several buses, watched together: frames come in the order they are received, each with its bus's
// number (frame.Frame.Bus). At most 256. When one ends the others go on; the watch ends with the last.
type Several []Feed

// Recv is never called: Run receives from each by itself.
func (Several) Recv(context.Context) (frame.Frame, error) { return frame.Frame{}, io.EOF }

// Options of one watch. Policy must be set.
type Options struct {
	Policy *policy.Policy
	DBC    *dbc.Database // broadcast messages, nil = none known
	Makers policy.Makers // whose vehicle it is, a VIN on the bus tells; zero: the standard's conversations only
	Only   policy.Class  // Technical or Personal: frames of that tag only; Unclassified = all
	Mask   bool          // zeros in place of what is not technical
	Decode bool          // the values of broadcast signals under each frame
	JSON   bool          // a JSON object per line
	Silent bool          // count only
	Count  uint64        // end after so many frames written, 0 = none
	// Live: the bus does not wait. What comes faster than it is written is counted as dropped, once 131,072 frames wait.
	Live bool
	// Bus names a frame's bus (frame.Frame.Bus); nil = "can0", "can1", …
	Bus func(uint8) string
	// Every calls Report at that interval, also when nothing comes; 0 = never.
	Every  time.Duration
	Report func(*Counts)
	// Ended is told, from another goroutine, when one of several buses is heard no more and why; nil = nobody listens.
	Ended func(bus int, err error)
}

// ErrNotABus: the feed speaks only when it is asked, so there is nothing to listen to.
var ErrNotABus = errors.New("monitor: nothing comes without asking")

// Run writes frames to out until the feed or ctx ends, or Count is reached. It returns what was counted in any case. The
// end of ctx is the normal end and no error.
func Run(ctx context.Context, feed Feed, out io.Writer, o Options) (*Counts, error) {
	receiving, stop := context.WithCancel(ctx)
	defer stop()
	w := newWatch(out, o)
	feeds := Several{feed}
	if s, ok := feed.(Several); ok {
		feeds = s
	}
	q := newQueue(!o.Live, len(feeds))
	var listening sync.WaitGroup
	var net crash.Net
	for bus, feed := range feeds {
		listening.Go(func() {
			defer net.Catch()
			if err := q.receive(receiving, feed, bus); err != nil && receiving.Err() == nil && o.Ended != nil {
				o.Ended(bus, err)
			}
		})
	}
	err := w.run(ctx, q)
	stop()
	q.abandon()
	listening.Wait()
	net.Raise()
	w.counts.Dropped, w.counts.Faults = q.counters()
	if errors.Is(err, errEnough) {
		err = nil
	}
	return &w.counts, err
}

// errEnough ends a watch that has written Count frames.
var errEnough = errors.New("enough")

// watch is the writing side: one goroutine.
type watch struct {
	Options
	out    io.Writer
	tagger *policy.Tagger
	text   *text
	emit   func(*frame.Frame, policy.FrameTag)
	buf    []byte
	err    error
	counts Counts
	last   time.Duration // time of the last frame, on the feed's clock
	lastAt time.Time     // and on ours
}

// Sizes of the writer's buffer in bytes: when it is written out, and what it can hold without growing.
const (
	flushAt = 32 << 10
	roomFor = 40 << 10
)

// idle is how often messages that never end, and what is written, are looked after when little comes.
const idle = 50 * time.Millisecond

func newWatch(out io.Writer, o Options) *watch {
	w := &watch{Options: o, out: out, tagger: policy.NewTagger(o.Policy, o.DBC, policy.WithMakers(o.Makers)), buf: make([]byte, 0, roomFor)}
	w.text = newText(o)
	w.emit = w.take
	w.counts.ids = make(map[uint64]*ID, 256)
	w.counts.Categories = make(map[policy.Category]*Category, 24)
	return w
}

func (w *watch) run(ctx context.Context, q *queue) error {
	tick := time.NewTicker(idle)
	defer tick.Stop()
	begin := time.Now()
	next := begin.Add(w.Every)
	var batch []frame.Frame
	for {
		var end error
		batch, end = q.take(batch[:0])
		for i := range batch {
			w.tagger.Push(&batch[i], w.emit)
			if w.err != nil {
				return w.finish(w.err)
			}
		}
		if len(batch) > 0 {
			w.last, w.lastAt = batch[len(batch)-1].Time, time.Now()
			if w.Every == 0 {
				continue
			}
		}
		if w.Every > 0 && !time.Now().Before(next) {
			next = next.Add(w.Every)
			w.counts.Dropped, w.counts.Faults = q.counters()
			w.counts.Elapsed = time.Since(begin)
			w.flush()
			w.Report(&w.counts)
		}
		if len(batch) > 0 {
			continue
		}
		if w.flush(); w.err != nil {
			return w.finish(w.err)
		}
		if end != nil {
			w.counts.Elapsed = time.Since(begin)
			return w.finish(ending(ctx, end))
		}
		select {
		case <-q.wake:
		case now := <-tick.C:
			if w.Live && !w.lastAt.IsZero() {
				w.tagger.Expire(w.last+now.Sub(w.lastAt), w.emit)
			}
		}
	}
}

// finish writes out what is still held. Counts go on, but not beyond Count frames.
func (w *watch) finish(err error) error {
	if w.err == nil {
		w.tagger.Flush(w.emit)
	}
	if w.err == errEnough && err == nil {
		err = errEnough
	}
	was := w.err
	w.flush()
	if was == nil && w.err != nil && err == nil {
		err = w.err
	}
	return err
}

// ending turns the feed's last word into Run's.
func ending(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, io.EOF), ctx.Err() != nil:
		return nil
	case errors.Is(err, link.ErrQuiet):
		return ErrNotABus
	}
	return err
}

// take is the tagger's emit.
func (w *watch) take(f *frame.Frame, tag policy.FrameTag) {
	if w.err == errEnough {
		return
	}
	w.counts.add(f, tag)
	if w.Only != policy.Unclassified && (w.Only == policy.Technical) != (tag.Class == policy.Technical) {
		return
	}
	w.counts.Shown++
	if !w.Silent {
		if w.Mask {
			tag.Mask(f) // f is the batch's or the tagger's, and nobody looks at it again
		}
		w.buf = w.text.append(w.buf, f, tag)
		if len(w.buf) >= flushAt {
			w.flush()
		}
	}
	if w.Count > 0 && w.counts.Shown == w.Count && w.err == nil {
		w.err = errEnough
	}
}

func (w *watch) flush() {
	if len(w.buf) == 0 {
		return
	}
	if w.err == nil || w.err == errEnough {
		if _, err := w.out.Write(w.buf); err != nil {
			w.err = fmt.Errorf("monitor: %w", err)
		}
	}
	w.buf = w.buf[:0]
}
