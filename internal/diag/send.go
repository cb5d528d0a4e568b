package diag

import (
	"context"
	"fmt"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

// put sends one frame. It is the only place where frames leave: they are made from a question or are flow control.
func (c *Conn) put(ctx context.Context, f *frame.Frame) error {
	if c.hub != nil { // an answer must not get its number before its question
		c.hub.hubLock.Lock()
		defer c.hub.hubLock.Unlock()
	}
	if err := c.link.Send(ctx, *f); err != nil {
		return err
	}
	f.Dir, f.Time = frame.Sent, c.now()
	if c.ex.instant {
		f.Time = c.seen
	}
	c.number(f)
	return nil
}

// hint tells a half-duplex adapter what is coming.
func (c *Conn) hint(to Target, frames int) {
	h, ok := c.link.(link.Hinter)
	if !ok {
		return
	}
	ex := &c.ex
	hint := link.Hint{Frames: frames, Answers: ex.req.Expect, Quick: ex.req.Retried && ex.only == nil}
	if ex.caps.Protocol != "" && !to.Legacy {
		hint.Wait = c.p2
	}
	if to.IsPhysical || ex.only != nil {
		hint.Answers = 1
	}
	if ex.only != nil && ex.only.waiting {
		hint.Wait = c.p2star
	}
	switch {
	case to.IsPhysical && !to.Legacy:
		hint.Accept, hint.FlowTo = []uint32{to.Addr.Rx}, to.Addr.Tx
		if to.Addr.Ext {
			target := to.Addr.TxTarget
			hint.Ext = &target
		}
	case len(to.Pairs) > 0:
		if to.Ext {
			hint.Ext = &to.ExtTarget
		}
		for id := uint32(0x7E8); id <= 0x7EF && !to.Extended && !to.Ext; id++ {
			hint.Accept = append(hint.Accept, id)
		}
		for _, a := range to.Pairs {
			hint.Accept = append(hint.Accept, a.Rx)
		}
	}
	h.SetHint(hint)
}

// send puts the question, or its first frame, on the bus.
func (c *Conn) send(ctx context.Context, to Target) error {
	ex := &c.ex
	c.lastAsk, c.asked = c.now(), true
	if ex.only != nil {
		ex.only.asked++
	}
	for _, p := range ex.active {
		if ex.only == nil {
			p.asked++
		}
	}
	if to.Legacy {
		return c.sendLegacy(ctx, to)
	}
	cfg := isotp.SendConfig{Pad: c.o.Pad, Ext: to.Ext, Target: to.ExtTarget}
	if to.IsPhysical {
		cfg.Ext, cfg.Target, cfg.Source = to.Addr.Ext, to.Addr.TxTarget, to.Addr.RxTarget
	}
	ex.sender = isotp.NewSender(cfg)
	if !ex.sender.Fits(len(ex.q.payload)) && (!to.IsPhysical || ex.caps.SingleFrameOnly) {
		return fmt.Errorf("%w: request of %d bytes does not fit one frame", link.ErrUnsupported, len(ex.q.payload))
	}
	if err := ex.sender.Start(ex.q.payload); err != nil {
		return fmt.Errorf("%w: %w", link.ErrUnsupported, err)
	}
	return nil
}

const maxLegacy = 7 // bytes of a request or answer after the header

func (c *Conn) sendLegacy(ctx context.Context, to Target) error {
	if len(c.ex.q.payload) > maxLegacy {
		return fmt.Errorf("%w: request of %d bytes on a bus that carries %d", link.ErrUnsupported, len(c.ex.q.payload), maxLegacy)
	}
	id := to.ID
	if id>>22 == 0b11 { // ISO 14230: the first header byte carries the length
		id |= uint32(len(c.ex.q.payload)) << 16
	}
	f := frame.New(id, frame.Legacy, c.ex.q.payload...)
	if err := c.put(ctx, &f); err != nil {
		return err
	}
	c.ex.asked = append(c.ex.asked, f.Seq)
	c.open()
	return nil
}

// open starts the window in which everybody must begin.
func (c *Conn) open() {
	c.ex.sent = c.now()
	c.ex.end = c.ex.sent + c.window() + c.ex.caps.Latency
}

// window is how long ECUs have to begin. Before anybody has answered nothing is known of the gateways on the way, nor after
// an ECU has said that it needs longer than the standard allows.
func (c *Conn) window() time.Duration {
	if c.slow == 0 || c.p2 > c.o.P2 {
		return c.p2
	}
	return min(c.p2, beginBy+c.slow)
}

// began takes notice that somebody begins to answer now.
func (c *Conn) began(now time.Duration) {
	if took := now - c.ex.sent; !c.ex.untimed && !c.ex.sender.Active() && took > c.slow {
		c.slow = took
		c.ex.end = c.ex.sent + c.window() + c.ex.caps.Latency
	}
}

// senderNow is the sender's clock: on an instant link it always allows the next frame.
func (c *Conn) senderNow() time.Duration {
	if c.ex.instant {
		c.ex.virtual += time.Second
		return c.ex.virtual
	}
	return c.now()
}

// pump sends the frames of the question that are due.
func (c *Conn) pump(ctx context.Context, to Target) error {
	ex := &c.ex
	for ex.sender.Active() {
		out, ok := ex.sender.Next(c.out[:0], c.senderNow())
		if !ok {
			return nil
		}
		c.out = out
		id, extended := to.ID, to.Extended
		if to.IsPhysical {
			id, extended, ex.reply = to.Addr.Tx, to.Addr.Extended29, to.Addr
		}
		f := canFrame(id, extended, out)
		if err := c.put(ctx, &f); err != nil {
			return err
		}
		ex.asked = append(ex.asked, f.Seq)
		c.open()
	}
	return nil
}

func canFrame(id uint32, extended bool, data []byte) frame.Frame {
	f := frame.Frame{ID: id}
	if extended {
		f.Flags |= frame.Extended
	}
	f.Len = uint8(copy(f.Data[:], data))
	return f
}

// reply sends flow control to the physical identifier of the ECU, in the frame format it used itself.
func (c *Conn) reply(ctx context.Context, a isotp.Address, flow isotp.Flow, fd frame.Flags) error {
	out, err := isotp.Append(c.out[:0], isotp.PDU{Kind: isotp.FlowControl, Ext: a.Ext, Target: a.TxTarget, Flow: flow})
	if err != nil {
		return err
	}
	c.out = c.o.Pad.Append(out, 0)
	f := canFrame(a.Tx, a.Extended29, c.out)
	if c.ex.caps.FD {
		f.Flags |= fd
	}
	return c.put(ctx, &f)
}
