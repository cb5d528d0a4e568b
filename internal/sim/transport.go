package sim

import (
	"time"

	"obdgate/internal/frame"
)

// The transport of ISO 15765-2 as an ECU does it. It is written apart from package isotp on purpose: a simulator that
// shares the tester's codec hides that codec's bugs.

// maxMessage is the longest message a first frame with a 12-bit length announces.
const maxMessage = 4095

// Times of ISO 15765-2 and of the model.
const (
	timeoutBs   = time.Second            // waiting for the tester's flow control
	timeoutCr   = time.Second            // waiting for the tester's next consecutive frame
	flowLatency = 500 * time.Microsecond // own flow control after a first frame
	frameTime   = 250 * time.Microsecond // one frame on the bus at 500 kbit/s
)

// receiver gathers a long request.
type receiver struct {
	active bool
	want   int
	data   []byte
	next   byte
	left   int // frames until the next flow control, with a block size
	until  time.Duration
}

// sender is a long answer under way, waiting for the tester's flow control.
type sender struct {
	waiting bool
	data    []byte // rest, not yet queued
	next    byte
	until   time.Duration
	frames  int // queued so far, for the faults
	fault   framing
}

// framing are the faults of one answer on the way to the bus.
type framing struct {
	duplicate bool
	drop      int // number of the consecutive frame that is left out, 0 = none
	dies      int // frames until the ECU falls silent, 0 = never
}

// room is what a single frame holds: seven bytes, six behind an address byte.
func (p *path) room() int {
	if p.tx.ext {
		return 6
	}
	return 7
}

// frame builds a frame of this path from PCI and data.
func (v *Vehicle) pathFrame(e *ecu, p *path, bytes ...byte) frame.Frame {
	var buf [8]byte
	b := buf[:0]
	if p.tx.ext {
		b = append(b, p.tx.extByte)
	}
	b = append(b, bytes...)
	for len(b) < 8 && !e.short {
		b = append(b, e.pad)
	}
	return frame.New(p.tx.id, p.tx.flags(), b...)
}

// answer starts sending one message at the given time.
func (v *Vehicle) answer(e *ecu, p *path, msg []byte, when time.Duration, fault framing) {
	if len(msg) <= p.room() {
		v.queue(e, p, when, v.pathFrame(e, p, append([]byte{byte(len(msg))}, msg...)...), fault.duplicate)
		return
	}
	first := append([]byte{0x10 | byte(len(msg)>>8), byte(len(msg))}, msg[:p.room()-1]...)
	v.queue(e, p, when, v.pathFrame(e, p, first...), fault.duplicate)
	p.out = sender{waiting: true, data: msg[p.room()-1:], next: 1, until: when + timeoutBs, frames: 1, fault: fault}
	if fault.dies == 1 {
		p.out = sender{}
		e.dead = true
	}
}

// flow handles the tester's flow control: bytes are the PCI and what follows.
func (v *Vehicle) flow(e *ecu, p *path, b []byte, now time.Duration) {
	s := &p.out
	if !s.waiting || now >= s.until || len(b) < 3 {
		return
	}
	switch b[0] & 0x0F {
	case 0:
	case 1:
		s.until = now + timeoutBs
		return
	default:
		*s = sender{}
		return
	}
	gap := max(e.spec.Gap, separation(b[2]))
	when := now + e.spec.Gap
	for n := 0; len(s.data) > 0 && (b[1] == 0 || n < int(b[1])); n++ {
		part := s.data[:min(len(s.data), p.room())]
		s.data = s.data[len(part):]
		if s.fault.drop != s.frames {
			v.queue(e, p, when, v.pathFrame(e, p, append([]byte{0x20 | s.next&0x0F}, part...)...), s.fault.duplicate)
		}
		s.next++
		s.frames++
		when += gap
		if s.fault.dies > 0 && s.frames >= s.fault.dies {
			*s = sender{}
			e.dead = true
			return
		}
	}
	s.until = when + timeoutBs
	s.waiting = len(s.data) > 0
}

// separation is STmin as a duration (ISO 15765-2): 00..7F milliseconds, F1..F9 hundreds of microseconds, else 127 ms.
func separation(b byte) time.Duration {
	switch {
	case b <= 0x7F:
		return time.Duration(b) * time.Millisecond
	case b >= 0xF1 && b <= 0xF9:
		return time.Duration(b-0xF0) * 100 * time.Microsecond
	}
	return 127 * time.Millisecond
}

// first begins a long request: b is PCI and data of a first frame.
func (v *Vehicle) first(e *ecu, p *path, b []byte, now time.Duration) {
	want := int(b[0]&0x0F)<<8 | int(b[1])
	if want <= p.room() {
		return
	}
	p.in = receiver{active: true, want: want, data: append([]byte(nil), b[2:]...), next: 1, left: int(e.bs), until: now + timeoutCr}
	v.allow(e, p, now)
}

func (v *Vehicle) allow(e *ecu, p *path, now time.Duration) {
	v.queue(e, p, now+flowLatency, v.pathFrame(e, p, 0x30, e.bs, e.stmin), false)
}

// consecutive adds a frame to a long request and returns the request when it is whole.
func (v *Vehicle) consecutive(e *ecu, p *path, b []byte, now time.Duration) []byte {
	r := &p.in
	if !r.active {
		return nil
	}
	if now >= r.until || b[0]&0x0F != r.next&0x0F {
		*r = receiver{}
		return nil
	}
	r.data = append(r.data, b[1:]...)
	r.next++
	r.until = now + timeoutCr
	if len(r.data) >= r.want {
		msg := r.data[:r.want]
		*r = receiver{}
		return msg
	}
	if e.bs > 0 {
		if r.left--; r.left == 0 {
			r.left = int(e.bs)
			v.allow(e, p, now)
		}
	}
	return nil
}
