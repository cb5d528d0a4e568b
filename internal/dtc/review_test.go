package dtc_test

import (
	"encoding/csv"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"obdgate/internal/dtc"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/trouble-codes.md anew")

const reviewPath = "../../docs/trouble-codes.md"

const reviewHead = `# Trouble codes in four languages, for a reader who speaks one of them

A sample of what obdgate calls a trouble code, written by ` + "`go test ./internal/dtc -update`" + ` and held by the test of the same room:
200 of the %d generic codes it knows, drawn with a fixed seed, then codes with a failure type byte, then codes nobody has described.
Whoever finds a wrong or clumsy word changes it in ` + "`internal/dtc/data`" + ` and runs the test again.

| what | codes | confirmed | pattern | single |
|---|---:|---:|---:|---:|
`

// The file a reviewer reads holds what the program says: a word that changes changes it too.
func TestReviewFile(t *testing.T) {
	all := allCodes(t)
	var b strings.Builder
	fmt.Fprintf(&b, reviewHead, len(all))
	for _, prefix := range []string{"P0", "P2", "P3", "U0", "U3", "B0", "B3", "C0", ""} {
		n := map[string]int{}
		for _, c := range all {
			if f, _ := dtc.Lookup(c); strings.HasPrefix(c.String(), prefix) {
				n[f.Confidence]++
				n[""]++
			}
		}
		name := prefix
		if prefix == "" {
			name = "**all**"
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |\n", name, n[""], n["confirmed"], n["pattern"], n["single"])
	}
	b.WriteString("\nEach of these codes has a name in each of the four languages. `confirmed`: two or more independent public lists agree; `pattern`: one list, and\nthe numbering of the series agrees; `single`: one list, or lists that disagree.\n")

	r := rand.New(rand.NewPCG(2026, 200))
	sample := slices.Clone(all)
	r.Shuffle(len(sample), func(i, j int) { sample[i], sample[j] = sample[j], sample[i] })
	sample = sample[:200]
	slices.SortFunc(sample, func(a, b dtc.Code) int { return strings.Compare(a.String(), b.String()) })
	section(&b, "200 codes at random", sample)

	var typed []dtc.Code
	for len(typed) < 24 {
		ftb := byte(r.IntN(0xF0))
		if c := sample[r.IntN(len(sample))]; dtc.FailureTypeText(ftb, "en") != "" {
			typed = append(typed, dtc.New3(byte(c.N>>8), byte(c.N), ftb))
		}
	}
	section(&b, "Codes with a failure type byte", typed)

	var unknown []dtc.Code
	for _, s := range []string{"P1234", "P3123", "C1A00", "B1603-87", "U1113-00", "P0FFF", "C0999-13", "CD9628", "030E05"} {
		c, err := dtc.Parse(s)
		require.NoError(t, err)
		unknown = append(unknown, c)
	}
	section(&b, "Codes without a name", unknown)

	if *update {
		require.NoError(t, os.WriteFile(reviewPath, []byte(b.String()), 0o644))
	}
	have, err := os.ReadFile(reviewPath)
	require.NoError(t, err)
	require.Equal(t, string(have), b.String(), "run go test ./internal/dtc -update and read what changed")
}

func section(b *strings.Builder, title string, codes []dtc.Code) {
	fmt.Fprintf(b, "\n## %s\n", title)
	for _, c := range codes {
		f, _ := dtc.Lookup(c)
		fmt.Fprintf(b, "\n**%s**", c)
		if f.Confidence != "" {
			fmt.Fprintf(b, " (%s)", f.Confidence)
		}
		b.WriteString("\n")
		for _, lang := range []string{"nl", "de", "fr", "en"} {
			fmt.Fprintf(b, "- %s: %s\n", lang, dtc.Text(c, lang))
		}
	}
}

// allCodes are the codes of the embedded table.
func allCodes(t *testing.T) []dtc.Code {
	f, err := os.Open("data/codes.csv")
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	var out []dtc.Code
	for _, r := range rows[1:] {
		c, err := dtc.Parse(r[0])
		require.NoError(t, err)
		out = append(out, c)
	}
	return out
}

// Coverage of the facts the table was made from, as a number: each code with the same component, place and failure, and a
// name in each language.
func TestCoverage(t *testing.T) {
	path := facts(t)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	named := map[string]int{}
	same := 0
	for _, r := range rows[1:] {
		c, err := dtc.Parse(r[0])
		require.NoError(t, err)
		fact, ok := dtc.Lookup(c)
		if ok && fact.Component == r[2] && fact.Location == r[3] && fact.Failure == r[4] && fact.Confidence == r[6] {
			same++
		}
		for _, lang := range dtc.Languages {
			if dtc.Text(c, lang) != "" && ok {
				named[lang]++
			}
		}
	}
	n := len(rows) - 1
	t.Logf("dtc_facts.csv: %d codes; same component, place, failure, confidence: %d; named in nl %d, de %d, fr %d, en %d", n, same, named["nl"], named["de"], named["fr"], named["en"])
	require.Equal(t, n, same)
	for _, lang := range dtc.Languages {
		require.Equal(t, n, named[lang], lang)
	}
}

// facts finds dtc_facts.csv in a directory shared/facts/dtc beside one of the parents.
func facts(t *testing.T) string {
	dir, err := os.Getwd()
	require.NoError(t, err)
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		p := filepath.Join(dir, "shared", "facts", "dtc", "dtc_facts.csv")
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	t.Skip("the facts the table was made from are not here")
	return ""
}
