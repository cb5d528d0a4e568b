package elm327

import (
	"context"
	"errors"
	"fmt"
	"time"

	"obdgate/internal/link"
)

// A link that dropped (Wi-Fi out of reach, a plug pulled and put back, an adapter that hung and restarted) is opened
// again, set up again, and the question it dropped on is put once more. What was read before stays with the caller, who
// notices nothing but the time.
const (
	reopenLimit = 8 * time.Second        // for one drop
	reopenPause = 200 * time.Millisecond // between two attempts
	maxReopen   = 5                      // drops of one link; one that drops more is not worth waiting for
)

// errOther: what came back is not what went away, so nothing that was found out holds.
var errOther = fmt.Errorf("%w: another adapter has taken its place", link.ErrGone)

// reopen brings the link back after it was lost with err. The result is nil, errStopped, or the loss.
func (l *Link) reopen(j *job, lost error) error {
	limit := l.options.Reopen
	if limit == 0 {
		limit = reopenLimit
	}
	if l.reopened >= maxReopen || limit < 0 {
		return lost
	}
	l.reopened++
	if l.options.Lost != nil {
		l.options.Lost(limit)
	}
	old := l.a
	_ = old.pump.close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	go func() {
		defer l.net.Catch()
		select {
		case <-j.stop:
			cancel()
		case <-l.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		rates := []int{l.baud}
		if l.fast > 0 { // it may have kept the rate, if it kept its power
			rates = []int{old.baud, l.baud + l.fast - old.baud}
		}
		a, err := connect(ctx, l.dial, rates, old.start)
		if err == nil {
			if !near(a.banner, old.banner) || !near(a.stn, old.stn) {
				_ = a.pump.close()
				return errOther
			}
			a.deaf, a.can, a.sums, a.trip, a.tail, a.tails = old.deaf, old.can, old.sums, old.trip, old.tail, old.tails
			l.a = a
			if l.options.Lost != nil {
				l.options.Lost(0)
			}
			return nil
		}
		t := time.NewTimer(reopenPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			if errors.Is(ctx.Err(), context.Canceled) {
				return errStopped
			}
			return lost
		}
	}
}
