package decode

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// form is what a line of a recording holds.
type form uint8

const (
	nothing  form = iota // empty, a prompt, an echo, words
	status               // the adapter reports a fault: NO DATA, CAN ERROR
	frame                // bytes of one CAN frame, PCI first
	payload              // a whole message, service byte first
	legacy               // a K-line or J1850 message without header and checksum
	length               // an ELM327 without headers announces the length of a message
	numbered             // … and numbers its parts
	damaged              // bytes that cannot be used: half a byte, a broken header, a wrong checksum
	sent                 // the tester's own frame
)

// line is one line of a recording, understood.
type line struct {
	form  form
	id    uint32 // CAN identifier, or the source address of a legacy message
	ids   bool   // id is known
	wide  bool   // 29-bit identifier
	ext   bool   // extended addressing: data[0] is the tester's address
	n     int    // length: bytes announced; numbered: the part's number
	data  []byte
	text  string // status: the adapter's words
	doubt bool   // legacy: the checksum does not fit; numbered: half a byte was left off
	name  string // what stands in front of a whole message instead of an identifier: "ECU1", "PCM"
}

// statusWords are what adapters say instead of an answer (ELM327 data sheet, STN and clones).
var statusWords = []string{"NO DATA", "CAN ERROR", "BUS ERROR", "BUS BUSY", "BUS INIT: ERROR", "BUS INIT: ...ERROR", "FB ERROR", "DATA ERROR",
	"RX ERROR", "UNABLE TO CONNECT", "STOPPED", "BUFFER FULL", "ACT ALERT", "LV RESET", "LP ALERT", "OUT OF MEMORY", "ERR"}

// progressWords are what they say before one; the answer may follow on the same line.
var progressWords = []string{"SEARCHING...", "SEARCHING", "BUS INIT: ...OK", "BUS INIT: OK", "BUS INIT: ...", "BUS INIT:"}

// wideHeads begin the 29-bit identifiers ECUs answer on, as eight digits without a space: ISO 15765-4, VW MEB, Volvo.
var wideHeads = []string{"18DA", "18DB", "17FE00", "17FC00", "1EC6", "1DD0"}

// understand reads one line. req is the question, to know its echo and the service an answer must name. running says that
// a message without identifiers is under way, so that a consecutive frame without one can follow.
func understand(s string, req []byte, running bool) line {
	s = strings.ToUpper(strings.Trim(s, "> \t\r\n"))
	if strings.HasPrefix(s, "BUS INIT") && strings.Contains(s, "ERROR") {
		return line{form: status, text: s}
	}
	for _, w := range progressWords {
		s = strings.TrimSpace(strings.TrimPrefix(s, w))
	}
	s = afterEcho(s, req)
	if s == "" || s == "OK" || s == "?" {
		return line{}
	}
	if i := strings.IndexByte(s, '<'); i >= 0 && (strings.HasPrefix(s[i:], "<DATA ERR") || strings.HasPrefix(s[i:], "<RX ERR")) { // the adapter doubts the line it has just shown
		return line{form: damaged, text: strings.Trim(s[i:], "<> ")}
	}
	if i := slices.IndexFunc(statusWords, func(w string) bool { return strings.ReplaceAll(w, " ", "") == s }); i >= 0 { // as programs that drop spaces write them
		return line{form: status, text: statusWords[i]}
	}
	for _, w := range statusWords {
		switch i := strings.Index(s, w); {
		case i == 0:
			return line{form: status, text: s}
		case i > 0: // behind bytes: they are not to be trusted, and not to be shown
			return line{form: damaged, text: s[i:]}
		}
	}
	tokens, isLogged := logged(s)
	if !isLogged {
		tokens = words(s)
	} else if len(tokens) < 2 {
		return line{form: damaged}
	}
	if len(tokens) == 0 {
		return line{}
	}
	if no, rest, ok := strings.Cut(tokens[0], ":"); ok {
		if len(no) == 1 && isHex(no) {
			n, _ := strconv.ParseUint(no, 16, 8)
			tokens[0] = rest
			digits := strings.Join(tokens, "")
			whole := len(digits) &^ 1 // half a byte behind the last part is filling that was cut; within the message it is not
			return bytesOf(line{form: numbered, n: int(n), doubt: whole < len(digits)}, []string{digits[:whole]})
		}
		tokens[0] = no // "7E8:" before the bytes
		if rest != "" {
			tokens = slices.Insert(tokens, 1, rest)
		}
	}
	if l, ok := labelled(tokens, req, running); ok {
		return l
	}
	if slices.ContainsFunc(tokens, func(t string) bool { return !isHex(t) }) {
		return line{}
	}
	return classify(tokens, req)
}

// afterEcho takes the question off a line on which an adapter that echoes has gone on with the answer: "0902014", "010541 05 53",
// "0105SEARCHING...". What is left must be what adapters send: a length, an identifier with a frame, the answer, a refusal.
func afterEcho(s string, req []byte) string {
	q := strings.ToUpper(hex.EncodeToString(req))
	rest, ok := strings.CutPrefix(s, q)
	if q == "" || !ok || rest == "" || len(req) < 2 && rest[0] != ' ' && len(strings.Fields(s)) == 1 {
		return s
	}
	rest = strings.TrimSpace(rest)
	for _, w := range progressWords {
		if after, ok := strings.CutPrefix(rest, w); ok {
			return strings.TrimSpace(after)
		}
	}
	packed := strings.ReplaceAll(rest, " ", "")
	answer := fmt.Sprintf("%02X", req[0]|0x40) + q[2:]
	switch {
	case isHex(packed) && len(packed)%2 == 1 && strings.HasPrefix(packed[1:], answer[:min(len(answer), 4)]): // the number of answers to wait for
		return rest[1:]
	case len(packed) == 3 && isHex(packed) && rest[0] == '0', isHex(packed) && strings.HasPrefix(packed, answer[:min(len(answer), 4)]),
		isHex(packed) && len(packed) == 6 && strings.HasPrefix(packed, "7F"+q[:2]), slices.Contains(statusWords, rest):
		return rest
	}
	return s
}

// labelled is a whole message behind a word that names the ECU: "ECU1 4300", "0B 4700", "E8 (PCM) 4917…". The message must
// answer the question, and a word that could be the first byte of a frame is only one where no frame can be.
func labelled(tokens []string, req []byte, running bool) (line, bool) {
	if len(req) == 0 {
		return line{}, false
	}
	answer, refusal := fmt.Sprintf("%02X", req[0]+0x40), fmt.Sprintf("7F%02X", req[0])
	for i := 1; i < len(tokens) && i <= 2; i++ {
		head, rest := tokens[:i], strings.Join(tokens[i:], "")
		if !isHex(rest) || !strings.HasPrefix(rest, answer) && !strings.HasPrefix(rest, refusal) {
			continue
		}
		word := !isHex(strings.Join(head, ""))
		if !word && (i > 1 || len(head[0]) != 2 || head[0] == answer || head[0] == "7F" || len(tokens[1]) <= 2 && frameLike(head[0]+rest, running)) {
			continue
		}
		return bytesOf(line{form: payload, name: strings.Join(head, " ")}, tokens[i:]), true
	}
	return line{}, false
}

func classify(tokens []string, req []byte) line {
	all := strings.Join(tokens, "")
	if q := strings.ToUpper(hex.EncodeToString(req)); q != "" && (all == q || len(all) == len(q)+1 && strings.HasPrefix(all, q)) {
		return line{} // echo; a digit behind it is the number of answers the adapter was told to wait for
	}
	head := tokens[0]
	switch {
	case len(tokens) == 1 && len(head) == 3:
		n, _ := strconv.ParseUint(head, 16, 16)
		return line{form: length, n: int(n)}
	case len(tokens) > 1 && (len(head) == 6 || len(head) == 8 && head > "1FFFFFFF"):
		return message(tokens, req)
	case len(tokens) > 1 && (len(head) == 3 || len(head) == 8):
		return identified(head, tokens[1:], req)
	case len(tokens) > 1 && len(head) == 4 && len(tokens[1]) <= 2 && head >= "07E8" && head <= "07EF":
		return identified(head[1:], tokens[1:], req)
	case len(all)%2 == 1 && len(all) > 3:
		return identified(all[:3], []string{all[3:]}, req)
	case len(all) > 8 && hasAny(all, wideHeads), len(all) > 8 && strings.HasPrefix(all, "000007"), wide(all, req):
		return identified(all[:8], []string{all[8:]}, req)
	}
	return message(tokens, req)
}

// wide reports whether digits without a space begin with a 29-bit identifier nobody has listed: behind it then stands a
// frame that answers the question.
func wide(all string, req []byte) bool {
	b, err := hex.DecodeString(all)
	if err != nil || len(req) == 0 || len(b) < 7 || len(b) > 12 || b[0] > 0x1F || b[0] == 0 {
		return false
	}
	if len(b) == 12 && b[0] != 0x10 { // more than a frame holds, and no message begins so: whatever it says, it has an identifier
		return true
	}
	service := b[5]
	if b[4]>>4 == 1 {
		service = b[6]
	} else if b[4] > 7 || int(b[4]) > len(b)-5 {
		return false
	}
	return service == req[0]|0x40
}

// frameLike reports whether bytes can be a CAN frame with its PCI: a single frame that holds its length, a full first
// frame, a consecutive frame of a message under way, flow control.
func frameLike(all string, running bool) bool {
	b, err := hex.DecodeString(all)
	if err != nil {
		return true // half a byte: another reading of the line says so
	}
	switch b[0] >> 4 {
	case 0:
		return int(b[0]) < len(b)
	case 1:
		return len(b) >= 8
	case 2:
		return running
	case 3:
		return len(b) >= 3
	}
	return false
}

// identified is a line with a CAN identifier in front.
func identified(head string, rest []string, req []byte) line {
	id, err := strconv.ParseUint(head, 16, 32)
	if err != nil || id > 0x1FFFFFFF {
		return line{form: damaged}
	}
	if len(rest) > 1 && len(rest[0]) == 1 { // data length code
		rest = rest[1:]
	}
	l := bytesOf(line{id: uint32(id), ids: true, wide: len(head) == 8 && id > 0x7FF}, rest)
	const lowest = 0x100 // no ECU answers a tester with the priorities below; a header that says so lost bits
	switch {
	case l.form == damaged || !l.wide && (id < lowest || id > 0x7FF):
		return line{form: damaged}
	case tester(l.id, l.wide):
		return line{form: sent}
	case len(l.data) == 0:
		return line{form: damaged}
	case asks(l.data, req), len(l.data) > 2 && l.data[0]>>4 == 3 && l.data[0] < 0x33:
		return line{form: sent} // the question itself, or flow control, on a maker's identifier
	case l.data[0] == 0xF1 && len(l.data) > 1 && l.data[1] < 0x40, ownAddress(l.data, req):
		l.form, l.ext = frame, true
	default:
		l.whole()
	}
	return l
}

// asks reports whether a frame carries the question, with an address byte in front or without.
func asks(b, req []byte) bool {
	for range 2 {
		if n := len(req); n > 0 && len(b) > n && int(b[0]) == n && string(b[1:1+n]) == string(req) {
			return true
		}
		b = b[1:]
		if len(b) == 0 {
			break
		}
	}
	return false
}

// ownAddress reports whether a frame has the ECU's own address in front (extended addressing of Toyota: 758 2A 10 LL 61 ..):
// read without it, it begins an answer to the question; read with it, it does not.
func ownAddress(b, req []byte) bool {
	if len(req) == 0 || len(b) < 4 || b[0] < 0x20 {
		return false
	}
	answer := req[0] | 0x40
	switch b[1] >> 4 {
	case 0:
		return b[1] > 0 && int(b[1]) <= len(b)-2 && (b[2] == answer || b[2] == 0x7F && b[3] == req[0])
	case 1:
		return len(b) == 8 && b[3] == answer
	}
	return false
}

// single reports whether a frame is a single frame.
func (l *line) single() bool {
	i := 0
	if l.ext {
		i = 1
	}
	return len(l.data) > i && l.data[i]>>4 == 0
}

// whole tells a message from a frame by its first byte. Adapters that put messages together leave the length in front
// even where no single frame can hold so much (09 41 ..): that is a message too.
func (l *line) whole() {
	l.form = payload
	switch n := int(l.data[0]); {
	case n > 7 && n < 0x10 && len(l.data) == n+1:
		l.data = l.data[1:]
	case n < 0x40:
		l.form = frame
	}
}

// tester reports whether an identifier is one that testers send on: the functional ones, and the physical ones of ISO
// 15765-4 and BMW.
func tester(id uint32, wide bool) bool {
	if wide {
		return id == 0x18DB33F1 || id&0x1FFF00FF == 0x18DA00F1
	}
	return id == 0x7DF || id >= 0x7E0 && id <= 0x7E7 || id == 0x6F1
}

// message is a line without a CAN identifier: a K-line or J1850 message with its header, a CAN frame or a whole message.
func message(tokens []string, req []byte) line {
	l := bytesOf(line{}, tokens)
	b := l.data
	if l.form == damaged || len(b) == 0 {
		return line{form: damaged}
	}
	if len(b) > 2 && b[0] == 0x7E && b[1] >= 0x80 && len(req) > 0 && req[0] != 0x3E { // 7E8 to 7EF in front: half a byte is lost
		return line{form: damaged}
	}
	if len(b) > 4 && len(b) <= 11 && b[0] == 0xDA && b[1] == 0xF1 && frameLike(hex.EncodeToString(b[3:]), true) { // a 29-bit identifier without its priority
		return identified(fmt.Sprintf("18DAF1%02X", b[2]), []string{hex.EncodeToString(b[3:])}, req)
	}
	if k, ok := kwp(b); ok {
		return k
	}
	if k, ok := j1850(b, req); ok {
		return k
	}
	switch { // no service is answered with F1: it is the tester's address
	case len(b) > 2 && b[0] == 0xF1 && b[1] < 0x30 && (len(b) == 8 || b[1]>>4 != 1):
		l.form, l.ext = frame, true
	default:
		l.whole()
	}
	return l
}

// kwp is a message of ISO 14230: format with length, target, source, data, checksum (the sum of all before it). Adapters
// may have taken the checksum off.
//
//	8L F1 ss d1 .. dL cs        80 F1 ss LL d1 .. dLL cs        80 F1 ss 00 LL LL d1 .. cs (BMW's, for more than 255 bytes)
func kwp(b []byte) (line, bool) {
	if len(b) < 4 || b[0] < 0x80 || b[1] != 0xF1 && b[1] != 0x33 {
		return line{}, false
	}
	head, n := 3, int(b[0]&0x3F)
	if n == 0 {
		head, n = 4, int(b[3])
	}
	if n == 0 && len(b) > 6 {
		head, n = 6, int(b[4])<<8|int(b[5])
	}
	l := line{form: legacy, id: uint32(b[2]), ids: true}
	switch len(b) - head {
	case n:
		l.data = b[head:]
	case n + 1:
		if l.data = b[head : head+n]; sum(b[:head+n]) != b[head+n] {
			l.doubted()
		}
	default:
		return line{form: damaged}, n > 0 && len(b) < head+n
	}
	if b[1] == 0x33 || len(l.data) > 0 && l.data[0]&0x40 == 0 {
		l.form = sent
	}
	return l, true
}

// j1850 is a message of ISO 9141 or J1850: two bytes 48 6B (41 6B with PWM), source, up to seven data bytes, checksum or
// CRC. The first two look like an answer to service 01 or 08, so that the byte behind the source must be the one that
// answers the question.
func j1850(b, req []byte) (line, bool) {
	if len(b) < 5 || b[0] != 0x48 && b[0] != 0x41 || b[1] != 0x6B {
		return line{}, false
	}
	if b[0] == 0x41 && len(req) > 1 && req[0] == 0x01 && req[1] == 0x6B || b[3] < 0x40 || b[3] != 0x7F && len(req) > 0 && b[3] != req[0]+0x40 {
		return line{}, false
	}
	l := line{form: legacy, id: uint32(b[2]), ids: true, data: b[3:]}
	last := len(b) - 1
	if c := b[last]; c == sum(b[:last]) || c == crc(b[:last]) {
		l.data = b[3:last]
	} else if len(l.data) > 7 {
		l.data = b[3:last]
		l.doubted()
	}
	return l, true
}

// doubted is a message whose checksum does not fit. Only identification is taken all the same, and told as doubted: whoever
// publishes a recording writes over the vehicle's number and leaves the checksum as it was.
func (l *line) doubted() {
	if l.doubt = true; len(l.data) == 0 || len(l.data) > 7 || l.data[0] != 0x49 {
		l.form = damaged
	}
}

func sum(b []byte) (s byte) {
	for _, c := range b {
		s += c
	}
	return s
}

// crc is the CRC-8 of SAE J1850: polynomial 1D, start FF, inverted.
func crc(b []byte) byte {
	c := byte(0xFF)
	for _, x := range b {
		c ^= x
		for range 8 {
			if c&0x80 != 0 {
				c = c<<1 ^ 0x1D
			} else {
				c <<= 1
			}
		}
	}
	return ^c
}

func bytesOf(l line, tokens []string) line {
	b, err := hex.DecodeString(strings.Join(tokens, ""))
	if err != nil {
		return line{form: damaged}
	}
	l.data = b
	return l
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789ABCDEF") == ""
}

func hasAny(s string, heads []string) bool {
	return slices.ContainsFunc(heads, func(h string) bool { return strings.HasPrefix(s, h) })
}
