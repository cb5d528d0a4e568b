package elm

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Answers of a handler.
const (
	ok      = "OK"
	unknown = "?"
	done    = "\x00" // the handler has answered, prompt included
)

// command is one AT command. In a pattern capitals, digits and @ stand for themselves, spaces for nothing, h for a hex
// digit, x for a hex digit or the wildcard X, b for 0 or 1, d for a decimal digit, c for any character, * for one to five
// bytes in hex. do gets what stands behind the fixed beginning.
type command struct {
	pattern string
	since   Level
	do      func(s *session, arg string) string
}

// accepted is a command that only says OK: it concerns hardware this model does not have.
func accepted(*session, string) string { return ok }

func flag(set func(s *session, on bool)) func(*session, string) string {
	return func(s *session, arg string) string {
		set(s, arg == "1")
		return ok
	}
}

func text(f func(s *session) string) func(*session, string) string {
	return func(s *session, _ string) string { return f(s) }
}

// commands is the set of the genuine chip with the version that brought each (ELM32x AT Commands, Elm Electronics;
// ELM327DSJ p. 90).
// It is made at first use: handlers look commands up again (AT PP), so a variable initialised in place would be a cycle.
func commands() []command {
	commandsOnce.Do(func() { commandSet = table() })
	return commandSet
}

var (
	commandsOnce sync.Once
	commandSet   []command
)

func table() []command {
	return []command{
		{"@1", V10, text(func(s *session) string { return s.p.Device })},
		{"@2", V13, text((*session).showIdentity)},
		{"@3 cccccccccccc", V13, (*session).setIdentity},
		{"AL", V10, text(func(s *session) string { s.long = true; return ok })},
		{"NL", V10, text(func(s *session) string { s.long = false; return ok })},
		{"AMC", V20, text(func(*session) string { return "00" })},
		{"AMT hh", V20, accepted},
		{"AR", V12, text((*session).automatic)},
		{"AT d", V12, (*session).setAdaptive},
		{"BD", V10, text(func(s *session) string { return "00" })},
		{"BI", V10, text(func(s *session) string { s.bypass = true; return ok })},
		{"BRD hh", V12, (*session).changeBaud},
		{"BRT hh", V12, func(s *session, arg string) string { s.brt = byteOf(arg); return ok }},
		{"CAF b", V10, flag(func(s *session, on bool) { s.format = on })},
		{"CEA", V14, text(func(s *session) string { s.ext = nil; return ok })},
		{"CEA hh", V14, func(s *session, arg string) string { b := byteOf(arg); s.ext = &b; return ok }},
		{"CER hh", V22, func(s *session, arg string) string { s.reply = byteOf(arg); return ok }},
		{"CF hhh", V10, (*session).setFilter}, {"CF hhhhhhhh", V10, (*session).setFilter},
		{"CFC b", V10, flag(func(s *session, on bool) { s.flow = on })},
		{"CM hhh", V10, (*session).setMask}, {"CM hhhhhhhh", V10, (*session).setMask},
		{"CP hh", V10, func(s *session, arg string) string { s.priority = byteOf(arg) & 0x1F; return ok }},
		{"CRA", V14b, text((*session).automatic)},
		{"CRA xxx", V13, (*session).setReceive}, {"CRA xxxxxxxx", V13, (*session).setReceive},
		{"CS", V10, text(func(*session) string { return "T:00 R:00" })},
		{"CSM b", V14b, flag(func(s *session, on bool) { s.silent = on })},
		{"CTM 1", V21, text(func(s *session) string { s.five = false; return ok })},
		{"CTM 5", V21, text(func(s *session) string { s.five = true; return ok })},
		{"CV dddd", V10, (*session).calibrate},
		{"D", V10, text((*session).toDefaults)},
		{"D b", V13, flag(func(s *session, on bool) { s.dlc = on })},
		{"DM1", V12, (*session).monitorCommand},
		{"DP", V10, text((*session).describe)},
		{"DPN", V10, text((*session).protocolNumber)},
		{"E b", V10, flag((*session).setEcho)},
		{"FC SD *", V11, (*session).setFlowData},
		{"FC SH hhh", V11, (*session).setFlowHeader}, {"FC SH hhhhhhhh", V11, (*session).setFlowHeader},
		{"FC SM d", V11, (*session).setFlowMode},
		{"FE", V13a, accepted},
		{"FI", V14, text((*session).initFast)},
		{"H b", V10, flag(func(s *session, on bool) { s.headers = on })},
		{"I", V10, text(func(s *session) string { return s.p.Banner })},
		{"IB 10", V10, accepted}, {"IB 48", V14, accepted}, {"IB 96", V10, accepted}, {"IB 12", V22, accepted}, {"IB 15", V22, accepted},
		{"IFR 0", V12, accepted}, {"IFR 1", V12, accepted}, {"IFR 2", V12, accepted}, {"IFR H", V12, accepted}, {"IFR S", V12, accepted},
		{"IFR 4", V22, accepted}, {"IFR 5", V22, accepted}, {"IFR 6", V22, accepted},
		{"IGN", V14, text(func(*session) string { return "ON" })},
		{"IIA hh", V12, func(s *session, arg string) string { s.initAddress = byteOf(arg); return ok }},
		{"JE", V13, accepted}, {"JS", V13, accepted}, {"JHF b", V14b, accepted},
		{"JTM 1", V14b, text(func(s *session) string { s.five = false; return ok })},
		{"JTM 5", V14b, text(func(s *session) string { s.five = true; return ok })},
		{"KW", V13, text((*session).keywords)},
		{"KW b", V12, accepted},
		{"L b", V10, flag(func(s *session, on bool) { s.linefeed = on || s.p.Quirks.LineFeedStuck })},
		{"LP", V14, text((*session).sleep)},
		{"M b", V10, flag(func(s *session, on bool) { s.memory = on })},
		{"MA", V10, (*session).monitorCommand},
		{"MP hhhh", V12, (*session).monitorCommand}, {"MP hhhhhh", V12, (*session).monitorCommand},
		{"MR hh", V10, (*session).monitorCommand}, {"MT hh", V10, (*session).monitorCommand},
		{"PB hhhh", V14, (*session).setUserB},
		{"PC", V10, text(func(s *session) string { s.close(); return ok })},
		{"PP hh SV hh", V11, (*session).setParameter},
		{"PP hh ON", V11, (*session).switchParameter}, {"PP hh OFF", V11, (*session).switchParameter},
		{"PPS", V11, text((*session).showParameters)},
		{"R b", V10, flag(func(s *session, on bool) { s.wait = on })},
		{"RA hh", V13, (*session).setReceiver}, {"SR hh", V12, (*session).setReceiver},
		{"RD", V14, text(func(s *session) string { return fmt.Sprintf("%02X", s.saved) })},
		{"RTR", V13, text((*session).remoteFrame)},
		{"RV", V10, text((*session).voltage)},
		{"S b", V13, flag(func(s *session, on bool) { s.spaces = on })},
		{"SD hh", V14, func(s *session, arg string) string { s.saved = byteOf(arg); return ok }},
		{"SH hhh", V10, (*session).setHeader}, {"SH hhhhhh", V10, (*session).setHeader}, {"SH hhhhhhhh", V20, (*session).setHeader},
		{"SI", V14, text((*session).initSlow)},
		{"SP h", V10, (*session).setProtocol}, {"SP Ah", V10, (*session).setAutoProtocol},
		{"SP 00", V13, func(s *session, _ string) string { return s.setProtocol("0") }},
		{"SS", V14, accepted},
		{"ST hh", V10, (*session).setTimeout},
		{"SW hh", V10, accepted},
		{"TA hh", V14, func(s *session, arg string) string { s.reply = byteOf(arg); return ok }},
		{"TP h", V10, (*session).tryProtocol}, {"TP Ah", V10, (*session).tryAutoProtocol},
		{"V b", V13, flag(func(s *session, on bool) { s.variable = on })},
		{"WM *", V10, accepted},
		{"WS", V10, text(func(s *session) string { return s.restart("WS", s.p.ResetTime/3, true, "") })},
		{"Z", V10, text(func(s *session) string { return s.restart("Z", s.p.ResetTime, false, string(s.p.Quirks.ResetNoise)) })},
	}
}

// fits reports whether text matches a pattern and returns what stands behind the fixed beginning.
func fits(pattern, text string) (arg string, ok bool) {
	pattern = strings.ReplaceAll(pattern, " ", "")
	i, fixed := 0, -1
	for p := 0; p < len(pattern); p++ {
		k := pattern[p]
		if fixed < 0 && strings.IndexByte("hxbdc*", k) >= 0 {
			fixed = i
		}
		if k == '*' {
			rest := text[min(i, len(text)):]
			b, err := hex.DecodeString(rest)
			return rest, err == nil && len(b) >= 1 && len(b) <= 6 && p == len(pattern)-1
		}
		if i >= len(text) || !kind(k, text[i]) {
			return "", false
		}
		i++
	}
	if fixed < 0 {
		fixed = i
	}
	return text[fixed:], i == len(text)
}

func kind(k, c byte) bool {
	isHex := c >= '0' && c <= '9' || c >= 'A' && c <= 'F'
	switch k {
	case 'h':
		return isHex
	case 'x':
		return isHex || c == 'X'
	case 'b':
		return c == '0' || c == '1'
	case 'd':
		return c >= '0' && c <= '9'
	case 'c':
		return true
	}
	return c == k
}

func byteOf(arg string) byte {
	b, err := strconv.ParseUint(arg, 16, 8)
	if err != nil {
		return 0 // a pattern let only hex digits through
	}
	return byte(b)
}

// command runs one line and prints its answer.
func (s *session) command(line string) {
	switch {
	case line == "" && s.last == "":
		s.prompt()
		return
	case line == "":
		line = s.last
	default:
		s.last = line
	}
	s.rest(s.p.Latency)
	if s.faults.any(func(f *Fault) bool { return s.faults.chance(f.Chatter) }) {
		s.say("+CONNECTING<<00:1D:A5:00:00:01")
	}
	var answer string
	switch {
	case strings.HasPrefix(line, "AT"):
		s.rest(s.p.CommandTime)
		answer = s.at(line[2:])
	case strings.HasPrefix(line, "ST") && s.p.STN != "":
		s.rest(s.p.CommandTime)
		answer = s.st(line[2:])
	case line == "VTI" && s.p.VTI != "":
		s.rest(s.p.CommandTime)
		answer = s.p.VTI
	default:
		s.request(line)
		return
	}
	if answer == done {
		return
	}
	for _, l := range strings.Split(answer, "\n") {
		s.say(l)
	}
	s.prompt()
}

// at finds and runs an AT command.
func (s *session) at(text string) string {
	if slices.Contains(s.p.Quirks.LocksOn, text) {
		s.hung = true
		return done
	}
	if slices.Contains(s.p.Quirks.MuteOn, text) {
		return done
	}
	set := commands()
	for i := range set {
		c := &set[i]
		if arg, ok := fits(c.pattern, text); ok && s.p.knows(c, text) {
			return c.do(s, arg)
		}
	}
	return unknown
}

func (s *session) setEcho(on bool) {
	s.echo = on || s.faults.any(func(f *Fault) bool { return f.Echo })
}

func (s *session) showIdentity() string {
	if s.identity == "" {
		return unknown
	}
	return s.identity
}

// setIdentity stores twelve characters, once (ELM327DSJ, AT @3).
func (s *session) setIdentity(arg string) string {
	if s.identity != "" {
		return unknown
	}
	s.identity = arg
	return ok
}

func (s *session) setAdaptive(arg string) string {
	if arg > "2" {
		return unknown
	}
	s.adaptive = arg[0] - '0'
	s.learned = 0
	return ok
}

func (s *session) setTimeout(arg string) string {
	if s.p.Quirks.IgnoreST {
		return ok
	}
	s.timeout, s.limit = byteOf(arg), 0
	if s.timeout == 0 {
		s.timeout = s.Adapter.defaults().timeout
	}
	s.learned = 0
	return ok
}

func (s *session) calibrate(arg string) string {
	if s.volts = arg[:2] + "." + arg[2:3]; arg == "0000" {
		s.volts = ""
	}
	s.volts = strings.TrimPrefix(s.volts, "0")
	return ok
}

func (s *session) voltage() string {
	if s.volts != "" {
		return s.volts + "V"
	}
	return s.car.Spec().Voltage + "V"
}

func (s *session) keywords() string {
	if s.open < 3 || s.open > 5 {
		return unknown
	}
	if s.open == 3 {
		return "1:08 2:08"
	}
	return "1:8F 2:EF"
}

// sleep is low power: the next character wakes the chip, which starts afresh.
func (s *session) sleep() string {
	s.say(ok)
	s.prompt()
	s.reset(0, true)
	s.asleep = true
	return done
}

// reset puts everything back to power-up, the rate only when keepRate is false.
func (s *session) reset(takes time.Duration, keepRate bool) {
	s.rest(takes)
	if !keepRate {
		s.baud.Store(int64(s.p.Baud))
	}
	s.close()
	s.state = s.defaults()
	s.last, s.learned = "", 0
}

// restart is a reset that the client asked for; some copies lose their link over it.
func (s *session) restart(name string, takes time.Duration, keepRate bool, noise string) string {
	s.reset(takes, keepRate)
	if slices.Contains(s.p.Quirks.DropOnReset, name) {
		s.err, s.down = errDone, s.p.Quirks.Restart
		return done
	}
	s.banner(noise)
	return done
}

func (s *session) toDefaults() string {
	s.close()
	s.state = s.defaults()
	if s.p.Quirks.DefaultsEcho != "" {
		return s.p.Quirks.DefaultsEcho
	}
	return ok
}

// changeBaud is AT BRD; see handshake.
func (s *session) changeBaud(arg string) string {
	divisor := int(byteOf(arg))
	if divisor == 0 {
		return unknown
	}
	window := time.Duration(s.brt) * 5 * time.Millisecond
	if s.brt == 0 {
		window = 256 * 5 * time.Millisecond
	}
	return s.handshake(4_000_000/divisor, s.p.Banner, window)
}

// handshake changes the rate: OK at the old one without a prompt, a wait in which the client changes its own, id at the new
// one, and as long again for the client's carriage return; then OK with a prompt, else the old rate again without a word
// (ELM327DSJ p. 51, "Using Higher RS232 Baud Rates"). What comes while it waits for the client to change is lost.
func (s *session) handshake(rate int, id string, window time.Duration) string {
	old := s.Baud()
	if old == 0 {
		return unknown
	}
	s.say(ok)
	s.flush()
	s.baud.Store(int64(rate))
	if s.hear(window, nil) {
		s.say(id)
		s.flush()
		agreed := false
		s.hear(window, func(b byte) bool { agreed = b == '\r'; return agreed })
		if agreed {
			return ok
		}
	}
	s.baud.Store(int64(old))
	return done
}

// hear takes characters for d, or until enough says so; nil = they do not count. It reports whether the client is still there.
// d is the client's real time: a scaled one could not be met.
func (s *session) hear(d time.Duration, enough func(byte) bool) bool {
	began := time.Now()
	defer func() {
		if s.opt.Scale > 0 {
			s.now.Add(int64(time.Since(began)))
		}
	}()
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		for len(s.buf) > 0 {
			b := s.buf[0]
			s.buf = s.buf[1:]
			if enough != nil && enough(b) {
				return true
			}
		}
		select {
		case chunk, open := <-s.in:
			if !open {
				return false
			}
			s.buf = s.faults.hear(chunk)
		case <-t.C:
			return true
		case <-s.ctx.Done():
			return false
		}
	}
}

func (s *session) setParameter(arg string) string {
	// arg is "hhSVhh" without spaces.
	n, v := byteOf(arg[:2]), byteOf(arg[4:])
	if int(n) >= len(s.params.set) {
		return unknown
	}
	s.params.set[n] = v
	return ok
}

func (s *session) switchParameter(arg string) string {
	n, on := byteOf(arg[:2]), arg[2:] == "ON"
	switch {
	case n == 0xFF:
		for i := range s.params.on {
			s.params.on[i] = on
		}
	case int(n) >= len(s.params.on):
		return unknown
	default:
		s.params.on[n] = on
	}
	return ok
}

// showParameters prints four a line: number, value, oN or oFf (the chip says N and F).
func (s *session) showParameters() string {
	var lines []string
	for i := 0; i < len(s.params.set); i += 4 {
		var items []string
		for n := i; n < i+4; n++ {
			state := "F"
			if s.params.on[n] {
				state = "N"
			}
			items = append(items, fmt.Sprintf("%02X:%02X %s", n, s.params.set[n], state))
		}
		lines = append(lines, strings.Join(items, "  "))
	}
	return strings.Join(lines, "\n")
}

func (s *session) setUserB(arg string) string {
	s.userB = [2]byte{byteOf(arg[:2]), byteOf(arg[2:])}
	if s.userB[1] == 0 || slices.Contains([]byte{0x0B}, s.open) {
		s.close()
	}
	return ok
}
