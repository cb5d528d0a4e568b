package diag_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"obdgate/internal/diag"
	"obdgate/internal/link"
	"obdgate/internal/link/memory"
	"obdgate/internal/sim"
)

// ways are the ways to a virtual vehicle; a car must answer the same on each.
var ways = map[string]func(t *testing.T, ctx context.Context, name string) link.Link{
	"stepped": func(t *testing.T, ctx context.Context, name string) link.Link {
		l, err := sim.Open(ctx, "sim:"+name)
		require.NoError(t, err)
		return l
	},
	"real clock": func(t *testing.T, ctx context.Context, name string) link.Link {
		l, err := sim.Open(ctx, "sim:"+name+"?clock=real")
		require.NoError(t, err)
		return l
	},
	"CAN bus": func(t *testing.T, ctx context.Context, name string) link.Link {
		v, err := sim.Load(name)
		require.NoError(t, err)
		if v.Legacy() {
			return nil
		}
		bus := memory.NewBus()
		tester, car := bus.Attach("tester"), bus.Attach("car")
		go func() {
			_ = v.Serve(ctx, car)
			_ = car.Close()
		}()
		return tester
	},
}

// Every virtual vehicle gives the same answers however it is reached, and every answer came whole.
func TestVehicles(t *testing.T) {
	questions := []string{"0100", "0101", "0902", "0904", "0906", "090A", "03", "07", "0A", "22F190"}
	for _, name := range sim.Names() {
		t.Run(name, func(t *testing.T) {
			heard := map[string]map[string][]string{}
			for way, open := range ways {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					l := open(t, ctx, name)
					if l == nil {
						cancel()
						return
					}
					heard[way] = interview(t, ctx, l, questions)
					require.NoError(t, l.Close())
					cancel()
					synctest.Wait()
				})
			}
			require.Contains(t, heard, "stepped")
			for way := range heard {
				require.Equal(t, heard["stepped"], heard[way], way)
			}
		})
	}
}

func interview(t *testing.T, ctx context.Context, l link.Link, questions []string) map[string][]string {
	out := map[string][]string{}
	c := diag.New(l, diag.Options{})
	begin := time.Now()
	bus, err := c.Find(ctx)
	if err != nil {
		out["find"] = []string{err.Error()}
		return out
	}
	out["find"] = []string{bus.Protocol, string(bus.Kind)}
	for _, q := range questions {
		answers, err := c.Request(ctx, diag.Request{To: bus.Functional, Payload: payload(q)})
		if err != nil {
			out[q] = []string{err.Error()}
			continue
		}
		out[q] = show(answers)
	}
	t.Logf("%s: %v", l.Caps().Adapter, time.Since(begin))
	return out
}

func TestGolf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := sim.Open(t.Context(), "sim:golf8?clock=real")
		require.NoError(t, err)
		c := diag.New(l, diag.Options{})
		bus, err := c.Find(t.Context())
		require.NoError(t, err)
		require.Equal(t, "ISO 15765-4 CAN 11/500", bus.Protocol)
		answers, err := c.Request(t.Context(), diag.Request{To: bus.Functional, Payload: payload("0902"), Expect: len(bus.ECUs)})
		require.NoError(t, err)
		require.Contains(t, show(answers), "7E8 4902015756575A5A5A4344304E57303030303031")
		require.NoError(t, l.Close())
		_, err = c.Request(t.Context(), diag.Request{To: bus.Functional, Payload: payload("0902")})
		require.ErrorIs(t, err, link.ErrClosed)
	})
}
