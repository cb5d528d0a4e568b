package policy_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/obd"
	"obdgate/internal/obfcm"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/uds"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// known is a frame with what its maker knows of its bytes: which carry nothing but technical fields or transport.
type known struct {
	f       frame.Frame
	clear   [64]bool // may be shown
	form    [64]bool // not shown, and says what the bytes behind it are
	message int      // index of the message it belongs to, -1 = none
}

// part is a piece of a message: bytes, and whether they may be shown.
type part struct {
	b     []byte
	clear bool
	form  bool
}

func tech(b ...byte) part { return part{b: b, clear: true} }
func priv(b ...byte) part { return part{b: b} }

// form are bytes nobody may see that say how to read the rest: an identifier no rule names.
func form(b ...byte) part { return part{b: b, form: true} }

// drawn are n arbitrary bytes.
func drawn(t *rapid.T, n int) []byte {
	return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "bytes")
}

var technicalPIDs = []byte{0x04, 0x05, 0x0B, 0x0C, 0x0F, 0x1F, 0x2F, 0x31, 0x42, 0xA6}
var personalPIDs = []byte{0x0D, 0x11, 0x49, 0x5A, 0x61}
var pidBytes = map[byte]int{0x04: 1, 0x05: 1, 0x0B: 1, 0x0C: 2, 0x0F: 1, 0x1F: 2, 0x2F: 1, 0x31: 2, 0x42: 2, 0xA6: 4, 0x0D: 1, 0x11: 1, 0x49: 1, 0x5A: 1, 0x61: 1}

// exchange draws a question and its answer.
func exchange(t *rapid.T) (question []byte, answer []part) {
	switch rapid.IntRange(0, 11).Draw(t, "kind") {
	case 0: // VIN
		return []byte{9, 2}, []part{tech(0x49, 2, 1), tech([]byte("WVWZZZCD0NW000001")...)}
	case 1: // consumption
		return []byte{9, 0x17}, []part{tech(0x49, 0x17, 1), tech(drawn(t, 16)...)}
	case 2: // a maker's DID
		n := rapid.IntRange(1, 40).Draw(t, "n")
		return []byte{0x22, 0xD1, 0x0D}, []part{tech(0x62, 0xD1, 0x0D), priv(drawn(t, n)...)}
	case 3: // codes
		q := []byte{0x19, 2, 0xFF}
		return q, []part{tech(0x59, 2, 0xFF), tech(drawn(t, 4*rapid.IntRange(0, 9).Draw(t, "n"))...)}
	case 4: // snapshot: engine values, speed, then the maker's own
		return []byte{0x19, 4, 3, 1, 0, 0xFF}, []part{tech(0x59, 4, 3, 1, 0, 8, 1, 4), tech(0xF4, 5), tech(drawn(t, 1)...), tech(0xF4, 0x0D), priv(drawn(t, 1)...),
			tech(0xF4, 0x0C), tech(drawn(t, 2)...), form(0x17, 0x01), priv(drawn(t, 4)...)}
	case 5: // part number
		return []byte{0x22, 0xF1, 0x87}, []part{tech(0x62, 0xF1, 0x87), tech(drawn(t, rapid.IntRange(1, 24).Draw(t, "n"))...)}
	case 6: // refusal
		return []byte{0x22, 0xF1, 0x91}, []part{tech(0x7F, 0x22, 0x31)}
	case 7: // freeze frame
		if rapid.Bool().Draw(t, "speed") {
			return []byte{2, 0x0D, 0}, []part{tech(0x42, 0x0D, 0), priv(drawn(t, 1)...)}
		}
		return []byte{2, 0x04, 0}, []part{tech(0x42, 0x04, 0), tech(drawn(t, 1)...)}
	case 8: // stored codes
		n := rapid.IntRange(0, 12).Draw(t, "n")
		return []byte{3}, []part{tech(0x43, byte(n)), tech(drawn(t, 2*n)...)}
	}
	q := []byte{1}
	a := []part{tech(0x41)}
	for _, pid := range rapid.SliceOfNDistinct(rapid.SampledFrom(append(append([]byte(nil), technicalPIDs...), personalPIDs...)), 1, 6, rapid.ID[byte]).Draw(t, "pids") {
		q = append(q, pid)
		v := drawn(t, pidBytes[pid])
		p := part{b: v}
		for _, x := range technicalPIDs {
			p.clear = p.clear || x == pid
		}
		a = append(a, tech(pid), p)
	}
	return q, a
}

// build cuts parts into frames that know what they carry.
func build(id uint32, parts []part, pad byte, message int) []known {
	var msg []byte
	var ok, form []bool
	for _, p := range parts {
		msg = append(msg, p.b...)
		for range p.b {
			ok, form = append(ok, p.clear), append(form, p.form)
		}
	}
	var out []known
	at := 0
	for i, f := range segment(id, false, 0, msg, pad) {
		k := known{f: f, message: message}
		head := 1
		if i == 0 && len(msg) > 7 {
			head = 2
		}
		for j := range int(f.Len) {
			if j < head {
				k.clear[j] = true
			} else if at < len(msg) {
				k.clear[j], k.form[j] = ok[at], form[at]
				at++
			}
		}
		out = append(out, k)
	}
	return out
}

// traffic draws a session of several ECUs: answers interleaved, some damaged, strangers' frames between them.
func traffic(t *rapid.T) []known {
	pad := rapid.SampledFrom([]byte{0, 0x55, 0xAA, 0xCC, 0x37}).Draw(t, "pad")
	var out []known
	message := 0
	for range rapid.IntRange(1, 5).Draw(t, "rounds") {
		var queues [][]known
		for _, ecu := range rapid.SliceOfNDistinct(rapid.Uint32Range(0, 7), 1, 3, rapid.ID[uint32]).Draw(t, "ecus") {
			q, a := exchange(t)
			out = append(out, build(0x7E0+ecu, []part{tech(q...)}, pad, message)...)
			message++
			answer := build(0x7E8+ecu, a, pad, message)
			message++
			if n := len(answer); n > 1 && rapid.IntRange(0, 3).Draw(t, "damage") == 0 {
				drop := rapid.IntRange(0, n-1).Draw(t, "drop")
				answer = append(answer[:drop:drop], answer[drop+1:]...)
				for i := range answer { // nobody can know what the rest was
					for j := range answer[i].clear {
						answer[i].clear[j] = answer[i].clear[j] && j == 0 || j == 1 && answer[i].f.Data[0]>>4 == 1
					}
				}
			}
			queues = append(queues, answer)
		}
		for len(queues) > 0 {
			i := rapid.IntRange(0, len(queues)-1).Draw(t, "next")
			if len(queues[i]) == 0 {
				queues = append(queues[:i], queues[i+1:]...)
				continue
			}
			out = append(out, queues[i][0])
			queues[i] = queues[i][1:]
			if rapid.IntRange(0, 4).Draw(t, "stranger") == 0 {
				out = append(out, known{f: frame.New(0x700, 0, drawn(t, 8)...), message: -1})
			}
		}
	}
	for i := range out {
		out[i].f.Seq, out[i].f.Time = uint64(i+1), time.Duration(i)*time.Millisecond
	}
	return out
}

func framesOf(ks []known) []frame.Frame {
	out := make([]frame.Frame, len(ks))
	for i := range ks {
		out[i] = ks[i].f
	}
	return out
}

// Exactly the bytes that carry technical fields are shown: not one more, and not one less.
func TestTagsAreExact(t *testing.T) {
	p := defaultPolicy(t)
	rapid.Check(t, func(t *rapid.T) {
		in := traffic(t)
		out := run(policy.NewTagger(p, nil), framesOf(in))
		require.Len(t, out, len(in))
		for i, g := range out {
			for j := range int(g.f.Len) {
				require.Equal(t, in[i].clear[j], g.ft.Personal>>j&1 == 0, "frame %d (%s) byte %d", i+1, g.f.IDString(), j)
			}
		}
	})
}

// Whatever stands in the personal and unknown bytes, what is shown stays the same to the bit.
func TestPersonalBytesChangeNothing(t *testing.T) {
	p := defaultPolicy(t)
	rapid.Check(t, func(t *rapid.T) {
		in := traffic(t)
		other := make([]known, len(in))
		copy(other, in)
		for i := range other {
			for j := range int(other[i].f.Len) {
				if !in[i].clear[j] && !in[i].form[j] {
					other[i].f.Data[j] = rapid.Byte().Draw(t, "other")
				}
			}
		}
		a, b := run(policy.NewTagger(p, nil), framesOf(in)), run(policy.NewTagger(p, nil), framesOf(other))
		for i := range a {
			require.Equal(t, a[i].ft, b[i].ft, "frame %d", i+1)
			require.Equal(t, a[i].masked(), b[i].masked(), "frame %d", i+1)
		}
	})
}

// Live, with a clock that ticks between frames, and from a recording: the same tags.
func TestLiveAndRecordedAgree(t *testing.T) {
	p := defaultPolicy(t)
	rapid.Check(t, func(t *rapid.T) {
		frames := framesOf(traffic(t))
		at := time.Duration(0)
		for i := range frames {
			at += time.Duration(rapid.SampledFrom([]int{0, 1, 300, 999, 1000, 4000}).Draw(t, "gap")) * time.Millisecond
			frames[i].Time = at
		}
		recorded := run(policy.NewTagger(p, nil), frames)
		tg := policy.NewTagger(p, nil)
		var live []tagged
		emit := func(f *frame.Frame, ft policy.FrameTag) { live = append(live, tagged{*f, ft}) }
		for i := range frames {
			if i > 0 {
				for step := range 5 {
					gap := frames[i].Time - frames[i-1].Time
					tg.Expire(frames[i-1].Time+gap*time.Duration(step)/5, emit)
				}
			}
			tg.Push(&frames[i], emit)
		}
		tg.Flush(emit)
		require.Equal(t, recorded, live)
	})
}

// technicalReadings reassembles a log with the receiver that diag uses, pairs answers with questions, and decodes.
func technicalReadings(p *policy.Policy, frames []frame.Frame) []string {
	rx := map[uint32]*isotp.Receiver{}
	question := map[uint32][]byte{}
	var out []string
	for i := range frames {
		f := &frames[i]
		if f.ID < 0x7E0 || f.ID > 0x7EF {
			continue
		}
		if rx[f.ID] == nil {
			r := isotp.NewReceiver(isotp.Config{Passive: true}, nil)
			rx[f.ID] = &r
		}
		e := rx[f.ID].Push(f.Bytes(), f.Time)
		if e.Message == nil {
			continue
		}
		msg := append([]byte(nil), e.Message...)
		if f.ID < 0x7E8 {
			question[f.ID+8] = msg
			delete(rx, f.ID+8) // as diag does: what was not finished before is not continued
			continue
		}
		for _, decode := range [...]func(req, resp []byte) ([]reading.Reading, error){obd.Decode, uds.Decode, obfcm.Decode} {
			readings, err := decode(question[f.ID], msg)
			if err != nil {
				continue
			}
			for _, r := range readings {
				if tg := p.Tag(r); tg.Tag().Class == policy.Technical {
					id := ""
					if v, ok := r.Value.(reading.Identity); ok {
						id = v.Reveal()
					}
					out = append(out, fmt.Sprintf("%d %03X %s %v %s", i, f.ID, r.Key, r.Value, id))
				}
			}
		}
	}
	return out
}

// A masked log still parses, and every technical reading decoded from it is the one the original gives.
func TestMaskedLogDecodesAlike(t *testing.T) {
	p := defaultPolicy(t)
	some := false
	rapid.Check(t, func(t *rapid.T) {
		frames := framesOf(traffic(t))
		var masked []frame.Frame
		for _, g := range run(policy.NewTagger(p, nil), frames) {
			masked = append(masked, g.masked())
		}
		want := technicalReadings(p, frames)
		some = some || len(want) > 0
		require.Equal(t, want, technicalReadings(p, masked))
	})
	require.True(t, some)
}

// No order of arrival, repetition or loss loses a frame or changes their order.
func TestEveryFrameComesOutInOrder(t *testing.T) {
	p, db := defaultPolicy(t), database(t)
	rapid.Check(t, func(t *rapid.T) {
		var frames []frame.Frame
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			id := rapid.SampledFrom([]uint32{0x7DF, 0x7E0, 0x7E8, 0x7E9, 0x6F1, 0x612, 0x18DAF110, 0x18DA10F1, 0x153, 0x1F8}).Draw(t, "id")
			b := drawn(t, rapid.IntRange(0, 8).Draw(t, "len"))
			if len(b) > 0 && rapid.Bool().Draw(t, "pci") {
				b[0] = rapid.SampledFrom([]byte{0x03, 0x10, 0x21, 0x22, 0x30, 0xF1, 0x12}).Draw(t, "first")
			}
			frames = append(frames, frame.New(id, 0, b...))
		}
		number(frames)
		out := run(policy.NewTagger(p, db), frames)
		require.Len(t, out, len(frames))
		for i, g := range out {
			require.True(t, reflect.DeepEqual(frames[i], g.f))
		}
	})
}
