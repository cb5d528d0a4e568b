package sim

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// literal reads the byte notation of a vehicle file: hex digits ("0A 17", spaces free), quoted text ('ABC', padded with
// zeros to n bytes as 'ABC'/n), {vin}, and decimal numbers as u8(n), u16(n), u24(n), u32(n), big endian.
func literal(s, vin string) ([]byte, error) {
	var out []byte
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimLeft(s, " \t\n") {
		var part []byte
		var err error
		switch {
		case s[0] == '\'':
			part, s, err = quoted(s)
		case strings.HasPrefix(s, "{vin}"):
			part, s = []byte(vin), s[len("{vin}"):]
		case s[0] == 'u':
			part, s, err = number(s)
		default:
			n := strings.IndexAny(s, " '{u\t\n")
			if n < 0 {
				n = len(s)
			}
			if n == 0 {
				return nil, fmt.Errorf("%q is neither hex, 'text', {vin} nor uN(number)", s[:1])
			}
			part, err = hex.DecodeString(s[:n])
			s = s[n:]
		}
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}

func quoted(s string) (part []byte, rest string, err error) {
	text, rest, ok := strings.Cut(s[1:], "'")
	if !ok {
		return nil, "", fmt.Errorf("text without closing quote")
	}
	part = []byte(text)
	if !strings.HasPrefix(rest, "/") {
		return part, rest, nil
	}
	rest = rest[1:]
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	width, err := strconv.Atoi(rest[:digits])
	if err != nil || width < len(part) || width > maxMessage {
		return nil, "", fmt.Errorf("text of %d bytes does not fit the width %q", len(part), rest[:digits])
	}
	return append(part, make([]byte, width-len(part))...), rest[digits:], nil
}

func number(s string) (part []byte, rest string, err error) {
	head, rest, ok := strings.Cut(s, ")")
	kind, digits, ok2 := strings.Cut(head, "(")
	bits, known := map[string]int{"u8": 8, "u16": 16, "u24": 24, "u32": 32}[kind]
	if !ok || !ok2 || !known {
		return nil, "", fmt.Errorf("a number is written u8(n), u16(n), u24(n) or u32(n)")
	}
	n, err := strconv.ParseUint(digits, 10, bits)
	if err != nil {
		return nil, "", fmt.Errorf("%s does not hold %q", kind, digits)
	}
	for shift := bits - 8; shift >= 0; shift -= 8 {
		part = append(part, byte(n>>shift))
	}
	return part, rest, nil
}

// address is where one message goes: an identifier, whether it has 29 bits, and with extended addressing the byte in front
// of the PCI.
type address struct {
	id       uint32
	extended bool // 29-bit
	ext      bool
	extByte  byte
}

// parseAddress reads "7E0", "18DA10F1" or, with extended addressing, "6F1/60". Three digits are 11-bit, eight 29-bit.
func parseAddress(s string) (address, error) {
	idText, extText, ext := strings.Cut(s, "/")
	if len(idText) != 3 && len(idText) != 8 {
		return address{}, fmt.Errorf("identifier %q: three hex digits (11-bit) or eight (29-bit) are needed", idText)
	}
	id, err := strconv.ParseUint(idText, 16, 32)
	if err != nil || len(idText) == 3 && id > 0x7FF || id > 0x1FFFFFFF {
		return address{}, fmt.Errorf("identifier %q is not one of a CAN bus", idText)
	}
	a := address{id: uint32(id), extended: len(idText) == 8, ext: ext}
	if ext {
		b, err := hex.DecodeString(extText)
		if err != nil || len(b) != 1 {
			return address{}, fmt.Errorf("address byte %q: two hex digits are needed", extText)
		}
		a.extByte = b[0]
	}
	return a, nil
}

// pattern matches requests: hex digits, a final * for "and anything after it".
type pattern struct {
	prefix []byte
	open   bool
}

func parsePattern(s string) (pattern, error) {
	digits, open := strings.CutSuffix(strings.ReplaceAll(s, " ", ""), "*")
	b, err := hex.DecodeString(digits)
	if err != nil {
		return pattern{}, fmt.Errorf("request %q: whole bytes in hex, with * at the end for any continuation", s)
	}
	return pattern{b, open}, nil
}

func (p pattern) match(req []byte) bool {
	if p.open {
		return len(req) >= len(p.prefix) && string(req[:len(p.prefix)]) == string(p.prefix)
	}
	return string(req) == string(p.prefix)
}

func parsePatterns(list []string) ([]pattern, error) {
	var out []pattern
	for _, s := range list {
		p, err := parsePattern(s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func matchAny(list []pattern, req []byte) bool {
	for _, p := range list {
		if p.match(req) {
			return true
		}
	}
	return false
}
