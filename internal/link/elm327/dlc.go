package elm327

import (
	"bytes"
	"time"
)

// AT D1 puts the DLC between the identifier and the PCI, as one digit. It is off by default and no command of ours turns it on,
// but some boards print it whatever they are told:
//
//	7E8 8 06 41 00 BE 3F A8 13        7E88064100BE..: an even number of digits, with 29 bits an odd one
//
// A line is read so where the adapter has printed nothing else and was asked to leave it out.

// dlcWay is what is known of an adapter's DLC.
type dlcWay uint8

const (
	dlcOff   dlcWay = iota
	dlcAsked        // it was seen, and AT D0 was sent
	dlcOn           // it is there all the same
)

// withoutDLC takes the DLC out of a line's data, into buf. ok is false where there is none: it names as many bytes as follow,
// or eight where a single frame is cut at its end.
func withoutDLC(buf *[MaxLine]byte, data []byte, bits int) (line []byte, ok bool) {
	id := 3
	if bits == 29 {
		id = 8
	}
	digits, rest := 0, 0
	var dlc byte
	out := buf[:0]
	for _, c := range data {
		if c == ' ' {
			out = append(out, c)
			continue
		}
		switch {
		case digits < id:
			out = append(out, c)
		case digits == id:
			if dlc = c - '0'; dlc > 8 {
				return nil, false
			}
			out = bytes.TrimRight(out, " ")
			if bytes.IndexByte(data, ' ') >= 0 {
				out = append(out, ' ')
			}
		default:
			if rest == 0 {
				out = bytes.TrimRight(out, " ")
				if bytes.IndexByte(data, ' ') >= 0 {
					out = append(out, ' ')
				}
			}
			rest++
			out = append(out, c)
		}
		digits++
	}
	n := rest / 2
	return out, rest > 0 && rest%2 == 0 && (int(dlc) == n || dlc == 8 && n < 8)
}

// dlcSeen: every line of data has a DLC in it.
func dlcSeen(r *reply, bits int) bool {
	all, n := true, 0
	r.lines(func(line []byte, _ time.Duration) {
		_, data := Classify(line)
		if len(data) == 0 {
			return
		}
		var buf [MaxLine]byte
		_, ok := withoutDLC(&buf, data, bits)
		all = all && ok
		n++
	})
	return all && n > 0
}
