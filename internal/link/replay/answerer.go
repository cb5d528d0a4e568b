package replay

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"obdgate/internal/crash"
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

// Answerer plays the vehicle of a recording to a tester on a bus: what was recorded as the answer to a question comes as
// long after it as it did then, and the rest of a long answer when the tester lets it come (ISO 15765-2 flow control). It
// is a machine stepped with time passed in: no clock, no goroutine, no I/O. It is safe for concurrent use.
type Answerer struct {
	mu     sync.Mutex
	match  matcher
	speed  float64
	stats  Stats
	trains []*train
}

// train is what one ECU still has to say, in order.
type train struct {
	from    address
	frames  []frame.Frame
	ref     time.Duration // recorded time that start stands for
	start   time.Duration
	notYet  time.Duration // separation time: not before
	gap     time.Duration
	block   int // frames until the next flow control, 0 = none needed
	left    int
	waiting bool // for flow control, until giveUp
	giveUp  time.Duration
}

// flowTimeout is N_Bs of ISO 15765-2: how long an ECU waits for flow control.
const flowTimeout = time.Second

// NewAnswerer reads a recording of any format from r; uri names it in errors. Answers come speed times as fast as they
// were recorded, 0 = at once. ctx ends the reading.
func NewAnswerer(ctx context.Context, uri string, r io.Reader, speed float64) (*Answerer, error) {
	rec, stats, err := load(ctx, uri, r)
	if err != nil {
		return nil, err
	}
	return &Answerer{match: matcher{rec: rec}, speed: speed, stats: stats}, nil
}

// Stats tells what the recording holds and what it lacked so far.
func (a *Answerer) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats
}

// Handle takes a frame that was heard at now. Frames that are no question of a tester are nothing to it.
func (a *Answerer) Handle(f *frame.Frame, now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.Flags&(frame.Error|frame.Remote) != 0 {
		return
	}
	if isFlowControl(f) {
		a.flow(f, now)
		return
	}
	d := a.match.take(f)
	if d == nil {
		if fromTester(f, false) {
			a.stats.Unrecorded++
		}
		return
	}
	fresh := map[address]*train{}
	for _, x := range d.answers {
		at := addressOf(&x)
		t := fresh[at]
		if t == nil {
			t = &train{from: at, ref: d.request.Time, start: now}
			fresh[at] = t
			a.replace(t)
		}
		t.frames = append(t.frames, x)
	}
}

// replace: an ECU that is asked anew says no more to the question before.
func (a *Answerer) replace(t *train) {
	for i, o := range a.trains {
		if o.from == t.from {
			a.trains[i] = t
			return
		}
	}
	a.trains = append(a.trains, t)
}

// flow lets the rest of a long answer come, or ends it.
func (a *Answerer) flow(f *frame.Frame, now time.Duration) {
	i := pci(f)
	for _, t := range a.trains {
		if !t.waiting || !a.controls(f, t.from) {
			continue
		}
		switch isotp.Status(f.Data[i] & 0xF) {
		case isotp.Continue:
			t.waiting = false
			if i+2 < int(f.Len) {
				t.block, t.gap = int(f.Data[i+1]), separation(f.Data[i+2])
			}
			t.left = t.block
			t.start, t.notYet = now, now
		case isotp.Wait:
			t.giveUp = now + flowTimeout
		default:
			t.dropMessage()
		}
	}
}

// controls reports whether f is flow control for the ECU that speaks on from.
func (a *Answerer) controls(f *frame.Frame, from address) bool {
	if f.ID == 0x6F1 && !f.Is(frame.Extended) {
		return !from.extended && from.id == 0x600|uint32(f.Data[0])
	}
	if to, ok := a.match.rec.flow[from]; ok {
		return to == addressOf(f)
	}
	pair, ok := isotp.OBDResponder(from.id, from.extended)
	return ok && pair.Tx == f.ID
}

// controlled reports whether an ECU waits for flow control: every one that a tester of the recording gave it to, and those
// of ISO 15765-4.
func (a *Answerer) controlled(from address) bool {
	if _, ok := a.match.rec.flow[from]; ok {
		return true
	}
	_, ok := isotp.OBDResponder(from.id, from.extended)
	return ok
}

// separation is STmin (ISO 15765-2): milliseconds, or F1 to F9 for 100 to 900 microseconds; what is reserved is the longest.
func separation(b byte) time.Duration {
	switch {
	case b <= 0x7F:
		return time.Duration(b) * time.Millisecond
	case b >= 0xF1 && b <= 0xF9:
		return time.Duration(b-0xF0) * 100 * time.Microsecond
	}
	return 0x7F * time.Millisecond
}

// dropMessage leaves out the rest of a message that the tester does not let come.
func (t *train) dropMessage() {
	t.waiting = false
	for len(t.frames) > 0 && isConsecutive(&t.frames[0]) {
		t.frames = t.frames[1:]
	}
}

func isConsecutive(f *frame.Frame) bool {
	i := pci(f)
	return i >= 0 && f.Data[i]>>4 == 2
}

// due is when the train's next frame goes out.
func (a *Answerer) due(t *train) time.Duration {
	if t.waiting {
		return t.giveUp
	}
	at := t.start
	if gap := t.frames[0].Time - t.ref; gap > 0 && a.speed > 0 {
		at += time.Duration(float64(gap) / a.speed)
	}
	return max(at, t.notYet)
}

// Due returns when Next has to be called, false when there is nothing to say.
func (a *Answerer) Due() (time.Duration, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.first()
	if t == nil {
		return 0, false
	}
	return a.due(t), true
}

// first is the train that is due first.
func (a *Answerer) first() (best *train) {
	for _, t := range a.trains {
		if len(t.frames) > 0 && (best == nil || a.due(t) < a.due(best)) {
			best = t
		}
	}
	return best
}

// Next returns the next frame that is due at now.
func (a *Answerer) Next(now time.Duration) (frame.Frame, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		t := a.first()
		if t == nil || a.due(t) > now {
			return frame.Frame{}, false
		}
		if t.waiting {
			t.dropMessage()
			continue
		}
		f := t.frames[0]
		t.frames = t.frames[1:]
		more := len(t.frames) > 0 && isConsecutive(&t.frames[0])
		switch i := pci(&f); {
		case i < 0 || !more || !a.controlled(t.from):
		case f.Data[i]>>4 == 1:
			t.waiting, t.giveUp, t.ref = true, now+flowTimeout, f.Time
		case f.Data[i]>>4 == 2:
			t.notYet = now + t.gap
			if t.left--; t.left == 0 && t.block > 0 {
				t.waiting, t.giveUp, t.ref = true, now+flowTimeout, f.Time
			}
		}
		f.Seq, f.Time, f.Dir, f.Bus = 0, 0, frame.Unknown, 0
		return f, true
	}
}

// Serve answers on l in real time until ctx ends (then it returns nil) or the link breaks. It does not close the link. A
// frame the link cannot carry is lost.
func (a *Answerer) Serve(ctx context.Context, l link.Link) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := time.Now()
	wake := make(chan struct{}, 1)
	var net crash.Net
	var wg sync.WaitGroup
	defer net.Raise()
	defer wg.Wait()
	defer cancel(nil)
	wg.Go(func() {
		defer cancel(nil)
		defer net.Catch()
		for {
			f, err := l.Recv(ctx)
			switch {
			case err == nil:
				a.Handle(&f, time.Since(begin))
			case broken(err):
				cancel(err)
				return
			case ctx.Err() != nil:
				return
			}
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for f, ok := a.Next(time.Since(begin)); ok; f, ok = a.Next(time.Since(begin)) {
			if err := l.Send(ctx, f); broken(err) {
				return err
			}
		}
		wait := time.Hour
		if due, ok := a.Due(); ok {
			wait = max(due-time.Since(begin), 0)
		}
		timer.Reset(wait)
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
			if cause := context.Cause(ctx); broken(cause) {
				return cause
			}
			return nil
		}
	}
}

// broken reports whether a link cannot go on. A link that speaks only when spoken to is no bus.
func broken(err error) bool {
	return errors.Is(err, link.ErrClosed) || errors.Is(err, link.ErrGone) || errors.Is(err, link.ErrQuiet)
}
