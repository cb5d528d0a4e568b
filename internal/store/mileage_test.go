package store_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/odometer"
	"obdgate/internal/reading"
	"obdgate/internal/store"
	"obdgate/internal/vin"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

// readAt makes a visit in which a vehicle had so many km, and returns it with the verdict that was kept.
func readAt(t *testing.T, s *store.Store, number string, km int64, answer consent.Answer) (visit.Visit, odometer.Verdict) {
	t.Helper()
	v, err := s.OpenVisit(t.Context(), visit.Visit{})
	require.NoError(t, err)
	if answer != consent.Unasked {
		d := yes(consent.Service)
		d.Answer = answer
		_, err = s.RecordDecision(t.Context(), v.ID, d)
		require.NoError(t, err)
	}
	rs := []reading.Reading{{Key: "obd.01.A6", ECU: "7E8", Value: reading.Quantity{Num: km, Den: 1, Unit: "km"}}}
	sc := visit.Scan{At: day, Readings: rs, Odometer: odometer.Weigh(rs, odometer.Context{})}
	sc.VIN, err = vin.Parse(number)
	require.NoError(t, err)
	kept, err := s.KeepScan(t.Context(), v.ID, sc, nil, "1")
	require.NoError(t, err)
	v, err = s.Visit(t.Context(), v.ID)
	require.NoError(t, err)
	require.Equal(t, kept, v.Scans[0], "what is shown is what is stored")
	return v, kept.Odometer
}

func marks(t *testing.T, s *store.Store) (n int) {
	t.Helper()
	require.NoError(t, s.DB().QueryRow(`SELECT count(*) FROM store_mileage`).Scan(&n))
	return n
}

// forget is what a withdrawal of the service purpose takes: whether there was a mark.
func forget(t *testing.T, s *store.Store, visit string) (bool, error) {
	t.Helper()
	var taken store.Taken
	require.NoError(t, s.Tx(t.Context(), func(tx *sql.Tx) (err error) {
		taken, err = s.TakeBackTx(t.Context(), tx, visit, consent.Decision{Purpose: consent.Service, Answer: consent.Withdrawn})
		return err
	}))
	require.NoError(t, s.FinishDestruction(t.Context()))
	return taken.Mileage, taken.Held
}

const otherVIN = "WVWZZZ3CZPE000002"

// A vehicle that comes back with less than it had is found out; of all its visits one coarse mark is kept.
func TestMileageBetweenVisits(t *testing.T) {
	s := open(t, home(t), store.Options{})
	_, first := readAt(t, s, vinText, 120_480, consent.Granted)
	require.False(t, first.NotBelow)
	require.Nil(t, first.Earlier)
	_, second := readAt(t, s, vinText, 133_020, consent.Granted)
	require.True(t, second.NotBelow)
	require.Equal(t, 1, marks(t, s), "one mark, no history")
	_, back := readAt(t, s, vinText, 70_000, consent.Granted)
	require.Equal(t, odometer.Inconsistent, back.Outcome)
	require.Equal(t, odometer.ReasonBelowEarlier, back.Reason)
	require.Equal(t, odometer.Mark{Km: 133_000, Month: day.UTC().Format("2006-01")}, *back.Earlier)
	_, again := readAt(t, s, vinText, 70_400, consent.Granted)
	require.NotNil(t, again.Earlier, "a reading that was rolled back does not become the new truth")
	_, other := readAt(t, s, otherVIN, 500, consent.Granted)
	require.Nil(t, other.Earlier, "another vehicle")
	require.False(t, other.NotBelow)
	require.Equal(t, 2, marks(t, s))
}

// A scan that is made twice in one visit is compared with the earlier visit both times, never with itself.
func TestMileageWithinAVisit(t *testing.T) {
	s := open(t, home(t), store.Options{})
	v, first := readAt(t, s, vinText, 120_480, consent.Granted)
	kept, err := s.KeepScan(t.Context(), v.ID, v.Scans[0], nil, "1")
	require.NoError(t, err)
	require.Equal(t, first, kept.Odometer)
	next, second := readAt(t, s, vinText, 121_000, consent.Unasked)
	require.True(t, second.NotBelow)
	kept, err = s.KeepScan(t.Context(), next.ID, next.Scans[0], nil, "1")
	require.NoError(t, err)
	require.True(t, kept.Odometer.NotBelow)
}

// A customer who said no to the service purpose, or was never asked, leaves no mark; one who withdraws takes it along; the copy
// shows it.
func TestMileageAndTheCustomer(t *testing.T) {
	s := open(t, home(t), store.Options{})
	readAt(t, s, vinText, 120_480, consent.Refused)
	readAt(t, s, vinText, 120_480, consent.Withdrawn)
	readAt(t, s, vinText, 120_480, consent.Unasked)
	readAt(t, s, vinText, 120_480, consent.Deferred)
	require.Zero(t, marks(t, s))
	v, _ := readAt(t, s, vinText, 120_480, consent.Granted)
	require.Equal(t, 1, marks(t, s))
	body, err := s.ExportVisit(t.Context(), v.ID)
	require.NoError(t, err)
	require.Contains(t, string(body), `"mileage_mark":{"km":120400,"month":"`)
	gone, err := forget(t, s, v.ID)
	require.NoError(t, err)
	require.True(t, gone)
	require.Zero(t, marks(t, s))
	gone, err = forget(t, s, v.ID)
	require.NoError(t, err)
	require.False(t, gone)
	body, err = s.ExportVisit(t.Context(), v.ID)
	require.NoError(t, err)
	require.NotContains(t, string(body), "mileage_mark")
	_, later := readAt(t, s, vinText, 60_000, consent.Granted)
	require.Nil(t, later.Earlier)
}

// Erasing the visit a mark was read in erases the mark, in every older copy of the state too; nothing of it can be read on
// the disk at any time.
func TestMileageIsErasedWithItsVisit(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	v, _ := readAt(t, s, vinText, 133_020, consent.Granted)
	require.NotContains(t, string(image(t, dir)), "133000")
	older := copyHome(t, dir)
	require.NoError(t, s.EraseVisit(t.Context(), v.ID, "customer-request"))
	require.Zero(t, marks(t, s))
	_, now := readAt(t, s, vinText, 60_000, consent.Granted)
	require.Nil(t, now.Earlier)
	require.NoError(t, s.Close())

	key, err := os.ReadFile(filepath.Join(dir, "station.key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(older, "station.key"), key, 0o600))
	old := open(t, older, store.Options{})
	require.Equal(t, 1, marks(t, old), "the older copy brings the row back")
	_, kept := readAt(t, old, vinText, 50_000, consent.Granted)
	require.Nil(t, kept.Earlier, "and nobody can read it")
	require.NoError(t, old.Close())
}

// A withdrawal destroys the key of the mark, so that an older copy of the database does not give it back, and the log says when.
func TestMileageOfACustomerWhoWithdraws(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	v, _ := readAt(t, s, vinText, 120_480, consent.Granted)
	require.Equal(t, 1, marks(t, s))
	body, err := s.ExportVisit(t.Context(), v.ID)
	require.NoError(t, err)
	require.Contains(t, string(body), "mileage_mark")
	older := copyHome(t, dir)
	gone, err := forget(t, s, v.ID)
	require.NoError(t, err)
	require.True(t, gone)
	es, err := s.Ledger().VisitEntries(t.Context(), v.ID)
	require.NoError(t, err)
	last := es[len(es)-1]
	require.Equal(t, ledger.Shredded, last.Kind)
	require.Equal(t, "mileage-mark", last.Facts.Reason)
	require.NoError(t, s.Close())

	key, err := os.ReadFile(filepath.Join(dir, "station.key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(older, "station.key"), key, 0o600))
	old := open(t, older, store.Options{})
	require.Equal(t, 1, marks(t, old))
	body, err = old.ExportVisit(t.Context(), v.ID)
	require.NoError(t, err, "the visit itself still opens")
	require.NotContains(t, string(body), "mileage_mark")
	_, next := readAt(t, old, vinText, 60_000, consent.Unasked)
	require.Nil(t, next.Earlier)
}

// A yes that comes after the vehicle was read leaves the mark then; a yes that has run out is used no more, and its mark is
// destroyed when the vehicle comes back.
func TestMileageFollowsTheYes(t *testing.T) {
	now := day
	s := open(t, home(t), store.Options{Now: func() time.Time { return now }})
	v, _ := readAt(t, s, vinText, 120_480, consent.Unasked)
	require.NoError(t, s.RememberMileage(t.Context(), v.ID))
	require.Zero(t, marks(t, s), "nobody has said yes")
	d := yes(consent.Service)
	d.Until = day.AddDate(0, 1, 0)
	_, err := s.RecordDecision(t.Context(), v.ID, d)
	require.NoError(t, err)
	require.NoError(t, s.RememberMileage(t.Context(), v.ID))
	require.Equal(t, 1, marks(t, s))
	_, back := readAt(t, s, vinText, 60_000, consent.Unasked)
	require.NotNil(t, back.Earlier)

	now = day.AddDate(0, 2, 0)
	_, later := readAt(t, s, vinText, 60_000, consent.Unasked)
	require.Nil(t, later.Earlier, "the yes has ended")
	require.Zero(t, marks(t, s))
	es, err := s.Ledger().VisitEntries(t.Context(), v.ID)
	require.NoError(t, err)
	require.Equal(t, "mileage-mark", es[len(es)-1].Facts.Reason)
}

// A restricted visit's mark is neither used, nor replaced, nor destroyed; a mark that a later visit replaced is gone for good.
func TestMileageOfARestrictedVisit(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	v, _ := readAt(t, s, vinText, 120_480, consent.Granted)
	require.NoError(t, s.Restrict(t.Context(), v.ID, "accuracy-contested"))
	_, meanwhile := readAt(t, s, vinText, 60_000, consent.Granted)
	require.Nil(t, meanwhile.Earlier, "not used")
	_, err := forget(t, s, v.ID)
	require.ErrorIs(t, err, store.ErrRestricted)
	_, err = s.LiftRestriction(t.Context(), v.ID)
	require.NoError(t, err)
	_, after := readAt(t, s, vinText, 60_000, consent.Granted)
	require.NotNil(t, after.Earlier, "kept as it was")

	older := copyHome(t, dir)
	later, _ := readAt(t, s, vinText, 130_000, consent.Granted)
	require.NoError(t, s.EraseVisit(t.Context(), later.ID, "customer-request"))
	require.NoError(t, s.Close())
	key, err := os.ReadFile(filepath.Join(dir, "station.key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(older, "station.key"), key, 0o600))
	_, kept := readAt(t, open(t, older, store.Options{}), vinText, 50_000, consent.Granted)
	require.Nil(t, kept.Earlier)
}
