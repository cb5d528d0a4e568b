package canlog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"obdgate/internal/frame"
)

// maxFaults is how many damaged lines a Reader remembers by number; it counts them all.
const maxFaults = 20

// maxBuses is how many interfaces one log may name: frame.Frame.Bus is one byte, and a log of garbage must not grow a
// list without end.
const maxBuses = 64

// Fault is one damaged line: its number from 1 and why it is no frame (wraps ErrSyntax).
type Fault struct {
	Line int
	Err  error
}

func (f Fault) Error() string { return fmt.Sprintf("line %d: %v", f.Line, f.Err) }

// Unwrap returns the reason.
func (f Fault) Unwrap() error { return f.Err }

// Reader reads the frames of a log in order. Damaged lines are skipped, counted and told; nothing is guessed from them.
// Blank lines and lines that begin with '#' (comments of a fixture) are no damage. A Reader is not safe for concurrent
// use.
type Reader struct {
	src     *bufio.Reader
	line    int
	frames  uint64
	damaged int
	faults  []Fault
	buses   []string
	start   time.Duration
	err     error
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{src: bufio.NewReaderSize(r, 4096)} }

// Next reads the next frame into f: Seq counts the good frames from 1, Time is the time since the first one (negative
// where the recording clock was set back), Bus the index of its interface in Interfaces. It returns io.EOF at the end,
// else the source's read error with the line number, for good.
func (r *Reader) Next(f *frame.Frame) error {
	for r.err == nil {
		line, err := r.readLine()
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			r.err = err
			break
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		iface, perr := Parse(line, f)
		if perr == nil {
			f.Bus, perr = r.bus(iface)
		}
		if perr != nil {
			r.damaged++
			if len(r.faults) < maxFaults {
				r.faults = append(r.faults, Fault{r.line, perr})
			}
			continue
		}
		if r.frames == 0 {
			r.start = f.Time
		}
		r.frames++
		f.Seq = r.frames
		f.Time -= r.start
		return nil
	}
	*f = frame.Frame{}
	return r.err
}

// readLine returns the next line with its end. A line longer than the buffer is returned cut, which Parse refuses as too
// long; the rest of it is thrown away.
func (r *Reader) readLine() ([]byte, error) {
	line, err := r.src.ReadSlice('\n')
	r.line++
	if errors.Is(err, bufio.ErrBufferFull) {
		cut := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.src.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			err = nil // the next call finds the end again
		}
		line = cut
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("canlog: line %d: %w", r.line, err)
	}
	return line, err
}

var errBuses = fmt.Errorf("%w: more than %d interfaces in one log", ErrSyntax, maxBuses)

func (r *Reader) bus(iface []byte) (uint8, error) {
	for i, b := range r.buses {
		if b == string(iface) {
			return uint8(i), nil
		}
	}
	if len(r.buses) == maxBuses {
		return 0, errBuses
	}
	r.buses = append(r.buses, string(iface))
	return uint8(len(r.buses) - 1), nil
}

// Interfaces lists the interface names in the order of their first frame.
func (r *Reader) Interfaces() []string { return r.buses }

// Start is the time of the first frame since 1970-01-01 UTC, or since whatever the log counts from; zero before it.
func (r *Reader) Start() time.Duration { return r.start }

// Frames is the number of good frames so far.
func (r *Reader) Frames() uint64 { return r.frames }

// Damaged is the number of lines so far that were no frame.
func (r *Reader) Damaged() int { return r.damaged }

// Faults are the first 20 damaged lines.
func (r *Reader) Faults() []Fault { return r.faults }
