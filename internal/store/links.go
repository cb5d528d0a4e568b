package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"obdgate/internal/ledger"
)

// Errors of links and addresses.
var (
	ErrLink        = errors.New("the link is unknown, has ended or was taken back")
	ErrUnconfirmed = errors.New("the address was not confirmed by its owner: nothing is sent to it")
	ErrAddress     = errors.New("not an e-mail address")
)

// ConfirmDays is how long an e-mail address may wait to be confirmed; then it is gone.
const ConfirmDays = 7

// Link is a way to one visit's own page. Whoever holds the token is the customer for that visit; the token stands in the link
// only, the state keeps its hash. ID names the link as evidence of an answer that was given on the page.
type Link struct {
	ID      string
	Visit   string
	Made    time.Time
	Until   time.Time
	Revoked time.Time // zero = it was not
}

func token() (text string, hash []byte) {
	text = rand.Text() // 128 bits at least
	return text, tokenHash(text)
}

func tokenHash(text string) []byte {
	sum := sha256.Sum256([]byte("obdgate/link/v1\x00" + text))
	return sum[:]
}

// NewLink makes a link to a visit that ends at until, and returns its token, once. ErrNotFound when there is no such visit.
func (s *Store) NewLink(ctx context.Context, visit string, until time.Time) (Link, string, error) {
	text, hash := token()
	l := Link{ID: "l" + randomID(8), Visit: visit, Made: s.now().UTC().Truncate(time.Millisecond), Until: until.UTC().Truncate(time.Millisecond)}
	err := s.Tx(ctx, func(tx *sql.Tx) error {
		if _, err := s.visitKey(ctx, tx, visit, useRecord); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO store_links (id, visit, token, made, until) VALUES (?, ?, ?, ?, ?)`,
			l.ID, visit, hash, l.Made.UnixMilli(), l.Until.UnixMilli()); err != nil {
			return err
		}
		_, err := s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.Accessed, Visit: visit, At: s.now(), Facts: ledger.Facts{Reason: "link-made"}})
		return err
	})
	if err != nil {
		return Link{}, "", err
	}
	return l, text, nil
}

// FindLink returns the link of a token; ErrLink when it is unknown, has ended or was taken back.
func (s *Store) FindLink(ctx context.Context, token string) (Link, error) {
	all, err := s.links(ctx, `token = ?`, tokenHash(token))
	if err != nil {
		return Link{}, err
	}
	if len(all) != 1 || !all[0].Revoked.IsZero() || !s.now().Before(all[0].Until) {
		return Link{}, ErrLink
	}
	return all[0], nil
}

// Links lists the links of a visit, oldest first.
func (s *Store) Links(ctx context.Context, visit string) ([]Link, error) {
	return s.links(ctx, `visit = ?`, visit)
}

func (s *Store) links(ctx context.Context, where string, arg any) ([]Link, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, visit, made, until, coalesce(revoked, 0) FROM store_links WHERE `+where+` ORDER BY made, id`, arg)
	if err != nil {
		return nil, Explain(err)
	}
	defer rows.Close()
	all := []Link{}
	for rows.Next() {
		var l Link
		var made, until, revoked int64
		if err := rows.Scan(&l.ID, &l.Visit, &made, &until, &revoked); err != nil {
			return nil, Explain(err)
		}
		l.Made, l.Until = time.UnixMilli(made).UTC(), time.UnixMilli(until).UTC()
		if revoked != 0 {
			l.Revoked = time.UnixMilli(revoked).UTC()
		}
		all = append(all, l)
	}
	return all, Explain(rows.Err())
}

// RevokeLink takes a link back; ErrLink when there is none that works.
func (s *Store) RevokeLink(ctx context.Context, id string) error {
	return s.Tx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE store_links SET revoked = ? WHERE id = ? AND revoked IS NULL`, s.now().UnixMilli(), id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(ErrLink, err)
		}
		return nil
	})
}

// AskAddress keeps an e-mail address for a visit, unconfirmed, and returns what the confirming message has to carry. Until it
// comes back nothing else may be sent there: who types an address is not always who owns it. A new address takes the place of
// the old one and has to be confirmed anew. ErrAddress when it is none.
func (s *Store) AskAddress(ctx context.Context, visit, address string) (string, error) {
	a, err := mail.ParseAddress(address)
	if err != nil || a.Address != strings.TrimSpace(address) || len(address) > 254 {
		return "", ErrAddress
	}
	text, hash := token()
	err = s.Tx(ctx, func(tx *sql.Tx) error {
		body, err := s.sealRecord(ctx, tx, visit, "address", []byte(a.Address))
		if err != nil {
			return err
		}
		now := s.now()
		_, err = tx.ExecContext(ctx, `INSERT INTO store_addresses (visit, body, token, asked, until) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (visit) DO UPDATE SET body = excluded.body, token = excluded.token, asked = excluded.asked, until = excluded.until,
			confirmed = NULL`, visit, body, hash, now.UnixMilli(), now.AddDate(0, 0, ConfirmDays).UnixMilli())
		return err
	})
	if err != nil {
		return "", err
	}
	return text, nil
}

// ConfirmAddress records that the owner of an address sent back what the message carried. ErrLink when that is unknown or too
// old. Confirming twice does no harm.
func (s *Store) ConfirmAddress(ctx context.Context, token string) error {
	return s.Tx(ctx, func(tx *sql.Tx) error {
		now := s.now().UnixMilli()
		res, err := tx.ExecContext(ctx, `UPDATE store_addresses SET confirmed = coalesce(confirmed, ?1) WHERE token = ?2 AND
			(confirmed IS NOT NULL OR until > ?1)`, now, tokenHash(token))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(ErrLink, err)
		}
		return nil
	})
}

// Address returns the confirmed address of a visit: ErrNotFound without one, ErrUnconfirmed before its owner confirmed it.
func (s *Store) Address(ctx context.Context, visit string) (string, error) {
	address, confirmed, err := s.AnyAddress(ctx, visit)
	switch {
	case err != nil:
		return "", err
	case address == "":
		return "", fmt.Errorf("an address of visit %s: %w", visit, ErrNotFound)
	case confirmed.IsZero():
		return "", ErrUnconfirmed
	}
	return address, nil
}

// AnyAddress returns the address of a visit, confirmed or not, "" without one: for the customer's copy, not for sending.
func (s *Store) AnyAddress(ctx context.Context, visit string) (address string, confirmed time.Time, err error) {
	var body []byte
	var at int64
	err = s.db.QueryRowContext(ctx, `SELECT body, coalesce(confirmed, 0) FROM store_addresses WHERE visit = ?`, visit).Scan(&body, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, Explain(err)
	}
	if at != 0 {
		confirmed = time.UnixMilli(at).UTC()
	}
	plain, err := s.openRecord(ctx, s.db, visit, "address", body)
	return string(plain), confirmed, err
}

// DropAddresses removes addresses nobody confirmed in time, and links that ended or were taken back before a time. It returns
// how many.
func (s *Store) DropAddresses(ctx context.Context, now, linksBefore time.Time) (n int, err error) {
	err = s.Tx(ctx, func(tx *sql.Tx) error {
		for _, q := range []struct {
			sql string
			at  time.Time
		}{
			{`DELETE FROM store_addresses WHERE confirmed IS NULL AND until <= ?`, now},
			{`DELETE FROM store_links WHERE min(until, coalesce(revoked, until)) <= ?`, linksBefore},
		} {
			res, err := tx.ExecContext(ctx, q.sql, q.at.UnixMilli())
			if err != nil {
				return err
			}
			gone, err := res.RowsAffected()
			if err != nil {
				return err
			}
			n += int(gone)
		}
		return nil
	})
	if err != nil || n == 0 {
		return 0, err
	}
	return n, s.scrub(ctx)
}
