// Package memory is a CAN bus inside the process: what one attached link sends, every other one receives. The virtual
// cars live on it.
package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// maxQueued is how many frames a link keeps for a reader that does not come. Beyond it the oldest are lost, as in a
// controller, and the reader is told.
const maxQueued = 8192

// Bus is a CAN bus of any number of links. Its methods may be called from any goroutine. It has no goroutines and no
// clock of its own, so it works in a testing/synctest bubble.
type Bus struct {
	mu    sync.Mutex
	nodes []*node
}

// NewBus returns a bus with nobody on it.
func NewBus() *Bus { return new(Bus) }

// Attach puts a link on the bus; name is what its Caps and errors call it. A frame sent while nobody else is attached
// is lost without an error. Close takes the link off the bus.
func (b *Bus) Attach(name string) link.Link {
	n := &node{bus: b, name: name, opened: time.Now(), wake: make(chan struct{}, 1), closed: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes = append(b.nodes, n)
	return n
}

// node is one link on the bus. queue, lost and off are guarded by bus.mu.
type node struct {
	bus    *Bus
	name   string
	opened time.Time
	wake   chan struct{} // holds a token when queue may have grown
	closed chan struct{}

	queue []frame.Frame
	lost  int
	off   bool
}

func (n *node) fail(op string, err error) error {
	return &link.Error{Op: op, URI: "memory:" + n.name, Err: err}
}

// Send gives f to every other link on the bus before it returns.
func (n *node) Send(ctx context.Context, f frame.Frame) error {
	if err := ctx.Err(); err != nil {
		return n.fail("send", err)
	}
	if err := f.Validate(); err != nil {
		return n.fail("send", err)
	}
	if f.Is(frame.Legacy) {
		return n.fail("send", fmt.Errorf("%w: this is a CAN bus", link.ErrUnsupported))
	}
	f.Seq, f.Dir, f.Bus = 0, frame.Received, 0
	now := time.Now()
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	if n.off {
		return n.fail("send", link.ErrClosed)
	}
	for _, to := range n.bus.nodes {
		if to == n {
			continue
		}
		f.Time = now.Sub(to.opened)
		to.push(f)
	}
	return nil
}

// push is called with bus.mu held.
func (n *node) push(f frame.Frame) {
	if len(n.queue) == maxQueued {
		n.queue = slices.Delete(n.queue, 0, maxQueued/8) // in one go: the rest is moved once, not at every frame
		n.lost += maxQueued / 8
	}
	n.queue = append(n.queue, f)
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Recv waits for the next frame. When the reader came too late for some, it is told once, by link.ErrGarbled.
func (n *node) Recv(ctx context.Context) (frame.Frame, error) {
	for {
		if err := ctx.Err(); err != nil {
			return frame.Frame{}, n.fail("receive", err)
		}
		f, ok, err := n.pop()
		if err != nil {
			return frame.Frame{}, n.fail("receive", err)
		}
		if ok {
			return f, nil
		}
		select {
		case <-n.wake:
		case <-n.closed:
		case <-ctx.Done():
		}
	}
}

func (n *node) pop() (frame.Frame, bool, error) {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	switch {
	case n.off:
		return frame.Frame{}, false, link.ErrClosed
	case n.lost > 0:
		err := fmt.Errorf("%w: %d frames came faster than they were read", link.ErrGarbled, n.lost)
		n.lost = 0
		return frame.Frame{}, false, err
	case len(n.queue) == 0:
		return frame.Frame{}, false, nil
	}
	f := n.queue[0]
	n.queue = n.queue[1:]
	return f, true, nil
}

// Caps: classic and FD frames, full duplex.
func (n *node) Caps() link.Caps { return link.Caps{Adapter: n.name, FD: true} }

// Close takes the link off the bus.
func (n *node) Close() error {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	if !n.off {
		n.off = true
		n.queue = nil
		n.bus.nodes = slices.DeleteFunc(n.bus.nodes, func(o *node) bool { return o == n })
		close(n.closed)
	}
	return nil
}
