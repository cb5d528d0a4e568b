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
	t    *table
	tg   *policy.Tagger
	q    canlog.Quick
	f    frame.Frame
	pen  pen
	name []byte // interface of the last frame
}

func newWorker(t *table) *worker {
	return &worker{t: t, tg: policy.NewTagger(t.o.Policy, t.o.DB), pen: newPen(t)}
}

// do works on one block.
func (k *worker) do(b *block) {
	b.out, b.lines, b.follow, b.names, b.faults = b.out[:0], b.lines[:0], b.follow[:0], b.names[:0], b.faults[:0]
	b.count, b.bad = 0, 0
	b.tally.reset()
	k.name = k.name[:0]
	write := k.t.o.To == Candump || k.t.o.To == JSONL
	text, f := b.text, &k.f
	at, from := 0, 0 // from: lines from here on pass unchanged and are not yet written
	for at < b.n {
		b.count++
		s, quick := k.q.Parse(text[at:], f)
		if !quick {
			var good bool
			if s, good = slowly(text[at:b.n], f); !good {
				b.out = append(b.out, text[from:at]...)
				at += s.Next
				from = at
				if s.Data < 0 {
					b.fault(text[at-s.Next : at-1])
				}
				continue
			}
		}
		if name := text[at+s.Iface : at+s.IfaceEnd]; string(name) != string(k.name) {
			k.name = append(k.name[:0], name...)
			b.named(name)
		}
		b.lines = append(b.lines, line{uint32(at), uint32(len(b.out) + at - from)})
		var d *decision
		if quick {
			d = k.t.quick(f, k.tg, &k.pen)
		} else {
			d = k.t.any(f, k.tg, &k.pen)
		}
		if d == nil {
			b.follow = append(b.follow, int32(len(b.lines)-1))
		} else {
			b.tally.add(f.Time, d, int(f.Len))
		}
		if !write {
			at += s.Next
			from = at
			continue
		}
		if d != nil && k.pen.unchanged(d, f) {
			at += s.Next
			continue
		}
		b.out = append(b.out, text[from:at]...)
		if d != nil && (d.technical || !k.t.o.Only) {
			b.out = k.pen.frame(b.out, text[at:at+s.Next], s, f, d, quick)
		}
		at += s.Next
		from = at
	}
	b.out = append(b.out, text[from:at]...)
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

// named remembers an interface; the list is short.
func (b *block) named(name []byte) {
	for _, n := range b.names {
		if n == string(name) {
			return
		}
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

// quick decides on a classic data frame; nil: it is or may be part of a conversation.
func (t *table) quick(f *frame.Frame, tg *policy.Tagger, p *pen) *decision {
	v := t.find(f)
	if v == nil {
		return t.any(f, tg, p)
	}
	switch v.how {
	case always:
	case switched:
		if f.Len >= v.length {
			raw, _ := v.by.Raw(f)
			return v.when[raw]
		}
	case maybe:
		if f.Len > 0 && f.Data[0] == tester {
			return nil
		}
	default:
		return t.any(f, tg, p)
	}
	if f.Len < v.length {
		return t.unknown
	}
	return v.fixed
}

// find returns the verdict on an identifier, nil for a 29-bit one that no database names.
func (t *table) find(f *frame.Frame) *verdict {
	if f.Flags&frame.Extended == 0 {
		return t.std[f.ID&frame.MaxStandardID]
	}
	return t.ext[f.ID]
}

// any asks the Tagger.
func (t *table) any(f *frame.Frame, tg *policy.Tagger, p *pen) *decision {
	ft, ok := tg.Alone(f)
	if !ok {
		return nil
	}
	return p.decide(ft, f)
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
