package sim_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdgate/fixtures"
	"obdgate/internal/frame"
	"obdgate/internal/sim"

	"io/fs"

	"github.com/stretchr/testify/require"
)

const small = `name: small
vin: WVWZZZCD0NW000001
bus: {protocol: can, bits: 11}
ecus:
  - name: engine
    addresses:
      - {request: "7E0", response: "7E8", functional: ["7DF"]}
    pids:
      "05": "7B"
    dtcs:
      stored: [P0301]
`

// Who writes a vehicle file must be told the line.
func TestErrorsNameTheLine(t *testing.T) {
	_, err := sim.Parse("small.yaml", []byte(small))
	require.NoError(t, err)
	for _, c := range []struct{ old, new, want string }{
		{"name: engine", "name: engine\n    pidz: {}", "[6:5] unknown field \"pidz\""},
		{"bits: 11", "bits: 12", "small.yaml:3: bus.bits"},
		{"protocol: can", "protocol: morse", "small.yaml:3: bus.protocol"},
		{"WVWZZZCD0NW000001", "WVWZZZCD0NW00000I", "small.yaml:2: vin"},
		{`request: "7E0"`, `request: "7E"`, "small.yaml:7: ecus[0].addresses[0].request"},
		{`response: "7E8"`, `response: "7E8/F1"`, "small.yaml:7: ecus[0].addresses[0]"},
		{`["7DF"]`, `["8FF"]`, "small.yaml:7: ecus[0].addresses[0].functional[0]"},
		{`"05": "7B"`, `"05": "7"`, "small.yaml:9: ecus[0].pids.05"},
		{`"05": "7B"`, `"5": "7B"`, "ecus[0].pids"},
		{`"05": "7B"`, `"05": "u8(256)"`, "small.yaml:9: ecus[0].pids.05"},
		{"P0301", "X0301", "small.yaml:11: ecus[0].dtcs.stored[0]"},
		{"P0301", "P4301", "small.yaml:11: ecus[0].dtcs.stored[0]"},
		{"ecus:", "cars:", "unknown field \"cars\""},
		{"vin: WVWZZZCD0NW000001", "vin: [", "vehicle file small.yaml"},
	} {
		_, err := sim.Parse("small.yaml", []byte(strings.Replace(small, c.old, c.new, 1)))
		require.ErrorIs(t, err, sim.ErrVehicle, c.new)
		require.ErrorContains(t, err, c.want)
	}
	path := filepath.Join(t.TempDir(), "own.yaml")
	require.NoError(t, os.WriteFile(path, []byte(small), 0o600))
	v, err := sim.Load(path)
	require.NoError(t, err)
	require.Equal(t, "small", v.Name())
	_, err = sim.Load("golf9")
	require.ErrorIs(t, err, sim.ErrUnknown)
	require.ErrorContains(t, err, "golf8")
}

func TestLiteral(t *testing.T) {
	for s, want := range map[string]string{
		"0A17":                "0A17",
		"0A 17":               "0A17",
		"'AB'/4 '-C'":         "41420000" + "2D43",
		"01 {vin}":            "01" + hexOf("WVWZZZCD0NW000001"),
		"u8(7)u16(8) u24(9)":  "070008000009",
		"u32(457213)":         "0006F9FD",
		"FF'x'":               "FF78",
		"\n 01\n\t02 ":        "0102",
		"u32(4294967295)  00": "FFFFFFFF00",
		"":                    "",
	} {
		b, err := sim.Literal(s)
		require.NoError(t, err, s)
		require.Equal(t, want, strings.ToUpper(hex.EncodeToString(b)), s)
	}
	for _, s := range []string{"0", "G0", "'AB", "'AB'/1", "'AB'/", "{wvin}", "u64(1)", "u8(256)", "u8(-1)", "u8 1", "u8(1", "0x11"} {
		_, err := sim.Literal(s)
		require.Error(t, err, s)
	}
}

// The log is the proof that something was not asked: it must count every way of asking, and nothing else.
func TestLogCountsConsumptionQuestions(t *testing.T) {
	for _, c := range []struct {
		id    uint32
		data  []byte
		line  string
		obfcm bool
	}{
		{0x7DF, []byte{2, 9, 0x17}, "REQ 7DF 0917", true},
		{0x7E0, []byte{3, 9, 0x02, 0x1A}, "REQ 7E0 09021A", true},
		{0x7E0, []byte{5, 0x22, 0xF1, 0x90, 0xF8, 0x17}, "REQ 7E0 22F190F817", true},
		{0x7DF, []byte{2, 9, 0x0A}, "REQ 7DF 090A", false},
		{0x7DF, []byte{2, 1, 0x17}, "REQ 7DF 0117", false},
		{0x7E0, []byte{3, 0x22, 0xF8, 0x02}, "REQ 7E0 22F802", false},
		{0x7E7, []byte{2, 9, 0x17}, "REQ 7E7 0917", true}, // nobody there: asked all the same
	} {
		v := must(t, "golf8")
		var lines bytes.Buffer
		v.LogTo(&lines)
		v.Handle(frame.New(c.id, 0, c.data...), time.Second)
		require.Equal(t, c.line+"\n", lines.String())
		require.Len(t, v.Log(), 1)
		require.Equal(t, time.Second, v.Log()[0].At)
		require.Equal(t, c.obfcm, v.OBFCMRequests() == 1, c.line)
	}
	ts := load(t, "golf8")
	ts.ask(t, "7DF", "0902")
	require.Len(t, ts.v.Log(), 1, "flow control is no question")
	require.Equal(t, []string{"engine", "transmission"}, ts.v.Log()[0].ECUs)
}

// A long request arrives in frames; the ECU grants them block by block.
func TestLongRequest(t *testing.T) {
	v, err := sim.Parse("x", []byte(strings.Replace(small, "    pids:", "    bs: \"02\"\n    stmin: \"0A\"\n    dids: {\"F190\": \"{vin}\"}\n    max_dids: 20\n    pids:", 1)))
	require.NoError(t, err)
	req := []byte{0x22}
	for range 12 {
		req = append(req, 0xF1, 0x90)
	}
	now := time.Duration(0)
	next := func() (frame.Frame, bool) {
		now += 20 * time.Millisecond
		return v.Next(now)
	}
	v.Handle(frame.New(0x7E0, 0, append([]byte{0x10, byte(len(req))}, req[:6]...)...), now)
	f, ok := next()
	require.True(t, ok)
	require.Equal(t, []byte{0x30, 2, 0x0A}, f.Bytes()[:3])
	rest := req[6:]
	for sn := byte(1); len(rest) > 0; sn++ {
		n := min(7, len(rest))
		v.Handle(frame.New(0x7E0, 0, append([]byte{0x20 | sn}, rest[:n]...)...), now)
		rest = rest[n:]
		if f, ok = next(); ok && len(rest) > 0 {
			require.Equal(t, byte(0x30), f.Data[0], "flow control after a block of two")
			require.Zero(t, sn%2)
		}
	}
	require.True(t, ok)
	require.Equal(t, []byte{0x10, 1 + 12*19, 0x62}, f.Bytes()[:3])
}

// Whatever arrives, the vehicle sends only valid frames, on its own identifiers, and does not stop working.
func FuzzHandle(f *testing.F) {
	f.Add([]byte("golf8"), uint32(0x7DF), []byte{2, 1, 0, 0, 0, 0, 0, 0})
	f.Add([]byte("golf8"), uint32(0x7E0), []byte{0x30, 0, 0})
	f.Add([]byte("mini"), uint32(0x6F1), []byte{0x60, 0x10, 0x0F, 0x22, 0xD1, 0x0D, 0, 0})
	f.Add([]byte("broken-garbage"), uint32(0x7DF), []byte{2, 9, 2})
	f.Add([]byte("tahoe"), uint32(0x18DB33F1), []byte{0x21, 0xFF})
	f.Fuzz(func(t *testing.T, name []byte, id uint32, data []byte) {
		v, err := sim.Load(string(name))
		if err != nil || v.Legacy() || len(data) == 0 {
			return
		}
		own := map[string]bool{}
		for _, e := range v.Spec().ECUs {
			for _, a := range e.Addresses {
				rx, _, _ := strings.Cut(a.Response, "/")
				own[rx] = true
			}
		}
		drain := func(now time.Duration) {
			for g, ok := v.Next(now); ok; g, ok = v.Next(now) {
				require.NoError(t, g.Validate())
				require.True(t, own[g.IDString()], g.IDString())
			}
		}
		now := time.Duration(0)
		for chunk := data; len(chunk) > 0; chunk = chunk[min(8, len(chunk)):] {
			v.Handle(frame.New(id&frame.MaxExtendedID, 0, chunk[:min(8, len(chunk))]...), now)
			now += 5 * time.Millisecond
			drain(now)
		}
		drain(now + time.Hour)
	})
}

// A vehicle file that is accepted can be driven; one that is not says why.
func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	entries, err := fs.ReadDir(fixtures.Vehicles(), ".")
	if err != nil || len(entries) == 0 {
		f.Fatal("no seeds")
	}
	for _, e := range entries {
		b, err := fs.ReadFile(fixtures.Vehicles(), e.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("name: A\nbus: {bits: 0}\necus:\n  - name: A\n    addresses:\n     ! #0\n")) // a tag where a list should stand
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := sim.Parse("x.yaml", data)
		if err != nil {
			require.ErrorIs(t, err, sim.ErrVehicle)
			return
		}
		again, err := sim.Parse("x.yaml", data)
		require.NoError(t, err)
		for _, car := range []*sim.Vehicle{v, again} {
			car.Handle(frame.New(0x7DF, 0, 2, 9, 2), 0)
		}
		require.Equal(t, v.Log(), again.Log())
		a, aok := v.Next(time.Hour)
		b, bok := again.Next(time.Hour)
		require.Equal(t, aok, bok)
		require.True(t, a == b, "the same file gives the same car")
	})
}

func BenchmarkRequest(b *testing.B) {
	v, err := sim.Load("golf8")
	if err != nil {
		b.Fatal(err)
	}
	ask, grant := frame.New(0x7E0, 0, 2, 9, 2), frame.New(0x7E0, 0, 0x30, 0, 0)
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		v.Handle(ask, now)
		now += 50 * time.Millisecond
		v.Next(now)
		v.Handle(grant, now)
		now += 50 * time.Millisecond
		for _, ok := v.Next(now); ok; _, ok = v.Next(now) {
		}
	}
}
