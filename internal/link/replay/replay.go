// Package replay is a recorded session as the vehicle: replay:PATH, a log with the tester's frames and the car's, in any
// format that canlog/open knows. As a Link it is asked by this program, as an Answerer by a tester on a bus.
//
// It is strict: a question must have been recorded, with the same identifier and the same bytes up to padding; order
// does not matter. It draws what the vehicle said to it then. A question recorded several times draws the recorded
// answers in turn, the last ones for good. Everything else is link.ErrUnrecorded, and the link goes on.
//
// Which frames are the tester's: what the log marks as sent (T at the end of a line, candump -x), and where it marks
// nothing 7DF, 7E0 to 7E7, 18DBxxF1, 18DAxxF1, 6F1, and K-line or J1850 headers with source F1. Other testers' pairs are
// known only in a log that marks directions. Flow control is the client's own affair: the recording's is skipped, the
// client's is taken without a word.
package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/canlog/open"
	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// maxFrames bounds what a log may cost in memory (about 100 bytes a frame).
const maxFrames = 2_000_000

// Stats say how good a recording is and what was asked in vain.
type Stats struct {
	Frames     uint64         // good frames in the log
	Requests   int            // questions among them
	Damaged    int            // records that were no frame
	Faults     []canlog.Fault // the first of them
	Unrecorded int            // questions so far that the recording does not hold
}

// Link is an open recording.
type Link struct {
	uri   string
	name  string
	stats Stats // Unrecorded is guarded by mu

	mu     sync.Mutex
	match  matcher
	window []frame.Frame
	offset time.Duration // recorded time to link time, for the window
	now    time.Duration // of the last frame delivered or question taken
	closed bool
}

// Open reads the recording at uri ("replay:PATH"). A missing file is fs.ErrNotExist; a file without a question in it, or
// with no good line at all, is link.ErrNoVehicle.
func Open(ctx context.Context, uri string) (link.Link, error) {
	_, path, ok := link.Split(uri)
	if !ok || path == "" {
		return nil, &link.Error{Op: "open", URI: uri, Err: fmt.Errorf("%w: no file named", link.ErrNoAdapter),
			Hint: "give the path of a candump log, ASC, pcapng, pcap or BLF: replay:session.log"}
	}
	file, err := os.Open(path)
	if err != nil {
		hint := ""
		if errors.Is(err, fs.ErrNotExist) {
			hint = "check the path; it is looked up from the current directory"
		}
		return nil, &link.Error{Op: "open", URI: uri, Err: plain(err), Hint: hint}
	}
	defer file.Close()
	return New(ctx, uri, file)
}

// plain drops the path that os puts into its errors: the link.Error names it already.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// New reads a recording from r; uri names it in Caps and errors. ctx ends the reading.
func New(ctx context.Context, uri string, r io.Reader) (*Link, error) {
	rec, stats, err := load(ctx, uri, r)
	if err != nil {
		return nil, err
	}
	_, path, _ := link.Split(uri)
	l := &Link{uri: uri, match: matcher{rec: rec}, stats: stats}
	l.name = fmt.Sprintf("recording %s, %d frames", filepath.Base(path), rec.frames)
	if d := stats.Damaged; d > 0 {
		l.name += fmt.Sprintf(", %s left out", count(d, "damaged record"))
	}
	return l, nil
}

// load reads a recording of any format and cuts it into questions and answers.
func load(ctx context.Context, uri string, r io.Reader) (rec recording, stats Stats, err error) {
	fail := func(err error, hint string) (recording, Stats, error) {
		return recording{}, Stats{}, &link.Error{Op: "open", URI: uri, Err: err, Hint: hint}
	}
	src, _, err := open.Reader(r)
	if err != nil {
		return fail(plain(err), "")
	}
	var frames []frame.Frame
	cut := cutter{}
	for {
		var f frame.Frame
		err := src.Next(&f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fail(plain(err), "")
		}
		if len(frames)%4096 == 0 && ctx.Err() != nil {
			return fail(ctx.Err(), "")
		}
		if len(frames) == maxFrames {
			return fail(fmt.Errorf("%w: more than %d frames", link.ErrUnsupported, maxFrames), "cut the log to the session that is wanted")
		}
		cut.hinted = cut.hinted || f.Dir == frame.Sent
		frames = append(frames, f)
	}
	if len(frames) == 0 && src.Damaged() > 0 {
		return fail(fmt.Errorf("%w: %w: none of its %d records is a frame; %w", link.ErrNoVehicle, link.ErrRecording, src.Damaged(), src.Faults()[0]),
			"a candump log, ASC, pcapng, pcap or BLF is wanted; record with: candump -L can0 > session.log")
	}
	for _, f := range frames {
		cut.add(f)
	}
	rec = cut.done()
	switch {
	case len(frames) == 0:
		return fail(fmt.Errorf("%w: %w: it is empty", link.ErrNoVehicle, link.ErrRecording), "record with: candump -L can0 > session.log")
	case rec.requests == 0:
		return fail(fmt.Errorf("%w: %w: it holds %d frames but no question of a tester", link.ErrNoVehicle, link.ErrRecording, len(frames)),
			"only a log that holds a diagnostic session can play a vehicle; to see what is in this one: obdgate classify FILE")
	}
	return rec, Stats{Frames: rec.frames, Requests: rec.requests, Damaged: src.Damaged(), Faults: src.Faults()}, nil
}

// matcher finds what a question drew. It is the one place that says which recorded question a client's is.
type matcher struct {
	rec   recording
	asked map[question]int // how often
	keys  keyer
}

// take looks the question up; nil = not recorded.
func (m *matcher) take(f *frame.Frame) *draw {
	left := m.keys.left[f.ID]
	q := m.keys.question(f)
	draws := m.rec.draws[q]
	if len(draws) == 0 {
		if m.keys.left != nil {
			m.keys.left[f.ID] = left
		}
		return nil
	}
	if m.asked == nil {
		m.asked = make(map[question]int)
	}
	d := draws[min(m.asked[q], len(draws)-1)]
	m.asked[q]++
	return d
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (l *Link) fail(op string, err error, hint string) error {
	return &link.Error{Op: op, URI: l.uri, Err: err, Hint: hint}
}

// Send looks the question up. Flow control frames are taken silently. An unrecorded question is link.ErrUnrecorded; the
// error names its identifier only.
func (l *Link) Send(ctx context.Context, f frame.Frame) error {
	if err := ctx.Err(); err != nil {
		return l.fail("send", err, "")
	}
	if err := f.Validate(); err != nil {
		return l.fail("send", err, "")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.fail("send", link.ErrClosed, "")
	}
	if isFlowControl(&f) {
		return nil
	}
	l.window = nil
	d := l.match.take(&f)
	if d == nil {
		l.stats.Unrecorded++
		return l.fail("send", fmt.Errorf("%w: a request to %s", link.ErrUnrecorded, f.IDString()), "")
	}
	l.window = d.answers
	l.offset = l.now - d.request.Time
	return nil
}

// Recv yields the recorded answers to the last Send, then link.ErrQuiet. A frame's Time runs on the recording's clock:
// an answer comes as long after its question as it did then.
func (l *Link) Recv(ctx context.Context) (frame.Frame, error) {
	if err := ctx.Err(); err != nil {
		return frame.Frame{}, l.fail("receive", err, "")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return frame.Frame{}, l.fail("receive", link.ErrClosed, "")
	case len(l.window) == 0:
		return frame.Frame{}, l.fail("receive", link.ErrQuiet, "")
	}
	f := l.window[0]
	l.window = l.window[1:]
	l.now = max(l.now, f.Time+l.offset)
	f.Time, f.Seq = l.now, 0
	return f, nil
}

// Caps: answers are bound to no clock and end with link.ErrQuiet. Adapter names the file and what was damaged in it. A
// recording of K-line or J1850 alone is no adapter that looks for the header: it has the headers it has.
func (l *Link) Caps() link.Caps {
	return link.Caps{Adapter: l.name, HalfDuplex: true, Instant: true, FD: l.match.rec.fd, LegacyBus: l.match.rec.old && !l.match.rec.legacy,
		Legacy: l.match.rec.legacy, IDBits: l.match.rec.bits}
}

// Stats tells what the recording holds and what it lacked so far. It may be called at any time.
func (l *Link) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Close ends the replay.
func (l *Link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.window = nil
	return nil
}

var _ link.Link = (*Link)(nil)
