package monitor

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/policy"
)

// Counts are what was heard.
type Counts struct {
	Frames     uint64
	Technical  uint64
	Personal   uint64
	Shown      uint64 // written, or counted under Only
	Bytes      uint64 // of data
	Dropped    uint64 // came faster than they were written
	Faults     uint64 // reports of the bus or the adapter, damaged frames
	OtherIDs   uint64 // frames of identifiers beyond the first 4096
	Elapsed    time.Duration
	Categories map[policy.Category]*Category

	ids map[uint64]*ID
}

// Category counts what a category's frames carry. A byte counts for its frame's category, and as personal where it is.
type Category struct {
	Frames, Bytes, PersonalBytes uint64
}

// ID counts the frames of one identifier on one bus.
type ID struct {
	ID                  uint32
	Extended            bool
	Bus                 uint8
	Frames, Bytes       uint64
	Technical, Personal uint64
	First, Last         time.Duration
}

// Rate is frames per second between the first and the last, 0 for a single one.
func (i *ID) Rate() float64 {
	if i.Frames < 2 || i.Last <= i.First {
		return 0
	}
	return float64(i.Frames-1) / (i.Last - i.First).Seconds()
}

// maxIDs bounds the table: a bus has some hundred identifiers, a babbling one has millions.
const maxIDs = 4096

// IDs are the identifiers heard, by bus and number.
func (c *Counts) IDs() []*ID {
	return slices.SortedFunc(maps.Values(c.ids), func(a, b *ID) int {
		switch {
		case a.Bus != b.Bus:
			return cmp.Compare(a.Bus, b.Bus)
		case a.Extended != b.Extended:
			if b.Extended {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.ID, b.ID)
	})
}

func (c *Counts) add(f *frame.Frame, tag policy.FrameTag) {
	c.Frames++
	c.Bytes += uint64(f.Len)
	technical := tag.Class == policy.Technical
	if technical {
		c.Technical++
	} else {
		c.Personal++
	}
	category := tag.Category
	if category == "" {
		category = policy.NoCategory
	}
	k := c.Categories[category]
	if k == nil { // as many as the policy has
		k = &Category{}
		c.Categories[category] = k
	}
	k.Frames++
	k.Bytes += uint64(f.Len)
	for p := tag.Personal; p != 0; p &= p - 1 {
		k.PersonalBytes++
	}
	key := uint64(f.ID) | uint64(f.Flags&(frame.Extended|frame.Error|frame.Legacy))<<32 | uint64(f.Bus)<<40
	i := c.ids[key]
	if i == nil {
		if len(c.ids) == maxIDs {
			c.OtherIDs++
			return
		}
		i = &ID{ID: f.ID, Extended: f.Is(frame.Extended), Bus: f.Bus, First: f.Time}
		c.ids[key] = i
	}
	i.Frames++
	i.Bytes += uint64(f.Len)
	i.Last = f.Time
	if technical {
		i.Technical++
	} else {
		i.Personal++
	}
}

// String is the identifier as candump prints it.
func (i *ID) String() string {
	f := frame.Frame{ID: i.ID}
	if i.Extended {
		f.Flags = frame.Extended
	}
	return f.IDString()
}

// Share is one category with its name.
type Share struct {
	policy.Category
	Frames, Bytes, PersonalBytes uint64
}

// ByBytes are the categories heard, those with the most bytes first.
func (c *Counts) ByBytes() []Share {
	var out []Share
	for name, k := range c.Categories {
		out = append(out, Share{name, k.Frames, k.Bytes, k.PersonalBytes})
	}
	slices.SortFunc(out, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Category, b.Category))
	})
	return out
}
