// Package open chooses the reader of a recording by what is in it, never by its name: candump (logged or printed), ASC, pcapng, pcap, BLF, each
// also packed with gzip or zstd.
package open

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"obdgate/internal/canlog"
	"obdgate/internal/canlog/asc"
	"obdgate/internal/canlog/blf"
	"obdgate/internal/canlog/pcapng"
	"obdgate/internal/frame"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Format is how a recording is written down.
type Format string

const (
	Candump Format = "candump"
	Long    Format = "candump, as on the screen"
	ASC     Format = "asc"
	PCAPNG  Format = "pcapng"
	PCAP    Format = "pcap"
	BLF     Format = "blf"
)

// look is how many bytes decide.
const look = 4096

// maxWindow bounds the memory of a zstd stream in bytes.
const maxWindow = 64 << 20

// ErrPacked: the packing around the recording is damaged. It wraps canlog.ErrDamaged.
var ErrPacked = fmt.Errorf("%w: packed data that cannot be unpacked", canlog.ErrDamaged)

// Reader returns the Source for what r holds. An empty recording is an empty candump log. The error is r's, or ErrPacked.
// Nothing needs to be closed but r, by the caller.
func Reader(r io.Reader) (canlog.Source, Format, error) {
	in, format, err := choose(r)
	if err != nil {
		return nil, "", err
	}
	switch format {
	case PCAPNG:
		return pcapng.NewReader(in), format, nil
	case PCAP:
		return pcapng.NewClassic(in), format, nil
	case BLF:
		return blf.NewReader(in), format, nil
	case ASC:
		return asc.NewReader(in), format, nil
	case Long:
		return canlog.NewLongReader(in), format, nil
	}
	return canlog.NewReader(in), format, nil
}

// Text is Reader for those who read candump text themselves: it returns the unpacked text of a candump log, and a Source
// for every other format; the other of the two is nil.
func Text(r io.Reader) (text io.Reader, other canlog.Source, err error) {
	in, format, err := choose(r)
	if err != nil {
		return nil, nil, err
	}
	switch format {
	case PCAPNG:
		return nil, pcapng.NewReader(in), nil
	case PCAP:
		return nil, pcapng.NewClassic(in), nil
	case BLF:
		return nil, blf.NewReader(in), nil
	case ASC:
		return nil, asc.NewReader(in), nil
	case Long:
		return nil, canlog.NewLongReader(in), nil
	}
	return in, nil, nil
}

// choose looks at the beginning of the unpacked recording.
func choose(r io.Reader) (*bufio.Reader, Format, error) {
	in, err := unpack(&file{Reader: r})
	if err != nil {
		return nil, "", err
	}
	head, err := in.Peek(look)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", err
	}
	switch {
	case bytes.HasPrefix(head, []byte("\x0A\x0D\x0D\x0A")):
		return in, PCAPNG, nil
	case pcapng.IsClassic(head):
		return in, PCAP, nil
	case bytes.HasPrefix(head, []byte("LOGG")):
		return in, BLF, nil
	case isASC(head):
		return in, ASC, nil
	case isLong(head):
		return in, Long, nil
	}
	return in, Candump, nil
}

// unpack takes gzip or zstd off, where one is there.
func unpack(f *file) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(f, look)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var z io.Reader
	switch {
	case bytes.HasPrefix(head, []byte("\x1F\x8B")):
		z, err = gzip.NewReader(in)
	case bytes.Equal(head, []byte("\x28\xB5\x2F\xFD")):
		z, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	default:
		return in, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, f.why(err)
	}
	return bufio.NewReaderSize(packing{z, f}, look), nil
}

// file remembers why the file itself could not be read, to tell that from damage of the packing.
type file struct {
	io.Reader
	err error
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// packing reads the unpacked recording.
type packing struct {
	io.Reader
	file *file
}

func (s packing) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	return n, s.file.why(err)
}

func (f *file) why(err error) error {
	switch {
	case err == nil, err == io.EOF:
		return err
	case f.err != nil:
		return f.err
	}
	return fmt.Errorf("%w: %w", ErrPacked, err)
}

// isASC counts which format more of the first lines look like; a tie is candump, which tells every line it cannot read.
func isASC(head []byte) bool {
	asc, candump := 0, 0
	for line := range bytes.Lines(head) {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0:
		case line[0] == '(':
			candump++
		case line[0] >= '0' && line[0] <= '9', bytes.HasPrefix(line, []byte("//")):
			asc++
		default:
			for _, word := range []string{"date ", "base ", "internal events", "no internal events", "begin triggerblock"} {
				if len(line) >= len(word) && bytes.EqualFold(line[:len(word)], []byte(word)) {
					asc++
				}
			}
		}
	}
	return asc > candump
}

// isLong looks for a line as candump prints it before any as it logs it.
func isLong(head []byte) bool {
	var f frame.Frame
	for line := range bytes.Lines(head) {
		line = bytes.TrimSpace(line)
		if _, err := canlog.Parse(line, &f); err == nil {
			return false
		}
		if _, err := canlog.ParseLong(line, &f); err == nil {
			return true
		}
	}
	return false
}
