package elm327

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// Between adapter and computer characters get lost, doubled or changed: a UART that overruns, a radio, a bad cable. The
// lines of CAN frames carry no check. One character lost or doubled shows (the digits are odd in number, or not those of a
// frame), two in one line may not, and a digit that became another never does.
//
// So a line that has been caught is not believed at its first word any more: from then on a line of an answer counts when
// two replies to the same question have it, digit by digit, and the question is put until that holds for all of it. It
// is caught when a question draws a damaged reply and, put again, a sound one; an adapter that always prints what we do
// not understand is not noisy. A sound line pays nothing.
//
// What was answered before the line was caught counts as the one reply when its question is put again.
//
// What is left: the same line damaged twice alike, and what was taken before the first damage that shows; Caps.Lossy
// tells the caller of that, who reads it again (scan.Run does). With one character in 300 lost, a line of 19 characters is
// hit twice in 0.2 % of cases, and looks sound in a tenth of these; twice alike it is seen in fewer than one of 10^7.

// errUnsteady: no two replies are alike. On a noisy line the value of a thing that changes all the time is not told.
var errUnsteady = fmt.Errorf("%w: characters get lost, and no two answers are alike", link.ErrGarbled)

// noisyAttempts bounds the asking on a noisy line.
const noisyAttempts = 8

// votes gathers the replies to one question.
type votes struct {
	list []vote
	long []int // how many lines each reply had
	hurt bool  // a reply was damaged
}

// vote is a line, and in how many replies it stood. Its place is what it is compared with other lines by: of a long answer
// the number in it, else where it stood in the reply.
type vote struct {
	f     frame.Frame
	n     int
	early bool // it has stood in a reply that came before the line was caught
	part  byte // 0: a message of its own, 1: of a long answer
	place int
}

// take adds the sound lines of a reply.
func (v *votes) take(o *outcome, ext bool) {
	v.hurt = v.hurt || damaged(o.bad)
	v.long = append(v.long, o.lines)
	last := map[uint32]int{}
	for i := range o.frames {
		f := &o.frames[i]
		w := vote{f: *f, n: 1, place: int(f.Seq)}
		if b := pci(f, ext); len(b) > 0 {
			switch b[0] >> 4 {
			case 1:
				w.part, w.place = 1, 0
				last[f.ID] = 0
			case 2: // counted modulo 16; fewer are lost in a row
				w.part = 1
				w.place = last[f.ID] + 1 + (int(b[0]&15)-last[f.ID]-1)&15
				last[f.ID] = w.place
			}
		}
		v.add(w)
	}
}

// maxEarlier bounds what is kept of the replies of a line that was never caught.
const maxEarlier = 256

// earlier tells one question from another.
type earlier struct {
	id    uint32
	flags frame.Flags
	len   uint8
	data  [8]byte
	ext   bool
}

func earlierOf(j *job) earlier {
	k := earlier{id: j.frame.ID, flags: j.frame.Flags, len: j.frame.Len, ext: j.hint.Ext != nil}
	copy(k.data[:], j.frame.Bytes())
	return k
}

// remembered are the votes that a question begins with: the reply it drew before the line was caught, once.
func (l *Link) remembered(j *job) votes {
	k := earlierOf(j)
	v := l.earlier[k]
	if !l.lossy() {
		return votes{}
	}
	delete(l.earlier, k)
	return v
}

// keepEarly keeps a sound reply for the case that the line turns out to be bad.
func (l *Link) keepEarly(j *job, o *outcome, ext bool) {
	k := earlierOf(j)
	if _, known := l.earlier[k]; l.lossy() || len(o.frames) == 0 || !known && len(l.earlier) >= maxEarlier {
		return
	}
	var v votes
	v.take(o, ext)
	for i := range v.list {
		v.list[i].early = true
	}
	if l.earlier == nil {
		l.earlier = map[earlier]votes{}
	}
	l.earlier[k] = v
}

// damaged: characters were lost or changed, for all that one reply can tell.
func damaged(err error) bool {
	return err != nil && !errors.Is(err, errStranger) && !errors.Is(err, errOdd) && !errors.Is(err, errNoChecksum)
}

func (v *votes) add(w vote) {
	for i := range v.list {
		if x := &v.list[i]; x.part == w.part && (w.part == 0 || x.place == w.place) && sameFrame(&x.f, &w.f) {
			x.n++
			return
		}
	}
	v.list = append(v.list, w)
}

// pci is the frame from its PCI on, nil on a bus without.
func pci(f *frame.Frame, ext bool) []byte {
	if f.Is(frame.Legacy) {
		return nil
	}
	b := f.Bytes()
	if ext {
		b = b[min(1, len(b)):]
	}
	return b
}

func sameFrame(a, b *frame.Frame) bool {
	return a.ID == b.ID && a.Flags == b.Flags && a.Len == b.Len && a.Data == b.Data
}

// lines is how many the answer has: those of the longest reply. Two lines are one where the return between them is lost, so a
// shorter reply proves nothing; of many replies one may have a line too many.
func (v *votes) lines() int {
	n := slices.Sorted(slices.Values(v.long))
	if len(n) > 3 {
		n = n[:len(n)-1]
	}
	return n[len(n)-1]
}

// agreed returns the lines that two replies have, in the order of each ECU, and whether they are the whole answer: as many as
// it has, and no long answer of which a part is missing that came.
func (v *votes) agreed(o *outcome, ext bool) (frames []frame.Frame, all bool) {
	var order []uint32
	var in []vote
	for _, w := range v.list {
		if w.n < 2 {
			continue
		}
		if !slices.Contains(order, w.f.ID) {
			order = append(order, w.f.ID)
		}
		in = append(in, w)
	}
	slices.SortStableFunc(in, func(a, b vote) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.f.ID), slices.Index(order, b.f.ID)), cmp.Compare(a.part, b.part), cmp.Compare(a.place, b.place))
	})
	all = len(in) >= v.lines() && (len(in) > 0 || o.bad == nil && len(v.list) == 0)
	for i := 0; i < len(in); {
		n := 1
		for in[i].part == 1 && i+n < len(in) && in[i+n].part == 1 && in[i+n].f.ID == in[i].f.ID {
			n++
		}
		all = all && (o.short || in[i].part == 0 || wholeAnswer(in[i:i+n], ext))
		i += n
	}
	for i := range in {
		frames = append(frames, in[i].f)
	}
	return frames, all
}

// wholeAnswer: the lines of a long answer, one for each place, are as many as its length needs.
func wholeAnswer(part []vote, ext bool) bool {
	b := pci(&part[0].f, ext)
	if b[0]>>4 != 1 {
		return false
	}
	left := int(b[0]&15)<<8 | int(b[1]) - (len(b) - 2)
	for i := range part {
		if part[i].place != i {
			return false
		}
		if i > 0 {
			left -= len(pci(&part[i].f, ext)) - 1
		}
	}
	return left <= 0
}

// unsteady: at some place three replies had three different lines. What it was long ago does not count.
func (v *votes) unsteady() bool {
	for i := range v.list {
		n := 0
		for j := range v.list {
			x, y := &v.list[i], &v.list[j]
			if x.f.ID != y.f.ID || x.part != y.part || x.place != y.place || y.early && y.n < 2 {
				continue
			}
			if n++; y.n > 1 {
				n = 0
				break
			}
		}
		if n > 2 {
			return true
		}
	}
	return false
}

// weigh decides what of a reply counts. On a line that was never caught all of it does.
func (l *Link) weigh(o *outcome, v *votes, ext bool) {
	if o.status.worst() != NoStatus || o.status.has(NotUnderstood) || o.bad == nil && !v.hurt && !l.lossy() {
		return
	}
	v.take(o, ext)
	switch {
	case l.lossy():
	case o.bad != nil:
		return
	default:
		l.caught()
	}
	frames, all := v.agreed(o, ext)
	o.frames = frames
	switch {
	case all:
		o.bad, o.odd = nil, nil
	case o.bad == nil:
		o.bad = errUnsteady
	}
}

// caught notes that the line loses characters.
func (l *Link) caught() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now.Lossy = true
}

// lossy reports whether it was caught, be it in what the adapter said about itself.
func (l *Link) lossy() bool {
	if l.a.noisy && !l.caps().Lossy {
		l.caught()
	}
	return l.caps().Lossy
}

// blurred reports whether a line is a word of the adapter but for one character.
func (r *reply) blurred() bool {
	found := false
	r.lines(func(line []byte, _ time.Duration) {
		for _, w := range [...]string{"OK", "STOPPED", "NO DATA"} {
			found = found || string(line) != w && near(string(line), w)
		}
	})
	return found
}

// near: two words are the same but for one character lost, doubled or changed on the way.
func near(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 0:
		return i == len(a) || a[i+1:] == b[i+1:]
	case 1:
		return a[i:] == b[i+1:]
	}
	return false
}
