// Package canlog is the log text of can-utils' candump -L: one frame per line.
//
//	(1690000000.123456) can0 7E8#0641000000000000       classic data, 11-bit identifier: three hex digits
//	(1690000000.123456) can0 18DAF110#064100            29-bit identifier: eight hex digits
//	(1690000000.123456) can0 123##1112233445566778899   CAN FD; the digit after ## is flags: 1 BRS, 2 ESI, 4 FD
//	(1690000000.123456) can0 123#R4                     remote frame asking for four bytes
//	(1690000000.123456) can0 20000004#0004000000000000  error report of the controller (bit 29 set)
//	(1690000000.123456) can0 7E8#0641 R                 with candump -x: T sent by this host, R received
//	(1690000000.123456) kl0  486B10#4100BE3EB811        K-line and J1850, obdgate's own addition: six hex digits
//
// The grammar is that of can-utils lib.h and candump.c, and what other writers make of it where it can mean one thing only:
//
//	(1690000000.1234567) can0 7E8#0641                  any number of digits of a second, none too; beyond nanoseconds they are cut
//	(0.000000) PCAN_USBBUS1 7E8#0641 R                  python-can: no zeros in front of the time, channels of other drivers
//	(1690000000.123456) 7E8#0641                        node-can's dump.js: no interface, read as can0
//	(1690000000.123456) can0 7E8#06.41.00               cansend's dots between bytes
//	(1690000000.123456) can0 20000080#                  python-can: an error report without data
//
// Parse and Append are mirrors and allocate nothing.
package canlog

import (
	"errors"
	"fmt"
	"time"

	"obdgate/internal/frame"
)

// MaxLine is the longest line in bytes that can be a frame: time, interface and 64 data bytes with room to spare.
const MaxLine = 256

// maxInterface is the longest interface name written, IFNAMSIZ-1 of Linux; maxChannel the longest read: other systems name
// their channels as they like.
const (
	maxInterface = 15
	maxChannel   = 63
)

// maxSeconds keeps a time of day inside a time.Duration.
const maxSeconds = 9_000_000_000

// ErrSyntax marks a line that is not a frame. The reason wrapped beside it names the field, never its content.
var ErrSyntax = errors.New("canlog: damaged line")

// The reasons are made once, so that a log full of damage costs no memory.
var (
	errLong      = fmt.Errorf("%w: longer than any frame", ErrSyntax)
	errTime      = fmt.Errorf("%w: no (seconds) at its beginning", ErrSyntax)
	errInterface = fmt.Errorf("%w: no interface name", ErrSyntax)
	errID        = fmt.Errorf("%w: identifier is not three, six or eight hex digits in range", ErrSyntax)
	errData      = fmt.Errorf("%w: data is not pairs of hex digits", ErrSyntax)
	errLength    = fmt.Errorf("%w: a length no such frame can have", ErrSyntax)
	errFlags     = fmt.Errorf("%w: unknown CAN FD flags", ErrSyntax)
	errTail      = fmt.Errorf("%w: text after the frame", ErrSyntax)
)

// Identifier bits of Linux' struct can_frame as they stand in a log.
const errorBit = 1 << 29

// Flags after "##" (struct canfd_frame).
const (
	fdBRS = 1 << iota
	fdESI
	fdFDF
)

// Parse reads one line, without its line end, into f and returns the interface name, which points into line. f.Time is
// the line's time since 1970-01-01 UTC (or since whatever the log counts from), f.Dir what the T or R at the end says,
// f.Seq and f.Bus are zero. On an error, which wraps ErrSyntax, f is zero.
func Parse(line []byte, f *frame.Frame) (iface []byte, err error) {
	*f = frame.Frame{}
	iface, err = parse(line, f)
	if err != nil {
		*f = frame.Frame{}
		return nil, err
	}
	return iface, nil
}

func parse(line []byte, f *frame.Frame) ([]byte, error) {
	if len(line) > MaxLine {
		return nil, errLong
	}
	rest, ok := parseTime(line, f)
	if !ok {
		return nil, errTime
	}
	rest = skipSpace(rest)
	n := 0
	for n < len(rest) && rest[n] > ' ' && rest[n] < 0x7F {
		n++
	}
	iface := rest[:n]
	switch {
	case n == 0 || n > maxChannel && !unnamed(rest):
		return nil, errInterface
	case unnamed(rest):
		iface = noInterface
	case n == len(rest):
		return nil, errInterface
	default:
		rest = skipSpace(rest[n:])
	}
	rest, ok = parseID(rest, f)
	if !ok {
		return nil, errID
	}
	rest, err := parseBody(rest, f)
	if err != nil {
		return nil, err
	}
	if !parseTail(rest, f) {
		return nil, errTail
	}
	if f.Validate() != nil {
		return nil, errLength
	}
	return iface, nil
}

// noInterface is the name of an interface that the line does not tell.
var noInterface = []byte("can0")

// unnamed reports whether a frame stands where the interface should: an identifier and '#'. No interface is named so.
func unnamed(b []byte) bool {
	n := 0
	for n < len(b) && n < 8 && isHex(b[n]) {
		n++
	}
	return (n == 3 || n == 6 || n == 8) && n < len(b) && b[n] == '#'
}

func isHex(c byte) bool { _, ok := nibble(c); return ok }

// parseTime reads "(1690000000.123456)": digits, and perhaps a point and up to 18 more.
func parseTime(b []byte, f *frame.Frame) ([]byte, bool) {
	if len(b) == 0 || b[0] != '(' {
		return nil, false
	}
	i, sec := 1, int64(0)
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		sec = sec*10 + int64(b[i]-'0')
		if sec > maxSeconds {
			return nil, false
		}
	}
	if i == 1 || i == len(b) {
		return nil, false
	}
	ns := int64(0)
	if b[i] == '.' {
		i++
		first := i
		for unit := int64(100_000_000); i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
			ns += unit * int64(b[i]-'0')
			unit /= 10
		}
		if i == first || i-first > maxFraction {
			return nil, false
		}
	}
	if i == len(b) || b[i] != ')' {
		return nil, false
	}
	f.Time = time.Duration(sec)*time.Second + time.Duration(ns)
	return b[i+1:], true
}

// maxFraction is the most digits of a second that a line may have: what a program prints of a float64.
const maxFraction = 18

// parseID reads the identifier and the first '#'.
func parseID(b []byte, f *frame.Frame) ([]byte, bool) {
	id, n := uint32(0), 0
	for ; n < len(b) && n <= 8 && b[n] != '#'; n++ {
		d, ok := nibble(b[n])
		if !ok {
			return nil, false
		}
		id = id<<4 | uint32(d)
	}
	if n == len(b) || b[n] != '#' {
		return nil, false
	}
	switch {
	case n == 3 && id <= frame.MaxStandardID:
	case n == 6:
		f.Flags = frame.Legacy
	case n == 8 && id <= frame.MaxExtendedID:
		f.Flags = frame.Extended
	case n == 8 && id&^uint32(frame.MaxExtendedID) == errorBit:
		f.Flags = frame.Error
		id &= frame.MaxExtendedID
	default:
		return nil, false
	}
	f.ID = id
	return b[n+1:], true
}

// parseBody reads what follows the first '#': data, "R" with an optional length, or "#", flags and data.
func parseBody(b []byte, f *frame.Frame) ([]byte, error) {
	switch {
	case len(b) > 0 && b[0] == 'R' && f.Flags&(frame.Error|frame.Legacy) == 0:
		f.Flags |= frame.Remote
		b = b[1:]
		if len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
			f.Len = b[0] - '0'
			b = b[1:]
		}
		if f.Len > 8 {
			return nil, errLength
		}
		return skipRawDLC(b, f), nil
	case len(b) > 0 && b[0] == '#':
		if len(b) < 2 || f.Flags&(frame.Error|frame.Legacy) != 0 {
			return nil, errFlags
		}
		flags, ok := nibble(b[1])
		if !ok || flags > fdBRS|fdESI|fdFDF {
			return nil, errFlags
		}
		f.Flags |= frame.FD
		if flags&fdBRS != 0 {
			f.Flags |= frame.BRS
		}
		if flags&fdESI != 0 {
			f.Flags |= frame.ESI
		}
		return parseData(b[2:], f)
	}
	b, err := parseData(b, f)
	if err != nil {
		return nil, err
	}
	return skipRawDLC(b, f), nil
}

// skipRawDLC drops "_9" to "_F" after eight bytes: the raw length code of a classic frame (candump -8). It says nothing
// that a reader of the data needs and no frame of ours carries it.
func skipRawDLC(b []byte, f *frame.Frame) []byte {
	if f.Len == 8 && len(b) >= 2 && b[0] == '_' {
		if d, ok := nibble(b[1]); ok && d > 8 {
			return b[2:]
		}
	}
	return b
}

func parseData(b []byte, f *frame.Frame) ([]byte, error) {
	n, i := 0, 0
	for i < len(b) {
		hi, ok := nibble(b[i])
		if !ok {
			break
		}
		if i+1 == len(b) {
			return nil, errData
		}
		lo, ok := nibble(b[i+1])
		if !ok {
			return nil, errData
		}
		if n == frame.MaxData {
			return nil, errLength
		}
		f.Data[n] = hi<<4 | lo
		n++
		i += 2
		if i+1 < len(b) && b[i] == '.' && isHex(b[i+1]) {
			i++
		}
	}
	f.Len = uint8(n)
	return b[i:], nil
}

// parseTail reads the direction that candump -x adds and refuses anything else.
func parseTail(b []byte, f *frame.Frame) bool {
	if len(b) > 0 && b[0] > ' ' {
		return false
	}
	b = skipSpace(b)
	if len(b) == 0 {
		return true
	}
	switch b[0] {
	case 'T':
		f.Dir = frame.Sent
	case 'R':
		f.Dir = frame.Received
	default:
		return false
	}
	return len(skipSpace(b[1:])) == 0
}

// Append appends the line of f, without a line end. The line's time is at where given, else f.Time counted from
// 1970-01-01 UTC; a time before that is written as zero. Six digits of a second are written when they are exact, else
// nine. f must be valid (frame.Frame.Validate); iface is cut to 15 bytes and written "can0" where empty.
func Append(dst []byte, f *frame.Frame, iface string, at ...time.Time) []byte {
	sec, ns := int64(f.Time/time.Second), int64(f.Time%time.Second)
	if len(at) > 0 {
		sec, ns = at[0].Unix(), int64(at[0].Nanosecond())
	}
	if sec < 0 || ns < 0 {
		sec, ns = 0, 0
	}
	dst = append(dst, '(')
	dst = appendDecimal(dst, sec, 10)
	dst = append(dst, '.')
	if ns%1000 == 0 {
		dst = appendDecimal(dst, ns/1000, 6)
	} else {
		dst = appendDecimal(dst, ns, 9)
	}
	dst = append(dst, ')', ' ')
	if iface == "" {
		iface = "can0"
	}
	dst = append(dst, iface[:min(len(iface), maxInterface)]...)
	dst = append(dst, ' ')
	switch {
	case f.Is(frame.Legacy):
		dst = appendHex(dst, f.ID, 6)
	case f.Is(frame.Error):
		dst = appendHex(dst, f.ID|errorBit, 8)
	case f.Is(frame.Extended):
		dst = appendHex(dst, f.ID, 8)
	default:
		dst = appendHex(dst, f.ID, 3)
	}
	dst = append(dst, '#')
	data := f.Bytes()
	switch {
	case f.Is(frame.Remote):
		dst = append(dst, 'R')
		if f.Len > 0 {
			dst = append(dst, '0'+min(f.Len, 8))
		}
		data = nil
	case f.Is(frame.FD):
		flags := byte(0)
		if f.Is(frame.BRS) {
			flags |= fdBRS
		}
		if f.Is(frame.ESI) {
			flags |= fdESI
		}
		dst = append(dst, '#', '0'+flags)
	}
	for _, b := range data {
		dst = append(dst, digits[b>>4], digits[b&15])
	}
	switch f.Dir {
	case frame.Sent:
		dst = append(dst, ' ', 'T')
	case frame.Received:
		dst = append(dst, ' ', 'R')
	}
	return dst
}

const digits = "0123456789ABCDEF"

func appendHex(dst []byte, v uint32, width int) []byte {
	for i := width - 1; i >= 0; i-- {
		dst = append(dst, digits[v>>(4*i)&15])
	}
	return dst
}

// appendDecimal writes v, which is not negative, with at least width digits.
func appendDecimal(dst []byte, v int64, width int) []byte {
	var buf [20]byte
	i := len(buf)
	for v > 0 || width > 0 {
		i--
		buf[i] = byte('0' + v%10)
		v /= 10
		width--
	}
	return append(dst, buf[i:]...)
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
