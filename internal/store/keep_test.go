package store_test

import (
	"slices"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/obfcm"
	"obdgate/internal/reading"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

// What was read of the consumption record under a yes is stored only if the yes still stands at the moment of storing; a no
// that came meanwhile is honoured in the transaction that stores the rest, and the log says what happened.
func TestKeepScanAsksOnceMore(t *testing.T) {
	read := func() visit.Scan {
		s := scan(t,
			reading.Reading{Key: "obd.01.05", ECU: "7E8", Value: reading.Quantity{Num: 83, Den: 1, Unit: "degC"}},
			reading.Reading{Key: "obfcm.lifetime_fuel", ECU: "7E8", Value: reading.Quantity{Num: 29310, Den: 100, Unit: "L"}},
			reading.Reading{Key: "obfcm.lifetime_distance", ECU: "7E8", Value: reading.Quantity{Num: 12523, Den: 10, Unit: "km"}})
		s.OBFCM = obfcm.Verdict{Outcome: obfcm.OK, ECU: "7E8"}
		return s
	}
	refused := read()
	refused.Readings, refused.OBFCM = refused.Readings[:1], obfcm.Verdict{Outcome: obfcm.Refused}
	for _, c := range []struct {
		name    string
		answer  consent.Answer // at the moment of storing
		scan    visit.Scan
		outcome obfcm.Outcome
		kept    int
		log     []ledger.Kind
	}{
		{"a yes that stands", consent.Granted, read(), obfcm.OK, 3, []ledger.Kind{ledger.Asked}},
		{"a no that came meanwhile", consent.Refused, read(), obfcm.Refused, 1, []ledger.Kind{ledger.Asked, ledger.Shredded}},
		{"a withdrawal that came meanwhile", consent.Withdrawn, read(), obfcm.Refused, 1, []ledger.Kind{ledger.Asked, ledger.Shredded}},
		{"a no that was known", consent.Refused, refused, obfcm.Refused, 1, []ledger.Kind{ledger.Asked, ledger.RefusalHonoured}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, home(t), store.Options{})
			v, err := s.OpenVisit(t.Context(), visit.Visit{})
			require.NoError(t, err)
			d := yes(consent.OBFCM)
			_, err = s.RecordDecision(t.Context(), v.ID, d)
			require.NoError(t, err)
			if c.answer != consent.Granted {
				d.Answer = c.answer
				_, err = s.RecordDecision(t.Context(), v.ID, d)
				require.NoError(t, err)
			}
			before := slices.Clone(c.scan.Readings)
			kept, err := s.KeepScan(t.Context(), v.ID, c.scan, map[string]int{"condition": 1}, "1")
			require.NoError(t, err)
			require.Equal(t, before, c.scan.Readings, "the caller's own is not touched")
			require.Len(t, kept.Readings, c.kept)
			require.Equal(t, c.outcome, kept.OBFCM.Outcome)
			stored, err := s.Visit(t.Context(), v.ID)
			require.NoError(t, err)
			require.Equal(t, []visit.Scan{kept}, stored.Scans)
			require.Equal(t, 1, int(stored.Rev-v.Rev), "one change")
			entries, err := s.Ledger().VisitEntries(t.Context(), v.ID)
			require.NoError(t, err)
			var kinds []ledger.Kind
			for _, e := range entries {
				if e.Kind != ledger.VisitOpened && e.Kind != ledger.Answer {
					kinds = append(kinds, e.Kind)
				}
			}
			require.Equal(t, c.log, kinds)
		})
	}
}
