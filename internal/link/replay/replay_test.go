package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/linktest"
	"obdgate/internal/link/replay"

	"github.com/stretchr/testify/require"
)

// session: a support map from two ECUs, a VIN over ISO-TP with the tester's flow control, a speed asked three times.
// The VIN is invented.
const session = `
(1690000000.000000) can0 7DF#0201000000000000
(1690000000.003000) can0 7E8#064100BE3EB81300
(1690000000.004500) can0 7E9#064100988000115555
(1690000000.100000) can0 7DF#0201000000000000
(1690000000.103000) can0 7E8#064100BE3EB81300
(1690000000.104500) can0 7E9#0641009880001155
(1690000000.200000) can0 7DF#0209020000000000
(1690000000.205000) can0 7E8#1014490201575657
(1690000000.205300) can0 7E0#3000000000000000
(1690000000.206000) can0 7E8#215A5A5A4344304E
(1690000000.207000) can0 7E8#2257303030303031
(1690000001.000000) can0 7DF#02010D0000000000
(1690000001.002000) can0 7E8#03410D0A00000000
(1690000002.000000) can0 7DF#02010D0000000000
(1690000002.002000) can0 7E8#03410D1400000000
(1690000003.000000) can0 7E0#0322F19000000000
`

func open(t *testing.T, log string) *replay.Link {
	t.Helper()
	l, err := replay.New(t.Context(), "replay:session.log", strings.NewReader(log))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// parse reads "7E8#06.." without time and interface.
func parse(t *testing.T, s string) frame.Frame {
	t.Helper()
	var f frame.Frame
	_, err := canlog.Parse([]byte("(1690000000.000000) can0 "+s), &f)
	require.NoError(t, err)
	return f
}

// ask sends and returns what is heard, as "7E8#06..".
func ask(t *testing.T, l link.Link, request string) []string {
	t.Helper()
	require.NoError(t, l.Send(t.Context(), parse(t, request)))
	var got []string
	for {
		f, err := l.Recv(t.Context())
		if errors.Is(err, link.ErrQuiet) {
			return got
		}
		require.NoError(t, err)
		got = append(got, fmt.Sprintf("%s#%X", f.IDString(), f.Bytes()))
	}
}

func TestConformance(t *testing.T) {
	linktest.Run(t, func(t *testing.T) linktest.Fixture {
		return linktest.Fixture{
			Link: open(t, strings.Replace(session, "988000115555", "9880001155", 1)),
			Ask:  frame.New(0x7DF, 0, 2, 1, 0),
			Answers: []frame.Frame{
				frame.New(0x7E8, 0, 6, 0x41, 0, 0xBE, 0x3E, 0xB8, 0x13, 0),
				frame.New(0x7E9, 0, 6, 0x41, 0, 0x98, 0x80, 0x00, 0x11, 0x55),
			},
			Mute: frame.New(0x7DF, 0, 2, 1, 0x7F, 0, 0, 0, 0, 0),
		}
	})
}

func TestAnswersComeAsRecorded(t *testing.T) {
	l := open(t, session)
	require.Equal(t, []string{"7E8#03410D0A00000000"}, ask(t, l, "7DF#02010DAAAAAAAAAA"), "padding is not part of the question")
	require.Equal(t, []string{"7E8#1014490201575657", "7E8#215A5A5A4344304E", "7E8#2257303030303031"},
		ask(t, l, "7DF#020902"), "order does not matter, flow control in the log is no question")
	require.Equal(t, []string{"7E8#03410D1400000000"}, ask(t, l, "7DF#02010D"), "the second asking draws the second answer")
	require.Equal(t, []string{"7E8#03410D1400000000"}, ask(t, l, "7DF#02010D"), "then the last one for good")
	require.Empty(t, ask(t, l, "7E0#0322F190"), "a recorded question without an answer is silence, not an error")
	require.Equal(t, 1, l.Stats().Damaged, "the nine bytes in line 4")
	require.Equal(t, 4, l.Stats().Faults[0].Line)
	require.Contains(t, l.Caps().Adapter, "1 damaged record left out")
	require.Equal(t, 11, l.Caps().IDBits)
}

func TestAnUnrecordedQuestionIsTold(t *testing.T) {
	l := open(t, session)
	for _, q := range []string{"7DF#02010C", "7E0#02010D", "7DF#0302010D", "18DB33F1#02010D"} {
		err := l.Send(t.Context(), parse(t, q))
		require.ErrorIs(t, err, link.ErrUnrecorded)
		id, _, _ := strings.Cut(q, "#")
		require.ErrorContains(t, err, id)
		_, err = l.Recv(t.Context())
		require.ErrorIs(t, err, link.ErrQuiet, "a question that is not recorded ends the window of the one before")
	}
	require.Equal(t, 4, l.Stats().Unrecorded)
	require.Len(t, ask(t, l, "7DF#02010D"), 1, "the link goes on")
}

func TestTheClientsFlowControlIsItsOwnAffair(t *testing.T) {
	l := open(t, session)
	require.NoError(t, l.Send(t.Context(), parse(t, "7DF#020902")))
	f, err := l.Recv(t.Context())
	require.NoError(t, err)
	require.Equal(t, byte(0x10), f.Data[0])
	require.NoError(t, l.Send(t.Context(), parse(t, "7E0#30080A5555555555")))
	for _, want := range []byte{0x21, 0x22} {
		f, err = l.Recv(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, f.Data[0], "flow control ended the window")
	}
}

// Answers that came while the tester had already asked something else belong to their own question.
func TestLateAndInterleavedAnswersFindTheirQuestion(t *testing.T) {
	l := open(t, `
(1690000000.000000) can0 7E0#0322F190
(1690000000.001000) can0 7E2#0322F190
(1690000000.002000) can0 7E8#037F2278
(1690000000.003000) can0 7EA#0462F19041
(1690000000.010000) can0 7E0#02010D
(1690000000.011000) can0 7E8#03410D00
(1690000000.500000) can0 7E8#100A62F190414243
(1690000000.510000) can0 7E2#021003
(1690000000.511000) can0 7E8#2144454647
(1690000000.512000) can0 7EA#025003
`)
	require.Equal(t, []string{"7E8#037F2278", "7E8#100A62F190414243", "7E8#2144454647"}, ask(t, l, "7E0#0322F190"))
	require.Equal(t, []string{"7EA#0462F19041"}, ask(t, l, "7E2#0322F190"))
	require.Equal(t, []string{"7E8#03410D00"}, ask(t, l, "7E0#02010D"))
	require.Equal(t, []string{"7EA#025003"}, ask(t, l, "7E2#021003"))
}

func TestWhoIsTheTester(t *testing.T) {
	for _, c := range []struct {
		name, log, request string
		answers            []string
	}{
		{"BMW's 6F1, address byte in front", "(1.000000) can0 6F1#120322F190000000\n(1.010000) can0 612#F10462F19041\n(1.020000) can0 6F1#12300000\n",
			"6F1#120322F190", []string{"612#F10462F19041"}},
		{"29-bit physical", "(1.000000) can0 18DA10F1#02010D\n(1.010000) can0 18DAF110#03410D00\n(1.011000) can0 18DAF118#03410D00\n",
			"18DA10F1#02010D", []string{"18DAF110#03410D00", "18DAF118#03410D00"}},
		{"a maker's pair in a log that marks directions", "(1.000000) can0 714#0322224000 T\n(1.010000) can0 77E#046222400A R\n",
			"714#03222240", []string{"77E#046222400A"}},
		{"K-line", "(1.000000) kl0 686AF1#010D\n(1.010000) kl0 486B10#410D00\n(1.020000) kl0 486B18#410D00\n",
			"686AF1#010D", []string{"486B10#410D00", "486B18#410D00"}},
		{"broadcast frames stay with the question they came after", "(1.000000) can0 7DF#02010D\n(1.001000) can0 3B4#1122\n(1.002000) can0 7E8#03410D00\n",
			"7DF#02010D", []string{"3B4#1122", "7E8#03410D00"}},
		{"CAN FD single frame", "(1.000000) can0 7E0##00003220102000000\n(1.002000) can0 7E8##1000462010255AA\n",
			"7E0##00003220102AAAAAA", []string{"7E8#000462010255AA"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := open(t, c.log)
			require.Zero(t, l.Stats().Damaged)
			require.Equal(t, c.answers, ask(t, l, c.request))
		})
	}
}

// A long request is recorded and asked again piece by piece, each with its own padding.
func TestLongRequests(t *testing.T) {
	l := open(t, `
(1.000000) can0 7E0#100822F190F18CF1
(1.001000) can0 7E8#3000000000000000
(1.002000) can0 7E0#2187F1AAAAAAAAAA
(1.003000) can0 7E8#037F2231
`)
	require.Equal(t, []string{"7E8#3000000000000000"}, ask(t, l, "7E0#100822F190F18CF1"))
	require.Equal(t, []string{"7E8#037F2231"}, ask(t, l, "7E0#2187F10000"))
}

func TestTimesRunAsRecorded(t *testing.T) {
	l := open(t, session)
	for range 2 {
		require.NoError(t, l.Send(t.Context(), parse(t, "7DF#020100")))
		before := time.Duration(-1)
		for {
			f, err := l.Recv(t.Context())
			if err != nil {
				break
			}
			require.Greater(t, f.Time, before)
			before = f.Time
		}
		require.Positive(t, before)
	}
	require.NoError(t, l.Send(t.Context(), parse(t, "7DF#02010D")))
	f, err := l.Recv(t.Context())
	require.NoError(t, err)
	require.Equal(t, 9500*time.Microsecond, f.Time, "4.5 ms, 3 ms and 2 ms of waiting for answers; the second between the questions was the recording tester's")
}

func TestBadRecordings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(p, []byte(text), 0o600))
		return "replay:" + p
	}
	for _, c := range []struct {
		name, uri string
		is        error
		hint      string
	}{
		{"missing", "replay:" + filepath.Join(dir, "nothing.log"), fs.ErrNotExist, "path"},
		{"no path", "replay:", link.ErrNoAdapter, "replay:session.log"},
		{"empty", write("empty.log", ""), link.ErrNoVehicle, "candump -L"},
		{"no log at all", write("letter.log", "Dear customer,\n"), link.ErrNoVehicle, "candump -L"},
		{"only broadcast", write("broadcast.log", "(1.000000) can0 3B4#1122\n"), link.ErrNoVehicle, "classify"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := replay.Open(t.Context(), c.uri)
			require.ErrorIs(t, err, c.is)
			var le *link.Error
			require.ErrorAs(t, err, &le)
			require.Contains(t, le.Hint, c.hint)
			require.NotContains(t, le.Err.Error(), dir, "the path stands in the address already")
		})
	}
	_, err := replay.New(t.Context(), "replay:x", iotest.ErrReader(io.ErrUnexpectedEOF))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = replay.New(ctx, "replay:x", strings.NewReader(session))
	require.ErrorIs(t, err, context.Canceled)
}

// Every question that a log holds is answered, and with frames of that log only, whatever the log.
func FuzzEveryRecordedQuestionIsAnswered(f *testing.F) {
	f.Add([]byte(session))
	f.Add([]byte("(1.000000) can0 6F1#120322F190\n(1.010000) can0 612#F10462F19041\n"))
	f.Add([]byte("(1.000000) kl0 686AF1#010D\n(1.010000) kl0 486B10#410D00\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		if len(log) > 1<<14 {
			return
		}
		l, err := replay.New(t.Context(), "replay:fuzz", bytes.NewReader(log))
		if err != nil {
			return
		}
		heard, sent := 0, 0
		src := canlog.NewReader(bytes.NewReader(log))
		var fr frame.Frame
		for src.Next(&fr) == nil {
			if l.Send(t.Context(), fr) != nil {
				continue
			}
			sent++
			for {
				a, err := l.Recv(t.Context())
				if err != nil {
					break
				}
				if err := a.Validate(); err != nil {
					t.Fatal(err)
				}
				heard++
			}
		}
		if st := l.Stats(); sent < st.Requests || uint64(heard) > st.Frames {
			t.Fatalf("%d questions recorded, %d answered with %d of %d frames", st.Requests, sent, heard, st.Frames)
		}
	})
}

func BenchmarkSendRecv(b *testing.B) {
	l, err := replay.New(b.Context(), "replay:bench", strings.NewReader(session))
	require.NoError(b, err)
	ask := frame.New(0x7DF, 0, 2, 1, 0x0D)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Send(b.Context(), ask); err != nil {
			b.Fatal(err)
		}
		if _, err := l.Recv(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
