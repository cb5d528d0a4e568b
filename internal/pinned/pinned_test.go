package pinned_test

import (
	"os"
	"slices"
	"testing"

	_ "obdgate/internal/pinned"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTheSameCasesEveryTime(t *testing.T) {
	draw := func() (all []uint64) {
		rapid.Check(t, func(t *rapid.T) { all = append(all, rapid.Uint64().Draw(t, "n")) })
		return all
	}
	one, two := draw(), draw()
	require.Greater(t, len(slices.Compact(slices.Sorted(slices.Values(one)))), len(one)/2, "hardly anything is drawn")
	if os.Getenv("OBDGATE_EXPLORE") == "" {
		require.Equal(t, one, two)
	}
}
