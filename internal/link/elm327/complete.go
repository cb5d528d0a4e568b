package elm327

import (
	"time"

	"obdgate/internal/frame"
)

// tracker follows the lines of a reply as they come, to see when everybody who was asked has answered whole, or, where it is
// not known who will, that nobody is in the middle of an answer. What the adapter still waits for then cannot come, and its
// wait can be ended. It only decides when to stop listening, never what an answer is: judge looks at every line again. Anything
// odd switches it off, and the adapter's own timer decides.
type tracker struct {
	want int // answers, 0 = unknown
	bits int // of identifiers, 0 = nothing is followed
	ext  bool
	dlc  bool
	one  bool // one ECU was asked by its own address: its refusal is its answer
	take func(id uint32) bool

	ids  [8]uint32
	left [8]int // bytes of a long answer to come, 0 = answered
	n    int
	odd  bool
}

// line takes the data of one line.
func (t *tracker) line(data []byte) {
	if t.bits == 0 || t.odd {
		return
	}
	var f frame.Frame
	if parseLine(data, t.bits, t.dlc, &f) != nil || whole(f.Bytes(), t.ext) != nil || t.take != nil && !t.take(f.ID) {
		t.odd = true
		return
	}
	b := f.Bytes()
	if t.ext {
		b = b[1:]
	}
	i := 0
	for i < t.n && t.ids[i] != f.ID {
		i++
	}
	if i == len(t.ids) {
		t.odd = true
		return
	}
	switch b[0] >> 4 {
	case 0:
		if b[1] == 0x7F && (!t.one || b[0] >= 3 && b[3] == nrcPending) {
			return // to a question to everybody nobody refuses (ISO 14229-1); 78 promises the answer
		}
		if i == t.n {
			t.n++
		}
		t.ids[i], t.left[i] = f.ID, 0
	case 1:
		if i < t.n {
			t.odd = true
			return
		}
		t.n++
		t.ids[i], t.left[i] = f.ID, int(b[0]&15)<<8|int(b[1])-(len(b)-2)
	case 2:
		if i == t.n {
			t.odd = true
			return
		}
		t.left[i] = max(0, t.left[i]-(len(b)-1))
	default:
		t.odd = true
	}
}

// nrcPending is "response pending" (ISO 14229-1).
const nrcPending = 0x78

// complete: as many as were asked have answered, each whole.
func (t *tracker) complete() bool {
	return t.want > 0 && t.n >= t.want && t.between()
}

// between: somebody has answered, and nobody is in the middle of it.
func (t *tracker) between() bool {
	if t.odd || t.n == 0 {
		return false
	}
	for _, left := range t.left[:t.n] {
		if left > 0 {
			return false
		}
	}
	return true
}

// enough is when nothing more can come that the adapter should be left to wait for, 0 = not yet known. Most begin their wait
// anew with each answer, though everybody had the time to begin that the question gave.
func (a *adapter) enough() time.Duration {
	switch {
	case a.rep.cutOff:
		return 0
	case a.grace >= 0 && a.rep.track.complete():
		return a.rep.last + a.grace
	case a.over > 0 && !a.rep.waited && a.rep.track.between():
		return max(a.rep.last, a.over)
	}
	return 0
}

// frameText is how many characters a line of one frame has at most, 29-bit identifier and return included.
const frameText = maxCANDigits + 1

// way is how long n characters are on their way there and back, with some room.
func (a *adapter) way(n int) time.Duration {
	d := a.trip + 5*time.Millisecond
	if a.baud > 0 {
		d += time.Duration(n) * 10 * time.Second / time.Duration(a.baud)
	}
	return d
}
