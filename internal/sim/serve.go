package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	"obdgate/internal/crash"
	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// Serve runs the vehicle on a link in real time until ctx ends (then it returns nil) or the link breaks. It does not close
// the link. A frame the link loses or cannot carry is lost, as on a bus.
func (v *Vehicle) Serve(ctx context.Context, l link.Link) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	start := time.Now()
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
				v.Handle(f, time.Since(start))
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
		for f, ok := v.Next(time.Since(start)); ok; f, ok = v.Next(time.Since(start)) {
			if err := l.Send(ctx, wireFrame(f)); broken(err) {
				return err
			}
		}
		wait := forEver
		if due, ok := v.Due(); ok {
			wait = max(due-time.Since(start), 0)
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

// broken reports whether a link cannot go on.
func broken(err error) bool {
	return errors.Is(err, link.ErrClosed) || errors.Is(err, link.ErrGone)
}

func wireFrame(f frame.Frame) frame.Frame {
	f.Time = 0
	return f
}
