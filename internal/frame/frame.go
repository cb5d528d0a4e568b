// Package frame holds one bus frame: identifier, flags, up to 64 bytes, the bus it was on, its place in the session
// and its direction. A Frame is a plain value; copying it is safe and no method keeps a reference.
//
// A frame may carry a customer's life. Frame therefore prints its identifier and length but never its payload; code
// that must write the bytes (a recording, a bus) asks for them by name with Bytes.
package frame

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// MaxData is the longest payload of one frame in bytes (CAN FD, ISO 11898-1).
const MaxData = 64

// Identifier limits of ISO 11898-1.
const (
	MaxStandardID = 0x7FF
	MaxExtendedID = 0x1FFFFFFF
)

// Flags say what kind of frame it is. The zero value is a classic data frame with an 11-bit identifier.
type Flags uint8

const (
	Extended Flags = 1 << iota // 29-bit identifier
	Remote                     // remote transmission request, no data
	FD                         // CAN FD format
	BRS                        // CAN FD bit-rate switch
	ESI                        // CAN FD error state indicator
	Error                      // controller error report: ID and Data are the kernel's error class, not bus content
	Legacy                     // K-line or J1850 message: ID is the three header bytes, Data the message without checksum
)

// Direction says who sent a frame.
type Direction uint8

const (
	Unknown  Direction = iota
	Received           // from the vehicle
	Sent               // by obdgate
)

func (d Direction) String() string {
	switch d {
	case Received:
		return "rx"
	case Sent:
		return "tx"
	}
	return "?"
}

// Frame is one frame on one bus.
type Frame struct {
	Seq   uint64        // place in the session, from 1, in the order seen on the link; 0 = not numbered
	Time  time.Duration // since the start of the session
	ID    uint32        // 11 or 29 bits; with Legacy the three header bytes (priority or format, target, source)
	Flags Flags
	Dir   Direction
	Bus   uint8 // index of the bus in the session, from 0
	Len   uint8 // bytes used in Data, 0..64
	Data  [MaxData]byte
}

// ErrInvalid marks a frame that no bus could carry.
var ErrInvalid = errors.New("frame: invalid frame")

// New makes a classic data frame; an id above 0x7FF or the flag Extended makes it 29-bit. It panics when data is longer
// than 64 bytes, which is a programming error.
func New(id uint32, flags Flags, data ...byte) Frame {
	if len(data) > MaxData {
		panic("frame: more than 64 data bytes")
	}
	f := Frame{ID: id, Flags: flags, Len: uint8(len(data))}
	if id > MaxStandardID && flags&Legacy == 0 {
		f.Flags |= Extended
	}
	copy(f.Data[:], data)
	return f
}

// Bytes returns the payload. The slice points into f and is valid as long as f is.
func (f *Frame) Bytes() []byte { return f.Data[:min(int(f.Len), MaxData)] }

// Is reports whether every flag in flags is set.
func (f *Frame) Is(flags Flags) bool { return f.Flags&flags == flags }

// Validate returns ErrInvalid, wrapped with the reason, for an identifier or length that the frame's kind cannot have.
func (f *Frame) Validate() error {
	switch {
	case f.Is(Legacy):
		if f.ID > 0xFFFFFF {
			return fmt.Errorf("%w: legacy header above 24 bits", ErrInvalid)
		}
	case f.Is(Extended) && f.ID > MaxExtendedID, f.Is(Error) && f.ID > MaxExtendedID:
		return fmt.Errorf("%w: identifier above 29 bits", ErrInvalid)
	case !f.Is(Extended) && !f.Is(Error) && f.ID > MaxStandardID:
		return fmt.Errorf("%w: identifier above 11 bits", ErrInvalid)
	}
	switch {
	case f.Len > MaxData:
		return fmt.Errorf("%w: %d data bytes", ErrInvalid, f.Len)
	case f.Is(Legacy):
	case !f.Is(FD) && f.Len > 8:
		return fmt.Errorf("%w: %d data bytes in a classic frame", ErrInvalid, f.Len)
	case f.Is(FD) && PadLen(int(f.Len)) != int(f.Len):
		return fmt.Errorf("%w: CAN FD has no length %d", ErrInvalid, f.Len)
	case f.Is(FD) && f.Is(Remote):
		return fmt.Errorf("%w: CAN FD has no remote frames", ErrInvalid)
	}
	return nil
}

// PadLen returns the shortest CAN FD payload length that holds n bytes (ISO 11898-1, DLC table); n must be 0..64.
func PadLen(n int) int {
	switch {
	case n <= 8:
		return n
	case n <= 24:
		return (n + 3) / 4 * 4
	case n <= 32:
		return 32
	case n <= 48:
		return 48
	}
	return 64
}

// IDString is the identifier as candump prints it: three hex digits, eight when extended, six for a legacy header.
func (f *Frame) IDString() string {
	switch {
	case f.Is(Legacy):
		return fmt.Sprintf("%06X", f.ID)
	case f.Is(Extended), f.Is(Error):
		return fmt.Sprintf("%08X", f.ID)
	}
	return fmt.Sprintf("%03X", f.ID)
}

// String names the frame without its payload.
func (f Frame) String() string {
	return fmt.Sprintf("%s [%d] %s #%d", f.IDString(), f.Len, f.Dir, f.Seq)
}

// Format keeps every fmt verb, %#v included, from printing the payload.
func (f Frame) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(f.String())) }

// LogValue keeps slog from printing the payload.
func (f Frame) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", f.IDString()), slog.Int("len", int(f.Len)),
		slog.String("dir", f.Dir.String()), slog.Uint64("seq", f.Seq))
}

// MarshalJSON refuses: a frame is exported only by the code that tags and masks it.
func (f Frame) MarshalJSON() ([]byte, error) {
	return nil, errors.New("frame: a frame is not JSON; export it through its tag")
}
