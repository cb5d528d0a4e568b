-- +goose Up
-- Notices to recipients that a customer's yes has ended. They hold hashes and receipts only, so that they outlive the visit:
-- an erasure is passed on too.
CREATE TABLE outbox_notices (
    recipient TEXT NOT NULL,
    id        TEXT NOT NULL,     -- content hash of the withdrawal
    visit     TEXT REFERENCES store_visits (id) ON DELETE SET NULL,
    purpose   TEXT NOT NULL,
    action    TEXT NOT NULL CHECK (action IN ('stop', 'erase')),
    answer    TEXT NOT NULL,     -- number of the receipt of the customer's no; '' for an erasure
    state     TEXT NOT NULL CHECK (state IN ('queued', 'done', 'rejected')),
    body      BLOB NOT NULL,     -- canonical wire.Withdrawal
    mac       BLOB NOT NULL,     -- the gate's
    attempts  INTEGER NOT NULL,
    queued    INTEGER NOT NULL,  -- Unix milliseconds, as all times here
    due       INTEGER NOT NULL,
    settled   INTEGER,
    reason    TEXT,
    statement BLOB,              -- the recipient's signed answer, canonical
    PRIMARY KEY (recipient, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_notices_open ON outbox_notices (due) WHERE state = 'queued';
CREATE INDEX outbox_notices_visit ON outbox_notices (visit);

-- +goose Down
DROP TABLE outbox_notices;
