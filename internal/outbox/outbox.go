// Package outbox is the durable queue of sealed envelopes. An item is done when a verified receipt is stored with it, and
// at no other moment; until then a crash at any point leaves it to be sent again, which the collector's content hash makes
// harmless.
//
//	queued ──claim──▶ sending ──receipt──▶ done
//	  ▲                 │  │ └──refused──▶ rejected
//	  └──back-off/lease─┘  └──consent gone──▶ destroyed (from queued and rejected too)
package outbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/gate"
	"obdgate/internal/ledger"
	"obdgate/internal/store"
	"obdgate/internal/wire"
)

// State is where an item stands.
type State string

const (
	Queued    State = "queued"    // waits
	Sending   State = "sending"   // handed to the uplink by someone whose lease runs
	Done      State = "done"      // acknowledged; the receipt is kept
	Destroyed State = "destroyed" // consent ended before it left: the content is gone
	Rejected  State = "rejected"  // the collector will not take it, or it was tampered with; see Retry
)

// Errors of this package.
var (
	ErrNothing  = errors.New("outbox: there is nothing sealed to put")
	ErrNotFound = errors.New("outbox: no such item")
)

// Table is where the version of the outbox's table is kept.
const Table = "outbox_version"

//go:embed migrations/*.sql
var migrations embed.FS

// Options change timing; the zero value is what the program uses.
type Options struct {
	First  time.Duration    // delay after the first failure, doubled with each [5 s]
	Max    time.Duration    // longest delay [1 h]
	Lease  time.Duration    // how long a sender that has died keeps others away; renewed at a third of it [12 s]
	Now    func() time.Time // [time.Now]
	Jitter func() float64   // in [0, 1): delays are cut by up to half of it [random]
}

// Outbox is the queue of one station. It is safe for concurrent use, by several processes too.
type Outbox struct {
	st    *store.Store
	opt   Options
	owner string
	yield func(point string) error // tests interrupt here; nil in the product
}

// Open brings the outbox's table in st's database up to date.
func Open(ctx context.Context, st *store.Store, o Options) (*Outbox, error) {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&o.First, 5*time.Second)
	set(&o.Max, time.Hour)
	set(&o.Lease, 12*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = mathrand.Float64
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx, st.DB(), Table, files); err != nil {
		return nil, err
	}
	return &Outbox{st: st, opt: o, owner: rand.Text()}, nil
}

// Item is one envelope in the queue, without its content.
type Item struct {
	Recipient string
	ID        string // content hash
	Visit     string
	Purpose   consent.Purpose
	State     State
	Size      int // bytes
	Attempts  int
	Queued    time.Time
	Due       time.Time // not to be sent before; meaningless once settled
	Settled   time.Time // when done, destroyed or rejected; zero before
	Reason    string    // stable key: of a destruction, of a rejection ("http-422", "tampered")
	Receipt   []byte    // the collector's signed receipt once done; wire.ParseReceipt reads it
}

// Put queues s and records it in the ledger; added is false when the same content for the same recipient is there already.
// Content that was destroyed is queued anew: the gate has just found that consent stands.
func (o *Outbox) Put(ctx context.Context, s gate.Sealed) (added bool, err error) {
	err = o.st.Tx(ctx, func(tx *sql.Tx) error {
		added, err = o.PutTx(ctx, tx, s)
		return err
	})
	return added, err
}

// PutTx is Put within a write transaction.
func (o *Outbox) PutTx(ctx context.Context, tx ledger.DBTX, s gate.Sealed) (added bool, err error) {
	c := s.Stored()
	if c.ID == "" {
		return false, ErrNothing
	}
	var state State
	err = tx.QueryRowContext(ctx, `SELECT state FROM outbox WHERE recipient = ? AND id = ?`, c.Recipient, c.ID).Scan(&state)
	if err == nil && state != Destroyed || err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	body, err := o.st.Keys().EncryptTx(ctx, tx, c.Visit, aad(c.Recipient, c.ID), c.Body)
	if err != nil {
		return false, err
	}
	now := o.opt.Now()
	_, err = tx.ExecContext(ctx, `INSERT INTO outbox (recipient, id, visit, purpose, state, size, body, mac, attempts, queued, due)
		VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?6, ?7, 0, ?8, ?8)
		ON CONFLICT (recipient, id) DO UPDATE SET state = 'queued', body = ?6, mac = ?7, attempts = 0, queued = ?8, due = ?8,
			owner = NULL, lease = NULL, settled = NULL, reason = NULL`,
		c.Recipient, c.ID, c.Visit, string(c.Purpose), len(c.Body), body, c.MAC, now.UnixMilli())
	if err != nil {
		return false, err
	}
	facts := ledger.Facts{Count: len(c.Body)}
	if e, err := wire.Parse(c.Body); err == nil {
		facts.Policy = e.Policy.Version
	}
	return true, o.record(ctx, tx, ledger.Queued, item(c), facts)
}

func item(s gate.Stored) Item {
	return Item{Recipient: s.Recipient, ID: s.ID, Visit: s.Visit, Purpose: s.Purpose}
}

func aad(recipient, id string) []byte { return []byte("outbox/" + recipient + "/" + id) }

// record appends an egress event about it.
func (o *Outbox) record(ctx context.Context, tx ledger.DBTX, kind ledger.Kind, it Item, f ledger.Facts) error {
	f.Purpose, f.Recipient, f.Content = it.Purpose.Kind(), it.Recipient, it.ID
	_, err := o.st.Ledger().AppendTx(ctx, tx, ledger.Event{Kind: kind, Visit: it.Visit, At: o.opt.Now(), Facts: f})
	return err
}

const columns = `recipient, id, visit, purpose, state, size, attempts, queued, due, coalesce(settled, 0), coalesce(reason, ''), receipt`

func scanItem(scan func(...any) error) (it Item, err error) {
	var queued, due, settled int64
	err = scan(&it.Recipient, &it.ID, &it.Visit, &it.Purpose, &it.State, &it.Size, &it.Attempts, &queued, &due, &settled, &it.Reason, &it.Receipt)
	it.Queued, it.Due = time.UnixMilli(queued).UTC(), time.UnixMilli(due).UTC()
	if settled != 0 {
		it.Settled = time.UnixMilli(settled).UTC()
	}
	return it, err
}

// Items lists what is or was in the queue, oldest first; visit "" = of all visits.
func (o *Outbox) Items(ctx context.Context, visit string) (all []Item, err error) {
	rows, err := o.st.DB().QueryContext(ctx, `SELECT `+columns+` FROM outbox WHERE ?1 = '' OR visit = ?1 ORDER BY queued, recipient, id`, visit)
	if err != nil {
		return nil, store.Explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		it, err := scanItem(rows.Scan)
		if err != nil {
			return nil, store.Explain(err)
		}
		all = append(all, it)
	}
	return all, store.Explain(rows.Err())
}

// Body returns the exact bytes of an item: what will leave, or what has left. ErrNotFound when there is none or its content
// was destroyed.
func (o *Outbox) Body(ctx context.Context, recipient, id string) ([]byte, error) {
	s, err := o.load(ctx, o.st.DB(), recipient, id)
	return s.Body, store.Explain(err)
}

// Pending calls yield with every item that would be sent now if the collectors answered, and its exact bytes: nothing is
// claimed, recorded or changed. Items whose consent is gone are left out.
func (o *Outbox) Pending(ctx context.Context, visit string, yield func(Item, []byte) error) error {
	items, err := o.Items(ctx, visit)
	if err != nil {
		return err
	}
	g := gate.New(o.st.Consent(), o.st.Station())
	for _, it := range items {
		if it.State != Queued && it.State != Sending {
			continue
		}
		s, err := o.load(ctx, o.st.DB(), it.Recipient, it.ID)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return store.Explain(err)
		}
		e, err := g.Release(ctx, s)
		if errors.Is(err, gate.ErrNoConsent) || errors.Is(err, store.ErrRestricted) {
			continue
		}
		if err != nil {
			return fmt.Errorf("envelope %s: %w", it.ID, err)
		}
		if err := yield(it, e.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// load opens one stored envelope.
func (o *Outbox) load(ctx context.Context, tx ledger.DBTX, recipient, id string) (s gate.Stored, err error) {
	s.Recipient, s.ID = recipient, id
	var body []byte
	err = tx.QueryRowContext(ctx, `SELECT visit, purpose, body, mac FROM outbox WHERE recipient = ? AND id = ? AND body IS NOT NULL`,
		recipient, id).Scan(&s.Visit, &s.Purpose, &body, &s.MAC)
	if errors.Is(err, sql.ErrNoRows) {
		return gate.Stored{}, ErrNotFound
	}
	if err != nil {
		return gate.Stored{}, err
	}
	if s.Body, err = o.st.Keys().DecryptTx(ctx, tx, s.Visit, aad(recipient, id), body); err != nil && !errors.Is(err, ledger.ErrForgotten) {
		err = fmt.Errorf("%w: %w", gate.ErrTampered, err)
	}
	return s, err
}

// Destroy wipes the content of everything of visit that has not been acknowledged, narrowed to one purpose and one recipient
// where those are not "", and records each in the ledger. reason is a stable key: withdrawn, refused, … What is on the wire
// at this moment may still arrive; it then ends as done without content.
func (o *Outbox) Destroy(ctx context.Context, visit string, p consent.Purpose, recipient, reason string) (n int, err error) {
	err = o.st.Tx(ctx, func(tx *sql.Tx) error {
		n, err = o.DestroyTx(ctx, tx, visit, p, recipient, reason)
		return err
	})
	return n, err
}

// DestroyTx is Destroy within a write transaction: a withdrawal and the destruction it calls for happen together or not at
// all.
func (o *Outbox) DestroyTx(ctx context.Context, tx ledger.DBTX, visit string, p consent.Purpose, recipient, reason string) (int, error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+columns+` FROM outbox WHERE visit = ?1 AND (?2 = '' OR purpose = ?2) AND
		(?3 = '' OR recipient = ?3) AND state IN ('queued', 'sending', 'rejected') ORDER BY queued, recipient, id`, visit, string(p), recipient)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var gone []Item
	for rows.Next() {
		it, err := scanItem(rows.Scan)
		if err != nil {
			return 0, err
		}
		gone = append(gone, it)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, err
	}
	for _, it := range gone {
		if err := o.destroyOne(ctx, tx, it, reason); err != nil {
			return 0, err
		}
	}
	return len(gone), nil
}

func (o *Outbox) destroyOne(ctx context.Context, tx ledger.DBTX, it Item, reason string) error {
	_, err := tx.ExecContext(ctx, `UPDATE outbox SET state = 'destroyed', body = NULL, mac = NULL, owner = NULL, lease = NULL,
		settled = ?, reason = ? WHERE recipient = ? AND id = ?`, o.opt.Now().UnixMilli(), reason, it.Recipient, it.ID)
	if err != nil {
		return err
	}
	return o.record(ctx, tx, ledger.Destroyed, it, ledger.Facts{Count: 1, Reason: reason})
}

// Retry queues a rejected item again, after its cause was mended. ErrNotFound when there is none.
func (o *Outbox) Retry(ctx context.Context, recipient, id string) error {
	return o.st.Tx(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, `UPDATE outbox SET state = 'queued', due = ?, settled = NULL, reason = NULL
			WHERE recipient = ? AND id = ? AND state = 'rejected'`, o.opt.Now().UnixMilli(), recipient, id)
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			return errors.Join(ErrNotFound, err)
		}
		return nil
	})
}

// NextDue is when the next unsettled item may be sent, perhaps in the past; ok is false when nothing waits.
func (o *Outbox) NextDue(ctx context.Context) (at time.Time, ok bool, err error) {
	var ms sql.NullInt64
	err = o.st.DB().QueryRowContext(ctx, `SELECT min(CASE state WHEN 'sending' THEN max(due, coalesce(lease, 0)) ELSE due END)
		FROM outbox WHERE state IN ('queued', 'sending')`).Scan(&ms)
	return time.UnixMilli(ms.Int64).UTC(), ms.Valid, store.Explain(err)
}
