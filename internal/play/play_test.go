package play_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/memory"
	"obdgate/internal/play"

	"github.com/stretchr/testify/require"
)

const log = `(1690000000.000000) can0 7DF#020100
(1690000000.003000) can0 7E8#0641
(1690000000.500000) can0 100#01
(1690000001.000000) can0 20000004#0004000000000000
(1690000002.000000) can0 18DAF110#0641
(1690000003.500000) can0 1FF#02
`

// heard plays the log and returns when which frame was heard.
func heard(t *testing.T, o play.Options) (ids []string, at []time.Duration, p play.Progress) {
	bus := memory.NewBus()
	l, ear := bus.Attach("player"), bus.Attach("ear")
	p, err := play.Play(t.Context(), canlog.NewReader(strings.NewReader(log)), l, o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	for range p.Sent {
		f, err := ear.Recv(ctx)
		require.NoError(t, err)
		ids = append(ids, f.IDString())
		at = append(at, f.Time)
	}
	cancel()
	require.NoError(t, errors.Join(l.Close(), ear.Close()))
	return ids, at, p
}

// A recorded tester that wrote is not played: the bus may be a real one.
func TestRequestsThatWriteAreLeftOut(t *testing.T) {
	const wrote = `(1690000000.000000) can0 7E0#0322F190
(1690000000.100000) can0 7E0#062EF19041
(1690000000.200000) can0 7DF#0104
(1690000000.300000) can0 7E8#0144
(1690000000.400000) can0 18DB33F1#0414FFFFFF
`
	bus := memory.NewBus()
	l, ear := bus.Attach("player"), bus.Attach("ear")
	p, err := play.Play(t.Context(), canlog.NewReader(strings.NewReader(wrote)), l, play.Options{})
	require.NoError(t, err)
	require.EqualValues(t, 2, p.Sent)
	require.EqualValues(t, 3, p.Unsendable)
	require.ErrorContains(t, p.Why, "service 2E")
	for _, want := range []string{"7E0", "7E8"} {
		f, err := ear.Recv(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, f.IDString())
	}
	require.NoError(t, errors.Join(l.Close(), ear.Close()))
}

const ms = time.Millisecond

func TestTimes(t *testing.T) {
	for name, c := range map[string]struct {
		speed float64
		ids   string
		from  time.Duration
		to    time.Duration
		want  []string
		at    []time.Duration
	}{
		"as recorded":    {speed: 1, want: []string{"7DF", "7E8", "100", "18DAF110", "1FF"}, at: []time.Duration{0, 3 * ms, 500 * ms, 2000 * ms, 3500 * ms}},
		"twice as fast":  {speed: 2, want: []string{"7DF", "7E8", "100", "18DAF110", "1FF"}, at: []time.Duration{0, 1500 * time.Microsecond, 250 * ms, 1000 * ms, 1750 * ms}},
		"at once":        {speed: 0, want: []string{"7DF", "7E8", "100", "18DAF110", "1FF"}, at: []time.Duration{0, 0, 0, 0, 0}},
		"some":           {speed: 1, ids: "7E8,100-1FF", want: []string{"7E8", "100", "1FF"}, at: []time.Duration{0, 497 * ms, 3497 * ms}},
		"29 bits":        {speed: 1, ids: "18DA0000-18DAFFFF", want: []string{"18DAF110"}, at: []time.Duration{0}},
		"a piece":        {speed: 1, from: 400 * ms, to: 2000 * ms, want: []string{"100", "18DAF110"}, at: []time.Duration{0, 1500 * ms}},
		"another number": {speed: 1, ids: "00000100"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := play.Options{Speed: c.speed, Select: play.Selection{From: c.from, To: c.to}}
				require.NoError(t, o.Select.ParseIDs(c.ids))
				ids, at, p := heard(t, o)
				require.Equal(t, c.want, ids)
				require.Equal(t, c.at, at)
				if c.ids == "" && c.from == 0 {
					require.EqualValues(t, 1, p.Unsendable, "the error report")
					require.ErrorIs(t, p.Why, link.ErrUnsupported)
				}
			})
		})
	}
}

func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second+time.Millisecond)
		defer cancel()
		l := memory.NewBus().Attach("player")
		p, err := play.Play(ctx, canlog.NewReader(strings.NewReader(log)), l, play.Options{Speed: 1})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualValues(t, 3, p.Sent)
		require.NoError(t, l.Close())
		_, err = play.Play(t.Context(), canlog.NewReader(strings.NewReader(log)), l, play.Options{})
		require.ErrorIs(t, err, link.ErrClosed)
	})
}

func TestSelectionRefuses(t *testing.T) {
	for _, text := range []string{"x", "7E8,", "800", "20000000", "1FF-100", "100-18DAF110", "123456789", "-", "7E8;7E9"} {
		var s play.Selection
		require.ErrorIs(t, s.ParseIDs(text), play.ErrSelection, text)
	}
	var s play.Selection
	f := frame.New(0x123, 0)
	require.True(t, s.Has(&f))
}
