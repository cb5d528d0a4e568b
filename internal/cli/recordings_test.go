package cli_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"obdgate/internal/cli"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden documents of fixtures/recordings anew")

// A recorded car is a regression test: its recording scans to the same document, byte for byte, on every system, without
// root, hardware or a CAN kernel. Only what is of the day is left out: the visit's number, the path, the time.
func TestRecordingsScanToTheirGoldenDocuments(t *testing.T) {
	logs, err := filepath.Glob("../../fixtures/recordings/*.log")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(logs), 5)
	for _, log := range logs {
		name := strings.TrimSuffix(filepath.Base(log), ".log")
		t.Run(name, func(t *testing.T) {
			got := document(t, log)
			golden := strings.TrimSuffix(log, ".log") + ".json"
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o644)) //nolint:gosec // a public file
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")) // a checkout on Windows
			require.Equal(t, string(want), string(got), "the document of %s has changed; if it should, run this test with -update", name)
		})
	}
}

// What a workshop sends on, masked, tells a supplier the same of the vehicle: whatever the maker's identifiers, the masked
// recording scans to the document of the original.
func TestMaskedRecordingsScanToTheSameDocument(t *testing.T) {
	logs, err := filepath.Glob("../../fixtures/recordings/*.log")
	require.NoError(t, err)
	for _, log := range logs {
		t.Run(filepath.Base(log), func(t *testing.T) {
			var out, errs bytes.Buffer
			code := cli.Main(t.Context(), []string{"--home", filepath.Join(t.TempDir(), "state"), "classify", "--to", "candump", "--mask", "personal", log},
				cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
			require.Zero(t, code, errs.String())
			masked := filepath.Join(t.TempDir(), "masked.log")
			require.NoError(t, os.WriteFile(masked, out.Bytes(), 0o600))
			require.Equal(t, string(document(t, log)), string(document(t, masked)))
		})
	}
}

// Whoever watches a bus sees the tags that classifying its log gives afterwards, those of the maker's control units too.
func TestMonitorTagsAsClassifyDoes(t *testing.T) {
	logs, err := filepath.Glob("../../fixtures/recordings/*.log")
	require.NoError(t, err)
	beyond := 0
	for _, log := range logs {
		tags := func(args ...string) (out []string) {
			var lines, errs bytes.Buffer
			code := cli.Main(t.Context(), append([]string{"--home", filepath.Join(t.TempDir(), "state"), "--lang", "en"}, args...), cli.Streams{In: strings.NewReader(""), Out: &lines, Err: &errs})
			require.Zero(t, code, errs.String())
			for dec := json.NewDecoder(&lines); dec.More(); {
				var x struct{ ID, Data, Tag, Category string }
				require.NoError(t, dec.Decode(&x))
				out = append(out, fmt.Sprint(x))
				if x.Tag == "technical" && len(x.ID) == 3 && x.ID > "6FF" && x.ID < "7DF" {
					beyond++
				}
			}
			return out
		}
		require.Equal(t, tags("classify", "--to", "jsonl", log), tags("monitor", "replay:"+log, "--json"), log)
	}
	require.Positive(t, beyond, "no recording has a maker's pairs: nothing was tested")
}

// document is what a recording scans to, without what is of the day.
func document(t *testing.T, log string) []byte {
	t.Helper()
	home := filepath.Join(t.TempDir(), "state")
	run := func(args ...string) string {
		var out, errs bytes.Buffer
		code := cli.Main(t.Context(), append([]string{"--home", home, "--lang", "en"}, args...), cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
		require.Zero(t, code, errs.String())
		return out.String()
	}
	run("visit", "open", "--order", "golden")
	run("consent", "record", "--purpose", "obfcm=yes", "--evidence", "paper form 2026-114")
	var doc map[string]any
	dec := json.NewDecoder(strings.NewReader(run("scan", "replay:"+log, "--json")))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&doc))
	for _, key := range []string{"visit", "link", "at"} {
		delete(doc, key)
	}
	got, err := json.MarshalIndent(doc, "", "  ")
	require.NoError(t, err)
	require.NotContains(t, string(got), home)
	return append(got, '\n')
}
