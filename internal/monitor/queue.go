package monitor

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// maxWaiting is how many frames may wait to be written: some 11 MB, a third of a second of the fastest bus.
const maxWaiting = 1 << 17

// maxFaults in a row end the listening: a link that reports nothing else would keep a processor busy for nothing.
const maxFaults = 1000

// queue lies between the goroutine that receives and the one that writes. Its two buffers are exchanged, so that nothing
// is allocated per frame.
type queue struct {
	wake chan struct{} // holds a token when there is something to take
	room chan struct{} // holds a token when there may be room again
	wait bool          // the feed waits when the queue is full, instead of losing frames

	mu      sync.Mutex
	waiting []frame.Frame
	dropped uint64
	faults  uint64
	feeds   int   // that have not ended
	end     error // why no more will come
	over    bool  // nobody takes any more
}

func newQueue(wait bool, feeds int) *queue {
	return &queue{wake: make(chan struct{}, 1), room: make(chan struct{}, 1), wait: wait, feeds: feeds}
}

// On a busy bus frames are fetched together, this often: a frame that comes alone is shown at once, and one of many no more
// than this later. The wait is short enough that a socket without the rights for a large buffer (some 500 frames) overflows
// at no bit rate: 1 Mbit/s has at most 22 frames in a millisecond.
const (
	fetchEvery = 5 * time.Millisecond
	batchSize  = 256
)

// receive takes frames from a feed, the bus-th of several, until it ends. It returns why.
func (q *queue) receive(ctx context.Context, feed Feed, bus int) error {
	many, batching := feed.(BatchFeed)
	size := 1
	if batching {
		size = batchSize
	}
	buf := make([]frame.Frame, size)
	pause := time.NewTimer(0)
	defer pause.Stop()
	var fetched time.Time
	row := 0
	var err error
	defer func() { q.ended(err) }()
	for {
		n := 1
		err = errFell
		if batching {
			n, err = many.RecvBatch(ctx, buf)
		} else {
			buf[0], err = feed.Recv(ctx)
		}
		switch {
		case err == nil:
			row = 0
			if bus > 0 {
				for i := range buf[:n] {
					buf[i].Bus = uint8(bus)
				}
			}
			if !q.put(buf[:n]) {
				return nil
			}
			if batching && n < size {
				fetched = rest(ctx, pause, fetched)
			}
			continue
		case errors.Is(err, link.ErrGarbled), errors.Is(err, link.ErrBus):
			q.mu.Lock()
			q.faults++
			q.mu.Unlock()
			if row++; row < maxFaults && ctx.Err() == nil {
				continue
			}
		}
		return err
	}
}

// errFell is why a feed has ended that panicked.
var errFell = errors.New("monitor: internal fault")

// ended takes note of the end of one feed.
func (q *queue) ended(err error) {
	q.mu.Lock()
	if q.feeds--; q.feeds == 0 {
		q.end = err
	}
	q.mu.Unlock()
	signal(q.wake)
}

// rest waits until fetchEvery after the fetch before, if that is still to come, and returns the time.
func rest(ctx context.Context, pause *time.Timer, before time.Time) time.Time {
	now := time.Now()
	wait := fetchEvery - now.Sub(before)
	if wait <= 0 || before.IsZero() {
		return now
	}
	pause.Reset(wait)
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
	return now.Add(wait)
}

// put adds frames; false ends the receiving.
func (q *queue) put(frames []frame.Frame) bool {
	for {
		q.mu.Lock()
		if q.over {
			q.mu.Unlock()
			return false
		}
		n := min(len(frames), maxWaiting-len(q.waiting))
		first := len(q.waiting) == 0 && n > 0
		q.waiting = append(q.waiting, frames[:n]...)
		frames = frames[n:]
		if !q.wait {
			q.dropped += uint64(len(frames))
			frames = nil
		}
		q.mu.Unlock()
		if first {
			signal(q.wake)
		}
		if len(frames) == 0 {
			return true
		}
		<-q.room
	}
}

// take gives all waiting frames for an empty buffer, and the end when there are none left.
func (q *queue) take(empty []frame.Frame) ([]frame.Frame, error) {
	q.mu.Lock()
	batch := q.waiting
	q.waiting = empty
	var end error
	if len(batch) == 0 {
		end = q.end
	}
	q.mu.Unlock()
	if len(batch) > 0 {
		signal(q.room)
	}
	return batch, end
}

// abandon lets a waiting feed go on: nobody will take any more.
func (q *queue) abandon() {
	q.mu.Lock()
	q.over = true
	q.mu.Unlock()
	signal(q.room)
}

func (q *queue) counters() (dropped, faults uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped, q.faults
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Source is what a recording looks like; canlog.Source is one.
type Source interface {
	Next(f *frame.Frame) error
}

// Recorded makes a feed of a recording: as fast as it can be written down.
func Recorded(s Source) Feed { return recorded{s} }

type recorded struct{ s Source }

func (r recorded) Recv(ctx context.Context) (f frame.Frame, err error) {
	if f.Seq&1023 == 0 && ctx.Err() != nil {
		return f, ctx.Err()
	}
	err = r.s.Next(&f)
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return f, err
}
