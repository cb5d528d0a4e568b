package diag_test

import (
	"context"
	"slices"
	"strings"
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
					heard[way] = interview(t, ctx, l, name, questions)
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

func interview(t *testing.T, ctx context.Context, l link.Link, name string, questions []string) map[string][]string {
	out := map[string][]string{}
	c := diag.New(l, diag.Options{})
	begin := time.Now()
	bus, err := c.Find(ctx)
	if err != nil {
		require.ErrorIs(t, err, link.ErrNoVehicle)
		return out
	}
	out["find"] = []string{bus.Protocol, string(bus.Kind)}
	for _, q := range questions {
		answers, err := c.Request(ctx, diag.Request{To: bus.Functional, Payload: payload(q)})
		if err != nil {
			out[q] = []string{err.Error()}
			continue
		}
		for _, a := range show(answers) {
			if name != "broken-garbage" || strings.HasPrefix(a, "7E8 ") { // the other ECU's noise depends on the moment
				out[q] = append(out[q], a)
			}
		}
		slices.Sort(out[q]) // who begins first is left to the ECUs' jitter
	}
	t.Logf("%s: %v", l.Caps().Adapter, time.Since(begin))
	return out
}

// What a technician would notice first: the right car, its own number, the right ECU.
func TestVehiclesAnswerRight(t *testing.T) {
	cluster := diag.Physical(ecuBMW)
	for _, tc := range []struct {
		car, protocol string
		to            *diag.Target // nil = as found
		ask, want     string
	}{
		{"golf8", "ISO 15765-4 CAN 11/500", nil, "0902", "7E8 4902015756575A5A5A4344304E57303030303031"},
		{"tahoe", "ISO 15765-4 CAN 29/500", nil, "0902", "18DAF110 49020131474E534B424B44304E52303030303035"},
		{"mini", "ISO 15765-4 CAN 11/500", &cluster, "22D10D", "660 62D10D0000FAD20000FAD2"},
		{"legacy", "ISO 14230-4 KWP FAST", nil, "0902", "10 4902010000005741555A5A5A3850303541303030303036"},
		{"broken-interleave", "ISO 15765-4 CAN 11/500", nil, "0902", "7EB 4902015756575A5A5A41555A4D57303030303133"},
		{"broken-sequence", "ISO 15765-4 CAN 11/500", nil, "0902", "7E8 4902015756575A5A5A41555A4D57303030303135"},
		{"broken-duplicate", "ISO 15765-4 CAN 11/500", nil, "0902", "7E8 4902015756575A5A5A41555A4D57303030303134"},
		{"broken-half", "ISO 15765-4 CAN 11/500", nil, "0904", "7E8 !answer not finished: isotp: no consecutive frame in time"},
		{"broken-busy", "ISO 15765-4 CAN 11/500", nil, "0902", "7E9 !service 09 refused: busy, repeat request (NRC 0x21)"},
		{"broken-busy", "ISO 15765-4 CAN 11/500", nil, "0902", "7E8 4902015756575A5A5A41555A4D57303030303137"},
	} {
		t.Run(tc.car+" "+tc.ask, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, err := sim.Open(t.Context(), "sim:"+tc.car+"?clock=real")
				require.NoError(t, err)
				c := diag.New(l, diag.Options{})
				bus, err := c.Find(t.Context())
				require.NoError(t, err)
				require.Equal(t, tc.protocol, bus.Protocol)
				if tc.to == nil {
					tc.to = &bus.Functional
				}
				answers, err := c.Request(t.Context(), diag.Request{To: *tc.to, Payload: payload(tc.ask), Expect: len(bus.ECUs)})
				require.NoError(t, err)
				require.Contains(t, show(answers), tc.want)
				require.NoError(t, l.Close())
				_, err = c.Request(t.Context(), diag.Request{To: bus.Functional, Payload: payload("0902")})
				require.ErrorIs(t, err, link.ErrClosed)
			})
		})
	}
}
