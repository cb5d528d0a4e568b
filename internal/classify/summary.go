package classify

import (
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/policy"
)

// Count is a number of frames and of their data bytes.
type Count struct{ Frames, Bytes uint64 }

func (c *Count) add(o Count) { c.Frames, c.Bytes = c.Frames+o.Frames, c.Bytes+o.Bytes }

// CategoryCount is what a recording has of one category.
type CategoryCount struct {
	Category  policy.Category
	Technical bool
	Count
	Over []Count // by Slot, all of the same length
}

// Summary is what was seen in a recording. Frames are counted by their own tag: one that mixes technical and personal
// signals is personal.
type Summary struct {
	Lines      int            // with damaged, blank and comment lines
	Damaged    int            // lines that are no frame
	Faults     []canlog.Fault // the first 20 of them
	Interfaces []string
	LeftOut    uint64 // K-line and J1850 messages, which pcapng has no place for
	Dropped    int    // frames that Options.IDs left out; they are in no other count but Lines

	// All counts what passed IDs. Where Options.Sieves nothing is tagged, and so the others are empty.
	All, Technical, Personal Count
	Categories               []CategoryCount // those that occur, the technical ones first

	Start time.Duration // tenth of a second of the first frame, since 1970-01-01 UTC or whatever the recording counts from
	Slot  time.Duration // length of the pieces of time in CategoryCount.Over
}

func (s *sequence) summary() *Summary {
	out := &Summary{Lines: s.lines, Damaged: s.bad, Faults: s.faults, Interfaces: s.buses, LeftOut: s.leftOut, Dropped: s.dropped, All: s.passed, Start: s.time.start, Slot: s.time.width}
	slots := s.time.used()
	for i, c := range categories {
		x := CategoryCount{Category: c, Technical: i <= lastTechnical}
		for _, slot := range s.time.slots[:slots] {
			x.Over = append(x.Over, slot[i])
			x.add(slot[i])
		}
		if x.Frames == 0 {
			continue
		}
		out.All.add(x.Count)
		if x.Technical {
			out.Technical.add(x.Count)
		} else {
			out.Personal.add(x.Count)
		}
		out.Categories = append(out.Categories, x)
	}
	return out
}

// lastTechnical is the place of the last technical category.
var lastTechnical = func() int {
	for i, c := range categories {
		if c == policy.Protocol {
			return i
		}
	}
	return -1
}()

// slots is how many pieces of time a summary has at most: enough for a page's width.
const slots = 128

// timeline counts by pieces of time that become longer as the recording does.
type timeline struct {
	began bool
	start time.Duration
	width time.Duration
	slots [slots][len(categories)]Count
	last  int
}

func (t *timeline) used() int {
	if !t.began {
		return 0
	}
	return t.last + 1
}

// begin sets where time is counted from, once.
func (t *timeline) begin(at time.Duration) {
	if !t.began {
		t.began, t.start, t.width = true, at-at%grain, grain
	}
}

// take adds what a tally has. A clock that was set back counts as the beginning.
func (t *timeline) take(y *tally) {
	for i := range y.entries {
		e := &y.entries[i]
		at := max(0, e.at-t.start)
		for at/t.width >= slots {
			t.halve()
		}
		slot := int(at / t.width)
		t.last = max(t.last, slot)
		t.slots[slot][e.category].add(e.Count)
	}
}

// halve doubles the length of the pieces.
func (t *timeline) halve() {
	for i := range slots / 2 {
		for c := range t.slots[i] {
			sum := t.slots[2*i][c]
			sum.add(t.slots[2*i+1][c])
			t.slots[i][c] = sum
		}
	}
	clear(t.slots[slots/2:])
	t.width *= 2
	t.last /= 2
}
