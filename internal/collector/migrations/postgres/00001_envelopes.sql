-- +goose Up
CREATE TABLE stations (
  serial  TEXT PRIMARY KEY,  -- of the client certificate, hex
  name    TEXT NOT NULL,
  issued  TEXT NOT NULL,     -- RFC 3339, UTC
  expires TEXT NOT NULL,
  revoked TEXT
);

CREATE TABLE envelopes (
  hash      TEXT PRIMARY KEY, -- content hash, the envelope's id
  station   TEXT NOT NULL,
  purpose   TEXT NOT NULL,
  received  TEXT NOT NULL,    -- RFC 3339, UTC
  size      BIGINT NOT NULL, -- bytes as received
  receipt   BYTEA NOT NULL,   -- signed, canonical; kept after an erasure
  vin_tag   BYTEA,            -- keyed hash; NULL without a VIN and after an erasure
  body      BYTEA,            -- encrypted; NULL after an erasure
  erased    TEXT,
  statement BYTEA              -- signed statement of erasure
);

CREATE INDEX envelopes_vin ON envelopes (vin_tag) WHERE vin_tag IS NOT NULL;

-- +goose Down
DROP TABLE envelopes;
DROP TABLE stations;
