-- +goose Up
-- One row per entry. leaf is the canonical JSON the Merkle tree is built over; tag repeats the leaf's own tag so that a
-- visit's entries are found; nodes holds 32 bytes each for the leaf's hash and every subtree the entry completes, lowest
-- level first.
CREATE TABLE ledger_entries (
    seq   INTEGER PRIMARY KEY,
    tag   BLOB,
    leaf  BLOB NOT NULL,
    nodes BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX ledger_entries_tag ON ledger_entries (tag) WHERE tag IS NOT NULL;

-- The one signed head and the compact range it stands for. Older heads are not kept: with them, cutting the log short
-- would need no forged signature.
CREATE TABLE ledger_tip (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    size  INTEGER NOT NULL,
    range BLOB NOT NULL,
    note  BLOB NOT NULL
) STRICT;

-- The decision behind an answer entry, sealed under the visit's key; gone with the visit.
CREATE TABLE ledger_decisions (
    seq   INTEGER PRIMARY KEY REFERENCES ledger_entries (seq),
    visit TEXT NOT NULL,
    body  BLOB NOT NULL
) STRICT;
CREATE INDEX ledger_decisions_visit ON ledger_decisions (visit);

-- +goose Down
DROP TABLE ledger_decisions;
DROP TABLE ledger_tip;
DROP TABLE ledger_entries;
