package ledger_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"
)

var at = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)

// keys is a vault in memory, with real encryption.
type keys map[string][]byte

func (k keys) key(visit string) ([]byte, error) {
	if b, ok := k[visit]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("visit %s: %w", visit, ledger.ErrForgotten)
}

func (k keys) aead(visit string) (cipher.AEAD, error) {
	key, err := k.key(visit)
	if err != nil {
		return nil, err
	}
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(b)
}

func (k keys) Seal(_ context.Context, _ ledger.DBTX, visit, use string, plain []byte) ([]byte, error) {
	g, err := k.aead(visit)
	if err != nil {
		return nil, err
	}
	return g.Seal(nil, nil, plain, []byte(visit+use)), nil
}

func (k keys) Open(_ context.Context, _ ledger.DBTX, visit, use string, sealed []byte) ([]byte, error) {
	g, err := k.aead(visit)
	if err != nil {
		return nil, err
	}
	return g.Open(nil, nil, sealed, []byte(visit+use))
}

func (k keys) Derive(_ context.Context, _ ledger.DBTX, visit, use string) ([]byte, error) {
	key, err := k.key(visit)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, key, nil, use, 32)
}

func (k keys) Visits(context.Context, ledger.DBTX) ([]string, error) {
	return slices.Sorted(maps.Keys(k)), nil
}

func (k keys) add(visits ...string) keys {
	for _, v := range visits {
		k[v] = make([]byte, 32)
		rand.Read(k[v])
	}
	return k
}

type signer struct{ ed25519.PrivateKey }

func (s signer) Public() ed25519.PublicKey { return s.PrivateKey.Public().(ed25519.PublicKey) }
func (s signer) Sign(m []byte) []byte      { return ed25519.Sign(s.PrivateKey, m) }

func newSigner() signer {
	_, k, _ := ed25519.GenerateKey(rand.Reader)
	return signer{k}
}

func openFile(t testing.TB, path string) *sql.DB {
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_pragma=synchronous(OFF)")
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func openDB(t testing.TB, path string) *sql.DB {
	db := openFile(t, path)
	p, err := goose.NewProvider(goose.DialectSQLite3, db, ledger.Migrations(), goose.WithTableName(ledger.Table), goose.WithDisableGlobalRegistry(true))
	require.NoError(t, err)
	_, err = p.Up(t.Context())
	require.NoError(t, err)
	return db
}

type log struct {
	*ledger.Ledger
	db   *sql.DB
	keys keys
	key  signer
}

func newLog(t testing.TB, visits ...string) log {
	l := log{db: openDB(t, filepath.Join(t.TempDir(), "l.db")), keys: keys{}.add(visits...), key: newSigner()}
	var err error
	l.Ledger, err = ledger.New(l.db, "st-test", l.key, l.keys)
	require.NoError(t, err)
	require.NoError(t, l.tx(t, func(tx *sql.Tx) error { return l.Begin(t.Context(), tx, at) }))
	return l
}

// copies returns a function that gives a fresh copy of l as it stands now.
func (l log) copies(t testing.TB) func() log {
	path := filepath.Join(t.TempDir(), "template.db")
	_, err := l.db.Exec(`VACUUM INTO ?`, path)
	require.NoError(t, err)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return func() log {
		path := filepath.Join(t.TempDir(), "l.db")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		c := log{db: openFile(t, path), keys: l.keys, key: l.key}
		c.Ledger, err = ledger.New(c.db, "st-test", c.key, c.keys)
		require.NoError(t, err)
		return c
	}
}

func (l log) tx(t testing.TB, f func(tx *sql.Tx) error) error {
	tx, err := l.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (l log) decide(t testing.TB, visit string, p consent.Purpose, a consent.Answer, mod ...func(*consent.Decision)) consent.Decision {
	d := consent.Decision{Visit: visit, Purpose: p, Answer: a, At: at, Language: "nl", TakenBy: "Jo", Notice: consent.CurrentNotice,
		Evidence: consent.Evidence{Kind: consent.Paper, Reference: "form 2026-114"}}
	for _, f := range mod {
		f(&d)
	}
	require.NoError(t, l.tx(t, func(tx *sql.Tx) (err error) {
		d, _, err = l.RecordDecisionTx(t.Context(), tx, d)
		return err
	}))
	return d
}

func (l log) record(t testing.TB, e ledger.Event) ledger.Entry {
	out, err := l.Record(t.Context(), e)
	require.NoError(t, err)
	return out
}

// fill writes a log of every visit with answers, scans and egress, 13 entries each.
func fill(t testing.TB, l log) {
	for i, v := range slices.Sorted(maps.Keys(l.keys)) {
		l.record(t, ledger.Event{Kind: ledger.VisitOpened, Visit: v, At: at})
		l.decide(t, v, consent.Service, consent.Granted)
		l.decide(t, v, consent.OBFCM, consent.Refused)
		l.record(t, ledger.Event{Kind: ledger.Asked, Visit: v, At: at, Facts: ledger.Facts{Counts: map[string]int{"condition": 12 + i}, OBFCM: "refused", Policy: "2026-11-ab12"}})
		for n := range 8 {
			l.record(t, ledger.Event{Kind: ledger.Released, Visit: v, At: at.Add(time.Duration(n) * time.Second), Facts: ledger.Facts{
				Purpose: "service", Recipient: "Dealer NV", Content: fmt.Sprintf("%064x", i*100+n)}})
		}
		l.decide(t, v, consent.Service, consent.Withdrawn)
	}
}

func TestStanding(t *testing.T) {
	l := newLog(t, "va", "vb")
	standing := func(visit string, p consent.Purpose, recipient string, now time.Time) consent.Answer {
		a, _, err := l.Standing(t.Context(), visit, p, recipient, now)
		require.NoError(t, err)
		return a
	}
	require.Equal(t, consent.Unasked, standing("va", consent.Service, "", at))
	require.Equal(t, consent.Unasked, standing("never", consent.Service, "", at), "a visit that never was is no")

	l.decide(t, "va", consent.Service, consent.Granted)
	require.Equal(t, consent.Granted, standing("va", consent.Service, "", at))
	require.Equal(t, consent.Unasked, standing("va", consent.OBFCM, "", at), "no purpose is bundled with another")
	require.Equal(t, consent.Unasked, standing("vb", consent.Service, "", at))

	// The clock went back an hour; the withdrawal is still the newer one.
	l.decide(t, "va", consent.Service, consent.Withdrawn, func(d *consent.Decision) { d.At = at.Add(-time.Hour) })
	require.Equal(t, consent.Withdrawn, standing("va", consent.Service, "", at))

	l.decide(t, "va", consent.Service, consent.Granted, func(d *consent.Decision) { d.Until = at.Add(time.Hour) })
	require.Equal(t, consent.Granted, standing("va", consent.Service, "", at.Add(time.Hour-1)))
	require.Equal(t, consent.Expired, standing("va", consent.Service, "", at.Add(time.Hour)))

	l.decide(t, "va", consent.Service, consent.Granted)
	l.decide(t, "va", consent.Service, consent.Withdrawn, func(d *consent.Decision) { d.Recipient = "Dealer NV" })
	require.Equal(t, consent.Withdrawn, standing("va", consent.Service, "Dealer NV", at), "withdrawn for one recipient")
	require.Equal(t, consent.Granted, standing("va", consent.Service, "Maker SE", at), "the other keeps its yes")

	delete(l.keys, "va")
	require.Equal(t, consent.Unasked, standing("va", consent.Service, "Maker SE", at), "an erased visit is no")
}

func TestErasedVisitsCannotBeLinkedAndTheLogStillVerifies(t *testing.T) {
	l := newLog(t, "va", "vb", "vc")
	fill(t, l)
	require.NoError(t, l.tx(t, func(tx *sql.Tx) error { return l.ForgetTx(t.Context(), tx, "vb") }))
	delete(l.keys, "vb")
	r, err := l.Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK(), "%+v", r.Problems)

	all, err := l.Entries(t.Context(), 0, 1000)
	require.NoError(t, err)
	tags := map[string]int{}
	for _, e := range all {
		for _, personal := range []string{"va", "vb", "vc", "Jo", "2026-114"} {
			require.NotContains(t, strings.ReplaceAll(string(e.Leaf()), e.Tag, ""), `"`+personal, "entry %d", e.Seq)
		}
		tags[e.Tag]++
	}
	delete(tags, "")
	for tag, n := range tags {
		require.Equal(t, 1, n, "tag %s joins entries", tag)
	}
}

func TestOnlyClosedFactsEnterTheLog(t *testing.T) {
	l := newLog(t, "va")
	for name, e := range map[string]ledger.Event{
		"free text":        {Kind: ledger.Destroyed, Visit: "va", At: at, Facts: ledger.Facts{Reason: "Mrs Peeters called"}},
		"a VIN":            {Kind: ledger.Destroyed, Visit: "va", At: at, Facts: ledger.Facts{Reason: "WVWZZZCD0NW000001"}},
		"a third party":    {Kind: ledger.Released, Visit: "va", At: at, Facts: ledger.Facts{Purpose: "third-party:Jansen & Co"}},
		"a foreign fact":   {Kind: ledger.VisitOpened, Visit: "va", At: at, Facts: ledger.Facts{Count: 3}},
		"a short hash":     {Kind: ledger.Released, Visit: "va", At: at, Facts: ledger.Facts{Content: "abc"}},
		"no visit":         {Kind: ledger.VisitOpened, At: at},
		"a needless visit": {Kind: ledger.RecipientAdded, Visit: "va", At: at},
		"no time":          {Kind: ledger.VisitOpened, Visit: "va"},
		"unknown kind":     {Kind: "gossip", Visit: "va", At: at},
		"a bare answer":    {Kind: ledger.Answer, Visit: "va", At: at},
		"bad category":     {Kind: ledger.Asked, Visit: "va", At: at, Facts: ledger.Facts{Counts: map[string]int{"Jan Peeters": 1}}},
	} {
		_, err := l.Record(t.Context(), e)
		require.ErrorIs(t, err, ledger.ErrEvent, name)
	}
	_, err := l.Record(t.Context(), ledger.Event{Kind: ledger.VisitOpened, Visit: "erased", At: at})
	require.ErrorIs(t, err, ledger.ErrForgotten)
	h, err := l.Head(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, h.Size, "nothing of it was logged")
}

func TestProofs(t *testing.T) {
	l := newLog(t, "va", "vb", "vc")
	var heads []ledger.Head
	for range 20 {
		l.record(t, ledger.Event{Kind: ledger.VisitOpened, Visit: "va", At: at})
		h, err := l.Head(t.Context())
		require.NoError(t, err)
		heads = append(heads, h)
	}
	all, err := l.Entries(t.Context(), 0, 100)
	require.NoError(t, err)
	for _, e := range all {
		path, head, err := l.Inclusion(t.Context(), e.Seq)
		require.NoError(t, err)
		require.NoError(t, ledger.CheckInclusion(e.Leaf(), e.Seq, path, head))
		require.Error(t, ledger.CheckInclusion(append(e.Leaf(), ' '), e.Seq, path, head))
	}
	for _, old := range heads {
		path, head, err := l.Consistency(t.Context(), old.Size)
		require.NoError(t, err)
		require.NoError(t, ledger.CheckConsistency(old, head, path))
		old.Root[0] ^= 1
		require.Error(t, ledger.CheckConsistency(old, head, path))
	}
	_, _, err = l.Inclusion(t.Context(), 21)
	require.ErrorIs(t, err, ledger.ErrNoEntry)
}

func TestAppendsOfSeveralProcessesTakeTurns(t *testing.T) {
	l := newLog(t, "va")
	var path string
	require.NoError(t, l.db.QueryRow(`SELECT file FROM pragma_database_list`).Scan(&path))
	const writers, each = 4, 25
	var wg sync.WaitGroup
	errs := make(chan error, writers*each)
	for range writers {
		other, err := ledger.New(openDB(t, path), "st-test", l.key, l.keys)
		require.NoError(t, err)
		wg.Go(func() {
			for range each {
				_, err := other.Record(t.Context(), ledger.Event{Kind: ledger.Accessed, Visit: "va", At: at})
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	r, err := l.Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK(), "%+v", r.Problems)
	require.EqualValues(t, 1+writers*each, r.Entries)
	mine, err := l.VisitEntries(t.Context(), "va")
	require.NoError(t, err)
	require.Len(t, mine, writers*each, "every entry is found by its visit")
}

func TestNothingIsSignedOnTopOfAForeignTree(t *testing.T) {
	l := newLog(t, "va")
	_, err := l.db.Exec(`UPDATE ledger_tip SET range = ?`, bytes.Repeat([]byte{7}, 32))
	require.NoError(t, err)
	_, err = l.Record(t.Context(), ledger.Event{Kind: ledger.VisitOpened, Visit: "va", At: at})
	require.ErrorIs(t, err, ledger.ErrTampered)
}

func BenchmarkAppend(b *testing.B) {
	l := newLog(b, "va")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Record(context.Background(), ledger.Event{Kind: ledger.Accessed, Visit: "va", At: at}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify reads a log of 100,000 entries of 5,000 visits, most of which are long erased; ns/entry is the figure to
// watch. OBDGATE_LEDGER_ENTRIES=1000000 makes it a log of that many, with -benchtime 1x.
func BenchmarkVerify(b *testing.B) {
	n, visits, alive := 100_000, 5000, 500
	if testing.Short() {
		n, visits, alive = 5000, 250, 25
	}
	if many, err := strconv.Atoi(os.Getenv("OBDGATE_LEDGER_ENTRIES")); err == nil {
		n, visits, alive = many, many/20, many/200
	}
	l := newLog(b)
	for i := range visits {
		l.keys.add(fmt.Sprint("v", i))
	}
	if err := l.tx(b, func(tx *sql.Tx) error {
		for i := range n {
			if _, err := l.AppendTx(b.Context(), tx, ledger.Event{Kind: ledger.Accessed, Visit: fmt.Sprint("v", i%visits), At: at, Facts: ledger.Facts{Reason: "report-shown"}}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	for i := alive; i < visits; i++ {
		delete(l.keys, fmt.Sprint("v", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		r, err := l.Verify(context.Background())
		if err != nil || !r.OK() {
			b.Fatal(err, r.Problems)
		}
	}
	verify := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	b.ReportMetric(verify/float64(n), "ns/entry")
	// The yardstick of the same run: the same rows read and hashed once, nothing compared.
	began := time.Now()
	rows, err := l.db.Query(`SELECT leaf, nodes FROM ledger_entries ORDER BY seq`)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var leaf, nodes sql.RawBytes
		if err := rows.Scan(&leaf, &nodes); err != nil {
			b.Fatal(err)
		}
		sha256.Sum256(leaf)
	}
	b.ReportMetric(verify/float64(time.Since(began).Nanoseconds()), "x-reading")
}

func BenchmarkStanding(b *testing.B) {
	l := newLog(b, "va", "vb", "vc")
	fill(b, l)
	l.decide(b, "va", consent.Service, consent.Granted)
	b.ReportAllocs()
	for b.Loop() {
		if a, _, err := l.Standing(context.Background(), "va", consent.Service, "", at); err != nil || !a.Yes() {
			b.Fatal(a, err)
		}
	}
}
