// Package vin holds a vehicle identification number that does not print itself. The number is technical and the linking
// key at once (it leaves only under consent), so that no log line, error or panic may carry it by accident.
package vin

import (
	"errors"
	"log/slog"
	"strings"

	"obdgate/internal/reading"
)

// Len is the length of a VIN (ISO 3779).
const Len = 17

// ErrNotVIN marks bytes that are no VIN. It never carries them.
var ErrNotVIN = errors.New("not a VIN: 17 characters of 0-9 and A-Z without I, O, Q are needed")

// VIN is a valid VIN or the zero value ("not read"). The text sits behind a pointer so that printing a struct that holds
// a VIN in an unexported field cannot show it. Compare with Equal.
type VIN struct{ s *string }

// Parse accepts 17 characters of the VIN alphabet after stripping 00, FF and white space at both ends (ECUs pad to 24
// bytes). Lower case is raised. Anything else is ErrNotVIN. The check digit is not required: European VINs carry any
// character there (see CheckDigitOK).
func Parse(s string) (VIN, error) {
	s = strings.ToUpper(trimRight(trimLeft(s)))
	if len(s) != Len {
		return VIN{}, ErrNotVIN
	}
	for i := range Len {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z') || c == 'I' || c == 'O' || c == 'Q' {
			return VIN{}, ErrNotVIN
		}
	}
	return VIN{&s}, nil
}

// Reveal returns the 17 characters, "" for the zero value. Only gate, store and report call it (archtest).
func (v VIN) Reveal() string {
	if v.s == nil {
		return ""
	}
	return *v.s
}

// Leading accepts what Parse accepts, and a VIN with more bytes behind it: some ECUs give a longer field. whole is false
// when something other than padding follows.
func Leading(s string) (v VIN, whole bool, err error) {
	if v, err = Parse(s); err == nil {
		return v, true, nil
	}
	s = trimLeft(s)
	if len(s) <= Len {
		return VIN{}, false, ErrNotVIN
	}
	v, err = Parse(s[:Len])
	return v, false, err
}

// Identity returns the VIN as a reading's value; the zero VIN is Absent.
func (v VIN) Identity() reading.Value {
	if v.s == nil {
		return reading.Absent{Why: reading.NotAvailable}
	}
	return reading.NewIdentity(*v.s)
}

// FromReading returns the VIN a reading carries; ok is false for readings that are no VIN.
func FromReading(r reading.Reading) (v VIN, ok bool) {
	id, ok := r.Value.(reading.Identity)
	if !ok {
		return VIN{}, false
	}
	v, err := Parse(id.Reveal())
	return v, err == nil
}

// IsZero reports whether no VIN was read.
func (v VIN) IsZero() bool { return v.s == nil }

// Equal reports whether both are the same VIN; two zero values are equal.
func (v VIN) Equal(o VIN) bool { return v.Reveal() == o.Reveal() }

// WMI is the world manufacturer identifier, the first three characters (ISO 3780); it names a maker, not a vehicle.
func (v VIN) WMI() string {
	if v.s == nil {
		return ""
	}
	return (*v.s)[:3]
}

// weights of ISO 3779 / 49 CFR 565.15, position 9 (the check digit itself) weighs nothing.
var weights = [Len]int{8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2}

// values of the letters A..Z in the check digit sum; I, O and Q do not occur.
const letterValues = "12345678012345070923456789"

// CheckDigitOK reports whether position 9 is the North American check digit (49 CFR 565.15). A wrong one on a European
// vehicle means nothing: treat it as a hint.
func (v VIN) CheckDigitOK() bool {
	if v.s == nil {
		return false
	}
	sum := 0
	for i, w := range weights {
		c := (*v.s)[i]
		n := int(c - '0')
		if c >= 'A' {
			n = int(letterValues[c-'A'] - '0')
		}
		sum += w * n
	}
	want := byte('0' + sum%11)
	if sum%11 == 10 {
		want = 'X'
	}
	return (*v.s)[8] == want
}

const hidden = "[vin]"

func (v VIN) String() string       { return hidden }
func (v VIN) GoString() string     { return hidden }
func (v VIN) LogValue() slog.Value { return slog.StringValue(hidden) }
func (v VIN) MarshalText() ([]byte, error) {
	return nil, errors.New("vin: a VIN is not marshalled; Reveal it where that is allowed")
}

// filler reports whether ECUs pad a VIN with b. The set cannot be given to strings.Trim, which reads it as UTF-8 and takes
// every byte above 7F for FF.
func filler(b byte) bool {
	return b == 0x00 || b == 0xFF || b == ' ' || b == '\t' || b == '\r' || b == '\n'
}

func trimLeft(s string) string {
	for len(s) > 0 && filler(s[0]) {
		s = s[1:]
	}
	return s
}

func trimRight(s string) string {
	for len(s) > 0 && filler(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}
