package reading

import (
	"math"
	"math/big"
	"strings"
)

// Unit is the unit of a Quantity as facts/pids.csv writes it: "km", "L", "degC", "%", "rpm", "kPa", "V", "s"; "" = a
// bare number.
type Unit string

// Quantity is an exact scaled integer: Num/Den in Unit. Den is positive and the fraction is in lowest terms, so two
// equal quantities compare equal with ==. The zero value is not a valid Quantity (Den 0) and reads as NaN.
type Quantity struct {
	Num, Den int64
	Unit     Unit
}

// Scaled returns raw·num/den + offset/offsetDen in unit, exactly. den and offsetDen must be positive; ok is false when
// the result does not fit 64 bits, which no OBD field reaches.
func Scaled(raw, num, den, offset, offsetDen int64, unit Unit) (q Quantity, ok bool) {
	if den <= 0 || offsetDen <= 0 {
		return Quantity{}, false
	}
	if offsetDen == 1 && within(raw, 1<<40) && within(num, 1<<20) && within(den, 1<<20) && within(offset, 1<<20) {
		n := raw*num + offset*den // at most 2^60 + 2^40
		g := gcd(max(n, -n), den)
		return Quantity{Num: n / g, Den: den / g, Unit: unit}, true
	}
	r := new(big.Rat).Mul(new(big.Rat).SetInt64(raw), big.NewRat(num, den))
	r.Add(r, big.NewRat(offset, offsetDen))
	if !r.Num().IsInt64() || !r.Denom().IsInt64() {
		return Quantity{}, false
	}
	return Quantity{Num: r.Num().Int64(), Den: r.Denom().Int64(), Unit: unit}, true
}

func within(n, limit int64) bool { return -limit <= n && n <= limit }

// gcd of n >= 0 and d > 0.
func gcd(n, d int64) int64 {
	for n != 0 {
		n, d = d%n, n
	}
	return d
}

// Float returns the nearest float64, for display and statistics; NaN for the zero Quantity.
func (q Quantity) Float() float64 {
	if q.Den == 0 {
		return math.NaN()
	}
	return float64(q.Num) / float64(q.Den)
}

// Cmp compares two quantities of one unit by value: -1, 0, +1.
func (q Quantity) Cmp(o Quantity) int {
	return new(big.Rat).SetFrac64(q.Num, max(q.Den, 1)).Cmp(new(big.Rat).SetFrac64(o.Num, max(o.Den, 1)))
}

// Decimal is the value as a decimal number: exact where the decimal ends within six places, else rounded half away from
// zero to six places; no exponent, no trailing zeros.
func (q Quantity) Decimal() string { return q.Round(6) }

// Round is the value as a decimal number of at most so many places, rounded half away from zero; no exponent, no trailing
// zeros.
func (q Quantity) Round(places int) string {
	if q.Den == 0 {
		return "NaN"
	}
	s := new(big.Rat).SetFrac64(q.Num, q.Den).FloatString(places)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// String is the decimal with its unit, "83 degC".
func (q Quantity) String() string {
	if q.Unit == "" {
		return q.Decimal()
	}
	return q.Decimal() + " " + string(q.Unit)
}

// Int returns the value when it is whole.
func (q Quantity) Int() (int64, bool) { return q.Num, q.Den == 1 }

// MarshalJSON writes the bare number Decimal gives.
func (q Quantity) MarshalJSON() ([]byte, error) {
	if q.Den == 0 {
		return []byte("null"), nil
	}
	return []byte(q.Decimal()), nil
}
