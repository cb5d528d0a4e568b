package dbc_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"obdgate/dbc"
	"obdgate/internal/frame"

	"github.com/stretchr/testify/require"
	"go.einride.tech/can"
	"pgregory.net/rapid"
)

// slowRaw walks a signal bit by bit, as the format describes it: little endian upward from the least significant bit,
// big endian downward from the most significant one and on to bit 7 of the next byte.
func slowRaw(s *dbc.Signal, data []byte) (v uint64, ok bool) {
	byteAt, bitAt := s.Start/8, s.Start%8
	for i := range s.Size {
		if byteAt >= len(data) {
			return 0, false
		}
		bit := uint64(data[byteAt] >> bitAt & 1)
		if s.BigEndian {
			v = v<<1 | bit
			if bitAt--; bitAt < 0 {
				byteAt, bitAt = byteAt+1, 7
			}
			continue
		}
		v |= bit << i
		if bitAt++; bitAt > 7 {
			byteAt, bitAt = byteAt+1, 0
		}
	}
	return v, true
}

// slowActive follows the switches by the same walk.
func slowActive(s *dbc.Signal, data []byte) bool {
	if _, ok := slowRaw(s, data); !ok || s.Lost {
		return false
	}
	for ; s.Under != nil; s = s.Under {
		v, ok := slowRaw(s.Under, data)
		hit := false
		for _, r := range s.When {
			hit = hit || v >= r.From && v <= r.To
		}
		if !ok || !hit {
			return false
		}
	}
	return true
}

// slowValue is the physical value as a fraction; nil for a float that is no number.
func slowValue(s *dbc.Signal, data []byte) *big.Rat {
	raw, _ := slowRaw(s, data)
	n := new(big.Rat)
	switch {
	case s.Float == dbc.Float32:
		n = new(big.Rat).SetFloat64(float64(math.Float32frombits(uint32(raw))))
	case s.Float == dbc.Float64:
		n = new(big.Rat).SetFloat64(math.Float64frombits(raw))
	case s.Signed && raw>>(s.Size-1) == 1:
		i := new(big.Int).SetUint64(raw)
		n.SetInt(i.Sub(i, new(big.Int).Lsh(big.NewInt(1), uint(s.Size))))
	default:
		n.SetInt(new(big.Int).SetUint64(raw))
	}
	if n == nil {
		return nil
	}
	factor, _ := new(big.Rat).SetString(s.Factor)
	offset, _ := new(big.Rat).SetString(s.Offset)
	return n.Add(n.Mul(n, factor), offset)
}

// slowFloat is what cantools and its like compute: the raw number as float64, times the factor, plus the offset.
func slowFloat(s *dbc.Signal, data []byte) float64 {
	raw, _ := slowRaw(s, data)
	factor, _ := new(big.Rat).SetString(s.Factor)
	offset, _ := new(big.Rat).SetString(s.Offset)
	f, _ := factor.Float64()
	o, _ := offset.Float64()
	var x float64
	switch {
	case s.Float == dbc.Float32:
		x = float64(math.Float32frombits(uint32(raw)))
	case s.Float == dbc.Float64:
		x = math.Float64frombits(raw)
	case s.Signed:
		x = float64(int64(raw<<(64-s.Size)) >> (64 - s.Size))
	default:
		x = float64(raw)
	}
	product := x * f
	return float64(product) + o
}

// drawMessage writes a random message with every kind of signal.
func drawMessage(t *rapid.T) (*dbc.Message, int) {
	length := rapid.SampledFrom([]int{1, 2, 3, 5, 8, 8, 8, 8, 8, 8, 12, 24, 64}).Draw(t, "length")
	var b, floats strings.Builder
	fmt.Fprintf(&b, "VERSION \"\"\nBO_ 100 M: %d E\n", length)
	muxed := length > 1 && rapid.Bool().Draw(t, "muxed")
	if muxed {
		fmt.Fprintf(&b, " SG_ Switch M : %s (1,0) [0|0] \"\" X\n", rapid.SampledFrom([]string{"0|3@1+", "7|3@0+", "0|8@1+"}).Draw(t, "switch"))
	}
	for i := range rapid.IntRange(1, 9).Draw(t, "signals") {
		big := rapid.Bool().Draw(t, "big")
		size := rapid.IntRange(1, min(64, 8*length)).Draw(t, "size")
		sign := rapid.SampledFrom([]string{"+", "-"}).Draw(t, "sign")
		if length >= 8 && rapid.IntRange(0, 5).Draw(t, "float") == 0 {
			size = rapid.SampledFrom([]int{32, 64}).Draw(t, "float size")
			fmt.Fprintf(&floats, "SIG_VALTYPE_ 100 S%d : %d;\n", i, size/32)
		}
		first := rapid.IntRange(0, 8*length-size).Draw(t, "first") // of the bits in their own order
		start, order := first, 1
		if big {
			start, order = first/8*8+7-first%8, 0
		}
		mux := ""
		if muxed && rapid.Bool().Draw(t, "under") {
			mux = fmt.Sprintf("m%d ", rapid.IntRange(0, 7).Draw(t, "when"))
		}
		fmt.Fprintf(&b, " SG_ S%d %s: %d|%d@%d%s (%s,%s) [0|0] \"\" X\n", i, mux, start, size, order, sign,
			rapid.SampledFrom([]string{"1", "0.1", "0.25", "-0.5", "5", "0.000001", "1e-3", "100", "0.0625"}).Draw(t, "factor"),
			rapid.SampledFrom([]string{"0", "-40", "0.5", "1000000", "-0.001"}).Draw(t, "offset"))
	}
	d, err := dbc.Parse("t.dbc", []byte(b.String()+floats.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	return d.Messages()[0], length
}

// Every value of every signal of any layout is what a walk over the bits gives, in all the ways there are to ask for it.
func TestPlanAgreesWithAWalkOverTheBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, length := drawMessage(t)
		p := m.Plan()
		for range 4 {
			n := frame.PadLen(length)
			if rapid.IntRange(0, 4).Draw(t, "short") == 0 {
				n = rapid.IntRange(0, 8).Draw(t, "bytes")
			}
			data := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0xFF, 0x80, 1, 2, 3, 0x5A, 0x7F}), n, n).Draw(t, "data")
			f := frame.New(100, frame.FD, data...)
			var want []*dbc.Signal
			for _, s := range m.Signals {
				active := slowActive(s, data)
				require.Equal(t, active, s.Active(&f), s.Name)
				if active {
					want = append(want, s)
				}
			}
			fields, values := p.Floats(&f, nil, nil)
			require.Len(t, fields, len(want))
			for i, s := range want {
				require.Same(t, s, fields[i].Signal)
				raw, _ := slowRaw(s, data)
				got, ok := s.Raw(&f)
				require.True(t, ok)
				require.Equal(t, raw, got)
				x, _ := s.Float64(&f)
				require.Equal(t, math.Float64bits(slowFloat(s, data)), math.Float64bits(x), s.Name)
				require.Equal(t, math.Float64bits(x), math.Float64bits(values[i]), s.Name)
				exact := slowValue(s, data)
				w := p.Words(&f)
				text := string(p.AppendJSON(nil, &fields[i], &f, &w))
				if exact == nil {
					require.Equal(t, "null", text)
					continue
				}
				require.True(t, json.Valid([]byte(text)), text)
				printed, ok := new(big.Rat).SetString(text)
				require.True(t, ok, text)
				if q, ok := s.Value(&f); ok {
					require.Zero(t, exact.Cmp(big.NewRat(q.Num, q.Den)), s.Name)
				}
				if s.Float == dbc.Integer && s.Size <= 32 {
					require.Zero(t, exact.Cmp(printed), "%s: %s", exact, text)
				} else {
					near, _ := printed.Float64()
					require.InEpsilon(t, 1+math.Abs(slowFloat(s, data)), 1+math.Abs(near), 1e-12)
				}
			}
		}
	})
}

// The raw bits are those of can-go, which somebody else wrote, for every place of a classic frame.
func TestRawAgreesWithCanGo(t *testing.T) {
	for size := 1; size <= 64; size++ {
		for first := 0; first+size <= 64; first++ {
			for _, big := range []bool{false, true} {
				start, order := first, 1
				if big {
					start, order = first/8*8+7-first%8, 0
				}
				m := parse(t, fmt.Sprintf("VERSION \"\"\nBO_ 100 M: 8 E\n SG_ S : %d|%d@%d+ (1,0) [0|0] \"\" X\n", start, size, order)).Messages()[0]
				d := can.Data{0x12, 0xF4, 0x56, 0x78, 0x9A, 0xBC, 0xDE, 0xF1}
				want := d.UnsignedBitsLittleEndian(uint8(start), uint8(size))
				if big {
					want = d.UnsignedBitsBigEndian(uint8(start), uint8(size))
				}
				f := frame.New(100, 0, d[:]...)
				got, ok := m.Signals[0].Raw(&f)
				require.True(t, ok)
				require.Equal(t, want, got, "start %d size %d big %v", start, size, big)
			}
		}
	}
}

// Faults seen in other decoders. Each line fails in at least one of them.
func TestFaultsOfOthers(t *testing.T) {
	d := parse(t, `VERSION ""
BO_ 256 ONE: 8 E
 SG_ Bit : 7|1@0+ (5,1) [0|0] "" X
 SG_ BigAcross : 3|12@0+ (1,0) [0|0] "" X
 SG_ Real : 32|32@1- (1,0) [0|0] "" X
BO_ 2147483904 LONG: 8 E
 SG_ Other : 0|8@1+ (2,0) [0|0] "" X
BO_ 257 MUX: 8 E
 SG_ S M : 15|8@0+ (1,0) [0|0] "" X
 SG_ A m0 : 23|16@0- (0.5,0) [0|0] "" X
 SG_ B m1 : 16|16@1+ (1,0) [0|1] "" X
 SG_ C : 0|8@1+ (1,0) [0|0] "" X
BO_ 258 FAST: 64 E
 SG_ End : 511|8@0+ (1,0) [0|0] "" X
 SG_ Across : 60|16@1+ (1,0) [0|0] "" X
SIG_VALTYPE_ 256 Real : 1;
`)
	long := make([]byte, 64)
	long[7], long[8], long[63] = 0xF0, 0xAB, 0x77
	for _, c := range []struct {
		fault  string
		f      frame.Frame
		values map[string]float64
	}{
		{"the factor of one bit ignored; a float read as an integer; big endian across bytes rejected",
			frame.New(256, 0, 0x8A, 0xBC, 0, 0, 0, 0, 0x20, 0x41), map[string]float64{"Bit": 6, "BigAcross": 0xABC, "Real": 10}},
		{"11- and 29-bit identifiers with the same number confused", frame.New(256, frame.Extended, 7, 0, 0, 0, 0, 0, 0, 0), map[string]float64{"Other": 14}},
		{"multiplexing ignored; a big-endian switch rejected; sign lost", frame.New(257, 0, 9, 0, 0xFF, 0xFE, 0, 0, 0, 0), map[string]float64{"S": 0, "A": -1, "C": 9}},
		{"the other branch; a value above the file's maximum cut off", frame.New(257, 0, 9, 1, 0x10, 0x20, 0, 0, 0, 0), map[string]float64{"S": 1, "B": 0x2010, "C": 9}},
		{"a branch that nobody describes", frame.New(257, 0, 9, 2, 0x10, 0x20, 0, 0, 0, 0), map[string]float64{"S": 2, "C": 9}},
		{"bytes behind the eighth of CAN FD", frame.New(258, frame.FD, long...), map[string]float64{"End": 0x77, "Across": 0x0ABF}},
		{"a frame shorter than its message", frame.New(257, 0, 9, 0, 0xFF), map[string]float64{"S": 0, "C": 9}},
	} {
		t.Run(c.fault, func(t *testing.T) {
			m := d.Lookup(c.f.ID, c.f.Is(frame.Extended))
			fields, values := m.Plan().Floats(&c.f, nil, nil)
			got := map[string]float64{}
			for i, f := range fields {
				got[f.Signal.Name] = values[i]
			}
			require.Equal(t, c.values, got)
		})
	}
}

func TestAppendJSONIsShort(t *testing.T) {
	d := parse(t, "VERSION \"\"\nBO_ 100 M: 8 E\n SG_ S : 0|16@1- (0.01,-40) [0|0] \"\" X\n SG_ W : 0|64@1+ (1,0) [0|0] \"\" X\n")
	p := d.Messages()[0].Plan()
	for raw, want := range map[uint64][2]string{
		0: {"-40", "0"}, 4000: {"0", "4000"}, 4001: {"0.01", "4001"}, 3999: {"-0.01", "3999"}, 0xFFFF: {"-40.01", "65535"}, 3950: {"-0.5", "3950"},
		1<<64 - 1: {"-40.01", "18446744073709551615"},
	} {
		var b [8]byte
		for i := range b {
			b[i] = byte(raw >> (8 * i))
		}
		f := frame.New(100, 0, b[:]...)
		fields, w := p.Fields(&f, nil), p.Words(&f)
		require.Equal(t, want[0], string(p.AppendJSON(nil, &fields[0], &f, &w)))
		require.Equal(t, want[1], string(p.AppendJSON(nil, &fields[1], &f, &w)))
	}
}
