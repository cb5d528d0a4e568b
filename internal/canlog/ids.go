package canlog

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"obdgate/internal/frame"
)

// IDs chooses frames by their identifier, before anything else looks at them. The zero value lets everything pass. Error
// reports and K-line messages have no identifier and are never named. Read-only once made.
type IDs struct {
	std  [(frame.MaxStandardID + 1) / 64]uint64
	ext  []uint32 // a hash table at most half full; noID where it is free
	any  bool     // something is named
	drop bool     // what is named is left out; else all others are
}

// ErrIDs marks a list of identifiers that cannot be read.
var ErrIDs = errors.New("identifiers are three hex digits (11 bits) or eight (29 bits), separated by commas; not: in front names those to leave out")

// ParseIDs reads "7E8,18DAF110" (only these) or "not:7E8,18DAF110" (all but these). Identifiers are spelt as in a candump
// log: their number of digits tells 11 from 29 bits. The error is ErrIDs.
func ParseIDs(s string) (*IDs, error) {
	list, drop := strings.CutPrefix(s, "not:")
	words := strings.Split(list, ",")
	ids := &IDs{ext: make([]uint32, 1<<(bits.Len(uint(len(words)))+1)), any: true, drop: drop}
	for i := range ids.ext {
		ids.ext[i] = noID
	}
	for _, word := range words {
		id, err := strconv.ParseUint(word, 16, 32)
		switch {
		case err != nil:
		case len(word) == 3 && id <= frame.MaxStandardID:
			ids.std[id/64] |= 1 << (id % 64)
			continue
		case len(word) == 8 && id <= frame.MaxExtendedID:
			*ids.slot(uint32(id)) = uint32(id)
			continue
		}
		return nil, fmt.Errorf("%q: %w", word, ErrIDs)
	}
	return ids, nil
}

// noID is no identifier.
const noID = ^uint32(0)

// slot returns the place of a 29-bit identifier, or the free one where it would be.
func (s *IDs) slot(id uint32) *uint32 {
	for at := id * 0x9E3779B1 >> 8; ; at++ { // Knuth's multiplicative hash
		if p := &s.ext[at&uint32(len(s.ext)-1)]; *p == id || *p == noID {
			return p
		}
	}
}

// Pass reports whether a frame passes.
func (s *IDs) Pass(id uint32, flags frame.Flags) bool {
	switch {
	case !s.any:
		return true
	case flags&(frame.Error|frame.Legacy) != 0:
		return s.drop
	}
	return s.has(id, flags&frame.Extended != 0) != s.drop
}

// has reports whether an identifier is named.
func (s *IDs) has(id uint32, extended bool) bool {
	if extended {
		return *s.slot(id) == id
	}
	return s.std[id/64%uint32(len(s.std))]>>(id%64)&1 == 1
}
