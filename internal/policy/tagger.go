package policy

import (
	"maps"
	"time"

	"obdgate/dbc"
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
)

// Bounds of what a Tagger remembers, whatever the traffic.
const (
	maxSessions = 512              // senders of diagnostic messages followed at a time
	maxHeld     = 8192             // frames held back until their message is complete
	maxHold     = 10 * time.Second // and for how long, in the stream's own time
)

// Tagger decides on frames in the order they come. A frame of a longer diagnostic message is held back until the message
// is complete, because only then it is known what its bytes mean; frames behind it wait, so that frames leave in the
// order they came. What never completes is personal.
//
// It is a value stepped with frames: no clock, no goroutine, no I/O. Time is the frames' own, so that a recording and the
// live bus it was made from give the same tags. Memory is bounded: at most 8192 frames and 512 conversations; in the
// steady state nothing is allocated. Not for concurrent use.
type Tagger struct {
	l    *layout
	b    *broadcast
	std  [2048]role
	ext  map[uint32]role
	pair map[uint64]uint64 // request key -> answer key, of configured pairs

	places map[uint64][]knownPlace // answer key -> Expect
	makers *makers                 // WithMakers, else nil

	sessions map[uint64]*session
	asked    [256]buses // extended addressing: ECUs somebody spoke to on 6F1, and on which buses
	serial   uint64     // questions so far
	clock    uint64     // frames so far, for choosing whom to forget
	all      [2]question
	allBus   [2]uint8

	held     []slot // ring; its length is a power of two
	first    uint64 // number of the oldest held frame
	next     uint64 // number of the next one
	deadline time.Duration
	running  int
	marks    marks
}

// buses is a set of bus numbers.
type buses [4]uint64

func (b *buses) add(bus uint8)      { b[bus>>6] |= 1 << (bus & 63) }
func (b *buses) has(bus uint8) bool { return b[bus>>6]>>(bus&63)&1 == 1 }

// slot is one held frame.
type slot struct {
	f        frame.Frame
	ft       FrameTag
	owner    *session // undecided: the conversation it belongs to
	prev     uint64   // the frame of the same message before it, plus one; 0 = none
	off, n   int      // its part of the message
	pos      int      // where in the frame that part begins
	undecide bool
}

// Option changes what a Tagger follows.
type Option func(*Tagger)

// WithPairs makes the Tagger follow further request and answer identifiers as diagnostic conversations, beyond those of
// ISO 15765-4 and BMW's extended addressing. Pairs come from data (a maker's table), never from arithmetic.
func WithPairs(pairs ...isotp.Address) Option {
	return func(t *Tagger) {
		for _, a := range pairs {
			t.Follow(a)
		}
	}
}

// NewTagger makes a Tagger for a policy and a broadcast database; nil means none, every broadcast frame is then
// unclassified.
func NewTagger(p *Policy, db *dbc.Database, opts ...Option) *Tagger {
	t := &Tagger{
		l: p.layout(), b: newBroadcast(p, db), ext: map[uint32]role{}, pair: map[uint64]uint64{},
		sessions: make(map[uint64]*session, 32), held: make([]slot, 64), marks: make(marks, isotp.MaxClassic),
	}
	t.std[isotp.Functional11] = toAll
	for id := 0x7E0; id <= 0x7E7; id++ {
		t.std[id], t.std[id+8] = toECU, fromECU
	}
	t.std[extTester] = toExt
	for id := extBase; id < extBase+0x100; id++ {
		if id != extTester {
			t.std[id] = fromExt
		}
	}
	for _, o := range opts {
		o(t)
	}
	return t
}

// Fresh returns a Tagger of the same policy, database, pairs, places and makers that has seen nothing. What was compiled is
// shared, so that it costs little. t must not be in use meanwhile.
func (t *Tagger) Fresh() *Tagger {
	f := &Tagger{
		l: t.l, b: t.b, std: t.std, ext: maps.Clone(t.ext), pair: maps.Clone(t.pair), places: maps.Clone(t.places),
		sessions: make(map[uint64]*session, 32), held: make([]slot, 64), marks: make(marks, isotp.MaxClassic),
	}
	if t.makers != nil {
		f.makers = &makers{of: t.makers.of, std: t.makers.std, ext: t.makers.ext}
	}
	return f
}

// Follow adds one pair while the stream runs, as diag learns it.
func (t *Tagger) Follow(a isotp.Address) {
	if a.Legacy || a.Ext && a.Tx == extTester {
		return
	}
	tx, rx := toECU, fromECU
	if a.Ext {
		tx, rx = toOther, fromOther
	}
	if a.Extended29 {
		if _, isOBD := obd29(a.Rx); isOBD {
			return
		}
		t.ext[a.Tx], t.ext[a.Rx] = tx, rx
	} else {
		if a.Tx > frame.MaxStandardID || a.Rx > frame.MaxStandardID || t.std[a.Rx&0x7FF] == fromECU && a.Rx >= 0x7E8 {
			return
		}
		t.std[a.Tx], t.std[a.Rx] = tx, rx
	}
	t.pair[sessionKey(a.Tx, a.Extended29, 0, a.Ext, a.TxTarget)] = sessionKey(a.Rx, a.Extended29, 0, a.Ext, a.RxTarget)
}

// Push takes the next frame. emit is called for every frame that is decided, in the order of the frames, perhaps for none
// and perhaps for many; the frame it is given is valid until it returns.
func (t *Tagger) Push(f *frame.Frame, emit func(*frame.Frame, FrameTag)) {
	t.clock++
	if t.first != t.next {
		t.expire(f.Time)
		t.drain(emit)
	}
	ft, wait := t.step(f)
	switch {
	case wait:
		t.drain(emit)
	case t.first == t.next:
		emit(f, ft)
	default:
		s := t.hold(f)
		s.ft = ft
		t.drain(emit)
	}
}

// Expire tells the Tagger that the stream's clock has reached now without a frame: messages that are overdue are given
// up. A live reader calls it when the bus is quiet; a recording needs it not, the next frame's time has the same effect.
func (t *Tagger) Expire(now time.Duration, emit func(*frame.Frame, FrameTag)) {
	if t.first != t.next {
		t.expire(now)
		t.drain(emit)
	}
}

// Flush ends the stream: what is incomplete is personal, everything held is emitted, and the Tagger is as new.
func (t *Tagger) Flush(emit func(*frame.Frame, FrameTag)) {
	for _, s := range t.sessions {
		t.lose(s)
	}
	t.drain(emit)
	clear(t.sessions)
	t.asked, t.all, t.serial, t.running = [256]buses{}, [2]question{}, 0, 0
	if t.makers != nil {
		t.makers.buses = [256]vehicle{}
	}
}

// Held is the number of frames waiting for their message to complete.
func (t *Tagger) Held() int { return int(t.next - t.first) }

func (t *Tagger) slot(n uint64) *slot { return &t.held[n&uint64(len(t.held)-1)] }

// hold puts f at the end of the ring; at the limit, the oldest message is given up.
func (t *Tagger) hold(f *frame.Frame) *slot {
	if t.next-t.first == uint64(len(t.held)) {
		t.grow()
	}
	s := t.slot(t.next)
	s.f, s.ft, s.owner, s.prev, s.undecide = *f, FrameTag{}, nil, 0, false
	t.next++
	return s
}

func (t *Tagger) grow() {
	bigger := make([]slot, 2*len(t.held))
	for n := t.first; n != t.next; n++ {
		bigger[n&uint64(len(bigger)-1)] = *t.slot(n)
	}
	t.held = bigger
}

func (t *Tagger) drain(emit func(*frame.Frame, FrameTag)) {
	for t.next-t.first >= maxHeld && t.slot(t.first).undecide {
		t.lose(t.slot(t.first).owner)
	}
	for t.first != t.next {
		s := t.slot(t.first)
		if s.undecide {
			return
		}
		emit(&s.f, s.ft)
		t.first++
	}
}

// expire gives up every message that is overdue at now: no frame for N_Cr, or under way for maxHold. Which message is
// given up depends on the frames' times alone, not on how often expire is called: live and recorded streams agree.
func (t *Tagger) expire(now time.Duration) {
	if t.running == 0 || now < t.deadline {
		return
	}
	t.deadline = never
	for _, s := range t.sessions {
		if s.last == 0 {
			continue
		}
		d, _ := s.rx.Deadline()
		if d = min(d, s.began+maxHold); now >= d {
			t.lose(s)
		} else {
			t.deadline = min(t.deadline, d)
		}
	}
}

// never is later than any frame.
const never = time.Duration(1<<63 - 1)

// lose gives up the running message of a conversation.
func (t *Tagger) lose(s *session) {
	s.rx.Reset()
	t.give(s)
}

// give marks the held frames of a given-up message: everything but the transport bytes is unknown.
func (t *Tagger) give(s *session) {
	for n := s.last; n != 0; {
		h := t.slot(n - 1)
		h.ft = t.settle(&h.f, FrameTag{Personal: lengthMask(&h.f) &^ (1<<h.pos - 1)}, s.role)
		h.undecide, h.owner = false, nil
		n = h.prev
	}
	if s.last != 0 {
		t.running--
	}
	s.last, s.got = 0, 0
}

// settle adds what the broadcast database says of an identifier that is not reserved for diagnostics: a frame that could
// be either is technical only as far as both agree.
func (t *Tagger) settle(f *frame.Frame, ft FrameTag, r role) FrameTag {
	if r == toAll || r == toECU && t.reserved(f) || r == fromECU && t.reserved(f) {
		return ft
	}
	m := t.b.find(f)
	if m == nil {
		return ft
	}
	other := m.tag(f)
	if rankOf(other.Tag) > rankOf(ft.Tag) {
		ft.Tag = other.Tag
	}
	ft.Personal |= other.Personal
	return ft
}

// reserved reports whether ISO 15765-4 keeps the identifier for diagnostics.
func (t *Tagger) reserved(f *frame.Frame) bool {
	if f.Flags&frame.Extended != 0 {
		_, ok := obd29(f.ID)
		return ok
	}
	return f.ID >= 0x7DF && f.ID <= 0x7EF
}
