-- +goose Up
-- A mileage mark has a key of its own in store_keys (use mileage), so that a withdrawal destroys it in every older copy of the
-- state too. Marks from before cannot be given one; the vehicle's next visit leaves a new mark.
DELETE FROM store_mileage;

-- +goose Down
DELETE FROM store_mileage;
