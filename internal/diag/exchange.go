package diag

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

// exchange is the state of one question.
type exchange struct {
	q      question
	req    Request
	asked  []uint64
	active []*peer
	giveUp time.Duration // end of the whole question

	caps    link.Caps
	instant bool // caps.Instant: no clock at all
	untimed bool // the link ends its windows itself: ErrQuiet
	anyID   bool // Find: answers with the other identifier length count too

	// The running round: one sending of the question and what it draws.
	only    *peer // the ECU it is repeated to, nil = everybody
	sender  isotp.Sender
	reply   isotp.Address // whose flow control the sender awaits
	virtual time.Duration // sender's clock on instant links
	sent    time.Duration // when the question was on its way
	end     time.Duration // when everybody must have begun
	garbled bool
}

func (c *Conn) request(ctx context.Context, q question, r Request, anyID bool) ([]Answer, error) {
	if err := c.calm(ctx); err != nil {
		return nil, fmt.Errorf("before the question: %w", err)
	}
	c.begin(q, r, anyID)
	defer c.timer.close()
	err := c.round(ctx, r.To, nil, r.Frames)
	if err == nil && c.ex.garbled && !c.ex.finished(r.To) {
		c.ex.garbled = false // somebody's answer may be what was damaged
		c.stats.Repeated++
		err = c.round(ctx, r.To, nil, 0)
	}
	if err == nil && c.hurried && c.futile < 2 && c.missed(r) {
		// It was asked right after its last answer, as ISO 14229-2 allows. If it hears the question after a rest, it gets one
		// from now on; if not, it has nothing to say to this one.
		c.stats.Repeated++
		if err = sleep(ctx, c.lastAsk+c.o.Gap-c.now()); err == nil {
			err = c.round(ctx, r.To, nil, r.Frames)
		}
		if c.polite = len(c.ex.active) > 0; !c.polite {
			c.futile++
		}
	}
	garbled := c.ex.garbled && !c.ex.finished(r.To)
	for err == nil {
		p, pause := c.nextRepeat()
		if p == nil {
			break
		}
		err = c.repeat(ctx, p, pause)
	}
	if err == nil && garbled {
		err = link.ErrGarbled
	}
	c.settled = err == nil && c.ex.finished(r.To)
	return c.close(err)
}

// missed reports whether the ECU asked has answered before and left this question without a word.
func (c *Conn) missed(r Request) bool {
	for _, p := range c.peers {
		if r.To.IsPhysical && p.addr == r.To.Addr {
			return len(c.ex.active) == 0
		}
	}
	return false
}

// calm lets what is left of the question before run out, keeps the distance to it, and takes what has come meanwhile: a
// refusal names its service only, so one that was in time for the question before must not be taken for the next one's.
func (c *Conn) calm(ctx context.Context) error {
	caps := c.link.Caps()
	c.leftovers = c.drain && !caps.HalfDuplex && !caps.Instant
	c.hurried = false
	if caps.HalfDuplex || caps.Instant {
		c.drain = false
		return ctx.Err()
	}
	if c.drain {
		if err := c.runOut(ctx); err != nil {
			return err
		}
		c.drain = false
	}
	if !c.asked {
		return ctx.Err()
	}
	begin := c.now()
	if next := c.lastAsk + c.o.Gap; c.o.Gap > 0 && begin < next {
		if c.hurried = c.settled && !c.polite; !c.hurried {
			begin = next
		}
	}
	return c.listen(ctx, begin)
}

// listen takes what arrives until the given moment and what has arrived by then. It belongs to the question before. A long
// answer that has begun is heard to its end, within calmMost.
func (c *Conn) listen(ctx context.Context, until time.Duration) error {
	defer c.timer.close()
	for most := until + calmMost; ; {
		f, err := c.recv(ctx, max(until, c.now()+calmLook))
		switch {
		case errors.Is(err, errWindow), errors.Is(err, link.ErrQuiet):
			return ctx.Err()
		case errors.Is(err, link.ErrGarbled):
		case err != nil:
			return err
		default:
			if err := c.handle(ctx, &f); err != nil {
				return err
			}
		}
		now := c.now()
		for _, p := range c.ex.active {
			if p.receiving() {
				until = min(most, max(until, now+calmQuiet))
			}
		}
		if now >= max(most, until) {
			return ctx.Err()
		}
	}
}

const (
	calmQuiet = 10 * time.Millisecond  // so long a silence ends the answers to a cancelled question
	calmMost  = 200 * time.Millisecond // but no longer than this
	calmLook  = 100 * time.Microsecond // so long a silence says that nothing is left to be read
)

// runOut goes on with a question that was cancelled, so that an ECU in the middle of a long answer is not left waiting.
func (c *Conn) runOut(ctx context.Context) error {
	defer c.timer.close()
	c.ex.sender.Reset()
	most := c.now() + calmMost
	for {
		f, err := c.recv(ctx, min(most, c.now()+calmQuiet))
		switch {
		case errors.Is(err, errWindow), errors.Is(err, link.ErrQuiet):
			return nil
		case errors.Is(err, link.ErrGarbled):
		case err != nil:
			return err
		default:
			if err := c.handle(ctx, &f); err != nil {
				return err
			}
		}
		if c.now() >= most {
			return nil
		}
	}
}

func (c *Conn) begin(q question, r Request, anyID bool) {
	for _, p := range c.peers {
		c.leftovers = c.leftovers || p.rx.Running()
		p.reset()
	}
	ex := &c.ex
	*ex = exchange{q: q, req: r, anyID: anyID, asked: ex.asked[:0], active: ex.active[:0],
		giveUp: c.now() + c.o.Total}
}

// close makes the answers and remembers the question as one whose answers may still come.
func (c *Conn) close(err error) ([]Answer, error) {
	ex := &c.ex
	asked := append([]uint64(nil), ex.asked...)
	var answers []Answer
	for _, p := range ex.active {
		if p.waiting && !p.answered {
			before := p.letDown
			c.noMorePatience(p)
			p.letDown = before || err == nil // not its fault if we went away
		}
		if p.receiving() {
			got, want := p.rx.Progress()
			p.lost(ErrTimeout, isotp.ErrTimeoutCr, p.running, got, want)
		}
		if a, ok := p.answer(ex.q.payload[0], asked); ok {
			answers = append(answers, a)
			c.drain = c.drain || errors.Is(a.Err, ErrTimeout) || errors.Is(a.Err, ErrSequence)
		}
	}
	c.stale = append(c.stale[:0], ex.q.payload...)
	ex.q.payload = c.stale // the caller's bytes may change from now on
	if err != nil {
		c.drain = true
		return answers, fmt.Errorf("service %02X: %w", c.stale[0], err)
	}
	return answers, nil
}

// nextRepeat finds an ECU that has to be asked again, and how long to wait before.
func (c *Conn) nextRepeat() (*peer, time.Duration) {
	if c.now() >= c.ex.giveUp {
		return nil, 0
	}
	for _, p := range c.ex.active {
		switch {
		case p.answered:
		case p.busy && p.busyCount < MaxBusy:
			p.busyCount++
			return p, busyPause
		case p.busy:
		case p.waiting && c.ex.untimed && p.resends < MaxPending && p.pending < MaxPending && c.now() < p.patience:
			// The adapter stopped listening before the ECU was ready. 100 ms, 200 ms, .. 1 s, and then it listens for as long
			// as it can again, so that 20 times are longer than any ECU has been seen to need.
			pause := min(100*time.Millisecond<<min(p.resends, 10), time.Second)
			p.resends++
			return p, pause
		case p.fail != nil && !p.retried && !errors.Is(p.fail, ErrOverlong):
			p.retried = true
			return p, 0
		}
	}
	return nil, 0
}

// repeat asks one ECU again, the others' answers are kept.
func (c *Conn) repeat(ctx context.Context, p *peer, pause time.Duration) error {
	if c.ex.instant {
		pause = 0
	}
	if err := sleep(ctx, pause); err != nil {
		return err
	}
	to := c.ex.req.To
	if !p.addr.Legacy && !to.IsPhysical {
		to = Physical(p.addr)
	}
	if c.log.Enabled(ctx, slog.LevelDebug) {
		c.log.Debug("asking again", "ecu", p.addr.ECU(), "service", c.ex.q.payload[0], "busy", p.busy, "pending", p.pending,
			"error", p.fail)
	}
	c.stats.Repeated++
	p.busy, p.drop = false, false
	p.lines = p.lines[:0]
	p.rx.Reset()
	err := c.round(ctx, to, p, 0)
	if errors.Is(err, link.ErrUnrecorded) || errors.Is(err, link.ErrUnsupported) {
		p.retried, p.resends, p.busyCount = true, MaxPending, MaxBusy // the recording has it only once
		return nil
	}
	return err
}

// round sends the question once and receives until everybody has answered, the time is over or the link is quiet.
func (c *Conn) round(ctx context.Context, to Target, only *peer, frames int) error {
	if err := c.sendAndListen(ctx, to, only, frames); err != nil {
		return err
	}
	c.join()
	return nil
}

func (c *Conn) sendAndListen(ctx context.Context, to Target, only *peer, frames int) error {
	ex := &c.ex
	ex.caps = c.link.Caps()
	ex.instant, ex.untimed, ex.only = ex.caps.Instant, ex.caps.HalfDuplex || ex.caps.Instant, only
	c.hint(to, frames)
	if err := c.send(ctx, to); err != nil {
		return err
	}
	garbled := 0
	for {
		if err := c.pump(ctx, to); err != nil {
			return err
		}
		if ex.finished(to) {
			return nil
		}
		until, more := ex.deadline(c.now())
		if !more {
			if err := c.lastLook(ctx); err != nil {
				return err
			}
			if _, more := ex.deadline(c.now()); !more {
				return nil
			}
			continue // somebody had begun
		}
		f, err := c.recv(ctx, until)
		switch {
		case err == nil:
			if err := c.handle(ctx, &f); err != nil {
				return err
			}
		case errors.Is(err, errWindow):
			c.tick()
		case errors.Is(err, link.ErrQuiet):
			c.quiet()
			return nil
		case errors.Is(err, link.ErrGarbled) && garbled < 64:
			garbled++
			ex.garbled = true
		default:
			return err
		}
	}
}

// lastLook takes what arrived in time but was not read in time: this process may have been held up longer than the
// window. A busy bus does not prolong it.
func (c *Conn) lastLook(ctx context.Context) error {
	most := c.now() + 10*time.Millisecond
	for c.now() < most {
		f, err := c.recv(ctx, min(most, c.now()+time.Millisecond))
		switch {
		case errors.Is(err, errWindow), errors.Is(err, link.ErrQuiet), errors.Is(err, link.ErrGarbled):
			c.tick()
			return nil
		case err != nil:
			return err
		}
		if err := c.handle(ctx, &f); err != nil {
			return err
		}
	}
	return nil
}

// finished reports whether nothing more is worth waiting for.
func (ex *exchange) finished(to Target) bool {
	if ex.sender.Active() || to.Legacy {
		return false
	}
	count := 0
	for _, p := range ex.active {
		switch {
		case p.receiving():
			return false
		case ex.only != nil:
		case p.waiting && !p.answered:
			return false
		case p.answered && p.negative && !to.IsPhysical && (&Negative{Code: p.code}).Ignorable():
		case p.answered:
			count++
		}
	}
	switch {
	case ex.only != nil:
		return ex.only.answered || ex.only.busy
	case to.IsPhysical:
		return count > 0 || len(ex.active) > 0 && ex.active[0].busy
	}
	return ex.req.Expect > 0 && count >= ex.req.Expect
}

// deadline is when something has to be looked at again; false when the round is over.
func (ex *exchange) deadline(now time.Duration) (time.Duration, bool) {
	if now >= ex.giveUp {
		return 0, false
	}
	until := ex.giveUp
	if ex.untimed {
		if d, ok := ex.sender.Deadline(); ok && !ex.instant {
			until = min(until, max(d, now))
		}
		return until, true
	}
	more := false
	if d, ok := ex.sender.Deadline(); ok {
		until, more = min(until, d), true
	} else if ex.end > now {
		until, more = min(until, ex.end), true
	}
	for _, p := range ex.active {
		if d, ok := p.rx.Deadline(); ok && !p.drop {
			until, more = min(until, d), true
		}
		if p.waiting && !p.answered {
			until, more = min(until, p.pendingUntil), true
		}
	}
	return max(until, now), more
}

// tick ends what is overdue.
func (c *Conn) tick() {
	ex, now := &c.ex, c.now()
	if ex.instant {
		return
	}
	if err := ex.sender.Tick(now); err != nil {
		c.notTaken(err)
	}
	if ex.untimed {
		return
	}
	for _, p := range ex.active {
		if e := p.rx.Tick(now); e.Lost && !p.drop {
			p.lost(ErrTimeout, e.Err, p.running, e.Got, e.Want)
		}
		if p.waiting && now >= p.pendingUntil {
			c.noMorePatience(p)
		}
	}
}

// quiet ends the round on the link's word.
func (c *Conn) quiet() {
	if c.ex.sender.Active() {
		c.ex.sender.Reset()
		c.notTaken(isotp.ErrTimeoutBs)
	}
	for _, p := range c.ex.active {
		if p.receiving() {
			got, want := p.rx.Progress()
			p.rx.Reset()
			p.lost(ErrTimeout, isotp.ErrTimeoutCr, p.running, got, want)
		}
	}
}

// notTaken: the ECU did not accept a question of several frames.
func (c *Conn) notTaken(err error) {
	p := c.peer(c.ex.reply)
	if p == nil {
		return
	}
	c.activate(p)
	p.retried = true
	p.lost(ErrTimeout, fmt.Errorf("question not taken: %w", err), nil, 0, 0)
}
