package policy_test

import (
	"bytes"
	"fmt"
	"strings"
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
)

// An overlay is refused, or nothing the built-in policy calls personal by a rule has become technical.
func FuzzOverlay(f *testing.F) {
	p, err := policy.Default()
	require.NoError(f, err)
	seeds := []string{
		"version: s\nrules:\n  - {id: x, category: movement, match: [obd.01.0C.**], reason: {en: r}}\n",
		"version: s\nrules:\n  - {id: x, category: condition, match: [obd.01.0D], reason: {en: r}}\n",
		"version: s\nrules:\n  - {id: x, category: condition, match: [\"uds.22.D1*\", \"uds.22.{F198,D10D}\"], reason: {en: r}}\n",
		"version: s\nrules:\n  - {id: x, category: service, match: [\"uds.{19,22}.{00-FF}*.**\"], reason: {en: r}}\n",
		"version: s\ncategories:\n  movement: {retention: {keep: never}}\n",
		"version: [", "",
	}
	for _, s := range seeds {
		f.Add(s)
	}
	var personal []reading.Key
	for _, root := range []string{"obd.01.%02X", "obd.02.%02X", "uds.22.F4%02X", "uds.22.F1%02X", "uds.19.04.F4%02X", "uds.19.04.17%02X", "uds.19.06.%02X", "kwp.21.%02X", "customer.x%02X"} {
		for i := range 256 {
			k := reading.Key(fmt.Sprintf(root, i))
			if t := p.TagKey(k); t.Rule != "" && t.Class != policy.Technical {
				personal = append(personal, k, k+".x")
			}
		}
	}
	f.Fuzz(func(t *testing.T, yaml string) {
		q, err := policy.Load(strings.NewReader(yaml))
		if err != nil {
			return
		}
		for _, k := range personal {
			if q.TagKey(k).Class == policy.Technical {
				t.Fatalf("%s became technical", k)
			}
		}
		for _, c := range p.Categories() {
			if q.Category(c.Key).Class != c.Class {
				t.Fatalf("category %s changed its tag", c.Key)
			}
		}
		if q.TagKey("nobody.named.this").Class == policy.Technical {
			t.Fatal("an unnamed key became technical")
		}
	})
}

// FuzzTagger reads bytes as a stream of frames. A byte that is shown must be transport, a question, a refusal or an echo,
// or belong to a technical reading that the decoders, which know nothing of the tagger, find in the same message.
func FuzzTagger(f *testing.F) {
	for _, s := range []string{
		"7DF 0201050000000000|7E8 03410573AAAAAAAA|7E8 03410D3200000000",
		"7DF 0209020000000000|7E8 1014490201575657|7E0 3000000000000000|7E8 215A5A5A43443057|7E8 2230303030303031",
		"7E0 0322F18700000000|7E8 0762F18741424344|7E8 0762F18741424344|7E8 0662D10D00028600",
		"7E0 0722F187F189F198|7E8 101062F187303030|7E8 21F18931F1983233|7E8 2234353637000000",
		"7E0 0619040301FFFF00|7E8 1013590403010008|7E8 210103F40573F40D|7E8 22321701123455AA",
		"7E8 0643020123456700|7E8 0446010102030405|7E8 0A44000000000000|7E8 0459060301000000",
		"7E8 100A460180200034|7E8 21000000FFFF0000|7E0 072EF19012345678|7E8 0649080200010002",
	} {
		var b []byte
		for line := range strings.SplitSeq(s, "|") {
			fr := parseFrame(f, strings.ReplaceAll(line, " ", "#"))
			b = append(b, byte(fr.ID>>8), byte(fr.ID), 8)
			b = append(b, fr.Bytes()...)
		}
		f.Add(b)
	}
	p, err := policy.Default()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		var frames []frame.Frame
		for len(b) >= 3 && len(frames) < 40 {
			id, n := uint32(b[0])<<8|uint32(b[1]), int(b[2]%9)
			if n > len(b)-3 {
				break
			}
			frames = append(frames, frame.New(0x7DF+id%17, 0, b[3:3+n]...))
			frames[len(frames)-1].Time = time.Duration(b[2]>>4) * 300 * time.Millisecond
			b = b[3+n:]
		}
		for i := range frames {
			frames[i].Seq = uint64(i + 1)
			if i > 0 {
				frames[i].Time += frames[i-1].Time
			}
		}
		shown := explained(p, frames)
		out := run(policy.NewTagger(p, nil), frames)
		require.Len(t, out, len(frames))
		for i, g := range out {
			for j := range int(g.f.Len) {
				if g.ft.Personal>>j&1 == 0 && !shown[i][j] {
					t.Fatalf("frame %d byte %d is shown and nothing explains it", i+1, j)
				}
			}
			if g.ft.Class == policy.Technical && g.ft.Rule == "" {
				t.Fatalf("frame %d is technical by no rule", i+1)
			}
		}
	})
}

// explained says of every byte whether something other than the tagger explains showing it.
func explained(p *policy.Policy, frames []frame.Frame) [][64]bool {
	out := make([][64]bool, len(frames))
	type place struct{ frame, at int }
	rx := map[uint32]*isotp.Receiver{}
	where := map[uint32][]place{}
	asked := map[uint32][][]byte{} // every question so far: the tagger may use fewer
	for i := range frames {
		f := &frames[i]
		pdu, err := isotp.Decode(f.Bytes(), false)
		if err != nil {
			continue
		}
		head := int(f.Len) - len(pdu.Data)
		switch pdu.Kind {
		case isotp.FlowControl:
			head = 3
		case isotp.Single:
			head = 1
		}
		for j := range head {
			out[i][j] = true
		}
		if rx[f.ID] == nil {
			r := isotp.NewReceiver(isotp.Config{Passive: true}, nil)
			rx[f.ID] = &r
		}
		e := rx[f.ID].Push(f.Bytes(), f.Time)
		if e.Began {
			where[f.ID] = nil
		}
		if e.Used && pdu.Kind != isotp.FlowControl {
			if pdu.Kind == isotp.Single {
				where[f.ID] = nil
			}
			for j := head; j < int(f.Len); j++ {
				where[f.ID] = append(where[f.ID], place{i, j})
			}
		}
		if e.Message == nil {
			continue
		}
		msg := bytes.Clone(e.Message)
		ok := make([]bool, len(msg))
		if f.ID < 0x7E8 {
			for j := range ok {
				ok[j] = bytes.IndexByte([]byte{1, 2, 3, 4, 6, 7, 9, 0x0A, 0x10, 0x11, 0x14, 0x18, 0x19, 0x1A, 0x21, 0x22, 0x3E}, msg[0]) >= 0
			}
			if f.ID == 0x7DF {
				for id := uint32(0x7E8); id <= 0x7EF; id++ {
					asked[id] = append(asked[id], msg)
				}
			} else {
				asked[f.ID+8] = append(asked[f.ID+8], msg)
			}
		} else {
			byReadings(p, append(lastFew(asked[f.ID]), nil), msg, ok)
		}
		for j, w := range where[f.ID] {
			if j < len(ok) && ok[j] {
				out[w.frame][w.at] = true
			}
		}
	}
	// A repeated consecutive frame shows what the one before it shows.
	for i := range frames {
		for j := range i {
			if frames[j].ID == frames[i].ID && frames[j].Data == frames[i].Data && frames[i].Len == frames[j].Len && frames[i].Data[0]>>4 != 0 {
				for k := range out[i] {
					out[i][k] = out[i][k] || out[j][k]
				}
			}
		}
	}
	return out
}

// byReadings marks what technical readings of any of the questions stand on: a byte is explained when changing it changes
// one of them, or what the decoder says of the message's form.
func byReadings(p *policy.Policy, questions [][]byte, msg []byte, ok []bool) {
	switch msg[0] {
	case 0x7F, 0x44, 0x54, 0x51, 0x60, 0x7E, 0x50:
		for j := range ok {
			ok[j] = j < 6
		}
		return
	}
	if msg[0] == 0x42 && len(msg) > 2 {
		ok[2] = true // the number of the freeze frame, echoed
	}
	look := func(q, m []byte) string {
		var s strings.Builder
		for _, decode := range [...]func(req, resp []byte) ([]reading.Reading, error){obd.Decode, uds.Decode, obfcm.Decode} {
			rs, err := decode(q, m)
			if q == nil && obfcm.IsOBFCM(m) { // it wants the question
				n := 2 + int(m[0]>>5&1)
				rs, err = obfcm.Decode(append([]byte{m[0] - 0x40}, m[1:n]...), m)
			}
			for _, r := range rs {
				if p.Tag(r).Tag().Class == policy.Technical {
					fmt.Fprintf(&s, "%s %X;", r.Key, r.Raw)
				}
			}
			fmt.Fprintf(&s, "%v|", err)
		}
		return s.String()
	}
	for _, q := range questions {
		was := look(q, msg)
		for j := range msg {
			for bit := range 8 {
				if ok[j] {
					break
				}
				m := bytes.Clone(msg)
				m[j] ^= 1 << bit
				ok[j] = look(q, m) != was
			}
		}
	}
}

// With a broadcast database, on any identifier and any payload, nothing is shown that no technical signal covers.
func FuzzBroadcast(f *testing.F) {
	f.Add(uint32(0x0A5), false, []byte{0x40, 0x1F, 0x0A, 0x3C, 0x5B, 0, 0x11, 0x22})
	f.Add(uint32(0x1F8), false, []byte{3, 1, 2, 3, 4, 5, 6, 7})
	f.Add(uint32(0x1B000030), true, bytes.Repeat([]byte{0xA5}, 64))
	f.Add(uint32(0x310), false, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add(uint32(0x612), false, []byte{0xF1, 3, 0x41, 5, 0x5A, 0, 0, 0})
	p, err := policy.Default()
	require.NoError(f, err)
	db := database(f)
	q := p.With(db)
	f.Fuzz(func(t *testing.T, id uint32, ext bool, data []byte) {
		fr := frame.Frame{ID: id % 0x800}
		if ext {
			fr.ID, fr.Flags = id&0x1FFFFFFF, frame.Extended
		}
		if fr.ID >= 0x7DF && fr.ID <= 0x7EF && !ext || ext && fr.ID>>16 == 0x18DA || ext && fr.ID>>16 == 0x18DB {
			return
		}
		if len(data) > 8 {
			fr.Flags |= frame.FD
		}
		fr.Len = uint8(frame.PadLen(copy(fr.Data[:], data)))
		if fr.Len <= 8 {
			fr.Len = uint8(min(len(data), 8))
		}
		got := run(policy.NewTagger(p, db), []frame.Frame{fr})[0]
		m := got.masked()
		var covered [64]byte
		if msg := db.Lookup(fr.ID, ext); msg != nil {
			for _, s := range msg.Signals {
				if s.Active(&fr) && q.TagKey(reading.Key(s.Key())).Class == policy.Technical {
					for i := range covered {
						covered[i] |= s.Bits(i)
					}
				}
			}
		}
		for i := range int(fr.Len) {
			if left := m.Data[i] &^ covered[i]; left != 0 {
				t.Fatalf("byte %d shows bits %08b that no technical signal covers", i, left)
			}
			if got.ft.Personal>>i&1 == 0 && covered[i] != 0xFF {
				t.Fatalf("byte %d is called technical and is not covered", i)
			}
		}
	})
}

// lastFew bounds the work: no answer can refer to more questions than these.
func lastFew(q [][]byte) [][]byte { return q[max(0, len(q)-4):len(q):len(q)] }
