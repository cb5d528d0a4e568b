package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdgate/internal/store"

	"github.com/stretchr/testify/require"
)

// typed runs one command line with a state of its own kind and returns the exit code and what was printed.
func typed(t *testing.T, state store.Options, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	p := &program{Streams: Streams{In: strings.NewReader(""), Out: &o, Err: &e}, now: time.Now, state: state}
	code = p.run(context.Background(), append(args, "--lang", "en"))
	return code, o.String(), e.String()
}

// The car is on the lift and the disk is full: the technician gets the report, and then hears that it is not stored.
func TestReportOnAFullDisk(t *testing.T) {
	t.Setenv("OBDGATE_KEYRING", "off")
	dir := t.TempDir()
	home := filepath.Join(dir, "state")
	code, id, errs := typed(t, store.Options{}, "--home", home, "visit", "open", "--order", "before")
	require.Zero(t, code, errs)
	id = strings.TrimSpace(id)
	code, _, errs = typed(t, store.Options{}, "--home", home, "consent", "record", "--visit", id, "--purpose", "obfcm=yes", "--evidence", "paper form 1")
	require.Zero(t, code, errs)
	file := filepath.Join(dir, "a file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	pages := 1 // SQLite takes the present size then: it cannot grow
	for _, c := range []struct {
		name   string
		state  store.Options
		args   []string
		code   int
		record string // of the consumption
	}{
		{"the visit's scan does not fit", store.Options{MaxPages: pages}, []string{"--home", home, "scan", "sim:golf8", "--visit", id}, exitIO, "plausible"},
		{"not even a visit fits", store.Options{MaxPages: pages}, []string{"--home", home, "scan", "sim:golf8"}, exitIO, ""},
		{"there is no place for a state", store.Options{}, []string{"--home", filepath.Join(file, "state"), "scan", "sim:golf8"}, exitCantCreate, "the customer was not asked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := typed(t, c.state, c.args...)
			require.Equal(t, c.code, code, errs)
			require.Contains(t, out, "Vehicle report")
			require.Contains(t, out, "P0301", "the whole report")
			require.Contains(t, out, "Engine coolant temperature")
			require.Contains(t, out, c.record)
			require.Contains(t, errs, "is not stored")
			require.Contains(t, errs, "\n  → ")
		})
	}
	_, out, _ := typed(t, store.Options{}, "--home", home, "visit", "show", id, "--json")
	require.Contains(t, out, `"scans": []`)
	code, _, errs = typed(t, store.Options{}, "--home", home, "scan", "sim:golf8", "--visit", id)
	require.Zero(t, code, "with room again the visit goes on: %s", errs)
}
