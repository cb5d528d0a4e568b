package collector

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strings"

	"obdgate/internal/consent"
	"obdgate/internal/wire"
)

// ExportJSONL writes every envelope held, one canonical document per line, oldest first.
func (c *Collector) ExportJSONL(ctx context.Context, w io.Writer) error {
	return c.Envelopes(ctx, func(h Held) error {
		_, err := w.Write(append(h.Body, '\n'))
		return err
	})
}

// column is one OBFCM column of the EEA's public data set (Regulation (EU) 2021/392, Annex, as published), with the key it
// is filled from. Columns of layouts that no capture has confirmed stay empty where the station said so.
type column struct {
	name     string
	key      string
	verified bool
}

var eeaColumns = [...]column{
	{"Total fuel consumed (lifetime) (l)", "obfcm.lifetime_fuel", true},
	{"Total distance travelled (lifetime) (km)", "obfcm.lifetime_distance", true},
	{"Total distance travelled in charge depleting operation with engine off (lifetime) (km)", "obfcm.lifetime_distance_cd_engine_off", false},
	{"Total distance travelled in charge depleting operation with engine running (lifetime) (km)", "obfcm.lifetime_distance_cd_engine_on", false},
	{"Total distance travelled in driver-selectable charge increasing operation (lifetime) (km)", "obfcm.lifetime_distance_ci", false},
	{"Total fuel consumed in charge depleting operation (lifetime) (l)", "obfcm.lifetime_fuel_cd", false},
	{"Total fuel consumed in driver-selectable charge increasing operation (lifetime) (l)", "obfcm.lifetime_fuel_ci", false},
	{"Total grid energy into the battery (lifetime) (kWh)", "obfcm.lifetime_grid_energy_into_battery", false},
}

const distanceColumn = 1

// ExportEEA writes the OBFCM columns of the EEA's data set as CSV: one row per whole VIN and reporting year, plausible
// records only; of several the one with the highest total distance (Art. 9(3)). Records are a maker's or its dealers'
// collection (BDR), not an inspection's.
func (c *Collector) ExportEEA(ctx context.Context, w io.Writer) error {
	type id struct{ vin, year string }
	best := map[id][len(eeaColumns)]string{}
	err := c.Envelopes(ctx, func(h Held) error {
		e, err := wire.Parse(h.Body)
		if err != nil {
			return fmt.Errorf("envelope %s: %w", h.Hash, err)
		}
		if e.Purpose != string(consent.OBFCM) || e.OBFCM == nil || e.OBFCM.Verdict != "plausible" || len(e.VIN) != 17 {
			return nil
		}
		cells := eeaCells(e.OBFCM)
		k := id{e.VIN, e.Day[:4]}
		if old, ok := best[k]; cells[distanceColumn] != "" && (!ok || farther(cells[distanceColumn], old[distanceColumn])) {
			best[k] = cells
		}
		return nil
	})
	if err != nil {
		return err
	}
	out := csv.NewWriter(w)
	header := []string{"Vehicle Identifier", "OBFCM data source", "OBFCM ReportingPeriod"}
	for _, c := range eeaColumns {
		header = append(header, c.name)
	}
	_ = out.Write(header)
	keys := slices.SortedFunc(maps.Keys(best), func(a, b id) int { return strings.Compare(a.vin+a.year, b.vin+b.year) })
	for _, k := range keys {
		cells := best[k]
		_ = out.Write(append([]string{k.vin, "BDR", k.year}, cells[:]...))
	}
	out.Flush()
	return out.Error()
}

// eeaCells takes the authoritative control unit's values; without one named, the only one there is.
func eeaCells(o *wire.OBFCM) (cells [len(eeaColumns)]string) {
	for i, c := range eeaColumns {
		if !c.verified && o.Layout != "" {
			continue
		}
		for _, r := range o.Values {
			if d, ok := r.Value.Number(); ok && r.Key == c.key && (o.ECU == "" || r.ECU == o.ECU) {
				cells[i] = d
			}
		}
	}
	return cells
}

func farther(a, b string) bool {
	x, _ := new(big.Rat).SetString(a)
	y, _ := new(big.Rat).SetString(b)
	return x != nil && (y == nil || x.Cmp(y) > 0)
}

// EraseEnvelope erases one envelope and returns the signed statement; ErrNotFound when none is held under that hash.
func (c *Collector) EraseEnvelope(ctx context.Context, hash string) ([]wire.Erasure, error) {
	return c.erase(ctx, hash, nil)
}

// EraseVIN erases every envelope of a VIN, given whole or as the first 11 characters, exactly as it was sent; ErrNotFound
// when there is none.
func (c *Collector) EraseVIN(ctx context.Context, vin string) ([]wire.Erasure, error) {
	return c.erase(ctx, "", c.id.vinTag(strings.ToUpper(strings.TrimSpace(vin))))
}

func (c *Collector) erase(ctx context.Context, hash string, vinTag []byte) ([]wire.Erasure, error) {
	if hash == "" && vinTag == nil {
		return nil, ErrNotFound
	}
	found, err := c.db.find(ctx, hash, vinTag)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, ErrNotFound
	}
	var all []wire.Erasure
	for _, r := range found {
		s := wire.Erasure{Envelope: r.hash, Station: r.station, Collector: wire.Name(c.id.file.Name)}
		s.Sign(c.id.receipt, c.now())
		if err := c.db.erase(ctx, r.hash, s.Erased, s.Append(nil)); err != nil {
			return all, err
		}
		c.log.Info("erased", "hash", r.hash)
		all = append(all, s)
	}
	return all, c.db.settle(ctx)
}
