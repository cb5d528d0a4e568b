package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A steady bus is a straight line, however many pieces of time there are to a column; one frame is seen, silence is not.
func TestPlot(t *testing.T) {
	for n := 1; n <= 128; n++ {
		over := make([]uint64, n)
		for i := range over {
			over[i] = 4000
		}
		require.Equal(t, strings.Repeat("█", min(n, plotWidth)), plot(over), "%d pieces", n)
	}
	over := make([]uint64, 100)
	over[50] = 1
	require.Equal(t, "█", strings.TrimSpace(plot(over)))
	over[0] = 1_000_000
	require.True(t, strings.HasPrefix(plot(over), "█") && strings.Contains(plot(over), "▁"), plot(over))
}
