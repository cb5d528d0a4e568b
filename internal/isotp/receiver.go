package isotp

import (
	"bytes"
	"time"
)

// DefaultTimeout is N_Bs and N_Cr of ISO 15765-2.
const DefaultTimeout = time.Second

// Config is what a Receiver is told once. The zero value receives classic messages of up to 4095 bytes with normal
// addressing and asks for all frames at once.
type Config struct {
	Ext       bool          // frames carry an address byte
	Target    byte          // the address byte that is ours, with Ext
	Max       int           // longest message in bytes, 0 = 4095; above 4095 it holds for CAN FD only, at most MaxMessage
	BlockSize byte          // consecutive frames between two flow controls, 0 = all
	STmin     STmin         // least time between consecutive frames
	Timeout   time.Duration // N_Cr, 0 = DefaultTimeout
	Passive   bool          // listening to somebody else's conversation: flow control is never asked for
}

// Receiver puts the messages of one sender together. It is a value stepped with time passed in: no clock, no goroutine,
// no I/O. Times are durations since any fixed moment. It allocates only while its buffer grows, and the buffer grows
// with the bytes that arrive, never with what a first frame announces. Not for concurrent use.
type Receiver struct {
	cfg      Config
	buf      []byte
	want     int // bytes of the running message, 0 = none
	frameLen int // CAN_DL of its first frame, which all but the last consecutive frames must have
	next     byte
	block    byte // consecutive frames left in this block, with BlockSize
	last     [64]byte
	lastLen  int
	deadline time.Duration
}

// NewReceiver makes a Receiver. buf is used for its messages and may be nil; it must not be used by others meanwhile.
func NewReceiver(cfg Config, buf []byte) Receiver {
	if cfg.Max <= 0 {
		cfg.Max = MaxClassic
	}
	cfg.Max = min(cfg.Max, MaxMessage)
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	return Receiver{cfg: cfg, buf: buf[:0]}
}

// Event is what one frame led to. Several things can be true at once: a new first frame in the middle of a message
// loses that message (Lost, Err) and asks for flow control (Reply).
type Event struct {
	Kind    Kind   // what the frame was, NoPDU if it could not be read or is not ours
	Message []byte // a complete message, valid until the next Push; nil otherwise
	Reply   bool   // Flow must be sent now
	Flow    Flow
	Began   bool  // a multi-frame message began with this frame
	Used    bool  // the frame is part of a message, running or complete
	Lost    bool  // the message that was running is given up, for the reason Err
	Err     error // one of the package's errors; without Lost it is about this frame alone
	Got     int   // bytes so far of the running, complete or lost message
	Want    int   // bytes announced for it
}

// Running reports whether a message is under way.
func (r *Receiver) Running() bool { return r.want > 0 }

// Partial is what has arrived of the running message, nil if there is none. It is valid until the next Push; a caller
// may look whether it wants the rest, never take it for a message.
func (r *Receiver) Partial() []byte {
	if r.want == 0 {
		return nil
	}
	return r.buf
}

// Progress is how many bytes of the running message have arrived and how many were announced; 0, 0 if there is none.
func (r *Receiver) Progress() (got, want int) {
	if r.want == 0 {
		return 0, 0
	}
	return len(r.buf), r.want
}

// Deadline is when the running message is given up unless a frame comes; false if none is running.
func (r *Receiver) Deadline() (time.Duration, bool) { return r.deadline, r.want > 0 }

// Reset forgets the running message.
func (r *Receiver) Reset() { r.want, r.lastLen, r.buf = 0, 0, r.buf[:0] }

// Tick gives the running message up if its deadline has passed; the event then has Lost and ErrTimeoutCr.
func (r *Receiver) Tick(now time.Duration) (e Event) {
	r.tick(&e, now)
	return e
}

func (r *Receiver) tick(e *Event, now time.Duration) {
	if r.want > 0 && now >= r.deadline {
		r.lose(e, ErrTimeoutCr)
	}
}

func (r *Receiver) lose(e *Event, err error) {
	e.Lost, e.Err, e.Got, e.Want = true, err, len(r.buf), r.want
	r.Reset()
}

// Push takes the data bytes of the next frame of this sender, seen at now.
func (r *Receiver) Push(b []byte, now time.Duration) (e Event) {
	p, err := Decode(b, r.cfg.Ext)
	if r.cfg.Ext && err != ErrEmpty && p.Target != r.cfg.Target {
		e.Err = ErrAddress
		return e
	}
	r.tick(&e, now)
	e.Kind = p.Kind
	switch {
	case err != nil:
		r.unreadable(&e, err)
	case p.Kind == Single:
		if r.want > 0 {
			r.lose(&e, ErrUnexpected)
		}
		r.buf, r.lastLen = append(r.buf[:0], p.Data...), 0
		e.Message, e.Used, e.Got, e.Want = r.buf, true, p.Length, p.Length
	case p.Kind == First:
		r.first(&e, &p, b, now)
	case p.Kind == Consecutive:
		r.consecutive(&e, &p, b, now)
	}
	return e // flow control is the Sender's
}

// unreadable: unknown kinds are ignored as the standard wants; a damaged frame of the message's own kind ends it.
func (r *Receiver) unreadable(e *Event, err error) {
	switch {
	case r.want > 0 && e.Kind == Consecutive:
		r.lose(e, err)
	case !e.Lost:
		e.Err = err
	}
}

func (r *Receiver) first(e *Event, p *PDU, b []byte, now time.Duration) {
	if r.want > 0 {
		if r.next == 1 && bytes.Equal(b, r.last[:r.lastLen]) {
			e.Err = ErrDuplicate // the sender did not see our flow control
		} else {
			r.lose(e, ErrUnexpected)
		}
	}
	limit := r.cfg.Max
	if len(b) <= classicDL {
		limit = min(limit, MaxClassic)
	}
	if p.Length > limit {
		r.Reset()
		if !e.Lost {
			e.Err, e.Got, e.Want = ErrTooLong, 0, p.Length
		}
		e.Flow, e.Reply = Flow{Status: Overflow}, !r.cfg.Passive
		return
	}
	r.buf = append(r.buf[:0], p.Data...)
	r.want, r.frameLen, r.next = p.Length, len(b), 1
	r.keep(b)
	e.Began, e.Used = true, true
	if !e.Lost {
		e.Got, e.Want = len(r.buf), r.want
	}
	r.block = r.cfg.BlockSize
	r.deadline = now + r.cfg.Timeout
	r.goOn(e)
}

func (r *Receiver) goOn(e *Event) {
	e.Flow, e.Reply = Flow{BlockSize: r.cfg.BlockSize, STmin: r.cfg.STmin}, !r.cfg.Passive
}

func (r *Receiver) keep(b []byte) { r.lastLen = copy(r.last[:], b) }

func (r *Receiver) consecutive(e *Event, p *PDU, b []byte, now time.Duration) {
	switch {
	case r.want == 0:
		r.nobodyWaits(e, b)
		return
	case p.Seq != r.next:
		if p.Seq == (r.next-1)&0xF && bytes.Equal(b, r.last[:r.lastLen]) {
			e.Err, e.Got, e.Want = ErrDuplicate, len(r.buf), r.want
			return
		}
		r.lose(e, ErrSequence)
		return
	}
	rest := r.want - len(r.buf)
	if len(p.Data) < rest && len(b) != r.frameLen || len(b) > r.frameLen {
		r.lose(e, ErrLength)
		return
	}
	r.buf = append(r.buf, p.Data[:min(rest, len(p.Data))]...)
	r.keep(b)
	r.next = (r.next + 1) & 0xF
	r.deadline = now + r.cfg.Timeout
	e.Used, e.Got, e.Want = true, len(r.buf), r.want
	if len(r.buf) == r.want {
		r.want = 0
		e.Message = r.buf
		return
	}
	if r.cfg.BlockSize > 0 {
		if r.block--; r.block == 0 {
			r.block = r.cfg.BlockSize
			r.goOn(e)
		}
	}
}

func (r *Receiver) nobodyWaits(e *Event, b []byte) {
	switch {
	case e.Lost:
	case r.lastLen > 0 && bytes.Equal(b, r.last[:r.lastLen]):
		e.Err = ErrDuplicate
	default:
		e.Err = ErrUnexpected
	}
}
