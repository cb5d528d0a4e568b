package elm327

import (
	"errors"
	"fmt"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// job is one Send: a frame, its hint, and how far it has come.
type job struct {
	frame frame.Frame
	hint  link.Hint
	stop  chan struct{} // closed when nobody wants the answer any more
	ack   chan error    // gets nil when the request has been sent, or why it cannot be

	acked bool // of the worker
}

func (j *job) stopped() bool {
	select {
	case <-j.stop:
		return true
	default:
		return false
	}
}

// acknowledge answers Send, once; it reports whether err has reached it.
func (j *job) acknowledge(err error) bool {
	if j.acked {
		return false
	}
	j.acked = true
	j.ack <- err
	return true
}

// serve carries a job out: on the open protocol, or on each that could be the vehicle's. It returns the frames heard
// and what Recv has to say behind them.
func (l *Link) serve(j *job) ([]frame.Frame, error) {
	ext := j.hint.Ext != nil
	if isFlowControl(&j.frame, ext) {
		return nil, nil
	}
	if _, err := request(&j.frame, ext, 0); err != nil {
		return nil, err
	}
	k := kindOf(&j.frame)
	l.a.until = l.a.now() + totalLimit
	defer func() { l.a.until = 0 }()
	if k == legacy && l.proto == noProtocol {
		l.a.until += searchLimit - totalLimit
	}
	if l.proto != noProtocol && l.proto.kind() == k {
		frames, err := l.ask(j, l.proto)
		if errors.Is(err, link.ErrNoVehicle) {
			l.setProtocol(noProtocol, false) // it may come back with another one
		}
		return frames, err
	}
	var worst error
	for _, p := range tried[k] {
		frames, err := l.ask(j, p)
		switch {
		case j.stopped(), errors.Is(err, link.ErrGone), errors.Is(err, errStopped):
			return nil, err
		case len(frames) > 0:
			if err := l.found(p, k, frames); err != nil {
				return nil, err
			}
			return frames, err
		case errors.Is(err, link.ErrUnsupported), worst == nil:
			worst = err
		}
	}
	l.setProtocol(noProtocol, false)
	return nil, l.silent(worst)
}

// found settles the protocol that a vehicle answered on. What the adapter's own search found is asked for, and believed
// only where the answer has the shape that belongs to it.
func (l *Link) found(p protocol, k kind, frames []frame.Frame) error {
	if p != autoProtocol {
		l.setProtocol(p, k == legacy)
		return nil
	}
	// Not by at: "A5" looks like data.
	if err := l.a.exec(nil, "ATDPN", limits{atLimit, atLimit}); err != nil && !errors.Is(err, errTimeout) {
		return err
	}
	said := l.a.rep.first()
	n := protocol(0)
	if len(said) > 0 {
		n = protocol(said[len(said)-1] - '0')
	}
	shape := protocol(3)
	switch first := frames[0].ID; {
	case first>>16&0x80 != 0:
		shape = 5
	case first>>16 == 0x41:
		shape = 1
	}
	if n >= 1 && n <= 5 && (n == shape || shape == 3 && n == 2 || shape == 5 && n == 4) {
		shape = n
	}
	l.a.have.proto = autoProtocol
	l.setProtocol(autoProtocol, true)
	l.setName(shape.String())
	return nil
}

// silent says what a search that found nothing means to a technician.
func (l *Link) silent(err error) error {
	var se *statusError
	switch {
	case errors.Is(err, link.ErrUnsupported), errors.Is(err, errTooSlow):
		return err
	case errors.As(err, &se) && (se.status == BusError || se.status == FeedbackError || se.status == CANFatal || se.status == BusBusy):
		return err
	}
	v := l.a.volts()
	if v == "" {
		return fmt.Errorf("%w: %w", errNobody, link.ErrNoVehicle)
	}
	return fmt.Errorf("%w; the adapter measures %s V: %w", errNobody, v, link.ErrNoVehicle)
}

var errNobody = errors.New("no protocol of this kind is answered")

// attempts of one request: the first, and one repetition after damage. Another is allowed where only the
// expected-responses digit was refused.
const attempts = 2

// ask puts the request on protocol p and returns the frames heard. The error says what was wrong with the last attempt;
// good frames come with it.
func (l *Link) ask(j *job, p protocol) ([]frame.Frame, error) {
	a := l.a
	ext := j.hint.Ext != nil
	o := outcome{bad: errRestarts}
	odd := "" // the reply before, where it had lines of unusual length
	for try := 0; try < attempts; try++ {
		if j.stopped() {
			return nil, errStopped
		}
		w := want(&j.frame, j.hint, p, a.can)
		if err := a.ready(w); err != nil {
			return nil, err
		}
		expect := j.hint.Frames
		if a.can.noDigit || l.proto == noProtocol {
			expect = 0
		}
		text, err := request(&j.frame, ext, expect)
		if err != nil {
			return nil, err
		}
		a.discard()
		if a.lost {
			continue
		}
		j.acknowledge(nil)
		err = a.talk(j.stop, text, l.patience(p, w))
		if errors.Is(err, errTimeout) {
			o = outcome{bad: errNoPrompt}
			if a.rep.any {
				continue
			}
			if err := a.resync(); err != nil { // nothing at all: is the adapter still there?
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		x := expectation{kind: kindOf(&j.frame), ext: ext, sums: a.sums, seen: &l.seen, accept: w.accepts()}
		o = judge(&a.rep, x, l.frames)
		if len(o.odd) > 0 && try > 0 && a.rep.payload() == odd {
			l.seen.believe(o.odd)
			o = judge(&a.rep, x, o.frames)
		}
		l.frames = o.frames
		switch {
		case len(o.odd) > 0:
			odd = a.rep.payload()
		case o.status.reset():
			a.lost = true
			continue
		case o.status.has(NotUnderstood) && len(text)%2 == 1:
			a.can.noDigit = true
			try-- // once only: the next request has no digit
			continue
		case o.status.has(NotUnderstood):
			o.bad = errRefused
			continue
		case o.clean():
			if p.kind() == legacy && len(o.frames) > 0 && a.sums == sumUnknown {
				a.sums = sumPrinted
			}
			l.seen.learn(o.frames, ext)
			return o.frames, l.flowError(&o, &w)
		case errors.Is(o.bad, errNoChecksum) && try == 0:
			a.sums = l.sameTwice(j, p, w)
		case o.status.any(CANError, BusError, BusBusy, FeedbackError, BusInitError, UnableToConnect, Internal):
			if l.proto == noProtocol || try == attempts-1 {
				return o.frames, o.err() // while searching, the next protocol is the better second try
			}
			if err := l.pause(j, 100*time.Millisecond); err != nil {
				return nil, err
			}
			if _, err := a.at("ATPC"); err != nil {
				return nil, err
			}
			a.have.proto = noProtocol // closed; the next attempt opens it again
		}
	}
	return o.frames, o.err()
}

var (
	errRestarts = fmt.Errorf("%w: the adapter restarts again and again", link.ErrGarbled)
	errNoPrompt = fmt.Errorf("%w: the answer did not end in time", link.ErrGarbled)
	errRefused  = fmt.Errorf("%w: the adapter does not understand the request", link.ErrUnsupported)
)

// sameTwice asks a second time an adapter whose lines would be whole without a checksum: the same bytes again mean that
// it prints none, anything else was damage.
func (l *Link) sameTwice(j *job, p protocol, w settings) checksums {
	before := l.a.rep.payload()
	if err := l.a.talk(j.stop, string(l.a.rep.sent), l.patience(p, w)); err != nil {
		return sumUnknown
	}
	if l.a.rep.payload() == before {
		return sumMissing
	}
	return sumUnknown
}

// patience is how long the adapter may take: its own timeout, plus the link's delays. A search takes as long as it says.
func (l *Link) patience(p protocol, w settings) limits {
	own := time.Duration(w.st) * 4096 * time.Microsecond
	if w.st == 0 {
		own = defaultST * 4096 * time.Microsecond
	}
	switch {
	case p == autoProtocol && l.proto == noProtocol:
		return limits{5 * time.Second, searchLimit}
	case p.kind() == legacy:
		return limits{own + legacySlack, totalLimit}
	}
	return limits{own + answerSlack, totalLimit}
}

// pause waits, unless nobody wants the answer any more.
func (l *Link) pause(j *job, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-j.stop:
		return errStopped
	}
}

// flowError tells of a long answer that cannot come because this adapter has no flow control for other than the
// standard ECUs.
func (l *Link) flowError(o *outcome, w *settings) error {
	if o.flow && w.flow != 0 && l.a.can.noFlow {
		return fmt.Errorf("%w: it cannot ask this ECU for the rest of a long answer (AT FC SH)", link.ErrUnsupported)
	}
	return nil
}
