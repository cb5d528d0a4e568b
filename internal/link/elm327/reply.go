package elm327

import "time"

// Event is what Splitter found.
type Event uint8

const (
	NoEvent  Event = iota // all bytes taken, nothing complete yet
	LineEnd               // a line is complete
	Prompt                // the adapter is idle
	WantData              // "DATA>": STPX waits for its data
)

// MaxLine is the longest line kept, in characters: a frame with a status behind it, or an AT answer. What is longer is
// cut and marked damaged.
const MaxLine = 192

// Splitter cuts the byte stream of an adapter into lines and prompts. It drops NUL bytes, other control characters and
// bytes from 0x80 on (the UART of some chips makes them up) and skips empty lines. The zero value is ready; a Splitter
// allocates nothing.
type Splitter struct {
	buf  [MaxLine]byte
	n    int
	over bool
	old  bool // the line in buf has been delivered
	Junk int  // bytes dropped so far, NULs not counted
	lf   bool // a line feed has come: AT L1
	crs  int  // carriage returns since the last character of a line; two are an empty line
	some bool // a line has been delivered
	mid  bool // an empty line stood between two others
}

// Next takes bytes from b until something is complete and returns what is left of b. After LineEnd the line is in Line
// until the next call.
func (s *Splitter) Next(b []byte) (rest []byte, e Event) {
	if s.old {
		s.n, s.over, s.old = 0, false, false
	}
	for i, c := range b {
		switch {
		case c == '\r' || c == '\n':
			s.lf = s.lf || c == '\n'
			if c == '\r' {
				s.crs++
			}
			if s.n > 0 || s.over {
				s.old, s.some = true, true
				return b[i+1:], LineEnd
			}
		case c == '>' || c >= 0x80 && c&0x3F == '>': // the upper bits of the prompt are damaged on some links
			if s.n == 0 && !s.over {
				return b[i+1:], Prompt
			}
			if string(s.buf[:s.n]) == "DATA" {
				s.old = true
				return b[i+1:], WantData
			}
			if s.n < len(s.buf) { // a prompt begins a line; this is another character, damaged
				s.buf[s.n] = '>'
				s.n++
			}
		case c < ' ' || c >= 0x7F:
			if c != 0 {
				s.Junk++
			}
		case s.n == len(s.buf):
			s.over = true
		case c == ' ' && s.n == 0:
		default:
			s.mid = s.mid || s.crs > 1 && s.some
			s.crs = 0
			s.buf[s.n] = c
			s.n++
		}
	}
	return nil, NoEvent
}

// Line is the line just completed; whole is false when it was longer than MaxLine. It is valid until the next call of
// Next.
func (s *Splitter) Line() (line []byte, whole bool) { return s.buf[:s.n], !s.over }

// begins reports whether the line under way begins so.
func (s *Splitter) begins(word string) bool {
	return !s.old && s.n >= len(word) && string(s.buf[:len(word)]) == word
}

// maxReply bounds one reply in bytes of text: eight ECUs with 4095 bytes each.
const maxReply = 128 << 10

// reply gathers the lines of one command up to the prompt. It is fed bytes and does no I/O.
type reply struct {
	split  Splitter
	sent   []byte // the command, upper case without spaces: its echo is no answer
	text   []byte
	ends   []int           // of each line in text
	at     []time.Duration // when each line came
	status statusSet
	cut    bool // a line too long, or more text than maxReply
	any    bool // some byte came
	long   bool // the adapter said that it needs longer: a search, a slow initialisation
	later  bool // an ECU said that it needs longer (7F .. 78)
	waited bool // it has said so in this reply
	data   bool // the prompt was DATA>
	track  tracker
	cutOff bool          // we ended the adapter's wait, everybody having answered
	last   time.Duration // when the last line came
	end    time.Duration // when the prompt came
}

// begin makes r ready for the reply to cmd.
func (r *reply) begin(cmd string) {
	*r = reply{sent: append(r.sent[:0], cmd...), text: r.text[:0], ends: r.ends[:0], at: r.at[:0]}
}

// feed takes bytes and reports whether the prompt has come. What is behind the prompt is thrown away: nothing is asked
// yet that it could answer.
func (r *reply) feed(b []byte, now time.Duration) bool {
	for len(b) > 0 {
		r.any = true
		var e Event
		b, e = r.split.Next(b)
		switch e {
		case LineEnd:
			r.line(now)
		case WantData:
			r.data = true
			r.status.add(DataPrompt)
			return true
		case Prompt:
			if len(r.ends) == 0 && len(r.sent) > 0 && !r.cut {
				// A prompt without any answer is one that was late or doubled: every command says something.
				continue
			}
			r.end = now
			return true
		}
	}
	// The dots of a search come one by one, and its line ends with it.
	r.long = r.long || r.split.begins("SEARCHING") || r.split.begins("BUS INIT")
	return false
}

func (r *reply) line(now time.Duration) {
	line, whole := r.split.Line()
	if len(r.ends) == 0 && isEcho(line, r.sent) || line[0] == '+' { // "+CONNECTING.." is a Bluetooth module talking
		return
	}
	if !whole || len(r.text)+len(line) > maxReply {
		r.cut = true
		return
	}
	s, data := Classify(line)
	r.status.add(s)
	r.long = r.long || s == Searching || s == BusInit
	r.later = len(data) > 0 && isPending(data)
	r.waited = r.waited || r.later
	r.text = append(r.text, line...)
	r.ends = append(r.ends, len(r.text))
	r.at = append(r.at, now)
	r.last = now
	if len(data) > 0 {
		r.track.line(data)
	} else if s != Searching && s != BusInit && !(s == Stopped && r.cutOff) {
		r.track.odd = true
	}
}

// blank: the empty line before a prompt has come.
func (r *reply) blank() bool { return r.split.crs > 1 && len(r.ends) > 0 }

// ended reports whether the prompt has come.
func (r *reply) ended() bool { return r.end > 0 }

// lines calls f for each line.
func (r *reply) lines(f func(line []byte, at time.Duration)) {
	from := 0
	for i, end := range r.ends {
		f(r.text[from:end], r.at[i])
		from = end
	}
}

// first returns the first line that is no status, as text for people.
func (r *reply) first() string {
	from := 0
	for _, end := range r.ends {
		line := r.text[from:end]
		if s, _ := Classify(line); s == NoStatus || s == Banner {
			return string(line)
		}
		from = end
	}
	return ""
}

// payload is the data of all lines, without what the adapter says about itself: the first reply of a session tells of the
// search, its repetition does not.
func (r *reply) payload() string {
	var all []byte
	r.lines(func(line []byte, _ time.Duration) {
		if _, data := Classify(line); len(data) > 0 {
			all = append(append(all, data...), '\r')
		}
	})
	return string(all)
}

// isEcho compares without spaces; the first byte of a command may be lost in its echo's making.
func isEcho(line, sent []byte) bool {
	i := 0
	for _, c := range line {
		if c == ' ' {
			continue
		}
		if i == len(sent) || sent[i] != upper(c) {
			return false
		}
		i++
	}
	return i == len(sent) && i > 0
}

// isPending finds 7F, a service and 78 behind the identifier. It only decides how long to wait.
func isPending(data []byte) bool {
	var d [2 * maxLegacy]byte
	n := 0
	for _, c := range data {
		if c != ' ' && n < len(d) {
			d[n] = upper(c)
			n++
		}
	}
	for i := 4; i+6 <= n; i++ {
		if d[i] == '7' && d[i+1] == 'F' && d[i+4] == '7' && d[i+5] == '8' {
			return true
		}
	}
	return false
}
