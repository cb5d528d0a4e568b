package collector

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"obdgate/internal/wire"
)

// WithdrawalPath is where stations tell that a customer's yes has ended.
const WithdrawalPath = "/v1/withdrawals"

// errStopped marks an envelope under a receipt that was withdrawn.
var errStopped = errors.New("nothing is taken under this receipt any more")

// withdraw takes a withdrawal: nothing more is stored under its receipts from this moment on, and the signed statement is
// the proof. Problems never repeat content.
func (c *Collector) withdraw(w http.ResponseWriter, r *http.Request) {
	status, id := c.answerWithdrawal(w, r)
	c.log.Info("withdrawal", "status", status, "id", id)
}

func (c *Collector) answerWithdrawal(w http.ResponseWriter, r *http.Request) (status int, id string) {
	station, body, status := c.admit(w, r, wire.MaxStatement)
	if status != 0 {
		return status, ""
	}
	doc, err := wire.ParseWithdrawal(body)
	switch {
	case errors.Is(err, wire.ErrHash):
		refuse(w, http.StatusUnprocessableEntity, "hash", "the id is not the hash of the content")
		return http.StatusUnprocessableEntity, ""
	case err != nil:
		refuse(w, http.StatusUnprocessableEntity, "schema", err.Error())
		return http.StatusUnprocessableEntity, ""
	case doc.Station != station:
		refuse(w, http.StatusForbidden, "station", "the certificate is not of the station named in the withdrawal")
		return http.StatusForbidden, ""
	}
	statement, err := c.stop(r.Context(), doc)
	if err != nil {
		status, _, _ = c.unavailable(w, err, doc.ID, len(body))
		return status, doc.ID
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(statement)
	return http.StatusOK, doc.ID
}

// stop carries a withdrawal out and returns the statement: the same bytes every time.
func (c *Collector) stop(ctx context.Context, doc *wire.Withdrawal) ([]byte, error) {
	if old, err := c.db.statement(ctx, doc.ID); err != nil || old != nil {
		return old, err
	}
	now := c.now()
	if err := c.db.stop(ctx, doc.Station, doc.Receipts, stamp(now)); err != nil {
		return nil, err
	}
	s := wire.Statement{Withdrawal: doc.ID, Station: doc.Station, Collector: wire.Name(c.id.file.Name), Action: doc.Action, Receipts: doc.Receipts}
	for _, hash := range doc.Envelopes {
		held, known, err := c.db.holds(ctx, hash, doc.Station)
		if err != nil {
			return nil, err
		}
		if held && doc.Action == wire.ActionErase {
			if _, err := c.EraseEnvelope(ctx, hash); err != nil && !errors.Is(err, ErrNotFound) {
				return nil, err
			}
			held = false
		}
		switch {
		case held:
			s.Held = append(s.Held, hash)
		case known:
			s.Erased = append(s.Erased, hash)
		default:
			s.Absent = append(s.Absent, hash)
		}
	}
	s.Sign(c.id.receipt, now)
	return c.db.putStatement(ctx, doc.ID, doc.Station, s.At, s.Append(nil))
}

// Withdrawals calls yield with every statement that was signed, oldest first.
func (c *Collector) Withdrawals(ctx context.Context, yield func(wire.Statement) error) error {
	rows, err := c.db.QueryContext(ctx, `SELECT statement FROM withdrawals ORDER BY received, id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var text []byte
		if err := rows.Scan(&text); err != nil {
			return err
		}
		s, err := wire.ParseStatement(text)
		if err != nil {
			return fmt.Errorf("a stored statement: %w", err)
		}
		if err := yield(s); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (d *database) statement(ctx context.Context, id string) (text []byte, err error) {
	err = d.QueryRowContext(ctx, `SELECT statement FROM withdrawals WHERE id = $1`, id).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return text, err
}

func (d *database) putStatement(ctx context.Context, id, station, at string, text []byte) ([]byte, error) {
	if _, err := d.ExecContext(ctx, `INSERT INTO withdrawals (id, station, received, statement) VALUES ($1, $2, $3, $4)
		ON CONFLICT (id) DO NOTHING`, id, station, at, text); err != nil {
		return nil, err
	}
	return d.statement(ctx, id)
}

// stop refuses the receipts from when it returns; what is being stored at this moment may still be.
func (d *database) stop(ctx context.Context, station string, receipts []string, at string) error {
	tx, err := d.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	for _, r := range receipts {
		if _, err := tx.ExecContext(ctx, `INSERT INTO stopped (station, receipt, since) VALUES ($1, $2, $3)
			ON CONFLICT (station, receipt) DO NOTHING`, station, r, at); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// holds reports whether the envelope is there with its content, and whether it ever was, from this station.
func (d *database) holds(ctx context.Context, hash, station string) (held, known bool, err error) {
	err = d.QueryRowContext(ctx, `SELECT body IS NOT NULL FROM envelopes WHERE hash = $1 AND station = $2`, hash, station).Scan(&held)
	if errors.Is(err, sql.ErrNoRows) {
		return false, false, nil
	}
	return held, err == nil, err
}
