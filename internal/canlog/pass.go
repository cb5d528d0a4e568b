package canlog

import (
	"encoding/binary"

	"obdgate/internal/frame"
)

// Pass reads lines of b[:n] from the beginning on as long as ids lets them pass, and nothing about them is new: classic
// frames with six digits of the fraction, of the second and the interface of the line that scan read last. It returns how
// many lines, how many data bytes they have together, and where the line begins that does not pass. If that is such a line
// too, and only ids leave it out, left is its length; else left is 0, and the line is Sift's to read, which tells a line of
// another kind from a damaged one. b must have Reach bytes more than n. What is read here, Sift reads too, and the same.
func (q *Quick) Pass(b []byte, n int, ids *IDs) (lines, bytes, next, left int) {
	h0, h1, bus, all, id := q.head[0], q.head[1], q.bus, q.busAll, 20+q.busLen&7+1
	if all == 0 || len(b) < n+Reach {
		return
	}
	for next < n {
		p := (*[Reach]byte)(b[next:])
		w := binary.LittleEndian.Uint64(p[12:])
		if binary.LittleEndian.Uint64(p[0:]) != h0 || binary.LittleEndian.Uint64(p[4:]) != h1 || binary.LittleEndian.Uint64(p[20:])&all != bus || w>>48 != 0x2029 { // ") "
			return
		}
		out := false
		ok := pairs.decimal[uint16(w)] & pairs.decimal[uint16(w>>16)] & pairs.decimal[uint16(w>>32)]
		d, data := (*[32]byte)(p[id:]), id+4
		if d[3] == '#' {
			a, e := hexPair(d, 0), hexPair(d, 1)
			x := uint32(a&0xFF)<<4 | uint32(e&0x0F)
			if x > frame.MaxStandardID {
				return
			}
			out = ids.any && ids.has(x, false) == ids.drop
			ok &= a & e
		} else {
			a, e, y, z := hexPair(d, 0), hexPair(d, 2), hexPair(d, 4), hexPair(d, 6)
			x := uint32(a&0xFF)<<24 | uint32(e&0xFF)<<16 | uint32(y&0xFF)<<8 | uint32(z&0xFF)
			if d[8] != '#' || x > frame.MaxExtendedID {
				return
			}
			out = ids.any && ids.has(x, true) == ids.drop
			ok &= a & e & y & z
			data += 5
		}
		d = (*[32]byte)(p[data:])
		k := 8
		if d[16] == '\n' {
			ok &= hexPair(d, 0) & hexPair(d, 2) & hexPair(d, 4) & hexPair(d, 6)
			ok &= hexPair(d, 8) & hexPair(d, 10) & hexPair(d, 12) & hexPair(d, 14)
		} else {
			for k = 0; k < 8 && hexPair(d, 2*k) != 0; k++ {
			}
			if d[2*k] != '\n' {
				return
			}
		}
		if ok&good == 0 {
			return
		}
		if out {
			return lines, bytes, next, data + 2*k + 1
		}
		lines, bytes, next = lines+1, bytes+k, next+data+2*k+1
	}
	return
}
