package bus_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/memory"
	"obdgate/internal/sim/bus"

	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

// heard is one frame that arrived: its first byte, when, and where.
type heard struct {
	first byte
	at    time.Duration
	to    bus.Side
}

// run pushes frames of consecutive first bytes from the right, a millisecond apart, and returns what arrives until the end.
func run(p bus.Plan, n int, end time.Duration) (out []heard, s bus.Stats) {
	b := bus.New(p)
	for now, i := time.Duration(0), 0; now <= end; now += 100 * time.Microsecond {
		if now%ms == 0 && i < n {
			b.Push(bus.Right, frame.New(0x7E8, 0, byte(i), 0, 0), now)
			i++
		}
		for a, ok := b.Next(now); ok; a, ok = b.Next(now) {
			out = append(out, heard{a.Frame.Data[0], now, a.To})
		}
	}
	return out, b.Stats()
}

func TestShares(t *testing.T) {
	const n = 10_000
	clean, s := run(bus.Plan{}, 250, 400*ms)
	require.Len(t, clean, 250)
	for i, h := range clean {
		require.Equal(t, heard{byte(i), time.Duration(i) * ms, bus.Left}, h)
	}
	require.Equal(t, bus.Stats{Carried: 250}, s)

	for _, seed := range []uint64{1, 2} {
		got, s := run(bus.Plan{Loss: 0.3, Seed: seed}, n, 11*time.Second)
		require.InDelta(t, 0.3*n, s.Lost, 200)
		require.Len(t, got, n-int(s.Lost))
		got, s = run(bus.Plan{Duplicate: 0.1, Seed: seed}, n, 11*time.Second)
		require.InDelta(t, 0.1*n, s.Doubled, 200)
		require.Len(t, got, n+int(s.Doubled))
		got, s = run(bus.Plan{Reorder: 0.1, Seed: seed}, n, 11*time.Second)
		require.Len(t, got, n, "nothing is lost by coming late")
		swaps := 0
		for i := 1; i < n; i++ {
			if got[i].first == got[i-1].first-1 {
				swaps++
			}
		}
		require.InDelta(t, s.Reordered, swaps, 1)
		require.InDelta(t, 0.1*n, swaps, 200)
	}
	// A frame that nothing follows comes late, not never.
	got, _ := run(bus.Plan{Reorder: 1}, 1, 20*ms)
	require.Equal(t, []heard{{0, 5 * ms, bus.Left}}, got)
	a, _ := run(bus.Plan{Loss: 0.3, Seed: 5}, 500, time.Second)
	again, _ := run(bus.Plan{Loss: 0.3, Seed: 5}, 500, time.Second)
	require.Equal(t, a, again, "the seed decides")
	late, _ := run(bus.Plan{Delay: 20 * ms}, 2, 50*ms)
	require.Equal(t, []heard{{0, 20 * ms, bus.Left}, {1, 21 * ms, bus.Left}}, late)
}

func TestOnlyConsecutiveFrames(t *testing.T) {
	b := bus.New(bus.Plan{Loss: 1, Only: bus.Consecutive})
	for _, c := range []struct {
		f    frame.Frame
		lost bool
	}{
		{frame.New(0x7E8, 0, 0x21, 1, 2), true},
		{frame.New(0x7E8, 0, 0x10, 0x21, 2), false},
		{frame.New(0x7E8, 0, 0x02, 0x21, 2), false},
		{frame.New(0x612, 0, 0xF1, 0x22, 2), true},
		{frame.New(0x6F1, 0, 0x12, 0x22, 2), true},
		{frame.New(0x6F1, 0, 0x21, 0x02, 2), false},
		{frame.New(0x18DAF110, 0, 0x2F, 0x02, 2), true},
		{frame.New(0x18CEF110, 0, 0x2F, 0x02, 2), false},
	} {
		b.Push(bus.Right, c.f, 0)
		_, arrived := b.Next(0)
		require.Equal(t, c.lost, !arrived, "%s", c.f.IDString())
	}
}

func TestWaitFrames(t *testing.T) {
	b := bus.New(bus.Plan{Waits: 2, WaitGap: 10 * ms})
	b.Push(bus.Left, frame.New(0x7E0, 0, 0x30, 8, 5), 0)
	b.Push(bus.Left, frame.New(0x6F1, 0, 0x12, 0x30, 0, 0), 0)
	b.Push(bus.Left, frame.New(0x7E0, 0, 0x02, 0x30, 0, 0), 0)
	var got []string
	for now := time.Duration(0); now < 30*ms; now += ms {
		for a, ok := b.Next(now); ok; a, ok = b.Next(now) {
			at := 0
			if a.Frame.ID == 0x6F1 {
				at = 1
			}
			if a.Frame.Data[0] != 2 {
				got = append(got, now.String()+" "+map[byte]string{0x30: "continue", 0x31: "wait"}[a.Frame.Data[at]])
			}
		}
	}
	require.Equal(t, []string{"0s wait", "0s wait", "10ms wait", "10ms wait", "20ms continue", "20ms continue"}, got)
}

func TestMute(t *testing.T) {
	got, s := run(bus.Plan{MuteAt: 3, MuteFor: 2 * ms}, 8, 20*ms)
	require.Equal(t, []byte{0, 1, 2, 5, 6, 7}, firsts(got))
	require.EqualValues(t, 2, s.Muted)
	got, _ = run(bus.Plan{MuteAt: 3}, 8, 20*ms)
	require.Equal(t, []byte{0, 1, 2}, firsts(got))
}

func firsts(got []heard) (b []byte) {
	for _, h := range got {
		b = append(b, h.first)
	}
	return b
}

// On a wire the lowest identifier goes first and nothing is faster than its bits.
func TestArbitration(t *testing.T) {
	b := bus.New(bus.Plan{Rate: 500_000})
	for _, id := range []uint32{0x7E8, 0x100, 0x18DAF110, 0x7E0} {
		b.Push(bus.Right, frame.New(id, 0, make([]byte, 8)...), 0)
	}
	var order []uint32
	var last time.Duration
	for at, more := b.Due(); more; at, more = b.Due() {
		a, ok := b.Next(at)
		require.True(t, ok)
		require.Equal(t, a.Frame.Occupies(500_000, 0), at-last)
		order, last = append(order, a.Frame.ID), at
	}
	require.Equal(t, []uint32{0x100, 0x18DAF110, 0x7E0, 0x7E8}, order)
}

// A babbler below everybody lets them through, one above everybody lets nobody.
func TestBabble(t *testing.T) {
	for id, through := range map[uint32]bool{0x7FF: true, 0: false} {
		b := bus.New(bus.Plan{Rate: 500_000, Babble: true, BabbleID: id})
		b.Push(bus.Left, frame.New(0x7DF, 0, 2, 1, 0), ms)
		came := false
		for now := time.Duration(0); now < 100*ms; now += 10 * time.Microsecond {
			for a, ok := b.Next(now); ok; a, ok = b.Next(now) {
				came = came || a.Frame.ID == 0x7DF
				require.Equal(t, a.Frame.ID != 0x7DF, a.Both)
			}
		}
		require.Equal(t, through, came)
		require.Greater(t, b.Stats().Babble, uint64(380), "not without pause")
	}
}

func TestServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := memory.NewBus(), memory.NewBus()
		here, there := one.Attach("here"), two.Attach("there")
		left, right := one.Attach("left"), two.Attach("right")
		done := make(chan error, 1)
		go func() {
			s, err := bus.Serve(t.Context(), left, right, bus.Plan{Delay: 7 * ms, Duplicate: 1})
			if s.Carried != 4 {
				err = errors.Join(err, errors.New("not four frames carried"))
			}
			done <- err
		}()
		for _, way := range []struct{ from, to link.Link }{{here, there}, {there, here}} {
			began := time.Now()
			require.NoError(t, way.from.Send(t.Context(), frame.New(0x7DF, 0, 2, 1, 0)))
			for range 2 {
				f, err := way.to.Recv(t.Context())
				require.NoError(t, err)
				require.EqualValues(t, 0x7DF, f.ID)
				require.Equal(t, 7*ms, time.Since(began))
			}
		}
		require.NoError(t, left.Close())
		require.ErrorIs(t, <-done, link.ErrClosed)
		for _, l := range []link.Link{here, there, right} {
			require.NoError(t, l.Close())
		}
	})
}

func TestParse(t *testing.T) {
	p, err := bus.Parse([]string{"loss=30%", "duplicate=0.1", "reorder=5%", "only=consecutive", "delay=20ms", "wait=3", "mute=100/2s",
		"babble=7FF", "rate=500000", "seed=9"})
	require.NoError(t, err)
	require.Equal(t, bus.Plan{Loss: 0.3, Duplicate: 0.1, Reorder: 0.05, Only: bus.Consecutive, Delay: 20 * ms, Waits: 3, MuteAt: 100,
		MuteFor: 2 * time.Second, Babble: true, BabbleID: 0x7FF, Rate: 500_000, Seed: 9}, p)
	for _, bad := range []string{"", "loss", "loss=130%", "loss=NaN", "delay=-1s", "delay=2h", "only=x", "babble=FFFFFFFF", "mute=0", "mute=3/x",
		"wait=x", "seed=-1", "no-flow-control"} {
		_, err := bus.Parse([]string{bad})
		require.ErrorIs(t, err, bus.ErrPlan, bad)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"loss=30%", "mute=100/2s", "babble=7FF", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := bus.Parse([]string{text})
		if err != nil {
			return
		}
		if p.Loss < 0 || p.Loss > 1 || p.Delay < 0 || p.MuteFor < 0 || p.BabbleID > frame.MaxExtendedID {
			t.Fatal("out of range")
		}
		b := bus.New(p)
		b.Push(bus.Right, frame.New(0x7E8, 0, 1), 0)
		b.Due()
	})
}
