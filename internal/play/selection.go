package play

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"obdgate/internal/frame"
)

// Selection is which frames of a recording are wanted. The zero value is all of them.
type Selection struct {
	ids  []span
	From time.Duration // time since the first frame
	To   time.Duration // 0 = to the end
}

type span struct {
	lo, hi   uint32
	extended bool
}

// ErrSelection: the text is no list of identifiers.
var ErrSelection = errors.New("play: identifiers are hexadecimal, as in 7E8,100-1FF,18DAF110: three digits for 11 bits, eight for 29")

// ParseIDs reads identifiers and ranges of them, "7E8,100-1FF,18DAF110". Up to three digits are an 11-bit identifier, more
// a 29-bit one. "" selects all.
func (s *Selection) ParseIDs(text string) error {
	s.ids = nil
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		lo, ext, err := parseID(from)
		if err != nil {
			return err
		}
		hi := lo
		if ranged {
			var ext2 bool
			if hi, ext2, err = parseID(to); err != nil {
				return err
			}
			if ext2 != ext || hi < lo {
				return fmt.Errorf("%w: %q is no range", ErrSelection, part)
			}
		}
		s.ids = append(s.ids, span{lo, hi, ext})
	}
	return nil
}

func parseID(text string) (id uint32, extended bool, err error) {
	n, err := strconv.ParseUint(text, 16, 32)
	extended = len(text) > 3
	if err != nil || !extended && n > frame.MaxStandardID || n > frame.MaxExtendedID || len(text) > 8 {
		return 0, false, fmt.Errorf("%w: %q", ErrSelection, text)
	}
	return uint32(n), extended, nil
}

// Has reports whether f is wanted; f.Time is since the first frame.
func (s *Selection) Has(f *frame.Frame) bool {
	if f.Time < s.From || s.Over(f.Time) {
		return false
	}
	if s.ids == nil {
		return true
	}
	for _, x := range s.ids {
		if f.ID >= x.lo && f.ID <= x.hi && f.Is(frame.Extended) == x.extended && f.Flags&(frame.Error|frame.Legacy) == 0 {
			return true
		}
	}
	return false
}

// Over reports whether nothing at or after t is wanted.
func (s *Selection) Over(t time.Duration) bool { return s.To > 0 && t > s.To }
