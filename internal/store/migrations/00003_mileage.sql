-- +goose Up
-- The highest mileage of a vehicle, rounded down, to be compared at its next visit: one row a vehicle, never a history. It is
-- sealed under the record key of the visit it was read in together with the vehicle's own number: it opens only when the
-- vehicle is there again, and no more when that visit was erased.
CREATE TABLE store_mileage (
    vehicle BLOB PRIMARY KEY, -- keyed hash, not the one visits are found by
    visit   TEXT NOT NULL REFERENCES store_visits (id) ON DELETE CASCADE,
    body    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX store_mileage_visit ON store_mileage (visit);

-- +goose Down
DROP TABLE store_mileage;
