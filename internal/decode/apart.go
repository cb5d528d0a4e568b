package decode

import (
	"encoding/hex"
	"fmt"
	"strings"

	"obdgate/internal/obd"
)

// stamped takes off what terminals and loggers put in front of an adapter's lines: the direction, the time, an arrow.
//
//	<[0.141]0210C0        20:54:42.334 -> 62 32 75 4E
func stamped(s string) string {
	s = strings.TrimSpace(s)
	s = strings.TrimSpace(strings.TrimLeft(s, "<>"))
	if rest, ok := strings.CutPrefix(s, "["); ok {
		if at, after, ok := strings.Cut(rest, "]"); ok && isClock(at) {
			s = strings.TrimSpace(after)
		}
	}
	if at, after, ok := strings.Cut(s, " "); ok && strings.Contains(at, ":") && isClock(at) {
		s = after
	}
	for _, arrow := range []string{"->", "→", "<-", "←"} {
		s = strings.TrimPrefix(strings.TrimSpace(s), arrow)
	}
	return strings.TrimSpace(s)
}

// isClock reports whether a word is a time: 19:20:24.632, 0.141.
func isClock(s string) bool {
	return strings.ContainsAny(s, ":.") && strings.Trim(s, "0123456789:.") == "" && (!strings.Contains(s, ":") || len(s) >= len("1:02:03"))
}

// glued takes apart an ELM327's numbered lines whose line breaks are lost: "0140:4902015756571:5A5A5A...2:...". A digit before
// each colon is the number of the part behind it, the three in front of the first are the length.
func glued(s string) []string {
	s = strings.ToUpper(s)
	for _, w := range progressWords {
		s = strings.TrimPrefix(strings.TrimSpace(s), w)
	}
	parts := strings.Split(strings.ReplaceAll(strings.TrimRight(s, "> \t"), " ", ""), ":")
	last := len(parts) - 1
	if last < 1 || len(parts[0]) != 4 && (len(parts[0]) != 1 || last < 2) {
		return nil
	}
	var out []string
	for i, p := range parts {
		if !isHex(p) {
			return nil
		}
		if i == last {
			out[len(out)-1] += p
			continue
		}
		const digits = "0123456789ABCDEF"
		head, number := p[:len(p)-1], p[len(p)-1:]
		if number[0] != digits[i%16] || i == 1 && len(head) != 12 || i > 1 && len(head) != 14 {
			return nil
		}
		if i > 0 {
			out[len(out)-1] += head
		} else if head != "" {
			out = append(out, head)
		}
		out = append(out, number+":")
	}
	return out
}

// several takes apart the answers of several ECUs to one PID of one length, or their lists of trouble codes, that stand on one
// line without anything between.
func several(s string, req []byte) []string {
	if len(req) == 1 && (req[0] == 0x03 || req[0] == 0x07 || req[0] == 0x0A) {
		return lists(s, req[0]+0x40)
	}
	if len(req) != 2 || req[0] != 0x01 {
		return nil
	}
	least, most, known := obd.Lengths(req[1])
	packed := strings.ToUpper(strings.ReplaceAll(s, " ", ""))
	size := 2 * (2 + most)
	if !known || least != most || len(packed) <= size || len(packed)%size != 0 || !isHex(packed) {
		return nil
	}
	answer := strings.ToUpper(hex.EncodeToString([]byte{0x41, req[1]}))
	var out []string
	for ; packed != ""; packed = packed[size:] {
		if !strings.HasPrefix(packed, answer) {
			return nil
		}
		out = append(out, packed[:size])
	}
	return out
}

// lists takes apart whole lists of trouble codes, each its service, the number of codes and the codes.
func lists(s string, service byte) (out []string) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		return nil
	}
	for len(b) > 0 {
		n := 2
		if len(b) > 1 {
			n += 2 * int(b[1])
		}
		if b[0] != service || n > len(b) {
			return nil
		}
		out = append(out, hex.EncodeToString(b[:n]))
		b = b[n:]
	}
	if len(out) < 2 {
		return nil
	}
	return out
}

// frames takes apart the frames of one message that stand on one line without identifiers: "10 14 62 .. 21 .. 22 ..".
func frames(w []string) (out []string) {
	const size = 8
	if len(w) <= size || len(w[0]) != 2 || w[0][0] != '1' {
		return nil
	}
	for i := 0; i < len(w); i += size {
		if i > 0 && w[i] != fmt.Sprintf("2%X", i/size&0xF) {
			return nil
		}
		out = append(out, strings.Join(w[i:min(i+size, len(w))], " "))
	}
	return out
}

// apart splits a line in which an adapter, or whoever copied it, has lost the line breaks between frames with 11-bit
// identifiers: "7E8 06 41 .. 7E9 06 41 ..", or the same packed, nineteen digits each.
func apart(s string, req []byte) []string {
	if parts := glued(s); parts != nil {
		return parts
	}
	if answers := several(s, req); answers != nil {
		return answers
	}
	const packed = 3 + 2*8
	w := strings.Fields(s)
	if parts := frames(w); parts != nil {
		return parts
	}
	if len(w) == 1 && len(s) > packed && len(s)%packed == 0 {
		var out []string
		for ; s != ""; s = s[packed:] {
			if !strings.HasPrefix(s, "7E") && !strings.HasPrefix(s, "7e") {
				return w
			}
			out = append(out, s[:packed])
		}
		return out
	}
	if len(w) < 4 || len(w[0]) != 3 {
		return []string{s}
	}
	var out []string
	from := 0
	for i := 1; i <= len(w); i++ {
		if i < len(w) && len(w[i]) != 3 {
			if len(w[i]) > 2 {
				return []string{s}
			}
			continue
		}
		out = append(out, strings.Join(w[from:i], " "))
		from = i
	}
	return out
}
