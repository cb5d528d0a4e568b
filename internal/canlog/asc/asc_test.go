package asc_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/canlog/asc"
	"obdgate/internal/frame"
	_ "obdgate/internal/pinned"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const head = "date Wed Apr 16 09:21:13.159 am 2014\nbase hex  timestamps absolute\ninternal events logged\n// version 9.0.0\n" +
	"Begin Triggerblock Wed Apr 16 09:21:13.159 am 2014\n   0.000000 Start of measurement\n"

// start is the head's date.
var start = time.Date(2014, 4, 16, 9, 21, 13, 159e6, time.UTC)

func read(t testing.TB, text string) ([]frame.Frame, *asc.Reader) {
	t.Helper()
	r := asc.NewReader(strings.NewReader(text))
	var out []frame.Frame
	for {
		var f frame.Frame
		err := r.Next(&f)
		if errors.Is(err, io.EOF) {
			return out, r
		}
		require.NoError(t, err)
		require.Equal(t, uint64(len(out)+1), f.Seq)
		f.Seq = 0
		out = append(out, f)
	}
}

func dir(f frame.Frame, d frame.Direction) frame.Frame { f.Dir = d; return f }

func fd(f frame.Frame, n uint8) frame.Frame { f.Len = n; return f }

// cases feed the reader's test and the fuzz test: one line each.
var cases = []struct {
	name, line, iface string
	f                 frame.Frame
}{
	{"classic", "1.000000 1  123             Rx   d 2 01 AB  Length = 768000 BitCount = 67 ID = 291", "can0",
		dir(frame.New(0x123, 0, 1, 0xAB), frame.Received)},
	{"29-bit, sent", "1.0 2  18DB33F1x Tx d 3 02 01 0c", "can1", dir(frame.New(0x18DB33F1, 0, 2, 1, 0x0C), frame.Sent)},
	{"29-bit with a small number", "1.0 1 12x Rx d 0", "can0", dir(frame.New(0x12, frame.Extended), frame.Received)},
	{"length code above eight", "1.0 1 7E8 Rx d F 1 2 3 4 5 6 7 8", "can0", dir(frame.New(0x7E8, 0, 1, 2, 3, 4, 5, 6, 7, 8), frame.Received)},
	{"remote", "1.0 1 123 Rx r", "can0", dir(frame.New(0x123, frame.Remote), frame.Received)},
	{"remote with length", "1.0 1 123 Tx r 4 Length = 0", "can0", dir(fd(frame.New(0x123, frame.Remote), 4), frame.Sent)},
	{"error frame", "3.501000 1 ErrorFrame ECC: 10100010", "can0", fd(frame.Frame{ID: 0x80, Flags: frame.Error}, 8)},
	{"FD error frame", "30.806898 CANFD   5 Tx ErrorFrame Not Acknowledge error, dominant error flag fffe c7 31ca Arb.", "can4",
		fd(frame.Frame{ID: 0x80, Flags: frame.Error}, 8)},
	{"FD without a name", "24.986902 CANFD   7 Tx        716    1 0 9 12 1 2 3 4 5 6 7 8 9 a b c   0 0 3000 0 0 0", "can6",
		dir(frame.New(0x716, frame.FD|frame.BRS, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), frame.Sent)},
	{"FD with a name", "1.0 CANFD 1 Rx 1C4D80A7x  AlphaNumericName_2  0 1 3 3 b1 02 03  1331984 11 5000 46500250 460a0250", "can0",
		dir(frame.New(0x1C4D80A7, frame.FD|frame.ESI, 0xB1, 2, 3), frame.Received)},
	{"FD without the rest", "1.0 CANFD 1 Rx 7 0 0 0 0", "can0", dir(frame.New(7, frame.FD), frame.Received)},
	{"classic on an FD channel", "1.0 CANFD 2 Rx 7 0 0 2 2 aa bb 130000 130 0 0 0", "can1", dir(frame.New(7, 0, 0xAA, 0xBB), frame.Received)},
	{"remote on an FD channel", "1.0 CANFD 2 Rx 7 0 0 4 0 130000 130 10 0 0", "can1", dir(fd(frame.New(7, frame.Remote), 4), frame.Received)},
	{"channel 0", "1.0 0 7 Rx d 0", "can0", dir(frame.New(7, 0), frame.Received)},
}

func TestLines(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, r := read(t, head+c.line+"\n")
			require.Zero(t, r.Damaged(), r.Faults())
			require.Len(t, got, 1)
			require.True(t, c.f == got[0], "%v %v", got[0].Flags, got[0])
			require.Equal(t, []string{c.iface}, r.Interfaces())
		})
	}
}

// What is in a real log besides frames is left out without a word; what is broken is told with its line.
func TestOtherLinesAndDamage(t *testing.T) {
	other := []string{
		"0.015991 CAN 1 Status:chip status error passive - TxErr: 132 RxErr: 0",
		"1.015991 1  Statistic: D 0 R 0 XD 0 XR 0 E 0 O 0 B 0.00%",
		"3.297743 1  J1939TP FEE3p 6 0 0 - Rx d 23 A0 0F A6",
		"3.3 1 123 TxRq d 1 00", "3.3 CANFD 1 TxRq 123 0 0 1 1 00", "3.4 SV: 2 0 1 ::x = 1", "3.5 1 OverloadFrame",
	}
	damaged := []string{
		"3.0 1 123 Rx d 2 01", "3.0 1 123 Rx d 2 01 1FF", "3.0 1 123 Rx d", "3.0 1 800 Rx d 0", "3.0 1 20000000x Rx d 0", "3.0 1 EngineData Rx d 0",
		"3.0 1 123 Up d 0", "3.0 1 123 Rx q 0", "3 1 123 Rx d 0", "no line of a log",
		"3.0 CANFD 1 Rx 123 0 0 9 13 1 2 3 4 5 6 7 8 9 10 11 12 13", "3.0 CANFD 1 Rx 123 0 0 9 8 1 2 3 4 5 6 7 8", "3.0 CANFD 1 Rx 123 2 0 1 1 00",
		"3.0 CANFD x Rx 123 0 0 1 1 00", "3.0 CANFD 1 Rx 123 0 0 f 65 00", "3.0 1 123 Rx d G", "3.0 1 123 Rx d 10",
		"3.0 CANFD 1 Rx 123 0 0 3 3 0 0 1 0 0 10", // a remote frame asks for data, it carries none
		strings.Repeat("9", 10000),
	}
	for _, line := range other {
		_, r := read(t, head+line+"\n")
		require.Zero(t, r.Damaged(), line)
		require.EqualValues(t, 2, r.Skipped(), line) // and the start of measurement
	}
	for _, line := range damaged {
		got, r := read(t, head+line+"\n9.0 1 7 Rx d 1 00\nEnd TriggerBlock\n")
		require.Equal(t, 1, r.Damaged(), line)
		require.Equal(t, 7, r.Faults()[0].Line, line)
		require.ErrorIs(t, r.Faults()[0], canlog.ErrSyntax)
		require.Len(t, got, 1, line)
	}
}

func TestTimes(t *testing.T) {
	abs := "base hex timestamps absolute\n0.5 1 1 Rx d 0\n0.75 1  Statistic: D 0\n1.0 1 1 Rx d 0\n1.000000001 1 1 Rx d 0\n"
	rel := "base hex timestamps relative\n0.5 1 1 Rx d 0\n0.25 1  Statistic: D 0\n0.25 1 1 Rx d 0\n0,000000001 1 1 Rx d 0\n"
	for _, text := range []string{abs, rel} {
		got, r := read(t, "date Wed Apr 16 09:21:13.159 am 2014\n"+text)
		require.Len(t, got, 3)
		require.Equal(t, []time.Duration{0, 500 * time.Millisecond, 500*time.Millisecond + 1}, []time.Duration{got[0].Time, got[1].Time, got[2].Time})
		require.Equal(t, start.Add(500*time.Millisecond), time.Unix(0, int64(r.Start())).UTC())
	}
	for date, want := range map[string]string{
		"Sam Sep 30 15:06:13.191 2017":    "2017-09-30T15:06:13.191Z",
		"Mon Apr 10 02:24:54.471 pm 2023": "2023-04-10T14:24:54.471Z",
		"Don Mär 5 12:00:00 AM 2020":      "2020-03-05T00:00:00Z",
		"Sat Jul 22 04:26:40 2023":        "2023-07-22T04:26:40Z",
		"sometime":                        "1970-01-01T00:00:00Z",
		"Sat Jul 22 04:61:40 2023":        "1970-01-01T00:00:00Z",
	} {
		_, r := read(t, "date "+date+"\nbase hex timestamps absolute\n0.0 1 1 Rx d 0\n")
		require.Equal(t, want, time.Unix(0, int64(r.Start())).UTC().Format(time.RFC3339Nano), date)
		require.Zero(t, r.Damaged())
	}
}

// appendLine writes a frame as the format describes it; the reader must give the same frame back. at is in microseconds.
func appendLine(b *bytes.Buffer, f *frame.Frame, at int, dec bool) {
	num := func(v int) string {
		if dec {
			return fmt.Sprint(v)
		}
		return fmt.Sprintf("%X", v)
	}
	id := num(int(f.ID))
	if f.Is(frame.Extended) {
		id += "x"
	}
	way := map[frame.Direction]string{frame.Received: "Rx", frame.Sent: "Tx"}[f.Dir]
	fmt.Fprintf(b, "%4d.%06d ", at/1e6, at%1e6)
	var data strings.Builder
	for _, x := range f.Bytes() {
		if dec {
			fmt.Fprintf(&data, " %d", x)
		} else {
			fmt.Fprintf(&data, " %02X", x)
		}
	}
	switch {
	case f.Is(frame.Error):
		fmt.Fprintf(b, "%d  ErrorFrame\n", f.Bus+1)
	case f.Is(frame.Remote):
		fmt.Fprintf(b, "%d  %-15s %s   r %d\n", f.Bus+1, id, way, f.Len)
	case f.Is(frame.FD):
		flags, brs, esi, dlc := 0x1000, 0, 0, 0
		if f.Is(frame.BRS) {
			brs, flags = 1, flags|0x2000
		}
		if f.Is(frame.ESI) {
			esi, flags = 1, flags|0x4000
		}
		for canlog.DataLength(uint8(dlc), true) != int(f.Len) {
			dlc++
		}
		fmt.Fprintf(b, "CANFD %3d %s %11s  %-32s %d %d %x %2d%s 130000 130 %x 0 0 0 0 0\n", f.Bus+1, way, id, "", brs, esi, dlc, f.Len, data.String(), flags)
	default:
		fmt.Fprintf(b, "%d  %-15s %s   d %d%s\n", f.Bus+1, id, way, f.Len, data.String())
	}
}

// drawFrames makes any frames the format can hold.
func drawFrames(t *rapid.T) []frame.Frame {
	one := rapid.Custom(func(t *rapid.T) frame.Frame {
		f := frame.Frame{Dir: rapid.SampledFrom([]frame.Direction{frame.Received, frame.Sent}).Draw(t, "dir")}
		f.ID = rapid.Uint32Range(0, frame.MaxStandardID).Draw(t, "id")
		if rapid.Bool().Draw(t, "ext") {
			f.Flags, f.ID = frame.Extended, rapid.Uint32Range(0, frame.MaxExtendedID).Draw(t, "id29")
		}
		f.Len = uint8(rapid.IntRange(0, 8).Draw(t, "len"))
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return frame.Frame{ID: 0x80, Flags: frame.Error, Len: 8}
		case 1:
			f.Flags |= frame.Remote
			return f
		case 2, 3:
			f.Flags |= frame.FD | rapid.SampledFrom([]frame.Flags{0, frame.BRS, frame.ESI, frame.BRS | frame.ESI}).Draw(t, "fd")
			f.Len = uint8(canlog.DataLength(rapid.Uint8Range(0, 15).Draw(t, "dlc"), true))
		}
		copy(f.Data[:f.Len], rapid.SliceOfN(rapid.Byte(), int(f.Len), int(f.Len)).Draw(t, "data"))
		return f
	})
	return rapid.SliceOfN(one, 1, 20).Draw(t, "frames")
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dec, rel := rapid.Bool().Draw(t, "dec"), rapid.Bool().Draw(t, "relative")
		var b bytes.Buffer
		fmt.Fprintf(&b, "base %s timestamps %s\n", map[bool]string{true: "dec", false: "hex"}[dec], map[bool]string{true: "relative", false: "absolute"}[rel])
		want := drawFrames(t)
		now := 0
		for i := range want {
			step := 0
			if i > 0 {
				step = rapid.IntRange(0, 1e7).Draw(t, "step")
			}
			now += step
			want[i].Time = time.Duration(now) * time.Microsecond
			at := now
			if rel {
				at = step
			}
			appendLine(&b, &want[i], at, dec)
		}
		r := asc.NewReader(&b)
		for i := range want {
			var f frame.Frame
			if err := r.Next(&f); err != nil {
				t.Fatal(err, r.Faults())
			}
			f.Seq = 0
			if f != want[i] {
				t.Fatalf("frame %d: %v, wrote %v", i, f, want[i])
			}
		}
		if r.Damaged() != 0 {
			t.Fatal(r.Faults())
		}
	})
}

// Whatever is read from any text is valid frames, and writing those gives a log that reads the same.
func FuzzReader(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(head + c.line + "\n"))
	}
	f.Add([]byte("base dec timestamps relative\n1.5 1 2024 Rx d 1 255\n1,5 1 419373x Rx d 1 255\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		first := asc.NewReader(bytes.NewReader(text))
		var frames []frame.Frame
		var b bytes.Buffer
		b.WriteString("base hex timestamps absolute\n")
		for {
			var x frame.Frame
			if err := first.Next(&x); err != nil {
				if !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				break
			}
			if err := x.Validate(); err != nil {
				t.Fatal(err)
			}
			x.Bus, x.Time = 0, 0
			appendLine(&b, &x, 0, false)
			frames = append(frames, x)
		}
		again := asc.NewReader(&b)
		for i, want := range frames {
			var x frame.Frame
			if err := again.Next(&x); err != nil || x != want {
				t.Fatalf("frame %d came back as %v, was %v (%v %v)", i, x, want, err, again.Faults())
			}
		}
	})
}

func BenchmarkNext(b *testing.B) {
	line := []byte("   3.098426 1  18EBFF00x       Rx d 8 01 A0 0F A6 60 3B D1 40    Length = 273910 BitCount = 141 ID = 418119424x\n")
	text := bytes.Repeat(line, 10000)
	var f frame.Frame
	src := bytes.NewReader(text)
	r := asc.NewReader(src)
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if r.Next(&f) != nil {
			src.Reset(text)
			r = asc.NewReader(src)
		}
	}
}
