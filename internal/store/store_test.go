package store_test

import (
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/reading"
	"obdgate/internal/store"
	"obdgate/internal/vin"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

var day = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)

const vinText = "WVWZZZCD0NW000001"

func open(t testing.TB, home string, o store.Options) *store.Store {
	t.Helper()
	t.Setenv("OBDGATE_KEYRING", "off")
	s, err := store.Open(t.Context(), home, o)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func home(t testing.TB) string { return t.TempDir() + "/home dir?#" }

func mustVIN(t testing.TB) vin.VIN {
	v, err := vin.Parse(vinText)
	require.NoError(t, err)
	return v
}

func scan(t testing.TB, rs ...reading.Reading) visit.Scan {
	return visit.Scan{At: day, Link: "sim:golf8", VIN: mustVIN(t), Readings: rs}
}

func yes(p consent.Purpose) consent.Decision {
	return consent.Decision{Purpose: p, Answer: consent.Granted, At: day, Language: "nl", TakenBy: "Jo",
		Evidence: consent.Evidence{Kind: consent.Paper, Reference: "2026-114"}}
}

func TestVisitSurvivesReopening(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	v, err := s.OpenVisit(t.Context(), visit.Visit{Order: "order 7 Peeters", Language: "nl"})
	require.NoError(t, err)
	_, err = s.AppendScan(t.Context(), v.ID, scan(t, reading.Reading{Key: "obd.01.05", ECU: "7E8", Value: reading.Quantity{Num: 83, Den: 1, Unit: "degC"}}))
	require.NoError(t, err)
	r, err := s.RecordDecision(t.Context(), v.ID, yes(consent.Service))
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s = open(t, dir, store.Options{})
	got, err := s.Visit(t.Context(), v.ID)
	require.NoError(t, err)
	require.Equal(t, "order 7 Peeters", got.Order)
	require.Equal(t, vinText, got.VIN.Reveal())
	require.Len(t, got.Scans, 1)
	a, id, err := s.Consent().Standing(t.Context(), v.ID, consent.Service, "")
	require.NoError(t, err)
	require.Equal(t, consent.Granted, a)
	require.Equal(t, r.ID, id)
	require.NoError(t, consent.VerifyReceipt(r, s.Station().Public()))
	found, err := s.FindByVIN(t.Context(), mustVIN(t))
	require.NoError(t, err)
	require.Len(t, found, 1)
}
