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
	useBody   = "body"   // what was read; replaced when values are shredded
	useRecord = "record" // answers, receipts, what waits to be sent; lives as long as the visit
)

func wrapAAD(visit, use string, epoch int) string {
	return fmt.Sprintf("obdgate/key/%s/%s/%d", visit, use, epoch)
}

// newKey makes a data key of a visit and stores it wrapped, in place of an older one of the same use.
func (s *Store) newKey(ctx context.Context, tx ledger.DBTX, visit, use string) ([]byte, error) {
	epoch, wrap, err := s.wrapKey(ctx, tx)
	if err != nil {
		return nil, err
	}
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	wrapped, err := seal(wrap, key, wrapAAD(visit, use, epoch))
	if err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO store_keys (visit, use, epoch, wrapped) VALUES (?, ?, ?, ?)
		ON CONFLICT (visit, use) DO UPDATE SET epoch = excluded.epoch, wrapped = excluded.wrapped`, visit, use, epoch, wrapped)
	return key, Explain(err)
}

// visitKey unwraps a data key. It is never kept in memory: a key that was destroyed by another process is gone here too.
func (s *Store) visitKey(ctx context.Context, tx ledger.DBTX, visit, use string) ([]byte, error) {
	var epoch int
	var wrapped []byte
	err := tx.QueryRowContext(ctx, `SELECT epoch, wrapped FROM store_keys WHERE visit = ? AND use = ?`, visit, use).Scan(&epoch, &wrapped)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("visit %s: %w (%w)", visit, ErrNotFound, ledger.ErrForgotten)
	}
	if err != nil {
		return nil, Explain(err)
	}
	wrap, err := s.epochKey(epoch)
	if err != nil {
		return nil, err
	}
	key, err := unseal(wrap, wrapped, wrapAAD(visit, use, epoch))
	if err != nil {
		return nil, fmt.Errorf("%w: the key of visit %s", ErrCorrupt, visit)
	}
	return key, nil
}

// wrapKey returns the epoch in force within tx and its key. Reading the epoch inside the transaction keeps a process that
// slept through a rotation from wrapping under a key that no longer exists.
func (s *Store) wrapKey(ctx context.Context, tx ledger.DBTX) (int, []byte, error) {
	epoch, err := metaInt(ctx, tx, metaEpoch)
	if err != nil {
		return 0, nil, err
	}
	key, err := s.epochKey(epoch)
	return epoch, key, err
}

func (s *Store) epochKey(epoch int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.wrap[epoch]; ok {
		return k, nil
	}
	k, err := s.loadKey() // another process has rotated
	if err != nil {
		return nil, err
	}
	s.wrap = k.Wrap
	if w, ok := s.wrap[epoch]; ok {
		return w, nil
	}
	return nil, fmt.Errorf("%w: the key of epoch %d was destroyed: this copy of the state is older than an erasure", ErrKey, epoch)
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
	rows, err := tx.QueryContext(ctx, `SELECT visit FROM store_keys WHERE use = ? ORDER BY visit`, useRecord)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, rows.Err()
}
