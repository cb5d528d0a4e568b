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
	"obdgate/internal/crash"
	"obdgate/internal/gate"
	"obdgate/internal/ledger"
	"obdgate/internal/recipient"
	"obdgate/internal/store"
	"obdgate/internal/wire"
)

// Sender sends to one recipient; uplink.Client is one. An error that has RetryAfter() time.Duration may be cured by time,
// one that has HTTPStatus() int never; any other keeps the item queued and is told.
type Sender interface {
	Send(ctx context.Context, e gate.Envelope) (wire.Receipt, error)
	Close()
}

// Connect prepares a Sender for a registered recipient.
type Connect func(r recipient.Recipient) (Sender, error)

// DrainOptions narrow one Drain.
type DrainOptions struct {
	Visit string // "" = everything
	All   bool   // items that wait out a back-off too: a person asked
}

// Outcome is what became of one item in one Drain.
type Outcome string

const (
	WasSent     Outcome = "sent"     // acknowledged with a verified receipt
	WasDeferred Outcome = "deferred" // the collector could not take it; queued with a later due time
	WasBlocked  Outcome = "blocked"  // consent is gone; destroyed
	WasRejected Outcome = "rejected" // the collector will never take it, or it was tampered with
	WasHeld     Outcome = "held"     // the recipient's entry does not allow sending (no agreement, not enrolled, removed)
	WasBusy     Outcome = "busy"     // another process is sending it, or one died a moment ago
	WasUnproved Outcome = "unproved" // the collector answered without proving delivery; stays queued
)

// Report tells of one item.
type Report struct {
	Item    Item // as it was before
	Outcome Outcome
	Err     error        // cause; nil when sent or busy
	Receipt wire.Receipt // when sent
}

// Result sums up one Drain.
type Result struct {
	Sent, Deferred, Blocked, Rejected, Held, Busy, Unproved int
	Reports                                                 []Report
	Told                                                    []Told // notices of withdrawals, which go first
}

func (r *Result) add(rep Report) {
	n := map[Outcome]*int{WasSent: &r.Sent, WasDeferred: &r.Deferred, WasBlocked: &r.Blocked, WasRejected: &r.Rejected,
		WasHeld: &r.Held, WasBusy: &r.Busy, WasUnproved: &r.Unproved}[rep.Outcome]
	*n++
	r.Reports = append(r.Reports, rep)
}

// Drain sends what is due, one item at a time. For each: in one transaction the ledger is asked for consent, the release is
// recorded and the item leased; then it is sent; in a second transaction the receipt is stored and acknowledged. A
// withdrawal between the two cannot call back what is on the wire: that is at most one item for each Drain that runs. Once a
// recipient does not answer, its other items are not tried. Withdrawals are told before anything is sent. The error is of the state itself; what happened to items is in
// the result, which is filled as far as Drain came.
func (o *Outbox) Drain(ctx context.Context, connect Connect, d DrainOptions) (Result, error) {
	var res Result
	items, err := o.candidates(ctx, d)
	if err != nil {
		return res, err
	}
	to := map[string]*peer{}
	defer func() { closePeers(to) }()
	if res.Told, err = o.tell(ctx, connect, d, to); err != nil {
		return res, err
	}
	for _, it := range items {
		p := to[it.Recipient]
		if p == nil {
			if p, err = o.peer(ctx, it.Recipient, connect); err != nil {
				return res, err
			}
			to[it.Recipient] = p
		}
		rep, err := o.deliver(ctx, it, p)
		if err != nil {
			return res, err
		}
		if rep.Outcome != "" {
			res.add(rep)
		}
		if err := ctx.Err(); err != nil {
			return res, err
		}
	}
	return res, nil
}

// candidates lists what may be sent, without claiming it. A lease or a delay longer than any this program sets comes from a
// clock that was wrong and counts as over.
func (o *Outbox) candidates(ctx context.Context, d DrainOptions) ([]Item, error) {
	all, err := o.Items(ctx, d.Visit)
	if err != nil {
		return nil, err
	}
	now := o.opt.Now()
	var due []Item
	for _, it := range all {
		waits := it.Due.After(now) && !it.Due.After(now.Add(o.longest()))
		if it.State == Sending || it.State == Queued && (d.All || !waits) {
			due = append(due, it)
		}
	}
	return due, nil
}

const maxAfter = 24 * time.Hour // as far as a collector's Retry-After is followed

func (o *Outbox) longest() time.Duration { return max(o.opt.Max, maxAfter) + time.Minute }

// peer is a recipient during one Drain.
type peer struct {
	r      recipient.Recipient
	sender Sender
	held   error // why nothing may be sent to it
	down   error // it did not answer an item of this Drain
}

func (o *Outbox) peer(ctx context.Context, name string, connect Connect) (*peer, error) {
	r, err := o.st.Recipient(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &peer{held: fmt.Errorf("recipient %s was removed from the register: %w", name, gate.ErrNoAgreement)}, nil
	case err != nil:
		return nil, err
	}
	if err := r.Usable(); err != nil {
		return &peer{r: r, held: err}, nil
	}
	s, err := connect(r)
	if err != nil {
		return &peer{r: r, held: err}, nil
	}
	return &peer{r: r, sender: s}, nil
}

func (o *Outbox) deliver(ctx context.Context, it Item, p *peer) (Report, error) {
	rep := Report{Item: it}
	switch {
	case p.held == nil && !p.r.For(it.Purpose):
		rep.Outcome, rep.Err = WasHeld, fmt.Errorf("%w: %s", gate.ErrPurpose, it.Purpose.Kind())
	case p.held != nil:
		rep.Outcome, rep.Err = WasHeld, p.held
	case p.down != nil:
		rep.Outcome, rep.Err = WasDeferred, p.down
	}
	// What may not leave any more is destroyed even when nothing can be sent.
	e, rep, err := o.claim(ctx, it, rep)
	if err != nil || rep.Outcome != "" || e.ID() == "" {
		return rep, err
	}
	if err := o.at("claimed"); err != nil {
		return rep, err
	}
	stop := o.renew(ctx, it)
	receipt, sendErr := p.sender.Send(ctx, e)
	stop()
	if sendErr == nil {
		sendErr = proves(receipt, e, p.r)
	}
	if err := o.at("sent"); err != nil {
		return rep, err
	}
	rep, err = o.settle(context.WithoutCancel(ctx), it, p, receipt, sendErr)
	if err != nil {
		return rep, err
	}
	return rep, o.at("settled")
}

// proves repeats the check of the sender: what an item is done by must not hang on one place.
func proves(r wire.Receipt, e gate.Envelope, to recipient.Recipient) error {
	if r.Envelope != e.ID() || r.Station != e.Station() {
		return fmt.Errorf("the receipt is for another envelope: %w", wire.ErrSignature)
	}
	return r.Verify(to.ReceiptKey)
}

// claim asks for consent, records the release and takes the lease, in one transaction. It fills rep when the item is not to
// be sent; an empty envelope with an empty rep means that it was settled in the meantime. With rep filled on entry only
// consent is looked at.
func (o *Outbox) claim(ctx context.Context, it Item, rep Report) (e gate.Envelope, _ Report, err error) {
	err = o.st.Tx(ctx, func(tx *sql.Tx) error {
		now := o.opt.Now()
		state, lease := State(""), sql.NullInt64{}
		err := tx.QueryRowContext(ctx, `SELECT state, lease FROM outbox WHERE recipient = ? AND id = ?`, it.Recipient, it.ID).Scan(&state, &lease)
		if errors.Is(err, sql.ErrNoRows) || err == nil && state != Queued && state != Sending {
			rep = Report{} // erased, destroyed or done by someone else
			return nil
		}
		if err != nil {
			return err
		}
		if left := time.UnixMilli(lease.Int64).Sub(now); state == Sending && left > 0 && left <= o.opt.Lease {
			rep.Outcome, rep.Err = WasBusy, nil
			return nil
		}
		s, err := o.load(ctx, tx, it.Recipient, it.ID)
		if err == nil {
			e, err = gate.New(txConsent{o, tx, now}, o.st.Station()).Release(ctx, s)
		}
		switch {
		case errors.Is(err, gate.ErrTampered):
			rep.Outcome, rep.Err = WasRejected, err
			return o.reject(ctx, tx, it, "tampered")
		case errors.Is(err, store.ErrRestricted):
			rep.Outcome, rep.Err = WasHeld, err
			return nil
		case errors.Is(err, gate.ErrNoConsent):
			rep.Outcome, rep.Err = WasBlocked, err
			answer, _, _, err := o.st.StandingTx(ctx, tx, it.Visit, it.Purpose, it.Recipient, now)
			if err != nil {
				return err
			}
			return o.destroyOne(ctx, tx, it, answer.String())
		case err != nil || rep.Outcome != "":
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE outbox SET state = 'sending', owner = ?, lease = ?, attempts = attempts + 1
			WHERE recipient = ? AND id = ?`, o.owner, now.Add(o.opt.Lease).UnixMilli(), it.Recipient, it.ID); err != nil {
			return err
		}
		if err := o.record(ctx, tx, ledger.Released, it, ledger.Facts{}); err != nil {
			return err
		}
		return o.at("claiming")
	})
	if rep.Outcome != "" || err != nil {
		e = gate.Envelope{}
	}
	return e, rep, err
}

// txConsent asks the ledger inside the claiming transaction: an answer cannot change between the question and the lease.
type txConsent struct {
	o   *Outbox
	tx  ledger.DBTX
	now time.Time
}

func (c txConsent) Standing(ctx context.Context, visit string, p consent.Purpose, recipient string) (consent.Answer, string, error) {
	a, _, receipt, err := c.o.st.StandingTx(ctx, c.tx, visit, p, recipient, c.now)
	return a, receipt, err
}

func (o *Outbox) reject(ctx context.Context, tx ledger.DBTX, it Item, reason string) error {
	_, err := tx.ExecContext(ctx, `UPDATE outbox SET state = 'rejected', owner = NULL, lease = NULL, settled = ?, reason = ?
		WHERE recipient = ? AND id = ?`, o.opt.Now().UnixMilli(), reason, it.Recipient, it.ID)
	if err != nil {
		return err
	}
	return o.record(ctx, tx, ledger.Rejected, it, ledger.Facts{Reason: reason})
}

// renew keeps the lease while the item is on the wire; the returned function ends it and waits until it has ended.
func (o *Outbox) renew(ctx context.Context, it Item) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var net crash.Net
	ended := net.Start(func() {
		t := time.NewTicker(o.opt.Lease / 3)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				// A renewal that fails is tried again; when the lease runs out meanwhile, the collector sees the same hash twice.
				_, _ = o.st.DB().ExecContext(ctx, `UPDATE outbox SET lease = ? WHERE recipient = ? AND id = ? AND state = 'sending' AND owner = ?`,
					o.opt.Now().Add(o.opt.Lease).UnixMilli(), it.Recipient, it.ID, o.owner)
			}
		}
	})
	return func() {
		cancel()
		<-ended
		net.Raise()
	}
}

// settle stores what came of sending.
func (o *Outbox) settle(ctx context.Context, it Item, p *peer, receipt wire.Receipt, sendErr error) (Report, error) {
	rep := Report{Item: it, Err: sendErr}
	err := o.st.Tx(ctx, func(tx *sql.Tx) error {
		var after interface{ RetryAfter() time.Duration }
		var status interface{ HTTPStatus() int }
		switch {
		case sendErr == nil:
			rep.Outcome, rep.Receipt = WasSent, receipt
			if err := o.done(ctx, tx, it, receipt); err != nil {
				return err
			}
		case errors.As(sendErr, &status):
			rep.Outcome = WasRejected
			if ours, err := o.ours(ctx, tx, it); err != nil || !ours {
				return err
			}
			if err := o.reject(ctx, tx, it, fmt.Sprintf("http-%d", status.HTTPStatus())); err != nil {
				return err
			}
		default:
			rep.Outcome, p.down = WasUnproved, sendErr
			wait := o.delay(it.Attempts)
			if errors.As(sendErr, &after) {
				rep.Outcome, wait = WasDeferred, max(wait, min(after.RetryAfter(), maxAfter))
			}
			if errors.Is(sendErr, context.Canceled) {
				wait = 0 // the user stopped us; the collector did nothing wrong
			}
			if _, err := tx.ExecContext(ctx, `UPDATE outbox SET state = 'queued', owner = NULL, lease = NULL, due = ?
				WHERE recipient = ? AND id = ? AND state = 'sending' AND owner = ?`,
				o.opt.Now().Add(wait).UnixMilli(), it.Recipient, it.ID, o.owner); err != nil {
				return err
			}
		}
		return o.at("settling")
	})
	return rep, err
}

func (o *Outbox) ours(ctx context.Context, tx ledger.DBTX, it Item) (bool, error) {
	var n int
	err := tx.QueryRowContext(ctx, `SELECT count(*) FROM outbox WHERE recipient = ? AND id = ? AND state = 'sending' AND owner = ?`,
		it.Recipient, it.ID, o.owner).Scan(&n)
	return n == 1, err
}

// done keeps the receipt and records the acknowledgement, once. An item destroyed while on the wire has arrived all the
// same and is shown so, without content; of one erased with its visit nothing is left to record.
func (o *Outbox) done(ctx context.Context, tx ledger.DBTX, it Item, receipt wire.Receipt) error {
	text := receipt.Append(nil)
	r, err := tx.ExecContext(ctx, `UPDATE outbox SET state = 'done', owner = NULL, lease = NULL, settled = ?, reason = NULL, receipt = ?
		WHERE recipient = ? AND id = ? AND state <> 'done'`, o.opt.Now().UnixMilli(), text, it.Recipient, it.ID)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return err
	}
	sum := sha256.Sum256(text)
	return o.record(ctx, tx, ledger.Acknowledged, it, ledger.Facts{Receipt: hex.EncodeToString(sum[:])})
}

// delay is the back-off after the failure that follows `attempts` earlier ones: doubled each time, bounded, and cut by up
// to half so that stations do not come back together.
func (o *Outbox) delay(attempts int) time.Duration {
	d := o.opt.First
	for range attempts {
		if d >= o.opt.Max {
			break
		}
		d *= 2
	}
	d = min(d, o.opt.Max)
	return d - time.Duration(o.opt.Jitter()*float64(d/2))
}

// at interrupts in tests, as a crash would: nothing after it runs.
func (o *Outbox) at(point string) error {
	if o.yield == nil {
		return nil
	}
	return o.yield(point)
}
