package ledger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"obdgate/internal/consent"
)

// sealedDecision is what stands behind an answer entry: the whole decision and the salt its commitment was made with.
type sealedDecision struct {
	Salt     []byte           `json:"salt"`
	Decision consent.Decision `json:"decision"`
}

// RecordDecisionTx validates d, gives it an id when it has none, appends its answer entry and keeps the decision sealed
// under the visit's key. It returns the decision as recorded and its place for the receipt.
func (l *Ledger) RecordDecisionTx(ctx context.Context, tx DBTX, d consent.Decision) (consent.Decision, consent.LedgerPlace, error) {
	none := consent.LedgerPlace{}
	if d.ID == "" {
		var id [10]byte
		if _, err := rand.Read(id[:]); err != nil {
			return d, none, err
		}
		d.ID = "d" + strings.ToLower(base32.StdEncoding.EncodeToString(id[:]))
	}
	d = d.Normal()
	if err := d.Validate(); err != nil {
		return d, none, err
	}
	var salt [32]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return d, none, err
	}
	sum, err := d.Commit(salt)
	if err != nil {
		return d, none, err
	}
	e, err := l.append(ctx, tx, Event{Kind: Answer, Visit: d.Visit, At: d.At, Facts: Facts{
		Purpose: d.Purpose.Kind(), Recipient: d.Recipient, Answer: d.Answer.String(), Notice: d.Notice,
		Evidence: string(d.Evidence.Kind), Commitment: hex.EncodeToString(sum[:]),
	}})
	if err != nil {
		return d, none, err
	}
	plain, err := json.Marshal(sealedDecision{salt[:], d})
	if err != nil {
		return d, none, err
	}
	body, err := l.vault.Seal(ctx, tx, d.Visit, decisionUse(e.Seq), plain)
	if err != nil {
		return d, none, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO ledger_decisions (seq, visit, body) VALUES (?, ?, ?)`, int64(e.Seq), d.Visit, body); err != nil {
		return d, none, err
	}
	d.Seq = e.Seq + 1
	return d, consent.LedgerPlace{Seq: e.Seq, Commitment: e.Facts.Commitment}, nil
}

func decisionUse(seq uint64) string { return fmt.Sprintf("ledger/decision/%d", seq) }

// Decisions returns every decision of a visit in the order of the log. Each one is opened and compared with the commitment
// in its entry; one that is missing, changed or moved is ErrTampered. A visit without a key is ErrForgotten.
func (l *Ledger) Decisions(ctx context.Context, visit string) ([]consent.Decision, error) {
	return l.decisions(ctx, l.db, visit)
}

// DecisionsTx is Decisions within tx.
func (l *Ledger) DecisionsTx(ctx context.Context, tx DBTX, visit string) ([]consent.Decision, error) {
	return l.decisions(ctx, tx, visit)
}

func (l *Ledger) decisions(ctx context.Context, tx DBTX, visit string) ([]consent.Decision, error) {
	entries, err := l.visitEntries(ctx, tx, visit)
	if err != nil {
		return nil, err
	}
	var ds []consent.Decision
	for _, e := range entries {
		if e.Kind != Answer {
			continue
		}
		d, err := l.decision(ctx, tx, visit, e)
		if err != nil {
			return nil, err
		}
		ds = append(ds, d)
	}
	return ds, nil
}

func (l *Ledger) decision(ctx context.Context, tx DBTX, visit string, e Entry) (consent.Decision, error) {
	tampered := fmt.Errorf("%w: the decision of entry %d", ErrTampered, e.Seq)
	var body []byte
	err := tx.QueryRowContext(ctx, `SELECT body FROM ledger_decisions WHERE seq = ? AND visit = ?`, int64(e.Seq), visit).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return consent.Decision{}, tampered
	}
	if err != nil {
		return consent.Decision{}, err
	}
	plain, err := l.vault.Open(ctx, tx, visit, decisionUse(e.Seq), body)
	if errors.Is(err, ErrForgotten) {
		return consent.Decision{}, err
	}
	var s sealedDecision
	if err != nil || json.Unmarshal(plain, &s) != nil || len(s.Salt) != 32 {
		return consent.Decision{}, tampered
	}
	sum, err := s.Decision.Commit([32]byte(s.Salt))
	if err != nil || hex.EncodeToString(sum[:]) != e.Facts.Commitment || s.Decision.Visit != visit ||
		s.Decision.Answer.String() != e.Facts.Answer {
		return consent.Decision{}, tampered
	}
	s.Decision.Seq = e.Seq + 1
	return s.Decision, nil
}

// Standing answers whether purpose stands towards recipient ("" = all) at now. The order of the log decides which decision
// is newest. A yes is only given when the decision fits its commitment and its entry is proved to stand under the signed
// head. A visit that was erased or never existed is Unasked, which is no; on any error the answer is Unasked as well.
func (l *Ledger) Standing(ctx context.Context, visit string, purpose consent.Purpose, recipient string, now time.Time) (consent.Answer, consent.Decision, error) {
	return l.StandingTx(ctx, l.db, visit, purpose, recipient, now)
}

// StandingTx is Standing within tx, for whoever must ask and act in one transaction.
func (l *Ledger) StandingTx(ctx context.Context, tx DBTX, visit string, purpose consent.Purpose, recipient string, now time.Time) (consent.Answer, consent.Decision, error) {
	ds, err := l.decisions(ctx, tx, visit)
	if errors.Is(err, ErrForgotten) {
		return consent.Unasked, consent.Decision{}, nil
	}
	if err != nil {
		return consent.Unasked, consent.Decision{}, err
	}
	a, d := consent.StandingFor(ds, purpose, recipient, now)
	if !a.Yes() {
		return a, d, nil
	}
	if over, err := l.termWasOver(ctx, tx, d); err != nil || over {
		return consent.Expired, d, err
	}
	var leaf []byte
	seq := d.Seq - 1
	if err := tx.QueryRowContext(ctx, `SELECT leaf FROM ledger_entries WHERE seq = ?`, int64(seq)).Scan(&leaf); err != nil {
		return consent.Unasked, consent.Decision{}, err
	}
	path, head, err := l.inclusion(ctx, tx, seq)
	if err != nil {
		return consent.Unasked, consent.Decision{}, err
	}
	if err := CheckInclusion(leaf, seq, path, head); err != nil {
		return consent.Unasked, consent.Decision{}, fmt.Errorf("%w: entry %d is not under the head", ErrTampered, seq)
	}
	return a, d, nil
}

// termWasOver reports whether anything was logged after the term of a yes had ended: a clock that is set back does not bring the
// yes to life again. A clock that was ahead once ends terms too early; a new yes then has a term of its own.
func (l *Ledger) termWasOver(ctx context.Context, tx DBTX, d consent.Decision) (over bool, err error) {
	if d.Until.IsZero() {
		return false, nil
	}
	// A leaf begins {"seq":12,"time":"…; the form of the time sorts as text.
	const query = `SELECT EXISTS (SELECT 1 FROM ledger_entries WHERE seq >= ? AND
		substr(CAST(leaf AS TEXT), instr(CAST(leaf AS TEXT), '"time":"') + 8, ?) >= ?)`
	err = tx.QueryRowContext(ctx, query, int64(d.Seq-1), len(timeForm), d.Until.UTC().Format(timeForm)).Scan(&over)
	return over, err
}

// ForgetTx removes the stored decisions of a visit; the entries with their commitments stay. The caller destroys the
// visit's key in the same transaction.
func (l *Ledger) ForgetTx(ctx context.Context, tx DBTX, visit string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM ledger_decisions WHERE visit = ?`, visit)
	return err
}
