package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/visit"
)

// ErrRestricted marks a visit that is kept under a restriction: it is neither erased nor sent until that is lifted.
var ErrRestricted = errors.New("the visit is restricted: it is kept, and neither erased nor sent, until obdgate rights restrict ID --lift")

// Ticket is one customer's request as it is kept. Body is what people wrote, readable while the visit's key lives; of a request
// that was settled after its visit was erased it holds what may stay, sealed under the station's key.
type Ticket struct {
	ID      string
	Visit   string // "" once the visit is erased
	Request string // stable key
	State   string // stable key
	Opened  time.Time
	Due     time.Time
	Longer  bool
	Settled time.Time // zero while open
	Body    []byte    // nil when it went with the visit
	Entry   uint64    // newest entry of the log about it
}

// NewTicketID returns a number for a new ticket.
func NewTicketID() string { return "t" + randomID(8) }

const ticketAAD = "obdgate/ticket/"

// PutTicket stores a ticket, new or changed, with its entry in the ledger: reason is a stable key, commitment what the customer
// is told. It returns the entry's number.
func (s *Store) PutTicket(ctx context.Context, t Ticket, reason, commitment string) (entry uint64, err error) {
	err = s.Tx(ctx, func(tx *sql.Tx) error {
		var visit, settled any
		var body []byte
		var err error
		if t.Visit != "" {
			visit = t.Visit
			body, err = s.sealRecord(ctx, tx, t.Visit, "ticket/"+t.ID, t.Body)
		} else {
			body, err = seal(s.station.seal, t.Body, ticketAAD+t.ID)
		}
		if err != nil {
			return err
		}
		if !t.Settled.IsZero() {
			settled = t.Settled.UnixMilli()
		}
		e, err := s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.Rights, Visit: t.Visit, At: s.now(),
			Facts: ledger.Facts{Reason: reason, Commitment: commitment}})
		if err != nil {
			return err
		}
		entry = e.Seq
		_, err = tx.ExecContext(ctx, `INSERT INTO store_tickets (id, visit, request, state, opened, due, longer, settled, body, entry)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state, due = excluded.due,
			longer = excluded.longer, settled = excluded.settled, body = excluded.body, entry = excluded.entry`,
			t.ID, visit, t.Request, t.State, t.Opened.UnixMilli(), t.Due.UnixMilli(), t.Longer, settled, body, int64(entry))
		return err
	})
	return entry, err
}

// Tickets returns the requests, oldest first; visit "" = all.
func (s *Store) Tickets(ctx context.Context, visit string) ([]Ticket, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, coalesce(visit, ''), request, state, opened, due, longer, coalesce(settled, 0), body,
		coalesce(entry, 0) FROM store_tickets WHERE ?1 = '' OR visit = ?1 ORDER BY opened, id`, visit)
	if err != nil {
		return nil, Explain(err)
	}
	var all []Ticket
	for rows.Next() {
		var t Ticket
		var opened, due, settled int64
		if err := rows.Scan(&t.ID, &t.Visit, &t.Request, &t.State, &opened, &due, &t.Longer, &settled, &t.Body, &t.Entry); err != nil {
			rows.Close()
			return nil, Explain(err)
		}
		t.Opened, t.Due = time.UnixMilli(opened).UTC(), time.UnixMilli(due).UTC()
		if settled != 0 {
			t.Settled = time.UnixMilli(settled).UTC()
		}
		all = append(all, t)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, Explain(err)
	}
	for i := range all {
		t := &all[i]
		switch {
		case t.Body == nil:
		case t.Visit == "":
			// Written before the visit was erased, it opens no more.
			if t.Body, err = unseal(s.station.seal, t.Body, ticketAAD+t.ID); err != nil {
				t.Body = nil
			}
		default:
			if t.Body, err = s.openRecord(ctx, s.db, t.Visit, "ticket/"+t.ID, t.Body); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// DropTickets removes requests that were settled before a time, except those of restricted visits, and logs how many.
func (s *Store) DropTickets(ctx context.Context, before time.Time) (n int, err error) {
	err = s.Tx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM store_tickets WHERE settled IS NOT NULL AND settled <= ? AND
			NOT EXISTS (SELECT 1 FROM store_visits v WHERE v.id = visit AND v.hold IS NOT NULL)`, before.UnixMilli())
		if err != nil {
			return err
		}
		gone, err := res.RowsAffected()
		if n = int(gone); err != nil || n == 0 {
			return err
		}
		_, err = s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.Dropped, At: s.now(), Facts: ledger.Facts{Reason: "requests", Count: n}})
		return err
	})
	if err != nil || n == 0 {
		return 0, err
	}
	return n, s.scrub(ctx)
}

// Restrict keeps a visit as it is: reason is a stable key such as legal-hold or accuracy-contested.
func (s *Store) Restrict(ctx context.Context, visit, reason string) error {
	return s.Tx(ctx, func(tx *sql.Tx) error { return s.setHold(ctx, tx, visit, reason, "restricted."+reason) })
}

// LiftRestriction ends it, and destroys in the same transaction what a no given meanwhile could not.
func (s *Store) LiftRestriction(ctx context.Context, visit string) (out Taken, err error) {
	err = s.Tx(ctx, func(tx *sql.Tx) error {
		if err := s.setHold(ctx, tx, visit, nil, "restriction-lifted"); err != nil {
			return err
		}
		for _, purpose := range []consent.Purpose{consent.Service, consent.OBFCM} {
			a, d, _, err := s.StandingTx(ctx, tx, visit, purpose, "", s.now())
			if err != nil {
				return err
			}
			d.Purpose, d.Answer = purpose, a
			t, err := s.TakeBackTx(ctx, tx, visit, d)
			if err != nil {
				return err
			}
			out.Values, out.Mileage = out.Values+t.Values, out.Mileage || t.Mileage
		}
		return nil
	})
	if err != nil {
		return Taken{}, err
	}
	return out, s.FinishDestruction(ctx)
}

func (s *Store) setHold(ctx context.Context, tx ledger.DBTX, visit string, hold any, event string) error {
	res, err := tx.ExecContext(ctx, `UPDATE store_visits SET hold = ?, due = NULL WHERE id = ?`, hold, visit)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return fmt.Errorf("visit %s: %w", visit, errors.Join(ErrNotFound, err))
	}
	_, err = s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.Rights, Visit: visit, At: s.now(), Facts: ledger.Facts{Reason: event}})
	return err
}

// Restriction is why a visit is restricted, "" when it is not.
func (s *Store) Restriction(ctx context.Context, visit string) (string, error) {
	return s.RestrictionTx(ctx, s.db, visit)
}

// RestrictionTx is Restriction within tx.
func (s *Store) RestrictionTx(ctx context.Context, tx ledger.DBTX, visit string) (string, error) {
	reason, err := s.hold(ctx, tx, visit)
	return reason, Explain(err)
}

func (s *Store) hold(ctx context.Context, tx ledger.DBTX, visit string) (reason string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT coalesce(hold, '') FROM store_visits WHERE id = ?`, visit).Scan(&reason)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return reason, err
}

// unrestricted is ErrRestricted, with the visit and the reason, when the visit is.
func (s *Store) unrestricted(ctx context.Context, tx ledger.DBTX, visit string) error {
	reason, err := s.hold(ctx, tx, visit)
	if err == nil && reason != "" {
		err = fmt.Errorf("visit %s (%s): %w", visit, reason, ErrRestricted)
	}
	return err
}

// Rectify changes what people entered on a visit, order or language; ErrNotFound for anything else: what the vehicle said is
// not rewritten. The request is logged with its ticket.
func (s *Store) Rectify(ctx context.Context, id, field, value string) error {
	_, err := s.UpdateVisit(ctx, id, func(v *visit.Visit) error {
		switch field {
		case "order":
			v.Order = value
		case "language":
			v.Language = value
		default:
			return fmt.Errorf("%s %w", field, ErrNotFound)
		}
		return nil
	})
	return err
}
