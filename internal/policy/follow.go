package policy

import (
	"errors"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/isotp"
)

// role is what an identifier is for in diagnostics.
type role uint8

const (
	none      role = iota
	toAll          // functional request
	toECU          // physical request
	fromECU        // answer
	toExt          // BMW: request on 6F1, first byte the ECU
	fromExt        // BMW: answer on 600+ECU, first byte F1, if that ECU was spoken to
	toOther        // configured pair with extended addressing
	fromOther      // its answer
)

// BMW's extended addressing (facts: 6F1 asks, 600+ECU answers).
const (
	extTester = 0x6F1
	extBase   = 0x600
	testerF1  = 0xF1

	testerPresent = 0x3E
)

// obd29 is the role of a 29-bit identifier of ISO 15765-4.
func obd29(id uint32) (role, bool) {
	switch {
	case id == isotp.Functional29:
		return toAll, true
	case id&0x1FFFFF00 == 0x18DAF100:
		return fromECU, true
	case id&0x1FFF00FF == 0x18DA00F1:
		return toECU, true
	}
	return none, false
}

// session is one sender of diagnostic messages.
type session struct {
	key  uint64
	rx   isotp.Receiver
	role role
	ext  bool
	used uint64 // Tagger.clock when last heard
	got  int    // bytes of the running message so far

	began time.Duration // when it began
	last  uint64        // number plus one of the last held frame of it, 0 = none

	q      question // last physical question to this ECU
	answer [2]uint64
}

// sessionKey names a sender: identifier, its length, the bus, and with extended addressing the address byte.
func sessionKey(id uint32, extended bool, bus uint8, ext bool, addr byte) uint64 {
	k := uint64(id) | uint64(bus)<<32
	if extended {
		k |= 1 << 40
	}
	if ext {
		k |= 1<<41 | uint64(addr)<<48
	}
	return k
}

// step decides on a frame, or puts it into the ring and says wait.
func (t *Tagger) step(f *frame.Frame) (ft FrameTag, wait bool) {
	if f.Flags&(frame.Legacy|frame.Error|frame.Remote) != 0 {
		return t.special(f), false
	}
	r := t.role(f)
	if t.makers != nil {
		if m := t.makers.role(f); m != none {
			if r = m; (r == fromECU || r == fromOther) && !t.spokenTo(f, r) {
				return t.plain(f), false
			}
		}
	}
	if r == none || r == fromExt && (f.Len == 0 || f.Data[0] != testerF1 || !t.asked[f.ID&0xFF].has(f.Bus)) {
		return t.plain(f), false
	}
	return t.diagnostic(f, r)
}

// role is what the frame's identifier is for; f is no special frame.
func (t *Tagger) role(f *frame.Frame) role {
	if f.Flags&frame.Extended == 0 {
		if f.ID < uint32(len(t.std)) {
			return t.std[f.ID]
		}
		return none
	}
	if r, ok := obd29(f.ID); ok {
		return r
	}
	if len(t.ext) > 0 {
		return t.ext[f.ID]
	}
	return none
}

// Alone decides on a frame that needs no memory of others: broadcast, error reports, remote requests, K-line messages.
// ok is false where the frame is, or may be, part of a diagnostic conversation: it must be pushed. While Held is 0, a
// frame decided alone need not be pushed: Push would say the same at once and remember nothing. Alone itself changes
// nothing but scratch space, so that further Taggers of the same policy and database may decide for the one that follows
// the conversations.
func (t *Tagger) Alone(f *frame.Frame) (ft FrameTag, ok bool) {
	if f.Flags&(frame.Legacy|frame.Error|frame.Remote) != 0 {
		return t.special(f), true
	}
	if t.makers != nil && t.makers.perhaps(f) {
		return FrameTag{}, false
	}
	if r := t.role(f); r == none || r == fromExt && (f.Len == 0 || f.Data[0] != testerF1) {
		return t.plain(f), true
	}
	return FrameTag{}, false
}

func (t *Tagger) plain(f *frame.Frame) FrameTag {
	if m := t.b.find(f); m != nil {
		return m.tag(f)
	}
	return FrameTag{Personal: lengthMask(f)}
}

// special are frames that carry no ISO-TP: K-line and J1850 messages, the controller's error reports, remote requests.
func (t *Tagger) special(f *frame.Frame) FrameTag {
	switch {
	case f.Is(frame.Error):
		return FrameTag{Tag: t.l.tags[t.l.flow]}
	case f.Is(frame.Remote):
		return FrameTag{Personal: lengthMask(f)}
	}
	m := t.marks[:min(int(f.Len), frame.MaxData)]
	clear(m)
	t.l.legacy(m, f.Bytes())
	return t.frameTag(f, m, 0)
}

// frameTag is the tag of a frame whose bytes from pos on are the part m of a message; what follows is padding.
func (t *Tagger) frameTag(f *frame.Frame, m marks, pos int) FrameTag {
	personal := lengthMask(f) &^ (1<<pos - 1)
	best := tagID(0)
	if len(m) > 0 {
		best = m[0]
	}
	for i, id := range m {
		if t.l.tags[id].Class == Technical {
			personal &^= 1 << (pos + i)
		}
		if t.l.rank[id] > t.l.rank[best] {
			best = id
		}
	}
	return FrameTag{Tag: t.l.tags[best], Personal: personal}
}

func (t *Tagger) diagnostic(f *frame.Frame, r role) (FrameTag, bool) {
	ext := r >= toExt
	var addr byte
	if ext {
		if f.Len == 0 {
			return FrameTag{}, false
		}
		addr = f.Data[0]
	}
	s := t.session(sessionKey(f.ID, f.Is(frame.Extended), f.Bus, ext, addr), r, ext, addr)
	s.used = t.clock
	was := s.rx.Running()
	e := s.rx.Push(f.Bytes(), f.Time)
	if e.Lost && was {
		t.give(s)
	}
	pci := 1
	if ext {
		pci = 2
	}
	switch {
	case e.Used && e.Message != nil && e.Kind == isotp.Single:
		pos := pci
		if f.Len > 8 {
			pos++
		}
		m := t.classify(s, f, e.Message)
		ft := t.settle(f, t.frameTag(f, m, pos), r)
		return ft, false
	case e.Used:
		return FrameTag{}, t.part(s, f, e, pci)
	case errors.Is(e.Err, isotp.ErrDuplicate) && s.last != 0:
		t.repeat(s, f)
		return FrameTag{}, true
	case e.Kind == isotp.FlowControl && int(f.Len) >= pci+2 && isotp.Status(f.Data[pci-1]&0xF) <= isotp.Overflow:
		pos := pci + 2
		return t.settle(f, FrameTag{Tag: t.l.tags[t.l.flow], Personal: lengthMask(f) &^ (1<<pos - 1)}, r), false
	case e.Kind == isotp.Consecutive && int(f.Len) > pci, errors.Is(e.Err, isotp.ErrTooLong):
		return t.settle(f, FrameTag{Personal: lengthMask(f) &^ (1<<pci - 1)}, r), false // of no message that is followed
	}
	return FrameTag{Personal: lengthMask(f)}, false
}

// part holds back a frame of a longer message, and decides on all of them when it was the last.
func (t *Tagger) part(s *session, f *frame.Frame, e isotp.Event, pci int) bool {
	from := s.got
	got := e.Got
	if e.Lost || e.Began {
		from, got = 0, len(s.rx.Partial())
	}
	if e.Message != nil {
		got = len(e.Message)
	}
	pos := pci
	if e.Began {
		pos = int(f.Len) - got
	}
	if s.last == 0 {
		if t.running == 0 {
			t.deadline = never
		}
		t.running++
		s.began = f.Time
		t.deadline = min(t.deadline, f.Time+isotp.DefaultTimeout)
	}
	h := t.hold(f)
	h.owner, h.undecide, h.prev, h.off, h.n, h.pos = s, true, s.last, from, got-from, pos
	s.last, s.got = t.next, got
	if e.Message != nil {
		t.complete(s, f, e.Message)
	}
	return true
}

// complete decides on all frames of a message.
func (t *Tagger) complete(s *session, f *frame.Frame, msg []byte) {
	m := t.classify(s, f, msg)
	for n := s.last; n != 0; {
		h := t.slot(n - 1)
		h.ft = t.settle(&h.f, t.frameTag(&h.f, m[h.off:h.off+h.n], h.pos), s.role)
		h.undecide, h.owner = false, nil
		n = h.prev
	}
	s.last, s.got = 0, 0
	t.running--
}

// repeat is a consecutive frame sent twice within a message: it carries what the frame before it carries, and a masked log
// must show both alike. (A repetition of the last one is of no message: its padding may differ and nobody needs it.)
func (t *Tagger) repeat(s *session, f *frame.Frame) {
	before := t.slot(s.last - 1)
	off, n, pos := before.off, before.n, before.pos
	h := t.hold(f)
	h.owner, h.undecide, h.prev, h.off, h.n, h.pos = s, true, s.last, off, n, pos
	s.last = t.next
}

// session finds the conversation of a sender, forgetting the one unheard for longest when there are too many.
func (t *Tagger) session(key uint64, r role, ext bool, addr byte) *session {
	s := t.sessions[key]
	switch {
	case s != nil && s.role == r:
		return s
	case s != nil: // what was learned of the identifier has changed
		t.lose(s)
	case len(t.sessions) >= maxSessions:
		for _, o := range t.sessions {
			if s == nil || o.used < s.used {
				s = o
			}
		}
		t.lose(s)
		delete(t.sessions, s.key)
	default:
		s = &session{}
	}
	*s = session{key: key, role: r, ext: ext, rx: isotp.NewReceiver(isotp.Config{Ext: ext, Target: addr, Passive: true}, nil)}
	t.sessions[key] = s
	return s
}

// classify marks every byte of a complete message and keeps questions for the answers to come.
func (t *Tagger) classify(s *session, f *frame.Frame, msg []byte) marks {
	m := t.marks[:len(msg)]
	clear(m)
	if len(msg) == 0 {
		return m
	}
	switch s.role {
	case toAll, toECU, toExt, toOther:
		t.l.request(m, msg)
		t.question(s, f, msg)
		return m
	}
	q := t.questionOf(s, f, msg)
	t.l.answer(m, msg, q)
	t.expected(s, m, msg, q)
	if t.makers != nil && q != nil {
		t.learn(s, f, m, msg)
	}
	return m
}

// question remembers what was asked of whom.
func (t *Tagger) question(s *session, f *frame.Frame, msg []byte) {
	t.serial++
	q := ask(msg, t.serial)
	if s.role == toAll {
		i := 0
		if f.Is(frame.Extended) {
			i = 1
		}
		t.all[i], t.allBus[i] = q, f.Bus
		return
	}
	key, r, ext, addr, ok := t.answerer(s, f)
	if !ok {
		return
	}
	to := t.session(key, r, ext, addr)
	if q.service == testerPresent {
		return
	}
	if to.last != 0 {
		t.lose(to) // nobody asks an ECU again before it has finished, unless its answer was lost: two halves are no whole
	}
	to.q = q
}

// answerer names the conversation that will answer a physical request.
func (t *Tagger) answerer(s *session, f *frame.Frame) (key uint64, r role, ext bool, addr byte, ok bool) {
	switch {
	case s.role == toExt:
		ecu := f.Data[0]
		t.asked[ecu].add(f.Bus)
		return sessionKey(extBase+uint32(ecu), false, f.Bus, true, testerF1), fromExt, true, testerF1, true
	case f.Is(frame.Extended):
		if _, isOBD := obd29(f.ID); isOBD {
			return sessionKey(0x18DAF100|f.ID>>8&0xFF, true, f.Bus, false, 0), fromECU, false, 0, true
		}
	case f.ID >= 0x7E0 && f.ID <= 0x7E7:
		return sessionKey(f.ID+8, false, f.Bus, false, 0), fromECU, false, 0, true
	}
	k, ok := t.pair[s.key&^(0xFF<<32)]
	if t.makers != nil {
		if v := t.makers.buses[f.Bus].knows; v != nil {
			if own, has := v.pair[s.key&^(0xFF<<32)]; has {
				k, ok = own, true
			}
		}
	}
	if !ok {
		return 0, 0, false, 0, false
	}
	if ext = k>>41&1 == 1; ext {
		return k | uint64(f.Bus)<<32, fromOther, true, byte(k >> 48), true
	}
	return k | uint64(f.Bus)<<32, fromECU, false, 0, true
}

// questionOf finds the question an answer belongs to: the latest that asked its service of this ECU or of all. A final
// answer uses it up, so that an old question cannot explain a later answer.
func (t *Tagger) questionOf(s *session, f *frame.Frame, msg []byte) *question {
	service := msg[0] &^ 0x40
	if msg[0] == 0x7F && len(msg) == 3 {
		if msg[2] == 0x78 {
			return nil // more is to come
		}
		service = msg[1]
	}
	i := 0
	if f.Is(frame.Extended) {
		i = 1
	}
	var q *question
	if s.q.serial != 0 && s.q.service == service && s.q.serial != s.answer[0] {
		q = &s.q
	}
	all := &t.all[i]
	if !s.ext && all.serial != 0 && t.allBus[i] == f.Bus && all.service == service && all.serial != s.answer[1] && (q == nil || all.serial > q.serial) {
		q = all
	}
	switch q {
	case nil:
	case all:
		s.answer[1] = all.serial
	default:
		s.answer[0] = q.serial
	}
	return q
}
