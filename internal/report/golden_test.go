package report_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/i18n"
	"obdgate/internal/report"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the goldens anew; then go test ./fixtures -update")

const goldens = "../../fixtures/goldens"

// goldenCars are one vehicle of each kind a workshop meets.
var goldenCars = []struct{ name, kind string }{
	{"golf8", "classic petrol"}, {"diesel", "diesel with test results"}, {"phev", "plug-in hybrid"}, {"bev", "battery-electric"},
	{"obdonuds", "OBDonUDS"}, {"suv29", "29-bit, seven control units"}, {"uds15", "fifteen control units"}, {"mini", "extended addressing"},
	{"legacy", "KWP"},
}

// What is shown of each kind of vehicle, as one reads it: the document, and the report in four languages. Whatever changes
// there is seen in review. go test ./internal/report -run Golden -update
func TestGoldens(t *testing.T) {
	seen := map[string]bool{}
	check := func(name, got string) {
		path := filepath.Join(goldens, name)
		seen[name] = true
		if *update {
			require.NoError(t, os.MkdirAll(goldens, 0o755))            //nolint:gosec // public files
			require.NoError(t, os.WriteFile(path, []byte(got), 0o644)) //nolint:gosec // public files
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err, "a new golden is written with -update")
		require.Equal(t, string(want), got, name)
	}
	for _, c := range goldenCars {
		d := document(t, c.name, "en", consent.Granted)
		require.Empty(t, d.Errors, c.kind)
		b, err := d.JSON()
		require.NoError(t, err)
		check(c.name+".json", string(b))
		for _, lang := range i18n.Languages {
			words, err := i18n.Load(lang)
			require.NoError(t, err)
			var text strings.Builder
			require.NoError(t, report.NewText(&text, words).Scan(document(t, c.name, lang, consent.Granted)))
			check(c.name+"."+lang+".txt", text.String())
		}
	}
	files, err := os.ReadDir(goldens)
	require.NoError(t, err)
	for _, f := range files {
		require.True(t, seen[f.Name()], "%s is nobody's golden", f.Name())
	}
	require.Len(t, seen, 5*len(goldenCars))
}
