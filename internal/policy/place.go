package policy

import (
	"slices"

	"obdgate/internal/isotp"
	"obdgate/internal/reading"
)

// Place is where one value stands in the answer to one question of one ECU. Makers keep the mileage and the like behind
// identifiers that mean something else in another make, so that no rule can name them; who knows the make says so here.
type Place struct {
	Addr     isotp.Address
	Question []byte // service and identifier: 22 D1 0D, 21 28
	Offset   int    // bytes after the echo of the question
	Width    int
	Length   int         // bytes after the echo that an answer with this place has; 0 = any
	Key      reading.Key // its tag is the policy's for this key
}

type knownPlace struct {
	service byte
	id      uint16
	head    int
	from    int
	to      int
	total   int // length of the message, 0 = any
	tag     tagID
}

// Expect follows the pair of a place and marks its value from now on. A question that is no service with one or two
// identifier bytes is ignored.
func (t *Tagger) Expect(places ...Place) {
	for _, p := range places {
		if n := len(p.Question); n < 2 || n > 3 || p.Offset < 0 || p.Width < 1 {
			continue
		}
		t.Follow(p.Addr)
		if key, known, ok := t.place(p); ok {
			if t.places == nil {
				t.places = map[uint64][]knownPlace{}
			}
			t.places[key] = append(t.places[key], known)
		}
	}
}

// place compiles a place under the key of the conversation its answer belongs to, on bus 0.
func (t *Tagger) place(p Place) (key uint64, known knownPlace, ok bool) {
	if n := len(p.Question); n < 2 || n > 3 || p.Offset < 0 || p.Width < 1 {
		return 0, knownPlace{}, false
	}
	q := ask(p.Question, 1)
	if q.n != 1 {
		return 0, knownPlace{}, false
	}
	tag := t.l.p.TagKey(p.Key)
	if _, has := t.l.ids[tag]; !has {
		t.l = t.l.with(tag)
	}
	key = sessionKey(p.Addr.Rx, p.Addr.Extended29, 0, p.Addr.Ext, p.Addr.RxTarget)
	if !p.Addr.Ext {
		key = sessionKey(p.Addr.Rx, p.Addr.Extended29, 0, false, 0)
	}
	head := len(p.Question)
	total := 0
	if p.Length > 0 {
		total = head + p.Length
	}
	return key, knownPlace{q.service, q.ids[0], head, head + p.Offset, head + p.Offset + p.Width, total, t.l.ids[tag]}, true
}

// with returns a copy of the layout that knows one more tag; the layout itself is shared and read-only.
func (l *layout) with(tag Tag) *layout {
	c := *l
	c.tags, c.rank = slices.Clone(l.tags), slices.Clone(l.rank)
	c.ids = make(map[Tag]tagID, len(l.ids)+1)
	for k, v := range l.ids {
		c.ids[k] = v
	}
	c.id(tag)
	return &c
}

// expected marks the known places of an answer to q.
func (t *Tagger) expected(s *session, m marks, msg []byte, q *question) {
	if q == nil || q.n != 1 || msg[0] != q.service+0x40 {
		return
	}
	key := s.key &^ (0xFF << 32)
	t.mark(t.places[key], m, msg, q)
	if t.makers != nil {
		if v := t.makers.buses[uint8(s.key>>32)].knows; v != nil {
			t.mark(v.places[key], m, msg, q)
		}
	}
}

func (t *Tagger) mark(places []knownPlace, m marks, msg []byte, q *question) {
	for _, p := range places {
		if p.service != q.service || p.id != q.ids[0] || len(msg) < p.to || p.total > 0 && len(msg) != p.total {
			continue
		}
		id := uint16(msg[1])
		if p.head == 3 {
			id = id<<8 | uint16(msg[2])
		}
		if id != p.id {
			continue
		}
		m.set(0, p.head, t.l.echo)
		m.set(p.from, p.to, p.tag)
	}
}
