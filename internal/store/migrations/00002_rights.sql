-- +goose Up
-- Why a visit is restricted: kept, and neither erased nor sent. NULL = it is not.
ALTER TABLE store_visits ADD COLUMN hold TEXT;

-- Customers' requests. What people wrote is sealed under the visit's record key and becomes unreadable with it; that there
-- was a request, and what came of it when, stays.
CREATE TABLE store_tickets (
    id      TEXT PRIMARY KEY,
    visit   TEXT REFERENCES store_visits (id) ON DELETE SET NULL,
    request TEXT NOT NULL,    -- access, erasure, restriction, rectification, portability, objection
    state   TEXT NOT NULL,    -- open, done, refused
    opened  INTEGER NOT NULL, -- Unix milliseconds, as all times here
    due     INTEGER NOT NULL,
    longer  INTEGER NOT NULL, -- 1 when it was extended; it is once at most
    settled INTEGER,
    body    BLOB              -- sealed
) STRICT;
CREATE INDEX store_tickets_visit ON store_tickets (visit);

-- +goose Down
DROP TABLE store_tickets;
ALTER TABLE store_visits DROP COLUMN hold;
