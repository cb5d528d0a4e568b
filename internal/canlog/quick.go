package canlog

import (
	"encoding/binary"
	"math/bits"
	"time"

	"obdgate/internal/frame"
)

// Quick parses the lines that nearly all logs consist of, eight characters at a time:
//
//	(1690000000.123456) can0 7E8#0641000000000000
//
// that is ten digits of seconds, six or nine of the fraction, an interface of at most seven characters, an 11- or 29-bit
// identifier, and the data of a classic frame in at most sixteen hex digits, ended by a line feed. Every other line is
// left to Parse; where Quick says yes, Parse says the same (a fuzz test holds that). The zero value is ready; it remembers
// the last second and interface, which the next line most likely has too. Not for concurrent use.
type Quick struct {
	head   [2]uint64 // "(1690000" and "000000."
	second time.Duration
	bus    uint64 // "can0 " in the low bytes
	busAll uint64 // which of the eight bytes those are
	busLen int
}

// Reach is how many bytes must be readable from the beginning of a line for Quick to try it.
const Reach = 80

// Span is where the parts of a line are: the interface is line[Iface:IfaceEnd], the data digits begin at Data, and the
// line, its line feed included, has Next bytes.
type Span struct{ Iface, IfaceEnd, Data, Next int }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
	zeros = 0x3030303030303030 // "00000000"
)

// Parse reads the line at the beginning of b into f: Time, ID, Flags, Len, Dir and Data are set, Seq and Bus are zero. ok
// is false when the line is not of the common form or b ends within Reach; f is then half written.
func (q *Quick) Parse(b []byte, f *frame.Frame) (s Span, ok bool) {
	if len(b) < Reach {
		return s, false
	}
	b = b[:Reach:Reach]
	w0, w1 := binary.LittleEndian.Uint64(b[0:]), binary.LittleEndian.Uint64(b[4:])
	if (w0 != q.head[0] || w1 != q.head[1]) && !q.seconds(b, w0, w1) {
		return s, false
	}
	at := 20
	w := binary.LittleEndian.Uint64(b[12:])
	if w>>48 != 0x2029 { // ") "
		if b[21] != ')' || b[22] != ' ' {
			return s, false
		}
		v, good := decimal8(w)
		last := b[20] - '0'
		if !good || last > 9 {
			return s, false
		}
		f.Time, at = q.second+time.Duration(v*10+uint64(last)), 23
	} else {
		v, good := decimal8(w<<16 | 0x3030)
		if !good {
			return s, false
		}
		f.Time = q.second + time.Duration(v*1000)
	}
	if w := binary.LittleEndian.Uint64(b[at:]); w&q.busAll != q.bus || q.busAll == 0 {
		if !q.iface(w) {
			return s, false
		}
	}
	s.Iface, s.IfaceEnd = at, at+q.busLen
	at = s.IfaceEnd + 1
	switch {
	case b[at+3] == '#':
		v := uint32(nibbles[b[at]])<<8 | uint32(nibbles[b[at+1]])<<4 | uint32(nibbles[b[at+2]])
		if v > frame.MaxStandardID { // 0xFF of a character that is no digit too
			return s, false
		}
		f.ID, f.Flags, at = v, 0, at+4
	case b[at+8] == '#':
		v, bad := hex8(binary.LittleEndian.Uint64(b[at:]))
		id := bits.ReverseBytes32(v)
		if bad != 0 || id > frame.MaxExtendedID {
			return s, false
		}
		f.ID, f.Flags, at = id, frame.Extended, at+9
	default:
		return s, false
	}
	s.Data = at
	lo, bad := hex8(binary.LittleEndian.Uint64(b[at:]))
	n, hi := 8, uint32(0)
	if bad == 0 {
		hi, bad = hex8(binary.LittleEndian.Uint64(b[at+8:]))
		n = 16
	}
	data := uint64(lo) | uint64(hi)<<32
	if bad != 0 {
		n -= 8 - bits.TrailingZeros64(bad)/8
		if n&1 != 0 {
			return s, false
		}
		data &= 1<<(4*n) - 1
	}
	at += n
	if b[at] != '\n' {
		return s, false
	}
	if f.Len > 8 {
		clear(f.Data[8:])
	}
	binary.LittleEndian.PutUint64(f.Data[:8], data)
	f.Len, f.Dir, f.Seq, f.Bus = uint8(n/2), frame.Unknown, 0, 0
	s.Next = at + 1
	return s, true
}

// seconds reads "(1690000000." and remembers it.
func (q *Quick) seconds(b []byte, w0, w1 uint64) bool {
	q.head = [2]uint64{}
	if b[0] != '(' || b[11] != '.' {
		return false
	}
	v, good := decimal8(binary.LittleEndian.Uint64(b[1:]))
	d9, d10 := b[9]-'0', b[10]-'0'
	if !good || d9 > 9 || d10 > 9 {
		return false
	}
	v = v*100 + uint64(d9)*10 + uint64(d10)
	if v > maxSeconds {
		return false
	}
	q.second, q.head = time.Duration(v)*time.Second, [2]uint64{w0, w1}
	return true
}

// iface reads a name of at most seven characters and the one space after it.
func (q *Quick) iface(w uint64) bool {
	q.busAll = 0
	for n := range 8 {
		c := byte(w >> (8 * n))
		if c == ' ' && n > 0 {
			q.busAll = 1<<(8*n+7)<<1 - 1
			q.bus, q.busLen = w&q.busAll, n
			return true
		}
		if c <= ' ' || c >= 0x7F {
			return false
		}
	}
	return false
}

// decimal8 reads eight decimal digits; the first character is in the lowest byte.
func decimal8(w uint64) (v uint64, ok bool) {
	x := w ^ zeros
	ok = (x|(x+0x76*ones))&highs == 0
	x = x*10 + x>>8
	x = (x & 0x00FF00FF00FF00FF) * (1 + 100<<16) >> 16
	x = (x & 0x0000FFFF0000FFFF) * (1 + 10000<<32) >> 32
	return x, ok
}

// hex8 reads eight hex digits into four bytes, the first in the lowest byte. bad has the high bit of every character that
// is no hex digit; the bytes of those are nothing.
func hex8(w uint64) (v uint32, bad uint64) {
	letter := w >> 6 & ones
	low := w & (0x0F * ones)
	bad = w & highs
	bad |= (low + 0x76*ones + 3*letter) & highs // digits up to 9, letters up to F
	bad |= (letter << 7) &^ (low + 0x7F*ones)   // letters from A: low is not 0
	bad |= (w>>4&ones ^ letter ^ ones) << 7     // 3x for digits, 4x or 6x for letters
	bad |= ^(w<<2 | letter<<7) & highs          // digits have bit 5
	x := low + 9*letter
	x = (x<<4 | x>>8) & 0x00FF00FF00FF00FF
	x = (x | x>>8) & 0x0000FFFF0000FFFF
	return uint32(x | x>>16), bad
}

var nibbles = func() (t [256]uint16) {
	for i := range t {
		t[i] = 0xFFFF
		if d, ok := nibble(byte(i)); ok {
			t[i] = uint16(d)
		}
	}
	return t
}()
