package bus

import (
	"context"
	"errors"
	"sync"
	"time"

	"obdgate/internal/crash"
	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// Serve carries frames between two links in real time until ctx ends (then it returns nil) or one of them breaks. It
// closes neither. A frame that a link loses or cannot carry is lost, as on a bus. The counts are what it did.
func Serve(ctx context.Context, left, right link.Link, p Plan) (Stats, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	b := New(p)
	var mu sync.Mutex // guards b
	start := time.Now()
	wake := make(chan struct{}, 1)
	var net crash.Net
	var wg sync.WaitGroup
	ends := [2]link.Link{left, right}
	for side, l := range ends {
		wg.Go(func() {
			defer cancel(nil)
			defer net.Catch()
			for {
				f, err := l.Recv(ctx)
				switch {
				case err == nil && !f.Is(frame.Error):
					mu.Lock()
					b.Push(Side(side), f, time.Since(start))
					mu.Unlock()
				case err == nil:
				case errors.Is(err, link.ErrClosed), errors.Is(err, link.ErrGone):
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
	}
	err := b.run(ctx, &mu, ends, start, wake)
	cancel(nil)
	wg.Wait()
	net.Raise()
	if cause := context.Cause(ctx); err == nil && (errors.Is(cause, link.ErrClosed) || errors.Is(cause, link.ErrGone)) {
		err = cause
	}
	return b.Stats(), err
}

func (b *Bus) run(ctx context.Context, mu *sync.Mutex, ends [2]link.Link, start time.Time, wake <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		mu.Lock()
		a, ok := b.Next(time.Since(start))
		due, more := b.Due()
		mu.Unlock()
		if ok {
			for side, l := range ends {
				if !a.Both && Side(side) != a.To {
					continue
				}
				if err := l.Send(ctx, a.Frame); errors.Is(err, link.ErrClosed) || errors.Is(err, link.ErrGone) {
					return err
				}
			}
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		wait := time.Hour
		if more {
			wait = max(due-time.Since(start), 0)
		}
		timer.Reset(wait)
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}
