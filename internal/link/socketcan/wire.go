package socketcan

import (
	"encoding/binary"
	"fmt"

	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// Structures of linux/can.h, in the byte order of the machine:
//
//	can_frame    id (4) | len | pad | res | len8_dlc | data (8)
//	canfd_frame  id (4) | len | flags | res | res    | data (64)
const (
	classicSize = 16 // CAN_MTU
	fdSize      = 72 // CANFD_MTU

	idFlagExtended = 1 << 31 // CAN_EFF_FLAG
	idFlagRemote   = 1 << 30 // CAN_RTR_FLAG
	idFlagError    = 1 << 29 // CAN_ERR_FLAG
	idMask         = frame.MaxExtendedID

	fdFlagBRS = 1 // CANFD_BRS
	fdFlagESI = 2 // CANFD_ESI

	dataAt     = 8
	classicMax = 8
)

// decode reads one structure as the kernel delivered it. b's length tells the two kinds apart. A structure that no bus
// could carry (a length of 15, an 11-bit identifier of 12 bits) is link.ErrGarbled and leaves f unspecified.
func decode(b []byte, f *frame.Frame) error {
	limit := classicMax
	switch len(b) {
	case classicSize:
	case fdSize:
		limit = frame.MaxData
	default:
		return fmt.Errorf("%w: %d bytes are not a CAN frame", link.ErrGarbled, len(b))
	}
	id, n := binary.NativeEndian.Uint32(b), int(b[4])
	if n > limit {
		return fmt.Errorf("%w: frame with length %d", link.ErrGarbled, n)
	}
	*f = frame.Frame{ID: id & idMask, Len: uint8(n), Dir: frame.Received}
	if id&idFlagError != 0 {
		f.Flags |= frame.Error
	} else if id&idFlagExtended != 0 {
		f.Flags |= frame.Extended
	}
	if id&idFlagRemote != 0 {
		f.Flags |= frame.Remote
	} else {
		copy(f.Data[:n], b[dataAt:])
	}
	if len(b) == fdSize {
		f.Flags |= frame.FD
		if b[5]&fdFlagBRS != 0 {
			f.Flags |= frame.BRS
		}
		if b[5]&fdFlagESI != 0 {
			f.Flags |= frame.ESI
		}
	}
	if err := f.Validate(); err != nil {
		return fmt.Errorf("%w: %w", link.ErrGarbled, err)
	}
	return nil
}

// encode writes f into b, which must hold fdSize bytes, and returns the length of the structure. f must be valid and
// must not be a legacy message.
func encode(b []byte, f *frame.Frame) int {
	_ = b[fdSize-1]
	clear(b[:fdSize])
	id := f.ID
	switch {
	case f.Is(frame.Error):
		id |= idFlagError
	case f.Is(frame.Extended):
		id |= idFlagExtended
	}
	if f.Is(frame.Remote) {
		id |= idFlagRemote
	} else {
		copy(b[dataAt:], f.Bytes())
	}
	binary.NativeEndian.PutUint32(b, id)
	b[4] = f.Len
	if !f.Is(frame.FD) {
		return classicSize
	}
	if f.Is(frame.BRS) {
		b[5] |= fdFlagBRS
	}
	if f.Is(frame.ESI) {
		b[5] |= fdFlagESI
	}
	return fdSize
}
