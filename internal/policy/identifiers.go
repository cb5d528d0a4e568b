package policy

import (
	"bytes"

	"obdgate/internal/obd"
)

// data is service 22. With one DID asked the answer is its data; several are cut at the DIDs that were asked, as uds does;
// without the question only DIDs of known length can be told.
func (l *layout) data(m marks, msg []byte, q *question) {
	if len(msg) < 4 {
		return
	}
	first := uint16(msg[1])<<8 | uint16(msg[2])
	if q == nil || q.n == 0 {
		if l.exactly(first, len(msg)-3) {
			m.set(0, 3, l.echo)
			l.didData(m, msg, first, 3, len(msg))
		}
		return
	}
	if q.n == 1 {
		if first == q.ids[0] {
			m.set(0, 3, l.echo)
			l.didData(m, msg, first, 3, len(msg))
		}
		return
	}
	left := *q
	for at := 1; at+3 <= len(msg); {
		did := uint16(msg[at])<<8 | uint16(msg[at+1])
		if !left.take(did) {
			break
		}
		end, certain := l.extent(msg, at+2, did, &left)
		if !certain {
			clear(m)
			return
		}
		m.set(at, at+2, l.echo)
		l.didData(m, msg, did, at+2, end)
		if end < len(msg) && l.open(did) {
			break // a personal value of unknown length: where it ends is a guess that must not free what follows
		}
		at = end
	}
	m.set(0, 1, l.echo)
}

// take removes id from the question; false when it was not in it.
func (q *question) take(id uint16) bool {
	for i, w := range q.ids[:q.n] {
		if w == id {
			copy(q.ids[i:], q.ids[i+1:q.n])
			q.n--
			return true
		}
	}
	return false
}

// extent finds where the data of did ends: by its length, or at the next DID that was asked.
func (l *layout) extent(msg []byte, from int, did uint16, left *question) (end int, certain bool) {
	if p := &l.pids[mirror][byte(did)]; did>>8 == 0xF4 && p.known && p.least == p.most {
		return from + p.least, from+p.least <= len(msg)
	}
	end = len(msg)
	rest := msg[from:]
	for _, w := range left.ids[:left.n] {
		mark := [2]byte{byte(w >> 8), byte(w)}
		i := bytes.Index(rest[1:], mark[:])
		if i < 0 {
			continue
		}
		if bytes.Contains(rest[1+i+1:], mark[:]) {
			return 0, false
		}
		end = min(end, from+1+i)
	}
	return end, true
}

// exactly reports whether a DID has n data bytes and can have no other number.
func (l *layout) exactly(did uint16, n int) bool {
	low := byte(did)
	switch did >> 8 {
	case 0xF4:
		p := &l.pids[mirror][low]
		return p.known && n >= p.least && n <= p.most
	case 0xF6:
		return obd.IsBitmap(low) && n == 4 || !obd.IsBitmap(low) && n%8 == 0
	case 0xF8:
		t := &l.infos[1][low]
		return t.known && t.shape.Width > 0 && (n == t.shape.Width || t.shape.Counted && n == t.shape.Width+1)
	}
	return did == didVIN && n == 17
}

const didVIN = 0xF190

// open reports whether a DID is not technical and its length not known.
func (l *layout) open(did uint16) bool {
	low := byte(did)
	switch did >> 8 {
	case 0xF4:
		if p := &l.pids[mirror][low]; p.known {
			return p.least != p.most
		}
	case 0xF6:
		return l.tags[l.mids[1][low]].Class != Technical
	case 0xF8:
		return l.tags[l.infos[1][low].tag].Class != Technical
	}
	return l.tags[l.did(did)].Class != Technical
}

// didData marks the data of one DID, from..to of msg.
func (l *layout) didData(m marks, msg []byte, did uint16, from, to int) {
	low := byte(did)
	switch did >> 8 {
	case 0xF4:
		p := &l.pids[mirror][low]
		n := to - from
		if !p.known || n < p.least {
			break
		}
		if n > p.most {
			n = p.least
		}
		for i := range n {
			m[from+i] = p.bytes[i]
		}
	case 0xF6:
		n := (to - from) / 8 * 8
		if obd.IsBitmap(low) {
			n = 4
		}
		m[:to].set(from, from+n, l.mids[1][low])
	case 0xF8:
		l.info(m[:to], msg[:to], from, &l.infos[1][low], false)
	default:
		m.set(from, to, l.did(did))
	}
}
