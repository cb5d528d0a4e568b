package replay_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/crash"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/memory"
	"obdgate/internal/link/replay"

	"github.com/stretchr/testify/require"
)

// conversation asks an Answerer on a bus and writes down what it says and when, in microseconds: lines "at id#data".
func conversation(t *testing.T, log string, speed float64, ask func(send func(string), wait func(time.Duration))) (heard []string, stats replay.Stats) {
	synctest.Test(t, func(t *testing.T) {
		a, err := replay.NewAnswerer(t.Context(), "replay:x", strings.NewReader(log), speed)
		require.NoError(t, err)
		bus := memory.NewBus()
		car, tester := bus.Attach("car"), bus.Attach("tester")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Serve(ctx, car) }()
		begin := time.Now()
		ask(func(s string) { require.NoError(t, tester.Send(ctx, parse(t, s))); synctest.Wait() }, time.Sleep)
		over, end := context.WithTimeout(ctx, 5*time.Second)
		defer end()
		for {
			f, err := tester.Recv(over)
			if err != nil {
				break
			}
			line := string(canlog.Append(nil, &f, "can0", time.UnixMicro(f.Time.Microseconds())))
			line, _ = strings.CutSuffix(line, " R")
			heard = append(heard, strings.Replace(strings.Replace(line, "(000000000", "", 1), ") can0", "", 1))
		}
		require.Less(t, time.Since(begin), time.Minute)
		cancel()
		require.NoError(t, <-done)
		stats = a.Stats()
		require.NoError(t, car.Close())
	})
	return heard, stats
}

func TestAnswererAnswersAsTheCarDid(t *testing.T) {
	heard, stats := conversation(t, session, 1, func(send func(string), wait func(time.Duration)) {
		send("7DF#0201000000000000")
		wait(50 * time.Millisecond)
		send("7DF#020100") // padding does not make another question; the second time it drew two answers
		wait(50 * time.Millisecond)
		send("7DF#020902")
		wait(50 * time.Millisecond) // slower than the recorded tester: the rest must wait for it
		send("7E0#300000")
		wait(50 * time.Millisecond)
		send("7DF#0209040000000000") // nobody asked that
		send("123#01")               // nothing to us
		wait(100 * time.Millisecond)
	})
	require.Equal(t, []string{
		"0.003000 7E8#064100BE3EB81300", "0.053000 7E8#064100BE3EB81300", "0.054500 7E9#0641009880001155",
		"0.105000 7E8#1014490201575657",
		"0.151000 7E8#215A5A5A4344304E", "0.152000 7E8#2257303030303031",
	}, heard)
	require.Equal(t, 1, stats.Unrecorded)
}

func TestAnswererHeedsFlowControl(t *testing.T) {
	for name, c := range map[string]struct {
		speed float64
		flow  []string // one every 100 ms
		want  []string
	}{
		"separation time": {0, []string{"7E0#30000A"}, []string{"0.000000", "0.000000", "0.010000"}},
		"microseconds":    {0, []string{"7E0#3000F5"}, []string{"0.000000", "0.000000", "0.000500"}},
		"blocks of one":   {0, []string{"7E0#300100", "7E0#300100"}, []string{"0.000000", "0.000000", "0.100000"}},
		"wait":            {0, []string{"7E0#310000", "7E0#300000"}, []string{"0.000000", "0.100000", "0.100000"}},
		"overflow":        {0, []string{"7E0#320000", "7E0#300000"}, []string{"0.000000"}},
		"none":            {0, nil, []string{"0.000000"}},
		"another's":       {0, []string{"7E1#300000"}, []string{"0.000000"}},
		"ten times":       {10, []string{"7E0#300000"}, []string{"0.000500", "0.000700", "0.000800"}},
	} {
		t.Run(name, func(t *testing.T) {
			heard, _ := conversation(t, session, c.speed, func(send func(string), wait func(time.Duration)) {
				send("7DF#0209020000000000")
				if c.speed > 0 {
					wait(600 * time.Microsecond)
				}
				for _, f := range c.flow {
					send(f)
					wait(100 * time.Millisecond)
				}
				wait(3 * time.Second)
			})
			var at []string
			for _, h := range heard {
				at = append(at, strings.Fields(h)[0])
			}
			require.Equal(t, c.want, at)
		})
	}
}

// A new question ends what is left of the answer to the one before, as in an ECU.
func TestAnswererIsAskedAnew(t *testing.T) {
	heard, _ := conversation(t, session, 1, func(send func(string), _ func(time.Duration)) {
		send("7DF#0209020000000000")
		send("7DF#02010D0000000000")
	})
	require.Equal(t, []string{"0.002000 7E8#03410D0A00000000"}, heard)
}

func TestAnswererOnBMW(t *testing.T) {
	log := "(1.000000) can0 6F1#120322F190\n(1.010000) can0 612#F1100862F19041\n(1.010500) can0 6F1#12300000\n(1.011000) can0 612#F121424344\n"
	heard, _ := conversation(t, log, 1, func(send func(string), wait func(time.Duration)) {
		send("6F1#120322F190")
		wait(20 * time.Millisecond)
		send("6F1#40300000")
		wait(20 * time.Millisecond)
		send("6F1#12300000")
	})
	require.Equal(t, []string{"0.010000 612#F1100862F19041", "0.041000 612#F121424344"}, heard)
}

func TestAnswererServesOnlyABus(t *testing.T) {
	a, err := replay.NewAnswerer(t.Context(), "replay:x", strings.NewReader(session), 0)
	require.NoError(t, err)
	l := open(t, session)
	require.ErrorIs(t, a.Serve(t.Context(), l), link.ErrQuiet, "a recording is no bus")
	_, err = replay.NewAnswerer(t.Context(), "replay:x", strings.NewReader("(1.000000) can0 3B4#1122\n"), 0)
	require.ErrorIs(t, err, link.ErrNoVehicle)
	var f frame.Frame
	a.Handle(&f, 0)
	_, ok := a.Due()
	require.False(t, ok)
}

// falling is a link with a fault of its own.
type falling struct{ link.Link }

func (falling) Recv(context.Context) (frame.Frame, error) { panic("7E8#62F190WVWZZZ") }

// A fault beside the answering reaches whoever called Serve, who knows how to tell of it without quoting it.
func TestAFaultIsTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := replay.NewAnswerer(t.Context(), "replay:x", strings.NewReader(session), 1)
		require.NoError(t, err)
		defer func() {
			c, ok := recover().(*crash.Crash)
			require.True(t, ok)
			require.Contains(t, string(c.Stack), "falling")
		}()
		_ = a.Serve(t.Context(), falling{})
		t.Error("the fault was swallowed")
	})
}
