// Package diag asks a vehicle one question and gathers what every ECU answers to it: messages put together from
// frames, refusals, requests for patience, answers that began and did not finish.
//
// It reads. A request that could change something is refused before the link sees it (ErrForbiddenService); clearing the
// fault memory has a way of its own, which takes no payload (Conn.Clear).
package diag

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

// Waiting times and limits (ISO 14229-2, ISO 15765-4; the numbers are those that work on real cars).
const (
	DefaultP2     = 120 * time.Millisecond // until every ECU has begun: 50 ms by the standard, plus a margin for the way
	beginBy       = 60 * time.Millisecond  // the same once the way is known: 50 ms, and 10 ms of silence behind
	DefaultP2Star = 5 * time.Second        // after "response pending"
	DefaultGap    = 25 * time.Millisecond  // between two requests, unless the first was answered by everybody
	DefaultTotal  = 60 * time.Second       // one question with all its repetitions

	MaxPending = 20 // "response pending" per ECU and question
	MaxBusy    = 6  // repetitions after "busy, repeat request"
	MaxECUs    = 64 // that are listened to in one question

	busyPause = 10 * time.Millisecond
)

// Options of a Conn; the zero value is right for a car.
type Options struct {
	// Tap sees every frame in and out, in order, with Seq (from 1), Dir and Time filled. It is called from within
	// Request and Find and must not call the Conn.
	Tap func(frame.Frame)
	// Logger gets ECUs, services, counts and sequence numbers, never payload bytes. nil logs nothing.
	Logger *slog.Logger

	// P2 is how long ECUs have to begin, 0 = DefaultP2; the link's latency is added. On a bus that is listened to directly the
	// wait ends 60 ms and what the slowest answer so far took behind the question, if that is sooner: a gateway delays all.
	P2     time.Duration
	P2Star time.Duration // 0 = DefaultP2Star
	// Gap is the least time between the starts of two requests, 0 = DefaultGap, negative = none. A question that was
	// answered by all it was meant for is followed by the next at once, until an ECU leaves such a next one unanswered.
	Gap   time.Duration
	Total time.Duration // 0 = DefaultTotal

	Pad       isotp.Padding // of the frames we send
	BlockSize byte          // that we ask for in flow control, 0 = all at once
	STmin     isotp.STmin   // that we ask for in flow control
	MaxLength int           // longest answer, 0 = 4095
}

// Target says whom to ask. Make one with Functional, Physical or a Bus that Find returned.
type Target struct {
	ID         uint32          // functional identifier; unused with Physical
	Extended   bool            // ID has 29 bits
	Legacy     bool            // ID is a three-byte header of K-line or J1850
	Ext        bool            // functional with extended addressing (BMW: 6F1, DF); only Pairs answer
	ExtTarget  byte            // the address byte, with Ext
	IsPhysical bool            // ask Addr alone
	Addr       isotp.Address   // the ECU, with IsPhysical
	Pairs      []isotp.Address // ECUs beyond those of ISO 15765-4 whose answers to a functional request are wanted
}

// The functional targets that ISO 15765-4 and the older buses have.
var (
	Functional11     = Target{ID: isotp.Functional11}
	Functional29     = Target{ID: isotp.Functional29, Extended: true}
	FunctionalLegacy = Target{ID: link.LegacyFunctional, Legacy: true} // ISO 9141-2, J1850 VPW, or what the adapter finds
	FunctionalKWP    = Target{ID: 0xC033F1, Legacy: true}              // ISO 14230; the length is put in when sending
	FunctionalPWM    = Target{ID: 0x616AF1, Legacy: true}              // J1850 PWM
)

// Physical is one ECU as a target.
func Physical(a isotp.Address) Target {
	if a.Legacy {
		return Target{ID: a.Tx, Legacy: true, IsPhysical: true, Addr: a}
	}
	return Target{IsPhysical: true, Addr: a}
}

// Request is one question.
type Request struct {
	To      Target
	Payload []byte // service byte first; must not change until Request returns
	// Expect is how many ECUs are known to have an answer; the question ends when so many have answered. 0 = unknown,
	// wait for everyone. A physical request always expects one.
	Expect int
	// Retried says that the caller asks again when nobody answers. An adapter then waits only as long as this vehicle has
	// been seen to need.
	Retried bool
	// Frames is how many frames the answers took when the same question was asked before, for adapters that wait less
	// when they know; 0 = unknown. Too small a number costs a repetition, never an answer.
	Frames int
}

// Answer is what one ECU said to one question.
type Answer struct {
	Addr isotp.Address
	// Payload is the whole message, service byte first; nil whenever Err is set. It belongs to the caller. See Legacy for
	// buses without ISO-TP.
	Payload []byte
	// Legacy: the message was joined from the short messages of a K-line or J1850 bus:
	//   - service 09 with numbered messages: 49, InfoType, 01, then the data bytes of messages 1, 2, .. in order. The third
	//     byte is the first message's number, not a count of items; leading filler zeros are still in it.
	//   - any other service: the first message as it is; of each further one all but the service byte. So 43 is followed
	//     by 6 bytes (three codes) per message and has no count byte.
	Legacy  bool
	From    []uint64 // sequence numbers of the frames that carried the answer (or what arrived of it)
	Asked   []uint64 // sequence numbers of the frames that carried the question, repetitions included; shared
	Repeats int      // further copies of this answer that were dropped
	// Err says why there is no Payload: *Negative, or an error that wraps ErrTimeout, ErrSequence, ErrShort, ErrOverlong,
	// ErrMismatch or ErrConflict.
	Err       error
	Got, Want int // bytes received and announced, for an answer that did not finish
}

// Errors of one ECU's answer, wrapped; test with errors.Is.
var (
	// ErrTimeout: the ECU began to answer, or asked for patience, and did not finish.
	ErrTimeout = errors.New("answer not finished")
	// ErrSequence: parts of the answer are missing, doubled or out of order.
	ErrSequence = errors.New("answer damaged on the way")
	// ErrShort: the answer ends before it has said what it answers.
	ErrShort = errors.New("answer too short")
	// ErrOverlong: the ECU announced more than a message may have.
	ErrOverlong = errors.New("answer too long")
	// ErrMismatch: the ECU answered something else than it was asked, and nothing better followed.
	ErrMismatch = errors.New("answer to another question")
	// ErrConflict: the ECU answered one question twice, differently.
	ErrConflict = errors.New("two different answers to one question")
)

// Conn asks questions over one link. It may be used from several goroutines; one question is on the bus at a time and
// the others wait. The link stays the caller's to close.
type Conn struct {
	link  link.Link
	o     Options
	log   *slog.Logger
	start time.Time
	turn  chan struct{} // holds the one token that allows talking

	seq    uint64
	seen   time.Duration // time of the newest frame, on links that are not bound to a clock
	p2     time.Duration
	p2star time.Duration
	slow   time.Duration // the longest that an ECU took to begin; 0 = none has answered

	ex      exchange
	peers   []*peer // every ECU that ever answered, kept for their buffers
	stats   Stats
	lastAsk time.Duration
	asked   bool   // lastAsk is valid
	stale   []byte // a question that ended before its answers did; nil when the bus is known to be quiet
	drain   bool   // the bus may not be quiet
	settled bool   // the last question was answered by all it was meant for
	hurried bool   // the running one follows it at once
	polite  bool   // somebody cannot bear that
	futile  int    // times it was thought so and was not
	// leftovers: parts of messages may come whose beginning belonged to the question before.
	leftovers bool
	timer     window
	out       []byte

	// Several ECUs at once (Together): the lanes of a hub, the hub of a lane.
	lanes   map[isotp.Address]*Conn
	hub     *Conn
	hubLock sync.Mutex // of the hub: held while a lane sends and while a frame is numbered
}

// Stats counts what was on the bus but answered nothing.
type Stats struct {
	Frames     uint64 // in and out
	Stray      uint64 // answers to questions we did not ask, and frames of identifiers that cannot answer
	Duplicates uint64 // frames and messages that came twice
	Unexpected uint64 // ISO-TP frames that fit no conversation
	Repeated   uint64 // requests put again
}

// New makes a Conn on an open link.
func New(l link.Link, o Options) *Conn {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.P2, DefaultP2)
	def(&o.P2Star, DefaultP2Star)
	def(&o.Gap, DefaultGap)
	def(&o.Total, DefaultTotal)
	c := &Conn{link: l, o: o, log: o.Logger, start: time.Now(), turn: make(chan struct{}, 1), p2: o.P2, p2star: o.P2Star}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.turn <- struct{}{}
	return c
}

// Stats returns the counts so far. It waits for the end of a question that is on the bus.
func (c *Conn) Stats() Stats {
	<-c.turn
	defer func() { c.turn <- struct{}{} }()
	return c.stats
}

// Asked returns the sequence numbers of the frames that carried the last question, repetitions included: also of a
// question that nobody answered. It waits for the end of a question that is on the bus.
func (c *Conn) Asked() []uint64 {
	<-c.turn
	defer func() { c.turn <- struct{}{} }()
	return append([]uint64(nil), c.ex.asked...)
}

// Request asks one question and returns one Answer per ECU that said anything to it, in the order they began. Silence is
// no answers and no error. An error is a fault of the link (it wraps link's sentinel), the end of ctx (it wraps
// ctx.Err()), or a refusal (ErrForbiddenService, or link.ErrUnsupported for a request longer than the link or a
// functional request can carry); answers complete by then are returned with it.
func (c *Conn) Request(ctx context.Context, r Request) ([]Answer, error) {
	q, err := ask(r.Payload)
	if err != nil {
		return nil, err
	}
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	defer func() { c.turn <- struct{}{} }()
	return c.request(ctx, q, r, false)
}

func (c *Conn) lock(ctx context.Context) error {
	select {
	case <-c.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the bus: %w", ctx.Err())
	}
}

// now is the protocols' clock.
func (c *Conn) now() time.Duration { return time.Since(c.start) }
