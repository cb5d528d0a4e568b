// Package bus is a CAN bus between two links on which things go wrong: frames are lost, come twice or behind the next
// one, flow control is held up, somebody babbles. It has the time of a wire, too: with a bit rate one frame is on it at a
// time, the lowest identifier first.
//
// Bus is a value stepped with time passed in; Serve runs one between any two links, real or in memory.
package bus

import (
	"math/rand/v2"
	"time"

	"obdgate/internal/frame"
)

// Side is one end of the bus.
type Side uint8

// The sides. A virtual vehicle sits on the right one.
const (
	Left Side = iota
	Right
)

// Other is the other end.
func (s Side) Other() Side { return s ^ 1 }

// Plan says what goes wrong. Shares are from 0 to 1 and hold for the frames of both directions that Only lets through.
type Plan struct {
	Loss      float64       // share of frames that are lost
	Duplicate float64       // share that arrives twice, one right behind the other
	Reorder   float64       // share that arrives behind the next frame of its direction, or 5 ms late where none follows
	Delay     time.Duration // every frame arrives so late
	Only      Which         // frames concerned by the shares above

	Waits    int           // wait frames (ISO 15765-2 flow status 1) in front of each flow control
	WaitGap  time.Duration // between two of them, 0 = 20 ms
	MuteAt   int           // after so many frames of the right side nothing comes from there...
	MuteFor  time.Duration // ...for this long, 0 = for ever
	Babble   bool          // somebody sends without pause
	BabbleID uint32        // on this identifier, bytes without meaning; above 7FF it has 29 bits

	Rate     int // nominal bit rate in bit/s, 0 = frames take no time
	DataRate int // of CAN FD frames with bit-rate switch, 0 = Rate
	Seed     uint64
}

// Which frames a fault concerns.
type Which uint8

const (
	All         Which = iota
	Consecutive       // consecutive frames of ISO 15765-2, with or without an address byte
	FromRight         // those of the vehicle
)

const (
	reorderMost = 5 * time.Millisecond
	waitGap     = 20 * time.Millisecond
	babbleGap   = 222 * time.Microsecond // back to back frames of 8 bytes at 500 kbit/s, where frames take no time
)

// Stats are what a bus did.
type Stats struct {
	Carried, Lost, Doubled, Reordered, Waits, Muted, Babble uint64
}

// Bus is the bus. It is not for concurrent use.
type Bus struct {
	plan  Plan
	rnd   *rand.Rand
	queue []transit   // waiting for the bus, in the order of seq
	held  [2]*transit // taken out until the next one has gone
	seq   uint64
	free  time.Duration // when the frame on the bus is over, with Rate
	right int           // frames that came from the right side
	muted time.Duration // until when nothing comes from there
	next  time.Duration // of the babbler
	stats Stats
}

// transit is a frame on its way.
type transit struct {
	f     frame.Frame
	to    Side
	ready time.Duration
	seq   uint64
}

// New makes a bus.
func New(p Plan) *Bus {
	if p.WaitGap <= 0 {
		p.WaitGap = waitGap
	}
	if p.DataRate <= 0 {
		p.DataRate = p.Rate
	}
	return &Bus{plan: p, rnd: rand.New(rand.NewPCG(p.Seed, 15765))}
}

// Stats returns the counts so far.
func (b *Bus) Stats() Stats { return b.stats }

// Push is a frame that one side sends at now.
func (b *Bus) Push(from Side, f frame.Frame, now time.Duration) {
	f.Seq, f.Dir, f.Bus, f.Time = 0, frame.Received, 0, 0
	if from == Right && b.mute(now) {
		b.stats.Muted++
		return
	}
	p := &b.plan
	t := transit{f: f, to: from.Other(), ready: now + p.Delay}
	concerned := p.Only.has(&f, from)
	// Every draw is made for every frame, so that one share does not change what another one hits.
	lost, twice, late := b.rnd.Float64() < p.Loss, b.rnd.Float64() < p.Duplicate, b.rnd.Float64() < p.Reorder
	if !concerned {
		lost, twice, late = false, false, false
	}
	if lost {
		b.stats.Lost++
		return
	}
	if at, ok := flowControl(&f); ok {
		for range p.Waits {
			w := t
			w.f.Data[at] = 0x31
			b.put(w)
			b.stats.Waits++
			t.ready += p.WaitGap
		}
	}
	side := t.to
	if late && b.held[side] == nil {
		b.stats.Reordered++
		t.ready += reorderMost
		b.held[side] = &t
		return
	}
	b.put(t)
	if twice {
		b.stats.Doubled++
		b.put(t)
	}
	if h := b.held[side]; h != nil {
		h.ready = t.ready
		b.held[side] = nil
		b.put(*h)
	}
}

// mute counts the frames of the right side and reports whether this one is swallowed.
func (b *Bus) mute(now time.Duration) bool {
	p := &b.plan
	if p.MuteAt <= 0 {
		return false
	}
	if b.right++; b.right <= p.MuteAt {
		return false
	}
	if b.right == p.MuteAt+1 {
		b.muted = now + p.MuteFor
	}
	return p.MuteFor == 0 || now < b.muted
}

func (w Which) has(f *frame.Frame, from Side) bool {
	switch w {
	case Consecutive:
		n := f.Bytes()
		return len(n) > pci(f) && n[pci(f)]>>4 == 2
	case FromRight:
		return from == Right
	}
	return true
}

// flowControl finds the byte that says "continue" in a flow control frame.
func flowControl(f *frame.Frame) (at int, ok bool) {
	n := f.Bytes()
	at = pci(f)
	return at, len(n) >= at+3 && n[at] == 0x30
}

// pci is where the protocol control byte of ISO 15765-2 stands: in front with the identifiers of normal addressing
// (11-bit from 700 on, 29-bit 18DA and 18DB), behind an address byte with all others (BMW, MINI: 6xx; mixed: 18CE).
func pci(f *frame.Frame) int {
	if f.Is(frame.Extended) && f.ID>>16 != 0x18DA && f.ID>>16 != 0x18DB || !f.Is(frame.Extended) && f.ID < 0x700 {
		return 1
	}
	return 0
}

func (b *Bus) put(t transit) {
	b.seq++
	t.seq = b.seq
	b.queue = append(b.queue, t)
}

// Due is when Next wants to be called next, false while nothing is on its way.
func (b *Bus) Due() (time.Duration, bool) {
	_, at, ok := b.pick()
	for _, h := range b.held {
		if h != nil && (!ok || h.ready < at) {
			at, ok = h.ready, true
		}
	}
	return at, ok
}

// pick chooses what is on the bus next and says when it has arrived; index -1 is the babbler.
func (b *Bus) pick() (index int, at time.Duration, ok bool) {
	begin := time.Duration(-1)
	earliest := func(ready time.Duration) {
		if begin < 0 || ready < begin {
			begin = ready
		}
	}
	for i := range b.queue {
		earliest(b.queue[i].ready)
	}
	if b.plan.Babble {
		earliest(b.next)
	}
	if begin < 0 {
		return 0, 0, false
	}
	if b.plan.Rate > 0 {
		begin = max(begin, b.free)
	}
	index = -2
	for i := range b.queue {
		t := &b.queue[i]
		if t.ready <= begin && (index < 0 || b.urgent(t, &b.queue[index])) {
			index = i
		}
	}
	if b.plan.Babble && b.next <= begin && (index < 0 || b.plan.Rate > 0 && priority(b.babble()) < priority(b.queue[index].f)) {
		index = -1
	}
	f := b.babble()
	if index >= 0 {
		f = b.queue[index].f
	}
	if b.plan.Rate > 0 {
		begin += f.Occupies(b.plan.Rate, b.plan.DataRate)
	}
	return index, begin, true
}

// release queues a held frame that nothing followed.
func (b *Bus) release(now time.Duration) {
	for i, h := range b.held {
		if h != nil && h.ready <= now {
			b.held[i] = nil
			b.put(*h)
		}
	}
}

// urgent reports whether t goes before u: by identifier where the wire takes time (arbitration, ISO 11898-1), else by time.
func (b *Bus) urgent(t, u *transit) bool {
	if b.plan.Rate > 0 && priority(t.f) != priority(u.f) {
		return priority(t.f) < priority(u.f)
	}
	if b.plan.Rate == 0 && t.ready != u.ready {
		return t.ready < u.ready
	}
	return t.seq < u.seq
}

// priority orders identifiers as arbitration does: an 11-bit one wins over a 29-bit one that begins alike.
func priority(f frame.Frame) uint32 {
	if f.Is(frame.Extended) {
		return f.ID<<1 | 1
	}
	return f.ID << 19
}

func (b *Bus) babble() frame.Frame {
	return frame.New(b.plan.BabbleID, 0, 0xA5, 0x5A, 0xA5, 0x5A, 0xA5, 0x5A, 0xA5, 0x5A)
}

// Arrival is a frame at the end of its way.
type Arrival struct {
	Frame frame.Frame
	To    Side
	Both  bool // both sides hear it
}

// Next gives the next frame that has arrived by now, false if there is none yet.
func (b *Bus) Next(now time.Duration) (Arrival, bool) {
	b.release(now)
	index, at, ok := b.pick()
	if !ok || at > now {
		return Arrival{}, false
	}
	b.free = at
	if index < 0 {
		b.stats.Babble++
		b.next = at
		if b.plan.Rate == 0 {
			b.next = max(at, now-10*babbleGap) + babbleGap // what could not be sent in time is not made up for
		}
		return Arrival{Frame: b.babble(), Both: true}, true
	}
	t := b.queue[index]
	b.queue = append(b.queue[:index], b.queue[index+1:]...)
	b.stats.Carried++
	return Arrival{Frame: t.f, To: t.to}, true
}
