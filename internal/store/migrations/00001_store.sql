-- +goose Up
-- What the station is: id, where its key lies, a check value of the key, the next free slot of each range.
CREATE TABLE store_meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE store_visits (
    id     TEXT PRIMARY KEY,
    opened INTEGER NOT NULL, -- Unix milliseconds
    closed INTEGER,
    vin    BLOB,             -- keyed hash, for look-up; NULL until read
    scans  INTEGER NOT NULL,
    due    INTEGER,          -- when retention has to look at it again; NULL = it has not looked yet
    rev    INTEGER NOT NULL, -- goes up by one with every change
    body   BLOB NOT NULL     -- sealed under the visit's body key
) STRICT;
CREATE INDEX store_visits_vin ON store_visits (vin) WHERE vin IS NOT NULL;
CREATE INDEX store_visits_closed ON store_visits (closed) WHERE closed IS NOT NULL;

-- Two data keys a visit, each wrapped by a key of the station that belongs to this slot alone: body for what was read,
-- record for answers, receipts and what waits to be sent. Erasing is forgetting the slot's key.
CREATE TABLE store_keys (
    visit   TEXT NOT NULL REFERENCES store_visits (id) ON DELETE CASCADE,
    use     TEXT NOT NULL,
    slot    INTEGER NOT NULL UNIQUE,
    wrapped BLOB NOT NULL,
    PRIMARY KEY (visit, use)
) STRICT, WITHOUT ROWID;

-- Slots whose rows are gone and whose keys are still to be forgotten, should the program end in between.
CREATE TABLE store_forget (
    slot INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE store_receipts (
    id    TEXT PRIMARY KEY,
    visit TEXT NOT NULL REFERENCES store_visits (id) ON DELETE CASCADE,
    seq   INTEGER NOT NULL, -- of the answer in the ledger
    body  BLOB NOT NULL     -- sealed under the visit's record key
) STRICT;
CREATE INDEX store_receipts_visit ON store_receipts (visit, seq);

CREATE TABLE store_recipients (
    name    TEXT PRIMARY KEY COLLATE NOCASE,
    entry   TEXT NOT NULL, -- JSON without the private key
    private BLOB           -- the client certificate's key, sealed under the station key
) STRICT;

-- +goose Down
DROP TABLE store_recipients;
DROP TABLE store_receipts;
DROP TABLE store_forget;
DROP TABLE store_keys;
DROP TABLE store_visits;
DROP TABLE store_meta;
