package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	"obdgate/internal/reading"
	"obdgate/internal/store"
	"obdgate/internal/vin"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

// image is every byte of every file in a state directory.
func image(t testing.TB, dir string) []byte {
	var all []byte
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(append(all, '\n'), b...)
		return err
	}))
	return all
}

func copyHome(t testing.TB, from string) string {
	to := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.MkdirAll(to, 0o700))
	require.NoError(t, os.CopyFS(filepath.Join(to, "home"), os.DirFS(from)))
	to = filepath.Join(to, "home")
	require.NoError(t, os.Chmod(to, 0o700))
	for _, f := range []string{"obdgate.db", "obdgate.db-wal", "obdgate.db-shm", "station.key", "obdgate.lock"} {
		if _, err := os.Stat(filepath.Join(to, f)); err == nil {
			require.NoError(t, os.Chmod(filepath.Join(to, f), 0o600))
		}
	}
	return to
}

func full(t testing.TB, s *store.Store, order string) visit.Visit {
	v, err := s.OpenVisit(t.Context(), visit.Visit{Order: order, Language: "nl"})
	require.NoError(t, err)
	sc := scan(t,
		reading.Reading{Key: "obd.09.02", ECU: "7E8", Value: reading.NewIdentity(vinText)},
		reading.Reading{Key: "obd.01.0D", ECU: "7E8", Value: reading.Quantity{Num: 117, Den: 1, Unit: "km/h"}},
		reading.Reading{Key: "obfcm.lifetime_fuel", ECU: "7E8", Value: reading.Quantity{Num: 29310, Den: 100, Unit: "L"}},
		reading.Reading{Key: "odometer", Value: reading.Quantity{Num: 12523, Den: 10, Unit: "km"}},
	)
	sc.OBFCM = obfcm.Verdict{Outcome: obfcm.OK, ECU: "7E8"}
	sc.Odometer = odometer.Verdict{Outcome: odometer.Consistent, Chosen: 1, Sources: []odometer.Source{
		{Key: "obd.01.A6", ECU: "7E8", Km: reading.Quantity{Num: 12523, Den: 10, Unit: "km"}, Comparable: true},
		{Key: "obfcm.lifetime_distance", ECU: "7E8", Km: reading.Quantity{Num: 12523, Den: 10, Unit: "km"}, Comparable: true},
	}}
	v, err = s.AppendScan(t.Context(), v.ID, sc)
	require.NoError(t, err)
	_, err = s.RecordDecision(t.Context(), v.ID, yes(consent.Service))
	require.NoError(t, err)
	return v
}

func TestNothingReadableLiesOnTheDisk(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	full(t, s, "Peeters, brakes squeal")
	all := image(t, dir)
	for _, secret := range []string{vinText, vinText[:11], "Peeters", "squeal", "obfcm.lifetime_fuel", "2026-114", "\"Jo\""} {
		require.NotContains(t, string(all), secret)
	}
}

func TestErasingLeavesNoKeyAndNoBody(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	other := full(t, s, "other")
	v := full(t, s, "mine")

	var traces [][]byte
	for _, q := range []string{
		`SELECT wrapped FROM store_keys WHERE visit = ? AND use = 'body'`, `SELECT wrapped FROM store_keys WHERE visit = ? AND use = 'record'`,
		`SELECT body FROM store_visits WHERE id = ?`, `SELECT body FROM store_receipts WHERE visit = ?`, `SELECT body FROM ledger_decisions WHERE visit = ?`,
	} {
		var b []byte
		require.NoError(t, s.DB().QueryRow(q, v.ID).Scan(&b))
		require.GreaterOrEqual(t, len(b), 32)
		traces = append(traces, b[:32])
	}
	traces = append(traces, []byte(v.ID))
	before := image(t, dir)
	for i, tr := range traces {
		require.True(t, bytes.Contains(before, tr), "trace %d must be there to begin with", i)
	}
	keyBefore, err := os.ReadFile(filepath.Join(dir, "station.key"))
	require.NoError(t, err)

	require.NoError(t, s.EraseVisit(t.Context(), v.ID, "customer-request"))
	after := image(t, dir)
	for i, tr := range traces {
		require.False(t, bytes.Contains(after, tr), "trace %d is still in a file", i)
	}
	keyAfter, err := os.ReadFile(filepath.Join(dir, "station.key"))
	require.NoError(t, err)
	require.NotEqual(t, keyBefore, keyAfter)

	_, err = s.Visit(t.Context(), v.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	a, _, err := s.Consent().Standing(t.Context(), v.ID, consent.Service, "")
	require.NoError(t, err)
	require.Equal(t, consent.Unasked, a, "the yes of an erased visit is no")
	require.ErrorIs(t, s.EraseVisit(t.Context(), v.ID, "customer-request"), store.ErrNotFound)
	got, err := s.Visit(t.Context(), other.ID)
	require.NoError(t, err)
	require.Equal(t, "other", got.Order)
	r, err := s.Ledger().Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK(), "%+v", r.Problems)
}

// A copy of the database from before an erasure, opened with the key that is left: the erased visit stays erased, every
// other one is there. That is what makes a backup both safe to keep and worth keeping.
func TestAnOlderCopyDoesNotBringAnErasedVisitBack(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	other, v := full(t, s, "other"), full(t, s, "mine")
	shredded := full(t, s, "shredded")
	backup := copyHome(t, dir)
	later := full(t, s, "later")

	require.NoError(t, s.EraseVisit(t.Context(), v.ID, "customer-request"))
	require.NoError(t, s.EraseVisit(t.Context(), later.ID, "customer-request"))
	_, err := s.Shred(t.Context(), shredded.ID, "obfcm-refused", isOBFCM)
	require.NoError(t, err)
	head, err := s.Ledger().Head(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Close())

	key, err := os.ReadFile(filepath.Join(dir, "station.key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(backup, "station.key"), key, 0o600))
	old := open(t, backup, store.Options{})
	got, err := old.Visit(t.Context(), other.ID)
	require.NoError(t, err)
	require.Equal(t, "other", got.Order)
	_, err = old.Visit(t.Context(), v.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = old.Visit(t.Context(), shredded.ID)
	require.ErrorIs(t, err, store.ErrNotFound, "what was shredded does not come back either")
	a, _, err := old.Consent().Standing(t.Context(), v.ID, consent.Service, "")
	require.NoError(t, err)
	require.Equal(t, consent.Unasked, a)

	r, err := old.Ledger().Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK(), "%+v", r.Problems)
	r, err = old.Ledger().VerifyAgainst(t.Context(), head.Note)
	require.NoError(t, err)
	require.False(t, r.OK(), "the head kept elsewhere shows that the log was put back")

	n, err := old.PurgeForgotten(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	fresh := full(t, old, "new visit after the backup")
	_, err = old.Visit(t.Context(), fresh.ID)
	require.NoError(t, err, "a new visit never gets a key that was forgotten")
}

func isOBFCM(k reading.Key) bool { return strings.HasPrefix(string(k), "obfcm.") }
func isSpeed(k reading.Key) bool { return k == "obd.01.0D" }
func keysOf(v visit.Visit) (ks []reading.Key) {
	for _, r := range v.Scans[0].Readings {
		ks = append(ks, r.Key)
	}
	return ks
}

func TestRefusalAfterTheReadShredsTheValuesAndWhatWasConcluded(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	v := full(t, s, "mine")
	var oldKey []byte
	require.NoError(t, s.DB().QueryRow(`SELECT wrapped FROM store_keys WHERE visit = ? AND use = 'body'`, v.ID).Scan(&oldKey))

	n, err := s.Shred(t.Context(), v.ID, "obfcm-refused", isOBFCM)
	require.NoError(t, err)
	require.Equal(t, 2, n, "one reading, one mileage source")
	got, err := s.Visit(t.Context(), v.ID)
	require.NoError(t, err)
	require.Equal(t, []reading.Key{"obd.09.02", "obd.01.0D"}, keysOf(got), "the mileage that repeated the OBFCM distance is gone too")
	require.Equal(t, obfcm.Refused, got.Scans[0].OBFCM.Outcome)
	require.Equal(t, odometer.NoVerdict, got.Scans[0].Odometer.Outcome)
	require.Equal(t, 0, got.Scans[0].Odometer.Chosen)
	require.Len(t, got.Scans[0].Odometer.Sources, 1)
	require.False(t, bytes.Contains(image(t, dir), oldKey), "the old key is still in a file")

	entries, err := s.Ledger().VisitEntries(t.Context(), v.ID)
	require.NoError(t, err)
	last := entries[len(entries)-1]
	require.Equal(t, ledger.Shredded, last.Kind)
	require.Equal(t, 2, last.Facts.Count)
	require.Equal(t, "obfcm-refused", last.Facts.Reason)

	n, err = s.Shred(t.Context(), v.ID, "obfcm-refused", isOBFCM)
	require.NoError(t, err)
	require.Zero(t, n)
	again, err := s.Ledger().VisitEntries(t.Context(), v.ID)
	require.NoError(t, err)
	require.Len(t, again, len(entries), "shredding nothing is not logged")
}

func TestClosingDropsWhatMustNotOutliveTheVisit(t *testing.T) {
	s := open(t, home(t), store.Options{})
	v := full(t, s, "mine")
	closed, err := s.CloseVisit(t.Context(), v.ID, day.Add(time.Hour), isSpeed)
	require.NoError(t, err)
	require.NotContains(t, keysOf(closed), reading.Key("obd.01.0D"))
	require.Contains(t, keysOf(closed), reading.Key("obfcm.lifetime_fuel"))
	require.Equal(t, obfcm.OK, closed.Scans[0].OBFCM.Outcome)
	_, err = s.AppendScan(t.Context(), v.ID, scan(t))
	require.ErrorIs(t, err, store.ErrClosed)
	again, err := s.CloseVisit(t.Context(), v.ID, day.Add(2*time.Hour), isOBFCM)
	require.NoError(t, err)
	require.Equal(t, closed.Closed, again.Closed)
	answers, _, err := s.Consent().Standing(t.Context(), v.ID, consent.Service, "")
	require.NoError(t, err)
	require.Equal(t, consent.Granted, answers, "answers outlive the visit's end")
}

func TestKeysServeOtherRoomsUntilTheVisitIsErased(t *testing.T) {
	s := open(t, home(t), store.Options{})
	v, w := full(t, s, "mine"), full(t, s, "other")
	sealed, err := s.Keys().Encrypt(t.Context(), v.ID, []byte("outbox/1"), []byte("body"))
	require.NoError(t, err)
	plain, err := s.Keys().Decrypt(t.Context(), v.ID, []byte("outbox/1"), sealed)
	require.NoError(t, err)
	require.Equal(t, "body", string(plain))
	_, err = s.Keys().Decrypt(t.Context(), v.ID, []byte("outbox/2"), sealed)
	require.Error(t, err, "a body moved to another place does not open")
	_, err = s.Keys().Decrypt(t.Context(), w.ID, []byte("outbox/1"), sealed)
	require.Error(t, err, "nor under another visit")
	_, err = s.Shred(t.Context(), v.ID, "obfcm-refused", isOBFCM)
	require.NoError(t, err)
	_, err = s.Keys().Decrypt(t.Context(), v.ID, []byte("outbox/1"), sealed)
	require.NoError(t, err, "shredding readings leaves what waits to be sent")
	require.NoError(t, s.EraseVisit(t.Context(), v.ID, "customer-request"))
	_, err = s.Keys().Decrypt(t.Context(), v.ID, []byte("outbox/1"), sealed)
	require.ErrorIs(t, err, ledger.ErrForgotten)
}

func TestFindByVINFindsOneVehicleOnly(t *testing.T) {
	s := open(t, home(t), store.Options{})
	v := full(t, s, "mine")
	other, err := vin.Parse("WVWZZZCD0NW000002")
	require.NoError(t, err)
	found, err := s.FindByVIN(t.Context(), other)
	require.NoError(t, err)
	require.Empty(t, found)
	found, err = s.FindByVIN(t.Context(), mustVIN(t))
	require.NoError(t, err)
	require.Equal(t, v.ID, found[0].ID)
	found, err = s.FindByVIN(t.Context(), vin.VIN{})
	require.NoError(t, err)
	require.Empty(t, found, "an unread VIN matches nothing")
}
