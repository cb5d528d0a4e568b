package elm327

import (
	"fmt"

	"obdgate/internal/frame"
)

// plan lists the commands that lead from one set of settings to another, in an order that copies stand: protocol,
// format, timing, addresses, filter, flow control.
func plan(have, w settings, can adapterCan) []command {
	var c []command
	add := func(must bool, refused func(*adapterCan), format string, args ...any) {
		c = append(c, command{fmt.Sprintf(format, args...), must, refused})
	}
	if have.proto != w.proto {
		if have.proto != noProtocol {
			add(false, nil, "ATPC") // SP and TP leave a running K-line session to itself on some parts
		}
		if can.noTP || w.proto == autoProtocol { // TP 0 locks one copy up until it loses power
			add(true, nil, "ATSP%X", byte(w.proto))
		} else {
			add(true, func(a *adapterCan) { a.noTP = true }, "ATTP%X", byte(w.proto))
		}
		have.format, have.caf = have.format && !can.resetsOSP, have.caf && !can.resetsOSP
		have.flow, have.flowExt, have.flowHeader, have.flowData = 0, 0, 0, 0
		if can.stn && have.pairs != [maxPairs]pair{} {
			have.pairs = unknownPairs
		}
	}
	if have.proto != w.proto && w.proto.kind() == legacy {
		add(false, nil, "ATAL") // messages of more than seven bytes
	}
	if !have.format {
		add(true, nil, "ATH1")
		add(false, nil, "ATS0")
		have.caf = false
	}
	if w.caf && !have.caf {
		add(false, nil, "ATCAF1")
	}
	if have.st != w.st && !can.noST {
		st := w.st
		if st == 0 {
			st = defaultST
		}
		add(false, func(a *adapterCan) { a.noST = true }, "ATST%02X", st)
	}
	planAddress(have, w, add)
	planFilter(have, w, can, add)
	return c
}

type addCommand func(must bool, refused func(*adapterCan), format string, args ...any)

func planAddress(have, w settings, add addCommand) {
	if have.ext != w.ext {
		if w.ext == 0 {
			add(true, nil, "ATCEA")
		} else {
			add(true, func(a *adapterCan) { a.noExt = true }, "ATCEA%02X", w.ext-1)
		}
	}
	header := func(s settings) uint32 {
		if s.header == 0 {
			return s.proto.header()
		}
		return s.header
	}
	if have.header == 0 && w.header == 0 || have.proto == w.proto && header(have) == header(w) {
		return
	}
	h := header(w)
	prio := func(b byte) byte {
		if b == 0 {
			return 0x18
		}
		return b
	}
	switch w.proto.kind() {
	case can11:
		add(true, nil, "ATSH%03X", h)
	case can29:
		if prio(have.prio) != prio(byte(h>>24)) {
			add(true, nil, "ATCP%02X", h>>24)
		}
		add(true, nil, "ATSH%06X", h&0xFFFFFF)
	default:
		add(true, nil, "ATSH%06X", h)
	}
}

func planFilter(have, w settings, can adapterCan, add addCommand) {
	digits := 3
	if w.proto.kind() == can29 {
		digits = 8
	}
	if have.pattern != w.pattern || have.mask != w.mask {
		switch {
		case w.mask == 0 && !can.noAuto:
			add(false, func(a *adapterCan) { a.noAuto = true }, "ATAR")
		case w.mask == 0: // what the adapter's own filter lets through (ISO 15765-4)
			pattern, mask := uint32(0x7E8), uint32(0x7F8)
			if digits == 8 {
				pattern, mask = 0x18DAF100, 0x1FFFFF00
			}
			add(true, nil, "ATCF%0*X", digits, pattern)
			add(true, nil, "ATCM%0*X", digits, mask)
		case !can.noFilter && (w.mask == frame.MaxStandardID || w.mask == frame.MaxExtendedID):
			add(false, func(a *adapterCan) { a.noFilter = true }, "ATCRA%0*X", digits, w.pattern)
		case !can.noMask:
			refused := func(a *adapterCan) { a.noMask, a.noWide = true, true }
			add(false, refused, "ATCF%0*X", digits, w.pattern)
			add(false, refused, "ATCM%0*X", digits, w.mask)
		}
	}
	if have.pairs != w.pairs {
		planPairs(have, w, can, digits, add)
	}
	full := can.flowFull && (have.flow != w.flow || have.flowExt != w.flowExt)
	if have.flow == w.flow && have.flowExt == w.flowExt && !full || can.noFlow {
		return
	}
	refused := func(a *adapterCan) { a.noFlow = true }
	if w.flow == 0 {
		add(true, nil, "ATFCSM0")
		return
	}
	if full || have.flowHeader != w.flow {
		add(false, refused, "ATFCSH%0*X", digits, w.flow)
	}
	if full || have.flowData != w.flowExt+1 {
		data := "300000"
		if w.flowExt > 0 {
			data = fmt.Sprintf("%02X300000", w.flowExt-1)
		}
		add(false, refused, "ATFCSD%s", data)
	}
	if full || have.flow == 0 {
		add(false, refused, "ATFCSM1") // refused unless header and data are set
	}
}

// planPairs is flow control on an STN chip. A receive filter there switches off the filter that decides which first frames
// get flow control at all (manual, 11.2), so pairs are named: our identifier, the ECU's. They add up.
func planPairs(have, w settings, can adapterCan, digits int, add addCommand) {
	for _, p := range have.pairs {
		if p != (pair{}) && !w.paired(p) {
			add(false, nil, "STCFCPC")
			have.pairs = [maxPairs]pair{}
			break
		}
	}
	for _, p := range w.pairs {
		if p == (pair{}) || have.paired(p) {
			continue
		}
		tx, rx := fmt.Sprintf("%0*X", digits, p.tx), fmt.Sprintf("%0*X", digits, p.rx)
		if p.ext > 0 && can.extPair == pairWithBytes { // the ECU's address byte, and the tester's F1
			tx, rx = tx+fmt.Sprintf("%02X", p.ext-1), rx+"F1"
		}
		add(false, func(a *adapterCan) { a.noPair = true }, "STCFCPA%s,%s", tx, rx)
	}
}
