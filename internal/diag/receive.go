package diag

import (
	"context"
	"errors"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/isotp"
)

// responder says which ECU a frame comes from, if it is one whose answer counts.
func (ex *exchange) responder(f *frame.Frame) (isotp.Address, bool) {
	to := &ex.req.To
	extended := f.Is(frame.Extended)
	switch {
	case f.Flags&(frame.Error|frame.Remote) != 0:
		return isotp.Address{}, false
	case f.Is(frame.Legacy):
		if !to.Legacy {
			return isotp.Address{}, false
		}
		a, ok := legacyResponder(f, to.ID)
		return a, ok && (!to.IsPhysical || a == to.Addr)
	case to.Legacy:
		return isotp.Address{}, false
	case to.IsPhysical:
		return to.Addr, from(&to.Addr, f)
	}
	for i := range to.Pairs {
		if from(&to.Pairs[i], f) {
			return to.Pairs[i], true
		}
	}
	if to.Ext || extended != to.Extended && !ex.anyID {
		return isotp.Address{}, false
	}
	return isotp.OBDResponder(f.ID, extended)
}

// from reports whether f comes from the ECU at a.
func from(a *isotp.Address, f *frame.Frame) bool {
	return f.ID == a.Rx && f.Is(frame.Extended) == a.Extended29 &&
		(!a.Ext || f.Len > 0 && f.Data[0] == a.RxTarget)
}

// peer returns the state kept for the ECU at a, making it when it is new; nil when there are too many.
func (c *Conn) peer(a isotp.Address) *peer {
	for _, p := range c.peers {
		if p.addr == a {
			return p
		}
	}
	if len(c.peers) >= MaxECUs {
		for i, p := range c.peers {
			if !p.active {
				c.peers = append(c.peers[:i], c.peers[i+1:]...)
				break
			}
		}
		if len(c.peers) >= MaxECUs {
			return nil
		}
	}
	p := &peer{addr: a, rx: isotp.NewReceiver(isotp.Config{Ext: a.Ext, Target: a.RxTarget, Max: c.o.MaxLength,
		BlockSize: c.o.BlockSize, STmin: c.o.STmin}, nil)}
	c.peers = append(c.peers, p)
	return p
}

func (c *Conn) activate(p *peer) {
	if p.active {
		return
	}
	p.active, p.asked = true, 1
	c.ex.active = append(c.ex.active, p)
}

// handle takes one received frame: it feeds the ECU's receiver and answers first frames at once.
func (c *Conn) handle(ctx context.Context, f *frame.Frame) error {
	addr, ok := c.ex.responder(f)
	if !ok {
		return nil
	}
	p := c.peer(addr)
	if p == nil {
		c.stats.Stray++
		return nil
	}
	if addr.Legacy {
		c.legacyLine(p, f)
		return nil
	}
	now := c.now()
	if c.ex.untimed {
		now = 0 // the link, not the clock, says when an answer is over
	}
	e := p.rx.Push(f.Bytes(), now)
	if e.Lost && !p.drop {
		p.lost(lostFor(e.Err), e.Err, p.running, e.Got, e.Want)
		c.activate(p)
	}
	switch e.Kind {
	case isotp.FlowControl:
		c.flow(addr, f)
		return nil
	case isotp.Single:
		p.running, p.drop = p.running[:0], false
	}
	if e.Err != nil && !e.Lost {
		c.odd(p, e, f.Seq)
	}
	if e.Began {
		p.running = p.running[:0]
		if p.drop = !c.wanted(p, p.rx.Partial()); !p.drop {
			c.began(now)
		}
	}
	if e.Used {
		p.running = append(p.running, f.Seq)
	}
	if e.Reply && !c.ex.caps.FlowControl && (!p.drop || c.late(p.rx.Partial())) {
		if err := c.reply(ctx, addr, e.Flow, f.Flags&frame.FD); err != nil {
			return err
		}
	}
	if e.Message != nil {
		if p.drop {
			c.stats.Stray++
		} else {
			if e.Kind == isotp.Single && c.ex.q.match(e.Message) == match {
				c.began(now)
			}
			c.message(p, e.Message)
		}
		p.drop = false
	}
	return nil
}

// odd notes a frame that did not fit, in so far as it says something about the answer.
func (c *Conn) odd(p *peer, e isotp.Event, seq uint64) {
	switch e.Err {
	case isotp.ErrDuplicate:
		c.stats.Duplicates++
		return
	case isotp.ErrAddress, isotp.ErrReserved, isotp.ErrEmpty:
		c.stats.Unexpected++
		return
	}
	c.stats.Unexpected++
	if p.answered || p.fail != nil || p.drop || p.rx.Running() || c.leftovers {
		return
	}
	// The middle of an answer whose beginning is missing, or a length that cannot be: this ECU meant to say something.
	c.activate(p)
	p.lost(lostFor(e.Err), e.Err, []uint64{seq}, e.Got, e.Want)
}

// wanted looks at the beginning of a message. One that answers another question is not received.
func (c *Conn) wanted(p *peer, beginning []byte) bool {
	switch c.ex.q.match(beginning) {
	case match, short:
		c.activate(p)
		return true
	case mismatch:
		c.mismatched(p, beginning)
	}
	return false
}

// late reports whether m answers the question before this one.
func (c *Conn) late(m []byte) bool {
	return len(c.stale) > 0 && question{payload: c.stale}.match(m) == match
}

func (c *Conn) mismatched(p *peer, m []byte) {
	if c.late(m) {
		return
	}
	c.activate(p)
	p.mismatched = true
	p.failFrom = p.failFrom[:0]
}

// message takes a complete message of p.
func (c *Conn) message(p *peer, m []byte) {
	switch c.ex.q.match(m) {
	case foreign:
		c.stats.Stray++
		return
	case mismatch:
		c.stats.Stray++
		c.mismatched(p, m)
		return
	case short:
		c.activate(p)
		if !p.answered {
			p.lost(ErrShort, nil, p.running, len(m), len(m))
		}
		return
	}
	c.activate(p)
	if m[0] == 0x7F && !p.answered {
		switch m[2] {
		case nrcPending:
			c.pending(p)
			return
		case nrcBusy:
			p.busy, p.waiting = true, false
			p.from = append(p.from[:0], p.running...)
			return
		}
	}
	if p.answered {
		c.stats.Duplicates++
	}
	p.finish(m, p.running, p.asked == 1 && !c.ex.caps.HalfDuplex)
	c.learn(m)
}

// pending restarts the ECU's clock with P2*. An ECU that has broken such a promise before is given P2* once, or it would
// cost a minute at every question.
func (c *Conn) pending(p *peer) {
	now := c.now()
	if p.pending++; p.pending == 1 {
		p.patience = c.ex.giveUp
		if p.letDown {
			p.patience = min(p.patience, now+c.p2star)
		}
	}
	p.from = append(p.from[:0], p.running...)
	if p.pending > MaxPending {
		c.noMorePatience(p)
		return
	}
	p.waiting, p.pendingUntil = true, min(now+c.p2star+c.ex.caps.Latency, p.patience)
}

var errPatience = errors.New("asked for patience and did not answer")

func (c *Conn) noMorePatience(p *peer) {
	p.waiting, p.letDown = false, true
	if p.fail == nil {
		p.lost(ErrTimeout, errPatience, p.from, 0, 0)
		p.retried = true // it has the question; asking again would not hurry it
	}
}

// learn takes longer waiting times from an answer to 10 01: 50 01 P2(ms) P2*(10 ms).
func (c *Conn) learn(m []byte) {
	if m[0] != 0x50 || len(m) < 6 {
		return
	}
	p2 := time.Duration(int(m[2])<<8|int(m[3])) * time.Millisecond
	p2star := time.Duration(int(m[4])<<8|int(m[5])) * 10 * time.Millisecond
	c.p2 = min(max(c.p2, p2+p2/4), time.Second)
	c.p2star = min(max(c.p2star, p2star), 10*time.Second)
}

// flow gives flow control to our own message under way.
func (c *Conn) flow(a isotp.Address, f *frame.Frame) {
	ex := &c.ex
	if !ex.sender.Active() || ex.reply != a {
		c.stats.Unexpected++
		return
	}
	if err := ex.sender.Push(f.Bytes(), c.senderNow()); err != nil && !ex.sender.Active() {
		c.notTaken(err)
	}
}
