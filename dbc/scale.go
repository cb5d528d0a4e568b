package dbc

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// scale is raw*num + off, over den: the exact factor and offset on one denominator.
type scale struct {
	num, off, den int64
	factor, add   float64 // the same as float64, for Float
}

func newScale(factor, offset string) (scale, error) {
	f, okF := rat(factor)
	o, okO := rat(offset)
	if !okF || !okO {
		return scale{}, fmt.Errorf("factor %s or offset %s is no usable number", factor, offset)
	}
	den := new(big.Int).Mul(f.Denom(), o.Denom())
	den.Div(den, new(big.Int).GCD(nil, nil, f.Denom(), o.Denom()))
	num := new(big.Int).Mul(f.Num(), new(big.Int).Div(den, f.Denom()))
	off := new(big.Int).Mul(o.Num(), new(big.Int).Div(den, o.Denom()))
	if !num.IsInt64() || !off.IsInt64() || !den.IsInt64() {
		return scale{}, fmt.Errorf("factor %s and offset %s need more than 64 bits", factor, offset)
	}
	s := scale{num: num.Int64(), off: off.Int64(), den: den.Int64()}
	s.factor, _ = f.Float64()
	s.add, _ = o.Float64()
	return s, nil
}

// rat reads a decimal; exponents are bounded so that a short text cannot become a long number.
func rat(s string) (*big.Rat, bool) {
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if e, err := strconv.Atoi(s[i+1:]); err != nil || e > 40 || e < -40 {
			return nil, false
		}
	}
	return new(big.Rat).SetString(strings.TrimPrefix(s, "+"))
}
