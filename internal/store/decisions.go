package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
)

// RecordDecision records an answer: its entry in the ledger, the decision sealed under the visit's key, and the signed
// receipt, in one transaction. The notice's version is the current one when d names none. Withdrawals and refusals are
// recorded the same way; what has to be destroyed on them is the caller's to do (Shred, and the outbox's Destroy).
func (s *Store) RecordDecision(ctx context.Context, visit string, d consent.Decision) (consent.Receipt, error) {
	var r consent.Receipt
	err := s.Tx(ctx, func(tx *sql.Tx) (err error) {
		r, err = s.RecordDecisionTx(ctx, tx, visit, d)
		return err
	})
	if err != nil {
		return consent.Receipt{}, err
	}
	return r, s.FinishDestruction(ctx)
}

// RecordDecisionTx is RecordDecision within tx, so that what is destroyed on a withdrawal goes with it. The caller calls
// FinishDestruction once tx is committed.
func (s *Store) RecordDecisionTx(ctx context.Context, tx ledger.DBTX, visit string, d consent.Decision) (consent.Receipt, error) {
	d.Visit = visit
	if d.Notice == "" {
		d.Notice = consent.CurrentNotice
	}
	if err := s.renewYes(ctx, tx, visit, d); err != nil {
		return consent.Receipt{}, err
	}
	d, place, err := s.log.RecordDecisionTx(ctx, tx, d)
	if err != nil {
		return consent.Receipt{}, err
	}
	to, err := s.receivers(ctx, tx, d.Purpose, d.Recipient)
	if err != nil {
		return consent.Receipt{}, err
	}
	w, err := s.workshop(ctx, tx)
	if err != nil {
		return consent.Receipt{}, err
	}
	r, err := consent.NewReceipt("r"+randomID(20), d, consent.Issuer{Station: s.station.id, Workshop: w}, to, place, s.now())
	if err != nil {
		return consent.Receipt{}, err
	}
	if r, err = consent.SignReceipt(r, s.station); err != nil {
		return consent.Receipt{}, err
	}
	plain, err := json.Marshal(r)
	if err != nil {
		return consent.Receipt{}, err
	}
	body, err := s.sealRecord(ctx, tx, visit, "receipt/"+r.ID, plain)
	if err != nil {
		return consent.Receipt{}, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO store_receipts (id, visit, seq, body) VALUES (?, ?, ?, ?)`, r.ID, visit, int64(place.Seq), body)
	return r, err
}

// renewYes sees to it that an older copy of the database does not bring back a yes that was taken back since: every answer that
// is not a yes, in a visit where one was given, replaces the key without which no yes of the visit counts, and the older copy
// knows only the key that is forgotten. When an answer is recorded in such a copy, each yes in it is first recorded as deferred,
// so that a new yes to one purpose does not wake the others.
func (s *Store) renewYes(ctx context.Context, tx ledger.DBTX, visit string, d consent.Decision) error {
	lost, err := s.AnswersLost(ctx, tx, visit)
	if err != nil || d.Answer.Yes() && !lost {
		return err
	}
	ds, err := s.log.DecisionsTx(ctx, tx, visit)
	if err != nil {
		return Explain(err)
	}
	type to struct {
		purpose   consent.Purpose
		recipient string
	}
	newest, order, given := map[to]consent.Answer{}, []to{}, false
	for _, o := range ds { // in the order of the log
		t := to{o.Purpose, o.Recipient}
		if _, seen := newest[t]; !seen {
			order = append(order, t)
		}
		newest[t] = o.Answer
		given = given || o.Answer.Yes()
	}
	if !given {
		return nil
	}
	if _, err := s.newKey(ctx, tx, visit, useYes, rangeRecord); err != nil || !lost {
		return err
	}
	for _, t := range order {
		if !newest[t].Yes() {
			continue
		}
		_, err := s.RecordDecisionTx(ctx, tx, visit, consent.Decision{Purpose: t.purpose, Recipient: t.recipient, Answer: consent.Deferred,
			At: d.At, TakenBy: d.TakenBy, Language: d.Language})
		if err != nil {
			return err
		}
	}
	return nil
}

// Taken is what a no destroyed of what had been read for its purpose alone.
type Taken struct {
	Values  int   // of the consumption record
	Mileage bool  // the mark left for the vehicle's next visit
	Held    error // ErrRestricted when a restriction keeps it until it is lifted
}

// TakeBackTx destroys what was read for a purpose alone, in the transaction that records the no to it: there is no moment in which
// the no stands and the values are there. A yes, a deferral and a no to one recipient take nothing. The caller calls
// FinishDestruction once tx is committed.
func (s *Store) TakeBackTx(ctx context.Context, tx ledger.DBTX, visit string, d consent.Decision) (t Taken, err error) {
	if d.Answer != consent.Refused && d.Answer != consent.Withdrawn || d.Recipient != "" {
		return t, nil
	}
	switch d.Purpose {
	case consent.Service:
		t.Mileage, err = s.forgetMark(ctx, tx, visit)
	case consent.OBFCM:
		t.Values, err = s.shredTx(ctx, tx, visit, "obfcm-"+d.Answer.String(), dropConsumption)
	}
	if errors.Is(err, ErrRestricted) {
		return Taken{Held: err}, nil
	}
	return t, err
}

// AnswersLost reports whether the answers of a visit come from an older copy of the state than a no that was given since: then no
// yes among them counts, and the customer has to be asked again. False for a visit without a yes, or without keys.
func (s *Store) AnswersLost(ctx context.Context, tx ledger.DBTX, visit string) (bool, error) {
	var slot uint32
	err := tx.QueryRowContext(ctx, `SELECT slot FROM store_keys WHERE visit = ? AND use = ?`, visit, useYes).Scan(&slot)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil // erased, or opened before there was such a key
	}
	if err != nil {
		return false, Explain(err)
	}
	_, there := s.slotKey(slot)
	return !there, nil
}

// Standing answers whether purpose stands towards recipient ("" = all) at now: see ledger.Standing. The receipt's id comes
// with it, "" when there is no decision. ErrRestricted when a yes stands but the visit is restricted: nothing is sent, and
// nothing is destroyed either.
func (s *Store) Standing(ctx context.Context, visit string, purpose consent.Purpose, recipient string, now time.Time) (consent.Answer, consent.Decision, string, error) {
	return s.StandingTx(ctx, s.db, visit, purpose, recipient, now)
}

// StandingTx is Standing within tx.
func (s *Store) StandingTx(ctx context.Context, tx ledger.DBTX, visit string, purpose consent.Purpose, recipient string, now time.Time) (consent.Answer, consent.Decision, string, error) {
	a, d, err := s.log.StandingTx(ctx, tx, visit, purpose, recipient, now)
	if err != nil || d.Seq == 0 {
		return a, d, "", Explain(err)
	}
	if a.Yes() {
		lost, err := s.AnswersLost(ctx, tx, visit)
		if err != nil || lost {
			return consent.Unasked, consent.Decision{}, "", err
		}
		// A restriction keeps everything where it is; a no stays a no.
		if err := s.unrestricted(ctx, tx, visit); err != nil {
			return consent.Unasked, consent.Decision{}, "", Explain(err)
		}
	}
	var id string
	err = tx.QueryRowContext(ctx, `SELECT id FROM store_receipts WHERE visit = ? AND seq = ?`, visit, int64(d.Seq-1)).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return consent.Unasked, consent.Decision{}, "", fmt.Errorf("%w: the receipt of entry %d", ledger.ErrTampered, d.Seq-1)
	}
	if err != nil {
		return consent.Unasked, consent.Decision{}, "", Explain(err)
	}
	return a, d, id, nil
}

// Asker asks where a purpose stands right now. It is what the gate asks.
type Asker struct{ s *Store }

// Consent returns the store's Asker.
func (s *Store) Consent() Asker { return Asker{s} }

// Standing returns the answer and the id of its receipt.
func (a Asker) Standing(ctx context.Context, visit string, purpose consent.Purpose, recipient string) (consent.Answer, string, error) {
	answer, _, receipt, err := a.s.Standing(ctx, visit, purpose, recipient, a.s.now())
	return answer, receipt, err
}

// Receipts returns the receipts of a visit in the order of the answers.
func (s *Store) Receipts(ctx context.Context, visit string) ([]consent.Receipt, error) {
	return s.ReceiptsTx(ctx, s.db, visit)
}

// ReceiptsTx is Receipts within tx.
func (s *Store) ReceiptsTx(ctx context.Context, tx ledger.DBTX, visit string) ([]consent.Receipt, error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, body FROM store_receipts WHERE visit = ? ORDER BY seq`, visit)
	if err != nil {
		return nil, Explain(err)
	}
	type sealed struct {
		id   string
		body []byte
	}
	var all []sealed
	for rows.Next() {
		var r sealed
		if err := rows.Scan(&r.id, &r.body); err != nil {
			rows.Close()
			return nil, Explain(err)
		}
		all = append(all, r)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, Explain(err)
	}
	out := []consent.Receipt{}
	for _, r := range all {
		rec, err := s.openReceipt(ctx, tx, visit, r.id, r.body)
		if err != nil {
			return nil, err
		}
		out = append(out, rec)
	}
	return out, nil
}

// Receipt finds a receipt by its number; ErrNotFound when there is none or its visit was erased.
func (s *Store) Receipt(ctx context.Context, id string) (consent.Receipt, error) {
	var visit string
	var body []byte
	err := s.db.QueryRowContext(ctx, `SELECT visit, body FROM store_receipts WHERE id = ?`, id).Scan(&visit, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return consent.Receipt{}, fmt.Errorf("receipt %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return consent.Receipt{}, Explain(err)
	}
	return s.openReceipt(ctx, s.db, visit, id, body)
}

func (s *Store) openReceipt(ctx context.Context, tx ledger.DBTX, visit, id string, body []byte) (consent.Receipt, error) {
	plain, err := s.openRecord(ctx, tx, visit, "receipt/"+id, body)
	if err != nil {
		return consent.Receipt{}, err
	}
	r, err := consent.ParseReceipt(plain)
	if err != nil {
		return consent.Receipt{}, fmt.Errorf("%w: receipt %s", ErrCorrupt, id)
	}
	return r, nil
}
