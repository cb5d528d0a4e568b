package dbc

import (
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every half of eight digits, and what lies around the lengths of numbers, is what strconv writes.
func TestAppendDecimal(t *testing.T) {
	check := func(u uint64) {
		if got := string(appendDecimal([]byte("x"), u)); got != "x"+strconv.FormatUint(u, 10) {
			t.Fatalf("%d became %s", u, got)
		}
	}
	for u := range uint64(10_000) {
		check(u)
		check(u * 10_000)
		check(u*10_000 + 9_999)
	}
	for n := uint64(1); n < 1e19; n *= 10 {
		check(n - 1)
		check(n)
	}
}

// Decimal fractions are exact and have no trailing zeros, whatever the number of places.
func TestAppendFixed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for places := range 18 {
		ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(places)), nil)
		for range 5000 {
			v := int64(rnd.Uint64()) >> rnd.IntN(64)
			want := new(big.Rat).SetFrac(big.NewInt(v), ten).FloatString(places)
			if strings.Contains(want, ".") {
				want = strings.TrimRight(strings.TrimRight(want, "0"), ".")
			}
			require.Equal(t, want, string(appendFixed(nil, v, places)), "%d with %d places", v, places)
		}
	}
}
