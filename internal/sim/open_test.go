package sim_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/linktest"
	"obdgate/internal/link/memory"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

func TestConformance(t *testing.T) {
	for _, uri := range []string{"sim:golf8", "sim:golf8?clock=real"} {
		t.Run(uri, func(t *testing.T) {
			linktest.Run(t, func(t *testing.T) linktest.Fixture {
				l, err := sim.Open(t.Context(), uri)
				require.NoError(t, err)
				return linktest.Fixture{
					Link:    l,
					Ask:     frame.New(0x710, 0, 3, 0x22, 0x2A, 0x0A, 0, 0, 0, 0),
					Answers: []frame.Frame{frame.New(0x77A, 0, 7, 0x62, 0x2A, 0x0A, 0, 0, 0xB2, 0x99)},
					Mute:    frame.New(0x7DF, 0, 2, 1, 0x7F, 0, 0, 0, 0, 0),
				}
			})
		})
	}
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	for uri, want := range map[string]string{
		"sim:golf9":           "golf8",
		"sim:":                "golf8",
		"sim:golf8?speed=3":   "speed=3",
		"sim:./missing.yaml":  "missing.yaml",
		"sim:golf8?traffic=x": "traffic=x",
	} {
		_, err := sim.Open(t.Context(), uri)
		require.ErrorIs(t, err, link.ErrNoAdapter, uri)
		require.ErrorContains(t, err, want)
		var le *link.Error
		require.ErrorAs(t, err, &le)
		require.NotEmpty(t, le.Hint)
	}
}

// On stepped time a tester that grants no flow control is not left hanging and the answer does not come later.
func TestSteppedWithoutFlowControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := sim.Open(t.Context(), "sim:golf8")
		require.NoError(t, err)
		require.NoError(t, l.Send(t.Context(), frame.New(0x7E0, 0, 2, 9, 2, 0, 0, 0, 0, 0)))
		f, err := l.Recv(t.Context())
		require.NoError(t, err)
		require.Equal(t, byte(0x10), f.Data[0])
		_, err = l.Recv(t.Context())
		require.ErrorIs(t, err, link.ErrQuiet)
		require.NoError(t, l.Send(t.Context(), frame.New(0x7E0, 0, 0x30, 0, 0)))
		_, err = l.Recv(t.Context())
		require.ErrorIs(t, err, link.ErrQuiet, "the ECU answered flow control that came too late")
	})
}

// Traffic on the real clock: the frames come at their period while nobody asks.
func TestTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := sim.Open(t.Context(), "sim:golf8?traffic=1")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 2045*time.Millisecond)
		defer cancel()
		count := map[uint32]int{}
		for {
			f, err := l.Recv(ctx)
			if err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				break
			}
			count[f.ID]++
		}
		require.Equal(t, map[uint32]int{0x0A5: 40, 0x0D9: 2, 0x153: 102, 0x1D0: 4, 0x1E1: 4, 0x2B2: 2, 0x2D0: 2, 0x310: 10, 0x3C2: 4 + 2, 0x5F3: 2}, count)
	})
}

// Serve on a bus: another node asks, the car answers in real time, and Serve ends with its context or its link.
func TestServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, err := sim.Load("golf8")
		require.NoError(t, err)
		bus := memory.NewBus()
		car, test := bus.Attach("car"), bus.Attach("tester")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- v.Serve(ctx, car) }()
		start := time.Now()
		require.NoError(t, test.Send(t.Context(), frame.New(0x7E0, 0, 2, 1, 5, 0, 0, 0, 0, 0)))
		f, err := test.Recv(t.Context())
		require.NoError(t, err)
		require.Equal(t, []byte{3, 0x41, 5, 0x7B, 0xAA, 0xAA, 0xAA, 0xAA}, f.Bytes())
		require.InDelta(t, 10*time.Millisecond, time.Since(start), float64(2*time.Millisecond))
		cancel()
		require.NoError(t, <-done)
		require.Len(t, v.Log(), 1)

		go func() { done <- v.Serve(t.Context(), car) }()
		synctest.Wait()
		require.NoError(t, car.Close())
		require.ErrorIs(t, <-done, link.ErrClosed)
	})
}
