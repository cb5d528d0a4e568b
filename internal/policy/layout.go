package policy

import (
	"obdgate/internal/obd"
	"obdgate/internal/obfcm"
	"obdgate/internal/reading"
)

// tagID is a place in layout.tags; 0 is "unclassified".
type tagID uint16

// layout is the policy compiled for bytes: which tag each byte of a diagnostic message has. Positions come from the
// tables of package obd, decisions from the rules; it holds neither of its own.
type layout struct {
	tags []Tag
	rank []uint8
	ids  map[Tag]tagID
	p    *Policy

	pids    [4][256]pidLayout // by prefix
	infos   [2][256]infoLayout
	mids    [2][256]tagID
	codes   [256]tagID // answers of services 03, 07, 0A by service
	reports [256]tagID // service 19 by sub-function
	recHead [256]tagID // uds.19.SS.dtc
	asks    [256]tagID // diag.request.SS

	flow, negative, ack, echo, session, kwpCode, kwpVIN tagID
}

// Prefixes under which the layout of service 01 comes back.
const (
	live     = iota // obd.01
	freeze          // obd.02
	mirror          // uds.22.F4
	snapshot        // uds.19.04.F4
)

var pidPrefix = [4]string{"obd.01.", "obd.02.", "uds.22.F4", "uds.19.04.F4"}

// pidLayout is one PID: how many data bytes it may have and the tag of each.
type pidLayout struct {
	known       bool
	least, most int
	bytes       []tagID
}

// infoLayout is one InfoType.
type infoLayout struct {
	tag   tagID
	known bool
	shape obd.InfoShape
	whole bool // consumption record: its decoder takes the answer whole
}

func newLayout(p *Policy) *layout {
	l := &layout{p: p, ids: map[Tag]tagID{}}
	l.id(Tag{})
	for i := range 256 {
		id, fields := hexByte(i), obd.Fields(byte(i))
		for kind, prefix := range pidPrefix {
			l.pids[kind][i] = l.pid(prefix+id, byte(i), fields)
		}
		for kind, prefix := range [...]string{"obd.09.", "uds.22.F8"} {
			shape, ok := obd.ShapeOf(byte(i))
			l.infos[kind][i] = infoLayout{l.key(prefix + id), ok, shape, !ok && obfcm.IsInfoType(byte(i))}
		}
		for kind, prefix := range [...]string{"obd.06.", "uds.22.F6"} {
			l.mids[kind][i] = l.key(prefix + id)
		}
		l.reports[i] = l.key("uds.19." + id)
		l.recHead[i] = l.key("uds.19." + id + ".dtc")
		l.asks[i] = l.key("diag.request." + id)
	}
	l.codes[0x03], l.codes[0x07], l.codes[0x0A] = l.key("obd.dtc.stored"), l.key("obd.dtc.pending"), l.key("obd.dtc.permanent")
	l.flow, l.negative, l.ack, l.echo = l.key("diag.flow-control"), l.key("diag.negative"), l.key("diag.acknowledge"), l.key("diag.echo")
	l.session, l.kwpCode, l.kwpVIN = l.key("uds.10"), l.key("kwp.18.dtc"), l.key("kwp.1A.90")
	return l
}

// hexByte writes a byte as keys have it.
func hexByte(b int) string { return "0123456789ABCDEF"[b>>4:b>>4+1] + "0123456789ABCDEF"[b&15:b&15+1] }

func (l *layout) id(t Tag) tagID {
	if i, ok := l.ids[t]; ok {
		return i
	}
	i := tagID(len(l.tags))
	l.tags, l.ids[t] = append(l.tags, t), i
	l.rank = append(l.rank, rankOf(t))
	return i
}

// rankOf orders tags for a frame that has several: the one that says most about the frame is shown. A named personal
// category before "unclassified", both before everything technical; what can be refused before what cannot; protocol
// bytes last.
func rankOf(t Tag) uint8 {
	switch {
	case t.Class == Personal && t.Category != NoCategory:
		return 5
	case t.Class != Technical:
		return 4
	case t.Category == Consumption:
		return 3
	case t.Category == Protocol:
		return 1
	}
	return 2
}

func (l *layout) key(k string) tagID { return l.id(l.p.TagKey(reading.Key(k))) }

// pid works out the tag of every data byte of a PID. A byte is technical when a technical field lies in it and no other;
// bits between fields belong to the PID, whose own tag then counts.
func (l *layout) pid(base string, pid byte, fields []obd.Field) pidLayout {
	least, most, known := obd.Lengths(pid)
	if !known {
		return pidLayout{}
	}
	whole := l.key(base)
	out := pidLayout{known: true, least: least, most: most, bytes: make([]tagID, most)}
	touched := make([]bool, most)
	put := func(i int, t tagID) {
		if i < most && (!touched[i] || l.rank[t] > l.rank[out.bytes[i]]) {
			out.bytes[i], touched[i] = t, true
		}
	}
	for i := range fields {
		f := &fields[i]
		k := base
		if !f.Only() {
			k += "." + f.Key
		}
		t := l.key(k)
		start, n := f.Bits()
		for b := start / 8; b <= (start+n-1)/8; b++ {
			put(b, t)
		}
	}
	for i := range out.bytes {
		if !touched[i] {
			out.bytes[i] = whole // reserved, or the map of supported fields
		}
	}
	return out
}

// did is the tag of a data identifier outside the mirrored ranges. It does not allocate.
func (l *layout) did(did uint16) tagID {
	const hex = "0123456789ABCDEF"
	b := [...]byte{'u', 'd', 's', '.', '2', '2', '.', hex[did>>12], hex[did>>8&0xF], hex[did>>4&0xF], hex[did&0xF]}
	if e := l.p.root.find(string(b[:]), true); e != nil {
		if t, ok := l.ids[e.tag]; ok {
			return t
		}
	}
	return 0
}
