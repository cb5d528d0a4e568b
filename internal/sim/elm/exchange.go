package elm

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"obdgate/internal/frame"
)

// exchange is one request and the wait for its answers.
type exchange struct {
	*session
	bus     bus
	window  time.Duration // the first answer must come within it, every next one within as much again
	count   int           // lines after which to stop; 0 = do not wait, -1 = unknown
	collect bool          // lines are kept instead of printed (protocol search)
	lines   []string
	heard   int
	replies bool                     // count is of whole answers (STPX), not of lines
	ended   int                      // whole answers so far
	open    map[uint32]int           // bytes still to come of long ones
	owed    map[uint32]time.Duration // 7F xx 78 heard, and until when the answer is waited for
	turns   bool                     // several ECUs' lines take turns
	from    uint32                   // whose line it is
	kept    []keptLine
	spent   int                 // characters of the reply
	waited  bool                // 7F xx 78 has been said
	parts   map[uint32]*message // STCSEGR: answers under way
	status  string
}

// bufferChars is the chip's output buffer; when bus data outruns the UART by more, it says so (ELM327DSJ p. 87).
const bufferChars = 512

// stUnit is one count of AT ST.
const stUnit = 4096 * time.Microsecond

// ceiling is the longest wait AT ST allows.
func (s *session) ceiling() time.Duration {
	if s.limit > 0 {
		return s.limit
	}
	d := time.Duration(s.timeout) * stUnit
	if s.five {
		d *= 5
	}
	return d
}

// firstWindow is how long an answer is waited for: AT0 the whole of ST; AT1 and AT2 what the vehicle has been seen to need,
// with a margin, ST at most.
func (s *session) firstWindow() time.Duration {
	d := s.ceiling()
	if s.learned == 0 || s.p.Quirks.IgnoreAdaptive {
		return d
	}
	switch s.adaptive {
	case 1:
		d = min(d, max(s.learned*2+8*time.Millisecond, 24*time.Millisecond))
	case 2:
		d = min(d, max(s.learned*5/4+4*time.Millisecond, 12*time.Millisecond))
	}
	return d
}

// pendingWindow is the wait after 7F xx 78 where the chip does that (P2* of ISO 15765-4).
const pendingWindow = 5 * time.Second

// run sends req and handles answers until the window closes. It returns the status line to print, "" after answers.
func (x *exchange) run(req []byte) string {
	if problem := x.send(req); problem != "" {
		return problem
	}
	if !x.wait || x.count == 0 {
		return ""
	}
	limit := x.Modelled() + x.window
	last := x.Modelled()
	for {
		due, ok := x.car.Due()
		if !ok || due > limit {
			if x.busy(limit - x.Modelled()) {
				return "STOPPED"
			}
			break
		}
		if x.busy(max(0, due-x.Modelled())) {
			return "STOPPED"
		}
		f, ok := x.car.Next(max(due, x.Modelled()))
		if !ok {
			continue
		}
		x.from = f.ID
		if p := x.strikes(func(f *Fault) bool { return f.Pending > 0 }); p != nil && !x.waited && !x.collect && x.mine(&f) {
			x.waited = true
			over, stopped := x.patience(&f, req[0], p.Pending)
			if stopped {
				return "STOPPED"
			}
			if over {
				return ""
			}
		}
		if !x.receive(&f) {
			continue
		}
		x.learn(due - last)
		last = due
		limit = x.limit(&f, due)
		if x.status != "" {
			return x.status
		}
		if x.whole(&f); x.count > 0 && (!x.replies && x.heard >= x.count || x.replies && x.ended >= x.count) {
			return ""
		}
	}
	if x.heard == 0 {
		x.learned = 0
		return "NO DATA"
	}
	return ""
}

// limit is how long to listen on after a frame: as long again as for the first, longer while an ECU that has asked for
// patience owes its answer, where the chip waits for that.
func (x *exchange) limit(f *frame.Frame, due time.Duration) time.Duration {
	delete(x.owed, f.ID)
	if (x.p.Quirks.WaitsFor78 || x.p.STN != "") && pending(f) {
		if x.owed == nil {
			x.owed = map[uint32]time.Duration{}
		}
		x.owed[f.ID] = due + pendingWindow
	}
	until := due + x.window
	if o := x.pci(); x.bus.kind == "can" && int(f.Len) > o && f.Data[o]>>4 == 1 {
		until = max(until, x.Modelled()+x.window) // this model prints first; its flow control has only now gone out
	}
	for _, t := range x.owed {
		until = max(until, t)
	}
	return until
}

// discard drops what the bus carried while the chip was not listening. An answer to an earlier question that is still to
// come is not touched: it will be taken for this one's, as on the real thing.
func (x *exchange) discard() {
	for {
		if _, ok := x.car.Next(x.Modelled()); !ok {
			return
		}
	}
}

// learn keeps the longest recent answer time, forgetting slowly.
func (x *exchange) learn(d time.Duration) {
	x.learned = max(x.learned*15/16, d)
}

func pending(f *frame.Frame) bool {
	b := f.Bytes()
	return len(b) >= 4 && b[1] == 0x7F && b[3] == 0x78 || f.Is(frame.Legacy) && len(b) == 3 && b[0] == 0x7F && b[2] == 0x78
}

// onBus is the time a frame takes.
func (x *exchange) onBus(f *frame.Frame) time.Duration {
	if f.Is(frame.Legacy) {
		return time.Duration(f.Len+4) * legacyByte
	}
	return canFrame * time.Duration(500_000/max(x.bus.rate, 1))
}

// receive takes one frame off the bus: filter, flow control, print. It reports whether the frame was for the tester.
func (x *exchange) receive(f *frame.Frame) bool {
	if x.bus.kind != "can" {
		if x.accept != nil && !x.accept.takes(f.ID) {
			return false
		}
		x.emit(x.legacyLine(f))
		return true
	}
	if f.Is(frame.Extended) != (x.bus.bits == 29) || !x.filter(f.ID) {
		return false
	}
	o := x.pci()
	if o > 0 && (f.Len == 0 || f.Data[0] != x.reply) {
		return false
	}
	if int(f.Len) > o && f.Data[o]>>4 == 1 && x.flow {
		x.flowControl(f)
	}
	if x.join && x.format && x.bus.iso {
		return x.gather(f, o)
	}
	lines, shown := x.canLines(f, o, x.format && x.bus.iso)
	if shown {
		x.emit(lines...)
	}
	return shown
}

// pci is the place of the control byte: behind the address byte in extended addressing.
func (s *session) pci() int {
	if s.ext != nil {
		return 1
	}
	return 0
}

// filter is CRA, CF/CM or, automatically, the answers of ISO 15765-4.
func (x *exchange) filter(id uint32) bool {
	takes := func(m match) bool { return m.takes(id) }
	if slices.ContainsFunc(x.block, takes) {
		return false
	}
	switch {
	case slices.ContainsFunc(x.pass, takes):
		return true
	case x.accept != nil:
		return x.accept.takes(id)
	case x.bus.bits == 11:
		return id&0x7F8 == 0x7E8
	}
	return id&0x1FFFFF00 == 0x18DAF100
}

// flowControl answers a first frame as AT FC SM says.
func (x *exchange) flowControl(f *frame.Frame) {
	var flags frame.Flags
	id := f.ID &^ 8
	if f.Is(frame.Extended) {
		flags = frame.Extended
		id = f.ID&0x1FFF0000 | f.ID&0xFF<<8 | f.ID>>8&0xFF
	}
	data := []byte{0x30, 0, 0}
	if x.p.Quirks.FlowData != nil {
		data = x.p.Quirks.FlowData
	}
	if x.flowMode == 2 && x.p.Quirks.FlowMode2Dead {
		return
	}
	switch {
	case x.ext != nil && x.flowMode == 0:
		data = []byte{*x.ext, 0x30, 0, 0}
		id, flags = x.canHeader(x.bus)
	case x.flowMode > 0:
		data = x.flowData
	}
	if x.flowMode == 1 {
		id, flags = *x.flowHeader, 0
		if x.flowLong || x.bus.bits == 29 {
			flags = frame.Extended
			if !x.flowLong {
				id |= uint32(x.priority) << 24
			}
		}
	}
	data = slices.Clone(data)
	if x.p.STN != "" && !x.paired(f, &id, data) {
		return
	}
	x.now.Add(int64(flowDelay))
	x.car.Handle(frame.New(id, flags, x.pad(data)...), x.Modelled())
}

// emit prints lines that belong to one frame, or keeps them.
func (x *exchange) emit(lines ...string) {
	x.heard++
	if x.collect {
		x.lines = append(x.lines, lines...)
		return
	}
	for i, l := range lines {
		if m := x.strikes(func(f *Fault) bool { return f.Mark != "" }); m != nil && i == 0 && x.heard == 1 {
			l = l[:len(l)-min(len(l), 2)] + m.Mark
		}
		if x.turns {
			x.kept = append(x.kept, keptLine{x.from, l})
			continue
		}
		x.cut(l)
	}
}

// cut says a line unless the buffer is full by fault, which it then says instead.
func (x *exchange) cut(line string) {
	c := x.strikes(func(f *Fault) bool { return f.Cut > 0 })
	if c == nil {
		x.say(line)
		return
	}
	if x.status != "" {
		return
	}
	left := c.Cut - x.spent
	if x.spent += len(line); len(line) < left {
		x.say(line)
		return
	}
	x.print(line[:max(0, left)])
	x.status = "BUFFER FULL"
}

// whole counts an answer when its last frame has come.
func (x *exchange) whole(f *frame.Frame) {
	o := x.pci()
	b := f.Bytes()
	if x.bus.kind != "can" || len(b) < o+2 {
		x.ended++
		return
	}
	switch b[o] >> 4 {
	case 1:
		if x.open == nil {
			x.open = map[uint32]int{}
		}
		x.open[f.ID] = int(b[o]&0x0F)<<8 | int(b[o+1]) - (len(b) - o - 2)
	case 2:
		left, begun := x.open[f.ID]
		if !begun {
			return // of a control unit that babbles
		}
		if x.open[f.ID] = left - (len(b) - o - 1); x.open[f.ID] <= 0 {
			x.ended++
		}
	default:
		x.ended++
	}
}

// mine reports whether a frame passes the filters.
func (x *exchange) mine(f *frame.Frame) bool {
	if x.bus.kind != "can" {
		return x.accept == nil || x.accept.takes(f.ID)
	}
	return f.Is(frame.Extended) == (x.bus.bits == 29) && x.filter(f.ID) && int(f.Len) > x.pci()
}

// bytesText is hex as S0 or S1 print it: with S1 every byte is followed by a space.
func (s *session) bytesText(b []byte) string {
	var t strings.Builder
	for _, c := range b {
		fmt.Fprintf(&t, "%02X", c)
		if s.spaces {
			t.WriteByte(' ')
		}
	}
	return t.String()
}

// idText is an identifier: three digits, or four bytes.
func (s *session) idText(f *frame.Frame) string {
	if f.Is(frame.Extended) {
		return s.bytesText([]byte{byte(f.ID >> 24), byte(f.ID >> 16), byte(f.ID >> 8), byte(f.ID)})
	}
	t := fmt.Sprintf("%03X", f.ID)
	if s.spaces {
		t += " "
	}
	return t
}

// canLines formats one CAN frame; shown is false for what automatic formatting hides: flow control, lengths that make no
// sense.
func (s *session) canLines(f *frame.Frame, o int, format bool) (lines []string, shown bool) {
	b := f.Bytes()
	head := ""
	if s.headers {
		head = s.idText(f)
		if s.dlc {
			head += fmt.Sprintf("%X", f.Len)
			if s.spaces {
				head += " "
			}
		}
	}
	if !format {
		return []string{head + s.bytesText(b)}, true
	}
	if len(b) <= o {
		return nil, false
	}
	pci := b[o]
	switch {
	case pci>>4 == 0 && pci > 0 && int(pci) < len(b)-o:
		end := o + 1 + int(pci)
		if !s.headers {
			return []string{s.bytesText(b[o+1 : end])}, true
		}
		if s.p.Quirks.PrintPadding {
			end = len(b)
		}
		return []string{head + s.bytesText(b[:end])}, true
	case pci>>4 == 1 && len(b) > o+2:
		if s.headers {
			return []string{head + s.bytesText(b)}, true
		}
		n := int(pci&0x0F)<<8 | int(b[o+1])
		if s.p.Quirks.NoLengthLines {
			return []string{s.bytesText(b[o+2:])}, true
		}
		return []string{fmt.Sprintf("%03X", n), s.numbered(0, b[o+2:])}, true
	case pci>>4 == 2 && len(b) > o+1:
		if s.headers {
			return []string{head + s.bytesText(b)}, true
		}
		if s.p.Quirks.NoLengthLines {
			return []string{s.bytesText(b[o+1:])}, true
		}
		return []string{s.numbered(pci&0x0F, b[o+1:])}, true
	}
	return nil, false
}

func (s *session) numbered(n byte, b []byte) string {
	t := fmt.Sprintf("%X:", n)
	if s.spaces {
		t += " "
	}
	return t + s.bytesText(b)
}

// legacyLine formats a K-line or J1850 message: with headers on, three header bytes, data, checksum.
func (s *session) legacyLine(f *frame.Frame) string {
	b := f.Bytes()
	if !s.headers {
		return s.bytesText(b)
	}
	all := append([]byte{byte(f.ID >> 16), byte(f.ID >> 8), byte(f.ID)}, b...)
	if s.p.Quirks.NoChecksum {
		return s.bytesText(all)
	}
	return s.bytesText(append(all, s.checksum(all)))
}

// checksum is the sum of all bytes on a K-line, the CRC of SAE J1850 on the others.
func (s *session) checksum(b []byte) byte {
	kind := s.bus(s.open).kind
	if kind == "j1850-pwm" || kind == "j1850-vpw" {
		crc := byte(0xFF)
		for _, c := range b {
			crc ^= c
			for range 8 {
				carry := crc&0x80 != 0
				if crc <<= 1; carry {
					crc ^= 0x1D
				}
			}
		}
		return ^crc
	}
	sum := byte(0)
	for _, c := range b {
		sum += c
	}
	return sum
}
