package blf

import (
	"encoding/binary"
	"fmt"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
)

var (
	errShort  = fmt.Errorf("%w: an object shorter than its kind", canlog.ErrDamaged)
	errID     = fmt.Errorf("%w: identifier out of range", canlog.ErrDamaged)
	errLength = fmt.Errorf("%w: a length no such frame can have", canlog.ErrDamaged)
)

const extendedBit = 1 << 31

// decode reads the content of an object that isFrame, behind a head of so many bytes, into f, which is zero, and returns
// its channel, from 1.
//
//	CAN_MESSAGE, CAN_MESSAGE2    channel16 flags8 dlc8 id32 data[8]
//	CAN_ERROR, CAN_ERROR_EXT     channel16 …
//	CAN_FD_MESSAGE               channel16 flags8 dlc8 id32 duration32 bits8 fdflags8 valid8 …5 data[64]
//	CAN_FD_MESSAGE_64            channel8 dlc8 valid8 count8 id32 duration32 flags32 …16 bits16 dir8 ext8 crc32 data[valid]
//	CAN_FD_ERROR_64              channel8 …
func decode(typ uint32, b []byte, headSize int, f *frame.Frame) (channel uint16, err error) {
	switch typ {
	case typeError, typeErrorExt, typeFDError64:
		if len(b) < 4 {
			return 0, errShort
		}
		channel = binary.LittleEndian.Uint16(b)
		if typ == typeFDError64 {
			channel = uint16(b[0])
		}
		*f = frame.Frame{ID: canlog.BusError, Flags: frame.Error, Len: 8}
		return channel, nil
	case typeFD64:
		return fd64(b, headSize, f)
	}
	size := 16
	if typ == typeFD {
		size = 20
	}
	if len(b) < size {
		return 0, errShort
	}
	flags, dlc := b[2], b[3]
	if err := identify(f, binary.LittleEndian.Uint32(b[4:])); err != nil {
		return 0, err
	}
	remote := flags&0x80 != 0
	if f.Dir, err = direction(flags & 15); err != nil {
		return 0, err
	}
	if typ != typeFD {
		return binary.LittleEndian.Uint16(b), fill(f, dlc, 8, b[8:16], remote)
	}
	kind, valid := b[13], b[14]
	fdFlags(f, kind&1 != 0, kind&2 != 0, kind&4 != 0)
	return binary.LittleEndian.Uint16(b), fill(f, dlc, valid, b[20:], remote)
}

func fd64(b []byte, headSize int, f *frame.Frame) (channel uint16, err error) {
	const head = 40
	if len(b) < head {
		return 0, errShort
	}
	if err := identify(f, binary.LittleEndian.Uint32(b[4:])); err != nil {
		return 0, err
	}
	flags := binary.LittleEndian.Uint32(b[12:])
	fdFlags(f, flags&0x1000 != 0, flags&0x2000 != 0, flags&0x4000 != 0)
	if f.Dir, err = direction(b[34]); err != nil {
		return 0, err
	}
	data := b[head:]
	if ext := int(b[35]); ext != 0 { // counted from the object's beginning
		if n := ext - headSize - head; n >= 0 && n < len(data) {
			data = data[:n]
		}
	}
	// Vector's own reader takes bytes that are not there for zero: writers leave trailing ones out.
	var padded [frame.MaxData]byte
	copy(padded[:], data)
	return uint16(b[0]), fill(f, b[1], b[2], padded[:], flags&0x10 != 0)
}

func identify(f *frame.Frame, id uint32) error {
	f.ID = id &^ extendedBit
	limit := uint32(frame.MaxStandardID)
	if id&extendedBit != 0 {
		f.Flags, limit = frame.Extended, frame.MaxExtendedID
	}
	if f.ID > limit {
		return errID
	}
	return nil
}

// direction: 0 received, 1 sent, 2 wanted to be sent, which is on the bus only once it is sent.
func direction(d byte) (frame.Direction, error) {
	switch d {
	case 0:
		return frame.Received, nil
	case 1:
		return frame.Sent, nil
	}
	return frame.Unknown, errSkip
}

func fdFlags(f *frame.Frame, edl, brs, esi bool) {
	if !edl {
		return
	}
	f.Flags |= frame.FD
	if brs {
		f.Flags |= frame.BRS
	}
	if esi {
		f.Flags |= frame.ESI
	}
}

// fill sets length and data. valid is how many data bytes the object says it holds.
func fill(f *frame.Frame, dlc, valid byte, data []byte, remote bool) error {
	if dlc > 15 {
		return errLength
	}
	n := canlog.DataLength(dlc, f.Is(frame.FD))
	f.Len = uint8(n)
	if remote {
		f.Flags |= frame.Remote
	} else {
		if n > int(valid) || n > len(data) {
			return errLength
		}
		copy(f.Data[:n], data)
	}
	if f.Validate() != nil {
		return errLength
	}
	return nil
}
