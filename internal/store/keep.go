package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/obfcm"
	"obdgate/internal/reading"
	"obdgate/internal/visit"
)

// KeepScan adds a scan to an open visit together with its account in the ledger: how many values of each category were
// read (counts), under which policy, and what became of the consumption record. It asks in the same transaction where the
// customer's answer stands: what was read of the record and is not agreed to now is never stored, not even for the blink
// of an eye in which a program can be killed. The mileage is weighed against the vehicle's earlier visit. It returns the scan
// as it was kept.
func (s *Store) KeepScan(ctx context.Context, id string, scan visit.Scan, counts map[string]int, policy string) (visit.Scan, error) {
	err := s.Tx(ctx, func(tx *sql.Tx) error {
		v, err := s.readVisit(ctx, tx, id)
		if err != nil {
			return err
		}
		if !v.Closed.IsZero() {
			return fmt.Errorf("visit %s: %w", id, ErrClosed)
		}
		events, err := s.agreeNow(ctx, tx, id, &scan)
		if err != nil {
			return err
		}
		if err := s.compareMileage(ctx, tx, &v, &scan); err != nil {
			return err
		}
		v.Scans = append(v.Scans, scan)
		if v.VIN.IsZero() {
			v.VIN = scan.VIN
		}
		if err := s.writeVisit(ctx, tx, &v); err != nil {
			return err
		}
		for _, e := range events {
			e.Visit, e.At = id, s.now()
			if e.Kind == ledger.Asked {
				e.Facts.Counts, e.Facts.Policy = counts, policy
			}
			if _, err := s.log.AppendTx(ctx, tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	return scan, err
}

// agreeNow takes out of a scan what the customer does not agree to at this moment and returns what the ledger is to say.
func (s *Store) agreeNow(ctx context.Context, tx ledger.DBTX, id string, scan *visit.Scan) ([]ledger.Event, error) {
	if outcome := string(scan.OBFCM.Outcome); !scan.OBFCM.Outcome.Asked() {
		return []ledger.Event{{Kind: ledger.Asked, Facts: ledger.Facts{OBFCM: outcome}},
			{Kind: ledger.RefusalHonoured, Facts: ledger.Facts{Purpose: string(consent.OBFCM), Reason: outcome}}}, nil
	}
	events := []ledger.Event{{Kind: ledger.Asked, Facts: ledger.Facts{OBFCM: "asked"}}}
	now, _, _, err := s.StandingTx(ctx, tx, id, consent.OBFCM, "", s.now())
	if errors.Is(err, ErrRestricted) { // a yes stands, and a restriction destroys nothing
		return events, nil
	}
	if err != nil || now.Yes() {
		return events, err
	}
	alone := visit.Visit{Scans: []visit.Scan{*scan}}
	alone.Scans[0].Readings = slices.Clone(scan.Readings)
	n := dropConsumption(&alone)
	*scan = alone.Scans[0]
	scan.OBFCM = obfcm.Verdict{Outcome: obfcm.Refused, Reasons: []string{"shredded-after-read"}}
	if n > 0 {
		events = append(events, ledger.Event{Kind: ledger.Shredded, Facts: ledger.Facts{Count: n, Reason: "obfcm-" + now.String()}})
	}
	return events, nil
}

func dropConsumption(v *visit.Visit) int {
	return dropReadings(v, func(k reading.Key) bool { return strings.HasPrefix(string(k), "obfcm.") })
}
