package policy_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/policy"

	"github.com/stretchr/testify/require"
)

// Each line is a frame and, behind the arrow, its tag and what is left of its data once everything not technical is gone.
func TestTagger(t *testing.T) {
	for _, c := range []struct{ name, log string }{
		{"a question is technical, its padding is not shown", `
			7DF#0201050000000000 => technical/protocol 0201050000000000
			7DF#02010DAAAAAAAAAA => technical/protocol 02010D0000000000`},
		{"coolant temperature is technical, speed is not", `
			7E8#034105738899AABB => technical/condition 0341057300000000
			7E8#03410D7355555555 => personal/movement 03410D0000000000`},
		{"one answer with both: the frame is personal, the technical bytes stay", `
			7E0#0301050D00000000 => technical/protocol 0301050D00000000
			7E8#05410573 0D32 0000 => personal/movement 05410573 0D000000`},
		{"VIN over three frames, with the tester's flow control between them", `
			7DF#0209020000000000 => technical/protocol 0209020000000000
			7E8#1014490201575657 => technical/vehicle-identity 1014490201575657
			7E0#3000000000000000 => technical/protocol 3000000000000000
			7E8#215A5A5A43443057 => technical/vehicle-identity 215A5A5A43443057
			7E8#2230303030303031 => technical/vehicle-identity 2230303030303031`},
		{"a message that never completes is personal from its first frame on", `
			7E8#1014490201575657 => personal/unclassified 1014000000000000
			7E8#215A5A5A43443057 => personal/unclassified 2100000000000000`},
		{"a lost frame in the middle", `
			7E8#1014490201575657 => personal/unclassified 1014000000000000
			7E8#2230303030303031 => personal/unclassified 2200000000000000`},
		{"a restarted message: the first attempt is unknown", `
			7E8#1014490201575657 => personal/unclassified 1014000000000000
			7E8#215A5A5A43443057 => personal/unclassified 2100000000000000
			7E8#1014490201575657 => technical/vehicle-identity 1014490201575657
			7E8#215A5A5A43443057 => technical/vehicle-identity 215A5A5A43443057
			7E8#2230303030303031 => technical/vehicle-identity 2230303030303031`},
		{"a repeated consecutive frame has the tag of what it repeats", `
			7E8#1014490201575657 => technical/vehicle-identity 1014490201575657
			7E8#215A5A5A43443057 => technical/vehicle-identity 215A5A5A43443057
			7E8#215A5A5A43443057 => technical/vehicle-identity 215A5A5A43443057
			7E8#2230303030303031 => technical/vehicle-identity 2230303030303031
			7E8#2230303030303031 => personal/unclassified 2200000000000000`},
		{"two ECUs interleaved: one message of each kind, order kept", `
			7E8#1014490201575657 => technical/vehicle-identity 1014490201575657
			7E9#100A411C00 0D4D1F 01 => personal/unclassified 100A000000000000
			7E8#215A5A5A43443057 => technical/vehicle-identity 215A5A5A43443057
			7E9#22020304050607 08 => personal/unclassified 2200000000000000
			7E8#2230303030303031 => technical/vehicle-identity 2230303030303031`},
		{"the last frame's padding does not leave with the VIN", `
			7E8#100B490602414243 => technical/software 100B490602414243
			7E8#214445464748BEEF => technical/software 2144454647480000`},
		{"OBFCM counters are technical and refusable", `
			7DF#0209170000000000 => technical/protocol 0209170000000000
			7E8#101349170100 0030 => technical/consumption 1013491701000030
			7E8#21E0000030EB0000 => technical/consumption 21E0000030EB0000
			7E8#22724A0000727E55 => technical/consumption 22724A0000727E00`},
		{"a DID nobody has examined: nothing of it is shown", `
			7E0#0322D10D00000000 => technical/protocol 0322D10D00000000
			7E8#0662D10D00028600 => personal/unclassified 0662D10D00000000`},
		{"an answer nobody asked for, of unknown length, is not believed", `
			7E8#0762F18741424344 => personal/unclassified 0700000000000000`},
		{"the same answer to its question", `
			7E0#0322F18700000000 => technical/protocol 0322F18700000000
			7E8#0762F18741424344 => technical/vehicle-identity 0762F18741424344`},
		{"an old question does not explain a second answer", `
			7E0#0322F18700000000 => technical/protocol 0322F18700000000
			7E8#0762F18741424344 => technical/vehicle-identity 0762F18741424344
			7E8#0762F18741424344 => personal/unclassified 0700000000000000`},
		{"response pending keeps the question open", `
			7E0#0322F18700000000 => technical/protocol 0322F18700000000
			7E8#037F227800000000 => technical/protocol 037F227800000000
			7E8#0762F18741424344 => technical/vehicle-identity 0762F18741424344`},
		{"freeze frame: speed and run time are movement, load is not", `
			7E0#0302040000000000 => technical/protocol 0302040000000000
			7E8#0442040080000000 => technical/fault-memory 0442040080000000
			7E8#04420D0032000000 => personal/movement 04420D0000000000
			7E8#05421F0001000000 => personal/movement 05421F0000000000`},
		{"trouble codes", `
			7E8#0643020123456700 => technical/fault-memory 0643020123456700
			7E9#02470055AA55AA55 => technical/fault-memory 0247000000000000`},
		{"snapshot: engine values and codes stay, time and speed go", `
			7E0#0619040301FFFF00 => technical/protocol 0619040301FFFF00
			7E8#1013590403010008 => technical/fault-memory 1013590403010008
			7E8#210103F40573F40D => technical/fault-memory 210103F40573F40D
			7E8#223217011234 55AA => personal/movement 2200000000000000`},
		{"what is written is nobody's question", `
			7E0#072EF19012345678 => personal/unclassified 0700000000000000
			7E0#0227010000000000 => personal/unclassified 0200000000000000`},
		{"29-bit", `
			18DB33F1#02010D0000000000 => technical/protocol 02010D0000000000
			18DAF110#03410D3200000000 => personal/movement 03410D0000000000
			18DAF110#0341055A00000000 => technical/condition 0341055A00000000
			18DA10F1#30000A0000000000 => technical/protocol 30000A0000000000`},
		{"extended addressing: the ECU is followed once somebody spoke to it", `
			612#F1034105 5A000000 => personal/unclassified 0000000000000000
			6F1#1203220F0D000000 => technical/protocol 1203220F0D000000
			6F1#120322F190000000 => technical/protocol 120322F190000000
			612#F1101462F1905756 => technical/vehicle-identity F1101462F1905756
			6F1#1230000000000000 => technical/protocol 1230000000000000
			612#F121575A5A5A4344 => technical/vehicle-identity F121575A5A5A4344
			612#F1223057303030 30 => technical/vehicle-identity F122305730303030
			612#F123303031 999999 => technical/vehicle-identity F123303031000000`},
		{"CAN FD, one long frame", `
			7E8##1001462F190575657 5A5A5A434430574E303030303031 9999 => technical/vehicle-identity 001462F1905756575A5A5A434430574E3030303030310000
			7E8##1001362F190575657 5A5A5A434430574E303030303031 9999 => personal/unclassified 001300000000000000000000000000000000000000000000`},
		{"broadcast: rpm is technical, torque demand beside it is movement, and masked to the bit", `
			0A5#401F 0A3C 5B FF 1122 => personal/movement 401F0A0C00071122`},
		{"broadcast: only technical signals, unused bits go", `
			1E1#3930FFFF => technical/condition 3930FFFF
			0D9#8080805050506464FF => technical/condition 8080805050506464`},
		{"broadcast: nobody knows it", `
			7AA#1122334455667788 => personal/unclassified 0000000000000000
			1FFFFFFF#112233 => personal/unclassified 000000`},
		{"broadcast shorter than its message is another message", `
			1E1#3930 => personal/unclassified 0000`},
		{"broadcast, multiplexed: next service stays, the dealer somebody goes to does not", `
			1F8#0164006E00FFFFFF => technical/service 0164006E00000000
			1F8#0311223344000000 => personal/customer 0300000000000000
			1F8#0911223344000000 => technical/service 0900000000000000`},
		{"occupants and position", `
			2B6#FF5A10203000 => personal/occupant 000000003000
			310#1122334455667788 => personal/location 0000000000000000`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var frames []frame.Frame
			var want []string
			for line := range strings.Lines(strings.TrimSpace(c.log)) {
				in, out, ok := strings.Cut(strings.TrimSpace(line), "=>")
				require.True(t, ok)
				f := parseFrame(t, strings.ReplaceAll(strings.TrimSpace(in), " ", ""))
				if f.Len > 8 && !f.Is(frame.FD) {
					f.Len = 8
				}
				frames = append(frames, f)
				want = append(want, strings.TrimSpace(out))
			}
			got := run(policy.NewTagger(defaultPolicy(t), database(t)), number(frames))
			require.Len(t, got, len(frames))
			for i, g := range got {
				require.Equal(t, frames[i].Seq, g.f.Seq, "order")
				m := g.masked()
				tag, data, _ := strings.Cut(want[i], " ")
				require.Equal(t, tag+" "+strings.ReplaceAll(data, " ", ""), fmt.Sprintf("%s %X", g.ft.Tag, m.Bytes()), "frame %d", i+1)
			}
		})
	}
}

func TestTaggerTimeout(t *testing.T) {
	frames := number(segment(0x7E8, false, 0, hexBytes(t, "490201 5756575A5A5A434430574E3030303030 31"), 0))
	for i := range frames[1:] {
		frames[i+1].Time += 1500 * time.Millisecond
	}
	for _, g := range run(policy.NewTagger(defaultPolicy(t), nil), frames) {
		require.Equal(t, policy.Unclassified, g.ft.Class)
	}
}

// A reader of a live bus is not made to wait for a message that does not go on.
func TestTaggerExpire(t *testing.T) {
	tg := policy.NewTagger(defaultPolicy(t), nil)
	var out []tagged
	emit := func(f *frame.Frame, ft policy.FrameTag) { out = append(out, tagged{*f, ft}) }
	ff, after := parseFrame(t, "7E8#1014490201575657"), parseFrame(t, "123#11")
	after.Time = time.Millisecond
	tg.Push(&ff, emit)
	tg.Push(&after, emit)
	tg.Expire(999*time.Millisecond, emit)
	require.Empty(t, out)
	require.Equal(t, 2, tg.Held())
	tg.Expire(time.Second, emit)
	require.Len(t, out, 2)
	require.False(t, out[0].ft.Class.Releasable())
	require.Zero(t, tg.Held())
}

func TestTaggerFollowsConfiguredPairs(t *testing.T) {
	log := []frame.Frame{parseFrame(t, "714#0322F19000000000"), parseFrame(t, "77E#0762F19000000000")}
	log[1] = parseFrame(t, "77E#0462F18701000000")
	log[0] = parseFrame(t, "714#0322F18700000000")
	for _, g := range run(policy.NewTagger(defaultPolicy(t), nil), number(log)) {
		require.Equal(t, policy.Unclassified, g.ft.Class, "not followed unless somebody says so")
	}
	tg := policy.NewTagger(defaultPolicy(t), nil, policy.WithPairs(isotp.Address{Tx: 0x714, Rx: 0x77E}))
	for _, g := range run(tg, number(log)) {
		require.Equal(t, policy.Technical, g.ft.Class)
	}
}

// A maker's mileage behind an identifier no rule can name: only who knows the make can say where it stands.
func TestTaggerExpectsPlaces(t *testing.T) {
	log := number([]frame.Frame{
		parseFrame(t, "6F1#600322D10D000000"), parseFrame(t, "660#F1100B62D10D0002"), parseFrame(t, "660#F12186B3000286B3"),
		parseFrame(t, "7E0#0221280000000000"), parseFrame(t, "7E8#0661280102030400"),
		parseFrame(t, "714#0322220300000000"), parseFrame(t, "77E#0662220301020300"),
	})
	shown := func(tg *policy.Tagger) (out []string) {
		for _, g := range run(tg, log) {
			m := g.masked()
			out = append(out, fmt.Sprintf("%s %X", g.ft.Tag, m.Bytes()))
		}
		return out
	}
	before := shown(policy.NewTagger(defaultPolicy(t), nil))
	require.Equal(t, "personal/unclassified F1100B62D10D0000", before[1])
	require.Equal(t, "personal/unclassified 0600000000000000", before[4])
	require.Equal(t, "personal/unclassified 0000000000000000", before[6])
	tg := policy.NewTagger(defaultPolicy(t), nil)
	tg.Expect(
		policy.Place{Addr: isotp.Address{Tx: 0x6F1, Rx: 0x660, Ext: true, TxTarget: 0x60, RxTarget: 0xF1}, Question: []byte{0x22, 0xD1, 0x0D}, Width: 4, Key: "odometer.22.D10D"},
		policy.Place{Addr: isotp.Address{Tx: 0x7E0, Rx: 0x7E8}, Question: []byte{0x21, 0x28}, Width: 3, Key: "odometer.21.28"},
		policy.Place{Addr: isotp.Address{Tx: 0x714, Rx: 0x77E}, Question: []byte{0x22, 0x22, 0x03}, Offset: 0, Width: 3, Key: "odometer.22.2203"},
	)
	require.Equal(t, []string{
		"technical/protocol 600322D10D000000", "technical/condition F1100B62D10D0002", "personal/unclassified F12186B300000000",
		"technical/protocol 0221280000000000", "personal/unclassified 0661280102030000",
		"technical/protocol 0322220300000000", "technical/condition 0662220301020300",
	}, shown(tg))

	tg = policy.NewTagger(defaultPolicy(t), nil)
	tg.Expect(policy.Place{Addr: isotp.Address{Tx: 0x714, Rx: 0x77E}, Question: []byte{0x22, 0x22, 0x03}, Width: 3, Length: 4, Key: "odometer.22.2203"})
	require.Equal(t, "personal/unclassified 0662220300000000", shown(tg)[6], "an answer of another length has another layout")
}

// Whatever the traffic, memory is bounded and every frame comes out once, in order.
func TestTaggerHostile(t *testing.T) {
	tg := policy.NewTagger(defaultPolicy(t), nil)
	next, most := uint64(1), 0
	emit := func(f *frame.Frame, ft policy.FrameTag) {
		require.Equal(t, next, f.Seq)
		next++
	}
	seq := uint64(0)
	push := func(f frame.Frame) {
		seq++
		f.Seq = seq
		tg.Push(&f, emit)
		most = max(most, tg.Held())
	}
	for round := range 3 {
		for ecu := range 256 { // every 29-bit address begins a message that never ends
			push(frame.New(0x18DAF100|uint32(ecu), 0, 0x1F, 0xFF, 0x49, 2, 1, byte(round), 0, 0))
			push(frame.New(0x18DA00F1|uint32(ecu)<<8, 0, 0x1F, 0xFF, 0x2E, 2, 1, byte(round), 0, 0))
			push(frame.New(0x6F1, 0, byte(ecu), 0x1F, 0xFF, 0x22, 1, byte(round), 0, 0))
		}
		for range 12000 {
			push(frame.New(0x123, 0, 1, 2, 3))
		}
	}
	tg.Flush(emit)
	require.Equal(t, seq, next-1)
	require.LessOrEqual(t, most, 8192)
}

// Hundreds of senders on eight buses, each beginning messages it never ends, restarting, repeating and interleaving them:
// what is remembered stays within the bounds, however long it goes on. OBDGATE_COVERAGE=full goes on for 20 million frames.
func TestTaggerMemoryIsBounded(t *testing.T) {
	tg := policy.NewTagger(defaultPolicy(t), nil)
	rnd := rand.New(rand.NewPCG(6, 3))
	technical := 0
	emit := func(f *frame.Frame, ft policy.FrameTag) {
		if ft.Class == policy.Technical && ft.Category != policy.Protocol {
			technical++
		}
	}
	var f frame.Frame
	storm := func(n int) (heap uint64) {
		for i := range n {
			sender := uint32(rnd.IntN(600))
			f = frame.Frame{ID: 0x18DAF100 | sender&0xFF, Flags: frame.Extended, Bus: uint8(rnd.IntN(8)), Len: 8, Seq: f.Seq + 1, Time: time.Duration(i) * 37 * time.Microsecond}
			if sender > 400 {
				f.ID, f.Flags = 0x600|sender&0xFF, 0
			}
			for j := range f.Data[:8] {
				f.Data[j] = byte(rnd.Uint32())
			}
			f.Data[0] = []byte{0x1F, 0x10, 0x21, 0x22, 0x2F, 0x30, 0x02, 0xF1}[rnd.IntN(8)]
			tg.Push(&f, emit)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	n := 50_000
	if full() {
		n = 10_000_000
	}
	first := storm(n)
	second := storm(n)
	require.Less(t, int64(second)-int64(first), int64(4<<20), "it grows with the stream")
	require.LessOrEqual(t, tg.Held(), 8192)
	tg.Flush(emit)
	require.Zero(t, tg.Held())
}

func TestTaggerAllocatesNothing(t *testing.T) {
	tg := policy.NewTagger(defaultPolicy(t), database(t))
	frames := session(t)
	emit := func(*frame.Frame, policy.FrameTag) {}
	push := func() {
		for i := range frames {
			tg.Push(&frames[i], emit)
		}
	}
	push()
	require.Zero(t, testing.AllocsPerRun(50, push))
}

// session is a busy second: two ECUs answering in several frames, questions with several DIDs, broadcast between them.
func session(t testing.TB) []frame.Frame {
	var out []frame.Frame
	add := func(fs ...frame.Frame) {
		for _, f := range fs {
			out = append(out, f, parseFrame(t, "0A5#401F0A3C5B001122"), parseFrame(t, "153#1027102700000000"), parseFrame(t, "1B000030##1"+strings.Repeat("A5", 64)))
		}
	}
	vin := hexBytes(t, "490201575657"+"5A5A5A434430574E3030303030"+"31")
	a, b := segment(0x7E8, false, 0, vin, 0xAA), segment(0x7E9, false, 0, hexBytes(t, "490A01"+strings.Repeat("41", 20)), 0)
	add(parseFrame(t, "7DF#0209020000000000"), a[0], b[0], a[1], b[1], a[2], b[2], b[3])
	add(segment(0x7E0, false, 0, hexBytes(t, "01 04 05 0B 0C 0D 0F"), 0)...)
	add(segment(0x7E8, false, 0, hexBytes(t, "41 0480 0573 0B20 0C1AF8 0D32 0F40"), 0)...)
	add(segment(0x7E0, false, 0, hexBytes(t, "22 F187 F189 F18C"), 0)...)
	add(segment(0x7E8, false, 0, hexBytes(t, "62 F187 3030303031 F189 30313233 F18C 414243"), 0)...)
	return number(out)
}
