-- +goose Up
CREATE TABLE stations (
  serial  TEXT PRIMARY KEY,  -- of the client certificate, hex
  name    TEXT NOT NULL,
  issued  TEXT NOT NULL,     -- RFC 3339, UTC
  expires TEXT NOT NULL,
  revoked TEXT
) STRICT;

CREATE TABLE envelopes (
  hash      TEXT PRIMARY KEY, -- content hash, the envelope's id
  station   TEXT NOT NULL,
  purpose   TEXT NOT NULL,
  received  TEXT NOT NULL,    -- RFC 3339, UTC
  size      INTEGER NOT NULL, -- bytes as received
  receipt   BLOB NOT NULL,    -- signed, canonical; kept after an erasure
  vin_tag   BLOB,             -- keyed hash; NULL without a VIN and after an erasure
  body      BLOB,             -- encrypted; NULL after an erasure
  erased    TEXT,
  statement BLOB              -- signed statement of erasure
) STRICT;

CREATE INDEX envelopes_vin ON envelopes (vin_tag) WHERE vin_tag IS NOT NULL;

-- +goose Down
DROP TABLE envelopes;
DROP TABLE stations;
