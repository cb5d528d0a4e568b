package outbox

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/gate"
	"obdgate/internal/ledger"
	"obdgate/internal/store"
	"obdgate/internal/wire"
)

// Teller is a Sender that can tell a recipient of a withdrawal; uplink.Client is one.
type Teller interface {
	Tell(ctx context.Context, n gate.Notice) (wire.Statement, error)
}

// Notice is one message to one recipient that a customer's yes has ended.
type Notice struct {
	Recipient string
	ID        string // content hash
	Visit     string // "" once the visit is erased
	Purpose   consent.Purpose
	Action    string // wire.ActionStop, wire.ActionErase
	Answer    string // number of the receipt of the customer's no; "" for an erasure
	State     State  // Queued, Done or Rejected
	Attempts  int
	Queued    time.Time
	Due       time.Time
	Settled   time.Time // zero before
	Reason    string    // of a rejection
	Body      []byte    // the exact bytes told
	Statement []byte    // the recipient's signed answer once done; wire.ParseStatement reads it
}

// Answered is what a customer's answer led to.
type Answered struct {
	Receipt   consent.Receipt
	Destroyed int // envelopes that had not left
	Notices   int // recipients to be told
	Taken     store.Taken
}

// Answer records a customer's answer and what follows from it, in one transaction: after a no nothing of the purpose is
// left to send, and every recipient that may have got something is going to be told. Who got nothing is told nothing: that
// would say that somebody refused.
func (o *Outbox) Answer(ctx context.Context, visit string, d consent.Decision) (a Answered, err error) {
	err = o.st.Tx(ctx, func(tx *sql.Tx) error {
		if a.Receipt, err = o.st.RecordDecisionTx(ctx, tx, visit, d); err != nil {
			return err
		}
		if d.Answer.Yes() || d.Answer == consent.Deferred {
			return nil
		}
		if a.Destroyed, err = o.DestroyTx(ctx, tx, visit, d.Purpose, d.Recipient, d.Answer.String()); err != nil {
			return err
		}
		if a.Taken, err = o.st.TakeBackTx(ctx, tx, visit, d); err != nil {
			return err
		}
		a.Notices, err = o.notifyTx(ctx, tx, visit, d.Purpose, d.Recipient, a.Receipt.ID, false)
		return err
	})
	if err != nil {
		return Answered{}, err
	}
	return a, o.st.FinishDestruction(ctx)
}

// Erase asks every recipient that may have got something of a visit to erase it, and destroys what has not left. It is called
// before the visit itself is erased: with it goes what the notices are made from. It returns how many are going to be told.
func (o *Outbox) Erase(ctx context.Context, visit string) (n int, err error) {
	err = o.st.Tx(ctx, func(tx *sql.Tx) error {
		n, err = o.EraseTx(ctx, tx, visit)
		return err
	})
	return n, err
}

// EraseTx is Erase within a write transaction.
func (o *Outbox) EraseTx(ctx context.Context, tx ledger.DBTX, visit string) (int, error) {
	if _, err := o.DestroyTx(ctx, tx, visit, "", "", "customer-request"); err != nil {
		return 0, err
	}
	return o.notifyTx(ctx, tx, visit, "", "", "", true)
}

// notifyTx queues a notice for each purpose and recipient under which something may have left.
func (o *Outbox) notifyTx(ctx context.Context, tx ledger.DBTX, visit string, p consent.Purpose, to, answer string, erase bool) (int, error) {
	type pair struct {
		purpose   consent.Purpose
		recipient string
	}
	rows, err := tx.QueryContext(ctx, `SELECT purpose, recipient, id FROM outbox WHERE visit = ?1 AND (?2 = '' OR purpose = ?2) AND
		(?3 = '' OR recipient = ?3) AND attempts > 0 ORDER BY purpose, recipient, id`, visit, string(p), to)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var pairs []pair
	sent := map[pair][]string{}
	for rows.Next() {
		var k pair
		var id string
		if err := rows.Scan(&k.purpose, &k.recipient, &id); err != nil {
			return 0, err
		}
		if sent[k] == nil {
			pairs = append(pairs, k)
		}
		sent[k] = append(sent[k], id)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(pairs) == 0 {
		return 0, err
	}
	receipts, err := o.st.ReceiptsTx(ctx, tx, visit)
	if err != nil {
		return 0, err
	}
	now, n := o.opt.Now(), 0
	g := gate.New(txConsent{o, tx, now}, o.st.Station())
	for _, k := range pairs {
		r, err := o.st.RecipientTx(ctx, tx, k.recipient)
		if errors.Is(err, store.ErrNotFound) {
			continue // taken out of the register: there is no way to it any more; visit show names it still
		}
		if err != nil {
			return n, err
		}
		var under []string
		for _, rec := range receipts {
			if rec.Process.Purpose == k.purpose && rec.Event.State == consent.Granted.String() {
				under = append(under, rec.ID)
			}
		}
		ids := sent[k]
		for len(ids) > 0 { // a notice names so many at most
			part := ids[:min(len(ids), wire.MaxNamed)]
			ids = ids[len(part):]
			notice, err := g.Notify(ctx, gate.Ended{Visit: visit, Purpose: k.purpose, Recipient: r, Station: o.st.Station().ID(),
				Receipts: under, Envelopes: part, Erase: erase})
			if errors.Is(err, gate.ErrStands) || errors.Is(err, store.ErrRestricted) || errors.Is(err, gate.ErrNoAgreement) {
				break // a yes to this recipient alone stands on (restricted or not); without an agreement nothing goes there at all
			}
			if err != nil {
				return n, err
			}
			if err := o.putNotice(ctx, tx, notice, Notice{Visit: visit, Purpose: k.purpose, Answer: answer}, erase, now); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

func (o *Outbox) putNotice(ctx context.Context, tx ledger.DBTX, notice gate.Notice, n Notice, erase bool, now time.Time) error {
	s := notice.Stored()
	n.Recipient, n.ID, n.Action = s.Recipient, s.ID, wire.ActionStop
	if erase {
		n.Action = wire.ActionErase
	}
	res, err := tx.ExecContext(ctx, `INSERT INTO outbox_notices (recipient, id, visit, purpose, action, answer, state, body, mac, attempts, queued, due)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'queued', ?7, ?8, 0, ?9, ?9) ON CONFLICT (recipient, id) DO NOTHING`,
		n.Recipient, n.ID, n.Visit, string(n.Purpose), n.Action, n.Answer, s.Body, s.MAC, now.UnixMilli())
	if err != nil {
		return err
	}
	if added, err := res.RowsAffected(); err != nil || added == 0 {
		return err // said before, in the same words
	}
	return o.recordNotice(ctx, tx, ledger.NoticeQueued, n, ledger.Facts{})
}

func (o *Outbox) recordNotice(ctx context.Context, tx ledger.DBTX, kind ledger.Kind, n Notice, f ledger.Facts) error {
	f.Purpose, f.Recipient, f.Content = n.Purpose.Kind(), n.Recipient, n.ID
	if f.Reason == "" {
		f.Reason = n.Action
	}
	_, err := o.st.Ledger().AppendTx(ctx, tx, ledger.Event{Kind: kind, Visit: n.Visit, At: o.opt.Now(), Facts: f})
	return err
}

const noticeColumns = `recipient, id, coalesce(visit, ''), purpose, action, answer, state, attempts, queued, due, coalesce(settled, 0),
	coalesce(reason, ''), body, statement`

// Notices lists what recipients were or are to be told, oldest first; visit "" = of all visits, erased ones too.
func (o *Outbox) Notices(ctx context.Context, visit string) (all []Notice, err error) {
	rows, err := o.st.DB().QueryContext(ctx, `SELECT `+noticeColumns+` FROM outbox_notices WHERE ?1 = '' OR visit = ?1 ORDER BY queued, recipient, id`, visit)
	if err != nil {
		return nil, store.Explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		var n Notice
		var queued, due, settled int64
		if err := rows.Scan(&n.Recipient, &n.ID, &n.Visit, &n.Purpose, &n.Action, &n.Answer, &n.State, &n.Attempts, &queued, &due, &settled,
			&n.Reason, &n.Body, &n.Statement); err != nil {
			return nil, store.Explain(err)
		}
		n.Queued, n.Due = time.UnixMilli(queued).UTC(), time.UnixMilli(due).UTC()
		if settled != 0 {
			n.Settled = time.UnixMilli(settled).UTC()
		}
		all = append(all, n)
	}
	return all, store.Explain(rows.Err())
}

// Told is what became of one notice in one Drain or Tell.
type Told struct {
	Notice Notice // as it was before
	Err    error  // nil when it was answered with a verified statement
}

// Tell sends the notices that are due; all = those that wait out a back-off too. Two programs that tell at once do no harm:
// the recipient gives the same answer. The error is of the state itself.
func (o *Outbox) Tell(ctx context.Context, connect Connect, visit string, all bool) ([]Told, error) {
	open := map[string]*peer{}
	defer func() { closePeers(open) }()
	return o.tell(ctx, connect, DrainOptions{Visit: visit, All: all}, open)
}

func (o *Outbox) tell(ctx context.Context, connect Connect, d DrainOptions, to map[string]*peer) ([]Told, error) {
	notices, err := o.Notices(ctx, d.Visit)
	if err != nil {
		return nil, err
	}
	var out []Told
	for _, n := range notices {
		now := o.opt.Now()
		waits := n.Due.After(now) && !n.Due.After(now.Add(o.longest()))
		if n.State != Queued || waits && !d.All {
			continue
		}
		p := to[n.Recipient]
		if p == nil {
			if p, err = o.peer(ctx, n.Recipient, connect); err != nil {
				return out, err
			}
			to[n.Recipient] = p
		}
		sendErr := p.held
		if sendErr == nil {
			sendErr = p.down
		}
		var s wire.Statement
		if sendErr == nil {
			s, sendErr = o.tellOne(ctx, n, p)
		}
		out = append(out, Told{n, sendErr})
		if err := o.settleNotice(context.WithoutCancel(ctx), n, p, s, sendErr); err != nil {
			return out, err
		}
		if err := ctx.Err(); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (o *Outbox) tellOne(ctx context.Context, n Notice, p *peer) (wire.Statement, error) {
	t, ok := p.sender.(Teller)
	if !ok {
		return wire.Statement{}, fmt.Errorf("outbox: there is no way to tell %s", n.Recipient)
	}
	var mac []byte
	if err := o.st.DB().QueryRowContext(ctx, `SELECT mac FROM outbox_notices WHERE recipient = ? AND id = ?`, n.Recipient, n.ID).Scan(&mac); err != nil {
		return wire.Statement{}, err
	}
	notice, err := gate.New(o.st.Consent(), o.st.Station()).ReleaseNotice(gate.StoredNotice{Recipient: n.Recipient, ID: n.ID, Body: n.Body, MAC: mac})
	if err != nil {
		return wire.Statement{}, err
	}
	s, err := t.Tell(ctx, notice)
	if err != nil {
		return wire.Statement{}, err
	}
	w, err := wire.ParseWithdrawal(n.Body) // what a notice is done by must not hang on one place
	if err != nil || !s.Answers(w) {
		return wire.Statement{}, fmt.Errorf("the statement is for another withdrawal: %w", wire.ErrSignature)
	}
	return s, s.Verify(p.r.ReceiptKey)
}

func (o *Outbox) settleNotice(ctx context.Context, n Notice, p *peer, s wire.Statement, sendErr error) error {
	return o.st.Tx(ctx, func(tx *sql.Tx) error {
		now := o.opt.Now()
		var status interface{ HTTPStatus() int }
		switch {
		case sendErr == nil:
			text := s.Append(nil)
			r, err := tx.ExecContext(ctx, `UPDATE outbox_notices SET state = 'done', settled = ?, statement = ?, attempts = attempts + 1, reason = NULL
				WHERE recipient = ? AND id = ? AND state = 'queued'`, now.UnixMilli(), text, n.Recipient, n.ID)
			if err != nil {
				return err
			}
			if k, err := r.RowsAffected(); err != nil || k == 0 {
				return err
			}
			sum := sha256.Sum256(text)
			if n.Visit, err = o.noticeVisit(ctx, tx, n); err != nil {
				return err
			}
			return o.recordNotice(ctx, tx, ledger.NoticeAnswered, n, ledger.Facts{Receipt: hex.EncodeToString(sum[:]), Count: len(s.Erased)})
		case errors.As(sendErr, &status), errors.Is(sendErr, gate.ErrTampered):
			reason := "tampered"
			if status != nil {
				reason = fmt.Sprintf("http-%d", status.HTTPStatus())
			}
			_, err := tx.ExecContext(ctx, `UPDATE outbox_notices SET state = 'rejected', settled = ?, attempts = attempts + 1, reason = ?
				WHERE recipient = ? AND id = ? AND state = 'queued'`, now.UnixMilli(), reason, n.Recipient, n.ID)
			return err
		}
		if p.held != nil || p.down != nil && p.down != sendErr { //nolint:errorlint // the very same
			return nil // not tried
		}
		p.down = sendErr
		wait := o.delay(n.Attempts)
		var after interface{ RetryAfter() time.Duration }
		if errors.As(sendErr, &after) {
			wait = max(wait, min(after.RetryAfter(), maxAfter))
		}
		_, err := tx.ExecContext(ctx, `UPDATE outbox_notices SET attempts = attempts + 1, due = ? WHERE recipient = ? AND id = ? AND state = 'queued'`,
			now.Add(wait).UnixMilli(), n.Recipient, n.ID)
		return err
	})
}

// noticeVisit is the visit of a notice as it stands now: "" when it was erased meanwhile.
func (o *Outbox) noticeVisit(ctx context.Context, tx ledger.DBTX, n Notice) (visit string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT coalesce(visit, '') FROM outbox_notices WHERE recipient = ? AND id = ?`, n.Recipient, n.ID).Scan(&visit)
	return visit, err
}

func closePeers(to map[string]*peer) {
	for _, p := range to {
		if p.sender != nil {
			p.sender.Close()
		}
	}
}

// DropNotices removes notices that were settled before a time, answered or refused, except those of restricted visits, and logs
// how many. What waits to be told waits on.
func (o *Outbox) DropNotices(ctx context.Context, before time.Time) (n int, err error) {
	err = o.st.Tx(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT recipient, id, coalesce(visit, '') FROM outbox_notices WHERE state <> 'queued' AND settled <= ?`, before.UnixMilli())
		if err != nil {
			return err
		}
		defer rows.Close()
		var due []Notice
		for rows.Next() {
			var d Notice
			if err := rows.Scan(&d.Recipient, &d.ID, &d.Visit); err != nil {
				return err
			}
			due = append(due, d)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, d := range due {
			if d.Visit != "" {
				if hold, err := o.st.RestrictionTx(ctx, tx, d.Visit); err != nil || hold != "" {
					if err != nil {
						return err
					}
					continue
				}
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM outbox_notices WHERE recipient = ? AND id = ?`, d.Recipient, d.ID); err != nil {
				return err
			}
			n++
		}
		if n == 0 {
			return nil
		}
		_, err = o.st.Ledger().AppendTx(ctx, tx, ledger.Event{Kind: ledger.Dropped, At: o.opt.Now(), Facts: ledger.Facts{Reason: "notices", Count: n}})
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
