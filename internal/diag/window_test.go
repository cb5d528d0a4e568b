package diag_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"obdgate/internal/diag"

	"github.com/stretchr/testify/require"
)

// The wait for everybody is learned from the first answers, and never ends before an ECU that takes all of the 50 ms the
// standard gives it, behind a gateway that delays everything alike.
func TestLearnedWindowMissesNobody(t *testing.T) {
	for _, way := range []time.Duration{0, 5 * ms, 20 * ms, 40 * ms, 60 * ms} {
		for _, quick := range []time.Duration{1 * ms, 10 * ms, 50 * ms} {
			t.Run(fmt.Sprintf("%v there and back, the first after %v", way, quick), func(t *testing.T) {
				first := []step{{way + quick, "7E8#0641000000000000"}, {50*ms - quick, "7E9#0641000000000000"}}
				onCAN(t, func() *car {
					return newCar(
						rule{on: "7DF#020100", says: [][]step{first}, always: true},
						rule{on: "7DF#0107", says: [][]step{{{way + 50*ms, "7E9#024700"}}}, always: true},
						rule{on: "7DF#010A", says: [][]step{{{way + quick, "7E8#024A00"}, {50*ms - quick, "7E9#024A00"}}}, always: true})
				}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, _ *tapped) {
					for _, q := range []struct {
						question string
						answers  int
					}{{"0100", 2}, {"07", 1}, {"0A", 2}, {"07", 1}} {
						began := time.Now()
						answers, err := c.Request(ctx, diag.Request{To: diag.Functional11, Payload: payload(q.question)})
						require.NoError(t, err)
						require.Len(t, answers, q.answers, q.question)
						require.LessOrEqual(t, time.Since(began), diag.DefaultP2+2*ms)
					}
				})
			})
		}
	}
}
