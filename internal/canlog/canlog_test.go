package canlog_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"

	"github.com/stretchr/testify/require"
)

func at(sec, ns int64) time.Duration { return time.Duration(sec)*time.Second + time.Duration(ns) }

func with(f frame.Frame, t time.Duration, d frame.Direction) frame.Frame {
	f.Time, f.Dir = t, d
	return f
}

// cases feed Parse, Append and the fuzz test. Where the line Append writes differs, out is it.
var cases = []struct {
	name, line, iface, out string
	f                      frame.Frame
}{
	{name: "classic 11-bit", line: "(1690000000.123456) can0 7E8#0641000000000000", iface: "can0",
		f: with(frame.New(0x7E8, 0, 6, 0x41, 0, 0, 0, 0, 0, 0), at(1690000000, 123456000), frame.Unknown)},
	{name: "nanoseconds", line: "(1690000000.123456789) vcan1 001#", iface: "vcan1",
		f: with(frame.New(1, 0), at(1690000000, 123456789), frame.Unknown)},
	{name: "29-bit, sent", line: "(1690000000.000001) can0 18DB33F1#02010C T", iface: "can0",
		f: with(frame.New(0x18DB33F1, 0, 2, 1, 0x0C), at(1690000000, 1000), frame.Sent)},
	{name: "29-bit with a small number", line: "(1690000000.000000) can0 00000012#11", iface: "can0",
		f: with(frame.New(0x12, frame.Extended, 0x11), at(1690000000, 0), frame.Unknown)},
	{name: "received", line: "(0000000000.500000) can0 7E8#0141 R", iface: "can0",
		f: with(frame.New(0x7E8, 0, 1, 0x41), at(0, 500000000), frame.Received)},
	{name: "remote", line: "(1690000000.000000) can0 123#R", iface: "can0",
		f: with(frame.New(0x123, frame.Remote), at(1690000000, 0), frame.Unknown)},
	{name: "remote with length", line: "(1690000000.000000) can0 00001234#R4", iface: "can0",
		f: with(frame.Frame{ID: 0x1234, Flags: frame.Extended | frame.Remote, Len: 4}, at(1690000000, 0), frame.Unknown)},
	{name: "remote received", line: "(1690000000.000000) can0 123#R R", iface: "can0",
		f: with(frame.New(0x123, frame.Remote), at(1690000000, 0), frame.Received)},
	{name: "FD with bit rate switch", line: "(1690000000.000000) can0 123##1112233445566778899AABBCC", iface: "can0",
		f: with(frame.New(0x123, frame.FD|frame.BRS, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC), at(1690000000, 0), frame.Unknown)},
	{name: "FD with the FD bit itself", line: "(1690000000.000000) can0 123##6", out: "(1690000000.000000) can0 123##2", iface: "can0",
		f: with(frame.New(0x123, frame.FD|frame.ESI), at(1690000000, 0), frame.Unknown)},
	{name: "error report", line: "(1690000000.000000) can0 20000004#0004000000000000", iface: "can0",
		f: with(frame.Frame{ID: 4, Flags: frame.Error, Len: 8, Data: [64]byte{1: 4}}, at(1690000000, 0), frame.Unknown)},
	{name: "legacy", line: "(1690000000.000000) kl0 486B10#4100BE3EB811", iface: "kl0",
		f: with(frame.New(0x486B10, frame.Legacy, 0x41, 0, 0xBE, 0x3E, 0xB8, 0x11), at(1690000000, 0), frame.Unknown)},
	{name: "milliseconds", line: "(1690000000.123) can0 7E8#0641", out: "(1690000000.123000) can0 7E8#0641", iface: "can0",
		f: with(frame.New(0x7E8, 0, 6, 0x41), at(1690000000, 123000000), frame.Unknown)},
	{name: "whole seconds", line: "(1690000000) can0 7E8#0641", out: "(1690000000.000000) can0 7E8#0641", iface: "can0",
		f: with(frame.New(0x7E8, 0, 6, 0x41), at(1690000000, 0), frame.Unknown)},
	{name: "a float's digits", line: "(1690000000.1234567165) can0 7E8#0641", out: "(1690000000.123456716) can0 7E8#0641", iface: "can0",
		f: with(frame.New(0x7E8, 0, 6, 0x41), at(1690000000, 123456716), frame.Unknown)},
	{name: "python-can, from the first frame on", line: "(0.000000) PCAN_USBBUS1 7E8#0641 R", out: "(0000000000.000000) PCAN_USBBUS1 7E8#0641 R",
		iface: "PCAN_USBBUS1", f: with(frame.New(0x7E8, 0, 6, 0x41), 0, frame.Received)},
	{name: "python-can, a serial adapter's channel", line: "(1690000000.000000) /dev/ttyUSB0@115200 123#R T",
		out: "(1690000000.000000) /dev/ttyUSB0@11 123#R T", iface: "/dev/ttyUSB0@115200",
		f: with(frame.New(0x123, frame.Remote), at(1690000000, 0), frame.Sent)},
	{name: "python-can, an error", line: "(1690000000.000000) can0 20000080#", iface: "can0",
		f: with(frame.Frame{ID: 0x80, Flags: frame.Error}, at(1690000000, 0), frame.Unknown)},
	{name: "SavvyCAN, seventeen characters of time", line: "(0000000012.345678) vcan0 18DAF110##60102",
		out: "(0000000012.345678) vcan0 18DAF110##20102", iface: "vcan0",
		f: with(frame.New(0x18DAF110, frame.Extended|frame.FD|frame.ESI, 1, 2), at(12, 345678000), frame.Unknown)},
	{name: "node-can, no interface", line: "(1690000000.000000) 000007E8#0641", out: "(1690000000.000000) can0 000007E8#0641", iface: "can0",
		f: with(frame.New(0x7E8, frame.Extended, 6, 0x41), at(1690000000, 0), frame.Unknown)},
	{name: "dots between bytes", line: "(1690000000.000000) can0 7E8#06.41.00", out: "(1690000000.000000) can0 7E8#064100", iface: "can0",
		f: with(frame.New(0x7E8, 0, 6, 0x41, 0), at(1690000000, 0), frame.Unknown)},
	{name: "lower case, spaces, raw length code", line: "(1690000000.000000)  can0  7e8#0102030405060708_e  R ",
		out: "(1690000000.000000) can0 7E8#0102030405060708 R", iface: "can0",
		f: with(frame.New(0x7E8, 0, 1, 2, 3, 4, 5, 6, 7, 8), at(1690000000, 0), frame.Received)},
}

func TestParseAndAppendAreMirrors(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var f frame.Frame
			iface, err := canlog.Parse([]byte(c.line), &f)
			require.NoError(t, err)
			require.True(t, c.f == f, "frame differs: %v", f)
			require.Equal(t, c.iface, string(iface))
			want := c.out
			if want == "" {
				want = c.line
			}
			require.Equal(t, want, string(canlog.Append(nil, &f, string(iface))))
		})
	}
}

// A line that is half written, glued to the next or not a log line must be told, not read as some other frame.
func TestParseRefuses(t *testing.T) {
	for name, line := range map[string]string{
		"empty":                      "",
		"no time":                    "can0 7E8#0641",
		"point without fraction":     "(1690000000.) can0 7E8#0641",
		"two points":                 "(1690000000.123.456) can0 7E8#0641",
		"fraction of 19":             "(1690000000.1234567890123456789) can0 7E8#0641",
		"negative":                   "(-1.000000) can0 7E8#0641",
		"seconds beyond a duration":  "(9999999999.000000) can0 7E8#0641",
		"time not closed":            "(1690000000.123456 can0 7E8#0641",
		"interface alone":            "(1690000000.123456) can0",
		"no interface, four digits":  "(1690000000.123456) 07E8#0641",
		"interface of 64":            "(1690000000.123456) " + strings.Repeat("a", 64) + " 7E8#0641",
		"two dots between bytes":     "(1690000000.123456) can0 7E8#06..41",
		"dot at the end":             "(1690000000.123456) can0 7E8#06.",
		"no identifier":              "(1690000000.123456) can0 #0641",
		"four digits":                "(1690000000.123456) can0 07E8#0641",
		"nine digits":                "(1690000000.123456) can0 0000007E8#0641",
		"11-bit identifier 800":      "(1690000000.123456) can0 800#0641",
		"29-bit identifier FFFFFFFF": "(1690000000.123456) can0 FFFFFFFF#0641",
		"30-bit identifier":          "(1690000000.123456) can0 40000000#0641",
		"no hash":                    "(1690000000.123456) can0 7E8",
		"odd digits":                 "(1690000000.123456) can0 7E8#064",
		"not hex":                    "(1690000000.123456) can0 7E8#06G1",
		"nine bytes":                 "(1690000000.123456) can0 7E8#010203040506070809",
		"two lines glued":            "(1690000000.123456) can0 7E8#0641(1690000000.123460) can0 7E8#0642",
		"FD of nine bytes":           "(1690000000.123456) can0 7E8##0010203040506070809",
		"FD of 65 bytes":             "(1690000000.123456) can0 7E8##0" + strings.Repeat("00", 65),
		"FD without flags":           "(1690000000.123456) can0 7E8##",
		"FD with flags 8":            "(1690000000.123456) can0 7E8##8",
		"remote of nine":             "(1690000000.123456) can0 7E8#R9",
		"tail":                       "(1690000000.123456) can0 7E8#0641 X",
		"tail after direction":       "(1690000000.123456) can0 7E8#0641 RT",
		"screen output of candump":   "can0  7E8   [8]  06 41 00 BE 3E B8 13 00",
		"longer than any frame":      "(1690000000.123456) can0 7E8#0641" + strings.Repeat(" ", canlog.MaxLine),
	} {
		t.Run(name, func(t *testing.T) {
			f := frame.New(0x7FF, 0, 9)
			_, err := canlog.Parse([]byte(line), &f)
			require.ErrorIs(t, err, canlog.ErrSyntax)
			require.True(t, f == frame.Frame{}, "a damaged line left something in the frame")
			require.NotContains(t, err.Error(), "0641")
		})
	}
}

func TestAppendAtATime(t *testing.T) {
	f := frame.New(0x7DF, 0, 2, 1, 0)
	f.Time = time.Hour
	require.Equal(t, "(1700000000.000250) can0 7DF#020100",
		string(canlog.Append(nil, &f, "", time.Unix(1700000000, 250000))))
	f.Time = -time.Second
	require.Equal(t, "(0000000000.000000) can0 7DF#020100", string(canlog.Append(nil, &f, "can0")))
}

func TestReaderCountsDamage(t *testing.T) {
	log := "# a comment of ours\n" +
		"(1690000000.000000) can0 7DF#0201000000000000\r\n" +
		"\n" +
		"(1690000000.0100\n" +
		"(1690000000.020000) can1 7E8#064100BE3EB81300\n" +
		strings.Repeat("x", 10000) + "\n" +
		"(1690000000.030000) can0 7E8#06410" // cut off by a full disk
	r := canlog.NewReader(strings.NewReader(log))
	var f frame.Frame
	require.NoError(t, r.Next(&f))
	require.Equal(t, uint64(1), f.Seq)
	require.Zero(t, f.Time)
	require.NoError(t, r.Next(&f))
	require.Equal(t, 20*time.Millisecond, f.Time)
	require.Equal(t, uint8(1), f.Bus)
	require.Equal(t, uint64(2), f.Seq)
	require.ErrorIs(t, r.Next(&f), io.EOF)
	require.ErrorIs(t, r.Next(&f), io.EOF)
	require.Equal(t, 3, r.Damaged())
	var lines []int
	for _, x := range r.Faults() {
		require.ErrorIs(t, x, canlog.ErrSyntax)
		lines = append(lines, x.Line)
	}
	require.Equal(t, []int{4, 6, 7}, lines)
	require.Equal(t, []string{"can0", "can1"}, r.Interfaces())
	require.Equal(t, at(1690000000, 0), r.Start())
	require.Equal(t, uint64(2), r.Frames())
}

func TestReaderTellsAReadError(t *testing.T) {
	bad := errors.New("disk on fire")
	src := io.MultiReader(strings.NewReader("(1690000000.000000) can0 7DF#020100\n"), iotest.ErrReader(bad))
	r := canlog.NewReader(src)
	var f frame.Frame
	require.NoError(t, r.Next(&f))
	err := r.Next(&f)
	require.ErrorIs(t, err, bad)
	require.ErrorContains(t, err, "line 2")
}

// A log of nothing but damage must not fill the memory of the machine that reads it.
func TestReaderBoundsWhatItRemembers(t *testing.T) {
	var log bytes.Buffer
	for i := range 1000 {
		log.WriteString("(1690000000.000000) if")
		log.WriteString(strings.Repeat("a", i%13))
		log.WriteByte(byte('a' + i%26))
		log.WriteString(" 123#00\nnothing\n")
	}
	r := canlog.NewReader(&log)
	var f frame.Frame
	n := 0
	for r.Next(&f) == nil {
		n++
	}
	require.Equal(t, 2000, n+r.Damaged())
	require.Len(t, r.Faults(), 20)
	require.LessOrEqual(t, len(r.Interfaces()), 64)
}

func TestNoAllocations(t *testing.T) {
	line := []byte(cases[0].line)
	bad := []byte("(1690000000.123456) can0 7E8#064")
	buf := make([]byte, 0, canlog.MaxLine)
	var f frame.Frame
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = canlog.Parse(bad, &f)
		_, _ = canlog.Parse(line, &f)
		buf = canlog.Append(buf[:0], &f, "can0")
	}))
}

// Whatever Parse accepts, Append writes, and reading that gives the same frame; writing is then stable.
func FuzzRoundTrip(f *testing.F) {
	if len(cases) == 0 {
		f.Fatal("no seeds")
	}
	for _, c := range cases {
		f.Add([]byte(c.line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var a, b frame.Frame
		iface, err := canlog.Parse(line, &a)
		if err != nil {
			if !errors.Is(err, canlog.ErrSyntax) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if err := a.Validate(); err != nil {
			t.Fatalf("Parse accepted a frame no bus can carry: %v", err)
		}
		out := canlog.Append(nil, &a, string(iface))
		if len(out) > canlog.MaxLine {
			t.Fatalf("Append wrote %d bytes, more than MaxLine", len(out))
		}
		again, err := canlog.Parse(out, &b)
		if err != nil || a != b || string(again) != string(iface[:min(len(iface), 15)]) {
			t.Fatalf("%q came back as another frame: %v %v %v", out, a, b, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	line := []byte(cases[0].line)
	var f frame.Frame
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := canlog.Parse(line, &f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	f := cases[0].f
	buf := make([]byte, 0, canlog.MaxLine)
	b.ReportAllocs()
	for b.Loop() {
		buf = canlog.Append(buf[:0], &f, "can0")
	}
}
