package diag

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"obdgate/internal/crash"
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

// Reply is what one of several questions asked together came to, as Request returns it.
type Reply struct {
	Answers []Answer
	Asked   []uint64 // sequence numbers of the frames that carried the question, repetitions included
	Err     error
}

// Parallel reports whether several ECUs can be asked at once over this link: it must hear while it sends, and its answers be
// bound to a clock.
func (c *Conn) Parallel() bool {
	caps := c.link.Caps()
	return !caps.HalfDuplex && !caps.Instant
}

// Together asks several ECUs at once, each its own question: one request in flight per ECU, as ISO 14229-2 wants it, and
// nobody waits for the answers of another. The replies are in the order of the questions. Questions that cannot be asked so
// (a link that is not Parallel, functional ones, two to one ECU, buses before CAN) are asked one after the other.
func (c *Conn) Together(ctx context.Context, rs []Request) []Reply {
	replies := make([]Reply, len(rs))
	if len(rs) < 2 || !c.Parallel() || !apart(rs) {
		for i, r := range rs {
			replies[i].Answers, replies[i].Err = c.Request(ctx, r)
			replies[i].Asked = c.Asked()
		}
		return replies
	}
	fail := func(err error) []Reply {
		for i := range replies {
			replies[i].Err = err
		}
		return replies
	}
	if err := c.lock(ctx); err != nil {
		return fail(err)
	}
	defer func() { c.turn <- struct{}{} }()
	if err := c.calm(ctx); err != nil {
		return fail(fmt.Errorf("before the questions: %w", err))
	}
	lanes := make([]*Conn, len(rs))
	for i := range rs {
		lanes[i] = c.lane(rs[i].To.Addr)
	}
	listening, stop := context.WithCancel(ctx)
	var ear, askers sync.WaitGroup
	var net crash.Net
	ear.Go(func() {
		defer net.Catch()
		c.dispatch(listening, lanes)
	})
	for i, lane := range lanes {
		askers.Go(func() {
			defer net.Catch()
			replies[i].Answers, replies[i].Err = lane.Request(ctx, rs[i])
			replies[i].Asked = lane.Asked()
		})
	}
	askers.Wait()
	stop()
	ear.Wait()
	net.Raise()
	c.gather(lanes)
	return replies
}

// apart reports whether these questions go to different ECUs that answer on different identifiers or to different address
// bytes.
func apart(rs []Request) bool {
	seen := map[isotp.Address]bool{}
	for i := range rs {
		to := &rs[i].To
		if !to.IsPhysical || to.Addr.Legacy || seen[to.Addr] {
			return false
		}
		seen[to.Addr] = true
		for j := range i {
			if a := &rs[j].To.Addr; a.Rx == to.Addr.Rx && a.Extended29 == to.Addr.Extended29 && (!a.Ext || !to.Addr.Ext || a.RxTarget == to.Addr.RxTarget) {
				return false
			}
		}
	}
	return true
}

// lane is the conversation with one ECU beside others. It is kept: how the ECU behaves is remembered there.
func (c *Conn) lane(a isotp.Address) *Conn {
	l := c.lanes[a]
	if l == nil {
		l = New(&laneLink{hub: c, addr: a, in: make(chan heard, laneFrames)}, c.o)
		l.start, l.hub, l.log = c.start, c, c.log
		if c.lanes == nil {
			c.lanes = map[isotp.Address]*Conn{}
		}
		c.lanes[a] = l
	}
	l.p2, l.p2star, l.slow = max(l.p2, c.p2), max(l.p2star, c.p2star), max(l.slow, c.slow)
	in := l.link.(*laneLink).in
	for len(in) > 0 {
		<-in // what came when nobody listened any more
	}
	return l
}

// laneFrames is how many frames may wait in one lane: the longest answer in classic frames.
const laneFrames = 600

// heard is a frame for a lane, or a fault of the link.
type heard struct {
	f   frame.Frame
	err error
}

// dispatch receives for all lanes until ctx ends or the link breaks.
func (c *Conn) dispatch(ctx context.Context, lanes []*Conn) {
	tell := func(err error) {
		for _, l := range lanes {
			l.link.(*laneLink).put(heard{err: err})
		}
	}
	for faults := 0; ; {
		f, err := c.link.Recv(ctx)
		switch {
		case err == nil:
			c.hubLock.Lock()
			c.stampReceived(&f)
			c.hubLock.Unlock()
			for _, l := range lanes {
				if to := l.link.(*laneLink); from(&to.addr, &f) {
					to.put(heard{f: f})
				}
			}
		case ctx.Err() != nil:
			return
		case (errors.Is(err, link.ErrGarbled) || errors.Is(err, link.ErrBus)) && faults < 64:
			faults++
			tell(err)
		default:
			tell(err)
			return
		}
	}
}

// gather takes over what the lanes learned and counted.
func (c *Conn) gather(lanes []*Conn) {
	c.settled = true
	for _, l := range lanes {
		c.settled = c.settled && l.settled
		c.drain = c.drain || l.drain
		l.drain = false
		c.lastAsk, c.asked = max(c.lastAsk, l.lastAsk), true
		c.p2, c.p2star, c.slow = max(c.p2, l.p2), max(c.p2star, l.p2star), max(c.slow, l.slow)
		c.stats.Stray += l.stats.Stray
		c.stats.Duplicates += l.stats.Duplicates
		c.stats.Unexpected += l.stats.Unexpected
		c.stats.Repeated += l.stats.Repeated
		l.stats = Stats{}
	}
}

// laneLink is the part of a link that one ECU's conversation sees.
type laneLink struct {
	hub  *Conn
	addr isotp.Address
	in   chan heard
}

func (l *laneLink) put(h heard) {
	select {
	case l.in <- h:
	default: // the conversation is over and nobody reads
	}
}

func (l *laneLink) Send(ctx context.Context, f frame.Frame) error { return l.hub.link.Send(ctx, f) }

func (l *laneLink) Recv(ctx context.Context) (frame.Frame, error) {
	select { // what has come is good, however late it is fetched
	case h := <-l.in:
		return h.f, h.err
	default:
	}
	select {
	case h := <-l.in:
		return h.f, h.err
	case <-ctx.Done():
		return frame.Frame{}, ctx.Err()
	}
}

func (l *laneLink) Caps() link.Caps { return l.hub.link.Caps() }
func (l *laneLink) Close() error    { return nil }

func (l *laneLink) SetHint(h link.Hint) {
	if to, ok := l.hub.link.(link.Hinter); ok {
		l.hub.hubLock.Lock()
		defer l.hub.hubLock.Unlock()
		to.SetHint(h)
	}
}
