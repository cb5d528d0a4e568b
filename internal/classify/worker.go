package classify

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"time"

	"obdgate/dbc"
	"obdgate/internal/canlog"
	"obdgate/internal/frame"
	"obdgate/internal/policy"
)

// worker decides on the frames of a block that need no memory, and writes them. Its Tagger follows nothing.
type worker struct {
	t    *table
	tg   *policy.Tagger
	q    canlog.Quick
	line canlog.Line
	f    frame.Frame // of the line, once it was needed
	pen  pen
	name []byte // interface of the last frame

	block block // it works on

	quickName uint64                 // its canlog.Line.Name, 0 if the line was not of the common form
	known     []map[uint64]*decision // by verdict.number, then by the values of the switches
}

func newWorker(t *table) *worker {
	return &worker{t: t, tg: t.tagger(), pen: newPen(t), known: make([]map[uint64]*decision, t.several)}
}

// do works on one block. A line that is edited keeps its length: candump is masked in a copy of the block, from which lines
// that do not pass are cut.
func (k *worker) do(b *block) {
	b.out, b.lines, b.follow, b.names, b.faults = b.out[:0], b.lines[:0], b.follow[:0], b.names[:0], b.faults[:0]
	b.count, b.bad, b.dropped, b.frames, b.bytes = 0, 0, 0, 0, 0
	b.tally.reset()
	k.name, k.quickName = k.name[:0], 0
	text, l, o := b.text, &k.line, k.t.o
	if o.To == Candump && cap(b.out) < len(text) {
		b.out = make([]byte, 0, len(text))
	}
	if k.t.sieve {
		k.sift(b)
		return
	}
	var pass []byte // what the lines that pass are taken from
	if o.To == Candump {
		b.out = b.out[:b.n+canlog.Reach-1]
		pass = b.out
		copy(pass, text)
	}
	if o.To == JSONL && cap(b.out) == 0 {
		b.out = make([]byte, 0, jsonGrowth*k.t.o.block) // at once: what append outgrows would stay beside it until it is collected
	}
	from, to := 0, 0 // b.out[:to] is done, the lines pass[from:at] follow
	for at := 0; at < b.n; at += l.Next {
		b.count++
		quick := k.q.Skim(text[at:], l)
		if !quick && !k.slowly(text[at:b.n]) {
			to, from = cut(b.out, pass, from, at, to), at+l.Next
			if l.Data < 0 {
				b.fault(text[at : from-1])
			}
			continue
		}
		if !o.IDs.Pass(l.ID, l.Flags) {
			b.dropped++
			to, from = cut(b.out, pass, from, at, to), at+l.Next
			continue
		}
		if !quick || l.Name != k.quickName {
			k.named(b, text[at+l.Iface:at+l.IfaceEnd])
		}
		place := to + at - from
		if pass == nil {
			place = len(b.out)
		}
		b.lines = append(b.lines, line{uint32(at), uint32(place)})
		var v *verdict
		if quick && l.Flags&^frame.Extended == 0 {
			v = k.t.find(l.ID, l.Flags)
		}
		var d *decision
		if v != nil && v.how == always && l.Len >= v.length { // nearly all
			d = v.fixed
		} else if d = k.decision(v, text[at:], quick); d == nil {
			b.follow = append(b.follow, int32(len(b.lines)-1))
			to, from = cut(b.out, pass, from, at, to), at+l.Next
			continue
		}
		b.tally.add(l.Time, d, int(l.Len))
		switch {
		case o.Only && !d.technical:
			to, from = cut(b.out, pass, from, at, to), at+l.Next
		case o.To == JSONL:
			if quick {
				l.Frame(text[at:], &k.f)
			}
			b.out = k.pen.frame(b.out, text[at:at+l.Next], l.Span, &k.f, d, quick && l.Flags&^frame.Extended == 0)
		case o.To == Candump && !o.Mask: // as it is
		case o.To == Candump && d.sampled && quick:
			d.hide(pass[at+l.Data:], l.Len)
		case o.To == Candump:
			if quick {
				l.Frame(text[at:], &k.f)
			}
			k.pen.hide(pass[at+l.Data:], &k.f, d)
		}
	}
	if o.To == Candump {
		b.out = b.out[:cut(b.out, pass, from, b.n, to)]
	}
}

// jsonGrowth is how much longer a frame is as a JSON line, with the values of a message of many signals.
const jsonGrowth = 6

// cut moves the lines pass[from:at] to out[to:] and returns their end there. pass may be out itself; nil: nothing is copied.
func cut(out, pass []byte, from, at, to int) int {
	if pass == nil {
		return 0
	}
	if from < at && (from != to || &out[0] != &pass[0]) {
		copy(out[to:], pass[from:at])
	}
	return to + at - from
}

// named takes note of the interface of a line.
func (k *worker) named(b *block, name []byte) {
	k.quickName = k.line.Name
	if string(name) != string(k.name) {
		k.name = append(k.name[:0], name...)
		b.named(name)
	}
}

// slowly reads a line of any form into the frame, and what a Line has of it.
func (k *worker) slowly(text []byte) bool {
	span, ok := slowly(text, &k.f)
	f := &k.f
	k.line = canlog.Line{Span: span, Time: f.Time, ID: f.ID, Flags: f.Flags, Len: f.Len, Head: le.Uint64(f.Data[:])}
	return ok
}

// decision on the line at the beginning of text, whose identifier has the verdict v (nil: none, or not quick to find); nil:
// it is or may be part of a conversation. The frame is made only where its data decide.
func (k *worker) decision(v *verdict, text []byte, quick bool) *decision {
	l := &k.line
	if v != nil {
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
			data := l.Head
			w := dbc.Words{data, bits.ReverseBytes64(data)}
			if v.how == several {
				return k.several(v, &w)
			}
			return v.when[v.switches[0].Bits(&w)]
		case maybe:
			if l.Len > 0 && byte(l.Head) == tester {
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
func (k *worker) several(v *verdict, w *dbc.Words) *decision {
	key := uint64(0)
	for i := range v.switches {
		s := &v.switches[i]
		key = key<<s.Signal.Size | s.Bits(w)
	}
	known := k.known[v.number]
	if d := known[key]; d != nil {
		return d
	}
	g := frame.Frame{ID: k.line.ID, Flags: k.line.Flags, Len: 8}
	le.PutUint64(g.Data[:], w[0])
	ft, _ := k.tg.Alone(&g)
	d := k.t.sample(ft, v, &g)
	if known == nil {
		known = map[uint64]*decision{}
		k.known[v.number] = known
	}
	if len(known) < maxKnown {
		known[key] = d
	}
	return d
}

// maxKnown bounds the values of switches that are remembered of one message: a message has some dozens, hostile ones all.
const maxKnown = 1024

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

// tally counts frames and bytes by category and time.
type tally struct {
	entries []entry
	from    time.Duration           // beginning of the piece of time being counted, which is a grain long
	now     [len(categories)]uint64 // frames in the high half, bytes in the low one: of a block both fit
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
	if uint64(at-t.from) >= uint64(grain) {
		t.close()
		t.from = at - at%grain
	}
	t.now[d.category] += 1<<32 | uint64(n)
}

func (t *tally) close() {
	for i, n := range t.now {
		if n > 0 {
			t.entries = append(t.entries, entry{t.from, uint8(i), Count{n >> 32, n & (1<<32 - 1)}})
			t.now[i] = 0
		}
	}
}

var le = binary.LittleEndian
