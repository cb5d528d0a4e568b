package dbc_test

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"obdgate/dbc"
	"obdgate/internal/frame"
	_ "obdgate/internal/pinned"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
	candbc "go.einride.tech/can/pkg/dbc"
	"pgregory.net/rapid"
)

func embedded(t testing.TB) *dbc.Database {
	t.Helper()
	d, err := dbc.Embedded()
	require.NoError(t, err)
	return d
}

func parse(t testing.TB, src string) *dbc.Database {
	t.Helper()
	d, err := dbc.Parse("t.dbc", []byte(src))
	require.NoError(t, err)
	return d
}

// Every signal that ships says what it is and why; nothing is left to a default.
func TestEmbeddedIsMarked(t *testing.T) {
	n := 0
	for _, m := range embedded(t).Messages() {
		for _, s := range m.Signals {
			if strings.HasPrefix(m.Name, "OBD_") {
				continue
			}
			n++
			require.True(t, s.Privacy.Explicit, s.Key())
			require.NotEmpty(t, s.Privacy.Category, s.Key())
			require.NotEmpty(t, s.Privacy.Basis, s.Key())
		}
	}
	require.Greater(t, n, 200)
}

func TestDecode(t *testing.T) {
	d := parse(t, `VERSION ""
BO_ 100 PLAIN: 8 ECU
 SG_ LE12 : 4|12@1+ (0.1,-40) [0|100] "degC" X
 SG_ Neg : 16|8@1- (1,0) [0|0] "" X
 SG_ BE12 : 27|12@0+ (0.25,0) [0|10] "rpm" X
 SG_ Bit : 40|1@1+ (5,1) [0|1] "" X
 SG_ BENeg : 55|16@0- (1,0) [0|0] "" X
BO_ 101 FLOATS: 12 ECU
 SG_ F32 : 0|32@1- (1,0) [0|0] "kPa" X
 SG_ F64 : 39|64@0- (2,1) [0|0] "" X
BO_ 2566844926 WIDE: 64 ECU
 SG_ Late : 440|64@1+ (1,0) [0|0] "" X
 SG_ Odd : 3|64@1+ (1,0) [0|0] "" X
 SG_ OddBE : 458|51@0+ (1,0) [0|0] "" X
SIG_VALTYPE_ 101 F32 : 1;
SIG_VALTYPE_ 101 F64 : 2;
VAL_ 100 Neg -1 "not available" 0 "zero" ;
`)
	f := frame.New(100, 0, 0xF3, 0xFF, 0xFF, 0x0A, 0xBC, 0x01, 0xFF, 0xFE)
	value := func(f *frame.Frame, m *dbc.Message, name string) string {
		q, ok := m.Signal(name).Value(f)
		require.True(t, ok, name)
		return q.String()
	}
	m := d.Named("PLAIN")
	require.Equal(t, "369.5 degC", value(&f, m, "LE12"), "all ones are not cut to the maximum")
	require.Equal(t, "-1", value(&f, m, "Neg"))
	require.Equal(t, "687 rpm", value(&f, m, "BE12"))
	require.Equal(t, "6", value(&f, m, "Bit"), "the factor of a one-bit signal counts")
	require.Equal(t, "-2", value(&f, m, "BENeg"))
	got := map[reading.Key]reading.Value{}
	for _, r := range m.Readings(&f) {
		got[r.Key] = r.Value
	}
	require.Equal(t, reading.Code{N: 0xFF, Label: "not available"}, got["dbc.PLAIN.Neg"])

	fl := frame.New(101, frame.FD, make([]byte, 12)...)
	binary.LittleEndian.PutUint32(fl.Data[:], math.Float32bits(1.5))
	binary.BigEndian.PutUint64(fl.Data[4:], math.Float64bits(-0.25))
	require.Equal(t, "1.5 kPa", value(&fl, d.Named("FLOATS"), "F32"))
	require.Equal(t, "0.5", value(&fl, d.Named("FLOATS"), "F64"))
	binary.LittleEndian.PutUint32(fl.Data[:], math.Float32bits(float32(math.NaN())))
	_, ok := d.Named("FLOATS").Signal("F32").Value(&fl)
	require.False(t, ok, "what is not a number is not a value")

	w := frame.New(0x18FF00FE, frame.FD|frame.Extended, make([]byte, 64)...)
	for i := range w.Data {
		w.Data[i] = byte(i)
	}
	require.Same(t, d.Named("WIDE"), d.Lookup(0x18FEF1FE, true), "bit 31 of the file's number is the 29-bit mark")
	require.Equal(t, strconv.FormatUint(0x3E3D3C3B3A393837, 10), value(&w, d.Named("WIDE"), "Late"))
	require.Equal(t, strconv.FormatUint(0x13A3B3C3D3E3F, 10), value(&w, d.Named("WIDE"), "OddBE"))
	short := frame.New(100, 0, 1, 2)
	_, ok = m.Signal("BE12").Value(&short)
	require.False(t, ok)
}

func TestMultiplex(t *testing.T) {
	d := parse(t, `
BO_ 200 SIMPLE: 4 ECU
 SG_ Page M : 0|8@1+ (1,0) [0|0] "" X
 SG_ A m0 : 8|8@1+ (1,0) [0|0] "" X
 SG_ B m3 : 8|8@1+ (1,0) [0|0] "" X
 SG_ Always : 16|8@1+ (1,0) [0|0] "" X
BO_ 201 NESTED: 4 ECU
 SG_ Outer M : 0|8@1+ (1,0) [0|0] "" X
 SG_ Inner m1M : 8|8@1+ (1,0) [0|0] "" X
 SG_ Deep m2 : 16|8@1+ (1,0) [0|0] "" X
BO_ 202 NOBODY: 4 ECU
 SG_ S1 M : 0|8@1+ (1,0) [0|0] "" X
 SG_ S2 M : 8|8@1+ (1,0) [0|0] "" X
 SG_ Lost m2 : 16|8@1+ (1,0) [0|0] "" X
SG_MUL_VAL_ 201 Inner Outer 1-1 ;
SG_MUL_VAL_ 201 Deep Inner 2-2, 5-9 ;
`)
	names := func(f frame.Frame) string {
		var out []string
		for _, r := range d.Lookup(f.ID, false).Readings(&f) {
			out = append(out, r.Name)
		}
		return strings.Join(out, " ")
	}
	require.Equal(t, "Page A Always", names(frame.New(200, 0, 0, 1, 2, 3)))
	require.Equal(t, "Page B Always", names(frame.New(200, 0, 3, 1, 2, 3)))
	require.Equal(t, "Page Always", names(frame.New(200, 0, 7, 1, 2, 3)))
	require.Equal(t, "Page A", names(frame.New(200, 0, 0, 1)))
	require.Equal(t, "Outer Inner Deep", names(frame.New(201, 0, 1, 7, 3, 4)))
	require.Equal(t, "Outer Inner", names(frame.New(201, 0, 1, 3, 3, 4)))
	require.Equal(t, "Outer", names(frame.New(201, 0, 2, 7, 3, 4)), "a switch that is not there selects nothing")
	require.Equal(t, "S1 S2", names(frame.New(202, 0, 2, 2, 3, 4)), "a signal whose switch the file does not name is never decoded")
}

func TestAttributes(t *testing.T) {
	d := parse(t, "BO_ 1 M: 8 E\n SG_ A : 0|8@1+ (1,0) [0|0] \"\xb0C\" X,Y\n SG_ B : 8|8@1+ (1,0) [0|0] \"\" X\n"+`
BA_DEF_ SG_ "PrivacyClass" ENUM "personal","technical";
BA_DEF_DEF_ "PrivacyClass" "technical";
BA_ "GenMsgCycleTime" BO_ 1 100;
BA_ "BusType" "CAN FD";
BA_ "PrivacyClass" SG_ 1 A 1;
BA_ "PrivacyCategory" SG_ 1 A "condition";
BA_ "Made-Up" SG_ 1 A 3.5;
CM_ SG_ 1 A "two
lines";
BA_DEF_REL_ BU_SG_REL_ "X" INT 0 1;
BA_REL_ "X" BU_SG_REL_ E SG_ 1 A 5;
SIG_GROUP_ 1 G 1 : A B;
VAL_TABLE_ T 0 "off" 1 "on" ;
`)
	a, b := d.Named("M").Signal("A"), d.Named("M").Signal("B")
	require.Equal(t, dbc.Privacy{Technical: true, Explicit: true, Category: "condition"}, a.Privacy)
	require.Equal(t, dbc.Privacy{}, b.Privacy, "a default of the file does not make a signal technical")
	require.Equal(t, "°C", a.Unit, "Latin-1")
	require.Equal(t, "two\nlines", a.Comment)
	require.Equal(t, []dbc.Attribute{{"GenMsgCycleTime", "BO_ 1", "100"}, {"BusType", "", "CAN FD"}, {"Made-Up", "SG_ 1 A", "3.5"}}, d.Unknown)
}

func TestErrorsSayWhere(t *testing.T) {
	for name, c := range map[string]struct {
		src       string
		line, col int
		reason    string
	}{
		"no section":          {"BO_ 1 M: 8 E\n{", 2, 1, "must begin"},
		"size":                {"BO_ 1 M: 8 E\n SG_ A : 0|65@1+ (1,0) [0|0] \"\" X\n", 2, 12, "65 bits"},
		"does not fit":        {"BO_ 1 M: 1 E\n SG_ A : 4|8@1+ (1,0) [0|0] \"\" X\n", 2, 6, "does not fit"},
		"does not fit, BE":    {"BO_ 1 M: 1 E\n SG_ A : 3|8@0+ (1,0) [0|0] \"\" X\n", 2, 6, "does not fit"},
		"factor":              {"BO_ 1 M: 8 E\n SG_ A : 0|8@1+ (x,0) [0|0] \"\" X\n", 2, 18, "factor"},
		"huge factor":         {"BO_ 1 M: 8 E\n SG_ A : 0|8@1+ (1e999999999,0) [0|0] \"\" X\n", 2, 18, "no usable number"},
		"open text":           {"BO_ 1 M: 8 E\n SG_ A : 0|8@1+ (1,0) [0|0] \"km X\n", 2, 29, "not closed"},
		"same name":           {"BO_ 1 M: 8 E\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ A : 8|8@1+ (1,0) [0|0] \"\" X\n", 3, 6, "two signals"},
		"same id":             {"BO_ 1 M: 8 E\nBO_ 1 N: 8 E\n", 2, 5, "same identifier"},
		"12 bits":             {"BO_ 2048 M: 8 E\n", 1, 5, "no bus"},
		"unknown message":     {"CM_ BO_ 7 \"x\";\n", 1, 9, "no message"},
		"unknown signal":      {"BO_ 1 M: 8 E\nVAL_ 1 A 0 \"x\" ;\n", 2, 8, "no signal"},
		"multiplexer":         {"BO_ 1 M: 8 E\n SG_ A mX : 0|8@1+ (1,0) [0|0] \"\" X\n", 2, 8, "multiplexer"},
		"unclosed":            {"BO_ 1 M: 8 E\nVAL_TABLE_ T 0 \"x\"", 2, 1, "not closed"},
		"class":               {"BO_ 1 M: 8 E\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X\nBA_ \"PrivacyClass\" SG_ 1 A \"secret\";\n", 3, 28, "technical or personal"},
		"class index":         {"BO_ 1 M: 8 E\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X\nBA_DEF_ SG_ \"PrivacyClass\" ENUM \"personal\",\"technical\";\nBA_ \"PrivacyClass\" SG_ 1 A 2;\n", 4, 28, "no value 2"},
		"float of 16 bits":    {"BO_ 1 M: 8 E\n SG_ A : 0|16@1+ (1,0) [0|0] \"\" X\nSIG_VALTYPE_ 1 A : 1;\n", 3, 20, "32 or 64"},
		"switches in circles": {"BO_ 1 M: 8 E\n SG_ A m1M : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ B m1M : 8|8@1+ (1,0) [0|0] \"\" X\nSG_MUL_VAL_ 1 A B 1-1;\nSG_MUL_VAL_ 1 B A 1-1;\n", 2, 8, "circle"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dbc.Parse("t.dbc", []byte(c.src))
			var e *dbc.Error
			require.True(t, errors.As(err, &e), "%v", err)
			require.Contains(t, e.Reason, c.reason)
			require.Equal(t, []int{c.line, c.col}, []int{e.Line, e.Column}, "%v", err)
		})
	}
}

// A second opinion: can-go's parser reads the broadcast file the same way.
func TestParserAgreesWithCanGo(t *testing.T) {
	src := readFile(t, "broadcast.dbc")
	p := candbc.NewParser("broadcast.dbc", src)
	require.NoError(t, errOf(p.Parse()))
	d, err := dbc.Parse("broadcast.dbc", src)
	require.NoError(t, err)
	n := 0
	for _, def := range p.Defs() {
		m, ok := def.(*candbc.MessageDef)
		if !ok {
			continue
		}
		got := d.Lookup(m.MessageID.ToCAN(), m.MessageID.IsExtended())
		require.NotNil(t, got)
		require.Equal(t, string(m.Name), got.Name)
		require.Len(t, got.Signals, len(m.Signals))
		for i, s := range m.Signals {
			g := got.Signals[i]
			require.Equal(t, []any{string(s.Name), int(s.StartBit), int(s.Size), s.IsBigEndian, s.IsSigned, s.IsMultiplexerSwitch, s.Unit},
				[]any{g.Name, g.Start, g.Size, g.BigEndian, g.Signed, g.Switch, g.Unit})
			f, _ := new(big.Rat).SetString(g.Factor)
			x, _ := f.Float64()
			require.Equal(t, s.Factor, x)
			n++
		}
	}
	require.Greater(t, n, 200)
}

// reference reads a signal bit by bit.
func reference(s *dbc.Signal, f *frame.Frame) uint64 {
	var v uint64
	if s.BigEndian {
		byteAt, bit := s.Start/8, s.Start%8
		for range s.Size {
			v = v<<1 | uint64(f.Data[byteAt]>>bit&1)
			if bit--; bit < 0 {
				bit, byteAt = 7, byteAt+1
			}
		}
		return v
	}
	for i := range s.Size {
		v |= uint64(f.Data[(s.Start+i)/8]>>((s.Start+i)%8)&1) << i
	}
	return v
}

// Every place and size, both byte orders: the fast decoder gives what reading bit by bit gives, and the value is exact.
func TestDecodeAgreesWithBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size, start := rapid.IntRange(1, 64).Draw(t, "size"), rapid.IntRange(0, 511).Draw(t, "start")
		order, sign := rapid.SampledFrom([]string{"0", "1"}).Draw(t, "order"), rapid.SampledFrom([]string{"+", "-"}).Draw(t, "sign")
		factor := rapid.SampledFrom([]string{"1", "0.1", "-2.5", "0.000001", "1000"}).Draw(t, "factor")
		src := "BO_ 1 M: 64 E\n SG_ S : " + strconv.Itoa(start) + "|" + strconv.Itoa(size) + "@" + order + sign + " (" + factor + ",-40) [0|0] \"u\" X\n"
		d, err := dbc.Parse("t", []byte(src))
		if err != nil {
			t.Skip("does not fit")
		}
		f := frame.New(1, frame.FD, rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(t, "data")...)
		s := d.Named("M").Signal("S")
		raw, ok := s.Raw(&f)
		if !ok || raw != reference(s, &f) {
			t.Fatalf("raw %X, bit by bit %X", raw, reference(s, &f))
		}
		n := new(big.Int).SetUint64(raw)
		if sign == "-" && raw>>(size-1) == 1 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(size)))
		}
		fr, _ := new(big.Rat).SetString(factor)
		want := fr.Mul(fr, new(big.Rat).SetInt(n))
		want.Sub(want, big.NewRat(40, 1))
		q, ok := s.Value(&f)
		if !ok {
			if want.Num().IsInt64() {
				t.Fatal("a value that fits was refused")
			}
			return
		}
		if want.Cmp(big.NewRat(q.Num, q.Den)) != 0 || big.NewRat(q.Num, q.Den).Denom().Int64() != q.Den {
			t.Fatalf("value %s, exactly %s", q, want)
		}
	})
}

// Floats are fractions too: what Value gives is the float, to the last bit, or nothing.
func TestFloatsAreExact(t *testing.T) {
	d := parse(t, "BO_ 1 M: 12 E\n SG_ A : 0|32@1- (1,0) [0|0] \"\" X\n SG_ B : 32|64@1- (1,0) [0|0] \"\" X\nSIG_VALTYPE_ 1 A : 1;\nSIG_VALTYPE_ 1 B : 2;\n")
	rapid.Check(t, func(t *rapid.T) {
		f := frame.New(1, frame.FD, make([]byte, 12)...)
		binary.LittleEndian.PutUint32(f.Data[:], rapid.Uint32().Draw(t, "f32"))
		binary.LittleEndian.PutUint64(f.Data[4:], math.Float64bits(rapid.Float64().Draw(t, "f64")))
		for _, s := range d.Named("M").Signals {
			x, _ := s.Float64(&f)
			q, ok := s.Value(&f)
			want := new(big.Rat).SetFloat64(x)
			if want == nil || !want.Num().IsInt64() || !want.Denom().IsInt64() {
				if ok {
					t.Fatalf("%g became %s", x, q)
				}
				continue
			}
			if !ok || want.Cmp(big.NewRat(q.Num, q.Den)) != 0 || want.Denom().Int64() != q.Den {
				t.Fatalf("%g became %s (%v)", x, q, ok)
			}
		}
	})
}

// FuzzParse: a file is refused with a place, or every signal of it decodes as reading bit by bit does.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"VERSION \"\"\nNS_ :\n\tBA_\nBS_:\nBU_: A B\nBO_ 1 M: 8 A\n SG_ S M : 0|8@1+ (1,0) [0|0] \"\" B\n SG_ T m1 : 15|12@0- (0.5,-1e2) [-.5|+1] \"\" B\n",
		"BO_ 2566844926 M: 64 A\n SG_ S : 440|64@1+ (1,0) [0|0] \"\" B\nSG_MUL_VAL_ 1 A B 1-2, 3-4;",
		"BA_ \"x\" 1;\nVAL_ E 0 \"a\";\nCM_ \"c\";", "SIG_VALTYPE_ 1 S : 1;", "BO_ 3221225472 VECTOR__INDEPENDENT_SIG_MSG: 0 X\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		d, err := dbc.Parse("f", src)
		if err != nil {
			var e *dbc.Error
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Line > 1+strings.Count(string(src), "\n") {
				t.Fatalf("error without a place: %v", err)
			}
			return
		}
		fr := frame.Frame{Len: 64, Flags: frame.FD}
		for i := range fr.Data {
			fr.Data[i] = byte(i*37 + 11)
		}
		for _, m := range d.Messages() {
			for _, s := range m.Signals {
				if raw, ok := s.Raw(&fr); !ok || raw != reference(s, &fr) {
					t.Fatalf("%s: %X, bit by bit %X", s.Key(), raw, reference(s, &fr))
				}
				s.Active(&fr)
				s.Value(&fr)
			}
			m.Readings(&fr)
		}
	})
}

func TestDecodeAllocatesNothing(t *testing.T) {
	d := embedded(t)
	f := frame.New(0x0A5, 0, 0x40, 0x1F, 0x0A, 0x3C, 0x5B, 0, 0x11, 0x22)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, s := range d.Lookup(f.ID, false).Signals {
			if s.Active(&f) {
				s.Value(&f)
				s.Float64(&f)
			}
		}
	}))
}
