package elm

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"obdgate/internal/frame"
)

// The ST commands of OBD Solutions' chips (Family Reference and Programming Manual, FRPM, revision D).

// stnTimeout is what these chips have for AT ST after power-up: 102 ms (FRPM 7.3, PP 03).
const stnTimeout = 0x19

// stCommand is one ST command: its name without ST, and what gets the rest of the line, in capitals and without spaces.
type stCommand struct {
	name string
	do   func(s *session, arg string) string
}

// st runs an ST command: the longest name that fits and whose argument is understood.
func (s *session) st(text string) string {
	var best *stCommand
	set := stCommands()
	for i := range set {
		if c := &set[i]; strings.HasPrefix(text, c.name) && (best == nil || len(c.name) > len(best.name)) {
			best = c
		}
	}
	if best == nil || slices.Contains(s.p.Refuse, "ST"+best.name) {
		return unknown
	}
	return best.do(s, text[len(best.name):])
}

// plain is a command without argument.
func plain(f func(s *session) string) func(*session, string) string {
	return func(s *session, arg string) string {
		if arg != "" {
			return unknown
		}
		return f(s)
	}
}

// name is a command that shows a fixed text, or is not known where there is none.
func name(f func(p *Personality) string) func(*session, string) string {
	return plain(func(s *session) string {
		if t := f(&s.p); t != "" {
			return t
		}
		return unknown
	})
}

// number is a command with a decimal argument of most at most.
func number(most int, f func(s *session, n int) string) func(*session, string) string {
	return func(s *session, arg string) string {
		n, err := strconv.Atoi(arg)
		if err != nil || n < 0 || n > most {
			return unknown
		}
		return f(s, n)
	}
}

// numbers is a command with decimal arguments that concern times this model does not have.
func numbers(_ *session, arg string) string {
	for _, a := range strings.Split(arg, ",") {
		if n, err := strconv.Atoi(a); err != nil || n < 0 || n > 65535 {
			return unknown
		}
	}
	return ok
}

func onOff(set func(s *session, on bool)) func(*session, string) string {
	return number(1, func(s *session, n int) string { set(s, n == 1); return ok })
}

// stCommands is the set; FRPM 8 has them in this order.
func stCommands() []stCommand {
	return []stCommand{
		{"BR", number(10_000_000, func(s *session, n int) string {
			if n < 38 {
				return unknown
			}
			return s.handshake(n, s.p.STN, s.window)
		})},
		{"BRT", number(65535, func(s *session, n int) string { s.window = time.Duration(n) * time.Millisecond; return ok })},
		{"SBR", number(10_000_000, (*session).switchRate)},
		{"WBR", plain(func(s *session) string { s.p.Baud = s.Baud(); return ok })},
		{"UFC", onOff(func(*session, bool) {})},
		{"I", name(func(p *Personality) string { return p.STN })},
		{"IX", name(func(p *Personality) string { return p.STN + " [2016.07.14]" })},
		{"DI", name(func(p *Personality) string { return p.DeviceID })},
		{"MFR", name(func(p *Personality) string { return p.Maker })},
		{"SN", name(func(p *Personality) string { return p.Serial })},
		{"VR", func(s *session, arg string) string {
			if arg != "" && arg != "1" && arg != "2" {
				return unknown
			}
			return s.car.Spec().Voltage + "0"
		}},
		{"SLCS", plain(func(*session) string {
			return "CTRL MODE:  NATIVE\nPWR_CTRL:   LOW POWER = LOW\nUART SLEEP: OFF, 1200 s\nUART WAKE:  ON,  0-30000 us\n" +
				"EXT INPUT:  LOW = SLEEP\nEXT SLEEP:  OFF, LOW FOR 3000 ms\nEXT WAKE:   ON, HIGH FOR 2000 ms\nVL SLEEP:   OFF, <13.00V FOR 600 s\n" +
				"VL WAKE:    OFF, >13.20V FOR 1 s\nVCHG WAKE:  OFF, 0.20V IN 1000 ms"
		})},
		{"P", (*session).presetProtocol},
		{"PR", plain(func(s *session) string { return s.presetNumber() })},
		{"PRS", plain(func(s *session) string { return protocolTexts[s.current()] })},
		{"PO", plain(func(s *session) string {
			if failed, _ := s.connect(nil); failed != "" {
				return failed
			}
			return ok
		})},
		{"PC", plain(func(s *session) string { s.close(); return ok })},
		{"PBR", numbers}, {"PCB", onOff(func(*session, bool) {})}, {"PTOT", numbers}, {"PTRQ", numbers},
		{"PBRR", plain(func(s *session) string { return strconv.Itoa(s.bus(s.current()).rate) })},
		{"PTO", number(65535, func(s *session, n int) string {
			if s.limit = time.Duration(n) * time.Millisecond; n == 0 {
				s.limit = time.Hour // endless: until the client sends a character
			}
			return ok
		})},
		{"PX", (*session).transmit},
		{"CSEGR", onOff(func(s *session, on bool) { s.join = on })},
		{"CSEGT", onOff(func(s *session, on bool) { s.split = on })},
		{"CSTM", numbers},
		{"CTOR", func(s *session, arg string) string {
			if a := strings.Split(arg, ","); len(a) != 2 || numbers(s, arg) != ok {
				return unknown
			}
			fc, _, _ := strings.Cut(arg, ",")
			n, _ := strconv.Atoi(fc)
			s.gapFC = time.Duration(n) * time.Millisecond
			return ok
		}},
		{"CFCPA", (*session).addPair}, {"CAFCP", (*session).addPair},
		{"CFCPC", plain(func(s *session) string { s.pairs = nil; return ok })},
		{"CCFCP", plain(func(s *session) string { s.pairs = nil; return ok })},
		{"CMM", number(2, func(*session, int) string { return ok })},
		{"FPA", filter(func(s *session, m match) { s.pass = append(s.pass, m) })},
		{"FBA", filter(func(s *session, m match) { s.block = append(s.block, m) })},
		{"FFCA", filter(func(s *session, m match) { s.flows = append(s.flows, m) })},
		{"FPC", plain(func(s *session) string { s.pass = nil; return ok })},
		{"FBC", plain(func(s *session) string { s.block = nil; return ok })},
		{"FFCC", plain(func(s *session) string { s.flows, s.fixed, s.anchor = nil, true, 0; return ok })},
		{"FPGA", func(_ *session, arg string) string {
			if _, err := hex.DecodeString(arg); err != nil || arg == "" {
				return unknown
			}
			return ok
		}},
		{"FPGC", plain(func(*session) string { return ok })},
		{"FAC", plain(func(s *session) string {
			s.automatic()
			s.fixed, s.anchor = true, 0
			return ok
		})},
		{"FA", plain((*session).automatic)},
		{"MA", plain(func(s *session) string { return s.monitorCommand("") })},
		{"M", plain(func(s *session) string { return s.monitorCommand("") })},
		{"PPMA", func(s *session, arg string) string {
			if s.open < 6 || len(strings.Split(arg, ",")) != 3 {
				return unknown
			}
			return "1"
		}},
		{"PPMD", number(16, func(*session, int) string { return ok })},
		{"PPMC", plain(func(*session) string { return ok })},
		{"IP1X", numbers}, {"IP4", numbers},
	}
}

// switchRate is STSBR: OK at the old rate, then the new one without a handshake.
func (s *session) switchRate(n int) string {
	if n < 38 || s.Baud() == 0 {
		return unknown
	}
	s.say(ok)
	s.prompt()
	s.flush()
	s.baud.Store(int64(n))
	return done
}

// presets are the protocols of STP with their numbers in AT SP; 31 and 32 are raw.
var presets = map[string]byte{"11": 1, "12": 2, "21": 3, "22": 4, "23": 5, "24": 4, "25": 5, "31": 6, "32": 7, "33": 6, "34": 7, "35": 8, "36": 9,
	"41": 0x0A, "42": 0x0A, "51": 0x0B, "52": 0x0B, "53": 0x0B, "54": 0x0B, "61": 0x0C, "62": 0x0C, "63": 0x0C, "64": 0x0C}

func (s *session) presetProtocol(arg string) string {
	p, known := presets[arg]
	if !known {
		return unknown
	}
	s.choose(fmt.Sprintf("%X", p), false, false)
	s.preset = arg
	bits := byte(0x80)
	if (arg[1]-'0')%2 == 0 {
		bits = 0
	}
	switch arg[0] {
	case '3':
		if arg == "31" || arg == "32" {
			s.format, s.variable = false, true
		}
	case '5':
		s.userB = [2]byte{bits | 1, 4}
	case '6':
		s.userC = [2]byte{bits | 1, 15}
	}
	return ok
}

func (s *session) presetNumber() string {
	if s.preset != "" {
		return s.preset
	}
	return [13]string{"0", "11", "12", "21", "22", "23", "33", "34", "35", "36", "42", "53", "63"}[s.current()]
}

// filter reads "pattern,mask". On 11-bit buses the first two bytes are the identifier; an odd number of digits gains a
// leading 0 (FRPM 8.10).
func filter(add func(s *session, m match)) func(*session, string) string {
	return func(s *session, arg string) string {
		pattern, mask, both := strings.Cut(arg, ",")
		id, good := identifier(pattern)
		m, alike := identifier(mask)
		if !both || !good || !alike {
			return unknown
		}
		add(s, match{id & m, m})
		return ok
	}
}

func identifier(text string) (uint32, bool) {
	if len(text)%2 != 0 {
		text = "0" + text
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) == 0 || len(b) > 4 {
		return 0, false
	}
	return be(b), true
}

// partner is one side of a flow control pair: an identifier, under extended addressing with the byte that follows it.
type partner struct {
	id   uint32
	ext  byte
	with bool
}

// addPair is STCFCPA send,receive. Five and ten digits are an identifier and an address byte (FRPM 13).
func (s *session) addPair(arg string) string {
	read := func(text string) (p partner, good bool) {
		if p.with = len(text) == 5 || len(text) == 10; p.with {
			p.ext = byteOf(text[len(text)-2:])
			text = text[:len(text)-2]
		}
		p.id, good = identifier(text)
		return p, good
	}
	tx, rx, both := strings.Cut(arg, ",")
	t, good := read(tx)
	r, alike := read(rx)
	if !both || !good || !alike || t.with != r.with || strings.Trim(tx+rx, "0123456789ABCDEF") != "" {
		return unknown
	}
	s.pairs = append(s.pairs, [2]partner{t, r})
	return ok
}

// fix sets a receive filter. On an STN it ends the automatic filters: flow control goes on following the header of this
// moment and no other (FRPM 11.2).
func (s *session) fix(m *match) {
	s.accept = m
	if s.p.STN != "" && !s.fixed {
		s.fixed = true
		s.anchor, _ = s.canHeader(s.bus(max(s.current(), 6)))
	}
}

// automatic gives all filters back to the chip.
func (s *session) automatic() string {
	s.accept, s.cf, s.cm = nil, nil, nil
	s.pass, s.block, s.flows, s.fixed = nil, nil, nil, false
	return ok
}

// paired reports whether an STN sends flow control after this first frame, and puts the addresses of its pair into to and
// data. Under extended addressing only pairs with address bytes count, or on some firmware only those without.
func (x *exchange) paired(f *frame.Frame, to *uint32, data []byte) bool {
	bytes := x.ext != nil && !x.p.Quirks.PlainPairs
	for _, p := range x.pairs {
		if p[1].id != f.ID || p[1].with != bytes || bytes && p[1].ext != f.Data[0] {
			continue
		}
		if *to = p[0].id; bytes {
			data[0] = p[0].ext
		}
		return true
	}
	switch {
	case len(x.pairs) > 0 && x.bus.bits == 11:
		return false
	case slices.ContainsFunc(x.flows, func(m match) bool { return m.takes(f.ID) }):
		return true
	case x.fixed:
		return *to == x.anchor
	}
	return true
}

// transmit is STPX: h header, d data or l its length, t time, r replies, x address byte. With l the data follows behind a
// prompt of its own. Long data is cut into frames for this one message (FRPM 8.6).
func (s *session) transmit(arg string) string {
	header, ext, limit := s.header, s.ext, s.limit
	priority, split := s.priority, s.split
	defer func() { s.header, s.ext, s.limit, s.priority, s.split = header, ext, limit, priority, split }()
	var data []byte
	count, length := -1, 0
	for _, field := range strings.Split(arg, ",") {
		k, v, _ := strings.Cut(field, ":")
		n, decimal := strconv.Atoi(v)
		var err error
		switch k {
		case "H":
			if len(v) != 3 && len(v) != 6 && len(v) != 8 || s.setHeader(v) != ok {
				return unknown
			}
		case "D":
			data, err = hex.DecodeString(v)
		case "L":
			length, err = n, decimal
		case "T":
			s.limit, err = time.Duration(n)*time.Millisecond, decimal
			if n > 65535 {
				return unknown
			}
		case "R":
			count, err = n, decimal
		case "X":
			var b []byte
			if b, err = hex.DecodeString(v); err == nil && len(b) == 1 {
				s.ext = &b[0]
			}
		case "F":
		default:
			return unknown
		}
		if err != nil || n < 0 {
			return unknown
		}
	}
	if max(length, len(data)) > max(s.p.Memory, 7) {
		return "OUT OF MEMORY"
	}
	if length > 0 {
		s.print("DATA>")
		s.flush()
		line, err := s.line()
		if err != nil {
			return done
		}
		if data, err = hex.DecodeString(line); err != nil || len(data) != length {
			return unknown
		}
	}
	if len(data) == 0 {
		return unknown
	}
	s.split = true
	s.respond(data, count, !s.p.Quirks.CountsLines)
	return done
}

// room is how many bytes a single frame takes.
func (s *session) room() int {
	if s.ext != nil {
		return 6
	}
	return 7
}

// send puts a request on the bus, in one frame or in several; problem is the status that ends it.
func (x *exchange) send(req []byte) (problem string) {
	if x.bus.kind == "can" && x.format && x.bus.iso && x.split && len(req) > x.room() {
		return x.sendLong(req)
	}
	f, problem := x.requestFrame(x.bus, req)
	if problem != "" {
		return problem
	}
	if x.busy(x.onBus(&f)) {
		return "STOPPED"
	}
	x.discard()
	x.car.Handle(f, x.Modelled())
	return ""
}

// sendLong cuts a request into frames (ISO 15765-2) as the ECU's flow control asks.
func (x *exchange) sendLong(req []byte) (problem string) {
	id, flags := x.canHeader(x.bus)
	put := func(b ...byte) bool {
		if x.ext != nil {
			b = append([]byte{*x.ext}, b...)
		}
		f := frame.New(id, flags, x.pad(b)...)
		if x.busy(x.onBus(&f)) {
			return false
		}
		x.car.Handle(f, x.Modelled())
		return true
	}
	x.discard()
	n := x.room() - 1
	if !put(append([]byte{0x10 | byte(len(req)>>8), byte(len(req))}, req[:n]...)...) {
		return "STOPPED"
	}
	for next := byte(1); n < len(req); {
		size, gap, good := x.allowed()
		if !good {
			return "FC RX TIMEOUT"
		}
		for i := 0; n < len(req) && (size == 0 || i < size); i++ {
			part := req[n:min(len(req), n+x.room())]
			if x.busy(gap) || !put(append([]byte{0x20 | next&0x0F}, part...)...) {
				return "STOPPED"
			}
			n += len(part)
			next++
		}
	}
	return ""
}

// allowed waits for a flow control frame.
func (x *exchange) allowed() (size int, gap time.Duration, good bool) {
	for limit := x.Modelled() + x.gapFC; ; {
		due, queued := x.car.Due()
		if !queued || due > limit {
			x.busy(limit - x.Modelled())
			return 0, 0, false
		}
		x.busy(max(0, due-x.Modelled()))
		f, taken := x.car.Next(max(due, x.Modelled()))
		o := x.pci()
		if !taken || f.Is(frame.Legacy) || !x.filter(f.ID) || int(f.Len) < o+3 || f.Data[o] != 0x30 {
			continue
		}
		gap := time.Duration(f.Data[o+2]) * time.Millisecond
		if f.Data[o+2] > 0x7F {
			gap = time.Millisecond
		}
		return int(f.Data[o+1]), gap, true
	}
}

// message is a long answer being joined.
type message struct {
	want int
	data []byte
	next byte
}

// gather is STCSEGR 1: an answer is printed as one line, identifier and whole payload, when it is complete. It reports
// whether the frame belongs to an answer.
func (x *exchange) gather(f *frame.Frame, o int) bool {
	b := f.Bytes()[min(o, int(f.Len)):]
	if len(b) == 0 {
		return false
	}
	show := func(payload []byte) {
		head := ""
		if x.headers {
			head = x.idText(f)
		}
		x.emit(head + x.bytesText(payload))
	}
	switch n := int(b[0] & 0x0F); b[0] >> 4 {
	case 0:
		if n == 0 || n >= len(b) {
			return false
		}
		show(b[1 : 1+n])
		return true
	case 1:
		if len(b) < 3 {
			return false
		}
		if x.parts == nil {
			x.parts = map[uint32]*message{}
		}
		x.parts[f.ID] = &message{want: n<<8 | int(b[1]), data: slices.Clone(b[2:]), next: 1}
		return true
	case 2:
		m := x.parts[f.ID]
		if m == nil || m.next&0x0F != b[0]&0x0F {
			delete(x.parts, f.ID)
			return false
		}
		m.next++
		if m.data = append(m.data, b[1:]...); len(m.data) >= m.want {
			show(m.data[:m.want])
			delete(x.parts, f.ID)
		}
		return true
	}
	return false
}
