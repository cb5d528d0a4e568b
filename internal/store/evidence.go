package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrImage marks what is no image a signature may be kept as.
var ErrImage = errors.New("a signature is a PNG or JPEG image of at most 1 MB")

// MaxImage is the largest signature image, in bytes.
const MaxImage = 1 << 20

// AddSignature keeps the image of a signature that stands behind an answer, sealed under the visit's record key, and returns
// its SHA-256 in hexadecimal: the reference of the evidence. The same image twice is kept once.
func (s *Store) AddSignature(ctx context.Context, visit string, image []byte) (string, error) {
	png, jpeg := bytes.HasPrefix(image, []byte("\x89PNG\r\n\x1a\n")), bytes.HasPrefix(image, []byte("\xff\xd8\xff"))
	if len(image) > MaxImage || !png && !jpeg {
		return "", ErrImage
	}
	sum := sha256.Sum256(image)
	name := hex.EncodeToString(sum[:])
	err := s.Tx(ctx, func(tx *sql.Tx) error {
		body, err := s.sealRecord(ctx, tx, visit, "signature/"+name, image)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO store_evidence (visit, sha256, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, visit, name, body)
		return err
	})
	if err != nil {
		return "", err
	}
	return name, nil
}

// Signatures returns the images kept with a visit, by their SHA-256.
func (s *Store) Signatures(ctx context.Context, visit string) (map[string][]byte, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT sha256, body FROM store_evidence WHERE visit = ?`, visit)
	if err != nil {
		return nil, Explain(err)
	}
	sealed := map[string][]byte{}
	for rows.Next() {
		var name string
		var body []byte
		if err := rows.Scan(&name, &body); err != nil {
			rows.Close()
			return nil, Explain(err)
		}
		sealed[name] = body
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, Explain(err)
	}
	for name, body := range sealed {
		image, err := s.openRecord(ctx, s.db, visit, "signature/"+name, body)
		if err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(image); hex.EncodeToString(sum[:]) != name {
			return nil, fmt.Errorf("%w: a signature image", ErrCorrupt)
		}
		sealed[name] = image
	}
	return sealed, nil
}
