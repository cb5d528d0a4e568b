package dbc

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"

	"obdgate/internal/frame"
	"obdgate/internal/reading"
)

// Raw returns the bits of the signal, unsigned, and whether the frame is long enough to hold them. It does not look at
// multiplexing (Active does) and does not allocate.
func (s *Signal) Raw(f *frame.Frame) (uint64, bool) {
	if s.bytes[1] >= int(f.Len) {
		return 0, false
	}
	if s.BigEndian {
		return bigEndian(&f.Data, s.first+s.Size-1, s.Size), true
	}
	return littleEndian(&f.Data, s.first, s.Size), true
}

// littleEndian reads n bits upward from bit first; bit i is bit i%8 of byte i/8.
func littleEndian(d *[64]byte, first, n int) uint64 {
	b, shift := first/8, first%8
	var v uint64
	if b > 56 { // the last eight bytes hold it: no signal reaches beyond the array
		v = binary.LittleEndian.Uint64(d[56:]) >> (8 * (b - 56)) >> shift
	} else {
		v = binary.LittleEndian.Uint64(d[b:b+8]) >> shift
		if shift+n > 64 {
			v |= uint64(d[b+8]) << (64 - shift)
		}
	}
	return v << (64 - n) >> (64 - n)
}

// bigEndian reads the n bits that end at bit last; bit i is bit 7-i%8 of byte i/8.
func bigEndian(d *[64]byte, last, n int) uint64 {
	b, shift := last/8, 7-last%8
	var v uint64
	if b < 7 {
		v = binary.BigEndian.Uint64(d[:8]) >> (8 * (7 - b)) >> shift
	} else {
		v = binary.BigEndian.Uint64(d[b-7:b+1]) >> shift
		if shift+n > 64 {
			v |= uint64(d[b-8]) << (64 - shift)
		}
	}
	return v << (64 - n) >> (64 - n)
}

// Active reports whether the frame carries the signal: it is long enough, and every switch above it has a value that
// selects it. A signal whose switch is unknown (Lost) is never active. It does not allocate.
func (s *Signal) Active(f *frame.Frame) bool {
	if s.Lost || s.bytes[1] >= int(f.Len) {
		return false
	}
	for at := s; at.Under != nil; at = at.Under {
		v, ok := at.Under.Raw(f)
		if !ok || !at.selected(v) {
			return false
		}
	}
	return true
}

func (s *Signal) selected(v uint64) bool {
	for _, r := range s.When {
		if v >= r.From && v <= r.To {
			return true
		}
	}
	return false
}

// Signed returns the raw value with its sign, as a two's complement int64.
func (s *Signal) signed(raw uint64) int64 {
	if s.Signed {
		return int64(raw<<(64-s.Size)) >> (64 - s.Size)
	}
	return int64(raw)
}

// Value returns the physical value exactly: raw·factor + offset, never clamped to the file's minimum and maximum. ok is
// false when the frame is too short, a float is not a number, or the result does not fit a Quantity. It does not allocate
// unless the numbers need more than 64 bits on the way.
func (s *Signal) Value(f *frame.Frame) (reading.Quantity, bool) {
	raw, ok := s.Raw(f)
	if !ok {
		return reading.Quantity{}, false
	}
	if s.Float != Integer {
		return s.floatValue(raw)
	}
	if !s.Signed && raw > math.MaxInt64 {
		return s.wide(new(big.Rat).SetInt(new(big.Int).SetUint64(raw)))
	}
	n := s.signed(raw)
	neg := (n < 0) != (s.scale.num < 0)
	hi, lo := bits.Mul64(magnitude(n), magnitude(s.scale.num))
	if hi != 0 || lo > math.MaxInt64 {
		return s.wide(new(big.Rat).SetInt64(n))
	}
	v := int64(lo)
	if neg {
		v = -v
	}
	sum := v + s.scale.off
	if (sum > v) != (s.scale.off > 0) && s.scale.off != 0 {
		return s.wide(new(big.Rat).SetInt64(n))
	}
	return reduce(sum, s.scale.den, reading.Unit(s.Unit)), true
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// reduce returns num/den in lowest terms; den is positive.
func reduce(num, den int64, u reading.Unit) reading.Quantity {
	if den == 1 {
		return reading.Quantity{Num: num, Den: 1, Unit: u}
	}
	a, b := magnitude(num), uint64(den)
	for b != 0 {
		a, b = b, a%b
	}
	return reading.Quantity{Num: num / int64(a), Den: den / int64(a), Unit: u}
}

// wide is the slow way, for results whose parts leave 64 bits.
func (s *Signal) wide(raw *big.Rat) (reading.Quantity, bool) {
	raw.Mul(raw, big.NewRat(s.scale.num, s.scale.den))
	raw.Add(raw, big.NewRat(s.scale.off, s.scale.den))
	if !raw.Num().IsInt64() || !raw.Denom().IsInt64() {
		return reading.Quantity{}, false
	}
	return reading.Quantity{Num: raw.Num().Int64(), Den: raw.Denom().Int64(), Unit: reading.Unit(s.Unit)}, true
}

func (s *Signal) ieee(raw uint64) float64 {
	if s.Float == Float32 {
		return float64(math.Float32frombits(uint32(raw)))
	}
	return math.Float64frombits(raw)
}

// floatValue is the value of a float signal: every finite IEEE 754 number is a fraction, mantissa over a power of two.
func (s *Signal) floatValue(raw uint64) (reading.Quantity, bool) {
	x := s.ieee(raw)
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return reading.Quantity{}, false
	}
	if x == 0 || s.scale != (scale{1, 0, 1, 1, 0}) {
		return s.wide(new(big.Rat).SetFloat64(x))
	}
	m, e := math.Frexp(x)
	n := int64(m * (1 << 53)) // exact: a float64 has 53 bits
	e -= 53
	zeros := bits.TrailingZeros64(uint64(n))
	n >>= zeros
	switch e += zeros; {
	case e >= 0 && e+bits.Len64(magnitude(n)) < 64:
		return reading.Quantity{Num: n << e, Den: 1, Unit: reading.Unit(s.Unit)}, true
	case e < 0 && e > -63:
		return reading.Quantity{Num: n, Den: 1 << -e, Unit: reading.Unit(s.Unit)}, true
	}
	return reading.Quantity{}, false
}

// Float64 returns the physical value as float64: raw·factor + offset in floating point, as most tools print it. ok is
// false when the frame is too short. It does not allocate.
func (s *Signal) Float64(f *frame.Frame) (float64, bool) {
	raw, ok := s.Raw(f)
	if !ok {
		return 0, false
	}
	switch {
	case s.Float != Integer:
		return s.ieee(raw)*s.scale.factor + s.scale.add, true
	case s.Signed:
		return float64(s.signed(raw))*s.scale.factor + s.scale.add, true
	}
	return float64(raw)*s.scale.factor + s.scale.add, true
}

// Readings decodes every active signal of a frame: a value with a text (VAL_) is a Code, others are a Quantity, one that
// is not a number or too large is Absent. ECU is the sender's name.
func (m *Message) Readings(f *frame.Frame) []reading.Reading {
	out := make([]reading.Reading, 0, len(m.Signals))
	for _, s := range m.Signals {
		if !s.Active(f) {
			continue
		}
		first, last := s.Bytes()
		r := reading.Reading{Key: reading.Key(s.Key()), Name: s.Name, ECU: m.Sender, Raw: append([]byte(nil), f.Data[first:last+1]...)}
		if f.Seq != 0 {
			r.From = []uint64{f.Seq}
		}
		r.Value = s.reading(f)
		out = append(out, r)
	}
	return out
}

func (s *Signal) reading(f *frame.Frame) reading.Value {
	raw, _ := s.Raw(f)
	if label, ok := s.Values[s.signed(raw)]; ok && s.Float == Integer {
		return reading.Code{N: raw, Label: label}
	}
	if q, ok := s.Value(f); ok {
		return q
	}
	return reading.Absent{Why: reading.Damaged}
}
