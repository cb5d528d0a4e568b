package classify

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"obdgate/internal/frame"
)

// IDs chooses frames by their identifier, before anything else looks at them. The zero value lets everything pass. Error
// reports and K-line messages have no identifier and are never named. Read-only once made.
type IDs struct {
	std  [(frame.MaxStandardID + 1) / 64]uint64
	ext  map[uint32]bool
	any  bool // something is named
	drop bool // what is named is left out; else all others are
}

// ErrIDs marks a list of identifiers that cannot be read.
var ErrIDs = errors.New("identifiers are three hex digits (11 bits) or eight (29 bits), separated by commas; not: in front names those to leave out")

// ParseIDs reads "7E8,18DAF110" (only these) or "not:7E8,18DAF110" (all but these). Identifiers are spelt as in a candump
// log: their number of digits tells 11 from 29 bits. The error is ErrIDs.
func ParseIDs(s string) (*IDs, error) {
	list, drop := strings.CutPrefix(s, "not:")
	ids := &IDs{ext: map[uint32]bool{}, any: true, drop: drop}
	for _, word := range strings.Split(list, ",") {
		id, err := strconv.ParseUint(word, 16, 32)
		switch {
		case err != nil:
		case len(word) == 3 && id <= frame.MaxStandardID:
			ids.std[id/64] |= 1 << (id % 64)
			continue
		case len(word) == 8 && id <= frame.MaxExtendedID:
			ids.ext[uint32(id)] = true
			continue
		}
		return nil, fmt.Errorf("%q: %w", word, ErrIDs)
	}
	return ids, nil
}

// pass reports whether a frame passes.
func (s *IDs) pass(id uint32, flags frame.Flags) bool {
	if !s.any {
		return true
	}
	named := false
	switch flags & (frame.Extended | frame.Error | frame.Legacy) {
	case 0:
		named = s.std[id/64%uint32(len(s.std))]>>(id%64)&1 == 1
	case frame.Extended:
		named = s.ext[id]
	}
	return named != s.drop
}
