//go:build linux

package classify

import (
	"bytes"
	"context"
	"io"
	"testing"

	"obdgate/internal/canlog"
	"obdgate/internal/classify/loggen"

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

// oneGoroutine returns what works on the text once, in blocks that are in memory and in order.
func oneGoroutine(t testing.TB, text []byte, o Options) func() {
	o.Policy, o.DB, o.block = rules(t), buses(t), blockSize
	tb := newTable(&o)
	k, s := newWorker(tb), newSequence(tb, io.Discard)
	var b block
	src := bytes.NewReader(text)
	in := &reader{src: src, size: o.block}
	return func() {
		src.Reset(text)
		in.ended = false
		for in.fill(&b) {
			k.do(&b)
			if err := s.take(&b); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// In the steady state nothing is allocated, whatever is written.
func TestNothingIsAllocated(t *testing.T) {
	var log bytes.Buffer
	require.NoError(t, loggen.Classic.Log(&log, 20_000, 1))
	require.NoError(t, loggen.FD.Log(&log, 2_000, 1))
	ids, err := canlog.ParseIDs("not:0A0,0CF00909")
	require.NoError(t, err)
	for name, o := range map[string]Options{
		"tags": {}, "identifiers": {To: Candump, IDs: ids}, "masked": {To: Candump, Mask: true}, "only technical": {To: Candump, Only: true, Mask: true},
		"JSON lines": {To: JSONL}, "JSON lines, masked": {To: JSONL, Mask: true},
	} {
		round := oneGoroutine(t, log.Bytes(), o)
		round() // blocks, the scratch space and the list of what switches say grow once
		round()
		require.Zero(t, testing.AllocsPerRun(3, round), name)
	}
}

func benchWorker(b *testing.B, o Options) {
	round := oneGoroutine(b, benchText(b), o)
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
	ids, err := canlog.ParseIDs("not:0A0,0B1,0C2,0D3,0E4,0F5,106,117")
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
	onText(b, func(text []byte) func() { return func() { parseAll(b, text) } })
}

// BenchmarkDecode reads every line and decodes every active signal.
func BenchmarkDecode(b *testing.B) { onText(b, func(text []byte) func() { return decodeAll(b, text) }) }

// onText measures what goes through the text once; behind it is as much as a Quick must be able to reach.
func onText(b *testing.B, prepare func(text []byte) func()) {
	text := benchText(b)
	do := prepare(append(text, make([]byte, canlog.Reach)...)[:len(text)])
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		do()
	}
	perSecond(b)
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

func BenchmarkYardstickCanGoParse(b *testing.B) {
	onText(b, func(text []byte) func() { return func() { canGoParse(b, text) } })
}

func BenchmarkYardstickCanGoDecode(b *testing.B) {
	onText(b, func(text []byte) func() { return canGoDecode(b, text) })
}

// canGo is can-go's frame of a line.
func canGo(t testing.TB, text []byte, do func(*can.Frame)) {
	var f can.Frame
	for len(text) > 0 {
		n := bytes.IndexByte(text, '\n')
		line := text[:n]
		text = text[n+1:]
		if err := f.UnmarshalString(string(line[bytes.LastIndexByte(line, ' ')+1:])); err != nil {
			t.Fatal(err)
		}
		do(&f)
	}
}

func canGoParse(t testing.TB, text []byte) { canGo(t, text, func(*can.Frame) {}) }

// canGoDecode decodes what can-go can: it knows one switch, and no floats.
func canGoDecode(t testing.TB, text []byte) func() {
	ms := map[uint32]*descriptor.Message{}
	for _, m := range buses(t).Messages() {
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
	return func() {
		sum := 0.0
		canGo(t, text, func(f *can.Frame) {
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
}
