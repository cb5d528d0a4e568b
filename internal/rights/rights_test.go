package rights_test

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/rights"
	"obdgate/internal/store"
	"obdgate/internal/vin"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

var closedAt = time.Date(2026, 11, 20, 17, 0, 0, 0, time.UTC)

const vinText = "WVWZZZCD0NW000001"

func rules(t *testing.T) *policy.Policy {
	p, err := policy.Default()
	require.NoError(t, err)
	return p
}

func open(t *testing.T) *store.Store {
	t.Setenv("OBDGATE_KEYRING", "off")
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "home"), store.Options{Now: func() time.Time { return closedAt }})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// stored is a visit with a technical and a personal value that nothing dropped at its end.
func stored(t *testing.T, s *store.Store) visit.Visit {
	v, err := vin.Parse(vinText)
	require.NoError(t, err)
	opened, err := s.OpenVisit(t.Context(), visit.Visit{Order: "order 7 Peeters", Language: "nl", Opened: closedAt.Add(-time.Hour)})
	require.NoError(t, err)
	out, err := s.AppendScan(t.Context(), opened.ID, visit.Scan{At: closedAt, VIN: v, Readings: []reading.Reading{
		{Key: "obd.01.05", ECU: "7E8", Value: reading.Quantity{Num: 83, Den: 1, Unit: "degC"}},
		{Key: "vendor.unknown", ECU: "7E8", Value: reading.Text("nobody examined this")},
	}})
	require.NoError(t, err)
	_, err = s.RecordDecision(t.Context(), out.ID, consent.Decision{Purpose: consent.OBFCM, Answer: consent.Refused, At: closedAt, TakenBy: "Jo", Language: "nl"})
	require.NoError(t, err)
	return out
}

func TestAccessIsEverythingHeldWithItsProof(t *testing.T) {
	s := open(t)
	stored(t, s)
	v := stored(t, s)
	c, err := rights.Access(t.Context(), s, v.ID, closedAt, map[string]json.RawMessage{"outbox": json.RawMessage(`[]`)})
	require.NoError(t, err)
	b, err := json.Marshal(c)
	require.NoError(t, err)
	for _, held := range []string{vinText, "order 7 Peeters", "obd.01.05", "nobody examined this", `"answer":"refused"`, `"taken_by":"Jo"`, `"outbox":[]`,
		`"kind":"visit-opened"`, "customer-copy"} {
		require.Contains(t, string(b), held)
	}
	require.Len(t, c.Answers, 1)
	require.Len(t, c.Receipts, 1)
	require.NoError(t, consent.VerifyReceipt(c.Receipts[0], s.Station().Public()))

	head, err := s.Ledger().OpenHead([]byte(c.Head))
	require.NoError(t, err)
	require.Len(t, c.Log, 3, "opened, answered, copied")
	for _, e := range c.Log {
		require.NoError(t, ledger.CheckInclusion(e.Leaf, e.Seq, e.Path, head))
	}
}

func TestEraseTakesAllPartsAndIsLogged(t *testing.T) {
	s := open(t)
	v, other := stored(t, s), stored(t, s)
	receipts, err := s.Receipts(t.Context(), v.ID)
	require.NoError(t, err)
	require.NoError(t, rights.Erase(t.Context(), s, v.ID))
	_, err = rights.Access(t.Context(), s, v.ID, closedAt, nil)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = s.Receipt(t.Context(), receipts[0].ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = rights.Access(t.Context(), s, other.ID, closedAt, nil)
	require.NoError(t, err)
	es, err := s.Ledger().Entries(t.Context(), 0, 100)
	require.NoError(t, err)
	erased := 0
	for _, e := range es {
		if e.Kind == ledger.Erased {
			erased++
			require.Equal(t, "customer-request", e.Facts.Reason)
		}
	}
	require.Equal(t, 1, erased)
}

func TestRetentionEndsByItself(t *testing.T) {
	s := open(t)
	p := rules(t)
	v, stillOpen := stored(t, s), stored(t, s)
	_, err := s.CloseVisit(t.Context(), v.ID, closedAt, nil)
	require.NoError(t, err)
	keys := func(id string) (ks []reading.Key) {
		got, err := s.Visit(t.Context(), id)
		require.NoError(t, err)
		for _, r := range got.Scans[0].Readings {
			ks = append(ks, r.Key)
		}
		return ks
	}
	order := func() string {
		got, err := s.Visit(t.Context(), v.ID)
		require.NoError(t, err)
		return got.Order
	}
	sweep := func(now time.Time) rights.Swept {
		out, err := rights.Sweep(t.Context(), s, p, now)
		require.NoError(t, err)
		return out
	}

	require.Equal(t, rights.Swept{Visits: 1, Values: 1}, sweep(closedAt.Add(time.Minute)), "what should not have outlived the visit goes at once")
	require.Equal(t, []reading.Key{"obd.01.05"}, keys(v.ID))
	require.Equal(t, rights.Swept{}, sweep(closedAt.Add(time.Hour)), "nothing is due: no visit is opened")
	month := closedAt.AddDate(0, 0, 28)
	require.Equal(t, rights.Swept{}, sweep(month.Add(-time.Second)))
	require.Equal(t, "order 7 Peeters", order())
	require.Equal(t, rights.Swept{Visits: 1, Orders: 1}, sweep(month))
	require.Empty(t, order())
	require.Equal(t, []reading.Key{"obd.01.05"}, keys(v.ID), "technical values stay")
	rs, err := s.Receipts(t.Context(), v.ID)
	require.NoError(t, err)
	require.Len(t, rs, 1, "answers are kept for a year")

	year := closedAt.AddDate(0, 0, rights.RecordsDays)
	require.Equal(t, rights.Swept{}, sweep(year.Add(-time.Second)))
	require.Equal(t, rights.Swept{Visits: 1, Erased: 1}, sweep(year))
	_, err = s.Visit(t.Context(), v.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	require.Len(t, keys(stillOpen.ID), 2, "an open visit is none of retention's business")
	r, err := s.Ledger().Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK(), "%+v", r.Problems)
}

// One damaged visit does not keep the others' data alive.
func TestOneFailureDoesNotStopRetention(t *testing.T) {
	s := open(t)
	bad, good := stored(t, s), stored(t, s)
	for i, v := range []visit.Visit{bad, good} {
		_, err := s.CloseVisit(t.Context(), v.ID, closedAt.Add(time.Duration(i)*time.Minute), nil)
		require.NoError(t, err)
	}
	_, err := s.DB().Exec(`UPDATE store_visits SET body = zeroblob(50) WHERE id = ?`, bad.ID)
	require.NoError(t, err)
	out, err := rights.Sweep(t.Context(), s, rules(t), closedAt.Add(time.Hour))
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.ErrorContains(t, err, bad.ID)
	require.Equal(t, rights.Swept{Visits: 2, Values: 1, Failures: 1}, out)
}
