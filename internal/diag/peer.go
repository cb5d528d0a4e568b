package diag

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"obdgate/internal/isotp"
)

// peer is one ECU in one question. Peers are kept from question to question for their buffers.
type peer struct {
	addr   isotp.Address
	rx     isotp.Receiver
	active bool // has said something to the running question

	running []uint64 // frames of the message under way
	drop    bool     // the message under way answers another question

	answered bool
	negative bool
	code     byte // with negative
	payload  []byte
	from     []uint64
	repeats  int
	conflict bool

	pending      int // times it said "response pending"
	waiting      bool
	pendingUntil time.Duration
	patience     time.Duration // when no further promise is accepted
	letDown      bool          // it has promised an answer before that never came; kept from question to question
	busy         bool
	busyCount    int
	mismatched   bool

	fail      error // why its message was lost
	failFrom  []uint64
	got, want int
	retried   bool // the one repetition after a lost message was made
	resends   int  // repetitions because the adapter stopped listening to a pending answer
	asked     int  // how often the question reached it

	lines []line // messages of a legacy bus
}

// line is one message of a legacy bus.
type line struct {
	data []byte
	seq  uint64
}

func (p *peer) reset() {
	p.rx.Reset()
	*p = peer{addr: p.addr, rx: p.rx, running: p.running[:0], payload: p.payload[:0], from: p.from[:0],
		failFrom: p.failFrom[:0], lines: p.lines[:0], letDown: p.letDown}
}

// receiving reports whether the end of the question has to wait for p.
func (p *peer) receiving() bool { return p.rx.Running() && !p.drop }

// lost notes that p's message did not arrive whole.
func (p *peer) lost(kind, cause error, seqs []uint64, got, want int) {
	if cause != nil {
		kind = fmt.Errorf("%w: %w", kind, cause)
	}
	p.fail, p.got, p.want = kind, got, want
	p.failFrom = append(p.failFrom[:0], seqs...)
}

// lostFor is the error that an ISO-TP violation means for the answer.
func lostFor(err error) error {
	switch {
	case errors.Is(err, isotp.ErrTimeoutCr):
		return ErrTimeout
	case errors.Is(err, isotp.ErrTooLong):
		return ErrOverlong
	}
	return ErrSequence
}

// finish takes p's final message. alone says that a second, different answer cannot be the fruit of a repetition.
func (p *peer) finish(m []byte, seqs []uint64, alone bool) {
	negative := m[0] == 0x7F
	switch {
	case p.answered && negative && !p.negative:
		p.repeats++ // has already answered: the refusal is of a repetition
		return
	case p.answered && bytes.Equal(m, p.payload):
		p.repeats++
		return
	case p.answered && !p.negative:
		p.repeats++
		p.conflict = p.conflict || alone
		return
	}
	p.letDown = p.letDown && p.pending == 0
	p.answered, p.negative, p.waiting, p.busy = true, negative, false, false
	if negative {
		p.code = m[2]
	}
	p.payload = append(p.payload[:0], m...)
	p.from = append(p.from[:0], seqs...)
}

// answer is what the caller gets; ok is false if p said nothing that counts.
func (p *peer) answer(service byte, asked []uint64) (a Answer, ok bool) {
	a = Answer{Addr: p.addr, Legacy: p.addr.Legacy, Asked: asked, Repeats: p.repeats}
	switch {
	case p.answered && p.conflict:
		a.Err, a.Got, a.Want = ErrConflict, len(p.payload), len(p.payload)
	case p.answered && p.negative:
		a.Err = &Negative{Service: service, Code: p.code}
	case p.answered:
		a.Payload = bytes.Clone(p.payload)
	case p.fail != nil:
		a.Err, a.Got, a.Want = p.fail, p.got, p.want
		a.From = append(a.From, p.failFrom...)
		return a, true
	case p.busyCount > 0 || p.busy:
		a.Err = &Negative{Service: service, Code: nrcBusy}
	case p.mismatched:
		a.Err = ErrMismatch
	default:
		return a, false
	}
	a.From = append(a.From, p.from...)
	return a, true
}
