package diag

import (
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
)

// Guard reports, as *Forbidden, that a frame begins a request that ask would refuse: a tester's frame, a recorded one for
// example, that might change something in a vehicle. Flow control, the later frames of a message, answers and broadcast
// frames are nil; so is a frame too short to begin anything. It looks at the identifiers testers send on: those of ISO
// 15765-4, of extended addressing (6F1), the whole range from 700 on and the makers' 29-bit requests (VW, Volvo), where
// only what begins a request counts, and at K-line and J1850 headers that name the tester as source.
func Guard(f *frame.Frame) error {
	b := f.Bytes()
	if f.Is(frame.Error) || f.Is(frame.Remote) || !fromTester(f) {
		return nil
	}
	switch {
	case f.Is(frame.Legacy):
		if len(b) == 0 || b[0]&0x40 != 0 {
			return nil
		}
		_, err := ask(b)
		return err
	case !f.Is(frame.Extended) && f.ID == extendedTester:
		b = b[min(1, len(b)):]
	}
	p, whole := request(b)
	if len(p) == 0 || p[0]&0x40 != 0 { // an answer
		return nil
	}
	if !whole && p[0] == 0x10 {
		return &Forbidden{Service: p[0]}
	}
	_, err := ask(p)
	return err
}

const extendedTester = 0x6F1

func fromTester(f *frame.Frame) bool {
	switch {
	case f.Is(frame.Legacy):
		return f.ID&0xFF == 0xF1
	case f.Is(frame.Extended):
		return f.ID == isotp.Functional29 || f.ID&0x1FFF00FF == 0x18DA00F1 || f.ID&0x1FFFFF00 == 0x17FC0000 || f.ID&0x1FF00000 == 0x1DD00000
	}
	return f.ID == extendedTester || f.ID >= 0x700
}

// request is what a single or first frame carries, from the service byte on; whole is false for a first frame. Frames that
// claim more than they hold are taken for what they hold: an ECU may.
func request(b []byte) (p []byte, whole bool) {
	if len(b) < 2 {
		return nil, true
	}
	n, rest := int(b[0]&0xF), b[1:]
	switch b[0] >> 4 {
	case 0:
		if n == 0 { // CAN FD
			n, rest = int(b[1]), b[2:]
		}
		return rest[:min(n, len(rest))], true
	case 1:
		rest = b[2:]
		if n == 0 && b[1] == 0 && len(b) > 6 { // a length of 32 bits
			rest = b[6:]
		}
		return rest, false
	}
	return nil, true
}
