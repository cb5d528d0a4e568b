package elm327

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"obdgate/internal/link"
)

// Waiting times. They bound every call: the longest a request may take is stated beside Link.
const (
	atLimit      = 900 * time.Millisecond // any AT command: 10..75 ms on every link known
	answerSlack  = 700 * time.Millisecond // beyond the adapter's own timeout, for slow radio links
	legacySlack  = 1500 * time.Millisecond
	searchQuiet  = 12 * time.Second // longest pause while a search or slow initialisation runs
	pendingQuiet = 5500 * time.Millisecond
	totalLimit   = 20 * time.Second // one reply, whatever keeps coming
	searchLimit  = 30 * time.Second
	breakLimit   = 400 * time.Millisecond // from a character sent while busy to the prompt
	markLimit    = 600 * time.Millisecond // ATI, to find the place in the stream again
	warmLimit    = 1500 * time.Millisecond
	coldLimit    = 2500 * time.Millisecond
)

var (
	// errTimeout: the prompt did not come in time.
	errTimeout = errors.New("no prompt in time")
	// errStopped: the caller does not want the answer any more.
	errStopped = errors.New("stopped")
	// errTooSlow: the time for a whole request is over.
	errTooSlow = fmt.Errorf("%w: the adapter does not come to an end", link.ErrGarbled)
	// errMute: the adapter says nothing at all any more.
	errMute = fmt.Errorf("%w: it has stopped answering", link.ErrGone)
)

// adapter is the conversation with one ELM327: one command, one reply, never a byte sent before the prompt unless to
// break off. It belongs to one goroutine.
type adapter struct {
	pump  *pump
	start time.Time
	rep   reply
	heard bool // it has said something, ever
	dirty bool // a reply may still come that nobody waits for
	typed bool // it takes one character at a time
	echo  bool // its echo is on, and commands are compared with it, see echo.go
	lost  bool // the adapter's settings are not known: it was reset, or a plan broke off
	noisy bool // the line loses characters, see noise.go
	deaf  bool // some of them on the way to the adapter, see echo.go
	idle  Splitter
	stop  <-chan struct{} // ends the waiting of at, nil = nothing does
	until time.Duration   // no command is begun after this, 0 = no bound
	out   []byte
	timer *time.Timer

	baud   int    // rate of the port, 0 = none
	banner string // ATI
	stn    string // STI, "" where there is none
	can    adapterCan
	fatal  bool          // ERR94: the controller may look for buses only after AT FE
	trip   time.Duration // shortest round trip of a command, 0 = unknown
	tail   time.Duration // how long the adapter goes on waiting when everybody has answered, 0 = unknown
	tails  int           // how often that was measured
	passed int           // characters, both ways, of finished commands
	uncut  int           // how often a character did not end its wait
	asked  time.Duration // when the last command went out
	grace  time.Duration // from the last answer to ending the wait; negative = it is not ended
	over   time.Duration // when the last of those who began in time has been heard, 0 = that is left to the adapter
	have   settings
	sums   checksums

	// Nearly every adapter prints an empty line before its prompt and nowhere else. Where this one has been seen to, a prompt
	// that is missing behind it was lost.
	blankEnd, blankMid bool
}

// limits of one command: quiet is the longest pause before and between lines, total the whole.
type limits struct {
	quiet, total time.Duration
	own          time.Duration // of quiet, the adapter's own wait; the rest is for the way
}

func newAdapter(p port, start time.Time) *adapter {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &adapter{pump: newPump(p), start: start, timer: t, have: settings{proto: noProtocol}}
}

func (a *adapter) now() time.Duration { return time.Since(a.start) }

// exec sends one command and gathers its reply in a.rep. stop, where not nil, breaks it off when closed. The error is
// errTimeout, errStopped, or wraps link.ErrGone; after the first two the next exec first finds the prompt again.
func (a *adapter) exec(stop <-chan struct{}, cmd string, lim limits) error {
	if a.dirty {
		if err := a.resync(); err != nil {
			return err
		}
	}
	return a.talk(stop, cmd, lim)
}

// ready brings the adapter to the settings w, whatever happened before.
func (a *adapter) ready(w settings) error {
	for try := 0; ; try++ {
		if a.dirty {
			if err := a.resync(); err != nil {
				return err
			}
		}
		if a.lost {
			a.forget()
			a.lost = false
			if err := a.defaults(a.stop); err != nil {
				a.lost = true
				return err
			}
			if a.fatal { // from 1.3a on; without it the controller looks for no bus until it loses power
				a.fatal = false
				if _, err := a.at("ATFE"); err != nil {
					return err
				}
			}
		}
		err := a.apply(w)
		if err == nil && a.dirty {
			err = a.resync()
		}
		if err == nil && !a.lost {
			return nil
		}
		if errors.Is(err, link.ErrUnsupported) || errors.Is(err, link.ErrGone) || try == 1 {
			if err == nil {
				err = &statusError{LowVoltageReset}
			}
			return err
		}
	}
}

func (a *adapter) talk(stop <-chan struct{}, cmd string, lim limits) error {
	return a.question(stop, cmd, lim, tracker{}, 0)
}

// countGrace is how long after the last answer a prompt may take where the adapter was told how many to expect.
const countGrace = 50 * time.Millisecond

// question is talk for a request whose answers t follows; when all are there the adapter's wait is ended after grace, if
// that is worth a character and its round trip.
func (a *adapter) question(stop <-chan struct{}, cmd string, lim limits, t tracker, grace time.Duration) error {
	if a.until > 0 {
		left := a.until - a.now()
		if left <= 0 {
			return errTooSlow
		}
		lim.total = min(lim.total, left)
	}
	a.discard()
	a.rep.begin(cmd)
	a.rep.track = t
	a.grace, a.over = -1, 0
	cuts := !a.can.noCut && a.trip > 0 && (a.tails > 0 || !a.remote())
	if t.want > 0 && cuts && (a.tails == 0 || a.tail > a.trip*3/2+4*time.Millisecond) {
		a.grace = grace
	}
	began := a.now()
	a.asked = began
	if a.echo {
		if err := a.spell(stop, cmd); err != nil {
			a.dirty = a.dirty || errors.Is(err, errTimeout) || errors.Is(err, errStopped)
			return err
		}
	} else if err := a.write(cmd + "\r"); err != nil {
		return err
	}
	if cuts && t.bits > 0 && lim.own > 0 {
		a.over = a.now() + lim.own + a.way(len(cmd)+frameText)
	}
	err := a.listen(stop, lim)
	if err == nil && !strings.HasPrefix(cmd, "ATZ") && !strings.HasPrefix(cmd, "ATWS") && !a.echo {
		a.blankMid = a.blankMid || a.rep.split.mid
		a.blankEnd = a.blankEnd || a.rep.blank()
	}
	a.passed += len(cmd) + len(a.rep.text) + len(a.rep.ends) + 3 // carriage returns, an empty line, the prompt
	switch {
	case errors.Is(err, errTimeout):
		if a.rep.cutOff {
			a.uncut++
			a.can.noCut = a.can.noCut || a.uncut > 2
		}
		a.dirty = true
	case errors.Is(err, errStopped):
		a.dirty = true
	case err == nil && t.want > 0 && !a.rep.cutOff && grace == 0 && a.rep.track.complete():
		a.tails++
		a.tail += (a.now() - a.rep.last - a.tail) / time.Duration(min(a.tails, 4))
	case err == nil && t.want == 0 && a.rep.status.has(OK):
		if d := a.now() - began; a.trip == 0 || d < a.trip {
			a.trip = max(d, time.Microsecond)
		}
	}
	return err
}

func (a *adapter) write(s string) error {
	a.out = append(a.out[:0], s...)
	for out := a.out; len(out) > 0; {
		n := len(out)
		if a.typed {
			n = 1
			time.Sleep(typing)
		}
		if _, err := a.pump.port.Write(out[:n]); err != nil {
			return fmt.Errorf("%w: %w", link.ErrGone, withoutPath(err))
		}
		out = out[n:]
	}
	return nil
}

// typing is the pause before each character to an adapter that loses those which come before it has echoed the last.
const typing = 5 * time.Millisecond

// discard throws away what came since the last prompt.
func (a *adapter) discard() {
	for {
		select {
		case b, ok := <-a.pump.rx:
			if !ok {
				return
			}
			a.unasked(b)
		default:
			return
		}
	}
}

// unasked takes what the adapter says while nothing was asked: nothing of it answers anything, but a reset is noticed.
func (a *adapter) unasked(b []byte) {
	for len(b) > 0 {
		var e Event
		if b, e = a.idle.Next(b); e != LineEnd {
			continue
		}
		line, _ := a.idle.Line()
		if s, _ := Classify(line); s != NoStatus && statuses[s].reset {
			a.lost = true
		}
	}
}

// listen feeds a.rep until its prompt.
func (a *adapter) listen(stop <-chan struct{}, lim limits) error {
	end := a.now() + lim.total
	next := a.now() + lim.quiet
	for {
		due := min(end, next)
		enough := a.enough()
		if enough > 0 {
			due = min(due, enough)
		}
		a.timer.Reset(max(0, due-a.now()))
		select {
		case b, ok := <-a.pump.rx:
			if !ok {
				return a.pump.lost()
			}
			a.heard = true
			if a.rep.feed(b, a.now()) {
				a.timer.Stop()
				return nil
			}
			quiet := lim.quiet
			if a.rep.long {
				quiet = max(quiet, searchQuiet)
			}
			if a.rep.later {
				quiet = max(quiet, pendingQuiet)
			}
			if a.rep.track.want == 0 && a.rep.status.any(OK, NotUnderstood) {
				quiet = min(quiet, a.breakWait()) // all is said: what is missing is the prompt
			}
			if a.allSaid() {
				own, way := lim.own, 2*a.trip+promptSlack
				if a.rep.track.complete() {
					own = 0 // nobody is left to be waited for
				}
				if a.trip == 0 {
					way = huntLimit
				}
				quiet = min(quiet, own+way)
			}
			next = a.now() + quiet
		case <-a.timer.C:
			if a.allSaid() && a.now() >= next {
				a.rep.end = a.now()
				return nil // one that comes after all answers nothing, see reply.feed
			}
			if enough == 0 || a.now() < enough {
				return errTimeout
			}
			// A space: busy, the adapter stops and swallows it; idle, it is no part of the next command.
			a.rep.cutOff = true
			if err := a.write(" "); err != nil {
				return err
			}
			next = a.now() + a.breakWait()
		case <-stop:
			a.timer.Stop()
			return errStopped
		}
	}
}

// promptSlack is what a prompt may come later than the empty line before it.
const promptSlack = 30 * time.Millisecond

// allSaid: the empty line before the prompt has come, from an adapter that has shown what it means.
func (a *adapter) allSaid() bool {
	return a.blankEnd && !a.blankMid && !a.noisy && !a.rep.later && a.rep.blank()
}

// breakWait is how long a prompt may take where the adapter has nothing else to say: a few round trips, as long as is known
// what one takes.
func (a *adapter) breakWait() time.Duration {
	if a.trip == 0 {
		return breakLimit
	}
	return min(breakLimit, 4*a.trip+100*time.Millisecond)
}

// resync finds the idle prompt again after a reply that did not end: a character breaks off what runs, then ATI must
// answer with the name this adapter has, and everything before that is an old reply. Nothing that comes late can be
// taken for the answer to a later command. Where that is no use it resets the adapter. It takes 3.5 s at most.
func (a *adapter) resync() error {
	heard, err := a.prompt()
	if err != nil || !a.dirty {
		return err
	}
	if !heard {
		return errMute
	}
	a.lost = true
	if err := a.talk(a.stop, "ATWS", limits{quiet: warmLimit, total: warmLimit}); err != nil && !errors.Is(err, errTimeout) {
		return err
	}
	ok, err := a.mark(&heard)
	if err != nil {
		return err
	}
	if !ok {
		return errMute
	}
	a.dirty = false
	return nil
}

// prompt is resync without the reset: dirty says whether the prompt was found, heard whether anything came. It takes 1.4 s at
// most.
func (a *adapter) prompt() (heard bool, err error) {
	a.dirty = true
	a.discard()
	a.rep.begin("")
	if err := a.write(" "); err != nil {
		return false, err
	}
	err = a.listen(a.stop, limits{quiet: a.breakWait(), total: 2 * breakLimit})
	if err != nil && !errors.Is(err, errTimeout) {
		return false, err
	}
	heard = a.rep.any
	ok, err := a.mark(&heard)
	a.dirty = !ok
	return heard, err
}

// mark sends ATI and throws replies away until its own.
func (a *adapter) mark(heard *bool) (bool, error) {
	end := a.now() + markLimit
	a.rep.begin("ATI")
	if err := a.write("ATI\r"); err != nil {
		return false, err
	}
	for {
		left := end - a.now()
		if left <= 0 {
			return false, nil
		}
		err := a.listen(a.stop, limits{quiet: left, total: left})
		*heard = *heard || a.rep.any
		a.lost = a.lost || a.rep.status.has(LowVoltageReset)
		switch {
		case err != nil && !errors.Is(err, errTimeout):
			return false, err
		case a.isBanner(a.rep.first()):
			return true, nil // with its prompt lost, too: one that comes after all answers nothing, see reply.feed
		case err != nil:
			return false, nil
		}
		a.rep.begin("ATI")
	}
}

func (a *adapter) isBanner(line string) bool {
	if a.banner != "" {
		return near(line, a.banner)
	}
	return looksLikeBanner(line)
}

func looksLikeBanner(line string) bool {
	return strings.Contains(line, "ELM") || strings.Contains(line, "OBD") || strings.Contains(line, "STN")
}

// forget: the adapter has gone back to its defaults.
func (a *adapter) forget() {
	a.have = settings{proto: noProtocol}
	a.echo = false
}

// at runs an AT command and returns its status set. One that is not understood is repeated once, since noise also makes
// a "?". An OK whose prompt is lost is an OK; the next command finds the prompt first. A reply that is no reply to an AT
// command (a line of data) means that we are out of step.
func (a *adapter) at(cmd string) (statusSet, error) {
	puzzled := false
	for try := 0; ; try++ {
		err := a.exec(a.stop, cmd, limits{quiet: atLimit, total: 2 * atLimit})
		if err != nil && !errors.Is(err, errTimeout) {
			return 0, err
		}
		a.lost = a.lost || a.rep.status.reset()
		a.fatal = a.fatal || a.rep.status.has(CANFatal)
		a.noisy = a.noisy || err == nil && (a.rep.blurred() || puzzled && a.rep.status.has(OK))
		a.deaf = a.deaf || err == nil && puzzled && a.rep.status.has(OK)
		puzzled = a.rep.status.has(NotUnderstood)
		switch {
		case err != nil && a.rep.status.has(OK) && !a.rep.status.reset():
			return a.rep.status, nil
		case try > 0 && err != nil:
			return 0, fmt.Errorf("%w: %s is not answered in time", link.ErrGarbled, cmd)
		case try > 0 && !a.rep.status.any(OK, NotUnderstood) && a.outOfStep(): // "ATCEA18" without its T is a question to the vehicle
			a.dirty = true
			return 0, fmt.Errorf("%w: %s is answered with something else", link.ErrGarbled, cmd)
		case try > 0:
			return a.rep.status, nil
		case errors.Is(err, errTimeout), a.rep.status.has(NotUnderstood):
		case a.rep.status.has(OK), len(a.rep.ends) > 0 && a.rep.first() != "" && !a.outOfStep():
			return a.rep.status, nil
		default:
			a.dirty = true
		}
	}
}

// outOfStep: every line is hex, which no answer to the AT commands used here is.
func (a *adapter) outOfStep() bool {
	all := true
	a.rep.lines(func(line []byte, _ time.Duration) {
		if s, data := Classify(line); s != NoStatus || data == nil {
			all = false
		}
	})
	return all
}

// apply runs a plan and keeps a.have in step with it. When it breaks off, the settings are not known any more.
func (a *adapter) apply(w settings) error {
	if a.have == w {
		return nil
	}
	err := a.run(w)
	a.lost = a.lost || err != nil
	return err
}

func (a *adapter) run(w settings) error {
	had, before := a.can, a.have
	for _, c := range plan(a.have, w, a.can) {
		st, err := a.at(c.text)
		if err != nil {
			return err
		}
		if !st.has(NotUnderstood) {
			continue
		}
		if c.refused != nil {
			c.refused(&a.can)
		}
		switch {
		case strings.HasPrefix(c.text, "ATTP"):
			if st, err = a.at("ATSP" + c.text[4:]); err != nil {
				return err
			}
			if st.has(NotUnderstood) {
				return refusal(c.text)
			}
		case c.must:
			return refusal(c.text)
		}
	}
	a.have = w
	if a.can.noPair != had.noPair {
		a.have.pairs = [maxPairs]pair{}
	}
	if a.can.noAuto != had.noAuto {
		a.have.pattern, a.have.mask = before.pattern, before.mask
	}
	if a.can.noFilter != had.noFilter || a.can.noMask != had.noMask {
		a.have.pattern, a.have.mask = 0, 0
	}
	return nil
}

func refusal(cmd string) error {
	return fmt.Errorf("%w: it refuses %s", link.ErrUnsupported, cmd)
}
