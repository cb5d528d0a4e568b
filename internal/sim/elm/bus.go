package elm

import (
	"encoding/hex"
	"time"

	"obdgate/internal/frame"
)

// bus is what a protocol number means.
type bus struct {
	kind string // "can" or the protocol of a vehicle file
	bits int
	rate int
	iso  bool // messages are ISO 15765-4
}

func (s *session) bus(p byte) bus {
	switch p {
	case 1:
		return bus{kind: "j1850-pwm"}
	case 2:
		return bus{kind: "j1850-vpw"}
	case 3:
		return bus{kind: "iso9141"}
	case 4:
		return bus{kind: "iso14230-slow"}
	case 5:
		return bus{kind: "iso14230-fast"}
	case 6:
		return bus{"can", 11, 500_000, true}
	case 7:
		return bus{"can", 29, 500_000, true}
	case 8:
		return bus{"can", 11, 250_000, true}
	case 9:
		return bus{"can", 29, 250_000, true}
	case 0x0A:
		return bus{"can", 29, 250_000, false}
	case 0x0B:
		return userBus(s.userB)
	}
	return userBus(s.userC)
}

// userBus reads an options byte and a divisor of 500 kbit/s (PP 2C and 2D): bit 7 sends 11-bit identifiers, the low bits
// are the data format, 1 = ISO 15765-4; bit 4 makes the rate 8/7 of what the divisor says.
func userBus(b [2]byte) bus {
	out := bus{kind: "can", bits: 29, iso: b[0]&0x07 == 1}
	if b[0]&0x80 != 0 {
		out.bits = 11
	}
	if b[1] != 0 {
		out.rate = 500_000 / int(b[1])
	}
	if b[0]&0x10 != 0 {
		out.rate = out.rate * 8 / 7
	}
	return out
}

// reaches reports whether the vehicle's wires carry this protocol at all.
func (s *session) reaches(b bus) bool {
	v := s.car.Bus()
	return v.Protocol == b.kind && (b.kind != "can" || v.Rate == b.rate)
}

// Times of the model.
const (
	canFrame     = 250 * time.Microsecond
	flowDelay    = 400 * time.Microsecond // from a first frame to the adapter's flow control
	searchWindow = 200 * time.Millisecond // per CAN protocol tried
	fastInit     = 300 * time.Millisecond
	slowInit     = 2500 * time.Millisecond
	legacyByte   = 960 * time.Microsecond // 10 bits at 10.4 kbit/s
)

// connect makes sure a protocol is open. It prints what the chip prints meanwhile; failed is the status line that ends the
// request, "" when all is well. answered says that the search's own 01 00 drew these lines.
func (s *session) connect(req []byte) (failed string, answered []string) {
	if s.open != 0 {
		return "", nil
	}
	if !s.auto {
		return s.start(s.protocol), nil
	}
	s.print("SEARCHING...")
	order := []byte(s.p.Search)
	if s.protocol != 0 {
		order = append([]byte{s.protocol}, order...)
	}
	for i, p := range order {
		if i > 0 && p == s.protocol {
			continue
		}
		lines, stop := s.try(p)
		if stop {
			s.eol()
			return "STOPPED", nil
		}
		if len(lines) == 0 {
			continue
		}
		s.eol()
		s.open, s.found, s.protocol = p, true, p
		if b := s.bus(p); b.kind != "can" {
			s.busInit(b, true)
		}
		if s.memory {
			s.stored, s.storedAuto = p, true
		}
		if len(req) == 2 && req[0] == 1 && req[1] == 0 && s.header == nil {
			answered = lines
		}
		return "", answered
	}
	s.eol()
	return "UNABLE TO CONNECT", nil
}

// try asks 01 00 on one protocol and returns the lines that answer it.
func (s *session) try(p byte) (lines []string, stop bool) {
	b := s.bus(p)
	if b.kind == "can" {
		if !s.reaches(b) {
			return nil, s.busy(searchWindow)
		}
	} else {
		d := slowInit
		if b.kind == "iso14230-fast" {
			d = fastInit
		}
		if b.kind == "j1850-pwm" || b.kind == "j1850-vpw" {
			d = searchWindow
		}
		if s.busy(d) {
			return nil, true
		}
		if !s.reaches(b) {
			return nil, false
		}
	}
	s.open = p
	header := s.header
	s.header = nil
	x := exchange{session: s, bus: b, window: searchWindow, count: -1, collect: true}
	stop = x.run([]byte{1, 0}) == "STOPPED"
	s.header, s.open = header, 0
	return x.lines, stop
}

// start opens a fixed protocol.
func (s *session) start(p byte) (failed string) {
	b := s.bus(p)
	switch {
	case b.kind == "can":
		if !s.reaches(b) {
			if s.busy(searchWindow) {
				return "STOPPED"
			}
			return "CAN ERROR"
		}
	case b.kind == "j1850-pwm" || b.kind == "j1850-vpw":
		if !s.reaches(b) {
			if s.busy(searchWindow) {
				return "STOPPED"
			}
			return "BUS ERROR"
		}
	case s.bypass:
	default:
		if !s.busInit(b, s.reaches(b)) {
			return "BUS INIT: ...ERROR"
		}
	}
	s.open, s.found = p, false
	return ""
}

// busInit prints and waits for the start-up of a K-line; on failure nothing is printed.
func (s *session) busInit(b bus, works bool) bool {
	dots, d := "...", slowInit
	if b.kind == "iso14230-fast" {
		dots, d = "", fastInit
	}
	if b.kind == "j1850-pwm" || b.kind == "j1850-vpw" {
		return works
	}
	if !s.found {
		s.rest(d)
	}
	if works {
		s.say("BUS INIT: " + dots + "OK")
	}
	return works
}

// initFast and initSlow are AT FI and SI: allowed while a K-line protocol is chosen and closed.
func (s *session) initFast() string { return s.initialise(5) }
func (s *session) initSlow() string { return s.initialise(3, 4) }

func (s *session) initialise(allowed ...byte) string {
	for _, p := range allowed {
		if s.protocol == p && s.open == 0 {
			if failed := s.start(p); failed != "" {
				return failed
			}
			s.prompt()
			return done
		}
	}
	return unknown
}

// requestFrame builds what goes on the bus for the bytes of a request; problem is "?" when the chip would not take it.
func (s *session) requestFrame(b bus, req []byte) (f frame.Frame, problem string) {
	if b.kind != "can" {
		return frame.New(s.legacyHeader(b, len(req)), frame.Legacy, req...), ""
	}
	data := req
	if s.format && b.iso {
		if len(req) > s.room() {
			return f, unknown // it takes more than one frame
		}
		data = append([]byte{byte(len(req))}, req...)
	}
	if s.ext != nil {
		data = append([]byte{*s.ext}, data...)
	}
	if len(data) > 8 {
		return f, unknown
	}
	id, flags := s.canHeader(b)
	return frame.New(id, flags, s.pad(data)...), ""
}

// pad fills a frame up to eight bytes with PP 26, unless V1 sends short frames.
func (s *session) pad(data []byte) []byte {
	out := append([]byte(nil), data...)
	for len(out) < 8 && !s.variable {
		out = append(out, s.params.value(0x26))
	}
	return out
}

// canHeader is the identifier of a request: AT SH, else the functional one of ISO 15765-4.
func (s *session) canHeader(b bus) (uint32, frame.Flags) {
	h := s.header
	if b.bits == 11 {
		id := uint32(0x7DF)
		if h != nil {
			id = be(h) & 0x7FF
		}
		return id, 0
	}
	id := uint32(0xDB33F1)
	if h != nil {
		id = be(h) & 0xFFFFFF
	}
	return uint32(s.priority)<<24 | id, frame.Extended
}

// legacyHeader is AT SH or the functional header of SAE J1979; KWP carries the length in the format byte.
func (s *session) legacyHeader(b bus, n int) uint32 {
	id := map[string]uint32{"j1850-pwm": 0x616AF1, "iso14230-slow": 0xC033F1, "iso14230-fast": 0xC033F1}[b.kind]
	if id == 0 {
		id = 0x686AF1
	}
	if s.header != nil {
		id = be(s.header) & 0xFFFFFF
	}
	if b.kind == "iso14230-slow" || b.kind == "iso14230-fast" {
		id = id&^0x3F0000 | uint32(n&0x3F)<<16
	}
	return id
}

func be(b []byte) uint32 {
	var n uint32
	for _, x := range b {
		n = n<<8 | uint32(x)
	}
	return n
}

// remoteFrame sends an RTR frame; no virtual ECU answers one.
func (s *session) remoteFrame() string {
	if s.open < 6 {
		return unknown
	}
	if s.busy(s.firstWindow()) {
		return "STOPPED"
	}
	return "NO DATA"
}

// request is a line that is no AT command: hex for the bus, with an odd digit for the number of answers expected.
func (s *session) request(line string) {
	req, count, good := s.parse(line)
	if !good {
		s.say(unknown)
		s.prompt()
		return
	}
	if s.p.Quirks.Locked || s.p.Quirks.RequestLimit > 0 && len(req) > s.p.Quirks.RequestLimit {
		s.say(unknown)
		s.prompt()
		return
	}
	if n := s.p.Quirks.RequestBytes; n > 0 && len(req) > n {
		req = req[:n]
	}
	s.respond(req, count, false)
}

// parse reads a request; count is -1 when none was given.
func (s *session) parse(line string) (req []byte, count int, good bool) {
	count = -1
	if len(line)%2 != 0 {
		if s.p.Level < V13 || len(line) < 3 {
			return nil, 0, false
		}
		n, err := hex.DecodeString("0" + line[len(line)-1:])
		if err != nil {
			return nil, 0, false
		}
		count, line = int(n[0]), line[:len(line)-1]
		if most := s.p.Quirks.DigitMax; most > 0 && count > most {
			return nil, 0, false
		}
	}
	req, err := hex.DecodeString(line)
	return req, count, err == nil && len(req) > 0 && len(req) <= s.longest()
}

// longest is how many bytes a request may have: seven, eight when the frame is the client's own and AL allows it.
func (s *session) longest() int {
	if s.split && s.format && s.p.Memory > 0 {
		return s.p.Memory
	}
	if s.long || !s.format {
		return 8
	}
	return 7
}

// ask puts a request on the bus and prints what comes back; the status line that ends it is returned.
func (s *session) ask(req []byte, count int, replies bool) string {
	failed, answered := s.connect(req)
	if failed != "" {
		return failed
	}
	if answered != nil {
		for _, l := range answered {
			s.say(l)
		}
		return ""
	}
	b := s.bus(s.open)
	x := exchange{session: s, bus: b, window: s.firstWindow(), count: count, replies: replies}
	x.turns = s.strikes(func(f *Fault) bool { return f.Interleave }) != nil
	if s.strikes(func(f *Fault) bool { return f.Stray }) != nil {
		x.stray(req)
	}
	status := x.run(req)
	x.takeTurns()
	return status
}
