package ledger_test

import (
	"bytes"
	"database/sql"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"

	"github.com/stretchr/testify/require"
)

// What somebody who can write the database file but lacks the station key may try. Each must be caught by Verify, wherever
// in the log it is done.
func TestAttacksAreCaught(t *testing.T) {
	type target struct {
		log
		seq, size int64
	}
	exec := func(t *testing.T, l target, query string, args ...any) {
		t.Helper()
		res, err := l.db.Exec(query, args...)
		require.NoError(t, err)
		n, err := res.RowsAffected()
		require.NoError(t, err)
		require.NotZero(t, n, "the attack did nothing")
	}
	leaf := func(t *testing.T, l target, seq int64) (b []byte) {
		require.NoError(t, l.db.QueryRow(`SELECT leaf FROM ledger_entries WHERE seq = ?`, seq).Scan(&b))
		return b
	}
	template := newLog(t, "va", "vb", "vc", "vd", "ve", "vf", "vg", "vh", "vi")
	fill(t, template)
	h, err := template.Head(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 118, h.Size)
	before, err := template.Verify(t.Context())
	require.NoError(t, err)
	require.True(t, before.OK(), "%+v", before.Problems)
	fresh := template.copies(t)
	attacks := map[string]struct {
		do   func(*testing.T, target)
		kind string
	}{
		"edit one byte of an entry": {func(t *testing.T, l target) {
			b := leaf(t, l, l.seq)
			b[len(b)-2] ^= 1
			exec(t, l, `UPDATE ledger_entries SET leaf = ? WHERE seq = ?`, b, l.seq)
		}, ledger.ProblemEdited},
		"turn an entry into another kind": {func(t *testing.T, l target) {
			b := bytes.Replace(leaf(t, l, l.seq), []byte(`"kind":"`), []byte(`"kind":"x`), 1)
			exec(t, l, `UPDATE ledger_entries SET leaf = ? WHERE seq = ?`, b, l.seq)
		}, ledger.ProblemEdited},
		"delete an entry": {func(t *testing.T, l target) {
			exec(t, l, `DELETE FROM ledger_entries WHERE seq = ?`, l.seq)
		}, ledger.ProblemHead},
		"delete an entry and close the gap": {func(t *testing.T, l target) {
			exec(t, l, `DELETE FROM ledger_entries WHERE seq = ?`, l.seq)
			for s := l.seq + 1; s < l.size; s++ {
				exec(t, l, `UPDATE ledger_entries SET seq = ? WHERE seq = ?`, s-1, s)
			}
		}, ledger.ProblemHead},
		"swap two neighbours": {func(t *testing.T, l target) {
			a := l.seq
			if a == l.size-1 {
				a--
			}
			exec(t, l, `UPDATE ledger_entries SET seq = -1 WHERE seq = ?`, a)
			exec(t, l, `UPDATE ledger_entries SET seq = ? WHERE seq = ?`, a, a+1)
			exec(t, l, `UPDATE ledger_entries SET seq = ? WHERE seq = -1`, a+1)
		}, ledger.ProblemEdited},
		"cut the log short": {func(t *testing.T, l target) {
			exec(t, l, `DELETE FROM ledger_entries WHERE seq >= ?`, l.seq)
		}, ledger.ProblemHead},
		"backdate an entry": {func(t *testing.T, l target) {
			b := bytes.Replace(leaf(t, l, l.seq), []byte("2026-11-20T"), []byte("2026-11-19T"), 1)
			exec(t, l, `UPDATE ledger_entries SET leaf = ? WHERE seq = ?`, b, l.seq)
		}, ledger.ProblemEdited},
		"add an entry without the key": {func(t *testing.T, l target) {
			b := bytes.Replace(leaf(t, l, l.seq), []byte(`{"seq":`), []byte(`{"seq":9`), 1)
			exec(t, l, `INSERT INTO ledger_entries (seq, leaf, nodes) SELECT max(seq) + 1, ?, zeroblob(32) FROM ledger_entries`, b)
		}, ledger.ProblemHead},
		"edit an entry and its stored hashes": {func(t *testing.T, l target) {
			b := leaf(t, l, l.seq)
			b[len(b)-2] ^= 1
			exec(t, l, `UPDATE ledger_entries SET leaf = ?, nodes = ? WHERE seq = ?`, b, ledger.NodesFor(b), l.seq)
		}, ledger.ProblemHead},
		"swap the key: sign the log anew with another": {func(t *testing.T, l target) {
			forged, err := ledger.New(l.db, "st-test", newSigner(), l.keys)
			require.NoError(t, err)
			exec(t, l, `DELETE FROM ledger_tip`)
			require.NoError(t, forged.SignAnew(t.Context(), l.db))
		}, ledger.ProblemKey},
		"remove the head": {func(t *testing.T, l target) { exec(t, l, `DELETE FROM ledger_tip`) }, ledger.ProblemHead},
		"file an entry under no visit": {func(t *testing.T, l target) {
			exec(t, l, `UPDATE ledger_entries SET tag = randomblob(16) WHERE seq = ?`, l.seq)
		}, ledger.ProblemTag},
		"remove a stored decision": {func(t *testing.T, l target) {
			exec(t, l, `DELETE FROM ledger_decisions WHERE seq = (SELECT seq FROM ledger_decisions ORDER BY abs(seq - ?) LIMIT 1)`, l.seq)
		}, ledger.ProblemDecision},
		"put an older yes in the place of a withdrawal": {func(t *testing.T, l target) {
			exec(t, l, `UPDATE ledger_decisions SET body = (SELECT d.body FROM ledger_decisions d WHERE d.visit = 'va' ORDER BY d.seq LIMIT 1)
				WHERE seq = (SELECT max(d.seq) FROM ledger_decisions d WHERE d.visit = 'va')`)
		}, ledger.ProblemDecision},
	}
	// A tenth of the positions, or all of them: OBDGATE_LEDGER_ATTACKS=all go test ./internal/ledger -run Attacks
	const positions = 100
	step := int64(10)
	if os.Getenv("OBDGATE_LEDGER_ATTACKS") == "all" || *update {
		step = 1
	}
	table := map[string]string{}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			caught := 0
			for seq := int64(1); seq <= positions; seq += step {
				l := fresh()
				attack.do(t, target{l, seq, int64(h.Size)})
				r, err := l.Verify(t.Context())
				require.NoError(t, err)
				kinds := map[string]bool{}
				for _, p := range r.Problems {
					kinds[p.Kind] = true
				}
				require.True(t, kinds[attack.kind], "at entry %d: %+v", seq, r.Problems)
				require.NoError(t, l.db.Close())
				caught++
			}
			table[name] = fmt.Sprintf("%3d of %3d positions  told as %s", caught, positions, attack.kind)
		})
	}
	if step > 1 {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Attacks on a log of %d entries with the database at hand and without the station key, found by `ledger verify`\n# alone, without a head kept elsewhere. Written by TestAttacksAreCaught -update.\n", h.Size)
	for _, name := range slices.Sorted(maps.Keys(table)) {
		fmt.Fprintf(&b, "%-48s %s\n", name, table[name])
	}
	golden(t, "attacks.txt", b.String())
}

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// A whole older copy put back is a valid log by itself; only a head kept elsewhere shows it.
func TestAnOlderCopyIsCaughtByAHeadKeptElsewhere(t *testing.T) {
	l := newLog(t, "va", "vb", "vc")
	l.record(t, ledger.Event{Kind: ledger.VisitOpened, Visit: "va", At: at})
	copyPath := filepath.Join(t.TempDir(), "old.db")
	_, err := l.db.Exec(`VACUUM INTO ?`, copyPath)
	require.NoError(t, err)
	old, err := ledger.New(openDB(t, copyPath), "st-test", l.key, l.keys)
	require.NoError(t, err)

	l.decide(t, "va", consent.Service, consent.Withdrawn)
	kept, err := l.Head(t.Context())
	require.NoError(t, err)
	r, err := old.Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK())
	r, err = old.VerifyAgainst(t.Context(), kept.Note)
	require.NoError(t, err)
	require.Len(t, r.Problems, 1)
	require.Equal(t, ledger.ProblemExternal, r.Problems[0].Kind)

	// The older copy goes on by itself: a fork of the same length with another content.
	_, err = old.Record(t.Context(), ledger.Event{Kind: ledger.Accessed, Visit: "va", At: at})
	require.NoError(t, err)
	r, err = old.VerifyAgainst(t.Context(), kept.Note)
	require.NoError(t, err)
	require.Len(t, r.Problems, 1)
	require.Equal(t, ledger.ProblemExternal, r.Problems[0].Kind)

	// A head somebody else signed is no head of ours.
	foreign := newLog(t)
	h, err := foreign.Head(t.Context())
	require.NoError(t, err)
	r, err = l.VerifyAgainst(t.Context(), h.Note)
	require.NoError(t, err)
	require.False(t, r.OK())
}

// The clock going back is told, and is nothing wrong by itself.
func TestTheClockGoingBackIsNoted(t *testing.T) {
	l := newLog(t, "va")
	l.record(t, ledger.Event{Kind: ledger.VisitOpened, Visit: "va", At: at})
	l.record(t, ledger.Event{Kind: ledger.VisitClosed, Visit: "va", At: at.Add(-3 * time.Hour)})
	r, err := l.Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK())
	require.Equal(t, []string{"entry 2 is 3h0m0s earlier than the one before it: the clock was set back"}, r.Notes)
}

// A yes whose term has ended does not come to life again when the clock is set back; the yes given next counts as ever.
func TestTheClockGoingBackRevivesNoYes(t *testing.T) {
	l := newLog(t, "va", "vb")
	until := at.Add(24 * time.Hour)
	term := func(end time.Time) {
		l.decide(t, "va", consent.Service, consent.Granted, func(d *consent.Decision) { d.Until = end })
	}
	stands := func(now time.Time) consent.Answer {
		a, _, err := l.Standing(t.Context(), "va", consent.Service, "", now)
		require.NoError(t, err)
		return a
	}
	term(until)
	require.Equal(t, consent.Granted, stands(at))
	require.Equal(t, consent.Expired, stands(until))
	require.Equal(t, consent.Granted, stands(at), "nothing was logged that late")
	l.record(t, ledger.Event{Kind: ledger.VisitOpened, Visit: "vb", At: until})
	require.Equal(t, consent.Expired, stands(at))
	l.record(t, ledger.Event{Kind: ledger.VisitClosed, Visit: "vb", At: at})
	require.Equal(t, consent.Expired, stands(at), "however much is logged at the wrong time")
	term(until)
	require.Equal(t, consent.Granted, stands(at))
}

// A yes is only a yes while the log proves it, also without a full Verify.
func TestStandingRefusesWhatTheLogDoesNotProve(t *testing.T) {
	for name, attack := range map[string]string{
		"the withdrawal's decision removed": `DELETE FROM ledger_decisions WHERE seq = (SELECT max(seq) FROM ledger_decisions)`,
		"the withdrawal edited":             `UPDATE ledger_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'withdrawn', 'refused') AS BLOB) WHERE seq = 2`,
		"the grant edited":                  `UPDATE ledger_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'paper', 'PAPER') AS BLOB) WHERE seq = 1`,
		"the head removed":                  `DELETE FROM ledger_tip`,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t, "va")
			l.decide(t, "va", consent.OBFCM, consent.Granted)
			l.decide(t, "va", consent.Service, consent.Withdrawn)
			res, err := l.db.Exec(attack)
			require.NoError(t, err)
			n, _ := res.RowsAffected()
			require.NotZero(t, n)
			a, _, err := l.Standing(t.Context(), "va", consent.OBFCM, "", at)
			require.ErrorIs(t, err, ledger.ErrTampered)
			require.Equal(t, consent.Unasked, a)
		})
	}
}

var _ ledger.DBTX = (*sql.DB)(nil)
