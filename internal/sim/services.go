package sim

import (
	"encoding/hex"
	"slices"
)

// lookup is the ECU's answer from its tables, before rules and faults.
func (e *ecu) lookup(req []byte) reply {
	switch sid := req[0]; sid {
	case 0x01:
		return e.currentData(req)
	case 0x02:
		return e.freezeFrame(req)
	case 0x03:
		return e.codesAs(sid, e.stored, req)
	case 0x07:
		return e.codesAs(sid, e.pending, req)
	case 0x0A:
		return e.codesAs(sid, e.permanent, req)
	case 0x04:
		return e.clear(req, 0x44)
	case 0x06:
		return e.monitorResults(req)
	case 0x09:
		return e.vehicleInfo(req)
	case 0x10, 0x3E:
		return e.session(req)
	case 0x14:
		if e.spec.UDSDTCs == nil {
			return refuse(nrcService)
		}
		if len(req) != 4 {
			return refuse(nrcLength)
		}
		return e.clear(req[:1], 0x54)
	case 0x19:
		return e.udsCodes(req)
	case 0x22:
		return e.dataByID(req)
	}
	return refuse(nrcService)
}

// bitmap is the four-byte support map that answers id 00, 20, 40 ...: bit 31 is the next id, bit 0 the next map, which is
// set when any later id is supported (SAE J1979).
func bitmap[T any](table map[byte]T, base byte) (out [4]byte, any bool) {
	if base%0x20 != 0 {
		return out, false
	}
	for id := range table {
		switch n := int(id) - int(base); {
		case n >= 1 && n <= 0x20:
			out[(n-1)/8] |= 0x80 >> ((n - 1) % 8)
			any = true
		case n > 0x20:
			out[3] |= 1
			any = true
		}
	}
	return out, any || base == 0
}

// find returns the data of an id: from the table, or its computed support map.
func find(table map[byte][]byte, id byte) []byte {
	if b, ok := table[id]; ok {
		return b
	}
	if m, ok := bitmap(table, id); ok {
		return m[:]
	}
	return nil
}

func (e *ecu) currentData(req []byte) reply {
	pids := req[1:]
	switch {
	case e.pids == nil:
		return refuse(nrcService)
	case len(pids) == 0 || len(pids) > 6:
		return refuse(nrcLength)
	case len(pids) > e.spec.MaxPIDs:
		switch e.spec.OverMax {
		case "silent":
			return reply{}
		case "first":
			pids = pids[:e.spec.MaxPIDs]
		default:
			b, _ := hex.DecodeString(e.spec.OverMax)
			return refuse(b[0])
		}
	}
	out := []byte{0x41}
	for _, id := range pids {
		if b := find(e.pids, id); b != nil {
			out = append(append(out, id), b...)
		}
	}
	if len(out) == 1 {
		return refuse(nrcSub)
	}
	return say(out...)
}

func (e *ecu) freezeFrame(req []byte) reply {
	pairs := req[1:]
	if e.freeze == nil {
		return refuse(nrcService)
	}
	if len(pairs) == 0 || len(pairs)%2 != 0 || len(pairs) > 6 {
		return refuse(nrcLength)
	}
	out := []byte{0x42}
	for ; len(pairs) > 0; pairs = pairs[2:] {
		if b := find(e.freeze, pairs[0]); b != nil && pairs[1] == 0 {
			out = append(append(out, pairs[0], 0), b...)
		}
	}
	if len(out) == 1 {
		return refuse(nrcSub)
	}
	return say(out...)
}

// codesAs answers 03, 07 and 0A: on CAN a count in front; on legacy buses three codes per message, filled with zeros, and
// no count (SAE J1979).
func (e *ecu) codesAs(sid byte, list, req []byte) reply {
	switch {
	case list == nil:
		return refuse(nrcService)
	case len(req) != 1:
		return refuse(nrcLength)
	case !e.legacy:
		return say(append([]byte{sid + 0x40, byte(len(list) / 2)}, list...)...)
	}
	var r reply
	for first := true; first || len(list) > 0; first = false {
		m := make([]byte, 7)
		m[0] = sid + 0x40
		list = list[copy(m[1:], list):]
		r.messages = append(r.messages, m)
	}
	return r
}

// clear empties the fault memory as 04 and 14 do; permanent codes stay.
func (e *ecu) clear(req []byte, positive byte) reply {
	if e.spec.DTCs == nil && e.spec.UDSDTCs == nil {
		return refuse(nrcService)
	}
	if len(req) != 1 {
		return refuse(nrcLength)
	}
	if e.stored != nil {
		e.stored = []byte{}
	}
	if e.pending != nil {
		e.pending = []byte{}
	}
	e.codes = nil
	if b, ok := e.pids[0x01]; ok && len(b) == 4 {
		e.pids[0x01] = []byte{0, b[1], b[2], b[2]} // lamp off, no code, every monitor to be run again
	}
	if e.freeze != nil {
		e.freeze = map[byte][]byte{0x02: {0, 0}}
	}
	return say(positive)
}

func (e *ecu) monitorResults(req []byte) reply {
	mids := req[1:]
	if e.monitors == nil {
		return refuse(nrcService)
	}
	if len(mids) == 0 || len(mids) > 6 {
		return refuse(nrcLength)
	}
	out := []byte{0x46}
	for _, id := range mids {
		if records, ok := e.monitors[id]; ok {
			for _, r := range records {
				out = append(append(out, id), r...)
			}
		} else if m, ok := bitmap(e.monitors, id); ok {
			out = append(append(out, id), m[:]...)
		}
	}
	if len(out) == 1 {
		return refuse(nrcSub)
	}
	return say(out...)
}

// vehicleInfo answers service 09. On legacy buses the map has a count in front and long items come as numbered messages of
// four bytes, with zeros in front of the first (SAE J1979).
func (e *ecu) vehicleInfo(req []byte) reply {
	if e.infotypes == nil {
		return refuse(nrcService)
	}
	if len(req) != 2 {
		return refuse(nrcLength)
	}
	id := req[1]
	b, ok := e.infotypes[id]
	if !ok {
		m, ok := bitmap(e.infotypes, id)
		switch {
		case !ok:
			return refuse(nrcSub)
		case e.legacy:
			return say(append([]byte{0x49, id, 1}, m[:]...)...)
		}
		return say(append([]byte{0x49, id}, m[:]...)...)
	}
	if !e.legacy || id%2 == 1 {
		return say(append([]byte{0x49, id}, b...)...)
	}
	var r reply
	b = append(make([]byte, (4-len(b)%4)%4), b...)
	for n := byte(1); len(b) > 0; n++ {
		r.messages = append(r.messages, append([]byte{0x49, id, n}, b[:4]...))
		b = b[4:]
	}
	return r
}

// session answers 10 01, 10 03 and 3E for ECUs that speak ISO 14229; P2 50 ms, P2* 5000 ms.
func (e *ecu) session(req []byte) reply {
	switch {
	case e.dids == nil && e.spec.UDSDTCs == nil:
		return refuse(nrcService)
	case len(req) != 2:
		return refuse(nrcLength)
	}
	sub := req[1] & 0x7F
	known := sub == 0 && req[0] == 0x3E || (sub == 1 || sub == 3) && req[0] == 0x10
	switch {
	case !known:
		return refuse(nrcSub)
	case req[1]&0x80 != 0: // positive answer suppressed
		return reply{}
	case req[0] == 0x3E:
		return say(0x7E, 0)
	}
	return say(0x50, sub, 0x00, 0x32, 0x01, 0xF4)
}

func (e *ecu) dataByID(req []byte) reply {
	ids := req[1:]
	switch {
	case e.dids == nil:
		return refuse(nrcService)
	case len(ids) == 0 || len(ids)%2 != 0 || len(ids)/2 > e.spec.MaxDIDs:
		return refuse(nrcLength)
	}
	out := []byte{0x62}
	for ; len(ids) > 0; ids = ids[2:] {
		if b := e.did(uint16(ids[0])<<8 | uint16(ids[1])); b != nil {
			out = append(append(out, ids[0], ids[1]), b...)
		}
	}
	if len(out) == 1 {
		return refuse(nrcRange)
	}
	return say(out...)
}

// did returns the data of a DID; the support maps of the OBD ranges F4xx, F6xx and F8xx are computed as for services 01, 06
// and 09 when the ECU has anything in that range.
func (e *ecu) did(id uint16) []byte {
	if b, ok := e.dids[id]; ok {
		return b
	}
	if base := id & 0xFF00; base == 0xF400 || base == 0xF600 || base == 0xF800 {
		in := map[byte]bool{}
		for k := range e.dids {
			if k&0xFF00 == base {
				in[byte(k)] = true
			}
		}
		if m, ok := bitmap(in, byte(id)); ok && len(in) > 0 {
			return m[:]
		}
	}
	return nil
}

// udsCodes answers service 19: 01, 02, 03, 04, 06 and 0A (ISO 14229-1).
func (e *ecu) udsCodes(req []byte) reply {
	if e.spec.UDSDTCs == nil {
		return refuse(nrcService)
	}
	if len(req) < 2 {
		return refuse(nrcLength)
	}
	sub, args := req[1], req[2:]
	if want, ok := map[byte]int{0x01: 1, 0x02: 1, 0x03: 0, 0x04: 4, 0x06: 4, 0x0A: 0}[sub]; !ok {
		return refuse(nrcSub)
	} else if len(args) != want {
		return refuse(nrcLength)
	}
	switch sub {
	case 0x01, 0x02, 0x0A:
		return e.listCodes(sub, args)
	case 0x03:
		out := []byte{0x59, sub}
		for _, c := range e.codes {
			for _, s := range c.snapshots {
				out = append(append(out, c.code[:]...), s[0])
			}
		}
		return say(out...)
	}
	i := slices.IndexFunc(e.codes, func(c udsCode) bool { return string(c.code[:]) == string(args[:3]) })
	if i < 0 {
		return refuse(nrcRange)
	}
	c := e.codes[i]
	records := c.snapshots
	if sub == 0x06 {
		records = c.extended
	}
	out := append(append([]byte{0x59, sub}, c.code[:]...), c.status)
	for _, r := range records {
		if args[3] == 0xFF || r[0] == args[3] {
			out = append(out, r...)
		}
	}
	return say(out...)
}

func (e *ecu) listCodes(sub byte, args []byte) reply {
	var list []byte
	n := 0
	for _, c := range e.codes {
		if sub == 0x0A || c.status&args[0]&e.available != 0 {
			list = append(append(list, c.code[:]...), c.status)
			n++
		}
	}
	if sub == 0x01 {
		return say(0x59, sub, e.available, e.format, byte(n>>8), byte(n))
	}
	return say(append([]byte{0x59, sub, e.available}, list...)...)
}
