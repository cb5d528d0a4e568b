// Package classify tags a recording from beginning to end: what is technical, what is personal, and what may be shown to
// whom. It reads candump text (other formats are turned into it, see Text), decides with the policy's own Tagger, and
// writes candump, JSON lines or pcapng in the order of the recording.
//
// Blocks of lines are worked on by several goroutines at once, which take turns to read a block and, in the same order, to
// hand it on. Frames that need no memory of others, nearly all of a broadcast bus, are decided there; the lines of diagnostic
// conversations go through one Tagger in order, and everything behind an unfinished message with them, so that the result is
// that of one Tagger that saw every frame. Memory does not grow with the recording.
package classify

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"obdgate/dbc"
	"obdgate/internal/canlog"
	"obdgate/internal/crash"
	"obdgate/internal/policy"
)

// Format is what is written.
type Format uint8

const (
	Nothing Format = iota // only the summary
	Candump               // lines of frames that pass unchanged are copied byte for byte
	JSONL                 // one object per frame, with the values of its signals
	PCAPNG                // with the tag in each packet's comment
)

// Options say what is wanted.
type Options struct {
	Policy *policy.Policy // nil only where Sieves
	DB     *dbc.Database  // nil: every broadcast frame is unclassified
	Makers policy.Makers  // whose vehicle it is, a VIN of the recording tells; zero: the standard's conversations only
	IDs    *canlog.IDs    // only some identifiers; nil: all
	To     Format
	Only   bool // leave out frames that are not technical; implies Mask, because a technical frame may have padding
	Mask   bool // set every byte that is not technical to zero, exact to the bit in broadcast frames
	Count  bool // frames and bytes by category also where what is written does not need them

	Workers  int              // 0 = as many as processors, at most 4
	Progress func(read int64) // called now and then with the bytes read so far; nil = not

	block int // bytes of a block; 0 = as is best. The tests use small ones.
}

// safe reports whether what is written may leave the house.
func (o *Options) safe() bool { return o.Only || o.Mask }

// Sieves reports whether lines pass as they are or not at all, by their identifiers alone. Then no Policy, DB or Makers is
// needed, and the Summary has no categories.
func (o *Options) Sieves() bool { return o.To == Candump && !o.safe() && !o.Count }

// How much text is worked on at a time; each worker has one block and what is made of it. Larger ones cost less to hand on, and
// those of a sieve, which are worked on fastest, are the largest that stay in the second cache.
const (
	blockSize = 128 << 10
	sieveSize = 256 << 10
)

// maxWorkers: more find nothing to do, because writing is in order, and would only cost memory.
const maxWorkers = 4

// maxFaults is how many damaged lines are told by number; all are counted.
const maxFaults = 20

// Run reads candump text from r to its end, writes to w as o says, and returns what it saw. w may be nil with Nothing.
// Damaged lines are no error: they are counted in the Summary and never written. The error is that of r, w or ctx, with
// the Summary of what was done until then.
func Run(ctx context.Context, r io.Reader, w io.Writer, o Options) (*Summary, error) {
	if o.Only {
		o.Mask = true
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	o.Workers = min(o.Workers, maxWorkers)
	t := newTable(&o)
	switch {
	case o.block > 0:
	case t.sieve:
		o.block = sieveSize
	default:
		o.block = blockSize
	}
	in, seq := &reader{src: r, size: o.block, progress: o.Progress}, newSequence(t, w)
	reading, writing := newRelay(o.Workers), newRelay(o.Workers)
	defer reading.close()
	defer writing.close()
	goOn, stop := context.WithCancel(ctx)
	defer stop()
	var net crash.Net
	ended := make(chan struct{}, o.Workers)
	for i := range o.Workers {
		k := newWorker(t)
		go func() {
			defer func() { ended <- struct{}{} }()
			defer net.Catch()
			for reading.wait(i) {
				more := goOn.Err() == nil && in.fill(&k.block)
				reading.pass(i)
				if !more {
					return
				}
				k.do(&k.block)
				if !writing.wait(i) {
					return
				}
				if seq.take(&k.block) != nil {
					stop()
				}
				writing.pass(i)
			}
		}()
	}
	for range o.Workers {
		<-ended
		net.Raise()
	}
	err := seq.err
	if err == nil {
		err = in.err
	}
	if err == nil {
		err = ctx.Err()
	}
	if e := seq.end(); err == nil {
		err = e
	}
	if err != nil {
		err = fmt.Errorf("classify: %w", err)
	}
	return seq.summary(), err
}

// relay lets n goroutines take turns: 0, 1, … n-1, 0, 1, …
type relay struct {
	turn []chan struct{}
	gone chan struct{}
}

func newRelay(n int) relay {
	r := relay{make([]chan struct{}, n), make(chan struct{})}
	for i := range r.turn {
		r.turn[i] = make(chan struct{}, 1)
	}
	r.turn[0] <- struct{}{}
	return r
}

// wait for the turn of i; false when it will not come.
func (r *relay) wait(i int) bool {
	select {
	case <-r.turn[i]:
		return true
	case <-r.gone:
		return false
	}
}

func (r *relay) pass(i int) { r.turn[(i+1)%len(r.turn)] <- struct{}{} }

func (r *relay) close() { close(r.gone) }

// Text turns any recording into the candump text Run reads, frame by frame.
func Text(s canlog.Source) io.Reader { return &text{src: s} }
