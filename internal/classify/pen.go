package classify

import (
	"strconv"

	"obdgate/dbc"
	"obdgate/internal/canlog"
	"obdgate/internal/frame"
	"obdgate/internal/policy"
)

// pen writes frames. It has scratch space: one per goroutine.
type pen struct {
	t       *table
	own     decision    // of a frame that was worked out alone
	may     frame.Frame // with the bits that may be shown of the frame decided last
	hidden  frame.Frame
	scratch []dbc.Field
	bus     []byte // interface of the last frame, and its JSON
	busText []byte
}

func newPen(t *table) pen { return pen{t: t, scratch: make([]dbc.Field, 0, t.most)} }

// decide keeps what the Tagger says of f until the next call.
func (p *pen) decide(ft policy.FrameTag, f *frame.Frame) *decision {
	p.own = decision{tag: ft.Tag, category: p.t.category(ft.Tag.Category), technical: ft.Tag.Class == policy.Technical, personal: ft.Personal}
	if p.t.o.Mask || p.t.o.To == JSONL {
		p.may = frame.Frame{Len: f.Len}
		le.PutUint64(p.may.Data[:], ^uint64(0))
		for i := 8; i < int(f.Len); i++ {
			p.may.Data[i] = 0xFF
		}
		if f.Len < 8 {
			le.PutUint64(p.may.Data[:], 1<<(8*f.Len)-1)
		}
		ft.Mask(&p.may)
		p.own.keep = le.Uint64(p.may.Data[:])
	}
	return &p.own
}

// lengthMask has a bit for every data byte of a frame; a remote request has a length but no data.
func lengthMask(n uint8, flags frame.Flags) uint64 {
	if flags&frame.Remote != 0 {
		return 0
	}
	if n >= frame.MaxData {
		return ^uint64(0)
	}
	return 1<<n - 1
}

// frame appends one frame that passes. line is how it was written, with its line feed. quick: a classic data frame.
func (p *pen) frame(dst, line []byte, s canlog.Span, f *frame.Frame, d *decision, quick bool) []byte {
	show := f
	if p.t.o.Mask && d.personal&lengthMask(f.Len, f.Flags) != 0 {
		show = &p.hidden
		p.mask(show, f, d, quick)
	}
	switch p.t.o.To {
	case Candump:
		at := len(dst)
		dst = append(dst, line...)
		if show != f {
			digitsInto(dst[at+s.Data:], show, d)
		}
	case JSONL:
		dst = p.object(dst, line, s, show, d)
	}
	return dst
}

// mask sets what may not be shown to zero.
func (p *pen) mask(show, f *frame.Frame, d *decision, quick bool) {
	if quick {
		show.ID, show.Flags, show.Len, show.Time, show.Dir = f.ID, f.Flags, f.Len, f.Time, f.Dir
		le.PutUint64(show.Data[:8], le.Uint64(f.Data[:8])&d.keep)
		return
	}
	*show = *f
	if d.sampled { // eight bytes
		le.PutUint64(show.Data[:8], le.Uint64(f.Data[:8])&d.keep)
		return
	}
	for i := range int(f.Len) {
		show.Data[i] &= p.may.Data[i]
	}
}

// hide masks the digits of a frame that was not decided by a sample, or not in the quick form.
func (p *pen) hide(text []byte, f *frame.Frame, d *decision) {
	if d.personal&lengthMask(f.Len, f.Flags) != 0 {
		p.mask(&p.hidden, f, d, false)
		digitsInto(text, &p.hidden, d)
	}
}

// hide masks the digits of a classic data frame of n bytes that is like the decision's sample, without reading them as
// numbers: each digit is a nibble. At least sixteen characters of text must be there; those behind the data stay. The rule
// for how they are written is that of digitsInto.
func (d *decision) hide(text []byte, n uint8) {
	text = text[:16]
	behind := &behind[n&15]
	le.PutUint64(text, nibbles(le.Uint64(text), d.same[0]|behind[0], d.show[0]))
	le.PutUint64(text[8:], nibbles(le.Uint64(text[8:]), d.same[1]|behind[1], d.show[1]))
}

// behind has the characters of sixteen that follow the digits of n bytes.
var behind = func() (t [16][2]uint64) {
	for n := range 8 {
		for c := 2 * n; c < 16; c++ {
			t[n][c/8] |= 0xFF << (c % 8 * 8)
		}
	}
	return t
}()

// nibbles keeps of eight hex digits, the first in the lowest byte, the bits in show, and the characters in same as they are.
func nibbles(w, same, show uint64) uint64 {
	x := (w&(0x0F*ones) + 9*(w>>6&ones)) & show
	return w&same | digits8(x)&^same
}

// digitsInto writes the hex digits of the bytes that were masked, always in capitals: whether a hidden byte was zero
// before must not show in how it is written. The others stay as they are.
func digitsInto(text []byte, show *frame.Frame, d *decision) {
	for i := range int(show.Len) {
		if d.personal>>i&1 == 1 {
			text[2*i], text[2*i+1] = digits[show.Data[i]>>4], digits[show.Data[i]&15]
		}
	}
}

const digits = "0123456789ABCDEF"

const ones = 0x0101010101010101

// hex returns eight digits for four bytes; the first of each is in the lowest byte.
func hex(x uint32) uint64 {
	v := uint64(x)
	v = (v | v<<16) & 0x0000FFFF0000FFFF
	v = (v | v<<8) & 0x00FF00FF00FF00FF
	v = v>>4&(0x0F*ones) | v&0x000F000F000F000F<<8
	return digits8(v)
}

// digits8 returns the digits of eight nibbles, each in a byte.
func digits8(x uint64) uint64 { return x + 0x30*ones + 7*((x+6*ones)>>4&ones) }

// object appends a frame as JSON.
func (p *pen) object(dst, line []byte, s canlog.Span, f *frame.Frame, d *decision) []byte {
	dst = append(dst, `{"time":`...)
	if from := s.Iface - 2; from > 1 && line[0] == '(' && line[1] != '0' && line[from] == ')' {
		dst = append(dst, line[1:from]...)
	} else {
		dst = appendTime(dst, line)
	}
	if name := line[s.Iface:s.IfaceEnd]; string(name) != string(p.bus) {
		p.bus = append(p.bus[:0], name...)
		p.busText = append(appendName(append(p.busText[:0], `,"bus":`...), name), `,"id":"`...)
	}
	dst = append(dst, p.busText...)
	width := 3
	switch {
	case f.Is(frame.Legacy):
		width = 6
	case f.Is(frame.Extended), f.Is(frame.Error):
		width = 8
	}
	for i := width - 1; i >= 0; i-- {
		dst = append(dst, digits[f.ID>>(4*i)&15])
	}
	dst = append(dst, '"')
	if f.Flags&^frame.Extended != 0 {
		for _, k := range kinds {
			if f.Is(k.flag) {
				dst = append(dst, k.text...)
			}
		}
	}
	if f.Is(frame.Remote) {
		dst = strconv.AppendUint(append(dst, `,"length":`...), uint64(f.Len), 10)
	} else {
		dst = append(dst, `,"data":"`...)
		if f.Len == 8 {
			x := le.Uint64(f.Data[:8])
			dst = le.AppendUint64(dst, hex(uint32(x)))
			dst = le.AppendUint64(dst, hex(uint32(x>>32)))
		} else {
			for _, b := range f.Bytes() {
				dst = append(dst, digits[b>>4], digits[b&15])
			}
		}
		dst = append(dst, '"')
	}
	if d.sampled {
		dst = append(dst, d.text...)
	} else {
		dst = tagText(dst, d)
	}
	dst = p.values(dst, f, d)
	return append(dst, '}', '\n')
}

// tagText appends what is known of the frame's tag.
func tagText(dst []byte, d *decision) []byte {
	dst = append(append(dst, `,"tag":"`...), d.tag.Class.String()...)
	dst = append(append(dst, `","category":"`...), categories[d.category]...)
	return append(dst, '"')
}

var kinds = []struct {
	flag frame.Flags
	text string
}{
	{frame.FD, `,"fd":true`}, {frame.Remote, `,"remote":true`}, {frame.Error, `,"error":true`}, {frame.Legacy, `,"legacy":true`},
}

// values appends the signals of a broadcast frame. f is masked where it must be.
func (p *pen) values(dst []byte, f *frame.Frame, d *decision) []byte {
	if f.Flags&(frame.Remote|frame.Error|frame.Legacy) != 0 {
		return dst
	}
	v := p.t.find(f.ID, f.Flags)
	if v == nil || v.message == nil || int(f.Len) < v.message.Length {
		return dst
	}
	mark := len(dst)
	dst = append(dst, `,"values":{`...)
	start, w := len(dst), v.plan.Words(f)
	if d.sampled {
		for i := range d.values {
			x := &d.values[i]
			if n := len(x.key); n <= len(x.short) {
				dst = append(dst, x.short[:]...)[:len(dst)+n]
			} else {
				dst = append(dst, x.key...)
			}
			dst = v.plan.AppendJSON(dst, x.field, f, &w)
		}
	} else {
		fields := v.plan.Fields(f, p.scratch)
		for i := range fields {
			if !p.t.o.safe() || shown(fields[i].Signal, &p.may.Data) {
				if len(dst) > start {
					dst = append(dst, ',')
				}
				dst = append(dst, v.keys[fields[i].Signal].key...)
				dst = v.plan.AppendJSON(dst, &fields[i], f, &w)
			}
		}
	}
	if len(dst) == start {
		return dst[:mark]
	}
	return append(dst, '}')
}

// jsonKey is a signal's name as it stands in front of its value.
func jsonKey(name string) []byte { return append(appendName(nil, []byte(name)), ':') }

// appendName appends printable ASCII as a JSON string.
func appendName(dst, name []byte) []byte {
	dst = append(dst, '"')
	for _, c := range name {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// appendTime copies the digits of "(1690000000.123456)"; JSON has no leading zeros.
func appendTime(dst, line []byte) []byte {
	i := 0
	for line[i] != '(' {
		i++
	}
	i++
	for line[i] == '0' && line[i+1] != '.' {
		i++
	}
	for ; line[i] != ')'; i++ {
		dst = append(dst, line[i])
	}
	return dst
}
