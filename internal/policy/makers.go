package policy

import (
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
)

// Makers is what is known of the vehicles of every maker. The zero Makers knows none.
type Makers struct {
	All []isotp.Address        // every pair any maker has, those of Places too
	Of  func(wmi string) Maker // what this maker has; called once when a VIN tells the maker, never for a frame
}

// Maker is what the vehicles of one maker have beyond the standard.
type Maker struct {
	Pairs  []isotp.Address
	Places []Place
}

// WithMakers lets the stream itself tell whose vehicle it is of. From a VIN on that was asked for and answered whole, and
// that is technical, the pairs and places of its maker count, on that bus only: the same identifiers mean other things in
// another make, and before a VIN nothing is known. Then a pair's answers are followed only behind a question of the tester
// to it, as BMW's are: until then its identifier may be broadcast. Of several VINs on a bus the one of the lowest identifier
// decides, as in a scan; another maker behind the same identifier is another vehicle.
func WithMakers(m Makers) Option {
	return func(t *Tagger) {
		if m.Of == nil {
			return
		}
		t.makers = &makers{of: m.Of, ext: map[uint32]bool{}}
		for _, a := range m.All {
			if !followable(a) {
				continue
			}
			for _, id := range [...]uint32{a.Tx, a.Rx} {
				switch {
				case standard(id, a.Extended29):
				case a.Extended29:
					t.makers.ext[id] = true
				default:
					t.makers.std[id/64] |= 1 << (id % 64)
				}
			}
		}
	}
}

type makers struct {
	of    func(wmi string) Maker
	std   [(frame.MaxStandardID + 1) / 64]uint64 // identifiers of any maker's pairs
	ext   map[uint32]bool
	buses [256]vehicle
}

// vehicle is whose vehicle a bus is of.
type vehicle struct {
	told  bool
	by    uint32 // identifier that told the VIN
	wmi   [3]byte
	knows *knowledge
}

// knowledge is a Maker in the form frames are looked up in. Read-only once made.
type knowledge struct {
	std, ext map[uint32]role
	pair     map[uint64]uint64
	places   map[uint64][]knownPlace
}

// followable reports whether a pair is one that is not followed without being told of it.
func followable(a isotp.Address) bool {
	if a.Legacy || a.Ext && a.Tx == extTester {
		return false
	}
	if a.Extended29 {
		_, isOBD := obd29(a.Rx)
		return !isOBD
	}
	return a.Tx <= frame.MaxStandardID && a.Rx <= frame.MaxStandardID && (a.Rx < 0x7E8 || a.Rx > 0x7EF)
}

// standard reports whether an identifier keeps the role it has in every make.
func standard(id uint32, extended bool) bool {
	if extended {
		_, is := obd29(id)
		return is
	}
	return id >= isotp.Functional11 && id <= 0x7EF || id == extTester
}

// perhaps reports whether the identifier is one of some maker's pairs.
func (m *makers) perhaps(f *frame.Frame) bool {
	if f.Flags&frame.Extended != 0 {
		return m.ext[f.ID]
	}
	return f.ID <= frame.MaxStandardID && m.std[f.ID/64]>>(f.ID%64)&1 == 1
}

// role is what the identifier is for in the vehicle of the frame's bus, none when its maker is not known or has no such pair.
func (m *makers) role(f *frame.Frame) role {
	k := m.buses[f.Bus].knows
	if k == nil || !m.perhaps(f) {
		return none
	}
	if f.Flags&frame.Extended != 0 {
		return k.ext[f.ID]
	}
	return k.std[f.ID]
}

// spokenTo reports whether the tester has asked the sender of a maker's answer, in this vehicle.
func (t *Tagger) spokenTo(f *frame.Frame, r role) bool {
	ext, addr := r == fromOther, byte(0)
	if ext {
		if f.Len == 0 {
			return false
		}
		addr = f.Data[0]
	}
	s := t.sessions[sessionKey(f.ID, f.Is(frame.Extended), f.Bus, ext, addr)]
	return s != nil && s.role == r && s.q.serial != 0
}

// vinLength is that of ISO 3779.
const vinLength = 17

// learn takes the maker from an answer with a VIN; m are its marks. Only bytes that are technical decide, so that a masked
// stream teaches the same.
func (t *Tagger) learn(s *session, f *frame.Frame, m marks, msg []byte) {
	at := len(msg) - vinLength
	switch {
	case at < 3 || at > 4, s.role != fromExt && !t.reserved(f):
		return // a maker's own pair is followed because of a VIN and tells none
	case at == 3 && msg[0] == 0x49 && msg[1] == 0x02 && msg[2] == 1,
		at == 3 && msg[0] == 0x62 && msg[1] == 0xF1 && msg[2] == 0x90,
		msg[0] == 0x62 && msg[1] == 0xF8 && msg[2] == 0x02 && (at == 3 || msg[3] == 1):
	default:
		return
	}
	for i := range msg {
		if t.l.tags[m[i]].Class != Technical {
			return
		}
	}
	for _, c := range msg[at:] {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return
		}
	}
	v := &t.makers.buses[f.Bus]
	wmi := [3]byte(msg[at:])
	if v.told && (f.ID > v.by || f.ID == v.by && wmi == v.wmi) {
		return
	}
	if !v.told || wmi != v.wmi {
		t.forgetVehicle(f.Bus)
		v.wmi, v.knows = wmi, t.know(t.makers.of(string(wmi[:])))
	}
	v.told, v.by = true, f.ID
}

// forgetVehicle ends the conversations that only the maker of the vehicle explains.
func (t *Tagger) forgetVehicle(bus uint8) {
	v := &t.makers.buses[bus]
	if v.knows != nil {
		for tx, rx := range v.knows.pair {
			for _, key := range [...]uint64{tx, rx} {
				key |= uint64(bus) << 32
				if s := t.sessions[key]; s != nil {
					t.lose(s)
					delete(t.sessions, key)
				}
			}
		}
	}
	*v = vehicle{}
}

// know compiles a maker, nil when nothing is known of it.
func (t *Tagger) know(m Maker) *knowledge {
	if len(m.Pairs) == 0 && len(m.Places) == 0 {
		return nil
	}
	k := &knowledge{std: map[uint32]role{}, ext: map[uint32]role{}, pair: map[uint64]uint64{}, places: map[uint64][]knownPlace{}}
	for _, a := range m.Pairs {
		k.follow(a)
	}
	for _, p := range m.Places {
		if key, known, ok := t.place(p); ok {
			k.follow(p.Addr)
			k.places[key] = append(k.places[key], known)
		}
	}
	return k
}

func (k *knowledge) follow(a isotp.Address) {
	if !followable(a) {
		return
	}
	tx, rx := toECU, fromECU
	if a.Ext {
		tx, rx = toOther, fromOther
	}
	ids := k.std
	if a.Extended29 {
		ids = k.ext
	}
	if !standard(a.Tx, a.Extended29) {
		ids[a.Tx] = tx
	}
	if !standard(a.Rx, a.Extended29) {
		ids[a.Rx] = rx
	}
	k.pair[sessionKey(a.Tx, a.Extended29, 0, a.Ext, a.TxTarget)] = sessionKey(a.Rx, a.Extended29, 0, a.Ext, a.RxTarget)
}
