package decode

import (
	"strconv"
	"strings"
)

// logged rewrites one line of the loggers people paste from as an identifier and the bytes of the frame. ok is false when
// it is no line of theirs. s is upper case; tokens are its words, brackets and quotes taken off.
//
//	(1690000000.123456) can0 7E8#04410C1AF8        candump -L, ## with one digit of flags for CAN FD
//	can0  7E8   [8]  04 41 0C 1A F8                candump on screen
//	t7E8804410C1AF8000000  T18DAF1108…             SLCAN (Lawicel)
//	1)  0.5  Rx  07E8  8  04 41 0C                 PCAN trace
//	0.004 1 7E8 Rx d 8 04 41 0C, 18DAF110x         Vector ASC
//	166064000,000007E8,false,Rx,0,8,04,41,0C       SavvyCAN
//	ID: 7E8 DLC: 8 Data: 04 41 0C                  python-can, SavvyCAN's text
func logged(s string) (tokens []string, ok bool) {
	if i := strings.IndexByte(s, '#'); i >= 0 {
		head, rest := strings.Fields(s[:i]), s[i+1:]
		if strings.HasPrefix(rest, "#") && len(rest) > 1 {
			rest = rest[2:]
		}
		if len(head) == 0 {
			return nil, true
		}
		return append([]string{head[len(head)-1]}, words(strings.ReplaceAll(rest, ".", ""))...), true
	}
	if i, j := strings.IndexByte(s, '['), strings.IndexByte(s, ']'); i >= 0 && j > i {
		if head := strings.Fields(s[:i]); len(head) > 0 && isDecimal(strings.TrimSpace(s[i+1:j])) {
			return append([]string{strings.TrimPrefix(head[len(head)-1], "0X")}, words(s[j+1:])...), true
		}
	}
	w := words(s)
	if len(w) == 1 && slcan(w[0]) {
		n := 4 // t and three digits
		if w[0][0] == 'T' && len(w[0]) >= 10 && slcanLength(w[0], 9) {
			n = 9
		}
		return []string{w[0][1:n], w[0][n+1 : n+1+2*int(w[0][n]-'0')]}, true
	}
	for i, t := range w {
		switch t = strings.TrimRight(t, ":="); {
		case (t == "RX" || t == "TX") && i > 0:
			return direction(w, i)
		case (t == "ID" || t == "CANID") && i+1 < len(w):
			return afterID(w[i+1:])
		}
	}
	return nil, false
}

// words are the hexadecimal words of a line, without what people put around them.
func words(s string) []string {
	out := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t,;|\"'[]{}()", r) })
	for i := range out {
		out[i] = strings.TrimPrefix(out[i], "0X")
	}
	return out
}

// slcan reports whether a word is a data frame of the SLCAN protocol: t iii L dd.., T iiiiiiii L dd... In upper case both
// read T; the digit of the length, which must fit what follows, tells them apart. A time stamp of four digits may follow.
func slcan(w string) bool {
	return len(w) > 5 && w[0] == 'T' && isHex(w[1:]) && (slcanLength(w, 4) || len(w) > 10 && slcanLength(w, 9))
}

func slcanLength(w string, at int) bool {
	n := int(w[at]) - '0'
	rest := len(w) - at - 1 - 2*n
	return n >= 1 && n <= 8 && (rest == 0 || rest == 4)
}

// direction reads the lines that say Rx or Tx: the identifier stands right behind (PCAN), or in front (ASC), or two in
// front with a word between (SavvyCAN); the length is the next number, the bytes are the rest.
func direction(w []string, at int) ([]string, bool) {
	id, rest := "", w[at+1:]
	switch {
	case len(rest) > 2 && isIdentifier(rest[0]) && isLength(rest[1]):
		id, rest = rest[0], rest[1:]
	case len(rest) > 1 && rest[0] == "D" && isIdentifier(w[at-1]):
		id, rest = w[at-1], rest[1:]
	case at > 1 && (w[at-1] == "FALSE" || w[at-1] == "TRUE") && isIdentifier(w[at-2]) && len(rest) > 2:
		id, rest = w[at-2], rest[1:] // the bus stands before the length
	default:
		return nil, false
	}
	if !isLength(rest[0]) {
		return nil, false
	}
	n, _ := strconv.Atoi(rest[0])
	rest = rest[1:]
	return append([]string{identifierText(id)}, rest[:min(n, len(rest))]...), true
}

// afterID reads "7E8 DLC: 8 DATA: 04 41 ..", in whatever order the words between come.
func afterID(w []string) ([]string, bool) {
	if !isIdentifier(w[0]) {
		return nil, false
	}
	out := []string{identifierText(w[0])}
	for i := 1; i < len(w); i++ {
		switch t := strings.TrimRight(w[i], ":="); {
		case t == "DLC" || t == "LEN" || t == "DL":
			i++ // its number
		case len(t) == 2 && isHex(t), len(t) > 2 && len(t)%2 == 0 && isHex(t) && t != "DATA":
			out = append(out, t)
		}
	}
	return out, len(out) > 1
}

func isIdentifier(s string) bool {
	s = strings.TrimSuffix(strings.TrimRight(s, ":"), "X")
	return len(s) >= 3 && len(s) <= 8 && isHex(s)
}

// identifierText is an identifier as three or eight digits, whatever zeros and marks the logger puts around it.
func identifierText(s string) string {
	s = strings.TrimRight(s, ":")
	wide := strings.HasSuffix(s, "X") // Vector's mark of a 29-bit identifier
	s = strings.TrimSuffix(s, "X")
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		return s
	}
	if n <= 0x7FF && !wide {
		return pad(strconv.FormatUint(n, 16), 3)
	}
	return pad(strconv.FormatUint(n, 16), 8)
}

func pad(s string, n int) string {
	return strings.Repeat("0", max(0, n-len(s))) + strings.ToUpper(s)
}

func isLength(s string) bool { n, err := strconv.Atoi(s); return err == nil && n >= 1 && n <= 64 }

func isDecimal(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
