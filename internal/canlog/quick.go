package canlog

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"time"

	"obdgate/internal/frame"
)

// Quick reads the lines that nearly all logs consist of, eight characters at a time:
//
//	(1690000000.123456) can0 7E8#0641000000000000
//	(1690000000.123456) can0 123##1112233445566778899AABBCC
//
// that is ten digits of seconds, six or nine of the fraction, an interface of at most seven characters, an 11- or 29-bit
// identifier, and the hex digits of a classic or CAN FD frame, ended by a line feed. Every other line is left to Parse;
// where Quick says yes, Parse says the same (a fuzz test holds that). The zero value is ready; it remembers the last second
// and interface, which the next line most likely has too. Not for concurrent use.
type Quick struct {
	head   [2]uint64 // "(1690000" and "000000."
	second time.Duration
	bus    uint64 // "can0 " in the low bytes
	busAll uint64 // which of the eight bytes those are
	busLen int
}

// Reach is how many bytes must be readable from the beginning of a line for Quick to try it.
const Reach = 192

// Span is where the parts of a line are: the interface is line[Iface:IfaceEnd], the data digits begin at Data, and the
// line, its line feed included, has Next bytes.
type Span struct{ Iface, IfaceEnd, Data, Next int }

// Line is everything of a line, of its data the first eight bytes and of the rest that they are pairs of hex digits.
type Line struct {
	Span
	Name  uint64 // the interface's characters and the space behind them: two lines with the same have the same interface
	Time  time.Duration
	ID    uint32
	Flags frame.Flags
	Len   uint8
	Head  uint64 // the first eight data bytes, the first in the lowest byte; those beyond the frame's end are zero
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
	zeros = 0x3030303030303030 // "00000000"
)

// Parse reads the line at the beginning of b into f: Time, ID, Flags, Len, Dir and Data are set, Seq and Bus are zero. ok
// is false when the line is not of the common form or b ends within Reach.
func (q *Quick) Parse(b []byte, f *frame.Frame) (s Span, ok bool) {
	at, id, flags, n, head, iface, data, next := q.scan(b)
	if next == 0 {
		return s, false
	}
	fill(f, b[data:], at, id, flags, n, head)
	return Span{iface, iface + q.busLen, data, next}, true
}

// Frame makes the frame of a line that Skim has read from b.
func (l *Line) Frame(b []byte, f *frame.Frame) {
	fill(f, b[l.Data:], l.Time, l.ID, l.Flags, int(l.Len), l.Head)
}

// fill makes a frame of the parts of a line whose n data bytes are the digits at the beginning of data.
func fill(f *frame.Frame, data []byte, at time.Duration, id uint32, flags frame.Flags, n int, head uint64) {
	if f.Len > 8 {
		clear(f.Data[8:])
	}
	f.Time, f.ID, f.Flags, f.Len, f.Dir, f.Seq, f.Bus = at, id, flags, uint8(n), frame.Unknown, 0, 0
	binary.LittleEndian.PutUint64(f.Data[:8], head)
	for i := 8; i < n; i += 4 { // lengths above eight are multiples of four
		binary.LittleEndian.PutUint32(f.Data[i:], hex8(binary.LittleEndian.Uint64(data[2*i:])))
	}
}

// Skim reads the line at the beginning of b into l, of its data only the first eight bytes. It is false when the line is not
// of the common form or b ends within Reach.
func (q *Quick) Skim(b []byte, l *Line) bool {
	at, id, flags, n, head, iface, data, next := q.scan(b)
	if next == 0 {
		return false
	}
	l.Iface, l.IfaceEnd, l.Data, l.Next = iface, iface+q.busLen, data, next
	l.Name, l.Time, l.ID, l.Flags, l.Len, l.Head = q.bus, at, id, flags, uint8(n), head
	return true
}

// Sift is Skim for whoever wants to know no more than whether a line passes: its identifier and flags, the number of its data
// bytes, where its interface begins and where the next line does. next is 0 where Skim says no; else Name is that of the line.
func (q *Quick) Sift(b []byte) (id uint32, flags frame.Flags, n, iface, next int) {
	_, id, flags, n, _, iface, _, next = q.scan(b)
	return id, flags, n, iface, next
}

// scan reads a line into registers: its time, the number of its data bytes, the first eight of them, where its interface, its
// data and the next line begin. next is 0 when it is not of the common form. A classic line with six digits of the fraction
// is read here, two characters at a time, each pair a look-up; others are left to seldom.
func (q *Quick) scan(b []byte) (t time.Duration, id uint32, flags frame.Flags, n int, head uint64, iface, data, next int) {
	if len(b) < Reach {
		return
	}
	p := (*[Reach]byte)(b)
	w0, w1 := binary.LittleEndian.Uint64(p[0:]), binary.LittleEndian.Uint64(p[4:])
	if (w0 != q.head[0] || w1 != q.head[1]) && !q.seconds(b, w0, w1) {
		return
	}
	w := binary.LittleEndian.Uint64(p[12:])
	a, e, z := pairs.decimal[uint16(w)], pairs.decimal[uint16(w>>16)], pairs.decimal[uint16(w>>32)]
	if w>>48 != 0x2029 || a&e&z&good == 0 { // ") "
		return q.seldom(p)
	}
	t = q.second + time.Duration(uint32(a)*10000+uint32(e)*100+uint32(z)-good*10101)*1000
	iface = 20
	if w := binary.LittleEndian.Uint64(p[iface:]); w&q.busAll != q.bus || q.busAll == 0 {
		if !q.iface(w) {
			return
		}
	}
	data = iface + q.busLen&7 + 1
	d := (*[32]byte)(p[data:])
	if d[3] == '#' {
		a, e := hexPair(d, 0), hexPair(d, 1)
		id = uint32(a&0xFF)<<4 | uint32(e&0x0F)
		if a&e&good == 0 || id > frame.MaxStandardID {
			return
		}
		data += 4
	} else {
		a, e, y, z := hexPair(d, 0), hexPair(d, 2), hexPair(d, 4), hexPair(d, 6)
		id, flags = uint32(a&0xFF)<<24|uint32(e&0xFF)<<16|uint32(y&0xFF)<<8|uint32(z&0xFF), frame.Extended
		if a&e&y&z&good == 0 || d[8] != '#' || id > frame.MaxExtendedID {
			return
		}
		data += 9
	}
	d = (*[32]byte)(p[data:])
	if d[16] == '\n' {
		a, c, e, f := hexPair(d, 0), hexPair(d, 2), hexPair(d, 4), hexPair(d, 6)
		g, h, i, j := hexPair(d, 8), hexPair(d, 10), hexPair(d, 12), hexPair(d, 14)
		if a&c&e&f&g&h&i&j&good != 0 {
			head = uint64(a) + uint64(c)<<8 + uint64(e)<<16 + uint64(f)<<24 + uint64(g)<<32 + uint64(h)<<40 + uint64(i)<<48 + uint64(j)<<56 - carried
			return t, id, flags, 8, head, iface, data, data + 17
		}
	}
	if d[0] == '#' {
		return q.seldom(p)
	}
	for n < 8 {
		e := hexPair(d, 2*n)
		if e == 0 {
			break
		}
		head |= uint64(e&0xFF) << (8 * n)
		n++
	}
	if d[2*n] != '\n' {
		return
	}
	return t, id, flags, n, head, iface, data, data + 2*n + 1
}

// pairs is what two characters mean, the first in the lowest byte: good with the two decimal digits or the byte of two hex
// digits they are, zero if they are no such thing.
var pairs struct{ decimal, hex [1 << 16]uint16 }

const (
	good    = 0x100
	carried = ones &^ 1 // good of eight pairs, each in the byte above its own
)

// hexPair is the byte of the two hex digits at p[at:].
func hexPair(p *[32]byte, at int) uint16 { return pairs.hex[binary.LittleEndian.Uint16(p[at:])] }

var fillPairs = sync.OnceFunc(func() {
	for lo := range 256 {
		for hi := range 256 {
			first, one := nibble(byte(lo))
			second, two := nibble(byte(hi))
			if !one || !two {
				continue
			}
			pairs.hex[hi<<8|lo] = good | uint16(first)<<4 | uint16(second)
			if first < 10 && second < 10 {
				pairs.decimal[hi<<8|lo] = good + uint16(first)*10 + uint16(second)
			}
		}
	}
})

// seldom is scan for the rest: nine digits of the fraction, CAN FD. Seconds are known.
func (q *Quick) seldom(p *[Reach]byte) (t time.Duration, id uint32, flags frame.Flags, n int, head uint64, iface, data, next int) {
	iface = 20
	w := binary.LittleEndian.Uint64(p[12:])
	if w>>48 == 0x2029 { // ") "
		v, good := decimal8(w<<16 | 0x3030)
		if !good {
			return
		}
		t = q.second + time.Duration(v*1000)
	} else {
		v, good := decimal8(w)
		last := p[20] - '0'
		if iface = 23; !good || last > 9 || p[21] != ')' || p[22] != ' ' {
			return
		}
		t = q.second + time.Duration(v*10+uint64(last))
	}
	if w := binary.LittleEndian.Uint64(p[iface:]); w&q.busAll != q.bus || q.busAll == 0 {
		if !q.iface(w) {
			return
		}
	}
	at := iface + q.busLen&7 + 1
	switch {
	case p[at+3] == '#':
		id = uint32(nibbles[p[at]])<<8 | uint32(nibbles[p[at+1]])<<4 | uint32(nibbles[p[at+2]])
		if id > frame.MaxStandardID { // 0xFF of a character that is no digit too
			return
		}
		at += 4
	case p[at+8] == '#':
		w := binary.LittleEndian.Uint64(p[at:])
		id, flags = bits.ReverseBytes32(hex8(w)), frame.Extended
		if notHex(w) != 0 || id > frame.MaxExtendedID {
			return
		}
		at += 9
	default:
		return
	}
	if p[at] == '#' {
		return q.long(p, t, id, flags, iface, at+1)
	}
	n = 16
	if bad := notHex(binary.LittleEndian.Uint64(p[at:])); bad != 0 {
		n = bits.TrailingZeros64(bad) / 8
	} else if bad := notHex(binary.LittleEndian.Uint64(p[at+8:])); bad != 0 {
		n = 8 + bits.TrailingZeros64(bad)/8
	}
	if n&1 != 0 || p[at+n] != '\n' {
		return
	}
	return t, id, flags, n / 2, first8(p[at:], n/2), iface, at, at + n + 1
}

// first8 reads the n data bytes at the beginning of b, at most eight.
func first8(b []byte, n int) uint64 {
	data := uint64(hex8(binary.LittleEndian.Uint64(b))) | uint64(hex8(binary.LittleEndian.Uint64(b[8:])))<<32
	if n < 8 {
		data &= 1<<(8*n) - 1
	}
	return data
}

// Name is the interface of the last line read, as in Line.
func (q *Quick) Name() uint64 { return q.bus }

// long reads the flags and the data of a CAN FD frame.
func (q *Quick) long(p *[Reach]byte, t time.Duration, id uint32, was frame.Flags, iface, at int) (_ time.Duration, _ uint32, _ frame.Flags, n int, head uint64, _, data, next int) {
	flags := nibbles[p[at]]
	if flags > fdBRS|fdESI|fdFDF {
		return
	}
	was |= frame.FD
	if flags&fdBRS != 0 {
		was |= frame.BRS
	}
	if flags&fdESI != 0 {
		was |= frame.ESI
	}
	data = at + 1
	for ; n < 2*frame.MaxData; n += 8 {
		if bad := notHex(binary.LittleEndian.Uint64(p[data+n:])); bad != 0 {
			n += bits.TrailingZeros64(bad) / 8
			break
		}
	}
	at = data + n
	if n&1 != 0 || p[at] != '\n' || frame.PadLen(n/2) != n/2 {
		return
	}
	return t, id, was, n / 2, first8(p[data:], n/2), iface, data, at + 1
}

// seconds reads "(1690000000." and remembers it.
func (q *Quick) seconds(b []byte, w0, w1 uint64) bool {
	fillPairs()
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
		if c <= ' ' || c >= 0x7F || c == '#' { // with # it may be a frame without an interface
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

// notHex has the high bit of every character that is no hex digit, 0 when all eight are.
func notHex(w uint64) uint64 {
	u := w &^ (w >> 1 & (0x20 * ones)) &^ highs // letters become capitals, and no sum below leaves its byte
	digit := (u + 0x50*ones) &^ (u + 0x46*ones) // from 30, not from 3A
	letter := (u + 0x3F*ones) &^ (u + 0x39*ones)
	return (^(digit | letter) | w) & highs
}

// hex8 reads eight hex digits into four bytes, the first in the lowest byte.
func hex8(w uint64) uint32 {
	x := w&(0x0F*ones) + 9*(w>>6&ones)
	x = (x<<4 | x>>8) & 0x00FF00FF00FF00FF
	x = (x | x>>8) & 0x0000FFFF0000FFFF
	return uint32(x | x>>16)
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
