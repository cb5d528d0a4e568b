package store

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/odometer"
	"obdgate/internal/vin"
	"obdgate/internal/visit"
)

// What stays of a vehicle's mileage between its visits is one mark (odometer.Mark), coarse and replaced, in place of a look
// into earlier visits. It lives as long as the visit it was read in: erasing that visit, by retention or at the customer's
// request, makes it unreadable in every copy of the state. A customer who refuses or withdraws the service purpose leaves no
// mark.

const mileageAAD = "obdgate/mileage/"

func (s *Store) mileageTag(v vin.VIN) []byte { return s.station.vinTag("mileage/" + v.Reveal()) }

// mileageKey takes the visit's record key and the vehicle's number: neither opens the mark alone.
func (s *Store) mileageKey(ctx context.Context, tx ledger.DBTX, visit string, v vin.VIN) ([]byte, error) {
	key, err := s.visitKey(ctx, tx, visit, useRecord)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, key, s.station.vinTag("mileage-key/"+v.Reveal()), mileageAAD+visit, keyBytes)
}

// mark reads the mark of a vehicle and the visit it was read in, "" = there is none.
func (s *Store) mark(ctx context.Context, tx ledger.DBTX, v vin.VIN) (m odometer.Mark, in string, err error) {
	var body []byte
	err = tx.QueryRowContext(ctx, `SELECT visit, body FROM store_mileage WHERE vehicle = ?`, s.mileageTag(v)).Scan(&in, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return m, "", nil
	}
	if err != nil {
		return m, "", err
	}
	key, err := s.mileageKey(ctx, tx, in, v)
	if errors.Is(err, ErrNotFound) { // an older copy of the state brought it back
		return m, "", nil
	}
	if err != nil {
		return m, "", err
	}
	plain, err := unseal(key, body, mileageAAD+in)
	if err == nil {
		err = json.Unmarshal(plain, &m)
	}
	if err != nil {
		return m, "", ErrCorrupt
	}
	return m, in, nil
}

// compareMileage weighs a scan's mileage against the vehicle's mark of an earlier visit, and leaves a mark for the next one
// where the new reading is higher and the customer has not refused.
func (s *Store) compareMileage(ctx context.Context, tx ledger.DBTX, v *visit.Visit, scan *visit.Scan) error {
	number := scan.VIN
	if number.IsZero() {
		return nil
	}
	before, in, err := s.mark(ctx, tx, number)
	if err != nil {
		return err
	}
	mark, ok := odometer.MarkOf(scan.Odometer, scan.At)
	switch {
	case in != "" && in != v.ID:
		scan.Odometer = scan.Odometer.Since(before)
	case slices.ContainsFunc(v.Scans, func(o visit.Scan) bool { return o.Odometer.NotBelow }): // compared in this visit before
		scan.Odometer.NotBelow = ok
	}
	if !ok || scan.Odometer.Earlier != nil || in != "" && mark.Km < before.Km {
		return nil
	}
	answer, _, _, err := s.StandingTx(ctx, tx, v.ID, consent.Service, "", s.now())
	if errors.Is(err, ErrRestricted) || err == nil && (answer == consent.Refused || answer == consent.Withdrawn) {
		return nil
	}
	if err != nil {
		return err
	}
	key, err := s.mileageKey(ctx, tx, v.ID, number)
	if err != nil {
		return err
	}
	plain, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	body, err := seal(key, plain, mileageAAD+v.ID)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO store_mileage (vehicle, visit, body) VALUES (?, ?, ?)`, s.mileageTag(number), v.ID, body)
	return err
}

// ForgetMileage removes the mark a visit has left for the vehicle's next one, and reports whether there was one: what a
// withdrawal of the service purpose asks for.
func (s *Store) ForgetMileage(ctx context.Context, visit string) (bool, error) {
	res, err := s.db.ExecContext(ctx, `DELETE FROM store_mileage WHERE visit = ?`, visit)
	if err != nil {
		return false, Explain(err)
	}
	n, err := res.RowsAffected()
	if err != nil || n == 0 {
		return false, Explain(err)
	}
	return true, s.scrub(ctx)
}

// exported is a visit's body for the customer's copy, with the mark it has left.
func (s *Store) exported(ctx context.Context, v visit.Visit) (json.RawMessage, error) {
	body, err := encodeVisit(v)
	if err != nil || v.VIN.IsZero() {
		return body, err
	}
	mark, in, err := s.mark(ctx, s.db, v.VIN)
	if err != nil || in != v.ID {
		return body, Explain(err)
	}
	added, err := json.Marshal(map[string]odometer.Mark{"mileage_mark": mark})
	if err != nil {
		return nil, err
	}
	return append(append(body[:len(body)-1], ','), added[1:]...), nil
}
