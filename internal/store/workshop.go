package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
)

const metaWorkshop = "workshop" // JSON of consent.Workshop

// Workshop is who stands on receipts; zero until SetWorkshop.
func (s *Store) Workshop(ctx context.Context) (consent.Workshop, error) {
	w, err := s.workshop(ctx, s.db)
	return w, Explain(err)
}

// SetWorkshop enters who stands on receipts from now on; consent.ErrInvalid says what is missing.
func (s *Store) SetWorkshop(ctx context.Context, w consent.Workshop) error {
	if err := w.Validate(); err != nil {
		return err
	}
	b, err := json.Marshal(w)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, `INSERT OR REPLACE INTO store_meta (name, value) VALUES (?, ?)`, metaWorkshop, string(b))
	return Explain(err)
}

func (s *Store) workshop(ctx context.Context, tx ledger.DBTX) (w consent.Workshop, err error) {
	var text string
	err = tx.QueryRowContext(ctx, `SELECT value FROM store_meta WHERE name = ?`, metaWorkshop).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return w, nil
	}
	if err == nil && json.Unmarshal([]byte(text), &w) != nil {
		err = fmt.Errorf("%w: the workshop's data", ErrCorrupt)
	}
	return w, err
}
