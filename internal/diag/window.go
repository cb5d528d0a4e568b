package diag

import (
	"context"
	"errors"
	"time"

	"obdgate/internal/frame"
)

// errWindow: the time until which recv was to wait has come.
var errWindow = errors.New("window over")

// window is a context with a deadline that can be moved later without making a new one: it ends early, and recv looks
// again. A question therefore costs one or two contexts, not one per frame.
type window struct {
	ctx    context.Context
	cancel context.CancelFunc
	until  time.Duration
}

func (w *window) close() {
	if w.cancel != nil {
		w.cancel()
	}
	*w = window{}
}

// recv receives one frame, stamps it and shows it to the tap. It waits until the given moment of c.now at most.
func (c *Conn) recv(ctx context.Context, until time.Duration) (frame.Frame, error) {
	w := &c.timer
	for {
		if w.ctx == nil || w.until > until {
			w.close()
			w.until = until
			w.ctx, w.cancel = context.WithDeadline(ctx, c.start.Add(until))
		}
		f, err := c.link.Recv(w.ctx)
		switch {
		case err == nil:
			c.stampReceived(&f)
			return f, nil
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return f, err
		case w.ctx.Err() == nil || !errors.Is(err, context.DeadlineExceeded):
			return f, err
		}
		ended := w.until
		w.close()
		if ended >= until {
			return f, errWindow
		}
	}
}

func (c *Conn) stampReceived(f *frame.Frame) {
	if c.hub != nil {
		return // the hub did
	}
	if c.ex.instant {
		c.seen = max(c.seen, f.Time)
		f.Time = c.seen
	} else {
		f.Time = c.now()
	}
	f.Dir = frame.Received
	c.number(f)
}

func (c *Conn) number(f *frame.Frame) {
	if c.hub != nil {
		c = c.hub
	}
	c.seq++
	f.Seq = c.seq
	c.stats.Frames++
	if c.o.Tap != nil {
		c.o.Tap(*f)
	}
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
