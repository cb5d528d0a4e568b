package classify

import (
	"bytes"
	"errors"
	"io"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
)

// block is a piece of the recording that ends with a line, and what a worker made of it.
type block struct {
	text []byte // whole lines, each with its line feed, and canlog.Reach bytes behind them
	n    int    // bytes of lines

	out    []byte
	lines  []line   // of the frames
	follow []int32  // lines that are or may be part of a conversation
	names  []string // interfaces in the order of their first frame
	count  int      // lines, good or not
	faults []canlog.Fault
	bad    int
	tally  tally

	dropped       int    // frames Options.IDs left out
	frames, bytes uint64 // that passed the sieve
}

// line is where a frame is in text and where out stood before it.
type line struct{ in, out uint32 }

// reader cuts the recording into blocks.
type reader struct {
	src      io.Reader
	size     int
	rest     []byte // the beginning of a line
	skip     bool   // in the middle of a line too long for a block
	read     int64
	progress func(int64)
	ended    bool
	err      error
}

// fill reads the next block; false at the end or on an error.
func (r *reader) fill(b *block) bool {
	if cap(b.text) < r.size+canlog.Reach+1 {
		b.text = make([]byte, r.size+canlog.Reach+1)
	}
	buf := b.text[:r.size]
	n := copy(buf, r.rest)
	r.rest = r.rest[:0]
	for !r.ended {
		for n < len(buf) && !r.ended {
			k, err := r.src.Read(buf[n:])
			n, r.read = n+k, r.read+int64(k)
			if err != nil {
				r.ended = true
				if !errors.Is(err, io.EOF) {
					r.err = err
				}
			}
			if k == 0 && err == nil {
				continue
			}
		}
		if r.skip { // the rest of a line that was cut
			end := bytes.IndexByte(buf[:n], '\n')
			if end < 0 {
				n = 0
				continue
			}
			n, r.skip = copy(buf, buf[end+1:n]), false
			if n < len(buf) && !r.ended {
				continue
			}
		}
		break
	}
	if r.progress != nil {
		r.progress(r.read)
	}
	if n == 0 {
		return false
	}
	end := bytes.LastIndexByte(buf[:n], '\n') + 1
	switch {
	case end == 0 && r.ended, end < n && r.ended:
		b.text[n] = '\n' // the last line has none
		end = n + 1
	case end == 0: // no frame is that long: a beginning is enough to call it damaged
		r.skip = true
		end = min(n, canlog.MaxLine+1)
		b.text[end] = '\n'
		end++
	default:
		r.rest = append(r.rest, buf[end:n]...)
	}
	b.n = end
	b.text = b.text[:cap(b.text)]
	clear(b.text[end : end+canlog.Reach-1])
	return true
}

// text is a Source as candump text.
type text struct {
	src  canlog.Source
	buf  []byte
	rest []byte
	err  error
}

func (t *text) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && t.err == nil {
		if len(t.rest) == 0 {
			var f frame.Frame
			if t.err = t.src.Next(&f); t.err != nil {
				break
			}
			f.Time = max(0, f.Time+t.src.Start())
			t.buf = append(canlog.Append(t.buf[:0], &f, t.src.Interfaces()[f.Bus], time.Unix(0, int64(f.Time))), '\n')
			t.rest = t.buf
		}
		k := copy(p[n:], t.rest)
		n, t.rest = n+k, t.rest[k:]
	}
	if n > 0 {
		return n, nil
	}
	return 0, t.err
}
