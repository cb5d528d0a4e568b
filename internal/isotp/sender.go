package isotp

import (
	"time"

	"obdgate/internal/frame"
)

// SendConfig is what a Sender is told once. The zero value sends classic frames with normal addressing, padded with 00.
type SendConfig struct {
	Ext     bool          // an address byte precedes the PCI
	Target  byte          // that byte, with Ext
	Source  byte          // the address byte in front of the receiver's flow control, with Ext
	FD      bool          // frames of up to 64 bytes
	Pad     Padding       // how frames are filled up
	Timeout time.Duration // N_Bs, 0 = DefaultTimeout
	MaxWait int           // wait frames in a row that are borne (N_WFTmax), 0 = 16
}

// DefaultMaxWait is how many wait frames in a row a Sender bears.
const DefaultMaxWait = 16

type sendState uint8

const (
	sendIdle  sendState = iota
	sendFirst           // the single or first frame is due
	sendFlow            // waiting for flow control
	sendRest            // consecutive frames are due, STmin apart
)

// Sender cuts one message into frames. It is a value stepped with time passed in: no clock, no goroutine, no I/O:
//
//	s.Start(payload, now); for s.Active() { send what Next gives; Push every flow control; Tick at Deadline }
//
// Not for concurrent use.
type Sender struct {
	cfg      SendConfig
	state    sendState
	rest     []byte
	length   int
	seq      byte
	block    byte // consecutive frames left in this block, with limited
	limited  bool
	stmin    time.Duration
	waits    int
	due      time.Duration // sendRest: when the next frame may leave
	deadline time.Duration // sendFlow: when the flow control is late
}

// NewSender makes a Sender.
func NewSender(cfg SendConfig) Sender {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = DefaultMaxWait
	}
	return Sender{cfg: cfg}
}

func (s *Sender) frameLen() int {
	if s.cfg.FD {
		return frame.MaxData
	}
	return classicDL
}

// Fits reports whether a message of n bytes leaves in a single frame.
func (s *Sender) Fits(n int) bool { return n <= singleCap(s.frameLen(), s.cfg.Ext) }

// Start begins a message. The payload is not copied and must not change until the Sender is no longer Active. The error
// is ErrEmpty, ErrTooLong or ErrBusy.
func (s *Sender) Start(payload []byte) error {
	limit := MaxClassic
	if s.cfg.FD {
		limit = MaxMessage
	}
	switch {
	case s.state != sendIdle:
		return ErrBusy
	case len(payload) == 0:
		return ErrEmpty
	case len(payload) > limit:
		return ErrTooLong
	}
	s.state, s.rest, s.length, s.seq, s.waits, s.due = sendFirst, payload, len(payload), 1, 0, 0
	return nil
}

// Active reports whether the message is still under way: neither sent whole nor given up.
func (s *Sender) Active() bool { return s.state != sendIdle }

// Reset gives the message up.
func (s *Sender) Reset() { s.state, s.rest = sendIdle, nil }

// Deadline is when the Sender wants to be stepped next: Next when a frame may leave, Tick when the flow control is late;
// false if nothing is under way.
func (s *Sender) Deadline() (time.Duration, bool) {
	switch s.state {
	case sendFirst, sendRest:
		return s.due, true
	case sendFlow:
		return s.deadline, true
	}
	return 0, false
}

// Next appends the frame that is due at now to dst and reports whether there was one. Call it until there is none.
func (s *Sender) Next(dst []byte, now time.Duration) ([]byte, bool) {
	if s.state != sendFirst && s.state != sendRest || now < s.due {
		return dst, false
	}
	p := PDU{Ext: s.cfg.Ext, Target: s.cfg.Target}
	n := s.frameLen()
	if s.cfg.Ext {
		n--
	}
	switch {
	case s.state == sendFirst && s.Fits(s.length):
		p.Kind, p.Length, p.Data = Single, s.length, s.rest
	case s.state == sendFirst:
		n -= 2
		if s.length > MaxClassic {
			n -= 4
		}
		p.Kind, p.Length, p.Data = First, s.length, s.rest[:n]
	default:
		p.Kind, p.Seq, p.Data = Consecutive, s.seq, s.rest[:min(n-1, len(s.rest))]
	}
	out, err := Append(dst, p)
	if err != nil { // unreachable: Start checked the length
		s.Reset()
		return dst, false
	}
	s.sent(p, now)
	return s.cfg.Pad.Append(out, len(dst)), true
}

func (s *Sender) sent(p PDU, now time.Duration) {
	s.rest = s.rest[len(p.Data):]
	if len(s.rest) == 0 {
		s.Reset()
		return
	}
	if p.Kind == First {
		s.awaitFlow(now)
		return
	}
	s.seq = (s.seq + 1) & 0xF
	s.due = now + s.stmin
	if s.limited {
		if s.block--; s.block == 0 {
			s.awaitFlow(now)
		}
	}
}

func (s *Sender) awaitFlow(now time.Duration) {
	s.state, s.deadline, s.waits = sendFlow, now+s.cfg.Timeout, 0
}

// Push takes the data bytes of a frame from the receiver of our message, seen at now. nil: the flow control was used.
// ErrUnexpected and ErrAddress: the frame does not matter, the message goes on. After any other error the message is
// given up and the Sender no longer Active.
func (s *Sender) Push(b []byte, now time.Duration) error {
	p, err := Decode(b, s.cfg.Ext)
	switch {
	case s.cfg.Ext && err != ErrEmpty && p.Target != s.cfg.Source:
		return ErrAddress
	case p.Kind != FlowControl || s.state != sendFlow:
		return ErrUnexpected
	case err != nil:
		s.Reset()
		return err
	}
	switch p.Flow.Status {
	case Wait:
		if s.waits++; s.waits > s.cfg.MaxWait {
			s.Reset()
			return ErrWaitLimit
		}
		s.deadline = now + s.cfg.Timeout
		return nil
	case Overflow:
		s.Reset()
		return ErrOverflow
	}
	s.state, s.due = sendRest, now
	s.block, s.limited, s.stmin = p.Flow.BlockSize, p.Flow.BlockSize > 0, p.Flow.STmin.Duration()
	return nil
}

// Tick gives the message up if the flow control is late: ErrTimeoutBs.
func (s *Sender) Tick(now time.Duration) error {
	if s.state != sendFlow || now < s.deadline {
		return nil
	}
	s.Reset()
	return ErrTimeoutBs
}
