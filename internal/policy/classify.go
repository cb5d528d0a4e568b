package policy

import (
	"obdgate/internal/obd"
)

// marks has one tagID per byte of a message; 0, the start, is unclassified. All functions here only ever set a mark where
// they know which field the byte belongs to.
type marks []tagID

// set marks from..to (exclusive), cut to the message.
func (m marks) set(from, to int, t tagID) {
	for i := from; i < to && i < len(m); i++ {
		m[i] = t
	}
}

// question is the last thing asked of an ECU: it says how many identifiers share one answer.
type question struct {
	service byte
	n       int // identifiers; more than fit make the question unusable (n = 0)
	ids     [8]uint16
	serial  uint64 // when it was asked, in questions; 0 = none
}

// ask reads a request into a question.
func ask(msg []byte, serial uint64) question {
	q := question{service: msg[0], serial: serial}
	width, body := 1, msg[1:]
	switch q.service {
	case 0x02:
		width = 2
	case 0x22:
		width = 2
	}
	for ; len(body) >= width && q.n < len(q.ids); body = body[width:] {
		id := uint16(body[0])
		if q.service == 0x22 {
			id = id<<8 | uint16(body[1])
		}
		q.ids[q.n] = id
		q.n++
	}
	if len(body) > 0 {
		q.n = 0
	}
	return q
}

func (q *question) asked(id uint16) bool {
	for _, w := range q.ids[:q.n] {
		if w == id {
			return true
		}
	}
	return false
}

// longest questions by service, in bytes; what follows in the same message is not a question.
var longest = [256]int{
	0x01: 7, 0x02: 7, 0x03: 1, 0x04: 1, 0x06: 7, 0x07: 1, 0x09: 7, 0x0A: 1, 0x10: 2, 0x11: 2, 0x14: 5, 0x18: 4, 0x19: 8,
	0x1A: 2, 0x21: 2, 0x22: 17, 0x3E: 2,
}

// request marks what a tester sent. Only questions of reading services are technical; what is written stays unclassified.
func (l *layout) request(m marks, msg []byte) {
	if n := longest[msg[0]]; n > 0 && l.tags[l.asks[msg[0]]].Class == Technical {
		m.set(0, n, l.asks[msg[0]])
	}
}

// answer marks what an ECU sent. q is the question it answers, nil when none was seen.
func (l *layout) answer(m marks, msg []byte, q *question) {
	if q != nil && q.service+0x40 != msg[0] {
		q = nil
	}
	switch msg[0] {
	case 0x7F:
		if len(msg) <= 3 {
			m.set(0, 3, l.negative)
		}
	case 0x41:
		l.current(m, msg, q)
	case 0x42:
		l.freezeFrame(m, msg, q)
	case 0x43, 0x47, 0x4A:
		if len(msg) >= 2 && len(msg) >= 2+2*int(msg[1]) { // a short answer is no answer
			m.set(0, 1, l.echo)
			m.set(1, 2+2*int(msg[1]), l.codes[msg[0]-0x40])
		}
	case 0x46:
		l.monitors(m, msg)
	case 0x49:
		if len(msg) > 2 && (l.infos[0][msg[1]].tag != 0 || q != nil && q.asked(uint16(msg[1]))) {
			m.set(0, 2, l.echo)
			l.info(m, msg, 2, &l.infos[0][msg[1]], true)
			l.bitmapInfos(m, msg)
		}
	case 0x59:
		l.report(m, msg)
	case 0x62:
		l.data(m, msg, q)
	case 0x50:
		if len(msg) == 2 || len(msg) == 6 {
			m.set(0, 2, l.ack)
			m.set(2, 6, l.session)
		}
	case 0x44, 0x54, 0x51, 0x60, 0x7E:
		if len(msg) <= 2 {
			m.set(0, 2, l.ack)
		}
	case 0x58:
		if len(msg) >= 2 && len(msg) >= 2+3*int(msg[1]) {
			m.set(0, 1, l.echo)
			m.set(1, 2+3*int(msg[1]), l.kwpCode)
		}
	case 0x5A:
		if len(msg) >= 2+17 && msg[1] == 0x90 {
			m.set(0, 2, l.echo)
			m.set(2, len(msg), l.kwpVIN)
		}
	}
}

// current is service 01. Cut like obd.Decode does: one PID has the frame's length, several the table's, and only when
// there is exactly one way to cut them.
func (l *layout) current(m marks, msg []byte, q *question) {
	if len(msg) < 2 {
		return
	}
	if q != nil && q.n == 1 {
		if uint16(msg[1]) == q.ids[0] {
			l.onePID(m, msg, live, msg[1], 1, 2)
		}
		return
	}
	if q != nil && q.n == 0 {
		q = nil
	}
	if c := l.cut(msg[1:], 0, q); c.ways == 1 {
		l.records(m, &c, live, 0)
		m.set(0, 1, l.echo)
	} else if q == nil {
		l.onePID(m, msg, live, msg[1], 1, 2)
	}
}

// onePID marks a message that holds one PID: the echo from..head, then the data.
func (l *layout) onePID(m marks, msg []byte, kind int, pid byte, from, head int) {
	p := &l.pids[kind][pid]
	if !p.known {
		return
	}
	n := len(msg) - head
	if n < p.least {
		return
	}
	if n > p.most {
		n = p.least
	}
	m.set(0, 1, l.echo)
	m.set(from, head, l.echo)
	for i := range n {
		m[head+i] = p.bytes[i]
	}
}

func (l *layout) freezeFrame(m marks, msg []byte, q *question) {
	if len(msg) < 3 {
		return
	}
	if q == nil || q.n <= 1 {
		if q != nil && q.n == 1 && uint16(msg[1]) != q.ids[0] {
			return
		}
		l.onePID(m, msg, freeze, msg[1], 1, 3)
		return
	}
	if c := l.cut(msg[1:], 1, q); c.ways == 1 {
		l.records(m, &c, freeze, 1)
		m.set(0, 1, l.echo)
	}
}

// cutting is the state of cutting a combined answer of service 01 or 02.
type cutting struct {
	l     *layout
	body  []byte
	q     *question
	head  int
	ways  int
	steps int
	n     int
	cur   [maxRecords]record
	found [maxRecords]record
	nf    int
}

type record struct{ at, length int }

const (
	maxRecords = 16   // of one combined answer
	maxSteps   = 4096 // of cutting one; more is hostile
)

// cut finds the ways to read body as records of id, head bytes and data. It does not allocate.
func (l *layout) cut(body []byte, head int, q *question) cutting {
	c := cutting{l: l, body: body, q: q, head: head}
	c.from(0)
	if c.steps > maxSteps {
		c.ways = 0
	}
	return c
}

func (c *cutting) from(at int) {
	if c.steps++; c.steps > maxSteps {
		return
	}
	if at == len(c.body) {
		if c.ways++; c.ways == 1 {
			c.found, c.nf = c.cur, c.n
		}
		return
	}
	id := c.body[at]
	p := &c.l.pids[live][id]
	start := at + 1 + c.head
	if !p.known || c.n == maxRecords || start+p.least > len(c.body) || c.q != nil && !c.q.asked(uint16(id)) {
		return
	}
	for _, r := range c.cur[:c.n] {
		if c.body[r.at] == id {
			return
		}
	}
	for n := p.least; n <= p.most && start+n <= len(c.body) && c.ways < 2; n++ {
		c.cur[c.n] = record{at, n}
		c.n++
		c.from(start + n)
		c.n--
	}
}

func (l *layout) records(m marks, c *cutting, kind, head int) {
	for _, r := range c.found[:c.nf] {
		at := 1 + r.at
		m.set(at, at+1+head, l.echo)
		p := &l.pids[kind][c.body[r.at]]
		for i := range r.length {
			m[at+1+head+i] = p.bytes[i]
		}
	}
}

// monitors is service 06: bitmaps, or records of nine bytes that repeat the MID.
func (l *layout) monitors(m marks, msg []byte) {
	if len(msg) < 2 {
		return
	}
	size := 9
	if obd.IsBitmap(msg[1]) {
		size = 5
	}
	for at := 1; at+size <= len(msg) && obd.IsBitmap(msg[at]) == (size == 5); at += size {
		m.set(0, 1, l.echo)
		m.set(at, at+size, l.mids[0][msg[at]])
	}
}

// info marks the data of one InfoType from head on. onCAN says that a type with a count byte has one.
func (l *layout) info(m marks, msg []byte, head int, t *infoLayout, onCAN bool) {
	b := msg[head:]
	if !t.known {
		if t.whole {
			m.set(head, len(msg), t.tag)
		}
		return
	}
	s := t.shape
	counted := s.Counted && len(b) > 0 && (onCAN || !s.List && b[0] == 1 && len(b) > s.Width || s.List && s.Width > 0 && len(b) == 1+int(b[0])*s.Width ||
		s.List && s.Width == 0 && b[0] < 0x20)
	n, items := 0, 1
	if counted {
		n = 1
		if s.List {
			items = int(b[0])
		}
	} else if s.List && s.Width > 0 {
		items = len(b) / s.Width
	}
	switch {
	case s.Width == 0 && len(b) > n:
		n = len(b)
	case s.Width == 0, len(b) < n+s.Width, !s.List && !obd.Blank(b[n+s.Width:]):
		n = 0 // not what it claims to be: cut short or empty, or something behind it
	case s.List:
		n += min(items, (len(b)-n)/s.Width) * s.Width
	default:
		n = len(b) // one item, padded
	}
	m.set(head, head+n, t.tag)
}

// bitmapInfos marks several support bitmaps in one answer.
func (l *layout) bitmapInfos(m marks, msg []byte) {
	for at := 1; at+5 <= len(msg) && obd.IsBitmap(msg[at]); at += 5 {
		m.set(at, at+5, l.infos[0][msg[at]].tag)
	}
}

// report is service 19: lists of codes by their arithmetic, snapshots field by field.
func (l *layout) report(m marks, msg []byte) {
	if len(msg) < 2 {
		return
	}
	sub := msg[1]
	head, size := 0, 0
	switch sub {
	case 0x01, 0x07, 0x11, 0x12:
		head = 6
	case 0x02, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x13, 0x15:
		head, size = 3, 4
	case 0x03, 0x14:
		head, size = 2, 4
	case 0x42:
		head, size = 6, 5
	case 0x55:
		head, size = 5, 4
	case 0x04, 0x06:
		l.stored(m, msg)
		return
	default:
		return
	}
	if len(msg) < head || size == 0 && len(msg) > head || size > 0 && (len(msg)-head)%size != 0 {
		return
	}
	m.set(0, 2, l.echo)
	m.set(2, len(msg), l.reports[sub])
}

// stored is a snapshot (04) or extended data (06) of one code: code and status, then, of a snapshot, record number, count
// and DIDs with their data. The first DID of unknown length ends what can be told apart; the rest keeps the tag of the
// report as a whole.
func (l *layout) stored(m marks, msg []byte) {
	if len(msg) < 6 {
		return
	}
	sub := msg[1]
	m.set(0, 2, l.echo)
	m.set(2, 6, l.recHead[sub])
	m.set(6, len(msg), l.reports[sub])
	if sub != 0x04 {
		return
	}
	for at := 6; at+2 <= len(msg); {
		n := int(msg[at+1])
		m.set(at, at+2, l.recHead[sub])
		at += 2
		for ; n > 0; n-- {
			if at+2 > len(msg) || msg[at] != 0xF4 {
				return
			}
			p := &l.pids[snapshot][msg[at+1]]
			if !p.known || p.least != p.most || at+2+p.most > len(msg) {
				return
			}
			m.set(at, at+2, l.echo)
			at += 2
			for i := range p.most {
				m[at+i] = p.bytes[i]
			}
			at += p.most
		}
	}
}

// legacy marks a K-line or J1850 message, which is whole in itself: codes come three to a message without a count,
// InfoTypes in numbered messages of four bytes.
func (l *layout) legacy(m marks, msg []byte) {
	if len(msg) == 0 {
		return
	}
	if msg[0]&0x40 == 0 {
		l.request(m, msg)
		return
	}
	switch msg[0] {
	case 0x43, 0x47, 0x4A:
		if len(msg) == 7 {
			m.set(0, 1, l.echo)
			m.set(1, 7, l.codes[msg[0]-0x40])
		}
	case 0x49:
		if len(msg) >= 3 && len(msg) <= 7 {
			m.set(0, 2, l.echo)
			m.set(2, len(msg), l.infos[0][msg[1]].tag)
		}
	case 0x41:
		if len(msg) >= 2 {
			l.onePID(m, msg, live, msg[1], 1, 2)
		}
	case 0x42:
		if len(msg) >= 3 {
			l.onePID(m, msg, freeze, msg[1], 1, 3)
		}
	default:
		l.answer(m, msg, nil)
	}
}
