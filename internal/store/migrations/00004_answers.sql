-- +goose Up
-- The newest entry of the log about a request: what the answer to the customer is proved by.
ALTER TABLE store_tickets ADD COLUMN entry INTEGER;

-- Links to a customer's own page. The token itself is only in the link; it cannot be found from its hash.
CREATE TABLE store_links (
    id      TEXT PRIMARY KEY,
    visit   TEXT NOT NULL REFERENCES store_visits (id) ON DELETE CASCADE,
    token   BLOB NOT NULL UNIQUE, -- SHA-256
    made    INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    revoked INTEGER
) STRICT;
CREATE INDEX store_links_visit ON store_links (visit);

-- E-mail addresses, each confirmed by its owner before anything is sent to it.
CREATE TABLE store_addresses (
    visit     TEXT PRIMARY KEY REFERENCES store_visits (id) ON DELETE CASCADE,
    body      BLOB NOT NULL,        -- the address, sealed
    token     BLOB NOT NULL UNIQUE, -- SHA-256 of what the confirming message carries
    asked     INTEGER NOT NULL,
    until     INTEGER NOT NULL,     -- unconfirmed by then: gone
    confirmed INTEGER
) STRICT;

-- Signature images that stand behind answers.
CREATE TABLE store_evidence (
    visit  TEXT NOT NULL REFERENCES store_visits (id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL, -- hex, of the image
    body   BLOB NOT NULL, -- sealed
    PRIMARY KEY (visit, sha256)
) STRICT;

-- +goose Down
DROP TABLE store_evidence;
DROP TABLE store_addresses;
DROP TABLE store_links;
ALTER TABLE store_tickets DROP COLUMN entry;
