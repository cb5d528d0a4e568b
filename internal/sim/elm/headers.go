package elm

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// hexNumber reads an argument a pattern let through.
func hexNumber(arg string) uint32 {
	n, err := strconv.ParseUint(arg, 16, 32)
	if err != nil {
		return 0 // only hex digits come here
	}
	return uint32(n)
}

func (s *session) setHeader(arg string) string {
	if len(arg)%2 != 0 {
		arg = "0" + arg
	}
	b, err := hex.DecodeString(arg)
	if err != nil {
		return unknown
	}
	s.header = b
	if len(b) == 4 {
		s.priority = b[0] & 0x1F
		s.header = b[1:]
	}
	return ok
}

func (s *session) setFilter(arg string) string {
	n := hexNumber(arg)
	s.cf = &n
	s.combine(len(arg) == 8)
	return ok
}

func (s *session) setMask(arg string) string {
	n := hexNumber(arg)
	s.cm = &n
	s.combine(len(arg) == 8)
	return ok
}

// combine makes one filter of CF and CM; the one not yet given is everything.
func (s *session) combine(wide bool) {
	m := match{mask: 0x7FF}
	if wide {
		m.mask = 0x1FFFFFFF
	}
	if s.cm != nil {
		m.mask = *s.cm
	}
	if s.cf != nil {
		m.id = *s.cf
	}
	s.fix(&m)
}

// setReceive takes an identifier whose X digits match anything (wildcards from 2.0).
func (s *session) setReceive(arg string) string {
	if strings.Contains(arg, "X") && s.p.Level < V20 {
		return unknown
	}
	var m match
	for _, c := range arg {
		m.id, m.mask = m.id<<4, m.mask<<4
		if c != 'X' {
			m.id |= hexNumber(string(c))
			m.mask |= 0xF
		}
	}
	s.fix(&m)
	return ok
}

// setReceiver limits reception to messages for one address: second header byte on the older buses, middle of a 29-bit
// identifier.
func (s *session) setReceiver(arg string) string {
	s.accept = &match{id: uint32(byteOf(arg)) << 8, mask: 0xFF00}
	return ok
}

func (s *session) setFlowHeader(arg string) string {
	n := hexNumber(arg)
	s.flowHeader, s.flowLong = &n, len(arg) == 8
	return ok
}

func (s *session) setFlowData(arg string) string {
	b, err := hex.DecodeString(arg)
	if err != nil || len(b) > 5 {
		return unknown
	}
	s.flowData = b
	return ok
}

// setFlowMode refuses a mode whose header or data has not been given (ELM327DSJ, AT FC SM).
func (s *session) setFlowMode(arg string) string {
	switch {
	case arg == "0",
		arg == "1" && s.flowHeader != nil && s.flowData != nil,
		arg == "2" && s.flowData != nil:
		s.flowMode = arg[0] - '0'
		return ok
	}
	return unknown
}

// protocolTexts are the names of the protocols, number 1 first (FRPM 7.3).
var protocolTexts = [13]string{"AUTO", "SAE J1850 PWM", "SAE J1850 VPW", "ISO 9141-2", "ISO 14230-4 (KWP 5BAUD)", "ISO 14230-4 (KWP FAST)",
	"ISO 15765-4 (CAN 11/500)", "ISO 15765-4 (CAN 29/500)", "ISO 15765-4 (CAN 11/250)", "ISO 15765-4 (CAN 29/250)",
	"SAE J1939 (CAN 29/250)", "USER1 (CAN 11/125)", "USER2 (CAN 11/50)"}

// highest is the last protocol number, C.
const highest = 12

func (s *session) describe() string {
	p := s.current()
	name := protocolTexts[p]
	if p == 0x0B || p == 0x0C {
		b := s.bus(p)
		name = fmt.Sprintf("USER%d (CAN %d/%d)", p-0x0A, b.bits, b.rate/1000)
	}
	if s.auto && p != 0 {
		return "AUTO, " + name
	}
	return name
}

func (s *session) protocolNumber() string {
	if s.p.Quirks.DPN != "" {
		return s.p.Quirks.DPN
	}
	n := fmt.Sprintf("%X", s.current())
	if s.auto {
		return "A" + n
	}
	return n
}

// current is the protocol in use or, before that, the one that will be.
func (s *session) current() byte {
	if s.open != 0 {
		return s.open
	}
	return s.protocol
}

// choose sets the protocol; store keeps it over a power cycle.
func (s *session) choose(arg string, auto, store bool) string {
	n := byte(hexNumber(arg))
	if n > highest {
		return unknown
	}
	s.close()
	s.protocol, s.auto = n, auto || n == 0
	s.preset = ""
	if store && s.memory {
		s.stored, s.storedAuto = s.protocol, s.auto
	}
	if s.p.Quirks.ResetOnSP {
		s.format, s.spaces, s.long = true, true, false
	}
	return ok
}

func (s *session) setProtocol(arg string) string     { return s.choose(arg, false, true) }
func (s *session) setAutoProtocol(arg string) string { return s.choose(arg, true, true) }
func (s *session) tryProtocol(arg string) string     { return s.choose(arg, false, false) }
func (s *session) tryAutoProtocol(arg string) string { return s.choose(arg, true, false) }

// close ends the connection with the vehicle's bus.
func (s *session) close() {
	s.open, s.found = 0, false
	s.learned = 0
}
