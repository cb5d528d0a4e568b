package canlog_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"

	"github.com/stretchr/testify/require"
)

var slack = strings.Repeat("x", canlog.Reach)

var only000, _ = canlog.ParseIDs("000")

// quickly gives a line to Quick with a neighbour behind it. Sift, Skim and Pass must say what Parse says.
func quickly(q *canlog.Quick, line string, f *frame.Frame) (canlog.Span, bool) {
	text := []byte(line + "\n" + slack)
	sieve, skim, pass := *q, *q, *q
	id, flags, n, iface, next := sieve.Sift(text)
	var l canlog.Line
	skimmed := skim.Skim(text, &l)
	s, ok := q.Parse(text, f)
	lines, data, end, left := pass.Pass(text, len(line)+1, &canlog.IDs{})
	few, _, past, out := pass.Pass(text, len(line)+1, only000)
	want := [3]int{0, 0, end} // it is left out, whole
	if f.ID == 0 && f.Flags == 0 {
		want = [3]int{lines, end, 0}
	}
	g := frame.New(1, frame.FD, make([]byte, 64)...)
	switch {
	case ok != skimmed, ok != (next != 0), sieve != *q, skim != *q:
		panic(fmt.Sprintf("only some read %q", line))
	case left != 0, [3]int{few, past, out} != want:
		panic(fmt.Sprintf("Pass reads %q otherwise when it is left out: %d %d %d", line, few, past, out))
	case lines > 0 && (!ok || lines != 1 || data != int(f.Len) || end != s.Next):
		panic(fmt.Sprintf("Pass reads %q otherwise: %d %d %d", line, lines, data, end))
	case ok:
		l.Frame(text, &g)
		if next != s.Next || id != f.ID || flags != f.Flags || n != int(f.Len) || iface != s.Iface {
			panic(fmt.Sprintf("Sift reads %q otherwise: %X %v %d %d %d", line, id, flags, n, iface, next))
		}
		if l.Span != s || g != *f || l.Head != binary.LittleEndian.Uint64(f.Data[:]) {
			panic(fmt.Sprintf("Skim reads %q otherwise: %+v", line, l))
		}
	}
	return s, ok
}

// The common lines must not fall to the slow way: a user with a log of 5 million frames would wait three times as long.
func TestQuickTakesTheCommonLines(t *testing.T) {
	var q canlog.Quick
	for _, line := range []string{
		"(1690000000.123456) can0 7E8#0641000000000000",
		"(1690000000.123457) can0 7E8#",
		"(1690000001.999999) vcan12 123#0a1B",
		"(1690000001.000000001) can0 18DAF110#0641000000000000",
		"(0000000000.000000) c 000#FF",
		"(9000000000.999999999) abcdefg 7ff#aAbBcCdDeEfF0099",
		"(1690000000.123456) can0 123##0",
		"(1690000000.123456) can0 123##1112233445566778899AABBCC",
		"(1690000000.123456789) can0 18DAF110##7" + strings.Repeat("0aF1", 32),
	} {
		var got, want frame.Frame
		s, ok := quickly(&q, line, &got)
		require.True(t, ok, line)
		iface, err := canlog.Parse([]byte(line), &want)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, string(iface), line[s.Iface:s.IfaceEnd])
		require.Equal(t, len(line)+1, s.Next)
		require.Equal(t, strings.LastIndexByte(line, '#')+len("0")*strings.Count(line, "##")+1, s.Data)
	}
}

// A sieve over a quiet bus must not fall to one call for each line; what is new or left out is where it stops, and it tells how
// long what is left out is.
func TestPass(t *testing.T) {
	first := "(1690000000.123456) can0 7E8#0641000000000000\n"
	for _, c := range []struct {
		ids   string
		then  []string
		lines int
		bytes int
		left  bool
	}{
		{"not:123", []string{"(1690000000.123457) can0 7E8#", "(1690000000.999999) can0 18DAF110#0a1B", "(1690000000.999999) can0 000#aAbBcCdDeEfF0099"}, 3, 10, false},
		{"7E8,18DAF110", []string{"(1690000000.123457) can0 7E8#01", "(1690000000.999999) can0 18DAF110#0a1B", "(1690000000.999999) can0 001#01"}, 2, 3, true},
		{"not:18DAF110", []string{"(1690000000.123457) can0 7E8#01", "(1690000000.999999) can0 18DAF110#0a1B"}, 1, 1, true},
		{"not:123", []string{"(1690000001.123457) can0 7E8#01"}, 0, 0, false},
		{"not:123", []string{"(1690000000.123457) can1 7E8#01"}, 0, 0, false},
		{"not:123", []string{"(1690000000.123457) can0 7E8##001"}, 0, 0, false},
		{"not:123", []string{"(1690000000.123457) can0 7E8#01", "(1690000000.123457) can0 7E8#0", "(1690000000.123457) can0 7E8#01"}, 1, 1, false},
		{"not:123", []string{"(1690000000.123457) can0 7E8#01", "(1690000000.123457) can0 8E8#01"}, 1, 1, false},
		{"not:123", []string{"(1690000000.123457) can0 7E8#01", "(1690000000.123457) can0 20000000#01"}, 1, 1, false},
	} {
		var q canlog.Quick
		ids, err := canlog.ParseIDs(c.ids)
		require.NoError(t, err)
		text := []byte(first + strings.Join(c.then, "\n") + "\n" + slack)
		n := len(text) - len(slack)
		lines, _, _, _ := q.Pass(text, n, ids)
		require.Zero(t, lines, "of nothing is known that it is not new")
		_, _, _, _, at := q.Sift(text)
		lines, data, next, left := q.Pass(text[at:], n-at, ids)
		require.Equal(t, [2]int{c.lines, c.bytes}, [2]int{lines, data}, c)
		require.Equal(t, len(strings.Join(append(c.then[:lines:lines], ""), "\n")), next)
		want := 0
		if c.left {
			want = len(c.then[lines]) + 1
		}
		require.Equal(t, want, left)
	}
}

// Every character in every place of a line, and every length cut off: Quick never reads what Parse reads otherwise.
func TestQuickNeverContradictsParse(t *testing.T) {
	for _, line := range []string{
		"(1690000000.123456) can0 7E8#0641aF0000000000",
		"(1690000000.123456789) can0 18DAF110#0641",
		"(1690000000.123456) can0 7E8#",
		"(1690000000.123456) can0 7E8##50641aF000000000000112233",
	} {
		var q canlog.Quick
		taken := 0
		check := func(l string) {
			if strings.Contains(l, "\n") {
				return
			}
			var got, want frame.Frame
			s, ok := quickly(&q, l, &got)
			if !ok {
				return
			}
			taken++
			iface, err := canlog.Parse([]byte(l), &want)
			require.NoError(t, err, "%q", l)
			require.Equal(t, want, got, "%q", l)
			require.Equal(t, string(iface), l[s.Iface:s.IfaceEnd], "%q", l)
		}
		for i := range line {
			for c := range 256 {
				check(line[:i] + string([]byte{byte(c)}) + line[i+1:])
				check(line[:i] + string([]byte{byte(c)}) + line[i:])
			}
			check(line[:i])
			check(line[:i] + line[i+1:])
		}
		require.Greater(t, taken, 300)
	}
}

// What a longer frame before it left behind must not stand in a frame.
func TestQuickClearsWhatWasThere(t *testing.T) {
	var q canlog.Quick
	f := frame.New(1, frame.FD, bytes.Repeat([]byte{0xAA}, 64)...)
	f.Seq, f.Bus, f.Dir = 7, 3, frame.Sent
	_, ok := quickly(&q, "(1690000000.123456) can0 7E8#06", &f)
	require.True(t, ok)
	var want frame.Frame
	_, err := canlog.Parse([]byte("(1690000000.123456) can0 7E8#06"), &want)
	require.NoError(t, err)
	require.Equal(t, want, f)
}

func FuzzQuick(f *testing.F) {
	for _, s := range []string{"(1690000000.123456) can0 7E8#0641000000000000", "(1690000000.123456789) can0 18DAF110#06 R", "(1.0) can0 7E8##1", "(1690000000.123456) can0 123##1112233445566778899AABBCC"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		var q canlog.Quick
		for _, line := range []string{first, second, first} {
			if strings.Contains(line, "\n") {
				return
			}
			var got, want frame.Frame
			if s, ok := quickly(&q, line, &got); ok {
				iface, err := canlog.Parse([]byte(line), &want)
				require.NoError(t, err)
				require.Equal(t, want, got)
				require.Equal(t, string(iface), line[s.Iface:s.IfaceEnd])
			}
		}
	})
}

func benchLog() []byte {
	var b bytes.Buffer
	for i := range 20000 {
		fmt.Fprintf(&b, "(%d.%06d) can0 %03X#%016X\n", 1690000000+i/4000, i*250%1000000, i*37%0x7FF, uint64(i)*0x9E3779B97F4A7C15)
	}
	b.WriteString(slack)
	return b.Bytes()
}

func BenchmarkQuick(b *testing.B) {
	log := benchLog()
	var q canlog.Quick
	var f frame.Frame
	at, sum := 0, uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		s, ok := q.Parse(log[at:], &f)
		if !ok {
			at = 0
			continue
		}
		sum += f.ID
		at += s.Next
	}
	b.ReportMetric(1e3/(float64(b.Elapsed().Nanoseconds())/float64(b.N)), "Mframes/s")
}

// The yardsticks: finding the lines, and the parser that reads every form.
func BenchmarkFindLines(b *testing.B) {
	log := benchLog()
	at := 0
	for b.Loop() {
		n := bytes.IndexByte(log[at:], '\n')
		if n < 0 {
			at = 0
			continue
		}
		at += n + 1
	}
	b.ReportMetric(1e3/(float64(b.Elapsed().Nanoseconds())/float64(b.N)), "Mframes/s")
}

func BenchmarkFindAndParse(b *testing.B) {
	log := benchLog()
	var f frame.Frame
	at := 0
	b.ReportAllocs()
	for b.Loop() {
		n := bytes.IndexByte(log[at:], '\n')
		if n < 0 {
			at = 0
			continue
		}
		if _, err := canlog.Parse(log[at:at+n], &f); err != nil {
			b.Fatal(err)
		}
		at += n + 1
	}
	b.ReportMetric(1e3/(float64(b.Elapsed().Nanoseconds())/float64(b.N)), "Mframes/s")
}
