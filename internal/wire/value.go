package wire

import (
	"encoding/json"
	"fmt"
	"strings"
)

type kind uint8

const (
	number kind = iota + 1
	text
	truth
)

// Value is a number, a text or a truth value. The zero Value is none of them and is not valid in a document. Values are
// comparable; two equal numbers are equal values because a number has one spelling.
type Value struct {
	kind kind
	text string // the number's digits, the text, "true" or "false"
}

// Number returns the number that d spells. ok is false when d is not canonical: optional minus, no leading zeros, no
// exponent, no trailing zeros after the point, not "-0", at most MaxNumber characters.
func Number(d string) (v Value, ok bool) {
	if !canonicalNumber(d) {
		return Value{}, false
	}
	return Value{number, d}, true
}

// Text returns a text value. ok is false when s is empty, longer than MaxText, or not printable ASCII.
func Text(s string) (v Value, ok bool) {
	if s == "" || len(s) > MaxText || !printable(s) {
		return Value{}, false
	}
	return Value{text, s}, true
}

// Truth returns a truth value.
func Truth(b bool) Value { return Value{truth, fmt.Sprint(b)} }

// Number returns the digits of a number; ok is false for the other kinds.
func (v Value) Number() (digits string, ok bool) { return v.text, v.kind == number }

// Text returns a text; ok is false for the other kinds.
func (v Value) Text() (s string, ok bool) { return v.text, v.kind == text }

func canonicalNumber(d string) bool {
	if len(d) > MaxNumber || d == "-0" {
		return false
	}
	whole, frac, point := strings.Cut(strings.TrimPrefix(d, "-"), ".")
	if whole == "" || len(whole) > 1 && whole[0] == '0' || strings.Trim(whole, "0123456789") != "" {
		return false
	}
	return !point || frac != "" && frac[len(frac)-1] != '0' && strings.Trim(frac, "0123456789") == ""
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// MarshalJSON writes the bare number, the string or true/false.
func (v Value) MarshalJSON() ([]byte, error) {
	if v.kind == 0 {
		return nil, fmt.Errorf("%w: a value is missing", ErrInvalid)
	}
	return v.append(nil), nil
}

// UnmarshalJSON accepts only the canonical spelling.
func (v *Value) UnmarshalJSON(b []byte) error {
	ok := false
	switch {
	case string(b) == "true", string(b) == "false":
		*v, ok = Value{truth, string(b)}, true
	case len(b) > 0 && b[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err == nil {
			*v, ok = Text(s)
		}
	default:
		*v, ok = Number(string(b))
	}
	if !ok {
		return fmt.Errorf("%w: a value is not in canonical form", ErrInvalid)
	}
	return nil
}

func (v Value) append(dst []byte) []byte {
	if v.kind == text {
		return appendString(dst, v.text)
	}
	return append(dst, v.text...)
}
