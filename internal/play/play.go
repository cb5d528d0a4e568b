// Package play sends a recording onto a bus, frame by frame, at the times it was made.
package play

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/diag"
	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// Options of one playing.
type Options struct {
	Speed  float64   // times as fast as recorded; 0 = as fast as the bus takes it
	Select Selection // which frames
	// Told is called after each frame, from the playing goroutine; nil = nobody listens.
	Told func(Progress)
}

// Progress says how far a playing is.
type Progress struct {
	Sent       uint64
	Time       time.Duration // of the recording
	Unsendable uint64        // frames the bus cannot carry (error reports, K-line messages, CAN FD where it is off) or may not: see Play
	Why        error         // of the first of them
	Late       time.Duration // the most a frame came later than it should have
}

// Play sends the frames of src on l until src or ctx ends. A recorded tester's request that could change something in a
// vehicle is left out (diag.Guard): the bus may be a real one. It returns what it did also with an error: the link's, the
// recording's (wrapping canlog.ErrDamaged where its packing is damaged), or ctx's.
func Play(ctx context.Context, src canlog.Source, l link.Link, o Options) (Progress, error) {
	var p Progress
	var f frame.Frame
	var begin time.Time
	var first time.Duration
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		switch err := src.Next(&f); {
		case errors.Is(err, io.EOF):
			return p, nil
		case err != nil:
			return p, err
		}
		if o.Select.Over(f.Time) {
			return p, nil
		}
		if !o.Select.Has(&f) {
			continue
		}
		p.Time = f.Time
		if begin.IsZero() {
			begin, first = time.Now(), f.Time // what is left out at the beginning is not waited for
		}
		if o.Speed > 0 {
			due := time.Duration(float64(f.Time-first) / o.Speed)
			if wait := due - time.Since(begin); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-ctx.Done():
					return p, ctx.Err()
				}
			}
			p.Late = max(p.Late, time.Since(begin)-due)
		}
		f.Seq, f.Dir, f.Bus = 0, frame.Unknown, 0
		err := unsendable(&f)
		if err == nil {
			err = l.Send(ctx, f)
		}
		switch {
		case err == nil:
			p.Sent++
		case errors.Is(err, link.ErrUnsupported), errors.Is(err, diag.ErrForbiddenService):
			if p.Unsendable++; p.Why == nil {
				p.Why = err
			}
		default:
			return p, err
		}
		if o.Told != nil {
			o.Told(p)
		}
	}
}

func unsendable(f *frame.Frame) error {
	if f.Is(frame.Error) {
		return fmt.Errorf("%w: an error report is not a frame", link.ErrUnsupported)
	}
	return diag.Guard(f)
}
