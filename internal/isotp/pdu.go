package isotp

import (
	"encoding/binary"
	"time"

	"obdgate/internal/frame"
)

// Lengths of ISO 15765-2, in bytes.
const (
	MaxClassic = 4095    // longest message with a 12-bit length
	MaxMessage = 1 << 20 // longest message this package handles, CAN FD only; the standard's 32-bit length is not trusted
	classicDL  = 8       // CAN_DL of a classic frame
)

// Kind is the type of a protocol data unit: its N_PCItype plus one, so that the zero value is no PDU.
type Kind uint8

const (
	NoPDU Kind = iota
	Single
	First
	Consecutive
	FlowControl
)

func (k Kind) String() string {
	switch k {
	case Single:
		return "single frame"
	case First:
		return "first frame"
	case Consecutive:
		return "consecutive frame"
	case FlowControl:
		return "flow control"
	}
	return "no PDU"
}

// Status is the flow status of a flow control frame.
type Status uint8

const (
	Continue Status = iota // clear to send
	Wait
	Overflow
)

// Flow is the content of a flow control frame.
type Flow struct {
	Status    Status
	BlockSize byte  // consecutive frames until the next flow control, 0 = all
	STmin     STmin // least time between consecutive frames
}

// STmin is the separation time as coded on the bus: 00..7F are milliseconds, F1..F9 are 100..900 µs, all others are
// reserved and mean 127 ms.
type STmin byte

// Duration is the time that s asks for.
func (s STmin) Duration() time.Duration {
	switch {
	case s <= 0x7F:
		return time.Duration(s) * time.Millisecond
	case s >= 0xF1 && s <= 0xF9:
		return time.Duration(s-0xF0) * 100 * time.Microsecond
	}
	return 127 * time.Millisecond
}

// STminOf returns the shortest separation time that is at least d; negative d is 0, everything above 127 ms is 127 ms.
func STminOf(d time.Duration) STmin {
	switch {
	case d <= 0:
		return 0
	case d <= 900*time.Microsecond:
		return 0xF0 + STmin((d+100*time.Microsecond-1)/(100*time.Microsecond))
	case d >= 127*time.Millisecond:
		return 0x7F
	}
	return STmin((d + time.Millisecond - 1) / time.Millisecond)
}

// PDU is one frame of ISO 15765-2.
type PDU struct {
	Kind   Kind
	Ext    bool // extended addressing: Target precedes the PCI
	Target byte // N_TA, only with Ext

	Length int    // Single, First: bytes of the message
	Seq    byte   // Consecutive: 0..15
	Flow   Flow   // FlowControl
	Data   []byte // message bytes in this frame, not copied; of a Consecutive frame the padding is still in it
}

// Byte rulers, extended addressing puts the target byte in front (and shortens the data by one):
//
//	single         0L d1..d7              L = 1..7
//	single, FD     00 LL d1..d62          LL = 8..62, only in frames above 8 bytes
//	first          1L LL d1..d6           12-bit length, 8..4095
//	first, long    10 00 LL LL LL LL d..  32-bit length, above 4095
//	consecutive    2N d1..d7              N = 1..F, 0, 1 ..
//	flow control   3S BS ST               S = 0 continue, 1 wait, 2 overflow
//
// Padding may follow in single, consecutive and flow control frames; a first frame is always full.

// Decode reads the data bytes of one frame. ext says that the first of them is an address byte. The error is ErrEmpty,
// ErrLength or ErrReserved; the PDU then has its Kind where that much could be read. Data points into b.
func Decode(b []byte, ext bool) (PDU, error) {
	p := PDU{Ext: ext}
	n := len(b) // CAN_DL
	if ext {
		if len(b) < 1 {
			return p, ErrEmpty
		}
		p.Target, b = b[0], b[1:]
	}
	if len(b) < 1 {
		return p, ErrEmpty
	}
	if n > frame.MaxData {
		return p, ErrLength
	}
	switch b[0] >> 4 {
	case 0:
		p.Kind = Single
		return decodeSingle(p, b, n)
	case 1:
		p.Kind = First
		return decodeFirst(p, b, n)
	case 2:
		p.Kind = Consecutive
		if len(b) < 2 {
			return p, ErrLength
		}
		p.Seq, p.Data = b[0]&0xF, b[1:]
		return p, nil
	case 3:
		p.Kind = FlowControl
		if len(b) < 3 {
			return p, ErrLength
		}
		p.Flow = Flow{Status: Status(b[0] & 0xF), BlockSize: b[1], STmin: STmin(b[2])}
		if p.Flow.Status > Overflow {
			return p, ErrReserved
		}
		return p, nil
	}
	return p, ErrReserved
}

func decodeSingle(p PDU, b []byte, n int) (PDU, error) {
	length, data := int(b[0]&0xF), b[1:]
	if n > classicDL {
		if length != 0 || len(data) < 1 {
			return p, ErrLength
		}
		length, data = int(data[0]), data[1:]
		if length <= singleCap(classicDL, p.Ext) {
			return p, ErrLength
		}
	}
	if length < 1 || length > len(data) || length > singleCap(n, p.Ext) {
		return p, ErrLength
	}
	p.Length, p.Data = length, data[:length]
	return p, nil
}

func decodeFirst(p PDU, b []byte, n int) (PDU, error) {
	if n < classicDL || frame.PadLen(n) != n {
		return p, ErrLength
	}
	p.Length, p.Data = int(b[0]&0xF)<<8|int(b[1]), b[2:]
	if p.Length == 0 {
		long := binary.BigEndian.Uint32(b[2:])
		p.Data = b[6:]
		if long <= MaxClassic || uint64(long) > uint64(maxInt) {
			return p, ErrLength
		}
		p.Length = int(long)
	}
	if p.Length <= singleCap(n, p.Ext) {
		return p, ErrLength
	}
	return p, nil
}

const maxInt = int(^uint(0) >> 1)

// singleCap is the longest message that fits a single frame of n data bytes.
func singleCap(n int, ext bool) int {
	c := n - 1
	if n > classicDL {
		c = n - 2
	}
	if ext {
		c--
	}
	return c
}

// Append writes p after dst, without padding, and returns the result; it is the mirror of Decode. The error is that of
// Decode for the same content, and dst is returned unchanged with it. The Data of a First frame must fill a frame
// exactly (8 bytes, or a CAN FD length).
func Append(dst []byte, p PDU) ([]byte, error) {
	out := dst
	if p.Ext {
		out = append(out, p.Target)
	}
	switch p.Kind {
	case Single:
		if p.Length != len(p.Data) || p.Length < 1 || p.Length > singleCap(frame.MaxData, p.Ext) {
			return dst, ErrLength
		}
		if p.Length <= singleCap(classicDL, p.Ext) {
			out = append(out, byte(p.Length))
		} else {
			out = append(out, 0, byte(p.Length))
		}
	case First:
		if p.Length <= MaxClassic {
			out = append(out, 0x10|byte(p.Length>>8), byte(p.Length))
		} else {
			out = append(out, 0x10, 0)
			out = binary.BigEndian.AppendUint32(out, uint32(p.Length))
		}
		n := len(out) - len(dst) + len(p.Data)
		if p.Length < 0 || uint64(p.Length) > 0xFFFFFFFF || n < classicDL || n > frame.MaxData || frame.PadLen(n) != n ||
			p.Length <= singleCap(n, p.Ext) {
			return dst, ErrLength
		}
	case Consecutive:
		if len(p.Data) < 1 || len(out)-len(dst)+1+len(p.Data) > frame.MaxData {
			return dst, ErrLength
		}
		if p.Seq > 0xF {
			return dst, ErrReserved
		}
		out = append(out, 0x20|p.Seq)
	case FlowControl:
		if p.Flow.Status > Overflow {
			return dst, ErrReserved
		}
		return append(out, 0x30|byte(p.Flow.Status), p.Flow.BlockSize, byte(p.Flow.STmin)), nil
	default:
		return dst, ErrReserved
	}
	return append(out, p.Data...), nil
}

// Padding says how frames that we send are filled up. The zero value fills classic frames to 8 bytes with 00, which
// ISO 15765-4 asks of a tester.
type Padding struct {
	Byte byte // what to fill with: 00, 55, AA and CC are usual
	Off  bool // leave classic frames short; CAN FD frames are still filled to the next length that exists
}

// Append fills the frame that starts at dst[start] up.
func (p Padding) Append(dst []byte, start int) []byte {
	n := len(dst) - start
	want := frame.PadLen(n)
	if n < classicDL && !p.Off {
		want = classicDL
	}
	for ; n < want; n++ {
		dst = append(dst, p.Byte)
	}
	return dst
}
