package policy_test

import (
	"math/rand/v2"
	"os"
	"testing"

	"obdgate/dbc"
	"obdgate/internal/frame"
	"obdgate/internal/policy"

	"github.com/stretchr/testify/require"
	"go.einride.tech/can"
	candbc "go.einride.tech/can/pkg/dbc"
	"go.einride.tech/can/pkg/descriptor"
)

// broadcastLog is a minute of the embedded database's messages with arbitrary content, the same on every run.
func broadcastLog(t testing.TB) []frame.Frame {
	rnd := rand.New(rand.NewPCG(1, 2))
	var out []frame.Frame
	for range 4096 {
		ms := database(t).Messages()
		m := ms[18+rnd.IntN(len(ms)-18)] // behind the OBD-II identifiers
		f := frame.Frame{ID: m.ID, Len: uint8(m.Length)}
		if m.Extended {
			f.Flags = frame.Extended
		}
		if m.Length > 8 {
			continue // can-go knows classic frames only
		}
		for i := range m.Length {
			f.Data[i] = byte(rnd.Uint32())
		}
		out = append(out, f)
	}
	return out
}

func perFrame(b *testing.B, frames []frame.Frame, tg *policy.Tagger) {
	emit := func(*frame.Frame, policy.FrameTag) {}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		tg.Push(&frames[i], emit)
		if i++; i == len(frames) {
			i = 0
		}
	}
}

func BenchmarkTagBroadcast(b *testing.B) {
	perFrame(b, broadcastLog(b), policy.NewTagger(defaultPolicy(b), database(b)))
}

func BenchmarkTagUnknown(b *testing.B) {
	perFrame(b, []frame.Frame{frame.New(0x7AA, 0, 1, 2, 3, 4, 5, 6, 7, 8)}, policy.NewTagger(defaultPolicy(b), database(b)))
}

func BenchmarkTagDiagnosticSingle(b *testing.B) {
	perFrame(b, []frame.Frame{parseFrame(b, "7E0#0201050000000000"), parseFrame(b, "7E8#0341057300000000")}, policy.NewTagger(defaultPolicy(b), database(b)))
}

func BenchmarkTagDiagnosticMulti(b *testing.B) {
	frames := append([]frame.Frame{parseFrame(b, "7DF#0209020000000000")}, segment(0x7E8, false, 0, hexBytes(b, "490201575657"+"5A5A5A434430574E303030303031"), 0)...)
	perFrame(b, frames, policy.NewTagger(defaultPolicy(b), database(b)))
}

func BenchmarkTagBusySecond(b *testing.B) {
	perFrame(b, session(b), policy.NewTagger(defaultPolicy(b), database(b)))
}

// The yardstick: what can-go needs to decode the signals of the same broadcast frames.
func BenchmarkYardstickCanGoDecode(b *testing.B) {
	src, err := os.ReadFile("../../dbc/broadcast.dbc")
	require.NoError(b, err)
	p := candbc.NewParser("broadcast.dbc", src)
	if err := p.Parse(); err != nil {
		b.Fatal(err)
	}
	byID := map[uint32]*descriptor.Message{}
	for _, def := range p.Defs() {
		m, ok := def.(*candbc.MessageDef)
		if !ok {
			continue
		}
		d := &descriptor.Message{ID: m.MessageID.ToCAN(), Length: uint8(m.Size)}
		for _, s := range m.Signals {
			d.Signals = append(d.Signals, &descriptor.Signal{Name: string(s.Name), Start: uint8(s.StartBit), Length: uint8(s.Size), IsBigEndian: s.IsBigEndian,
				IsSigned: s.IsSigned, IsMultiplexed: s.IsMultiplexed, IsMultiplexer: s.IsMultiplexerSwitch, Scale: s.Factor, Offset: s.Offset, Min: s.Minimum, Max: s.Maximum})
		}
		byID[d.ID] = d
	}
	frames := broadcastLog(b)
	in := make([]can.Frame, len(frames))
	for i, f := range frames {
		in[i] = can.Frame{ID: f.ID, Length: f.Len, IsExtended: f.Is(frame.Extended)}
		copy(in[i].Data[:], f.Bytes())
	}
	b.ReportAllocs()
	i, sum := 0, 0.0
	for b.Loop() {
		for _, s := range byID[in[i].ID].Signals {
			sum += s.UnmarshalPhysical(in[i].Data)
		}
		if i++; i == len(in) {
			i = 0
		}
	}
}

// Ours for the same work: exact values of all active signals.
func BenchmarkDecodeBroadcast(b *testing.B) {
	db, frames := database(b), broadcastLog(b)
	b.ReportAllocs()
	i, sum := 0, int64(0)
	for b.Loop() {
		f := &frames[i]
		for _, s := range db.Lookup(f.ID, f.Is(frame.Extended)).Signals {
			if s.Active(f) {
				q, _ := s.Value(f)
				sum += q.Num
			}
		}
		if i++; i == len(frames) {
			i = 0
		}
	}
}

func BenchmarkDecodeBroadcastFloat(b *testing.B) {
	db, frames := database(b), broadcastLog(b)
	b.ReportAllocs()
	i, sum := 0, 0.0
	for b.Loop() {
		f := &frames[i]
		for _, s := range db.Lookup(f.ID, f.Is(frame.Extended)).Signals {
			if s.Active(f) {
				x, _ := s.Float64(f)
				sum += x
			}
		}
		if i++; i == len(frames) {
			i = 0
		}
	}
}

func BenchmarkTagKey(b *testing.B) {
	p := defaultPolicy(b)
	b.ReportAllocs()
	for b.Loop() {
		p.TagKey("obd.01.01.mil_on")
	}
}

// What a start costs: the first Tagger compiles the layout and the database's tables.
func BenchmarkNewTagger(b *testing.B) {
	p, db := defaultPolicy(b), database(b)
	b.ReportAllocs()
	for b.Loop() {
		policy.NewTagger(p, db)
	}
}

func BenchmarkParseBroadcastDBC(b *testing.B) {
	src, err := os.ReadFile("../../dbc/broadcast.dbc")
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dbc.Parse("broadcast.dbc", src); err != nil {
			b.Fatal(err)
		}
	}
}
