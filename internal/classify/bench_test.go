package classify

import (
	"bytes"
	"context"
	"io"
	"testing"

	"obdgate/internal/canlog"
	"obdgate/internal/classify/loggen"
	"obdgate/internal/frame"

	"github.com/stretchr/testify/require"
	"go.einride.tech/can"
	"go.einride.tech/can/pkg/descriptor"
)

// benchFrames is how many frames one round of a benchmark has: about 9 MB of text, more than a processor's cache.
const benchFrames = 200_000

func benchText(b *testing.B) []byte {
	var log bytes.Buffer
	require.NoError(b, loggen.Classic.Log(&log, benchFrames, 1))
	return log.Bytes()
}

func perSecond(b *testing.B) {
	b.ReportMetric(float64(b.N)*benchFrames/1e6/b.Elapsed().Seconds(), "Mframes/s")
}

// benchWorker is one goroutine's work on blocks that are in memory, in order: what an allocation would show in.
func benchWorker(b *testing.B, o Options) {
	text := benchText(b)
	o.Policy, o.DB, o.block = rules(b), buses(b), blockSize
	t := newTable(&o)
	k, s := newWorker(t), newSequence(t, io.Discard)
	var bl block
	round := func() {
		in := &reader{src: bytes.NewReader(text), size: o.block}
		for in.fill(&bl) {
			k.do(&bl)
			if err := s.take(&bl); err != nil {
				b.Fatal(err)
			}
		}
	}
	round()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		round()
	}
	perSecond(b)
}

func BenchmarkTagOnly(b *testing.B) { benchWorker(b, Options{To: Nothing}) }
func BenchmarkDropIDs(b *testing.B) {
	ids, err := ParseIDs("not:0A0,0B1,0C2,0D3,0E4,0F5,106,117")
	require.NoError(b, err)
	benchWorker(b, Options{To: Candump, IDs: ids})
}
func BenchmarkOnlyTechnical(b *testing.B) {
	benchWorker(b, Options{To: Candump, Only: true, Mask: true})
}
func BenchmarkMaskToCandump(b *testing.B)   { benchWorker(b, Options{To: Candump, Mask: true}) }
func BenchmarkJSONLines(b *testing.B)       { benchWorker(b, Options{To: JSONL}) }
func BenchmarkJSONLinesMasked(b *testing.B) { benchWorker(b, Options{To: JSONL, Mask: true}) }

// BenchmarkRun is the whole, with as many workers as -cpu says.
func BenchmarkRun(b *testing.B) {
	text, o := benchText(b), Options{Policy: rules(b), DB: buses(b), To: Candump, Mask: true}
	b.ReportAllocs()
	for range b.N {
		if _, err := Run(context.Background(), bytes.NewReader(text), io.Discard, o); err != nil {
			b.Fatal(err)
		}
	}
	perSecond(b)
}

// BenchmarkStart is what comes before the first frame.
func BenchmarkStart(b *testing.B) {
	o := Options{Policy: rules(b), DB: buses(b), To: Candump, Mask: true}
	b.ReportAllocs()
	for range b.N {
		if _, err := Run(context.Background(), bytes.NewReader(nil), io.Discard, o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParse reads every field of every line.
func BenchmarkParse(b *testing.B) {
	text := append(benchText(b), make([]byte, canlog.Reach)...)
	var q canlog.Quick
	var f frame.Frame
	b.ReportAllocs()
	b.ResetTimer()
	sum := 0
	for range b.N {
		for at := 0; at < len(text)-canlog.Reach; {
			s, ok := q.Parse(text[at:], &f)
			if !ok {
				b.Fatal("not a common line")
			}
			at += s.Next
			sum += int(f.Len)
		}
	}
	perSecond(b)
}

// BenchmarkDecode reads every line and decodes every active signal.
func BenchmarkDecode(b *testing.B) {
	text := append(benchText(b), make([]byte, canlog.Reach)...)
	o := Options{Policy: rules(b), DB: buses(b)}
	t := newTable(&o)
	var q canlog.Quick
	var f frame.Frame
	values := make([]float64, 64)
	b.ReportAllocs()
	b.ResetTimer()
	n, sum := 0, 0.0
	for range b.N {
		for at := 0; at < len(text)-canlog.Reach; {
			s, _ := q.Parse(text[at:], &f)
			at += s.Next
			v := t.find(f.ID, f.Flags)
			if v == nil || v.plan == nil {
				continue
			}
			_, values = v.plan.Floats(&f, values, nil)
			n += len(values)
			sum += values[0]
		}
	}
	perSecond(b)
	b.ReportMetric(float64(n)/float64(b.N)/benchFrames, "signals/frame")
}

// The yardsticks, on the same text in the same run.

func BenchmarkYardstickFindLines(b *testing.B) {
	text := benchText(b)
	b.ResetTimer()
	n := 0
	for range b.N {
		for at := 0; at < len(text); n++ {
			at += bytes.IndexByte(text[at:], '\n') + 1
		}
	}
	perSecond(b)
}

// canGo is can-go's frame of a line.
func canGo(b *testing.B, text []byte, do func(*can.Frame)) {
	var f can.Frame
	for len(text) > 0 {
		n := bytes.IndexByte(text, '\n')
		line := text[:n]
		text = text[n+1:]
		if err := f.UnmarshalString(string(line[bytes.LastIndexByte(line, ' ')+1:])); err != nil {
			b.Fatal(err)
		}
		do(&f)
	}
}

func BenchmarkYardstickCanGoParse(b *testing.B) {
	text := benchText(b)
	b.ResetTimer()
	for range b.N {
		canGo(b, text, func(*can.Frame) {})
	}
	perSecond(b)
}

func BenchmarkYardstickCanGoDecode(b *testing.B) {
	text := benchText(b)
	ms := map[uint32]*descriptor.Message{}
	for _, m := range buses(b).Messages() {
		d := &descriptor.Message{ID: m.ID}
		for _, s := range m.Signals {
			x := &descriptor.Signal{Start: uint8(s.Start), Length: uint8(s.Size), IsBigEndian: s.BigEndian, IsSigned: s.Signed, IsMultiplexed: s.Under != nil, Scale: 1, Max: 1e12, Min: -1e12}
			if s.Under != nil {
				x.MultiplexerValue = uint(s.When[0].From)
			}
			d.Signals = append(d.Signals, x)
		}
		ms[m.ID] = d
	}
	b.ResetTimer()
	sum := 0.0
	for range b.N {
		canGo(b, text, func(f *can.Frame) {
			m := ms[f.ID]
			if m == nil {
				return
			}
			for _, s := range m.Signals {
				if !s.IsMultiplexed || uint(f.Data[0]) == s.MultiplexerValue {
					sum += s.UnmarshalPhysical(f.Data)
				}
			}
		})
	}
	perSecond(b)
}
