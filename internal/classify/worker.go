package classify

import (
	"bytes"
	"encoding/binary"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
	"obdgate/internal/policy"
)

// worker decides on the frames of a block that need no memory, and writes them. Its Tagger follows nothing.
type worker struct {
	t     *table
	tg    *policy.Tagger
	q     canlog.Quick
	line  canlog.Line
	f     frame.Frame // of the line, once it was needed
	pen   pen
	name  []byte // interface of the last frame
	known map[*verdict]map[uint64]*decision
}

func newWorker(t *table) *worker {
	return &worker{t: t, tg: policy.NewTagger(t.o.Policy, t.o.DB), pen: newPen(t), known: map[*verdict]map[uint64]*decision{}}
}

// do works on one block.
func (k *worker) do(b *block) {
	b.out, b.lines, b.follow, b.names, b.faults = b.out[:0], b.lines[:0], b.follow[:0], b.names[:0], b.faults[:0]
	b.count, b.bad, b.dropped, b.frames, b.bytes = 0, 0, 0, 0, 0
	b.tally.reset()
	k.name = k.name[:0]
	write := k.t.o.To == Candump || k.t.o.To == JSONL
	text, l := b.text, &k.line
	at, from := 0, 0 // from: lines from here on pass unchanged and are not yet written
	for at < b.n {
		b.count++
		quick := k.q.Skim(text[at:], l)
		if !quick && !k.slowly(text[at:b.n]) {
			b.out = append(b.out, text[from:at]...)
			at += l.Next
			from = at
			if l.Data < 0 {
				b.fault(text[at-l.Next : at-1])
			}
			continue
		}
		if !k.t.o.IDs.pass(l.ID, l.Flags) {
			b.dropped++
			b.out = append(b.out, text[from:at]...)
			at += l.Next
			from = at
			continue
		}
		if name := text[at+l.Iface : at+l.IfaceEnd]; string(name) != string(k.name) {
			k.name = append(k.name[:0], name...)
			b.named(name)
		}
		if k.t.sieve {
			b.frames++
			b.bytes += uint64(l.Len)
			at += l.Next
			continue
		}
		b.lines = append(b.lines, line{uint32(at), uint32(len(b.out) + at - from)})
		d := k.decision(text[at:], quick)
		if d == nil {
			b.follow = append(b.follow, int32(len(b.lines)-1))
		} else {
			b.tally.add(l.Time, d, int(l.Len))
		}
		if !write {
			at += l.Next
			from = at
			continue
		}
		if d != nil && k.pen.unchanged(d, l) {
			at += l.Next
			continue
		}
		b.out = append(b.out, text[from:at]...)
		if d != nil && (d.technical || !k.t.o.Only) {
			b.out = k.write(b.out, text[at:], d, quick)
		}
		at += l.Next
		from = at
	}
	b.out = append(b.out, text[from:at]...)
}

// slowly reads a line of any form into the frame, and what a Line has of it.
func (k *worker) slowly(text []byte) bool {
	span, ok := slowly(text, &k.f)
	f := &k.f
	k.line = canlog.Line{Span: span, Time: f.Time, ID: f.ID, Flags: f.Flags, Len: f.Len}
	return ok
}

// decision on the line at the beginning of text; nil: it is or may be part of a conversation. The frame is made only where
// its data decide.
func (k *worker) decision(text []byte, quick bool) *decision {
	l := &k.line
	if quick && l.Flags&^frame.Extended == 0 {
		if v := k.t.find(l.ID, l.Flags); v != nil {
			switch v.how {
			case always:
				if l.Len < v.length {
					return k.t.unknown
				}
				return v.fixed
			case switched, several:
				if l.Len < v.length {
					return k.t.unknown
				}
				l.Frame(text, &k.f)
				if v.how == several {
					return k.several(v)
				}
				raw, _ := v.by.Raw(&k.f)
				return v.when[raw]
			case maybe:
				if l.Len > 0 && byte(l.First8(text)) == tester {
					return nil
				}
				if l.Len < v.length {
					return k.t.unknown
				}
				return v.fixed
			case follow:
				return nil
			}
		}
	}
	if quick {
		l.Frame(text, &k.f)
	}
	ft, ok := k.tg.Alone(&k.f)
	if !ok {
		return nil
	}
	return k.pen.decide(ft, &k.f)
}

// several decides on a frame as long as its message, which has more than one switch, by their values: what was worked out
// once is remembered.
func (k *worker) several(v *verdict) *decision {
	key := uint64(0)
	for _, s := range v.switches {
		raw, _ := s.Raw(&k.f)
		key = key<<s.Size | raw
	}
	known := k.known[v]
	if d := known[key]; d != nil {
		return d
	}
	g := frame.Frame{ID: k.f.ID, Flags: k.f.Flags, Len: 8, Data: k.f.Data}
	ft, _ := k.tg.Alone(&g)
	d := k.t.sample(ft, v, &g)
	if known == nil {
		known = map[uint64]*decision{}
		k.known[v] = known
	}
	if len(known) < maxKnown {
		known[key] = d
	}
	return d
}

// maxKnown bounds the values of switches that are remembered of one message: a message has some dozens, hostile ones all.
const maxKnown = 1024

// write appends what passes of the line at the beginning of text, which is not as it stands.
func (k *worker) write(dst, text []byte, d *decision, quick bool) []byte {
	l := &k.line
	if quick && d.sampled && k.t.o.To == Candump && l.Len == 8 {
		at := len(dst)
		dst = append(dst, text[:l.Next]...)
		digits := dst[at+l.Data:][:16]
		x, y := uint64(0x30*ones), uint64(0x30*ones)
		if !d.whole {
			v := l.First8(text) & d.keep
			x, y = hex(uint32(v)), hex(uint32(v>>32))
		}
		le.PutUint64(digits, le.Uint64(digits)&d.same[0]|x&^d.same[0])
		le.PutUint64(digits[8:], le.Uint64(digits[8:])&d.same[1]|y&^d.same[1])
		return dst
	}
	if quick {
		l.Frame(text, &k.f)
	}
	return k.pen.frame(dst, text[:l.Next], l.Span, &k.f, d, quick && l.Flags&^frame.Extended == 0)
}

// slowly reads a line of any form. The span has Data -1 for a damaged line and 0 for one that is no frame and no damage.
func slowly(text []byte, f *frame.Frame) (s canlog.Span, ok bool) {
	n := bytes.IndexByte(text, '\n')
	s.Next = n + 1
	trimmed := bytes.TrimSpace(text[:n])
	if len(trimmed) == 0 || trimmed[0] == '#' {
		return s, false
	}
	name, err := canlog.Parse(trimmed, f)
	if err != nil {
		s.Data = -1
		return s, false
	}
	// name points into trimmed, trimmed into text.
	lead := bytes.IndexByte(text, trimmed[0])
	s.Iface = lead + bytes.Index(trimmed, name)
	for at := bytes.IndexByte(trimmed, ')') + 1; ; at++ {
		if trimmed[at] != ' ' && trimmed[at] != '\t' {
			s.Iface = lead + at
			break
		}
	}
	s.IfaceEnd = s.Iface + len(name)
	s.Data = s.IfaceEnd + bytes.IndexByte(text[s.IfaceEnd:], '#') + 1
	if f.Is(frame.FD) {
		s.Data += 2
	}
	return s, true
}

// named remembers an interface; the list is short. Nothing is allocated when the block before had the same.
func (b *block) named(name []byte) {
	for _, n := range b.names {
		if n == string(name) {
			return
		}
	}
	n := len(b.names)
	if n < cap(b.names) && b.names[:n+1][n] == string(name) {
		b.names = b.names[:n+1]
		return
	}
	b.names = append(b.names, string(name))
}

// fault remembers a damaged line by its number in the block.
func (b *block) fault(line []byte) {
	b.bad++
	if len(b.faults) >= maxFaults {
		return
	}
	var f frame.Frame
	_, err := canlog.Parse(bytes.TrimSpace(line), &f)
	b.faults = append(b.faults, canlog.Fault{Line: b.count, Err: err})
}

// find returns the verdict on an identifier, nil for a 29-bit one that no database names.
func (t *table) find(id uint32, flags frame.Flags) *verdict {
	if flags&frame.Extended == 0 {
		return t.std[id&frame.MaxStandardID]
	}
	return t.ext[id]
}

// tally counts frames and bytes by category and time.
type tally struct {
	entries  []entry
	from, to time.Duration // the piece of time being counted
	now      [len(categories)]Count
	began    bool
	first    time.Duration
	last     time.Duration
}

// entry is what a piece of time had of one category.
type entry struct {
	at       time.Duration
	category uint8
	Count
}

// grain is the finest piece of time.
const grain = 100 * time.Millisecond

func (t *tally) reset() { *t = tally{entries: t.entries[:0]} }

func (t *tally) add(at time.Duration, d *decision, n int) {
	if at < t.from || at >= t.to {
		t.close()
		if !t.began {
			t.began, t.first = true, at
		}
		t.from = at - at%grain
		t.to = t.from + grain
	}
	t.last = at
	c := &t.now[d.category]
	c.Frames++
	c.Bytes += uint64(n)
}

func (t *tally) close() {
	for i := range t.now {
		if t.now[i].Frames > 0 {
			t.entries = append(t.entries, entry{t.from, uint8(i), t.now[i]})
			t.now[i] = Count{}
		}
	}
}

var le = binary.LittleEndian
