package report

import (
	"strings"
	"testing"
	"unicode/utf8"

	"obdgate/internal/i18n"

	"github.com/stretchr/testify/require"
)

// A steady bus is a straight line, however many pieces of time there are to a column; one frame is seen, silence is not.
func TestPlot(t *testing.T) {
	for n := 1; n <= 128; n++ {
		over := make([]uint64, n)
		for i := range over {
			over[i] = 4000
		}
		require.Equal(t, strings.Repeat("█", min(n, plotWidth)), plot(over, plotWidth), "%d pieces", n)
	}
	over := make([]uint64, 100)
	over[50] = 1
	require.Equal(t, "█", strings.TrimSpace(plot(over, plotWidth)))
	over[0] = 1_000_000
	require.True(t, strings.HasPrefix(plot(over, plotWidth), "█") && strings.Contains(plot(over, plotWidth), "▁"), plot(over, plotWidth))
}

// In a terminal no line is broken while there is room for any plot.
func TestPlotFitsTheTerminal(t *testing.T) {
	words, err := i18n.Load("de")
	require.NoError(t, err)
	f := ClassifiedFile{Categories: []ClassifiedCategory{
		{Category: "condition", Tag: "technical", Frames: 1_000_000, Bytes: 8_000_000, Over: make([]uint64, 128)},
		{Category: "unclassified", Tag: "personal", Frames: 1, Bytes: 8, Over: make([]uint64, 128)},
	}}
	for i := range 128 {
		f.Categories[0].Over[i], f.Categories[1].Over[i] = 8, 1
	}
	for columns, want := range map[int]int{0: plotWidth, 200: plotWidth, 100: 100, 95: 95, 40: plotNarrow} {
		var b strings.Builder
		text := NewText(&b, words)
		text.Fit(columns)
		require.NoError(t, text.Classified(f))
		widest := 0
		for line := range strings.Lines(b.String()) {
			if n := strings.Count(line, "█"); n > 0 {
				widest = max(widest, utf8.RuneCountInString(strings.TrimSpace(line))+2)
				if want <= plotWidth {
					require.Equal(t, want, n)
				}
			}
		}
		require.Positive(t, widest)
		if want > plotWidth {
			require.LessOrEqual(t, widest, columns)
			require.Greater(t, widest, columns-3, "the room is used")
		}
	}
}
