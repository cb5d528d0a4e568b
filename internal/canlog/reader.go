package canlog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"obdgate/internal/frame"
)

// Lines reads a text line by line in bounded memory, however long its lines are.
type Lines struct {
	src *bufio.Reader
	n   int
	cut []byte
}

// NewLines reads lines of at most max bytes from r; what is longer is cut.
func NewLines(r io.Reader, max int) *Lines { return &Lines{src: bufio.NewReaderSize(r, max)} }

// Next returns the next line without white space at its ends; it is valid until the next call. A line longer than the
// bound is returned cut. The error is io.EOF or the source's read error with the line number.
func (l *Lines) Next() ([]byte, error) {
	line, err := l.src.ReadSlice('\n')
	l.n++
	if errors.Is(err, bufio.ErrBufferFull) {
		l.cut = append(l.cut[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = l.src.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			err = nil // the next call finds the end again
		}
		line = l.cut
	}
	if l.n == 1 { // Windows programs begin a text with a byte order mark
		line = bytes.TrimPrefix(line, []byte("\xEF\xBB\xBF"))
	}
	switch {
	case err == nil, errors.Is(err, io.EOF) && len(line) > 0:
		return bytes.TrimSpace(line), nil
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	}
	return nil, fmt.Errorf("canlog: line %d: %w", l.n, err)
}

// Number is the number of the line Next returned last, from 1.
func (l *Lines) Number() int { return l.n }

// Reader reads the frames of a candump log in order: it is the Source of this format. Blank lines and lines that begin
// with '#' (comments of a fixture) are no damage.
type Reader struct {
	Tally
	lines *Lines
	parse func([]byte, *frame.Frame) ([]byte, error)
	skip  func([]byte) bool // lines that are no frame and no damage, beside comments; nil = none
	err   error
}

var _ Source = (*Reader)(nil)

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{lines: NewLines(r, 4096), parse: Parse} }

// Next as Source says.
func (r *Reader) Next(f *frame.Frame) error {
	for r.err == nil {
		line, err := r.lines.Next()
		if err != nil {
			r.err = err
			break
		}
		if len(line) == 0 || line[0] == '#' || r.skip != nil && r.skip(line) {
			continue
		}
		iface, err := r.parse(line, f)
		if err == nil {
			err = r.Good(f, iface)
		}
		if err == nil {
			return nil
		}
		r.Bad(Fault{Line: r.lines.Number(), Err: err})
	}
	*f = frame.Frame{}
	return r.err
}
