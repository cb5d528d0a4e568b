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
// request, makes it unreadable in every copy of the state. Only a customer who has said yes to the service purpose, whose notice
// tells of it, leaves one: unasked is no. A refusal, a withdrawal or the end of the yes destroys it with a key of its own. A
// restricted visit's mark stays as it is and is not used.

const mileageAAD = "obdgate/mileage/"

func (s *Store) mileageTag(v vin.VIN) []byte { return s.station.vinTag("mileage/" + v.Reveal()) }

// mileageKey takes a data key of the visit and the vehicle's number: neither opens the mark alone.
func (s *Store) mileageKey(key []byte, visit string, v vin.VIN) ([]byte, error) {
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
	key, err := s.visitKey(ctx, tx, in, useMileage)
	if errors.Is(err, ErrNotFound) { // an older copy of the state brought it back
		return m, "", nil
	}
	if err == nil {
		key, err = s.mileageKey(key, in, v)
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

// compareMileage weighs a scan's mileage against the vehicle's mark of an earlier visit, and leaves a mark for the next one.
// A mark whose customer's yes has ended meanwhile is destroyed instead of used.
func (s *Store) compareMileage(ctx context.Context, tx ledger.DBTX, v *visit.Visit, scan *visit.Scan) error {
	number := scan.VIN
	if number.IsZero() {
		return nil
	}
	before, in, err := s.mark(ctx, tx, number)
	if err != nil {
		return err
	}
	if in != "" && in != v.ID {
		answer, _, _, err := s.StandingTx(ctx, tx, in, consent.Service, "", s.now())
		if errors.Is(err, ErrRestricted) {
			return nil
		}
		if err == nil && !answer.Yes() {
			_, err = s.forgetMark(ctx, tx, in)
			in = ""
		}
		if errors.Is(err, ErrRestricted) { // a restriction keeps what a no would destroy
			return nil
		}
		if err != nil {
			return err
		}
	}
	switch {
	case in != "" && in != v.ID:
		scan.Odometer = scan.Odometer.Since(before)
	case slices.ContainsFunc(v.Scans, func(o visit.Scan) bool { return o.Odometer.NotBelow }): // compared in this visit before
		_, scan.Odometer.NotBelow = odometer.MarkOf(scan.Odometer, scan.At)
	}
	return s.leaveMark(ctx, tx, v.ID, scan)
}

// leaveMark leaves the mark of a scan for the vehicle's next visit, where the customer agrees and the one there is shows less.
func (s *Store) leaveMark(ctx context.Context, tx ledger.DBTX, id string, scan *visit.Scan) error {
	number := scan.VIN
	mark, ok := odometer.MarkOf(scan.Odometer, scan.At)
	if !ok || number.IsZero() || scan.Odometer.Earlier != nil {
		return nil
	}
	answer, _, _, err := s.StandingTx(ctx, tx, id, consent.Service, "", s.now())
	if errors.Is(err, ErrRestricted) || err == nil && !answer.Yes() {
		return nil
	}
	if err != nil {
		return err
	}
	before, in, err := s.mark(ctx, tx, number)
	if err != nil || in != "" && mark.Km < before.Km {
		return err
	}
	if in != "" {
		if hold, err := s.hold(ctx, tx, in); err != nil || hold != "" {
			return err
		}
		if err := s.giveUp(ctx, tx, in, useMileage); err != nil {
			return err
		}
	}
	key, err := s.newKey(ctx, tx, id, useMileage, rangeRecord)
	if err == nil {
		key, err = s.mileageKey(key, id, number)
	}
	if err != nil {
		return err
	}
	plain, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	body, err := seal(key, plain, mileageAAD+id)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO store_mileage (vehicle, visit, body) VALUES (?, ?, ?)`, s.mileageTag(number), id, body)
	return err
}

// RememberMileage leaves the mark of a visit whose vehicle was read before the customer said yes to the service purpose. It
// does nothing where there is no yes, or no mileage.
func (s *Store) RememberMileage(ctx context.Context, id string) error {
	return s.Tx(ctx, func(tx *sql.Tx) error {
		v, err := s.readVisit(ctx, tx, id)
		if err != nil || len(v.Scans) == 0 {
			return err
		}
		return s.leaveMark(ctx, tx, id, &v.Scans[len(v.Scans)-1])
	})
}

func (s *Store) forgetMark(ctx context.Context, tx ledger.DBTX, visit string) (bool, error) {
	var n int
	err := tx.QueryRowContext(ctx, `SELECT count(*) FROM store_mileage WHERE visit = ?`, visit).Scan(&n)
	if err != nil || n == 0 {
		return false, err
	}
	if err := s.unrestricted(ctx, tx, visit); err != nil {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM store_mileage WHERE visit = ?`, visit); err != nil {
		return false, err
	}
	if err := s.giveUp(ctx, tx, visit, useMileage); err != nil {
		return false, err
	}
	_, err = s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.Shredded, Visit: visit, At: s.now(), Facts: ledger.Facts{Count: 1, Reason: "mileage-mark"}})
	return true, err
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
