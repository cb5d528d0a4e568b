package elm327

import "time"

// pace is how fast a vehicle has been seen to answer, so that silence need not be waited for longer than makes sense.
type pace struct {
	slowest time.Duration // from the request to the first line, less the characters of both and the round trip of a command
}

// Bounds of the wait that is learned. ISO 15765-4 and 14229-2 give an ECU 50 ms to begin (P2); a vehicle whose slowest
// answer took less than a third of that is not waited for much longer, any other as long as by default.
const (
	paceLeast = 57 * time.Millisecond  // P2 and 7 ms for gateways: 14 units of AT ST
	paceMost  = 150 * time.Millisecond // who is given longer has asked for it: a "pending", or P2 in the answer to 10 01
	paceStep  = 20 * time.Millisecond  // it moves in steps: each new AT ST costs a command
)

// wait is how long to wait for a first answer where the standard wait is d, 0 = the adapter's own.
func (p *pace) wait(d time.Duration) time.Duration {
	if d == 0 || d > paceMost {
		return d
	}
	over := max(0, p.slowest*5/2+10*time.Millisecond-paceLeast)
	return min(d, paceLeast+(over+paceStep-1)/paceStep*paceStep)
}

// learn looks at the reply that a has just taken.
func (p *pace) learn(a *adapter) {
	if len(a.rep.at) == 0 || a.rep.waited || a.trip == 0 {
		return
	}
	took := a.rep.at[0] - a.asked - a.trip
	if a.baud > 0 {
		took -= time.Duration(len(a.rep.sent)+a.rep.ends[0]) * 10 * time.Second / time.Duration(a.baud)
	}
	p.slowest = max(p.slowest, took)
}

// remote reports whether a round trip takes longer than characters explain: a radio, or a network. Ending a wait by a
// character costs such a trip.
func (a *adapter) remote() bool {
	const text = 16 // characters of a short command with its answer and prompt
	d := a.trip
	if a.baud > 0 {
		d -= text * 10 * time.Second / time.Duration(a.baud)
	}
	return d > 6*time.Millisecond
}

// inLine decides whether a request goes out by STPX, which names header, data and the number of answers in one line: where
// it saves a change of header, or where the end of the answers could otherwise only be told by waiting. A header that is
// asked twice in a row is set instead: STPX has some twenty characters more than the bare question.
func (l *Link) inLine(j *job, p protocol) bool {
	a := l.a
	if !a.can.stn || a.can.noPX || p.kind() == legacy || j.hint.Ext != nil {
		return false
	}
	if a.remote() || l.proto == noProtocol {
		return true
	}
	now := a.have.header
	if now == 0 || a.have.proto != p {
		now = p.header()
	}
	return now != j.frame.ID && l.last != j.frame.ID
}
