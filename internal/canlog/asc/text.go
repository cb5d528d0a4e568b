package asc

import (
	"bytes"
	"time"
)

// words cuts a line at white space without copying.
type words struct{ rest []byte }

// next is the next word, empty at the end.
func (w *words) next() []byte {
	i := 0
	for i < len(w.rest) && w.rest[i] <= ' ' {
		i++
	}
	j := i
	for j < len(w.rest) && w.rest[j] > ' ' {
		j++
	}
	word := w.rest[i:j]
	w.rest = w.rest[j:]
	return word
}

// same compares a word with ASCII letters of any case.
func same(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		d := s[i]
		if c != d && (c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

// number reads an unsigned number of at most 32 bits, decimal or hexadecimal.
func number(b []byte, dec bool) (uint32, bool) {
	if len(b) == 0 || len(b) > 16 {
		return 0, false
	}
	base := uint64(16)
	if dec {
		base = 10
	}
	var n uint64
	for _, c := range b {
		d := uint64(c - '0')
		if c < '0' || c > '9' {
			d = uint64(c|0x20-'a') + 10
			if c|0x20 < 'a' || c|0x20 > 'f' || dec {
				return 0, false
			}
		}
		if n = n*base + d; n > 0xFFFFFFFF {
			return 0, false
		}
	}
	return uint32(n), true
}

// maxSeconds of an event: a hundred years.
const maxSeconds = 100 * 366 * 24 * 3600

// parseSeconds reads "12.345678"; digits beyond nanoseconds are cut. Some tools write a comma.
func parseSeconds(b []byte) (time.Duration, bool) {
	i, sec := 0, int64(0)
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if sec = sec*10 + int64(b[i]-'0'); sec > maxSeconds {
			return 0, false
		}
	}
	if i == 0 || i == len(b) || b[i] != '.' && b[i] != ',' {
		return 0, false
	}
	i++
	first, ns, unit := i, int64(0), int64(time.Second)
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if unit /= 10; unit > 0 {
			ns += int64(b[i]-'0') * unit
		}
	}
	if i == first || i != len(b) {
		return 0, false
	}
	return time.Duration(sec)*time.Second + time.Duration(ns), true
}

// months as English and German tools write them.
var months = map[string]time.Month{
	"jan": 1, "feb": 2, "mar": 3, "mär": 3, "mrz": 3, "apr": 4, "may": 5, "mai": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9,
	"oct": 10, "okt": 10, "nov": 11, "dec": 12, "dez": 12,
}

// parseDate reads "Wed Apr 16 09:21:13.159 am 2014" as time since 1970-01-01 UTC; 0 when it is no such date. The word am
// or pm counts only where the hour is one of a twelve-hour clock.
func parseDate(b []byte) time.Duration {
	w := words{rest: b}
	w.next() // weekday, in the language of the tool
	month, ok := months[string(bytes.ToLower(w.next()))]
	if !ok {
		return 0
	}
	day, ok := number(w.next(), true)
	clock := w.next()
	year := w.next()
	half := byte(0)
	if len(year) == 2 && year[1]|0x20 == 'm' {
		half, year = year[0]|0x20, w.next()
	}
	y, ok2 := number(year, true)
	if !ok || !ok2 || y < 1970 || y > 2200 || day < 1 || day > 31 {
		return 0
	}
	hms := bytes.SplitN(clock, []byte(":"), 3)
	if len(hms) != 3 {
		return 0
	}
	h, ok := number(hms[0], true)
	m, ok2 := number(hms[1], true)
	if !bytes.Contains(hms[2], []byte(".")) {
		hms[2] = append(bytes.Clone(hms[2]), '.', '0')
	}
	s, ok3 := parseSeconds(hms[2])
	if !ok || !ok2 || !ok3 || h > 23 || m > 59 || s >= time.Minute+time.Second {
		return 0
	}
	switch {
	case half == 'p' && h < 12:
		h += 12
	case half == 'a' && h == 12:
		h = 0
	}
	return time.Duration(time.Date(int(y), month, int(day), int(h), int(m), 0, 0, time.UTC).Unix())*time.Second + s
}
