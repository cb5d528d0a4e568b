package scan_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/link/memory"
	"obdgate/internal/scan"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

// On a bus that hears while it sends, control units are asked side by side. What is read, and what is said of it, is the same
// as when they are asked one after the other, no question is put that is not put there, and it is faster.
func TestAskedAbreastTheResultIsTheSame(t *testing.T) {
	for _, name := range []string{"golf8", "mini", "tahoe", "uds15", "obdonuds", "phev"} {
		t.Run(name, func(t *testing.T) {
			for _, consumption := range []consent.Answer{consent.Granted, consent.Refused} {
				o := options(t, scan.Full, consumption)
				l, inside := car(t, name)
				want, err := scan.Run(t.Context(), l, o)
				require.NoError(t, err)
				v, err := sim.Load(name)
				require.NoError(t, err)
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					bus := memory.NewBus()
					node, tester := bus.Attach("car"), bus.Attach("tester")
					served := make(chan error, 1)
					go func() { served <- v.Serve(ctx, node) }()
					began := time.Now()
					got, err := scan.Run(ctx, tester, o)
					t.Logf("%d questions in %v", len(v.Log()), time.Since(began))
					require.NoError(t, err)
					require.Equal(t, len(want.Readings), len(got.Readings))
					for i, r := range want.Readings {
						g := got.Readings[i]
						require.Equal(t, r.ECU+" "+string(r.Key), g.ECU+" "+string(g.Key))
						require.Equal(t, r.Value, g.Value, "%s %s", r.ECU, r.Key)
					}
					require.Equal(t, want.Errors, got.Errors)
					require.Equal(t, want.ECUs, got.ECUs)
					require.Equal(t, want.Odometer, got.Odometer)
					require.Equal(t, want.OBFCM, got.OBFCM)
					cancel()
					require.NoError(t, <-served)
					require.NoError(t, node.Close())
					require.NoError(t, tester.Close())
				})
				put := map[string]bool{}
				for _, q := range inside.Log() {
					put[q.ID+" "+string(q.Bytes)] = true
				}
				for _, q := range v.Log() {
					if len(q.ECUs) > 0 && !strings.HasPrefix(string(q.Bytes), "\x01\x00") {
						require.True(t, put[q.ID+" "+string(q.Bytes)], "%s %X is asked here only", q.ID, q.Bytes)
					}
				}
				require.Equal(t, inside.OBFCMRequests() > 0, v.OBFCMRequests() > 0)
			}
		})
	}
}
