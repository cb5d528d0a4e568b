// Package pcapng reads and writes pcapng, the capture format of Wireshark, with frames as LINKTYPE_CAN_SOCKETCAN (227):
//
//	0  1  2  3   4    5      6  7    8 …
//	identifier   len  flags  0  0    data
//
// The identifier is big endian and carries the bits of Linux' struct can_frame: 31 extended, 30 remote, 29 error report.
// flags are those of struct canfd_frame: 1 bit rate switch, 2 error state, 4 CAN FD. A packet of 72 bytes is CAN FD also
// without the last one: recordings made before it existed.
package pcapng

import (
	"encoding/binary"
	"fmt"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
)

// LinkType is LINKTYPE_CAN_SOCKETCAN of the tcpdump group's list.
const LinkType = 227

const (
	headSize = 8
	fdSize   = headSize + frame.MaxData

	extendedBit = 1 << 31
	remoteBit   = 1 << 30
	errorBit    = 1 << 29

	fdBRS = 1
	fdESI = 2
	fdFDF = 4
)

var (
	errShort  = fmt.Errorf("%w: packet shorter than its frame", canlog.ErrDamaged)
	errID     = fmt.Errorf("%w: identifier out of range", canlog.ErrDamaged)
	errLength = fmt.Errorf("%w: a length no such frame can have", canlog.ErrDamaged)
)

// decode reads one packet into f, which is zero.
func decode(b []byte, f *frame.Frame) error {
	if len(b) < headSize {
		return errShort
	}
	id := binary.BigEndian.Uint32(b)
	n := int(b[4])
	if n > frame.MaxData {
		return errLength
	}
	switch {
	case id&errorBit != 0:
		f.Flags = frame.Error
		f.ID = id & frame.MaxExtendedID
	case id&extendedBit != 0:
		f.Flags = frame.Extended
		f.ID = id & frame.MaxExtendedID
	default:
		f.ID = id &^ remoteBit
		if f.ID > frame.MaxStandardID {
			return errID
		}
	}
	switch {
	case f.Is(frame.Error):
	case b[5]&fdFDF != 0 || len(b) == fdSize:
		f.Flags |= frame.FD
		if b[5]&fdBRS != 0 {
			f.Flags |= frame.BRS
		}
		if b[5]&fdESI != 0 {
			f.Flags |= frame.ESI
		}
	}
	if id&remoteBit != 0 && !f.Is(frame.Error) {
		f.Flags |= frame.Remote
	} else if len(b) < headSize+n {
		return errShort
	} else {
		copy(f.Data[:n], b[headSize:])
	}
	f.Len = uint8(n)
	if f.Validate() != nil {
		return errLength
	}
	return nil
}

// encode appends the packet of f, which is valid and not a K-line or J1850 message.
func encode(dst []byte, f *frame.Frame) []byte {
	id, flags := f.ID, byte(0)
	switch {
	case f.Is(frame.Error):
		id |= errorBit
	case f.Is(frame.Extended):
		id |= extendedBit
	}
	if f.Is(frame.Remote) {
		id |= remoteBit
	}
	if f.Is(frame.FD) {
		flags = fdFDF
		if f.Is(frame.BRS) {
			flags |= fdBRS
		}
		if f.Is(frame.ESI) {
			flags |= fdESI
		}
	}
	dst = binary.BigEndian.AppendUint32(dst, id)
	dst = append(dst, f.Len, flags, 0, 0)
	if f.Is(frame.Remote) {
		return dst
	}
	return append(dst, f.Bytes()...)
}
