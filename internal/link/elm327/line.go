package elm327

import (
	"errors"
	"fmt"

	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// Why a line of data is no frame. All wrap link.ErrGarbled: characters were lost or changed between the adapter and us,
// or the adapter cut the frame.
var (
	errDigits   = fmt.Errorf("%w: a line with a digit too few or too many", link.ErrGarbled)
	errShort    = fmt.Errorf("%w: a frame shorter than it says", link.ErrGarbled)
	errLong     = fmt.Errorf("%w: a line longer than any frame", link.ErrGarbled)
	errID       = fmt.Errorf("%w: an identifier that does not exist", link.ErrGarbled)
	errPCI      = fmt.Errorf("%w: a frame of a kind that does not exist", link.ErrGarbled)
	errStranger = fmt.Errorf("%w: an identifier that was not asked", link.ErrGarbled)
	errChecksum = fmt.Errorf("%w: a wrong checksum", link.ErrGarbled)
	errSpaces   = fmt.Errorf("%w: a space where none belongs", link.ErrGarbled)
	errHex      = fmt.Errorf("%w: a character that is no digit", link.ErrGarbled)
)

// errNoChecksum: the line would be whole if this adapter left the checksum out, as some copies do.
var errNoChecksum = errors.New("no checksum")

// hexBytes decodes digits, skipping spaces, into dst and returns how many digits there were. More than fit is errLong.
// The last digit of an odd number is left out of dst.
func hexBytes(dst, digits []byte) (int, error) {
	n := 0
	for _, c := range digits {
		var v byte
		switch {
		case c == ' ':
			continue
		case c >= '0' && c <= '9':
			v = c - '0'
		case c >= 'A' && c <= 'F':
			v = c - 'A' + 10
		case c >= 'a' && c <= 'f':
			v = c - 'a' + 10
		default:
			return n, errHex
		}
		if n/2 >= len(dst) {
			return n, errLong
		}
		if n%2 == 0 {
			dst[n/2] = v << 4
		} else {
			dst[n/2] |= v
		}
		n++
	}
	return n, nil
}

// spaced: there are no spaces between the digits, or one behind each byte, as AT S0 and S1 have it. The identifier before
// the bytes is whole.
func spaced(digits []byte) bool {
	n, first := 0, true
	for i, c := range digits {
		switch {
		case c != ' ':
			if n++; !first && n > 2 {
				return false
			}
		case n == 0, !first && n != 2, first && n != 2 && n != 3 && n != 8 && i < len(digits)-1:
			return false
		default:
			n, first = 0, false
		}
	}
	return first || n != 1
}

// maxCANDigits: eight of a 29-bit identifier and sixteen of data.
const maxCANDigits = 24

// ParseCAN reads one line of headers-on CAN output into f: identifier, PCI and data, with or without spaces. An odd
// number of digits is an 11-bit identifier, an even one 29 bits (the identifier is three digits or eight); with bits 11
// or 29 the other kind is a damaged line. A line is never padded or trimmed. ext says that an address byte stands before
// the PCI. f.Flags, f.ID, f.Len and f.Data are set; f is unspecified on an error, which wraps link.ErrGarbled. ParseCAN
// allocates nothing.
func ParseCAN(data []byte, bits int, ext bool, f *frame.Frame) error {
	if err := parseCAN(data, bits, f); err != nil {
		return err
	}
	return whole(f.Bytes(), ext)
}

// parseLine is parseCAN for a line that may have a DLC in it.
func parseLine(data []byte, bits int, dlc bool, f *frame.Frame) error {
	if dlc {
		var buf [MaxLine]byte
		var ok bool
		if data, ok = withoutDLC(&buf, data, bits); !ok {
			return errDigits
		}
	}
	return parseCAN(data, bits, f)
}

func parseCAN(data []byte, bits int, f *frame.Frame) error {
	var raw [maxCANDigits/2 + 1]byte
	n, err := hexBytes(raw[:], data)
	switch {
	case err != nil:
		return err
	case !spaced(data):
		return errSpaces
	}
	*f = frame.Frame{Dir: frame.Received}
	switch {
	case n%2 == 1 && bits != 29 && n >= 5:
		if n > 3+2*8 {
			return errLong
		}
		f.ID = uint32(raw[0])<<4 | uint32(raw[1])>>4
		if f.ID > frame.MaxStandardID {
			return errID
		}
		f.Len = uint8(n-3) / 2
		for i := range int(f.Len) { // after three digits the data begins in the middle of a byte
			f.Data[i] = raw[1+i]<<4 | raw[2+i]>>4
		}
	case n%2 == 0 && bits != 11 && n >= 10:
		if n > 8+2*8 {
			return errLong
		}
		f.ID = uint32(raw[0])<<24 | uint32(raw[1])<<16 | uint32(raw[2])<<8 | uint32(raw[3])
		if f.ID > frame.MaxExtendedID {
			return errID
		}
		f.Flags = frame.Extended
		f.Len = uint8(copy(f.Data[:], raw[4:n/2]))
	default:
		return errDigits
	}
	return nil
}

// whole checks that a frame has the bytes that its own PCI promises (ISO 15765-2), and a PCI that exists: the adapter
// shows no others. Consecutive frames do not know their length; see lengths.
func whole(b []byte, ext bool) error {
	if ext {
		if len(b) < 2 {
			return errShort
		}
		b = b[1:]
	}
	switch pci := b[0]; pci >> 4 {
	case 0:
		if pci == 0 || pci > 7 {
			return errPCI
		}
		if len(b) < 1+int(pci) {
			return errShort
		}
	case 1:
		if len(b) < 7 || len(b) < 8 && !ext {
			return errShort
		}
	case 2:
		if len(b) < 2 {
			return errShort
		}
	case 3:
		if len(b) < 3 {
			return errShort
		}
	default:
		return errPCI
	}
	return nil
}

// lengths follows the long messages of one reply, so that a consecutive frame with lost bytes in it is noticed: it is
// cut although more of its message was to come.
type lengths struct {
	ids  [8]uint32
	left [8]int
	n    int
}

func (l *lengths) check(f *frame.Frame, ext bool) error {
	b := f.Bytes()
	if ext {
		b = b[1:]
	}
	i := 0
	for i < l.n && l.ids[i] != f.ID {
		i++
	}
	switch b[0] >> 4 {
	case 1:
		if i == len(l.ids) {
			return nil
		}
		if i == l.n {
			l.n++
		}
		l.ids[i], l.left[i] = f.ID, (int(b[0]&15)<<8|int(b[1]))-(len(b)-2)
	case 2:
		if i == l.n {
			return nil
		}
		full := 7
		if ext {
			full = 6
		}
		n, left := len(b)-1, l.left[i]
		l.left[i] = max(0, left-full)
		switch {
		case n < min(full, left):
			return errShort
		case n < full && n != left: // neither padded nor cut where its message ends
			return errOdd
		}
	}
	return nil
}

// open reports whether more was to come.
func (l *lengths) open() bool {
	for _, left := range l.left[:l.n] {
		if left > 0 {
			return true
		}
	}
	return false
}

// checksums says whether an adapter prints the checksum of K-line and J1850 messages.
type checksums uint8

const (
	sumUnknown checksums = iota
	sumPrinted
	sumMissing
)

// maxLegacy is the longest legacy line: four header bytes, data as frame.Frame holds it, checksum.
const maxLegacy = 4 + frame.MaxData + 1

// ParseLegacy reads one line of headers-on K-line or J1850 output into f: three header bytes (four with a KWP length
// byte), data, checksum. The checksum is verified and left out. sum says whether this adapter prints it; while that is
// unknown, a line that would be whole without one is errNoChecksum with f filled. On any other error, which wraps
// link.ErrGarbled, f is unspecified. ParseLegacy allocates nothing.
func ParseLegacy(data []byte, sum checksums, f *frame.Frame) error {
	var raw [maxLegacy]byte
	n, err := hexBytes(raw[:], data)
	switch {
	case err != nil:
		return err
	case n%2 == 1:
		return errDigits
	case n < 10:
		return errShort
	case !spaced(data):
		return errSpaces
	}
	b := raw[:n/2]
	*f = frame.Frame{Flags: frame.Legacy, Dir: frame.Received,
		ID: uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])}
	if b[0]&0x80 != 0 {
		return parseKWP(b, sum, f)
	}
	body, last := b[3:len(b)-1], b[len(b)-1]
	printed := last == sum8(b[:len(b)-1]) || last == crc8(b[:len(b)-1])
	switch {
	case printed && sum != sumMissing && len(body) > 0:
		f.Len = uint8(copy(f.Data[:], body))
		return nil
	case sum == sumPrinted:
		return errChecksum
	}
	if b[1] != 0x6B && b[1] != 0xF1 {
		return errChecksum // to neither a tester nor every tester: not an OBD answer at all
	}
	f.Len = uint8(copy(f.Data[:], b[3:]))
	if sum == sumUnknown {
		return errNoChecksum
	}
	return nil
}

// parseKWP: ISO 14230-2. The low six bits of the first byte are the length; zero says that a length byte follows the
// three address bytes.
func parseKWP(b []byte, sum checksums, f *frame.Frame) error {
	h, n := 3, int(b[0]&0x3F)
	if n == 0 {
		h, n = 4, int(b[3])
	}
	switch {
	case n == 0 || n > frame.MaxData || len(b) < h+n:
		return errShort
	case len(b) > h+n+1:
		return errLong
	case len(b) == h+n && sum == sumPrinted:
		return errShort
	case len(b) == h+n+1 && b[h+n] != sum8(b[:h+n]):
		return errChecksum
	}
	f.Len = uint8(copy(f.Data[:], b[h:h+n]))
	if len(b) == h+n && sum == sumUnknown {
		return errNoChecksum
	}
	return nil
}

// sum8 is the checksum of ISO 9141-2 and ISO 14230: the sum of all bytes modulo 256.
func sum8(b []byte) (s byte) {
	for _, x := range b {
		s += x
	}
	return s
}

// crc8 is the checksum of SAE J1850: polynomial 1D, begun with FF, inverted.
func crc8(b []byte) byte {
	crc := byte(0xFF)
	for _, x := range b {
		crc ^= x
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ 0x1D
			} else {
				crc <<= 1
			}
		}
	}
	return ^crc
}

// errOdd: a single or last frame of a length that this ECU, as printed by this adapter, does not have. Two digits lost in a row
// look like that, and so does an ECU with lengths of its own; asking again tells them apart.
var errOdd = fmt.Errorf("%w: a frame of unusual length", link.ErrGarbled)

// shapes remembers how long the single frames of each ECU are printed: whole frames of eight bytes, or cut at their
// PCI length (what firmware does it, and whether the ECU pads, differ). A line that fits neither, or that is cut where
// the ECU's lines are whole, has probably lost bytes.
type shapes struct {
	whole map[uint32]bool // padding has been seen behind a message of this identifier
	heard map[uint32]bool // has answered
	odd   map[uint32]bool // other lengths have been seen twice alike, they are its own
	// strangers counts identifiers that should not have passed the adapter's filter. A damaged identifier looks like
	// one; what comes again and again is traffic that this adapter does not filter.
	strangers map[uint32]int
}

// usual is how often a stranger is taken for damage before it is taken for unfiltered traffic.
const usual = 1

// expected says whether id may answer, or is known to be somebody else's (ok false without an error).
func (s *shapes) expected(f *frame.Frame, accept func(uint32) bool) (ok bool, err error) {
	if accept == nil || accept(f.ID) {
		return true, nil
	}
	if s.strangers[f.ID] >= usual {
		return false, nil
	}
	if s.strangers == nil {
		s.strangers = make(map[uint32]int)
	}
	if len(s.strangers) < 4096 {
		s.strangers[f.ID]++
	}
	return false, errStranger
}

func (s *shapes) check(f *frame.Frame, ext bool) error {
	n, length, ok := single(f, ext)
	switch {
	case !ok, n == fullLength(ext), s.odd[f.ID]:
		return nil
	case n != length, s.whole[f.ID]:
		return errOdd
	}
	return nil
}

// learn takes the frames of a reply that was accepted.
func (s *shapes) learn(frames []frame.Frame, ext bool) {
	for i := range frames {
		f := &frames[i]
		if !s.heard[f.ID] && len(s.heard) < 4096 {
			if s.heard == nil {
				s.heard = make(map[uint32]bool)
			}
			s.heard[f.ID] = true
		}
		n, length, ok := single(f, ext)
		if ok && n > length && n == fullLength(ext) && !s.whole[f.ID] {
			if s.whole == nil {
				s.whole = make(map[uint32]bool)
			}
			s.whole[f.ID] = true
		}
	}
}

// believe: the same odd lines came twice.
func (s *shapes) believe(ids []uint32) {
	if s.odd == nil {
		s.odd = make(map[uint32]bool)
	}
	for _, id := range ids {
		s.odd[id] = true
	}
}

// single returns the printed length of a single frame from its PCI on, and the length its PCI asks for.
func single(f *frame.Frame, ext bool) (n, length int, ok bool) {
	b := f.Bytes()
	if ext {
		b = b[min(1, len(b)):]
	}
	if len(b) == 0 || b[0]>>4 != 0 || b[0] == 0 || f.Is(frame.Legacy) {
		return 0, 0, false
	}
	return len(b), 1 + int(b[0]), true
}

func fullLength(ext bool) int {
	if ext {
		return 7
	}
	return 8
}
