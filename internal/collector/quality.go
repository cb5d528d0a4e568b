package collector

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"

	"obdgate/internal/wire"
)

// ErrTooFew means that no group of vehicles is large enough to be published.
var ErrTooFew = errors.New("too few vehicles: no group is large enough to be anonymous")

// MinK is the smallest group that may be published.
const MinK = 5

// maxSuppressed is the largest share of vehicles left out before the next coarser level is taken, in per cent.
const maxSuppressed = 10

// QualitySchema names the form of Quality.
const QualitySchema = "obdgate/quality/v1"

// Quality is the anonymised quality export. Every group has at least K vehicles, every count within one is at least K, and
// what is smaller is left out. A vehicle counts once: its visits under one answer are merged.
type Quality struct {
	Schema     string         `json:"schema"`
	K          int            `json:"k"`
	Level      int            `json:"level"` // of generalisation, 0 is the finest
	Period     string         `json:"period"`
	MileageKm  int64          `json:"mileage_step_km"`        // 0 = mileage left out
	Fuel       bool           `json:"fuel"`                   // whether groups tell the fuel type
	Suppressed int            `json:"suppressed_per_cent_up"` // vehicles left out, rounded up
	Groups     []QualityGroup `json:"groups"`
}

// QualityGroup is one group of vehicles that look alike.
type QualityGroup struct {
	Period   string        `json:"period"`               // 2026-11, 2026-Q4 or 2026
	Mileage  *int64        `json:"mileage_km,omitempty"` // lower end of the step
	Fuel     string        `json:"fuel,omitempty"`       // J1979 fuel type
	Vehicles int           `json:"vehicles"`
	Codes    []QualityCode `json:"codes"`
}

// QualityCode is a trouble code that at least K vehicles of the group have.
type QualityCode struct {
	Code     string `json:"code"`
	Status   string `json:"status"`
	Vehicles int    `json:"vehicles"`
}

// levels is the ladder of generalisation, finest first.
var levels = []struct {
	period string
	km     int64
	fuel   bool
}{{"month", 10_000, true}, {"quarter", 20_000, true}, {"quarter", 50_000, true}, {"year", 50_000, true}, {"year", 0, true}, {"year", 0, false}}

// car is one vehicle as far as quality data knows it.
type car struct {
	day, fuel string
	km        int64
	hasKm     bool
	codes     map[wire.Code]bool
}

type groupKey struct {
	period, fuel string
	km           int64
	hasKm        bool
}

// ExportQuality writes the quality envelopes as groups of at least k vehicles (k-anonymity by generalisation and
// suppression). The finest level at which no more than a tenth of the vehicles is left out is taken. ErrTooFew when nothing
// can be published; k below MinK is refused.
func (c *Collector) ExportQuality(ctx context.Context, w io.Writer, k int) error {
	if k < MinK {
		return fmt.Errorf("%w: at least %d", ErrTooFew, MinK)
	}
	cars, err := c.cars(ctx)
	if err != nil {
		return err
	}
	q, ok := anonymise(cars, k)
	if !ok {
		return ErrTooFew
	}
	b, err := json.MarshalIndent(q, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// cars merges the quality envelopes of each answer: the newest day, the highest mileage, every code.
func (c *Collector) cars(ctx context.Context) ([]*car, error) {
	byAnswer := map[string]*car{}
	err := c.Envelopes(ctx, func(h Held) error {
		e, err := wire.Parse(h.Body)
		if err != nil {
			return fmt.Errorf("envelope %s: %w", h.Hash, err)
		}
		if e.Purpose != "quality" {
			return nil
		}
		one := byAnswer[e.Station+"/"+e.Receipt]
		if one == nil {
			one = &car{codes: map[wire.Code]bool{}}
			byAnswer[e.Station+"/"+e.Receipt] = one
		}
		one.day = max(one.day, e.Day)
		for _, r := range e.Readings {
			if d, ok := r.Value.Number(); ok && r.Key == "obd.01.51" {
				one.fuel = d
			}
		}
		if e.Odometer != nil {
			if km, ok := whole(e.Odometer.Km); ok {
				one.km, one.hasKm = max(one.km, km), true
			}
		}
		for _, code := range e.Codes {
			one.codes[wire.Code{Code: code.Code, Status: code.Status}] = true
		}
		return nil
	})
	return slices.Collect(maps.Values(byAnswer)), err
}

func whole(v wire.Value) (int64, bool) {
	d, ok := v.Number()
	if !ok {
		return 0, false
	}
	x, ok := new(big.Rat).SetString(d)
	if !ok || !x.IsInt() || !x.Num().IsInt64() {
		return 0, false
	}
	return x.Num().Int64(), true
}

// anonymise climbs the ladder until little is left out; ok is false when every group is too small at every level.
func anonymise(cars []*car, k int) (q Quality, ok bool) {
	for level, l := range levels {
		groups := map[groupKey][]*car{}
		for _, c := range cars {
			g := groupKey{period: period(c.day, l.period)}
			if l.km > 0 && c.hasKm {
				g.km, g.hasKm = c.km/l.km*l.km, true
			}
			if l.fuel {
				g.fuel = c.fuel
			}
			groups[g] = append(groups[g], c)
		}
		left := 0
		maps.DeleteFunc(groups, func(_ groupKey, cs []*car) bool {
			if len(cs) < k {
				left += len(cs)
			}
			return len(cs) < k
		})
		coarsest := level == len(levels)-1
		if len(groups) == 0 || left*100 > len(cars)*maxSuppressed && !coarsest {
			continue
		}
		q = Quality{Schema: QualitySchema, K: k, Level: level, Period: l.period, MileageKm: l.km, Fuel: l.fuel,
			Suppressed: (left*100 + len(cars) - 1) / len(cars), Groups: []QualityGroup{}}
		for key, cs := range groups {
			q.Groups = append(q.Groups, group(key, cs, k))
		}
		slices.SortFunc(q.Groups, func(a, b QualityGroup) int {
			return cmp.Or(cmp.Compare(a.Period, b.Period), cmp.Compare(kmOf(a), kmOf(b)), cmp.Compare(a.Fuel, b.Fuel))
		})
		return q, true
	}
	return Quality{}, false
}

func kmOf(g QualityGroup) int64 {
	if g.Mileage == nil {
		return -1
	}
	return *g.Mileage
}

func group(key groupKey, cs []*car, k int) QualityGroup {
	g := QualityGroup{Period: key.period, Fuel: key.fuel, Vehicles: len(cs), Codes: []QualityCode{}}
	if key.hasKm {
		g.Mileage = &key.km
	}
	count := map[wire.Code]int{}
	for _, c := range cs {
		for code := range c.codes {
			count[code]++
		}
	}
	for code, n := range count {
		if n >= k { // a rare code may name a vehicle by itself
			g.Codes = append(g.Codes, QualityCode{code.Code, code.Status, n})
		}
	}
	slices.SortFunc(g.Codes, func(a, b QualityCode) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Status, b.Status))
	})
	return g
}

// period generalises a calendar day.
func period(day, to string) string {
	if len(day) < 7 {
		return day
	}
	switch to {
	case "month":
		return day[:7]
	case "quarter":
		month := int(day[5]-'0')*10 + int(day[6]-'0')
		return fmt.Sprintf("%s-Q%d", day[:4], (month+2)/3)
	}
	return day[:4]
}
