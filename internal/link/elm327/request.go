package elm327

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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

	task func() error // in place of a frame: something else the worker does with the adapter

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
	if _, err := request(&j.frame, ext, 0, false, false); err != nil {
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
		case worst == nil, errors.Is(err, link.ErrGarbled), errors.Is(err, link.ErrUnsupported) && !errors.Is(worst, link.ErrGarbled):
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
	if err := l.a.exec(nil, "ATDPN", limits{quiet: atLimit, total: atLimit}); err != nil && !errors.Is(err, errTimeout) {
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

// silent says what a search that found nothing means to a technician. What was lost between adapter and computer on one of
// the protocols says nothing about the vehicle, and stays what it is.
func (l *Link) silent(err error) error {
	var se *statusError
	switch {
	case errors.Is(err, link.ErrUnsupported), errors.Is(err, link.ErrGarbled):
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

// attempts of one request: the first, and one repetition after damage. Another is allowed where only a way of asking was
// refused.
const attempts = 2

// prepare brings the adapter to what a request needs. What it refuses on the way is gone round.
//
// That the adapter makes the PCI, as it does by default, is left to the first question to show where that is 01 00: sent raw
// it is no question at all, and drawing no answer it is put again behind the command. Of another question an order might be
// left: 01 04 without PCI is one to clear the fault memory.
func (l *Link) prepare(j *job, p protocol, first, in bool) (settings, error) {
	h := j.hint
	switch {
	case first && l.proto == noProtocol && p.kind() != legacy:
		h.Wait = paceLeast // a second try waits longer
	case first && l.proto != noProtocol:
		h.Wait = l.pace.wait(h.Wait)
	}
	for range 4 {
		had := l.a.can
		w := want(&j.frame, h, p, had, l.a.have, l.ecus, in)
		if first && l.proto == noProtocol && asksSupport(&j.frame) {
			w.caf = l.a.have.caf
		}
		if err := l.a.ready(w); err != nil {
			return w, err
		}
		if l.a.can == had {
			return w, nil
		}
	}
	return l.a.have, nil
}

// asksSupport: f is the question 01 00.
func asksSupport(f *frame.Frame) bool {
	b := f.Bytes()
	return len(b) > 2 && b[0] == 2 && b[1] == 0x01 && b[2] == 0x00
}

// givesSupport: somebody has answered that.
func givesSupport(frames []frame.Frame) bool {
	return slices.ContainsFunc(frames, func(f frame.Frame) bool {
		b := f.Bytes()
		return len(b) > 2 && b[0] == 6 && b[1] == 0x41 && b[2] == 0x00
	})
}

// count is how many lines, or with STPX answers, a request draws; 0 = the adapter's timer decides. An ECU that has asked
// for patience is waited for: its "pending" would count.
func (l *Link) count(j *job, in bool) int {
	switch {
	case l.proto == noProtocol, j.hint.Wait > time.Second:
		return 0
	case in && !l.a.can.framesPX:
		return j.hint.Answers
	case !in && l.a.can.noDigit:
		return 0
	}
	return j.hint.Frames
}

// ask puts the request on protocol p and returns the frames heard. The error says what was wrong with the last attempt;
// good frames come with it.
func (l *Link) ask(j *job, p protocol) ([]frame.Frame, error) {
	a := l.a
	ext := j.hint.Ext != nil
	o := outcome{bad: errRestarts}
	odd := "" // the reply before, where it had lines of unusual length
	longer := false
	strange := false
	puzzled := false // the adapter did not understand the question, which has no count
	more := 4        // tries that only change the way of asking
	tries := attempts
	faults := 0 // replies that did not end, or tell of a fault: no damage on the way, so not more often than attempts
	heard := l.remembered(j)
	if l.lossy() {
		tries = noisyAttempts
	}
	for try := 0; try < tries && faults < attempts; try++ {
		if j.stopped() {
			return nil, errStopped
		}
		in := l.inLine(j, p)
		w, err := l.prepare(j, p, !longer, in)
		if err != nil {
			return nil, err
		}
		expect := l.count(j, in)
		if strange {
			expect = 0
		}
		text, err := request(&j.frame, ext, expect, in, !a.can.noDigit)
		if err != nil {
			return nil, err
		}
		if err := a.guard(a.deaf || !in && !harmless(text) || turned(digitsOf(text))); err != nil {
			return nil, err
		}
		a.discard()
		if a.lost {
			continue
		}
		j.acknowledge(nil)
		err = a.question(j.stop, text, l.patience(p, w), l.follow(j), graceFor(expect, text))
		x := expectation{kind: kindOf(&j.frame), ext: ext, sums: a.sums, dlc: a.can.dlc == dlcOn, seen: &l.seen, accept: accepted(&j.frame, j.hint)}
		if errors.Is(err, errTimeout) && !a.rep.track.complete() {
			o = judge(&a.rep, x, l.frames)
			heard.hurt = heard.hurt || damaged(o.bad)
			o = outcome{bad: errNoPrompt}
			faults++
			if a.rep.any {
				continue
			}
			if err := a.resync(); err != nil { // nothing at all: is the adapter still there?
				return nil, err
			}
			continue
		}
		if err != nil && !errors.Is(err, errTimeout) {
			return nil, err
		}
		o = judge(&a.rep, x, l.frames)
		if len(o.odd) > 0 && try > 0 && a.rep.payload() == odd {
			l.seen.believe(o.odd)
			o = judge(&a.rep, x, o.frames)
		}
		if a.rep.cutOff && a.rep.track.between() {
			o.status.remove(Stopped) // it was us
		}
		if o.bad != nil && a.can.dlc < dlcOn && !l.lossy() && p.kind() != legacy && dlcSeen(&a.rep, bitsOf(p)) {
			if a.can.dlc++; a.can.dlc == dlcAsked {
				if _, err := a.at("ATD0"); err != nil {
					return nil, err
				}
			}
			try--
			continue
		}
		a.noisy = a.noisy || a.rep.blurred()
		l.frames = o.frames
		l.weigh(&o, &heard, ext)
		if l.lossy() {
			tries = noisyAttempts
		}
		a.deaf = a.deaf || puzzled && !o.status.has(NotUnderstood) && len(o.frames) > 0
		a.fatal = a.fatal || o.status.has(CANFatal)
		a.can.noWide = a.can.noWide || o.alien && w.mask == diagnostic
		switch {
		case heard.unsteady():
			return o.frames, o.err()
		case len(o.odd) > 0:
			odd = a.rep.payload()
		case o.status.reset():
			a.lost = true
			faults++
			continue
		case o.status.has(NotUnderstood) && !in && len(text)%2 == 1:
			a.can.noDigit = true
			try-- // once only: the next request has no digit
			continue
		case o.status.has(NotUnderstood) && in && try > 0:
			a.can.noPX = true
			try, faults = -1, 0 // it was the way of asking: the question has not been put yet
			continue
		case o.status.has(NotUnderstood):
			o.bad = errRefused
			puzzled = !in
			heard.hurt = heard.hurt || !in // if it understands the next time
			faults++
			continue
		case o.clean() && more > 0 && expect > 0 && o.alien && !everybody(&o, in, expect):
			strange = true // a line that nobody asked for was counted
			more--
			try--
			continue
		case o.clean() && more > 0 && l.otherWay(&o, &w, in, expect):
			more--
			try--
			continue
		case o.clean() && len(o.frames) == 0 && l.proto == noProtocol && p.kind() != legacy && try == 0:
			longer = true // once more: what is missed here makes a car look like another
			continue
		case o.clean() && len(o.frames) == 0 && l.proto == noProtocol && p.kind() == legacy && try == 0 && !o.status.has(NoData):
			continue // the search found a bus, and no answer was waited for: the adapter heard another question
		case o.clean() && len(o.frames) == 0 && !longer && !j.hint.Quick && w.st > 0 && w.st < stFor(j.hint.Wait) && l.known(j):
			longer = true // an ECU that has answered before may be slow this once; nobody else asks again
			try--
			continue
		case o.clean():
			if len(o.frames) > 0 {
				l.pace.learn(a)
			}
			if p.kind() == legacy && len(o.frames) > 0 && a.sums == sumUnknown {
				a.sums = sumPrinted
			}
			a.have.caf = a.have.caf || asksSupport(&j.frame) && givesSupport(o.frames)
			l.seen.learn(o.frames, ext)
			l.keepEarly(j, &o, ext)
			l.last = j.frame.ID
			l.meet(o.frames)
			return o.frames, l.flowError(&o, &w)
		case errors.Is(o.bad, errNoChecksum) && try == 0:
			a.sums = l.sameTwice(j, p, w)
		case o.bad != nil && !l.lossy() && l.proto == noProtocol && p.kind() != legacy && !a.can.resetsOSP:
			a.can.resetsOSP, a.have.format = true, false // the new protocol may have cost the format
		case o.status.any(CANError, BusError, BusBusy, FeedbackError, BusInitError, UnableToConnect, Internal):
			if l.proto == noProtocol && !o.status.any(UnableToConnect, BusInitError) || max(faults, try) >= attempts-1 {
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
		if o.status.worst() != NoStatus {
			faults++
		}
		// Not by us: this may be the end of the question before, and ours still runs; the next would break it off in turn.
		a.dirty = a.dirty || o.status.has(Stopped)
	}
	return o.frames, o.err()
}

// follow makes the tracker of a request's answers.
func (l *Link) follow(j *job) tracker {
	if j.frame.Is(frame.Legacy) {
		return tracker{}
	}
	bits, want := 11, j.hint.Answers
	if j.frame.Is(frame.Extended) {
		bits = 29
	}
	if l.proto == noProtocol {
		want = 0
	}
	return tracker{want: want, bits: bits, dlc: l.a.can.dlc == dlcOn, ext: j.hint.Ext != nil, one: len(j.hint.Accept) == 1, take: accepted(&j.frame, j.hint)}
}

// bitsOf is how long the identifiers of a CAN protocol are.
func bitsOf(p protocol) int {
	if p.kind() == can29 {
		return 29
	}
	return 11
}

// everybody: as many lines, or with STPX answers, have come as were counted on.
func everybody(o *outcome, in bool, expect int) bool {
	if !in {
		return len(o.frames) >= expect
	}
	var ids []uint32
	for i := range o.frames {
		if id := o.frames[i].ID; !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return len(ids) >= expect && !o.short
}

// graceFor is how long an adapter may take to end a question that was written so. One that was given a higher count than expect
// does not end it by itself.
func graceFor(expect int, text string) time.Duration {
	if expect > 0 && (strings.HasPrefix(text, "STPX") || text[len(text)-1] == byte('0'+expect)) {
		return countGrace
	}
	return 0
}

// otherWay looks at what a good reply says about how this adapter works, and reports whether the request should be put
// another way: OK to a command proves nothing, only its effect does.
func (l *Link) otherWay(o *outcome, w *settings, in bool, expect int) bool {
	a := l.a
	switch {
	case in && expect > 0 && o.short && !a.can.framesPX && a.rep.end-a.rep.last < countGrace:
		a.can.framesPX = true // it stopped in the middle of an answer
	case !o.flow, a.rep.waited: // after a "pending" it is the adapter's window that was too short
		return false
	case w.pairs != [maxPairs]pair{} && w.ext == 0 && w.proto.kind() == can11 && o.stuck&0x7F8 == 0x7E8 && !slices.Contains(l.ecus, o.stuck):
		l.ecus = append(l.ecus, o.stuck) // it has no pair yet
	case w.pairs != [maxPairs]pair{} && w.ext > 0 && a.can.extPair < pairByAT:
		a.can.extPair++
		a.have.pairs = unknownPairs
	case w.flow != 0 && !a.can.flowFull && !a.can.noFlow:
		a.can.flowFull = true
		a.have.flow, a.have.flowHeader, a.have.flowData = unknownFlow, 0, 0
	default:
		return false
	}
	return true
}

// known reports whether the one ECU asked has answered before, or several were asked.
func (l *Link) known(j *job) bool {
	return len(j.hint.Accept) != 1 || slices.Contains(l.ecus, j.hint.Accept[0]) || l.seen.heard[j.hint.Accept[0]]
}

// meet remembers the ECUs of ISO 15765-4 that have answered.
func (l *Link) meet(frames []frame.Frame) {
	for i := range frames {
		if f := &frames[i]; f.Flags == 0 && f.ID&0x7F8 == 0x7E8 && !slices.Contains(l.ecus, f.ID) {
			l.ecus = append(l.ecus, f.ID)
		}
	}
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
		return limits{5 * time.Second, searchLimit, 5 * time.Second}
	case p.kind() == legacy:
		return limits{own + legacySlack, totalLimit, own}
	}
	return limits{own + answerSlack, totalLimit, own}
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
