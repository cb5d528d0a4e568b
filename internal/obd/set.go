package obd

import (
	"encoding/binary"
	"math/bits"

	"obdgate/internal/reading"
)

// Set is a set of PIDs, InfoTypes or MIDs. The zero value is empty. Set is comparable.
type Set struct{ w [4]uint64 }

// Add puts id into the set.
func (s *Set) Add(id byte) { s.w[id>>6] |= 1 << (id & 63) }

// Remove takes id out of the set.
func (s *Set) Remove(id byte) { s.w[id>>6] &^= 1 << (id & 63) }

// Has reports whether id is in the set.
func (s Set) Has(id byte) bool { return s.w[id>>6]>>(id&63)&1 == 1 }

// Len returns the number of ids.
func (s Set) Len() int {
	n := 0
	for _, w := range s.w {
		n += bits.OnesCount64(w)
	}
	return n
}

// IDs returns the ids in ascending order.
func (s Set) IDs() []byte {
	out := make([]byte, 0, s.Len())
	for i := range 256 {
		if s.Has(byte(i)) {
			out = append(out, byte(i))
		}
	}
	return out
}

// Union returns the ids of both.
func (s Set) Union(o Set) Set {
	for i := range s.w {
		s.w[i] |= o.w[i]
	}
	return s
}

// AddBitmap adds what one support bitmap says: base is the id asked (00, 20 … E0), the most significant bit of v stands
// for base+1 and the least significant for base+20h, the next bitmap (J1979 table of supported PIDs).
func (s *Set) AddBitmap(base byte, v uint32) {
	for i := range 32 {
		if id := int(base) + 1 + i; v>>(31-i)&1 == 1 && id <= 0xFF {
			s.Add(byte(id))
		}
	}
}

// IsBitmap reports whether id asks for a support bitmap: 00, 20, 40 … E0.
func IsBitmap(id byte) bool { return id&0x1F == 0 }

// Supported collects what one ECU's answers to the bitmap questions of a service (01, 02, 06, 09) say it supports.
// Readings of other ECUs must be kept out by the caller. The bitmap ids themselves are in the set where a bitmap names
// them.
func Supported(service byte, readings []reading.Reading) Set {
	var s Set
	for _, r := range readings {
		c, ok := r.Value.(reading.Code)
		if !ok || len(r.Raw) < 6 || r.Raw[0] != service+0x40 || !IsBitmap(r.Raw[1]) || c.N > 1<<32-1 {
			continue
		}
		s.AddBitmap(r.Raw[1], uint32(c.N))
	}
	return s
}

// DIDs collects what the support bitmaps of one UDS range say (high F4, F6 or F8): 22 F400, F420 …; same bit order.
func DIDs(high byte, readings []reading.Reading) Set {
	var s Set
	for _, r := range readings {
		if len(r.Raw) == 7 && r.Raw[0] == 0x62 && r.Raw[1] == high && IsBitmap(r.Raw[2]) {
			s.AddBitmap(r.Raw[2], binary.BigEndian.Uint32(r.Raw[3:]))
		}
	}
	return s
}

// Budget is the most answer bytes Plan lets one combined request draw: long answers overrun the buffers of cheap
// adapters.
const Budget = 60

// Plan packs PIDs into service 01 requests of up to most ids (1 to 6), ascending. A PID whose length no row knows is asked
// alone, and so is each when most is 1. Bitmaps are packed like any other PID when they are in the set.
func Plan(pids Set, most int) [][]byte {
	most = min(max(most, 1), 6)
	var out [][]byte
	var cur []byte
	room := 0
	for _, p := range pids.IDs() {
		_, n, known := Lengths(p)
		if !known {
			out = append(out, []byte{0x01, p})
			continue
		}
		if cur == nil || len(cur) > most || room < n+1 {
			if cur != nil {
				out = append(out, cur)
			}
			cur, room = []byte{0x01}, Budget
		}
		cur = append(cur, p)
		room -= n + 1
	}
	if cur != nil {
		out = append(out, cur)
	}
	return out
}
