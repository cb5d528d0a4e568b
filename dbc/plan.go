package dbc

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"

	"obdgate/internal/frame"
)

// Plan decodes all active signals of one message at once: positions, signs and scales are worked out beforehand, and so
// is the list of signals for every value of switches of at most ten bits. It gives what Active, Float64 and Value give for
// each signal alone; the tests compare. It is read-only and safe for concurrent use.
type Plan struct {
	m    *Message
	all  list
	root *node // nil: worked out frame by frame
	wide bool  // longer than eight bytes: signals are read one by one
}

// node is a list of signals, or a switch whose value leads to one.
type node struct {
	by *Field  // nil: a list
	to []*node // by value
	list
}

// list is the signals that are active together. steps has the part of each that decoding needs, close together: a database
// does not fit into the nearest cache otherwise.
type list struct {
	fields []Field
	steps  []step
	odd    bool // not all are whole
}

// step is how the bits of one signal become a number.
type step struct {
	mask, sign  uint64
	factor, add float64
	shift       uint8
	big         uint8 // 1: read from the big-endian word
	kind        kind
}

// Field is one signal of a Plan.
type Field struct {
	Signal *Signal
	step

	places   uint8 // of the decimal fraction of the exact value: (raw*num + off) / 10^places
	exact    bool  // num and off fit
	num, off int64
}

type kind uint8

const (
	whole    kind = iota // integer that fits an int64
	unsigned             // 64 bits without sign
	float32s
	float64s
)

// Bounds of what a Plan works out beforehand.
const (
	maxSwitch = 10      // bits
	maxPlan   = 1 << 14 // nodes, and signals in them, of one message
)

// Plan compiles the message.
func (m *Message) Plan() *Plan {
	p := &Plan{m: m, wide: m.Length > 8}
	for _, s := range m.Signals {
		if !s.Lost {
			p.all.add(newField(s))
		}
	}
	budget := maxPlan
	p.root = p.grow(map[*Signal]uint64{}, &budget)
	return p
}

func (l *list) add(f Field) {
	l.fields, l.steps, l.odd = append(l.fields, f), append(l.steps, f.step), l.odd || f.kind != whole
}

// grow makes the node for what is known of the switches; nil when it becomes too large.
func (p *Plan) grow(known map[*Signal]uint64, budget *int) *node {
	if *budget--; *budget < 0 {
		return nil
	}
	n := &node{}
	for i := range p.all.fields {
		f := &p.all.fields[i]
		by := f.Signal.open(known)
		switch {
		case by == nil:
			if f.Signal.among(known) {
				n.add(*f)
				*budget--
			}
		case by.Size > maxSwitch:
			return nil
		default:
			return p.fork(by, known, budget)
		}
	}
	return n
}

// fork makes the node of a switch. Values that select nothing share one.
func (p *Plan) fork(by *Signal, known map[*Signal]uint64, budget *int) *node {
	f := newField(by)
	n := &node{by: &f, to: make([]*node, 1<<by.Size)}
	named := make([]bool, len(n.to))
	for i := range p.all.fields {
		if s := p.all.fields[i].Signal; s.Under == by {
			for _, r := range s.When {
				for v := r.From; v <= r.To && v < uint64(len(n.to)); v++ {
					named[v] = true
				}
			}
		}
	}
	var rest *node
	for v := range n.to {
		if !named[v] && rest != nil {
			n.to[v] = rest
			continue
		}
		known[by] = uint64(v)
		if n.to[v] = p.grow(known, budget); n.to[v] == nil {
			delete(known, by)
			return nil
		}
		if !named[v] {
			rest = n.to[v]
		}
	}
	delete(known, by)
	return n
}

// open returns the topmost switch above s that decides on s and of which nothing is known, nil when all is decided.
func (s *Signal) open(known map[*Signal]uint64) *Signal {
	if s.Under == nil {
		return nil
	}
	if by := s.Under.open(known); by != nil || !s.Under.among(known) {
		return by
	}
	if _, ok := known[s.Under]; ok {
		return nil
	}
	return s.Under
}

// among reports whether switches of these values select s.
func (s *Signal) among(known map[*Signal]uint64) bool {
	return s.Under == nil || s.Under.among(known) && s.selected(known[s.Under])
}

// Field returns the signal as the Plan of its message has it.
func (s *Signal) Field() Field { return newField(s) }

// Bits is the raw value of an active field of a message of at most eight bytes.
func (d *Field) Bits(w *Words) uint64 { return w[d.big&1] >> (d.shift & 63) & d.mask }

func newField(s *Signal) Field {
	f := Field{Signal: s, step: step{mask: ^uint64(0) >> (64 - s.Size), factor: s.scale.factor, add: s.scale.add}}
	if s.BigEndian {
		f.big, f.shift = 1, uint8(max(0, 64-s.first-s.Size))
	} else {
		f.shift = uint8(min(s.first, 63))
	}
	switch {
	case s.Float == Float32:
		f.kind = float32s
	case s.Float == Float64:
		f.kind = float64s
	case s.Signed:
		f.sign = 1 << (s.Size - 1)
	case s.Size == 64:
		f.kind = unsigned
	}
	f.fixed()
	return f
}

// fixed works out the exact value as a decimal fraction. Factors are written as decimals, so there always is one, but it
// may need more than 64 bits.
func (f *Field) fixed() {
	s := &f.Signal.scale
	ten, places := int64(1), uint8(0)
	for ten%s.den != 0 {
		if places++; places > 17 {
			return
		}
		ten *= 10
	}
	k := ten / s.den
	hi, lo := bits.Mul64(magnitude(s.num), uint64(k))
	offHi, off := bits.Mul64(magnitude(s.off), uint64(k))
	topHi, top := bits.Mul64(lo, f.mask)
	if f.kind != whole || hi != 0 || offHi != 0 || topHi != 0 || top > math.MaxInt64/2 || off > math.MaxInt64/2 {
		return
	}
	f.num, f.off, f.places, f.exact = s.num*k, s.off*k, places, true
}

// Fields returns the active signals of the frame in the order of the file; scratch is used for messages whose switches are
// too many to be worked out beforehand, and for frames shorter than the message. It allocates only when scratch is too
// short.
func (p *Plan) Fields(f *frame.Frame, scratch []Field) []Field {
	if l := p.list(f); l != nil {
		return l.fields
	}
	scratch = scratch[:0]
	for i := range p.all.fields {
		if p.all.fields[i].Signal.Active(f) {
			scratch = append(scratch, p.all.fields[i])
		}
	}
	return scratch
}

// list finds the active signals of the frame; nil where they were not worked out beforehand.
func (p *Plan) list(f *frame.Frame) *list {
	n := p.root
	if n == nil || int(f.Len) < p.m.Length {
		return nil
	}
	for n.by != nil {
		n = n.to[n.by.raw(p, f, binary.LittleEndian.Uint64(f.Data[:8]))]
	}
	return &n.list
}

// Floats returns the active signals and their physical values, as Signal.Float64 has them. values is used for the values
// and scratch as in Fields.
func (p *Plan) Floats(f *frame.Frame, values []float64, scratch []Field) ([]Field, []float64) {
	if cap(values) < len(p.all.fields) {
		values = make([]float64, len(p.all.fields))
	}
	l := p.list(f)
	if l == nil || p.wide {
		fields := p.Fields(f, scratch)
		values = values[:len(fields)]
		for i := range fields {
			values[i], _ = fields[i].Signal.Float64(f)
		}
		return fields, values
	}
	values = values[:len(l.steps)]
	little := binary.LittleEndian.Uint64(f.Data[:8])
	words := Words{little, bits.ReverseBytes64(little)}
	if l.odd {
		for i := range l.steps {
			values[i] = l.steps[i].value(&words)
		}
		return l.fields, values
	}
	for i := range l.steps {
		d := &l.steps[i]
		raw := words[d.big&1] >> (d.shift & 63) & d.mask
		values[i] = float64(float64(int64(raw^d.sign)-int64(d.sign))*d.factor) + d.add
	}
	return l.fields, values
}

// value is the physical value. It is rounded twice, as everywhere: no fused multiplication.
func (d *step) value(w *Words) float64 {
	raw := w[d.big&1] >> (d.shift & 63) & d.mask
	var x float64
	switch d.kind {
	case whole:
		x = float64(int64(raw^d.sign) - int64(d.sign))
	case unsigned:
		x = float64(raw)
	case float32s:
		x = float64(math.Float32frombits(uint32(raw)))
	default:
		x = math.Float64frombits(raw)
	}
	return float64(x*d.factor) + d.add
}

func (d *Field) raw(p *Plan, f *frame.Frame, le uint64) uint64 {
	if p.wide {
		v, _ := d.Signal.Raw(f)
		return v
	}
	if d.big == 1 {
		le = bits.ReverseBytes64(le)
	}
	return le >> (d.shift & 63) & d.mask
}

// Words are the first eight data bytes as a Plan's fields read them: little endian, and big endian.
type Words [2]uint64

// Words returns the frame's.
func (p *Plan) Words(f *frame.Frame) Words {
	le := binary.LittleEndian.Uint64(f.Data[:8])
	return Words{le, bits.ReverseBytes64(le)}
}

// AppendJSON appends the exact physical value of an active field as a JSON number, without trailing zeros; a float that
// is not a number is null. w are the frame's Words. It does not allocate when the value fits 64 bits on the way.
func (p *Plan) AppendJSON(dst []byte, d *Field, f *frame.Frame, w *Words) []byte {
	raw := w[d.big&1] >> (d.shift & 63) & d.mask
	if p.wide {
		raw, _ = d.Signal.Raw(f)
	}
	if d.exact {
		return appendFixed(dst, (int64(raw^d.sign)-int64(d.sign))*d.num+d.off, int(d.places))
	}
	if d.kind == unsigned && d.Signal.scale == (scale{1, 0, 1, 1, 0}) {
		return strconv.AppendUint(dst, raw, 10)
	}
	if d.kind == whole || d.kind == unsigned {
		if q, ok := d.Signal.Value(f); ok && q.Den == 1 {
			return strconv.AppendInt(dst, q.Num, 10)
		}
	}
	x, _ := d.Signal.Float64(f)
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, x, 'g', -1, 64)
}

// appendFixed appends v / 10^places without trailing zeros.
func appendFixed(dst []byte, v int64, places int) []byte {
	u := uint64(v)
	if v < 0 {
		dst, u = append(dst, '-'), -u
	}
	var rest uint64
	switch places { // divided by constants, which is multiplication
	case 0:
		return appendDecimal(dst, u)
	case 1:
		u, rest = u/10, u%10*10
	case 2:
		u, rest = u/100, u%100
	default:
		return appendLong(dst, u, places)
	}
	dst = appendDecimal(dst, u)
	f := &hundredths[rest]
	return append(dst, f.text[:]...)[:len(dst)+f.n]
}

// hundredths are ".01" to ".99" without trailing zeros, and nothing for 0.
var hundredths = func() (t [100]struct {
	text [3]byte
	n    int
}) {
	for i := 1; i < len(t); i++ {
		t[i].text, t[i].n = [3]byte{'.', '0' + byte(i/10), '0' + byte(i%10)}, 3
		if i%10 == 0 {
			t[i].n = 2
		}
	}
	return t
}()

// appendLong is appendFixed for three decimals and more.
func appendLong(dst []byte, u uint64, places int) []byte {
	ten := uint64(1000)
	for range places - 3 {
		ten *= 10
	}
	dst = appendDecimal(dst, u/ten)
	rest := u % ten
	if rest == 0 {
		return dst
	}
	for rest%10 == 0 {
		rest, places = rest/10, places-1
	}
	dst = append(dst, ".00000000000000000"[:places+1]...)
	for i := len(dst) - 1; rest > 0; i-- {
		dst[i] = '0' + byte(rest%10)
		rest /= 10
	}
	return dst
}

// appendDecimal is strconv.AppendUint, made for numbers of at most eight digits.
func appendDecimal(dst []byte, u uint64) []byte {
	if u >= 1e8 {
		return strconv.AppendUint(dst, u, 10)
	}
	x := digits8(u)
	skip := bits.TrailingZeros64(x|1<<56) / 8 // leading zeros, but never the last digit
	return binary.LittleEndian.AppendUint64(dst, (x|0x3030303030303030)>>(8*skip&63))[:len(dst)+8-skip]
}

// digits8 has the eight decimal digits of u, the first in the lowest byte: halves of four, then two, then one digit are
// divided side by side, by multiplication.
func digits8(u uint64) uint64 {
	x := u/10000 | u%10000<<32
	y := x * 10486 >> 20 & 0x0000007F_0000007F // x/100 for x < 10000
	x = y | (x-100*y)<<16
	y = x * 103 >> 10 & 0x000F_000F_000F_000F // x/10 for x < 100
	return y | (x-10*y)<<8
}
