-- +goose Up
CREATE TABLE withdrawals (
  id        TEXT PRIMARY KEY, -- content hash of the withdrawal
  station   TEXT NOT NULL,
  received  TEXT NOT NULL,    -- RFC 3339, UTC
  statement BYTEA NOT NULL     -- signed, canonical: what was answered, and is answered again
);

-- Receipts under which nothing more is taken.
CREATE TABLE stopped (
  station TEXT NOT NULL,
  receipt TEXT NOT NULL,
  since   TEXT NOT NULL,
  PRIMARY KEY (station, receipt)
);

-- +goose Down
DROP TABLE stopped;
DROP TABLE withdrawals;
