package elm327

import (
	"fmt"
	"slices"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

// protocol is one of the ELM327's bus protocols, by its number in AT SP.
type protocol byte

// The protocols tried. autoProtocol is the adapter's own search.
const (
	autoProtocol protocol = 0
	noProtocol   protocol = 0xFF
)

// kind of bus that a frame needs.
type kind uint8

const (
	can11 kind = iota
	can29
	legacy
)

func kindOf(f *frame.Frame) kind {
	switch {
	case f.Is(frame.Legacy):
		return legacy
	case f.Is(frame.Extended):
		return can29
	}
	return can11
}

// tried lists the protocols for a kind of frame in the order of their likelihood: 500 before 250 kbit/s. For K-line and
// J1850 the adapter's own search knows best.
var tried = [...][]protocol{
	can11:  {6, 8},
	can29:  {7, 9},
	legacy: {autoProtocol},
}

func (p protocol) kind() kind {
	switch p {
	case 6, 8:
		return can11
	case 7, 9:
		return can29
	}
	return legacy
}

// String is the protocol's name in an adapter's AT DP.
func (p protocol) String() string {
	names := [...]string{1: "SAE J1850 PWM", "SAE J1850 VPW", "ISO 9141-2", "ISO 14230-4 KWP 5BAUD", "ISO 14230-4 KWP FAST",
		"ISO 15765-4 CAN 11/500", "ISO 15765-4 CAN 29/500", "ISO 15765-4 CAN 11/250", "ISO 15765-4 CAN 29/250"}
	if p == noProtocol || int(p) >= len(names) {
		return ""
	}
	return names[p]
}

// header is what stands in front of a functional request when nobody has set another one.
func (p protocol) header() uint32 {
	switch p {
	case 6, 8:
		return isotp.Functional11
	case 7, 9:
		return isotp.Functional29
	case 1:
		return 0x616AF1
	case 4, 5:
		return 0xC233F1
	}
	return link.LegacyFunctional
}

// settings are what the adapter has been told. The zero value, with proto noProtocol, is what holds after AT D.
type settings struct {
	proto   protocol
	format  bool   // the format commands have been sent since the protocol was set
	caf     bool   // the adapter makes the PCI: it was told to, or an answer has shown it
	header  uint32 // 0 = the protocol's own
	prio    byte   // top five bits of a 29-bit header, 0 = the default 18
	st      byte   // 0 = the default
	ext     int    // address byte in front of the PCI + 1, 0 = none
	pattern uint32 // receive filter: identifiers with id&mask == pattern; mask 0 = the adapter's own filter
	mask    uint32
	flow    uint32 // flow control goes to this identifier, 0 = the adapter's own choice
	flowExt int    // address byte in front of flow control + 1, 0 = none

	// What the adapter keeps although it is not in force now, so that it need not be sent again.
	flowHeader uint32
	flowData   int // flowExt of the data sent + 1, 0 = none
	pairs      [maxPairs]pair
}

// pair is a flow control pair of an STN chip: what comes from rx is answered to tx.
type pair struct {
	tx, rx uint32
	ext    int // address byte + 1, 0 = none
}

// unknownFlow is no identifier: whom flow control goes to is not known.
const unknownFlow = ^uint32(0)

// maxPairs is how many are kept before they are cleared and begun anew.
const maxPairs = 12

// unknownPairs are to be cleared.
var unknownPairs = [maxPairs]pair{{tx: 1}}

func (s *settings) paired(p pair) bool {
	for _, q := range s.pairs {
		if q == p {
			return true
		}
	}
	return false
}

// pair adds p; it reports whether there is room.
func (s *settings) pair(p pair) bool {
	for i := range s.pairs {
		if s.pairs[i] == (pair{}) {
			s.pairs[i] = p
			return true
		}
	}
	return false
}

// adapterCan is what an adapter has refused or shown so far. Nothing is believed from its name.
type adapterCan struct {
	noTP     bool // AT TP refused: AT SP instead
	noDigit  bool // the expected-responses digit is not understood
	noFlow   bool // AT FC SH, SD or SM refused
	noPair   bool // ST CFCPA refused
	noFilter bool // AT CRA refused
	noMask   bool // AT CF or CM refused
	noAuto   bool // AT AR refused
	noWide   bool // a filter for all ECUs at once has no effect, or lets other traffic through
	noExt    bool // AT CEA refused
	noST     bool // AT ST refused
	stn      bool // answers STI: the ST commands exist

	noPX      bool    // STPX refused
	framesPX  bool    // the r: of STPX counts frames, not whole answers
	noCut     bool    // a character does not end its wait
	noEcho    bool    // AT E1 brings no echo, or not before the carriage return
	flowFull  bool    // flow control works only when all its commands are sent anew
	extPair   pairWay // how an STN takes flow control with address bytes
	resetsOSP bool    // SP and TP put the format back to its defaults
	dlc       dlcWay  // the DLC stands behind the identifier
	noReset   bool    // a reset drops the link
}

// pairWay is a spelling of STCFCPA under extended addressing. The manual has the address bytes in it (8.8, 13); firmware
// differs, and only a long answer shows which is right.
type pairWay uint8

const (
	pairWithBytes pairWay = iota
	pairPlain
	pairByAT // AT FC SH, SD and SM instead
)

// command is one AT command of a plan.
type command struct {
	text string
	// must: without it the request would go wrong, so a refusal is the request's end; else it is only less good.
	must bool
	// refused marks in adapterCan what a "?" teaches; nil = nothing.
	refused func(*adapterCan)
}

const defaultST = 0x32 // 205 ms

// want works out the settings that a frame and its hint need, coming from have. ecus are those that have answered on the
// standard identifiers: an STN that has any flow control pair needs one for each of them. With in the request goes out by
// STPX.
func want(f *frame.Frame, h link.Hint, p protocol, can adapterCan, have settings, ecus []uint32, in bool) settings {
	w := settings{proto: p, format: true, caf: true}
	if have.proto == p {
		w.flowHeader, w.flowData, w.pairs = have.flowHeader, have.flowData, have.pairs
		if w.pairs == unknownPairs {
			w.pairs = [maxPairs]pair{}
		}
	}
	if f.Is(frame.Legacy) {
		if f.ID != link.LegacyFunctional && f.ID != p.header() {
			w.header = f.ID
		}
		return w
	}
	switch {
	case in: // STPX has the header in it
		if have.proto == p {
			w.header, w.prio = have.header, have.prio
		}
	case f.ID != p.header():
		w.header = f.ID
		if f.Is(frame.Extended) {
			w.prio = byte(f.ID >> 24)
		}
	}
	if h.Wait > 0 && !can.noST {
		w.st = stFor(h.Wait)
	}
	if h.Ext != nil {
		w.ext = int(*h.Ext) + 1
	}
	pairs := can.stn && !can.noPair && (w.ext == 0 || can.extPair != pairByAT)
	if standard(f, h) {
		wantStandard(&w, f, h, have, can, ecus)
		return w
	}
	all := uint32(frame.MaxStandardID)
	if f.Is(frame.Extended) {
		all = frame.MaxExtendedID
	}
	for i, id := range h.Accept {
		if i == 0 {
			w.pattern, w.mask = id, all
		}
		w.mask &^= w.pattern ^ id
		w.pattern &= w.mask
	}
	if kindOf(f) == can11 && w.ext == 0 && !can.noWide && w.pattern&diagnostic == diagnostic {
		w.pattern, w.mask = diagnostic, diagnostic
	}
	switch {
	case h.FlowTo == 0:
	case pairs && len(h.Accept) == 1:
		p := pair{h.FlowTo, h.Accept[0], w.ext}
		if !w.paired(p) && !w.pair(p) {
			w.pairs = [maxPairs]pair{p}
		}
	default:
		w.flow, w.flowExt = h.FlowTo, w.ext
		w.flowHeader, w.flowData = w.flow, w.flowExt+1
	}
	return w
}

// diagnostic are the identifiers 700 to 7FF, as pattern and as mask: where ISO 15765-3 and the makers put their ECUs. One
// filter for all of them saves one for each.
const diagnostic = 0x700

// wantStandard: ISO 15765-4 pairs, which every adapter knows by itself. A wide filter lets them through and stays, so
// that a change to another maker's ECU and back costs little.
func wantStandard(w *settings, f *frame.Frame, h link.Hint, have settings, can adapterCan, ecus []uint32) {
	if have.proto != w.proto || have.ext != 0 || f.Is(frame.Extended) {
		w.pairs = [maxPairs]pair{}
		return
	}
	wide := have.mask == diagnostic && !can.noWide
	if wide {
		w.pattern, w.mask = have.pattern, have.mask
	}
	one := len(h.Accept) == 1 && h.FlowTo != 0
	switch {
	case w.pairs != [maxPairs]pair{}: // an STN that has any answers no others (manual, 12)
		asked := ecus
		if one {
			asked = h.Accept
		}
		for _, rx := range asked {
			if p := (pair{rx - 8, rx, 0}); !w.paired(p) && !w.pair(p) { // no room: the adapter's own way again
				w.pairs, w.pattern, w.mask = [maxPairs]pair{}, 0, 0
				return
			}
		}
	case one && wide && have.flow != 0:
		w.flow, w.flowHeader, w.flowData = h.FlowTo, h.FlowTo, 1
	}
}

// standard: the adapter's own filter and flow control do for this frame (ISO 15765-4 pairs).
func standard(f *frame.Frame, h link.Hint) bool {
	if h.Ext != nil {
		return false
	}
	for _, id := range h.Accept {
		a, ok := isotp.OBDResponder(id, f.Is(frame.Extended))
		if !ok || h.FlowTo != 0 && h.FlowTo != a.Tx {
			return false
		}
	}
	return len(h.Accept) > 0 || h.FlowTo == 0
}

// accepted tells which identifiers answer f: those of the hint, else those of ISO 15765-4; nil where that is not known
// (K-line and J1850). Between a filter that lets more through and a damaged identifier, the difference is made later.
func accepted(f *frame.Frame, h link.Hint) func(uint32) bool {
	if f.Is(frame.Legacy) {
		return nil
	}
	wide := f.Is(frame.Extended)
	return func(id uint32) bool {
		if len(h.Accept) > 0 {
			return slices.Contains(h.Accept, id)
		}
		_, ok := isotp.OBDResponder(id, wide)
		return ok
	}
}

// stFor is the AT ST value, in units of 4.096 ms, whose wait is not shorter than d.
func stFor(d time.Duration) byte {
	const unit = 4096 * time.Microsecond
	return byte(min(max((d+unit-1)/unit, 1), 0xFF))
}

// request is the text of a request line: the payload of a single frame without its PCI, or the bytes of a legacy
// message. expect is the number of lines after which the adapter may stop listening, 1 to 9, else none.
//
// With in, the line is STPX with header and count in it: expect is then a number of answers, 0 = unknown.
//
// Where counts says that the adapter knows counts, another count than expect is used where that takes the question further from
// an order (harmless): a higher one, and 9 for a question of service 01 that has none, whose answers are few lines.
func request(f *frame.Frame, ext bool, expect int, in, counts bool) (string, error) {
	b := f.Bytes()
	if !f.Is(frame.Legacy) {
		if ext {
			b = b[min(1, len(b)):]
		}
		if len(b) == 0 || b[0] == 0 || b[0] > 7 || len(b) < 1+int(b[0]) {
			return "", errNotSingle
		}
		b = b[1 : 1+int(b[0])]
	}
	if len(b) == 0 || len(b) > 7 {
		return "", errNotSingle
	}
	if in {
		digits := 3
		if f.Is(frame.Extended) {
			digits = 8
		}
		text := fmt.Sprintf("STPXH:%0*X,D:%X", digits, f.ID, b)
		if expect > 0 {
			text += fmt.Sprintf(",R:%d", expect)
		}
		return text, nil
	}
	text := fmt.Sprintf("%X", b)
	given := expect >= 1 && expect <= 9 // some copies read A to F as data
	whole := text
	if given {
		text += string(rune('0' + expect))
	}
	if !counts || harmless(text) || !given && b[0] != 0x01 {
		return text, nil
	}
	if !given {
		expect = 8
	}
	for n := expect + 1; n <= 9; n++ { // too high a count only waits longer
		if other := whole + string(rune('0'+n)); harmless(other) {
			return other, nil
		}
	}
	return text, nil
}

var errNotSingle = fmt.Errorf("%w: only requests of one ISO-TP single frame", link.ErrUnsupported)

// isFlowControl: the adapter has sent its own already.
func isFlowControl(f *frame.Frame, ext bool) bool {
	b := f.Bytes()
	if ext && len(b) > 0 {
		b = b[1:]
	}
	return !f.Is(frame.Legacy) && len(b) > 0 && b[0]>>4 == 3
}
