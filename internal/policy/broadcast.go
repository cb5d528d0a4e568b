package policy

import (
	"maps"
	"slices"

	"obdgate/dbc"
	"obdgate/internal/frame"
	"obdgate/internal/reading"
)

// broadcast is a DBC database compiled for tagging: one table per identifier.
type broadcast struct {
	std [2048]*messageTable
	ext map[uint32]*messageTable
}

// messageTable is one message: its variant, or one per value of its multiplexer switch.
type messageTable struct {
	m        *dbc.Message
	tags     []Tag // by signal
	plain    *variant
	switches map[*dbc.Signal]bool // technical or not
	byValue  map[uint64]*variant  // nil unless there is exactly one switch with few values
	byte     *dbc.Signal          // that switch
}

// variant is one layout of a message's bytes.
type variant struct {
	tag      Tag
	keep     [frame.MaxData]byte // technical bits
	personal uint64              // bytes with a bit that is not technical
}

// maxVariants bounds the multiplexer values that are compiled ahead; messages with more are worked out frame by frame.
const maxVariants = 1024

func newBroadcast(p *Policy, db *dbc.Database) *broadcast {
	b := &broadcast{ext: map[uint32]*messageTable{}}
	if db == nil {
		return b
	}
	for _, m := range db.Messages() {
		t := &messageTable{m: m, tags: make([]Tag, len(m.Signals)), switches: map[*dbc.Signal]bool{}}
		for i, s := range m.Signals {
			t.tags[i] = p.signalTag(s)
			if s.Switch {
				t.switches[s] = t.tags[i].Class == Technical
			}
		}
		t.compile()
		if m.Extended {
			b.ext[m.ID] = t
		} else {
			b.std[m.ID&0x7FF] = t
		}
	}
	return b
}

func (b *broadcast) find(f *frame.Frame) *messageTable {
	if f.Flags&frame.Extended != 0 {
		return b.ext[f.ID]
	}
	if f.ID < uint32(len(b.std)) {
		return b.std[f.ID]
	}
	return nil
}

// signalTag is the decision on a broadcast signal: the file's attributes, made stricter or filled in by the policy's own
// rules for dbc.MESSAGE.SIGNAL. Technical needs a PrivacyClass line and a technical category of the policy; a file that
// says technical with a personal category contradicts itself and is personal.
func (p *Policy) signalTag(s *dbc.Signal) Tag {
	if s.Lost {
		return Tag{}
	}
	id := "dbc:" + s.Message.Name + "." + s.Name
	info, known := p.categories[Category(s.Privacy.Category)]
	t := Tag{}
	switch {
	case known && info.Class == Technical && s.Privacy.Technical:
		t = Tag{Technical, info.Key, id}
	case known && info.Class != Technical:
		t = Tag{Personal, info.Key, id}
	case s.Privacy.Explicit:
		t = Tag{Personal, NoCategory, id}
	}
	e := p.root.find(s.Key(), true)
	switch {
	case e == nil:
	case e.tag.Class != Technical:
		return e.tag
	case !s.Privacy.Explicit:
		return e.tag
	case t.Class == Technical && t.Category != Consumption:
		return e.tag
	}
	return t
}

func (t *messageTable) compile() {
	if !t.m.Multiplexed() {
		t.plain = t.variant(func(*dbc.Signal) bool { return true })
		return
	}
	var by *dbc.Signal
	values := map[uint64]bool{}
	for _, s := range t.m.Signals {
		if s.Under == nil {
			continue
		}
		if by == nil {
			by = s.Under
		}
		if s.Under != by || by.Under != nil {
			return // nested or several switches
		}
		for _, r := range s.When {
			if r.To-r.From >= maxVariants || len(values) > maxVariants {
				return
			}
			for v := r.From; ; v++ {
				values[v] = true
				if v == r.To {
					break
				}
			}
		}
	}
	if !t.shown(by) {
		t.plain = t.variant(func(*dbc.Signal) bool { return true })
		return
	}
	t.byte = by
	t.byValue = map[uint64]*variant{}
	for v := range values {
		t.byValue[v] = t.variant(func(s *dbc.Signal) bool { return s.Under == nil || within(s.When, v) })
	}
	t.plain = t.variant(func(s *dbc.Signal) bool { return s.Under == nil })
}

// shown reports whether a switch may be seen by others: what only a hidden switch can tell must not show in what is kept.
func (t *messageTable) shown(by *dbc.Signal) bool { return t.switches[by] }

// hidden reports whether a switch above s may not be seen.
func (t *messageTable) hidden(s *dbc.Signal) bool {
	for ; s.Under != nil; s = s.Under {
		if !t.shown(s.Under) {
			return true
		}
	}
	return false
}

// possible reports whether the frame carries s as far as those who see only technical switches can tell.
func (t *messageTable) possible(s *dbc.Signal, f *frame.Frame) bool {
	if _, last := s.Bytes(); s.Lost || last >= int(f.Len) {
		return false
	}
	for ; s.Under != nil; s = s.Under {
		if !t.shown(s.Under) {
			continue
		}
		if v, ok := s.Under.Raw(f); !ok || !within(s.When, v) {
			return false
		}
	}
	return true
}

func within(rs []dbc.Range, v uint64) bool {
	for _, r := range rs {
		if v >= r.From && v <= r.To {
			return true
		}
	}
	return false
}

// variant works out the bits of the signals that are present.
func (t *messageTable) variant(present func(*dbc.Signal) bool) *variant {
	v := &variant{}
	t.fill(v, present)
	return v
}

// fill works out the bits. A signal below a hidden switch is never kept, whatever the switch says.
func (t *messageTable) fill(v *variant, present func(*dbc.Signal) bool) {
	var drop [frame.MaxData]byte
	best := uint8(0)
	for i, s := range t.m.Signals {
		if s.Lost || !present(s) {
			continue
		}
		tag := t.tags[i]
		if r := rankOf(tag); r > best {
			v.tag, best = tag, r
		}
		keep := tag.Class == Technical && !t.hidden(s)
		first, last := s.Bytes()
		for b := first; b <= last; b++ {
			if keep {
				v.keep[b] |= s.Bits(b)
			} else {
				drop[b] |= s.Bits(b)
			}
		}
	}
	for i := range v.keep {
		v.keep[i] &^= drop[i] // overlapping signals: the personal one wins
		if v.keep[i] != 0xFF {
			v.personal |= 1 << i
		}
	}
}

// tag decides on one frame. A frame shorter than its message is not the message the file describes: nothing in it is
// known. It does not allocate.
func (t *messageTable) tag(f *frame.Frame) FrameTag {
	all := lengthMask(f)
	if int(f.Len) < t.m.Length || f.Flags&frame.Remote != 0 {
		return FrameTag{Personal: all}
	}
	v := t.plain
	switch {
	case t.byte != nil:
		if value, ok := t.byte.Raw(f); ok {
			if w := t.byValue[value]; w != nil {
				v = w
			}
		}
	case v == nil:
		var dynamic variant
		t.dynamic(&dynamic, f)
		return FrameTag{Tag: dynamic.tag, Personal: dynamic.personal & all}
	}
	return FrameTag{Tag: v.tag, Personal: v.personal & all, keep: &v.keep}
}

// dynamic is variant for one frame of a message with nested switches. Only whole bytes can then be kept.
func (t *messageTable) dynamic(v *variant, f *frame.Frame) {
	t.fill(v, func(s *dbc.Signal) bool { return t.possible(s, f) })
}

// lengthMask has a bit for every data byte of the frame.
func lengthMask(f *frame.Frame) uint64 {
	if f.Len >= frame.MaxData {
		return ^uint64(0)
	}
	return 1<<f.Len - 1
}

// With returns the policy extended by a broadcast database: keys of the form dbc.MESSAGE.SIGNAL then have the tag that
// the file's attributes and the policy's rules give them, and Explain knows its messages. p is not changed.
func (p *Policy) With(db *dbc.Database) *Policy {
	q := *p
	q.db = db
	q.signals = map[reading.Key]Tag{}
	q.vss, q.paths = maps.Clone(p.vss), maps.Clone(p.paths)
	if db != nil {
		for _, m := range db.Messages() {
			for _, s := range m.Signals {
				k := reading.Key(s.Key())
				q.signals[k] = p.signalTag(s)
				if isVSS(s.VSS) {
					q.vss[k] = []string{s.VSS}
					q.paths[s.VSS] = append(slices.Clip(q.paths[s.VSS]), k)
				}
			}
		}
	}
	return &q
}
