package classify

import (
	"bufio"
	"io"

	"obdgate/internal/canlog"
	"obdgate/internal/canlog/pcapng"
	"obdgate/internal/frame"
	"obdgate/internal/policy"
)

// sequence takes the blocks in order. It follows the conversations, puts their lines where they belong, and writes.
type sequence struct {
	t       *table
	tg      *policy.Tagger
	w       *bufio.Writer
	packets *pcapng.Writer
	pen     pen
	q       canlog.Quick
	f       frame.Frame
	buses   []string
	line    []byte
	err     error
	named   int // interfaces the capture knows
	leftOut uint64

	held  []heldLine // the lines of the frames the Tagger holds, a ring whose length is a power of two
	first uint64
	next  uint64
	emit  func(*frame.Frame, policy.FrameTag)

	lines  int
	faults []canlog.Fault
	bad    int
	tally  tally
	time   timeline

	dropped int
	passed  Count // through the sieve
}

// heldLine is the line of a frame the Tagger was given.
type heldLine struct {
	text  []byte
	own   []byte // text, once the block is left behind
	span  canlog.Span
	quick bool
	alone bool // counted by the worker
	kept  bool // text is own
}

// maxBuses is how many interfaces one recording may name, as in package canlog.
const maxBuses = 64

func newSequence(t *table, w io.Writer) *sequence {
	if w == nil {
		w = io.Discard
	}
	size := 64 << 10
	if t.sieve { // whole blocks are written, and need no copy
		size = 4 << 10
	}
	s := &sequence{t: t, tg: t.tagger(), w: bufio.NewWriterSize(w, size), pen: newPen(t), held: make([]heldLine, 64)}
	s.emit = s.decided
	return s
}

// take goes on with the next block; the error is that of the writer, after which nothing is taken any more.
func (s *sequence) take(b *block) error {
	if s.err != nil {
		return s.err
	}
	if len(b.lines) > 0 && !s.time.began {
		if _, ok := slowly(b.text[b.lines[0].in:b.n], &s.f); ok {
			s.time.begin(s.f.Time)
		}
	}
	s.dropped += b.dropped
	switch {
	case s.crowded(b):
		s.oneByOne(b)
	case s.t.sieve:
		s.passed.add(Count{b.frames, b.bytes})
		s.write(b.out)
	default:
		s.merge(b)
	}
	for n := s.first; n != s.next; n++ {
		h := &s.held[n&uint64(len(s.held)-1)]
		if !h.kept {
			h.own = append(h.own[:0], h.text...)
			h.text, h.kept = h.own, true
		}
	}
	for _, f := range b.faults {
		f.Line += s.lines
		s.fault(f)
	}
	s.bad += b.bad - len(b.faults)
	s.lines += b.count
	b.tally.close()
	s.time.take(&b.tally)
	s.tally.close()
	s.time.take(&s.tally)
	s.tally.entries = s.tally.entries[:0]
	return s.err
}

// merge puts what the worker wrote and what the Tagger decides in the order of the lines.
func (s *sequence) merge(b *block) {
	k := 0
	for i := 0; i < len(b.lines) || s.tg.Held() == 0; i++ {
		for k < len(b.follow) && int(b.follow[k]) < i {
			k++
		}
		if s.tg.Held() == 0 && s.t.o.To != PCAPNG {
			to, end := len(b.lines), len(b.out)
			if k < len(b.follow) {
				to = int(b.follow[k])
				end = int(b.lines[to].out)
			}
			if i < len(b.lines) {
				s.write(b.out[b.lines[i].out:end])
			}
			i = to
		}
		if i >= len(b.lines) {
			return
		}
		s.push(b, int(b.lines[i].in), k >= len(b.follow) || int(b.follow[k]) != i)
	}
}

// push gives one line to the Tagger.
func (s *sequence) push(b *block, at int, alone bool) {
	f := &s.f
	span, quick := s.q.Parse(b.text[at:], f)
	if !quick {
		span, _ = slowly(b.text[at:b.n], f)
	}
	text := b.text[at : at+span.Next]
	f.Bus, _ = s.bus(text[span.Iface:span.IfaceEnd])
	s.give(f, text, span, quick && f.Flags&^frame.Extended == 0, alone)
}

func (s *sequence) give(f *frame.Frame, text []byte, span canlog.Span, quick, alone bool) {
	if s.next-s.first == uint64(len(s.held)) {
		bigger := make([]heldLine, 2*len(s.held))
		for n := s.first; n != s.next; n++ {
			bigger[n&uint64(len(bigger)-1)] = s.held[n&uint64(len(s.held)-1)]
		}
		s.held = bigger
	}
	h := &s.held[s.next&uint64(len(s.held)-1)]
	h.text, h.span, h.quick, h.alone, h.kept = text, span, quick, alone, false
	s.next++
	s.tg.Push(f, s.emit)
}

// decided takes a frame from the Tagger; they come in the order they were given.
func (s *sequence) decided(f *frame.Frame, ft policy.FrameTag) {
	h := &s.held[s.first&uint64(len(s.held)-1)]
	s.first++
	d := s.pen.decide(ft, f)
	if !h.alone {
		s.tally.add(f.Time, d, int(f.Len))
	}
	if s.t.o.To == Nothing || s.t.o.Only && !d.technical || s.err != nil {
		return
	}
	if s.t.o.To == PCAPNG {
		s.packet(f, d)
		return
	}
	s.line = s.pen.frame(s.line[:0], h.text, h.span, f, d, h.quick)
	s.write(s.line)
}

// packet writes a frame with its tag as the comment. K-line and J1850 messages have no place there.
func (s *sequence) packet(f *frame.Frame, d *decision) {
	if s.capture(); s.err != nil {
		return
	}
	if f.Is(frame.Legacy) {
		s.leftOut++
		return
	}
	show := f
	if s.t.o.Mask {
		show = &s.pen.hidden
		s.pen.mask(show, f, d, false)
	}
	s.line = append(append(append(s.line[:0], d.tag.Class.String()...), ' '), categories[d.category]...)
	if d.tag.Rule != "" {
		s.line = append(append(append(s.line, " ("...), d.tag.Rule...), ')')
	}
	s.err = s.packets.Write(show, f.Time, string(s.line))
}

// capture begins the capture, or names the interfaces that have appeared since.
func (s *sequence) capture() {
	if s.packets == nil && s.err == nil {
		s.named = max(1, len(s.buses))
		s.packets, s.err = pcapng.NewWriter(s.w, s.buses...)
	}
	for ; s.named < len(s.buses) && s.err == nil; s.named++ {
		s.err = s.packets.Add(s.buses[s.named])
	}
}

func (s *sequence) write(b []byte) {
	if s.err == nil && len(b) > 0 {
		_, s.err = s.w.Write(b)
	}
}

// bus returns the number of an interface, a new one if there is room.
func (s *sequence) bus(name []byte) (uint8, bool) {
	for i, n := range s.buses {
		if n == string(name) {
			return uint8(i), true
		}
	}
	if len(s.buses) == maxBuses {
		return 0, false
	}
	s.buses = append(s.buses, string(name))
	return uint8(len(s.buses) - 1), true
}

// crowded reports whether the block names more interfaces than a recording can have; if not, it knows them all now.
func (s *sequence) crowded(b *block) bool {
	fresh := 0
	for _, n := range b.names {
		known := false
		for _, k := range s.buses {
			known = known || k == n
		}
		if !known {
			fresh++
		}
	}
	if len(s.buses)+fresh > maxBuses {
		return true
	}
	for _, n := range b.names {
		s.bus([]byte(n))
	}
	return false
}

// oneByOne goes through a block again, because frames of interfaces too many are damage.
func (s *sequence) oneByOne(b *block) {
	b.tally.reset()
	number, f := 0, &s.f
	for at := 0; at < b.n; {
		span, ok := slowly(b.text[at:b.n], f)
		text := b.text[at : at+span.Next]
		at += span.Next
		number++
		if !ok || !s.t.o.IDs.Pass(f.ID, f.Flags) {
			continue
		}
		if f.Bus, ok = s.bus(text[span.Iface:span.IfaceEnd]); !ok {
			b.bad++
			b.faults = append(b.faults, canlog.Fault{Line: number, Err: canlog.ErrBuses})
			continue
		}
		if s.t.sieve {
			s.passed.add(Count{1, uint64(f.Len)})
			s.write(text)
			continue
		}
		s.give(f, text, span, false, false)
	}
}

func (s *sequence) fault(f canlog.Fault) {
	s.bad++
	if len(s.faults) < maxFaults {
		s.faults = append(s.faults, f)
	}
}

// end gives up what is incomplete and writes the rest.
func (s *sequence) end() error {
	if s.tg != nil {
		s.tg.Flush(s.emit)
	}
	s.tally.close()
	s.time.take(&s.tally)
	if s.t.o.To == PCAPNG {
		if s.capture(); s.err == nil {
			s.err = s.packets.Flush()
		}
	}
	if s.err == nil {
		s.err = s.w.Flush()
	}
	return s.err
}
