package diag_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"obdgate/internal/diag"
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

// asked is the service of the request that a sent frame begins, read without our codec; ok is false for a consecutive
// frame or flow control.
func asked(f frame.Frame, ext bool) (service byte, second int, ok bool) {
	b := f.Bytes()
	second = -1
	if f.Is(frame.Legacy) {
		if len(b) > 1 {
			second = int(b[1])
		}
		return b[0], second, true
	}
	if ext {
		b = b[1:]
	}
	switch b[0] >> 4 {
	case 0:
		if b[0] > 1 {
			second = int(b[2])
		}
		return b[1], second, true
	case 1:
		return b[2], int(b[3]), true
	}
	return 0, 0, false
}

// Whatever is asked for, on whatever bus: only reading reaches the link.
func TestOnlyReadingReachesTheLink(t *testing.T) {
	const reading = "\x01\x02\x03\x06\x07\x09\x0A\x10\x19\x1A\x21\x22\x3E"
	targets := []diag.Target{diag.Functional11, diag.Functional29, diag.FunctionalLegacy, diag.Physical(ecu7E8), diag.Physical(ecuBMW)}
	rapid.Check(t, func(t *rapid.T) {
		request := rapid.OneOf(
			rapid.SliceOfN(rapid.Byte(), 0, 20),
			rapid.Custom(func(t *rapid.T) []byte {
				return append([]byte{rapid.SampledFrom([]byte(reading)).Draw(t, "service")}, rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "rest")...)
			}),
			rapid.SampledFrom([][]byte{{0x04}, {0x10, 0x01}, {0x10, 0x03}, {0x10, 0x81}, {0x10}, {0x10, 0x01, 0x00}, {0x14, 0xFF, 0xFF, 0xFF},
				{0x2E, 0xF1, 0x90, 0x00}, {0x31, 0x01, 0xFF, 0x00}, {0x08, 0x01}, {0x85, 0x02}, {0x41, 0x00}}),
		).Draw(t, "request")
		to := rapid.SampledFrom(targets).Draw(t, "to")
		h := &half{v: newCar(always("7E0#1", "7E8#300000"), always("6F1#601", "660#F1300000")),
			caps: link.Caps{HalfDuplex: true, Instant: true}}
		var sent []frame.Frame
		c := diag.New(h, diag.Options{Tap: func(f frame.Frame) {
			if f.Dir == frame.Sent {
				sent = append(sent, f)
			}
		}})
		_, err := c.Request(context.Background(), diag.Request{To: to, Payload: request})
		require.Len(t, h.v.frames(), len(sent), "a frame left past the tap")
		for _, f := range sent {
			service, second, ok := asked(f, to.Addr.Ext)
			if !ok {
				continue
			}
			require.Contains(t, []byte(reading), service)
			if service == 0x10 {
				require.Equal(t, 0x01, second)
			}
		}
		allowed := len(request) > 0 && strings.IndexByte(reading, request[0]) >= 0 &&
			(request[0] != 0x10 || bytes.Equal(request, []byte{0x10, 0x01}))
		if !allowed {
			require.ErrorIs(t, err, diag.ErrForbiddenService)
			require.Empty(t, sent)
			var f *diag.Forbidden
			require.ErrorAs(t, err, &f)
		} else {
			require.NotErrorIs(t, err, diag.ErrForbiddenService)
		}
	})
}

// The customer's VIN, or anything else that was answered, must be in no error and no log line.
func TestNoPayloadInErrorsAndLogs(t *testing.T) {
	const vin = "WVWZZZCD0NW918273"
	onHex := strings.ToUpper(hex.EncodeToString([]byte(vin)))
	var logged bytes.Buffer
	o := diag.Options{Logger: slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	onCAN(t, func() *car {
		return newCar(
			always("7DF#020902", "7E8#1014490201"+onHex[:6], "7E9#0"+"7490201"+onHex[:8], "7E9#07490201"+onHex[2:10], "7EA#0362F190",
				"7EB#037F0921"),
			always("7E0#30", "7E8#22"+onHex[6:20]),
			always("7E0#020902", "7E8#1014490201"+onHex[:6]),
		)
	}, o, func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, tap *tapped) {
		answers, err := c.Request(ctx, diag.Request{To: diag.Functional11, Payload: payload("0902")})
		require.NoError(t, err)
		require.Len(t, answers, 3)
		text := logged.String()
		for _, a := range answers {
			require.Error(t, a.Err)
			text += a.Err.Error()
		}
		require.NotEmpty(t, logged.String(), "nothing was logged, so nothing was checked")
		for i := 0; i+4 <= len(vin); i++ {
			require.NotContains(t, text, vin[i:i+4])
			require.NotContains(t, strings.ToUpper(text), onHex[2*i:2*i+8])
		}
		for _, f := range tap.frames {
			_, err := json.Marshal(f)
			require.Error(t, err)
		}
	})
}

// A question that was given up must not answer the next one, nor leave the bus unusable.
func TestCancelLeavesTheConnUsable(t *testing.T) {
	onCAN(t, func() *car {
		return newCar(
			rule{on: "7DF#0322F190", says: [][]step{{{60 * ms, "7E8#101462F190414141"}, {1 * ms, "7E9#0462F19041"}}}},
			once("7E0#300000", "7E8#2141414141414141", "7E8#2241414141414141"),
			once("7DF#0322F187", "7E8#0562F1874242", "7E9#0562F1874343"),
		)
	}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, tap *tapped) {
		short, cancel := context.WithTimeout(ctx, 50*ms)
		defer cancel()
		begin := time.Now()
		answers, err := c.Request(short, diag.Request{To: diag.Functional11, Payload: payload("22F190")})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Empty(t, answers)
		require.Equal(t, 50*ms, time.Since(begin), "a cancelled question must end at once")

		time.Sleep(5 * ms)
		answers, err = c.Request(ctx, diag.Request{To: diag.Functional11, Payload: payload("22F187"), Expect: 2})
		require.NoError(t, err)
		require.Equal(t, []string{"7E8 62F1874242", "7E9 62F1874343"}, show(answers))
		require.Contains(t, v.frames(), "7E0#3000000000000000", "the ECU was left in the middle of its answer")
		require.Equal(t, []string{"7E8#0562F1874242"}, tap.at(answers[0].From))
	})
	t.Run("answers that come much later", func(t *testing.T) {
		onCAN(t, func() *car {
			return newCar(
				rule{on: "7DF#02010C", says: [][]step{{{200 * ms, "7E8#04410C1AF8"}}}},
				rule{on: "7DF#02010D", says: [][]step{{{110 * ms, "7E8#03410D20"}}}},
			)
		}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, _ *tapped) {
			short, cancel := context.WithTimeout(ctx, 100*ms)
			defer cancel()
			_, err := c.Request(short, diag.Request{To: diag.Functional11, Payload: payload("010C")})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			answers, err := c.Request(ctx, diag.Request{To: diag.Functional11, Payload: payload("010D")})
			require.NoError(t, err)
			require.Equal(t, []string{"7E8 410D20"}, show(answers), "late, and of the question before: nobody's fault")
		})
	})
	t.Run("already cancelled", func(t *testing.T) {
		onCAN(t, func() *car { return newCar() }, diag.Options{},
			func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, _ *tapped) {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				_, err := c.Request(ctx, diag.Request{To: diag.Functional11, Payload: payload("010C")})
				require.ErrorIs(t, err, context.Canceled)
				require.Empty(t, v.frames())
			})
	})
}

// Answers of ECUs that were not waited for come into the next question's window.
func TestAnswersOfTheQuestionBefore(t *testing.T) {
	onCAN(t, func() *car {
		return newCar(
			rule{on: "7DF#02010C", says: [][]step{{{1 * ms, "7E8#04410C1AF8"}, {30 * ms, "7E9#04410C1AF8"}}}},
			rule{on: "7DF#02010D", says: [][]step{{{20 * ms, "7E8#03410D20"}}}},
		)
	}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, _ *tapped) {
		answers, err := c.Request(ctx, diag.Request{To: diag.Functional11, Payload: payload("010C"), Expect: 1})
		require.NoError(t, err)
		require.Equal(t, []string{"7E8 410C1AF8"}, show(answers))
		answers, err = c.Request(ctx, diag.Request{To: diag.Functional11, Payload: payload("010D")})
		require.NoError(t, err)
		require.Equal(t, []string{"7E8 410D20"}, show(answers))
		require.EqualValues(t, 1, c.Stats().Stray)
	})
}

// A question that everybody answered is followed by the next at once; one that somebody may still answer is not.
func TestGapBetweenQuestions(t *testing.T) {
	onCAN(t, func() *car { return newCar(always("7DF#02010C", "7E8#04410C1AF8")) }, diag.Options{},
		func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, _ *tapped) {
			ask := func(expect int) {
				_, err := c.Request(ctx, diag.Request{To: diag.Functional11, Payload: payload("010C"), Expect: expect})
				require.NoError(t, err)
			}
			for range 3 {
				ask(1)
			}
			ask(0)
			ask(1)
			h := v.heard()
			require.Less(t, h[1].at-h[0].at, 2*ms)
			require.Less(t, h[2].at-h[1].at, 2*ms)
			require.GreaterOrEqual(t, h[4].at-h[3].at, 60*ms)
			require.Len(t, h, 5)
		})
}

// An ECU that does not hear a question right after its answer is asked again, and from then on with the pause.
func TestECUThatNeedsARest(t *testing.T) {
	onCAN(t, func() *car {
		return newCar(always("7E0#0322F190", "7E8#0462F19041"), rule{on: "7E0#0322F187", says: [][]step{nil, say("7E8#0462F18741")}, always: true})
	}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, _ *tapped) {
		for _, q := range []string{"22F190", "22F187", "22F190", "22F187"} {
			answers, err := c.Request(ctx, diag.Request{To: diag.Physical(isotp.Address{Tx: 0x7E0, Rx: 0x7E8}), Payload: payload(q)})
			require.NoError(t, err)
			require.Equal(t, []string{"7E8 62" + q[2:] + "41"}, show(answers))
		}
		h := v.heard()
		require.Len(t, h, 5)
		require.Less(t, h[1].at-h[0].at, 2*ms)
		require.GreaterOrEqual(t, h[2].at-h[1].at, 60*ms, "put again when its time is over")
		require.Equal(t, diag.DefaultGap, (h[3].at - h[2].at).Truncate(ms))
		require.Equal(t, diag.DefaultGap, (h[4].at - h[3].at).Truncate(ms))
		require.EqualValues(t, 1, c.Stats().Repeated)
	})
}

// A refusal says which service it refuses and no more. The second copy of one that was in time for the question before
// must not be taken for the next one's answer.
func TestRefusalOfTheQuestionBefore(t *testing.T) {
	onCAN(t, func() *car {
		return newCar(always("7E0#0322F187", "7E8#037F2231", "7E8#037F2231"), always("7E0#0322F190", "7E8#0462F19041"))
	}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, _ *tapped) {
		to := diag.Physical(isotp.Address{Tx: 0x7E0, Rx: 0x7E8})
		_, err := c.Request(ctx, diag.Request{To: to, Payload: payload("22F187")})
		require.NoError(t, err)
		time.Sleep(5 * ms) // both copies are here now
		answers, err := c.Request(ctx, diag.Request{To: to, Payload: payload("22F190")})
		require.NoError(t, err)
		require.Equal(t, []string{"7E8 62F19041"}, show(answers))
	})
}

// The table must have every code of the standard in use, each with what to do.
func TestNegative(t *testing.T) {
	known := 0
	for code := range 256 {
		n := &diag.Negative{Service: 0x22, Code: byte(code)}
		if strings.HasPrefix(n.Name(), "NRC 0x") {
			require.Empty(t, n.Hint())
			continue
		}
		known++
		require.NotEmpty(t, n.Hint(), n.Name())
		require.Contains(t, n.Error(), n.Name())
	}
	require.Equal(t, 74, known)
	require.Equal(t, "request out of range (NRC 0x31)", (&diag.Negative{Service: 0x22, Code: 0x31}).Name())
	require.Equal(t, "service 22 refused: NRC 0x00", (&diag.Negative{Service: 0x22}).Error())
	require.True(t, (&diag.Negative{Code: 0x31}).Ignorable())
	require.False(t, (&diag.Negative{Code: 0x22}).Ignorable(), "conditions not correct is news")
}

func TestLongAnswerCostsNoAllocationPerFrame(t *testing.T) {
	allocs := func(frames int) float64 {
		steps := []step{{0, "7E8#1FFF62F190414141"}}
		for i := 1; i < frames; i++ {
			steps = append(steps, step{0, "7E8#2" + string("0123456789ABCDEF"[i%16]) + "41414141414141"})
		}
		h := &half{v: newCar(rule{on: "7E0", says: [][]step{nil}, always: true}), caps: link.Caps{HalfDuplex: true, FlowControl: true}}
		l := &canned{half: h}
		for _, s := range steps {
			l.frames = append(l.frames, parse(s.frame))
		}
		c := diag.New(l, diag.Options{Tap: func(frame.Frame) {}})
		request := diag.Request{To: diag.Physical(ecu7E8), Payload: payload("22F190")}
		return testing.AllocsPerRun(20, func() {
			answers, err := c.Request(context.Background(), request)
			if err != nil || len(answers) != 1 {
				t.Fatal(answers, err)
			}
		})
	}
	few, many := allocs(10), allocs(500)
	require.Less(t, many, few+10, "490 frames more") // the race detector adds a few of its own
	t.Logf("%.0f allocations per question", many)
}

// canned gives the same frames after every Send, without costing anything itself.
type canned struct {
	*half
	frames []frame.Frame
	next   int
	opens  int
}

func (l *canned) Send(context.Context, frame.Frame) error { l.next = 0; l.opens++; return nil }

func (l *canned) Recv(context.Context) (frame.Frame, error) {
	if l.next == len(l.frames) {
		return frame.Frame{}, link.ErrQuiet
	}
	l.next++
	return l.frames[l.next-1], nil
}

func BenchmarkRequest(b *testing.B) {
	b.ReportAllocs()
	l := &canned{half: &half{caps: link.Caps{HalfDuplex: true, FlowControl: true}}}
	for _, f := range []string{"7E8#1014490201575657", "7E8#215A5A5A4344304E", "7E8#2257303030303031"} {
		l.frames = append(l.frames, parse(f))
	}
	c := diag.New(l, diag.Options{})
	request := diag.Request{To: diag.Physical(isotp.Address{Tx: 0x7E0, Rx: 0x7E8}), Payload: payload("0902")}
	for b.Loop() {
		if _, err := c.Request(context.Background(), request); err != nil {
			b.Fatal(err)
		}
	}
}
