package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/reading"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

func TestADamagedStateIsToldAndNeverTouched(t *testing.T) {
	db := func(dir string) string { return filepath.Join(dir, "obdgate.db") }
	write := func(t *testing.T, path string, b []byte) { require.NoError(t, os.WriteFile(path, b, 0o600)) }
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   error
	}{
		"garbage":        {func(t *testing.T, dir string) { write(t, db(dir), []byte(strings.Repeat("garbage ", 1000))) }, store.ErrCorrupt},
		"cut to nothing": {func(t *testing.T, dir string) { write(t, db(dir), nil) }, store.ErrCorrupt},
		"cut in the middle": {func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(db(dir), 4096))
		}, store.ErrCorrupt},
		"a directory": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(db(dir)))
			require.NoError(t, os.Mkdir(db(dir), 0o700))
		}, store.ErrCorrupt},
		"another program's": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(db(dir)))
			other, err := sql.Open("sqlite", "file:"+strings.NewReplacer(" ", "%20", "?", "%3f", "#", "%23").Replace(db(dir)))
			require.NoError(t, err)
			_, err = other.Exec(`CREATE TABLE songs (title TEXT)`)
			require.NoError(t, err)
			require.NoError(t, other.Close())
			require.NoError(t, os.Chmod(db(dir), 0o600))
		}, store.ErrCorrupt},
		"a newer schema": {func(t *testing.T, dir string) {
			s, err := store.Open(t.Context(), dir, store.Options{})
			require.NoError(t, err)
			_, err = s.DB().Exec(`INSERT INTO ledger_version (version_id, is_applied) VALUES (99, 1)`)
			require.NoError(t, err)
			require.NoError(t, s.Close())
		}, store.ErrNewer},
		"the key gone": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "station.key"))) }, store.ErrKey},
		"the key cut": {func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "station.key"), 100))
		}, store.ErrKey},
		"another station's key": {func(t *testing.T, dir string) {
			other := home(t)
			s, err := store.Open(t.Context(), other, store.Options{})
			require.NoError(t, err)
			require.NoError(t, s.Close())
			b, err := os.ReadFile(filepath.Join(other, "station.key"))
			require.NoError(t, err)
			write(t, filepath.Join(dir, "station.key"), b)
		}, store.ErrKey},
		"a key of a newer program": {func(t *testing.T, dir string) {
			b, err := os.ReadFile(filepath.Join(dir, "station.key"))
			require.NoError(t, err)
			write(t, filepath.Join(dir, "station.key"), []byte(strings.Replace(string(b), `"none"`, `"argon2id"`, 1)))
		}, store.ErrNewer},
		"a directory others can read": {func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir, 0o755)) }, store.ErrPermission},
		"a key others can read": {func(t *testing.T, dir string) {
			require.NoError(t, os.Chmod(filepath.Join(dir, "station.key"), 0o644))
		}, store.ErrPermission},
		"a database others can read": {func(t *testing.T, dir string) { require.NoError(t, os.Chmod(db(dir), 0o640)) }, store.ErrPermission},
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t)
			s := open(t, dir, store.Options{})
			full(t, s, "mine")
			require.NoError(t, s.Close())
			c.damage(t, dir)
			before := image(t, dir)
			for range 2 {
				_, err := store.Open(t.Context(), dir, store.Options{})
				require.ErrorIs(t, err, c.want)
				require.NotContains(t, err.Error(), "mine")
			}
			require.Equal(t, len(before), len(image(t, dir)), "something was written or removed")
		})
	}
}

func TestAHomeThatIsAFileIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	for _, dir := range []string{path, filepath.Join(path, "below")} {
		_, err := store.Open(t.Context(), dir, store.Options{})
		require.ErrorIs(t, err, store.ErrReadOnly)
	}
}

func TestADamagedBodyIsToldByName(t *testing.T) {
	s := open(t, home(t), store.Options{})
	v, other := full(t, s, "mine"), full(t, s, "other")
	_, err := s.DB().Exec(`UPDATE store_visits SET body = (SELECT body FROM store_visits WHERE id = ?) WHERE id = ?`, other.ID, v.ID)
	require.NoError(t, err)
	_, err = s.Visit(t.Context(), v.ID)
	require.ErrorIs(t, err, store.ErrCorrupt, "a body moved to another visit does not open")
	require.ErrorContains(t, err, v.ID)
	_, err = s.Visit(t.Context(), other.ID)
	require.NoError(t, err)
	require.NoError(t, s.Check(t.Context()))
}

func TestAFullDiskLosesNothingAndIsTold(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{MaxPages: 80})
	v := full(t, s, "mine")
	big := reading.Reading{Key: "obd.09.04", Value: reading.Text(strings.Repeat("x", 20_000))}
	done := 1
	var err error
	for done < 1000 {
		if _, err = s.AppendScan(t.Context(), v.ID, scan(t, big)); err != nil {
			break
		}
		done++
	}
	require.ErrorIs(t, err, store.ErrFull)
	require.Greater(t, done, 2)
	_, err = s.OpenVisit(t.Context(), visit.Visit{Order: strings.Repeat("y", 400_000)})
	require.ErrorIs(t, err, store.ErrFull)
	for err = nil; err == nil; {
		_, err = s.Ledger().Record(t.Context(), ledger.Event{Kind: ledger.Accessed, Visit: v.ID, At: day})
	}
	require.ErrorIs(t, err, store.ErrFull, "the ledger tells it too")
	got, err := s.Visit(t.Context(), v.ID)
	require.NoError(t, err)
	require.Len(t, got.Scans, done, "every scan that was accepted is there")
	require.NoError(t, s.Close())

	s = open(t, dir, store.Options{})
	_, err = s.AppendScan(t.Context(), v.ID, scan(t, big))
	require.NoError(t, err, "with room again it goes on")
	r, err := s.Ledger().Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK(), "%+v", r.Problems)
}

// The files as a crash at any moment would leave them: copied between the steps and in the middle of transactions.
func TestWhatWasRecordedSurvivesACrashAtAnyStep(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	var v visit.Visit
	var receipt consent.Receipt
	steps := []struct {
		name  string
		do    func() error
		holds func(t *testing.T, s *store.Store)
	}{
		{"open", func() (err error) { v, err = s.OpenVisit(t.Context(), visit.Visit{Order: "o"}); return err },
			func(t *testing.T, s *store.Store) {
				got, err := s.Visit(t.Context(), v.ID)
				require.NoError(t, err)
				require.Equal(t, "o", got.Order)
			}},
		{"scan", func() error { _, err := s.AppendScan(t.Context(), v.ID, scan(t)); return err },
			func(t *testing.T, s *store.Store) {
				got, err := s.Visit(t.Context(), v.ID)
				require.NoError(t, err)
				require.Len(t, got.Scans, 1)
			}},
		{"decide", func() (err error) {
			receipt, err = s.RecordDecision(t.Context(), v.ID, yes(consent.Service))
			return err
		},
			func(t *testing.T, s *store.Store) {
				got, err := s.Receipt(t.Context(), receipt.ID)
				require.NoError(t, err)
				require.Equal(t, receipt, got)
			}},
		{"withdraw", func() error {
			d := yes(consent.Service)
			d.Answer, d.Evidence = consent.Withdrawn, consent.Evidence{}
			_, err := s.RecordDecision(t.Context(), v.ID, d)
			return err
		}, func(t *testing.T, s *store.Store) {
			a, _, err := s.Consent().Standing(t.Context(), v.ID, consent.Service, "")
			require.NoError(t, err)
			require.Equal(t, consent.Withdrawn, a)
		}},
		{"close", func() error { _, err := s.CloseVisit(t.Context(), v.ID, day, isSpeed); return err },
			func(t *testing.T, s *store.Store) {
				got, err := s.Visit(t.Context(), v.ID)
				require.NoError(t, err)
				require.False(t, got.Closed.IsZero())
			}},
		{"erase", func() error { return s.EraseVisit(t.Context(), v.ID, "customer-request") },
			func(t *testing.T, s *store.Store) {
				_, err := s.Visit(t.Context(), v.ID)
				require.ErrorIs(t, err, store.ErrNotFound)
			}},
	}
	for _, step := range steps {
		require.NoError(t, step.do(), step.name)
		crash := errors.New("crash")
		var copied string
		err := s.Tx(t.Context(), func(tx *sql.Tx) error { // and the next transaction never ended
			if _, err := tx.Exec(`DELETE FROM store_visits`); err != nil {
				return err
			}
			copied = copyHome(t, dir)
			return crash
		})
		require.ErrorIs(t, err, crash)
		after := open(t, copied, store.Options{})
		step.holds(t, after)
		r, err := after.Ledger().Verify(t.Context())
		require.NoError(t, err)
		require.True(t, r.OK(), "%s: %+v", step.name, r.Problems)
		require.NoError(t, after.Check(t.Context()))
		require.NoError(t, after.Close())
	}
}

func TestTwoProgramsSaveOneVisitAndLoseNothing(t *testing.T) {
	dir := home(t)
	a, b := open(t, dir, store.Options{}), open(t, dir, store.Options{})
	v := full(t, a, "mine")
	const each = 15
	var wg sync.WaitGroup
	errs := make(chan error, 4*each)
	for i, s := range []*store.Store{a, b} {
		wg.Go(func() {
			for n := range each {
				_, err := s.AppendScan(context.Background(), v.ID, visit.Scan{At: day, Link: fmt.Sprint(i, "/", n)})
				errs <- err
				_, err = s.RecordDecision(context.Background(), v.ID, yes(consent.Quality))
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	got, err := a.Visit(t.Context(), v.ID)
	require.NoError(t, err)
	links := map[string]bool{}
	for _, s := range got.Scans {
		links[s.Link] = true
	}
	require.Len(t, links, 1+2*each)
	ds, err := b.Ledger().Decisions(t.Context(), v.ID)
	require.NoError(t, err)
	require.Len(t, ds, 1+2*each)
	r, err := b.Ledger().Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK(), "%+v", r.Problems)

	// A whole visit saved on top of somebody else's change is refused.
	mine, err := a.Visit(t.Context(), v.ID)
	require.NoError(t, err)
	mine.Order = "changed"
	_, err = b.AppendScan(t.Context(), v.ID, scan(t))
	require.NoError(t, err)
	_, err = a.SaveVisit(t.Context(), mine)
	require.ErrorIs(t, err, store.ErrConflict)
	mine, err = a.Visit(t.Context(), v.ID)
	require.NoError(t, err)
	mine.Order = "changed"
	mine, err = a.SaveVisit(t.Context(), mine)
	require.NoError(t, err)
	_, err = a.SaveVisit(t.Context(), mine)
	require.NoError(t, err, "what SaveVisit returned can be saved again")

	// What one erases is gone for the other at once, keys it had in use included.
	require.NoError(t, a.EraseVisit(t.Context(), v.ID, "customer-request"))
	_, err = b.Visit(t.Context(), v.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	w := full(t, b, "after")
	_, err = a.Visit(t.Context(), w.ID)
	require.NoError(t, err)
}

// Somebody reads for long while a visit is erased: the erasure is done all the same, and the file is cleaned by the next start.
func TestAReaderDoesNotHoldUpAnErasure(t *testing.T) {
	dir := home(t)
	a, b := open(t, dir, store.Options{}), open(t, dir, store.Options{})
	v := full(t, a, "mine")
	var wrapped []byte
	require.NoError(t, a.DB().QueryRow(`SELECT wrapped FROM store_keys WHERE visit = ? AND use = 'record'`, v.ID).Scan(&wrapped))
	tx, err := b.DB().BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	var n int
	require.NoError(t, tx.QueryRow(`SELECT count(*) FROM store_visits`).Scan(&n))

	require.NoError(t, a.EraseVisit(t.Context(), v.ID, "customer-request"))
	_, err = a.Visit(t.Context(), v.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NoError(t, tx.Rollback())
	require.NoError(t, open(t, dir, store.Options{}).Close())
	require.False(t, bytes.Contains(image(t, dir), wrapped))
}

func TestProgramsThatStartTogetherAreOneStation(t *testing.T) {
	t.Setenv("OBDGATE_KEYRING", "off")
	dir := home(t)
	const n = 6
	ids := make([]string, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s, err := store.Open(context.Background(), dir, store.Options{})
			if errs[i] = err; err == nil {
				ids[i] = s.Station().ID()
				errs[i] = s.Close()
			}
		})
	}
	wg.Wait()
	for i := range n {
		require.NoError(t, errs[i])
		require.Regexp(t, `^st-[a-z2-7]{10}$`, ids[i])
		require.Equal(t, ids[0], ids[i])
	}
}

// BenchmarkOpen is the start of every command on an existing state.
func BenchmarkOpen(b *testing.B) {
	b.Setenv("OBDGATE_KEYRING", "off")
	dir := home(b)
	s := open(b, dir, store.Options{})
	for i := range 50 {
		full(b, s, fmt.Sprint("order ", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		s, err := store.Open(context.Background(), dir, store.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.ListVisits(context.Background()); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendScan(b *testing.B) {
	s := open(b, home(b), store.Options{})
	v, err := s.OpenVisit(b.Context(), visit.Visit{})
	require.NoError(b, err)
	rs := make([]reading.Reading, 200)
	for i := range rs {
		rs[i] = reading.Reading{Key: reading.Key(fmt.Sprintf("obd.01.%02X", i)), Name: "Some name of a value", ECU: "7E8",
			Value: reading.Quantity{Num: int64(i), Den: 1, Unit: "km"}, Raw: []byte{0x41, byte(i), 1, 2}, From: []uint64{uint64(i)}}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.UpdateVisit(context.Background(), v.ID, func(v *visit.Visit) error {
			v.Scans = []visit.Scan{scan(b, rs...)}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkErase(b *testing.B) {
	s := open(b, home(b), store.Options{})
	for b.Loop() {
		v := full(b, s, "o")
		if err := s.EraseVisit(context.Background(), v.ID, "retention"); err != nil {
			b.Fatal(err)
		}
	}
}
