package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"obdgate/internal/ledger"
)

var errSeal = errors.New("store: a sealed body does not open: it was changed, moved or belongs to another key")

// seal encrypts with AES-256-GCM: a random 12-byte nonce, then ciphertext and tag. aad binds the body to its place.
func seal(key, plain []byte, aad string) ([]byte, error) {
	g, err := gcm(key)
	if err != nil {
		return nil, err
	}
	out := make([]byte, g.NonceSize(), g.NonceSize()+len(plain)+g.Overhead())
	if _, err := rand.Read(out); err != nil {
		return nil, err
	}
	return g.Seal(out, out, plain, []byte(aad)), nil
}

func unseal(key, sealed []byte, aad string) ([]byte, error) {
	g, err := gcm(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < g.NonceSize() {
		return nil, errSeal
	}
	plain, err := g.Open(nil, sealed[:g.NonceSize()], sealed[g.NonceSize():], []byte(aad))
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// Uses of a visit's keys.
const (
	useBody    = "body"    // what was read; replaced when values are shredded
	useMileage = "mileage" // the mark left for the vehicle's next visit
	useYes     = "yes"     // seals nothing: without it no yes of the visit counts. Replaced at every no
	useRecord  = "record"  // answers, receipts, what waits to be sent; lives as long as the visit
)

func wrapAAD(visit, use string, slot uint32) string {
	return fmt.Sprintf("obdgate/key/%s/%s/%d", visit, use, slot)
}

// newKey makes a data key of a visit and stores it wrapped. An older key of the same use is given up: its slot is noted and
// forgotten once the transaction is committed (see destroyed).
func (s *Store) newKey(ctx context.Context, tx ledger.DBTX, visit, use string, in int) ([]byte, error) {
	if err := s.giveUp(ctx, tx, visit, use); err != nil {
		return nil, err
	}
	slot, wrap, err := s.newSlot(ctx, tx, in)
	if err != nil {
		return nil, err
	}
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	wrapped, err := seal(wrap, key, wrapAAD(visit, use, slot))
	if err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO store_keys (visit, use, slot, wrapped) VALUES (?, ?, ?, ?)`, visit, use, slot, wrapped)
	return key, Explain(err)
}

// giveUp removes a visit's keys, of one use or of all ("").
func (s *Store) giveUp(ctx context.Context, tx ledger.DBTX, visit, use string) error {
	const which = ` FROM store_keys WHERE visit = ? AND (use = ? OR ? = '')`
	if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO store_forget (slot) SELECT slot`+which, visit, use, use); err != nil {
		return Explain(err)
	}
	_, err := tx.ExecContext(ctx, `DELETE`+which, visit, use, use)
	return Explain(err)
}

// newSlot takes the next slot of a range.
func (s *Store) newSlot(ctx context.Context, tx ledger.DBTX, in int) (uint32, []byte, error) {
	name := metaNext + strconv.Itoa(in)
	n, err := metaInt(ctx, tx, name)
	if err != nil {
		return 0, nil, err
	}
	for ; n < 1<<30; n++ {
		slot := uint32(in)<<30 | uint32(n)
		if key, ok := s.slotKey(slot); ok {
			_, err := tx.ExecContext(ctx, `UPDATE store_meta SET value = ? WHERE name = ?`, strconv.Itoa(n+1), name)
			return slot, key, Explain(err)
		}
	}
	return 0, nil, fmt.Errorf("%w: it has no keys left", ErrKey)
}

func (s *Store) slotKey(slot uint32) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree.key(slot)
}

// visitKey unwraps a data key. It is never kept in memory: a key that was destroyed by another process is gone here too.
func (s *Store) visitKey(ctx context.Context, tx ledger.DBTX, visit, use string) ([]byte, error) {
	var slot uint32
	var wrapped []byte
	err := tx.QueryRowContext(ctx, `SELECT slot, wrapped FROM store_keys WHERE visit = ? AND use = ?`, visit, use).Scan(&slot, &wrapped)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("visit %s: %w (%w)", visit, ErrNotFound, ledger.ErrForgotten)
	}
	if err != nil {
		return nil, Explain(err)
	}
	return s.unwrap(visit, use, slot, wrapped)
}

func (s *Store) unwrap(visit, use string, slot uint32, wrapped []byte) ([]byte, error) {
	wrap, ok := s.slotKey(slot)
	if !ok { // the row comes from a copy of the state that is older than the erasure
		return nil, fmt.Errorf("visit %s: it was erased: %w (%w)", visit, ErrNotFound, ledger.ErrForgotten)
	}
	key, err := unseal(wrap, wrapped, wrapAAD(visit, use, slot))
	if err != nil {
		return nil, fmt.Errorf("%w: the key of visit %s", ErrCorrupt, visit)
	}
	return key, nil
}

// Keys encrypts small bodies under a visit's record key, for rooms that keep something of a visit. Once the visit is erased
// nothing of it opens any more: Decrypt then returns an error wrapping ledger.ErrForgotten.
type Keys struct{ s *Store }

// Keys returns the encryption of visit-bound bodies.
func (s *Store) Keys() Keys { return Keys{s} }

// Encrypt seals plain under the key of visit. aad names what the body is and must be given again to open it.
func (k Keys) Encrypt(ctx context.Context, visit string, aad, plain []byte) ([]byte, error) {
	return k.s.sealRecord(ctx, k.s.db, visit, "keys/"+string(aad), plain)
}

// Decrypt is the mirror of Encrypt.
func (k Keys) Decrypt(ctx context.Context, visit string, aad, sealed []byte) ([]byte, error) {
	return k.s.openRecord(ctx, k.s.db, visit, "keys/"+string(aad), sealed)
}

// EncryptTx is Encrypt within tx.
func (k Keys) EncryptTx(ctx context.Context, tx ledger.DBTX, visit string, aad, plain []byte) ([]byte, error) {
	return k.s.sealRecord(ctx, tx, visit, "keys/"+string(aad), plain)
}

// DecryptTx is Decrypt within tx.
func (k Keys) DecryptTx(ctx context.Context, tx ledger.DBTX, visit string, aad, sealed []byte) ([]byte, error) {
	return k.s.openRecord(ctx, tx, visit, "keys/"+string(aad), sealed)
}

func recordAAD(visit, use string) string { return "obdgate/record/" + visit + "/" + use }

func (s *Store) sealRecord(ctx context.Context, tx ledger.DBTX, visit, use string, plain []byte) ([]byte, error) {
	key, err := s.visitKey(ctx, tx, visit, useRecord)
	if err != nil {
		return nil, err
	}
	return seal(key, plain, recordAAD(visit, use))
}

func (s *Store) openRecord(ctx context.Context, tx ledger.DBTX, visit, use string, sealed []byte) ([]byte, error) {
	key, err := s.visitKey(ctx, tx, visit, useRecord)
	if err != nil {
		return nil, err
	}
	return unseal(key, sealed, recordAAD(visit, use))
}

// vault lends the visits' record keys to the ledger.
type vault struct{ s *Store }

func (v vault) Seal(ctx context.Context, tx ledger.DBTX, visit, use string, plain []byte) ([]byte, error) {
	return v.s.sealRecord(ctx, tx, visit, use, plain)
}

func (v vault) Open(ctx context.Context, tx ledger.DBTX, visit, use string, sealed []byte) ([]byte, error) {
	return v.s.openRecord(ctx, tx, visit, use, sealed)
}

func (v vault) Derive(ctx context.Context, tx ledger.DBTX, visit, use string) ([]byte, error) {
	key, err := v.s.visitKey(ctx, tx, visit, useRecord)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, key, nil, recordAAD(visit, use), keyBytes)
}

func (v vault) Visits(ctx context.Context, tx ledger.DBTX) ([]string, error) {
	alive, _, err := v.s.keyed(ctx, tx)
	return alive, err
}

// keyed lists the visits whose record key can be made, and those whose key was forgotten: rows that an older copy of the
// state brought back.
func (s *Store) keyed(ctx context.Context, tx ledger.DBTX) (alive, forgotten []string, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT visit, slot FROM store_keys WHERE use = ? ORDER BY visit`, useRecord)
	if err != nil {
		return nil, nil, Explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var slot uint32
		if err := rows.Scan(&id, &slot); err != nil {
			return nil, nil, Explain(err)
		}
		if _, ok := s.slotKey(slot); ok {
			alive = append(alive, id)
		} else {
			forgotten = append(forgotten, id)
		}
	}
	return alive, forgotten, Explain(rows.Err())
}
