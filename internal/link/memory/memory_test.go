package memory_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/linktest"
	"obdgate/internal/link/memory"

	"github.com/stretchr/testify/require"
)

// answerer answers ask on l until l is closed.
func answerer(l link.Link, ask frame.Frame, answers []frame.Frame) {
	for {
		f, err := l.Recv(context.Background())
		if err != nil {
			return
		}
		if f.ID != ask.ID || f.Len != ask.Len || f.Data != ask.Data {
			continue
		}
		for _, a := range answers {
			if l.Send(context.Background(), a) != nil {
				return
			}
		}
	}
}

func TestConformance(t *testing.T) {
	linktest.Run(t, func(t *testing.T) linktest.Fixture {
		bus := memory.NewBus()
		car := bus.Attach("car")
		fx := linktest.Fixture{
			Link: bus.Attach("tester"),
			Ask:  frame.New(0x7DF, 0, 2, 1, 0, 0, 0, 0, 0, 0),
			Answers: []frame.Frame{
				frame.New(0x7E8, 0, 6, 0x41, 0, 0xBE, 0x3E, 0xB8, 0x13, 0),
				frame.New(0x18DAF110, 0, 6, 0x41, 0, 0x98, 0x18, 0x80, 0x11, 0xAA),
				frame.New(0x7EA, frame.FD|frame.BRS, make([]byte, 12)...),
			},
			Mute: frame.New(0x7DF, 0, 2, 1, 0x7F, 0, 0, 0, 0, 0),
		}
		var wg sync.WaitGroup
		wg.Go(func() { answerer(car, fx.Ask, fx.Answers) })
		t.Cleanup(func() {
			require.NoError(t, car.Close())
			wg.Wait()
		})
		return fx
	})
}

func TestEveryOtherLinkSeesAFrame(t *testing.T) {
	bus := memory.NewBus()
	a, b, c := bus.Attach("a"), bus.Attach("b"), bus.Attach("c")
	require.NoError(t, c.Close())
	require.NoError(t, a.Send(t.Context(), frame.New(0x123, 0, 1)))
	require.NoError(t, b.Send(t.Context(), frame.New(0x124, 0, 2)))
	fb, err := b.Recv(t.Context())
	require.NoError(t, err)
	require.Equal(t, uint32(0x123), fb.ID)
	fa, err := a.Recv(t.Context())
	require.NoError(t, err)
	require.Equal(t, uint32(0x124), fa.ID, "a link hears its own frame")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = a.Recv(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// A reader that comes too late must know that frames are missing.
func TestLostFramesAreTold(t *testing.T) {
	bus := memory.NewBus()
	a, b := bus.Attach("a"), bus.Attach("b")
	const sent = 9000
	for i := range sent {
		require.NoError(t, a.Send(t.Context(), frame.New(uint32(i%0x700), 0)))
	}
	_, err := b.Recv(t.Context())
	require.ErrorIs(t, err, link.ErrGarbled)
	ctx, cancel := context.WithCancel(t.Context())
	got := 0
	for range sent {
		f, err := b.Recv(ctx)
		if err != nil {
			break
		}
		got++
		if f.ID == (sent-1)%0x700 && got > 7000 {
			cancel()
		}
	}
	cancel()
	require.Greater(t, got, 7000)
	require.Less(t, got, sent)
}

// In a bubble the wait for an answer costs no real time, and the frame carries the bubble's clock.
func TestWorksOnSteppedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := memory.NewBus()
		a, b := bus.Attach("a"), bus.Attach("b")
		go func() {
			time.Sleep(5 * time.Second)
			_ = b.Send(context.Background(), frame.New(1, 0))
		}()
		f, err := a.Recv(t.Context())
		require.NoError(t, err)
		require.Equal(t, 5*time.Second, f.Time)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = a.Recv(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func BenchmarkSendRecv(b *testing.B) {
	bus := memory.NewBus()
	x, y := bus.Attach("x"), bus.Attach("y")
	f := frame.New(0x7E8, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	b.ReportAllocs()
	for b.Loop() {
		_ = x.Send(b.Context(), f)
		if _, err := y.Recv(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
