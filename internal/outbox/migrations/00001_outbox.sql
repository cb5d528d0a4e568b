-- +goose Up
CREATE TABLE outbox (
    recipient TEXT NOT NULL,
    id        TEXT NOT NULL,     -- content hash of the envelope
    visit     TEXT NOT NULL REFERENCES store_visits (id) ON DELETE CASCADE,
    purpose   TEXT NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'done', 'destroyed', 'rejected')),
    size      INTEGER NOT NULL,  -- bytes of the envelope
    body      BLOB,              -- sealed under the visit's record key; NULL once destroyed
    mac       BLOB,              -- the gate's, over the plain envelope
    attempts  INTEGER NOT NULL,
    queued    INTEGER NOT NULL,  -- Unix milliseconds, as all times here
    due       INTEGER NOT NULL,  -- not to be sent before
    owner     TEXT,              -- who is sending
    lease     INTEGER,           -- until when nobody else may
    settled   INTEGER,           -- when done, destroyed or rejected
    reason    TEXT,              -- stable key of a refusal or destruction
    receipt   BLOB,              -- the collector's, canonical
    PRIMARY KEY (recipient, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_open ON outbox (due) WHERE state IN ('queued', 'sending');
CREATE INDEX outbox_visit ON outbox (visit);

-- +goose Down
DROP TABLE outbox;
