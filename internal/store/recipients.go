package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/recipient"
)

// recipientAAD binds what is sealed of a recipient to its whole entry: country, purposes, address and keys of the entry cannot be
// exchanged without the station's key.
func recipientAAD(name string, entry []byte) string {
	sum := sha256.Sum256(entry)
	return "obdgate/recipient/" + name + "/" + hex.EncodeToString(sum[:])
}

// AddRecipient puts r into the register. ErrExists when the name is taken, in any spelling of its letters.
func (s *Store) AddRecipient(ctx context.Context, r recipient.Recipient) error {
	return s.putRecipient(ctx, r, false)
}

// ReplaceRecipient puts r in the place of the entry of its name, or adds it.
func (s *Store) ReplaceRecipient(ctx context.Context, r recipient.Recipient) error {
	return s.putRecipient(ctx, r, true)
}

func (s *Store) putRecipient(ctx context.Context, r recipient.Recipient, replace bool) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if r.Added.IsZero() {
		r.Added = s.now()
	}
	r.Added = r.Added.UTC()
	entry, err := json.Marshal(storedRecipient(r))
	if err != nil {
		return err
	}
	private, err := seal(s.station.seal, []byte(r.Key.Reveal()), recipientAAD(r.Name, entry))
	if err != nil {
		return err
	}
	return s.Tx(ctx, func(tx *sql.Tx) error {
		if replace {
			if _, err := tx.ExecContext(ctx, `DELETE FROM store_recipients WHERE name = ?`, r.Name); err != nil {
				return err
			}
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO store_recipients (name, entry, private) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			r.Name, string(entry), private)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return fmt.Errorf("recipient %s %w", r.Name, errors.Join(ErrExists, err))
		}
		_, err = s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.RecipientAdded, At: s.now(), Facts: ledger.Facts{
			Recipient: r.Name, Role: string(r.Role), Country: r.Country}})
		return err
	})
}

// storedRecipient is the entry without the methods that shape it for people.
type storedRecipient recipient.Recipient

const selectRecipients = `SELECT name, entry, private FROM store_recipients`

// Recipient returns the register's entry of that name; ErrNotFound when there is none.
func (s *Store) Recipient(ctx context.Context, name string) (recipient.Recipient, error) {
	return s.RecipientTx(ctx, s.db, name)
}

// RecipientTx is Recipient within tx.
func (s *Store) RecipientTx(ctx context.Context, tx ledger.DBTX, name string) (recipient.Recipient, error) {
	all, err := s.recipients(ctx, tx, selectRecipients+` WHERE name = ?`, name)
	if err != nil {
		return recipient.Recipient{}, err
	}
	if len(all) == 0 {
		return recipient.Recipient{}, fmt.Errorf("recipient %s: %w", name, ErrNotFound)
	}
	return all[0], nil
}

// Recipients returns the register, by name.
func (s *Store) Recipients(ctx context.Context) ([]recipient.Recipient, error) {
	return s.recipients(ctx, s.db, selectRecipients+` ORDER BY name`)
}

func (s *Store) recipients(ctx context.Context, tx ledger.DBTX, query string, args ...any) ([]recipient.Recipient, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, Explain(err)
	}
	defer rows.Close()
	out := []recipient.Recipient{}
	for rows.Next() {
		var name, entry string
		var private []byte
		if err := rows.Scan(&name, &entry, &private); err != nil {
			return nil, Explain(err)
		}
		var r storedRecipient
		if err := json.Unmarshal([]byte(entry), &r); err != nil || r.Name != name {
			return nil, fmt.Errorf("%w: recipient %s", ErrCorrupt, name)
		}
		key, err := unseal(s.station.seal, private, recipientAAD(name, []byte(entry)))
		if err != nil { // a no must be possible all the same, so the register stays readable
			r = storedRecipient{Name: name, Role: r.Role, Country: r.Country, Added: r.Added, Changed: true}
		}
		r.Key = recipient.NewSecret(string(key))
		out = append(out, recipient.Recipient(r))
	}
	return out, Explain(rows.Err())
}

// RemoveRecipient takes an entry out of the register; its private key is destroyed. What is queued for it is the outbox's
// to destroy.
func (s *Store) RemoveRecipient(ctx context.Context, name string) error {
	err := s.Tx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM store_recipients WHERE name = ?`, name)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return fmt.Errorf("recipient %s: %w", name, errors.Join(ErrNotFound, err))
		}
		_, err = s.log.AppendTx(ctx, tx, ledger.Event{Kind: ledger.RecipientRemoved, At: s.now(), Facts: ledger.Facts{Recipient: name}})
		return err
	})
	if err != nil {
		return err
	}
	return s.scrub(ctx)
}

// receivers lists who would receive under purpose, for the receipt: the one the answer names, else all registered.
func (s *Store) receivers(ctx context.Context, tx ledger.DBTX, purpose consent.Purpose, only string) ([]consent.ReceiptRecipient, error) {
	all, err := s.recipients(ctx, tx, selectRecipients+` ORDER BY name`)
	var to []consent.ReceiptRecipient
	for _, r := range all {
		if only == r.Name || only == "" && r.For(purpose) {
			role := "dpv:DataController"
			if r.Role == recipient.Processor {
				role = "dpv:DataProcessor"
			}
			to = append(to, consent.ReceiptRecipient{Name: r.Name, Country: r.Country, Role: role, Retention: r.Retention})
		}
	}
	if only != "" && len(to) == 0 { // not in the register any more; the answer is about it all the same
		to = append(to, consent.ReceiptRecipient{Name: only, Role: "dpv:Recipient"})
	}
	return to, err
}
