package pcapng

import (
	"encoding/binary"
	"fmt"
	"io"

	"obdgate/internal/canlog"
)

// Bounds of what a file may make the reader hold.
const (
	maxBlock      = 1 << 20 // bytes of one block; a block of a CAN frame has some 60
	maxInterfaces = 256     // in one section
)

// Block types (pcapng specification, section 4).
const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockOld       = 2 // obsolete, still found
	blockSimple    = 3
	blockPacket    = 6
	byteOrder      = 0x1A2B3C4D
)

var (
	errBlock   = fmt.Errorf("%w: a block with an impossible length", canlog.ErrDamaged)
	errCut     = fmt.Errorf("%w: the file ends in the middle of a block", canlog.ErrDamaged)
	errSection = fmt.Errorf("%w: a section without byte order", canlog.ErrDamaged)
	errMany    = fmt.Errorf("%w: more than %d interfaces", canlog.ErrDamaged, maxInterfaces)
)

// fence reads whole blocks of bounded size and remembers where they begin. A block whose two lengths disagree ends the
// file: nothing behind it can be found again.
type fence struct {
	src    io.Reader
	err    error
	block  []byte
	size   int   // of the block
	start  int64 // where it begins
	next   int64
	order  binary.ByteOrder
	begun  bool // a section
	ifaces int
}

// read returns the next block from its type to its second length, valid until the next call.
func (f *fence) read() ([]byte, error) {
	if f.err == nil {
		f.err = f.fill()
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.block[:f.size], nil
}

// fill reads the next block.
func (f *fence) fill() error {
	f.start = f.next
	if f.block == nil {
		f.block = make([]byte, 256)
	}
	head := f.block[:12]
	n, err := io.ReadFull(f.src, head)
	switch {
	case n == 0 && err == io.EOF:
		return io.EOF
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return errCut
	case err != nil:
		return err
	}
	if binary.LittleEndian.Uint32(head) == blockSection {
		switch {
		case binary.LittleEndian.Uint32(head[8:]) == byteOrder:
			f.order = binary.LittleEndian
		case binary.BigEndian.Uint32(head[8:]) == byteOrder:
			f.order = binary.BigEndian
		default:
			return errSection
		}
		f.ifaces, f.begun = 0, true
	}
	if !f.begun {
		return errSection
	}
	if f.order.Uint32(head) == blockInterface {
		if f.ifaces++; f.ifaces > maxInterfaces {
			return errMany
		}
	}
	size := int64(f.order.Uint32(head[4:]))
	if size < 12 || size%4 != 0 || size > maxBlock {
		return errBlock
	}
	if int64(len(f.block)) < size {
		f.block = append(make([]byte, 0, size), f.block...)[:size]
	}
	if n, err := io.ReadFull(f.src, f.block[12:size]); err != nil && n < int(size-12) {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return errCut
		}
		return err
	}
	if int64(f.order.Uint32(f.block[size-4:])) != size {
		return errBlock
	}
	f.next += size
	f.size = int(size)
	return nil
}
