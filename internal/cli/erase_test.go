package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"obdgate/internal/store"

	"github.com/stretchr/testify/require"
)

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" { // defined by the tests of recordings
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// everyByte is every byte of every file of a state directory: pages, free pages, write-ahead log, keys.
func everyByte(t *testing.T, dir string) (all []byte) {
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(append(all, 0), b...)
		return err
	}))
	return all
}

// traces are all bytes that the database holds of one visit: every blob of every row that names it, in every table, and the
// number itself. It finds tables by their columns, so that one that is added later is searched as well.
func traces(t *testing.T, home, visit string) map[string][][]byte {
	s, err := store.Open(t.Context(), home, store.Options{})
	require.NoError(t, err)
	defer s.Close()
	rows, err := s.DB().Query(`SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND c.type = 'BLOB'
		AND EXISTS (SELECT 1 FROM pragma_table_info(m.name) v WHERE v.name = 'visit' OR m.name = 'store_visits' AND v.name = 'id') ORDER BY 1, 2`)
	require.NoError(t, err)
	var columns [][2]string
	for rows.Next() {
		var c [2]string
		require.NoError(t, rows.Scan(&c[0], &c[1]))
		columns = append(columns, c)
	}
	require.NoError(t, rows.Err())
	// What stays by design: the log's lines and what recipients were told, with hashes of what was sent.
	var stays []byte
	for _, q := range []string{`SELECT leaf FROM ledger_entries`, `SELECT body FROM outbox_notices`, `SELECT statement FROM outbox_notices WHERE statement IS NOT NULL`} {
		rows, err := s.DB().Query(q)
		require.NoError(t, err)
		for rows.Next() {
			var b []byte
			require.NoError(t, rows.Scan(&b))
			stays = append(stays, b...)
		}
		require.NoError(t, rows.Err())
	}
	out := map[string][][]byte{"visit number": {[]byte(visit)}}
	for _, c := range columns {
		key := "visit"
		if c[0] == "store_visits" {
			key = "id"
		}
		rows, err := s.DB().Query(`SELECT `+c[1]+` FROM `+c[0]+` WHERE `+key+` = ? AND length(`+c[1]+`) >= 16`, visit)
		require.NoError(t, err)
		for rows.Next() {
			var b []byte
			require.NoError(t, rows.Scan(&b))
			// In several places: a page may be overwritten in part.
			for _, at := range []int{0, (len(b) - 16) / 4, (len(b) - 16) / 2, (len(b) - 16) * 3 / 4, len(b) - 16} {
				if part := b[at : at+16]; !bytes.Contains(stays, part) {
					out[c[0]+"."+c[1]] = append(out[c[0]+"."+c[1]], bytes.Clone(part))
				}
			}
		}
		require.NoError(t, rows.Err())
	}
	return out
}

// readable is a text in the forms in which it might be lying about.
func readable(s string) [][]byte {
	var wide []byte
	for _, u := range utf16.Encode([]rune(s)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	return [][]byte{[]byte(s), []byte(hex.EncodeToString([]byte(s))), []byte(strings.ToUpper(hex.EncodeToString([]byte(s)))),
		[]byte(base64.StdEncoding.EncodeToString([]byte(s)))[:len(s)/3*4], wide}
}

func hits(image []byte, all [][]byte) (n int) {
	for _, x := range all {
		if bytes.Contains(image, x) {
			n++
		}
	}
	return n
}

// An erasure, with everything a visit can have: the state directory before and after it, searched byte by byte.
func TestErasureLeavesNothing(t *testing.T) {
	c := newCounter(t)
	col, file := dealer(t, "Maker")
	c.ok("recipient", "add", file, "--agreement", "DPA 8")
	dir := t.TempDir()
	png := filepath.Join(dir, "signature.png")
	require.NoError(t, os.WriteFile(png, append([]byte("\x89PNG\r\n\x1a\n"), bytes.Repeat([]byte("CANARY-SIGNATURE "), 30)...), 0o600))
	canaries := []string{"CANARY-ORDER", "CANARY-WITNESS", "CANARY-SIGNATURE", "CANARY-IDENTITY", "CANARY-NOTE", "CANARY-STATEMENT", "canary-address"}

	other := c.visit()
	v := strings.TrimSpace(c.ok("visit", "open", "--order", "CANARY-ORDER Peeters", "--customer-lang", "nl"))
	c.ok("consent", "record", "--visit", v, "--purpose", "service=yes", "--evidence", "signature "+png)
	c.ok("consent", "record", "--visit", v, "--purpose", "obfcm=yes", "--evidence", "verbal CANARY-WITNESS")
	c.ok("scan", "sim:mini", "--visit", v)
	c.ok("upload", "--visit", v)
	c.ok("consent", "withdraw", "--visit", v, "--purpose", "obfcm")
	c.ok("rights", "rectify", v, "--note", "CANARY-STATEMENT", "--identity", "CANARY-IDENTITY")
	c.ok("rights", "open", v, "--request", "erasure", "--note", "CANARY-NOTE")
	func() {
		s, err := store.Open(t.Context(), c.home, store.Options{})
		require.NoError(t, err)
		defer s.Close()
		_, err = s.AskAddress(t.Context(), v, "canary-address@example.org")
		require.NoError(t, err)
		_, _, err = s.NewLink(t.Context(), v, time.Now().AddDate(0, 0, 28))
		require.NoError(t, err)
	}()
	require.NotEmpty(t, envelopes(t, col))

	number := regexp.MustCompile(`[A-HJ-NPR-Z0-9]{17}`).FindString(c.ok("visit", "show", v))
	require.NotEmpty(t, number)
	mine := traces(t, c.home, v)
	for _, must := range []string{"ledger_decisions.body", "outbox.receipt", "outbox_notices.mac", "store_addresses.body", "store_evidence.body", "store_keys.wrapped",
		"store_links.token", "store_receipts.body", "store_tickets.body", "store_visits.body", "store_visits.vin"} {
		require.NotEmpty(t, mine[must], "%s: the visit has everything a visit can have", must)
	}
	keyBefore, err := os.ReadFile(filepath.Join(c.home, "station.key"))
	require.NoError(t, err)
	backup := filepath.Join(dir, "backup")
	require.NoError(t, os.CopyFS(backup, os.DirFS(c.home)))
	before := everyByte(t, c.home)

	c.ok("rights", "erase", v, "--identity", "CANARY-IDENTITY", "--confirm")
	after := everyByte(t, c.home)
	var clear [][]byte
	for _, canary := range canaries {
		clear = append(clear, readable(canary)...)
	}
	var b strings.Builder
	fmt.Fprintln(&b, "# A visit with everything a visit can have is erased; the state directory is searched byte by byte for what belonged to it.\n# Written by TestErasureLeavesNothing -update. Columns: what, different traces looked for, found before, found after.")
	row := func(name string, all [][]byte, want int) {
		found, left := hits(before, all), hits(after, all)
		require.Equal(t, want, found, name)
		require.Zero(t, left, "%s: still in a file", name)
		fmt.Fprintf(&b, "%-34s %3d %3d %3d\n", name, len(all), found, left)
	}
	row("canaries in clear, hex, base64", clear, 0)
	row("VIN in clear, hex, base64", readable(number), 0)
	for _, name := range slices.Sorted(maps.Keys(mine)) {
		switch name {
		case "outbox_notices.body", "outbox_notices.mac", "outbox_notices.statement":
			// What recipients were told stays, a year: receipts and hashes, nothing readable of the visit.
			continue
		}
		row(name, mine[name], len(mine[name]))
	}
	golden(t, "erasure.txt", b.String())

	// Other visits open, and the log verifies.
	require.Contains(t, c.ok("visit", "show", other), "order 7 Peeters")
	require.Contains(t, c.ok("ledger", "verify"), "unchanged and complete")
	for _, e := range envelopes(t, col) {
		require.NotContains(t, e, number, "the recipient erased what it had")
	}

	// A backup from before the erasure, with the key as it is now, opens every visit but this one.
	keyAfter, err := os.ReadFile(filepath.Join(c.home, "station.key"))
	require.NoError(t, err)
	require.NotEqual(t, keyBefore, keyAfter)
	require.NoError(t, os.WriteFile(filepath.Join(backup, "station.key"), keyAfter, 0o600))
	for _, f := range []string{"obdgate.db", "obdgate.lock", "station.key"} {
		require.NoError(t, os.Chmod(filepath.Join(backup, f), 0o600))
	}
	require.NoError(t, os.Chmod(backup, 0o700))
	old := counter{t, backup}
	require.Contains(t, old.ok("visit", "show", other), "order 7 Peeters")
	code, _, _ := old.run("visit", "show", v)
	require.Equal(t, exitNoInput, code)
	code, _, _ = old.run("rights", "access", v, "--identity", seen)
	require.Equal(t, exitNoInput, code)
}
