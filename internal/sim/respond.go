package sim

import (
	"time"

	"obdgate/internal/frame"
)

// Negative response codes (ISO 14229-1 annex A.1) the engine itself uses.
const (
	nrcService  = 0x11 // service not supported
	nrcSub      = 0x12 // sub-function not supported
	nrcLength   = 0x13 // incorrect message length or format
	nrcBusy     = 0x21
	nrcRange    = 0x31 // request out of range
	nrcPending  = 0x78
	nrcSubHere  = 0x7E // sub-function not supported in active session
	nrcServHere = 0x7F
)

// quiet are the codes an ECU keeps to itself when the request was functional (ISO 14229-1, 7.5.5).
var quiet = map[byte]bool{nrcService: true, nrcSub: true, nrcRange: true, nrcSubHere: true, nrcServHere: true}

// reply is what the tables make of a request: messages, or a negative response code, or nothing.
type reply struct {
	messages [][]byte
	negative byte
}

func say(b ...byte) reply   { return reply{messages: [][]byte{b}} }
func refuse(nrc byte) reply { return reply{negative: nrc} }

// plan is everything an ECU will do about one request, with times counted from the request.
type plan struct {
	messages [][]byte
	at       []time.Duration
}

// decide runs rules, tables and faults for one request.
func (e *ecu) decide(req []byte, functional bool) (p plan, fault framing, garbage bool) {
	key := string(req)
	e.asked[key]++
	latency := e.spec.Latency
	if e.spec.Jitter > 0 {
		latency += time.Duration(e.rnd.Int64N(int64(e.spec.Jitter)))
	}
	add := func(msg []byte) {
		p.messages = append(p.messages, msg)
		p.at = append(p.at, latency)
	}
	var r reply
	ruled, forced := false, false
	for i := range e.rules {
		ru := &e.rules[i]
		if !ru.on.match(req) {
			continue
		}
		if ru.Latency != nil {
			latency = *ru.Latency
		}
		if ru.Busy < 0 || e.asked[key] <= ru.Busy {
			add([]byte{0x7F, req[0], nrcBusy})
			return p, fault, false
		}
		for n := 0; ru.Pending < 0 && n < endlessPending || n < ru.Pending; n++ {
			add([]byte{0x7F, req[0], nrcPending})
			latency += ru.Every
		}
		switch {
		case ru.Silent, ru.Pending < 0:
			ruled = true
		case ru.negative != 0:
			r, ruled, forced = refuse(ru.negative), true, true
		case len(ru.messages) > 0:
			r, ruled = reply{messages: ru.messages}, true
		}
		break
	}
	if !ruled { // only now: a refused clearing must not clear
		r = e.lookup(req)
	}
	if r.negative != 0 && (forced || !functional || !quiet[r.negative]) {
		add([]byte{0x7F, req[0], r.negative})
	}
	f := &e.spec.Faults
	faulty := len(e.only) == 0 || matchAny(e.only, req)
	for _, m := range r.messages {
		if faulty {
			m = e.spoil(m)
		}
		add(m)
	}
	if !faulty {
		return p, fault, false
	}
	fault = framing{duplicate: f.Duplicate, dies: f.DiesAfter}
	if e.asked[key] <= f.DropTimes {
		fault.drop = f.Drop
	}
	return p, fault, f.Garbage
}

// endlessPending stands for ever: a day of 0x78 at the default pace would not fit a queue, and no tester waits for it.
const endlessPending = 1000

// spoil cuts or lengthens a message as the faults say; service byte and id stay.
func (e *ecu) spoil(m []byte) []byte {
	f := &e.spec.Faults
	m = m[:max(min(2, len(m)), len(m)-f.Cut)]
	return append(m[:len(m):len(m)], e.extra...)
}

// respond queues what an ECU says to one request.
func (v *Vehicle) respond(e *ecu, p *path, req []byte, functional bool, now time.Duration) {
	pl, fault, garbage := e.decide(req, functional)
	for i, m := range pl.messages {
		when := now + pl.at[i]
		if garbage {
			v.babble(e, p, when)
			continue
		}
		v.answer(e, p, m, when, fault)
	}
}

// babble queues three frames of arbitrary content on the answering identifier.
func (v *Vehicle) babble(e *ecu, p *path, when time.Duration) {
	for range 3 {
		b := make([]byte, 1+e.rnd.IntN(8))
		for i := range b {
			b[i] = byte(e.rnd.Uint32())
		}
		v.queue(e, p, when, frame.New(p.tx.id, p.tx.flags(), b...), false)
		when += 4 * frameTime
	}
}

// Legacy buses. A header is three bytes: format or priority, target, source (SAE J1979 for ISO 9141-2 and J1850; ISO 14230-4
// with the data length in the low six bits of the format byte).
const (
	tester       = 0xF1
	interMessage = 30 * time.Millisecond // between two messages of one ECU (P2 of ISO 9141-2 and 14230-2: 25..50 ms)
)

func (v *Vehicle) handleLegacy(f *frame.Frame, now time.Duration) {
	req := f.Bytes()
	target := byte(f.ID >> 8)
	functional := target == 0x33 && v.kwp() || target == 0x6A && !v.kwp()
	var heard []*ecu
	var names []string
	for _, e := range v.ecus {
		if len(req) > 0 && !e.dead && (functional || target == e.source) {
			heard = append(heard, e)
			names = append(names, e.spec.Name)
		}
	}
	if len(req) == 0 {
		return
	}
	v.log.add(Request{At: now, ID: f.IDString(), ECUs: names, Bytes: append([]byte(nil), req...)})
	for _, e := range heard {
		pl, _, _ := e.decide(req, functional)
		for i, m := range pl.messages {
			when := now + pl.at[i] + time.Duration(i)*interMessage
			v.queue(e, nil, when, frame.New(v.header(e, len(m)), frame.Legacy, m...), e.spec.Faults.Duplicate)
		}
	}
}

func (v *Vehicle) kwp() bool {
	return v.spec.Bus.Protocol == "iso14230-fast" || v.spec.Bus.Protocol == "iso14230-slow"
}

// header is what an ECU puts in front of an answer: 8n F1 xx, 48 6B xx, or on J1850 PWM 41 6B xx.
func (v *Vehicle) header(e *ecu, n int) uint32 {
	switch v.spec.Bus.Protocol {
	case "iso14230-fast", "iso14230-slow":
		return uint32(0x80|n&0x3F)<<16 | tester<<8 | uint32(e.source)
	case "j1850-pwm":
		return 0x416B00 | uint32(e.source)
	}
	return 0x486B00 | uint32(e.source)
}
