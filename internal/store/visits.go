package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"obdgate/internal/ledger"
	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	"obdgate/internal/reading"
	"obdgate/internal/vin"
	"obdgate/internal/visit"
)

// Summary is what a list shows of a visit without opening it.
type Summary struct {
	ID     string    `json:"id"`
	Opened time.Time `json:"opened"`
	Closed time.Time `json:"closed,omitzero"` // zero while open
	HasVIN bool      `json:"vin_read"`
	Scans  int       `json:"scans"`
}

// OpenVisit stores a new visit under keys of its own and returns it. ID and Opened are filled when empty.
func (s *Store) OpenVisit(ctx context.Context, v visit.Visit) (visit.Visit, error) {
	if v.ID == "" {
		v.ID = "v" + randomID(12)
	}
	if v.Opened.IsZero() {
		v.Opened = s.now()
	}
	v.Opened = v.Opened.UTC().Truncate(time.Millisecond)
	err := s.Tx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO store_visits (id, opened, scans, rev, body) VALUES (?, ?, 0, 0, x'')
			ON CONFLICT (id) DO NOTHING`, v.ID, v.Opened.UnixMilli())
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return fmt.Errorf("visit %s %w", v.ID, errors.Join(ErrExists, err))
		}
		if _, err := s.newKey(ctx, tx, v.ID, useRecord, rangeRecord); err != nil {
			return err
		}
		if _, err := s.newKey(ctx, tx, v.ID, useBody, rangeOpen); err != nil {
			return err
		}
		if _, err := s.newKey(ctx, tx, v.ID, useYes, rangeRecord); err != nil {
			return err
		}
		if err := s.writeVisit(ctx, tx, &v); err != nil {
			return err
		}
		_, err = s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.VisitOpened, Visit: v.ID, At: v.Opened})
		return err
	})
	if err != nil {
		return visit.Visit{}, err
	}
	return v, nil
}

// Visit returns a visit whole. ErrNotFound when there is none or it was erased.
func (s *Store) Visit(ctx context.Context, id string) (visit.Visit, error) {
	v, err := s.readVisit(ctx, s.db, id)
	return v, Explain(err)
}

func bodyAAD(id string) string { return "obdgate/visit/" + id }

func (s *Store) readVisit(ctx context.Context, tx ledger.DBTX, id string) (visit.Visit, error) {
	// Body and key in one statement: between two, another process could replace both.
	var body, wrapped []byte
	var rev int64
	var slot uint32
	err := tx.QueryRowContext(ctx, `SELECT v.body, v.rev, k.slot, k.wrapped FROM store_visits v
		JOIN store_keys k ON k.visit = v.id AND k.use = ? WHERE v.id = ?`, useBody, id).Scan(&body, &rev, &slot, &wrapped)
	if errors.Is(err, sql.ErrNoRows) {
		return visit.Visit{}, fmt.Errorf("visit %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return visit.Visit{}, err
	}
	key, err := s.unwrap(id, useBody, slot, wrapped)
	if err != nil {
		return visit.Visit{}, err
	}
	plain, err := unseal(key, body, bodyAAD(id))
	if err != nil {
		return visit.Visit{}, fmt.Errorf("%w: the body of visit %s", ErrCorrupt, id)
	}
	v, err := decodeVisit(plain)
	if errors.Is(err, ErrNewer) {
		return visit.Visit{}, err
	}
	if err != nil || v.ID != id {
		return visit.Visit{}, fmt.Errorf("%w: the body of visit %s", ErrCorrupt, id)
	}
	v.Rev = rev
	return v, nil
}

// writeVisit stores v under its present body key and counts the revision up.
func (s *Store) writeVisit(ctx context.Context, tx ledger.DBTX, v *visit.Visit) error {
	key, err := s.visitKey(ctx, tx, v.ID, useBody)
	if err != nil {
		return err
	}
	plain, err := encodeVisit(*v)
	if err != nil {
		return err
	}
	body, err := seal(key, plain, bodyAAD(v.ID))
	if err != nil {
		return err
	}
	var closed, tag any
	if !v.Closed.IsZero() {
		closed = v.Closed.UnixMilli()
	}
	if !v.VIN.IsZero() {
		tag = s.station.vinTag(v.VIN.Reveal())
	}
	v.Rev++
	_, err = tx.ExecContext(ctx, `UPDATE store_visits SET closed = ?, vin = ?, scans = ?, rev = ?, body = ? WHERE id = ?`,
		closed, tag, len(v.Scans), v.Rev, body, v.ID)
	return err
}

// UpdateVisit reads a visit, lets f change it and stores it, all in one transaction: nothing another process does in the
// meantime is lost. f must not change ID or Rev. It returns the visit as stored.
func (s *Store) UpdateVisit(ctx context.Context, id string, f func(*visit.Visit) error) (visit.Visit, error) {
	var out visit.Visit
	err := s.Tx(ctx, func(tx *sql.Tx) error {
		v, err := s.readVisit(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := f(&v); err != nil {
			return err
		}
		v.ID = id
		out = v
		return s.writeVisit(ctx, tx, &out)
	})
	if err != nil {
		return visit.Visit{}, err
	}
	return out, nil
}

// SaveVisit stores v as it is. ErrConflict when the stored visit has changed since v was read (v.Rev): load it again, or
// use UpdateVisit.
func (s *Store) SaveVisit(ctx context.Context, v visit.Visit) (visit.Visit, error) {
	return s.UpdateVisit(ctx, v.ID, func(stored *visit.Visit) error {
		if stored.Rev != v.Rev {
			return ErrConflict
		}
		*stored = v
		return nil
	})
}

// AppendScan adds a scan to an open visit. The visit takes over the VIN of its first scan that read one.
func (s *Store) AppendScan(ctx context.Context, id string, scan visit.Scan) (visit.Visit, error) {
	return s.UpdateVisit(ctx, id, func(v *visit.Visit) error {
		if !v.Closed.IsZero() {
			return fmt.Errorf("visit %s: %w", id, ErrClosed)
		}
		v.Scans = append(v.Scans, scan)
		if v.VIN.IsZero() {
			v.VIN = scan.VIN
		}
		return nil
	})
}

// ListVisits returns all visits, newest first.
func (s *Store) ListVisits(ctx context.Context) ([]Summary, error) {
	return s.list(ctx, `SELECT id, opened, closed, vin IS NOT NULL, scans FROM store_visits ORDER BY opened DESC, id`)
}

// FindByVIN returns the visits of one vehicle, newest first. The VIN is looked up through its keyed hash.
func (s *Store) FindByVIN(ctx context.Context, v vin.VIN) ([]Summary, error) {
	if v.IsZero() {
		return nil, nil
	}
	return s.list(ctx, `SELECT id, opened, closed, vin IS NOT NULL, scans FROM store_visits WHERE vin = ? ORDER BY opened DESC, id`,
		s.station.vinTag(v.Reveal()))
}

// DueForRetention returns the closed visits retention has to look at by now, oldest first.
func (s *Store) DueForRetention(ctx context.Context, now time.Time) ([]Summary, error) {
	return s.list(ctx, `SELECT id, opened, closed, vin IS NOT NULL, scans FROM store_visits
		WHERE closed IS NOT NULL AND hold IS NULL AND (due IS NULL OR due <= ?) ORDER BY closed, id`, now.UnixMilli())
}

// SetRetention notes when retention has to look at a visit again.
func (s *Store) SetRetention(ctx context.Context, id string, due time.Time) error {
	_, err := s.db.ExecContext(ctx, `UPDATE store_visits SET due = ? WHERE id = ?`, due.UnixMilli(), id)
	return Explain(err)
}

// ExportVisit returns everything stored of what was read in a visit as JSON, identities revealed: the machine-readable copy
// a customer may ask for.
func (s *Store) ExportVisit(ctx context.Context, id string) (json.RawMessage, error) {
	v, err := s.Visit(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.exported(ctx, v)
}

func (s *Store) list(ctx context.Context, query string, args ...any) ([]Summary, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, Explain(err)
	}
	defer rows.Close()
	out := []Summary{}
	for rows.Next() {
		var v Summary
		var opened int64
		var closed sql.NullInt64
		if err := rows.Scan(&v.ID, &opened, &closed, &v.HasVIN, &v.Scans); err != nil {
			return nil, Explain(err)
		}
		v.Opened = time.UnixMilli(opened).UTC()
		if closed.Valid {
			v.Closed = time.UnixMilli(closed.Int64).UTC()
		}
		out = append(out, v)
	}
	return out, Explain(rows.Err())
}

// CloseVisit ends a visit at the given time. Readings that drop names (the volatile ones: policy decides) do not outlive it: the body is
// written anew under a new key and the old key is destroyed. Closing a closed visit changes nothing.
func (s *Store) CloseVisit(ctx context.Context, id string, at time.Time, drop func(reading.Key) bool) (visit.Visit, error) {
	var out visit.Visit
	done := false
	err := s.Tx(ctx, func(tx *sql.Tx) error {
		v, err := s.readVisit(ctx, tx, id)
		if err != nil {
			return err
		}
		out = v
		if done = !v.Closed.IsZero(); done {
			return nil
		}
		out.Closed = at.UTC().Truncate(time.Millisecond)
		n := dropReadings(&out, drop)
		if _, err := s.newKey(ctx, tx, id, useBody, rangeClosed); err != nil {
			return err
		}
		if err := s.writeVisit(ctx, tx, &out); err != nil {
			return err
		}
		if n > 0 {
			if _, err := s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.Shredded, Visit: id, At: out.Closed,
				Facts: ledger.Facts{Count: n, Reason: "visit-closed"}}); err != nil {
				return err
			}
		}
		_, err = s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.VisitClosed, Visit: id, At: out.Closed})
		return err
	})
	if err != nil {
		return visit.Visit{}, err
	}
	if done {
		return out, nil
	}
	return out, s.destroyed(ctx)
}

// Shred removes the readings drop names from a visit, with what was concluded from them: the body is written anew under a
// new key and the old key is destroyed. reason is a stable key for the ledger, such as obfcm-refused. It returns how many
// values went; none is no error and leaves no entry.
func (s *Store) Shred(ctx context.Context, id, reason string, drop func(reading.Key) bool) (int, error) {
	return s.shred(ctx, id, reason, func(v *visit.Visit) int { return dropReadings(v, drop) })
}

// ShredOrder removes the order note of a visit in the same way and reports whether there was one.
func (s *Store) ShredOrder(ctx context.Context, id, reason string) (bool, error) {
	n, err := s.shred(ctx, id, reason, func(v *visit.Visit) int {
		if v.Order == "" {
			return 0
		}
		v.Order = ""
		return 1
	})
	return n > 0, err
}

// shred lets change remove values and counts them.
func (s *Store) shred(ctx context.Context, id, reason string, change func(*visit.Visit) int) (n int, err error) {
	err = s.Tx(ctx, func(tx *sql.Tx) (err error) {
		n, err = s.shredTx(ctx, tx, id, reason, change)
		return err
	})
	if err != nil || n == 0 {
		return 0, err
	}
	return n, s.destroyed(ctx)
}

// shredTx is shred within tx; the caller calls FinishDestruction once it is committed.
func (s *Store) shredTx(ctx context.Context, tx ledger.DBTX, id, reason string, change func(*visit.Visit) int) (int, error) {
	v, err := s.readVisit(ctx, tx, id)
	if err != nil {
		return 0, err
	}
	n := change(&v)
	if n == 0 {
		return 0, nil
	}
	if err := s.unrestricted(ctx, tx, id); err != nil {
		return 0, err
	}
	if _, err := s.newKey(ctx, tx, id, useBody, bodyRange(v)); err != nil {
		return 0, err
	}
	if err := s.writeVisit(ctx, tx, &v); err != nil {
		return 0, err
	}
	_, err = s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.Shredded, Visit: id, At: s.now(), Facts: ledger.Facts{Count: n, Reason: reason}})
	return n, err
}

func bodyRange(v visit.Visit) int {
	if v.Closed.IsZero() {
		return rangeOpen
	}
	return rangeClosed
}

// dropReadings removes readings and what was concluded from them, and counts the values removed.
func dropReadings(v *visit.Visit, drop func(reading.Key) bool) int {
	if drop == nil {
		return 0
	}
	n := 0
	for i := range v.Scans {
		scan := &v.Scans[i]
		obfcmGone := false
		gone := func(k reading.Key) bool {
			if !drop(k) {
				return false
			}
			n++
			obfcmGone = obfcmGone || strings.HasPrefix(string(k), "obfcm.")
			return true
		}
		scan.Readings = slices.DeleteFunc(scan.Readings, func(r reading.Reading) bool { return gone(r.Key) })
		if scan.Odometer.Sources != nil {
			dropSources(scan, gone)
		}
		if obfcmGone {
			scan.OBFCM = obfcm.Verdict{Outcome: obfcm.Refused, Reasons: []string{"shredded-after-read"}}
		}
	}
	return n
}

// dropSources removes mileage sources. A verdict that rested on one of them is void; the reading "odometer" repeats the
// chosen source and goes with it.
func dropSources(scan *visit.Scan, gone func(reading.Key) bool) {
	o := &scan.Odometer
	kept := odometer.Verdict{Outcome: odometer.NoVerdict, Reason: "source-shredded", Chosen: -1}
	comparable, chosenGone := 0, false
	for i, src := range o.Sources {
		if gone(src.Key) {
			chosenGone = chosenGone || i == o.Chosen
			continue
		}
		if i == o.Chosen {
			kept.Chosen = len(kept.Sources)
		}
		if src.Comparable {
			comparable++
		}
		kept.Sources = append(kept.Sources, src)
	}
	if len(kept.Sources) == len(o.Sources) {
		return
	}
	if chosenGone {
		kept.Chosen = slices.IndexFunc(kept.Sources, func(s odometer.Source) bool { return s.Comparable })
		scan.Readings = slices.DeleteFunc(scan.Readings, func(r reading.Reading) bool { return r.Key == "odometer" })
	}
	if !chosenGone {
		kept.Earlier, kept.NotBelow = o.Earlier, o.NotBelow
	}
	if comparable >= 2 && o.Outcome == odometer.Consistent { // all agreed, so those that are left agree
		kept.Outcome, kept.Reason = o.Outcome, ""
	}
	*o = kept
}

// EraseVisit erases a visit for good: keys first, then everything that was stored of it (tables that reference
// store_visits with ON DELETE CASCADE included); what remains in the ledger names nothing. reason is a stable key:
// customer-request, retention, …
func (s *Store) EraseVisit(ctx context.Context, id, reason string) error {
	err := s.Tx(ctx, func(tx *sql.Tx) error {
		if _, err := s.visitKey(ctx, tx, id, useRecord); err != nil {
			return err
		}
		if err := s.unrestricted(ctx, tx, id); err != nil {
			return err
		}
		if _, err := s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.Erased, Visit: id, At: s.now(), Facts: ledger.Facts{Reason: reason}}); err != nil {
			return err
		}
		if err := s.giveUp(ctx, tx, id, ""); err != nil {
			return err
		}
		if err := s.log.ForgetTx(ctx, tx, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE store_tickets SET body = NULL WHERE visit = ?`, id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM store_visits WHERE id = ?`, id)
		return err
	})
	if err != nil {
		return err
	}
	return s.destroyed(ctx)
}

// PurgeForgotten removes what an older copy of the state brought back of visits that were erased since; nothing of it can
// be read. It returns how many visits that were.
func (s *Store) PurgeForgotten(ctx context.Context) (int, error) {
	n := 0
	err := s.Tx(ctx, func(tx *sql.Tx) error {
		_, gone, err := s.keyed(ctx, tx)
		if err != nil {
			return err
		}
		for _, id := range gone {
			if err := s.log.ForgetTx(ctx, tx, id); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM store_visits WHERE id = ?`, id); err != nil {
				return err
			}
		}
		n = len(gone)
		return nil
	})
	if err != nil || n == 0 {
		return 0, err
	}
	return n, s.scrub(ctx)
}
