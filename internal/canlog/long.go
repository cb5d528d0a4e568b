package canlog

import (
	"bytes"
	"io"
	"time"

	"obdgate/internal/frame"
)

// NewLongReader reads what candump prints on a screen, and log2long makes of a log, one frame per line:
//
//	(1690000000.123456)  can0       7E8   [8]  06 41 00 BE 3E B8 11 00   '.A..>...'
//	  can0  18DAF110   [3]  02 01 00               without -t; the identifier's digits tell 11 from 29 bits
//	  can0  TX B -  123  [12]  00 01 …             with -x; two digits of length are CAN FD, B its bit rate, E its error state
//	  can0  123   [4]  remote request
//	  can0  20000004   [8]  00 04 00 00 00 00 00 00   ERRORFRAME
//
// Lines that explain an error report (-e) are no damage.
// Times are read as printed: seconds (-ta, -tz; what -td printed cannot be told from them) or date and time (-tA, as if it
// were UTC); without any, all frames have time 0. The grammar is that of can-utils lib.c and candump.c.
func NewLongReader(r io.Reader) *Reader {
	return &Reader{lines: NewLines(r, 4096), parse: ParseLong, skip: explains}
}

// explains reports whether a line is candump's explanation of an error report (snprintf_can_error_frame of can-utils).
func explains(line []byte) bool {
	for _, class := range [...]string{"tx-timeout", "lost-arbitration", "controller-problem", "protocol-violation", "transceiver-status",
		"no-acknowledgement-on-tx", "bus-off", "bus-error", "restarted-after-bus-off", "error-counter-tx-rx"} {
		if bytes.HasPrefix(line, []byte(class)) {
			return true
		}
	}
	return false
}

// ParseLong reads one such line like Parse.
func ParseLong(line []byte, f *frame.Frame) (iface []byte, err error) {
	*f = frame.Frame{}
	iface, err = parseLong(line, f)
	if err != nil {
		*f = frame.Frame{}
		return nil, err
	}
	return iface, nil
}

func parseLong(line []byte, f *frame.Frame) ([]byte, error) {
	if len(line) > 2*MaxLine {
		return nil, errLong
	}
	if line = skipSpace(line); len(line) > 0 && line[0] == '(' {
		var ok bool
		if line, ok = parseClock(line, f); !ok {
			return nil, errTime
		}
	}
	iface, line := nextWord(line)
	if len(iface) == 0 || len(iface) > maxChannel {
		return nil, errInterface
	}
	word, line := nextWord(line)
	var rate, state []byte
	if s := string(word); s == "RX" || s == "TX" {
		f.Dir = frame.Received
		if s == "TX" {
			f.Dir = frame.Sent
		}
		rate, line = nextWord(line)
		state, line = nextWord(line)
		word, line = nextWord(line)
	}
	if !parseLongID(word, f) {
		return nil, errID
	}
	word, line = nextWord(line)
	if !parseLongLength(word, f) {
		return nil, errLength
	}
	switch {
	case len(rate) == 0 && len(state) == 0:
	case len(rate) != 1 || rate[0] != '-' && rate[0] != 'B', len(state) != 1 || state[0] != '-' && state[0] != 'E':
		return nil, errFlags
	case f.Is(frame.FD):
		if rate[0] == 'B' {
			f.Flags |= frame.BRS
		}
		if state[0] == 'E' {
			f.Flags |= frame.ESI
		}
	}
	line, err := parseLongData(line, f)
	if err != nil {
		return nil, err
	}
	if !longTail(line, f) {
		return nil, errTail
	}
	if f.Validate() != nil {
		return nil, errLength
	}
	return iface, nil
}

// nextWord returns the next characters that are no space, and what is behind them.
func nextWord(b []byte) (word, rest []byte) {
	b = skipSpace(b)
	n := 0
	for n < len(b) && b[n] > ' ' && b[n] < 0x7F {
		n++
	}
	return b[:n], b[n:]
}

// parseClock reads "(1690000000.123456)", "(000.123456)" or "(2023-07-22 04:26:40.123456)".
func parseClock(b []byte, f *frame.Frame) ([]byte, bool) {
	if rest, ok := parseTime(b, f); ok {
		return rest, true
	}
	const layout = "2006-01-02 15:04:05.000000"
	if len(b) < len(layout)+2 || b[len(layout)+1] != ')' {
		return nil, false
	}
	at, err := time.Parse(layout, string(b[1:len(layout)+1]))
	if err != nil || at.Unix() < 0 || at.Unix() > maxSeconds {
		return nil, false
	}
	f.Time = time.Duration(at.UnixNano())
	return b[len(layout)+2:], true
}

func parseLongID(word []byte, f *frame.Frame) bool {
	var line [9]byte
	if len(word) != 3 && len(word) != 8 {
		return false
	}
	_, ok := parseID(append(append(line[:0], word...), '#'), f)
	return ok
}

// parseLongLength reads "[8]" or, of CAN FD, "[08]".
func parseLongLength(word []byte, f *frame.Frame) bool {
	n := len(word)
	if n < 3 || n > 4 || word[0] != '[' || word[n-1] != ']' {
		return false
	}
	for _, c := range word[1 : n-1] {
		if c < '0' || c > '9' {
			return false
		}
		f.Len = f.Len*10 + c - '0'
	}
	if n == 4 && !f.Is(frame.Error) {
		f.Flags |= frame.FD
	}
	return f.Len <= frame.MaxData
}

// parseLongData reads as many pairs of digits as the length says, or "remote request".
func parseLongData(line []byte, f *frame.Frame) ([]byte, error) {
	if word, rest := nextWord(line); string(word) == "remote" {
		if word, rest = nextWord(rest); string(word) != "request" || f.Flags&(frame.Error|frame.FD) != 0 {
			return nil, errData
		}
		f.Flags |= frame.Remote
		return rest, nil
	}
	for i := range int(f.Len) {
		word, rest := nextWord(line)
		if len(word) != 2 {
			return nil, errData
		}
		hi, ok := nibble(word[0])
		lo, good := nibble(word[1])
		if !ok || !good {
			return nil, errData
		}
		f.Data[i], line = hi<<4|lo, rest
	}
	return line, nil
}

// longTail reads what may be behind the data: the word of an error report, the data as text.
func longTail(line []byte, f *frame.Frame) bool {
	word, rest := nextWord(line)
	if f.Is(frame.Error) && string(word) == "ERRORFRAME" {
		word, rest = nextWord(rest)
	}
	if len(word) == 0 {
		return len(skipSpace(rest)) == 0
	}
	line = skipSpace(line)
	if f.Is(frame.Error) || f.Is(frame.Remote) || line[0] != '\'' {
		return false
	}
	return len(line) == int(f.Len)+2 && line[len(line)-1] == '\'' // one character for each byte
}
