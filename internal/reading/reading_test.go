package reading_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"testing"

	_ "obdgate/internal/pinned"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestScaled(t *testing.T) {
	for _, c := range []struct {
		raw, num, den, off, offDen int64
		want                       string
	}{
		{0x83, 1, 1, -40, 1, "91"},
		{12523, 1, 10, 0, 1, "1252.3"},
		{29310, 1, 100, 0, 1, "293.1"},
		{0xFF, 100, 255, 0, 1, "100"},
		{1, 100, 255, 0, 1, "0.392157"},
		{0, 1, 2, -64, 1, "-64"},
		{39, 1, 1, -40, 1, "-1"},
		{1, 1, 10000000, 0, 1, "0"},
		{-1, 1, 10000000, 0, 1, "0"},
	} {
		q, ok := reading.Scaled(c.raw, c.num, c.den, c.off, c.offDen, "")
		require.True(t, ok)
		require.Equal(t, c.want, q.Decimal())
		b, err := json.Marshal(q)
		require.NoError(t, err)
		require.JSONEq(t, c.want, string(b))
	}
	q, ok := reading.Scaled(-3, 1, 10, 0, 1, "")
	require.True(t, ok)
	require.Equal(t, "0", q.Round(0))
	q, _ = reading.Scaled(100, 1, 1, 0, 1, "")
	require.Equal(t, "100", q.Round(0), "zeros before the point are digits")
	_, ok = reading.Scaled(1<<62, 1<<10, 1, 0, 1, "")
	require.False(t, ok, "overflow must be told")
	q, ok = reading.Scaled(math.MinInt64, 1, 1, 0, 1, "")
	require.True(t, ok)
	require.Equal(t, "-9223372036854775808", q.Decimal())
}

func TestScaledIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.Int64Range(0, 1<<32-1).Draw(t, "raw")
		den := rapid.Int64Range(1, 65536).Draw(t, "den")
		q, ok := reading.Scaled(raw*den, 1, den, 0, 1, "km")
		require.True(t, ok)
		n, whole := q.Int()
		require.True(t, whole)
		require.Equal(t, raw, n)
	})
}

// The short way without big numbers must give what the long way gives: exact, in lowest terms.
func TestScaledShortWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.Int64Range(-1<<40, 1<<40).Draw(t, "raw")
		num := rapid.Int64Range(-1<<20, 1<<20).Draw(t, "num")
		den := rapid.Int64Range(1, 1<<20).Draw(t, "den")
		off := rapid.Int64Range(-1<<20, 1<<20).Draw(t, "offset")
		want := new(big.Rat).Add(new(big.Rat).Mul(new(big.Rat).SetInt64(raw), big.NewRat(num, den)), new(big.Rat).SetInt64(off))
		q, ok := reading.Scaled(raw, num, den, off, 1, "km")
		require.True(t, ok)
		require.Equal(t, reading.Quantity{Num: want.Num().Int64(), Den: want.Denom().Int64(), Unit: "km"}, q)
	})
}

func TestIdentityDoesNotPrint(t *testing.T) {
	id := reading.NewIdentity("WVWZZZCD0NW000001")
	r := reading.Reading{Key: "obd.09.02", Value: id}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		require.NotContains(t, fmt.Sprintf(verb, id), "WVWZZZ")
		require.NotContains(t, fmt.Sprintf(verb, r), "WVWZZZ")
		require.NotContains(t, fmt.Sprintf(verb, &r), "WVWZZZ")
	}
	b, _ := json.Marshal(struct{ V reading.Value }{id})
	require.NotContains(t, string(b), "WVWZZZ")
	require.Equal(t, "WVWZZZCD0NW000001", id.Reveal())
}
