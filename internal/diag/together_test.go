package diag_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/diag"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
	"obdgate/internal/link/memory"

	"github.com/stretchr/testify/require"
)

func physicalTo(tx uint32, q string) diag.Request {
	return diag.Request{To: diag.Physical(isotp.Address{Tx: tx, Rx: tx + 8}), Payload: payload(q)}
}

// Three ECUs asked at once: long answers that interleave, one that asks for patience, one that says nothing. It takes as long
// as the slowest, each has one request in flight, and every frame has its number in the order of the bus.
func TestTogether(t *testing.T) {
	onCAN(t, func() *car {
		return newCar(
			rule{on: "7E0#0322F190", says: [][]step{{{20 * ms, "7E8#101462F190414141"}}}, always: true},
			always("7E0#30", "7E8#2141414141414141", "7E8#2242424242424242"),
			rule{on: "7E1#0322F187", says: [][]step{{{20 * ms, "7E9#037F2278"}, {100 * ms, "7E9#0462F18741"}}}, always: true},
			rule{on: "7E2#0322F190", says: [][]step{{{20 * ms, "7EA#101462F190434343"}}}, always: true},
			always("7E2#30", "7EA#2143434343434343", "7EA#2244444444444444"),
		)
	}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, taps *tapped) {
		require.True(t, c.Parallel())
		for range 2 {
			begin := time.Now()
			replies := c.Together(ctx, []diag.Request{physicalTo(0x7E0, "22F190"), physicalTo(0x7E1, "22F187"), physicalTo(0x7E2, "22F190"), physicalTo(0x7E3, "22F190")})
			require.Len(t, replies, 4)
			for _, r := range replies {
				require.NoError(t, r.Err)
				require.Len(t, r.Asked, 1)
			}
			require.Equal(t, []string{"7E8 62F190" + strings.Repeat("41", 10) + strings.Repeat("42", 7)}, show(replies[0].Answers))
			require.Equal(t, []string{"7E9 62F18741"}, show(replies[1].Answers))
			require.Equal(t, []string{"7EA 62F190" + strings.Repeat("43", 10) + strings.Repeat("44", 7)}, show(replies[2].Answers))
			require.Empty(t, replies[3].Answers)
			require.Less(t, time.Since(begin), 150*ms)
		}
		for i, f := range taps.frames {
			require.EqualValues(t, i+1, f.Seq)
		}
		require.Zero(t, c.Stats().Stray+c.Stats().Unexpected)
		// Afterwards the same link serves a single question as before.
		answers, err := c.Request(ctx, physicalTo(0x7E1, "22F187"))
		require.NoError(t, err)
		require.Len(t, answers, 1)
	})
}

// What cannot be asked at once is asked one after the other: two questions to one ECU, a functional one.
func TestTogetherOneAfterTheOther(t *testing.T) {
	onCAN(t, func() *car {
		return newCar(always("7E0#0322F190", "7E8#0462F19041"), always("7E0#0322F187", "7E8#0462F18742"), always("7DF#02010C", "7E8#04410C1AF8"))
	}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, _ *tapped) {
		replies := c.Together(ctx, []diag.Request{physicalTo(0x7E0, "22F190"), physicalTo(0x7E0, "22F187"),
			{To: diag.Functional11, Payload: payload("010C"), Expect: 1}})
		require.Equal(t, []string{"7E8 62F19041"}, show(replies[0].Answers))
		require.Equal(t, []string{"7E8 62F18742"}, show(replies[1].Answers))
		require.Equal(t, []string{"7E8 410C1AF8"}, show(replies[2].Answers))
	})
}

// A forbidden question is refused among others as it is alone, and a link that breaks is told to all.
func TestTogetherFaults(t *testing.T) {
	onCAN(t, func() *car { return newCar(always("7E0#0322F190", "7E8#0462F19041")) }, diag.Options{},
		func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, _ *tapped) {
			replies := c.Together(ctx, []diag.Request{physicalTo(0x7E0, "22F190"), physicalTo(0x7E1, "14FFFFFF")})
			require.NoError(t, replies[0].Err)
			require.ErrorIs(t, replies[1].Err, diag.ErrForbiddenService)
			for _, f := range v.frames() {
				require.NotContains(t, f, "7E1#")
			}
			soon, cancel := context.WithTimeout(ctx, 30*ms)
			defer cancel()
			for _, r := range c.Together(soon, []diag.Request{physicalTo(0x7E2, "22F190"), physicalTo(0x7E3, "22F190")}) {
				require.ErrorIs(t, r.Err, context.DeadlineExceeded)
			}
			replies = c.Together(ctx, []diag.Request{physicalTo(0x7E0, "22F190"), physicalTo(0x7E2, "22F190")})
			require.NoError(t, errors.Join(replies[0].Err, replies[1].Err))
			require.Equal(t, []string{"7E8 62F19041"}, show(replies[0].Answers))
		})
	synctest.Test(t, func(t *testing.T) {
		l := memory.NewBus().Attach("tester")
		c := diag.New(l, diag.Options{})
		time.AfterFunc(50*ms, func() { _ = l.Close() })
		for _, r := range c.Together(t.Context(), []diag.Request{physicalTo(0x7E0, "22F190"), physicalTo(0x7E2, "22F190")}) {
			require.ErrorIs(t, r.Err, link.ErrClosed)
		}
	})
}
