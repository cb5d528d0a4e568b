package odometer

import (
	"cmp"
	"slices"
	"strings"

	"obdgate/internal/reading"
)

// Context is what Weigh is told besides the readings. The zero value is allowed.
type Context struct {
	Engine string // label of the engine ECU, "" = not known: "7E8" and the lowest label come first then
}

// Reasons of a Verdict: stable keys.
const (
	ReasonAgree           = "sources-agree"
	ReasonDiffer          = "sources-differ"             // two mileages differ by more than 1 % and 100 km
	ReasonMiles           = "miles-for-kilometres"       // two mileages differ, by the factor of a mile: one may count miles
	ReasonRecordAbove     = "obfcm-above-odometer"       // the consumption record counted more than the odometer shows
	ReasonSinceClearAbove = "since-clear-above-odometer" // more driven since the codes were cleared than the car has
	ReasonBelowEarlier    = "below-earlier-visit"        // less than it had at an earlier visit
	ReasonOne             = "one-source"
	ReasonNone            = "no-source"
)

// Tolerances: sources differ when they are more than 1 % and more than 100 km apart. The consumption record may lag
// behind by any amount (it starts again when its ECU is replaced, which the law allows) and may lead by 10 %.
const (
	toleranceKm      = 100
	tolerancePercent = 1
	recordPercent    = 10
)

const (
	keyPID      reading.Key = "obd.01.A6"
	keyDID      reading.Key = "uds.22.F4A6"
	keyRecord   reading.Key = "obfcm.lifetime_distance"
	makerPrefix             = "odometer."
)

// rank orders the sources by how much they are worth, -1 = no source.
func rank(k reading.Key) int {
	switch {
	case k == keyPID:
		return 0
	case k == keyDID:
		return 1
	case strings.HasPrefix(string(k), makerPrefix):
		return 2
	case k == keyRecord:
		return 3
	case strings.HasPrefix(string(k), "obd.01.31"), strings.HasPrefix(string(k), "obd.01.21"),
		strings.HasPrefix(string(k), "uds.22.F431"), strings.HasPrefix(string(k), "uds.22.F421"):
		return 4
	}
	return -1
}

// Saturating counters of two bytes: at their end they say "at least", or "not available".
const full = 65535

// Weigh judges the mileage from all readings of a scan. Sources are kept in the order of their worth: 01 A6, 22 F4A6,
// makers' places, the consumption record's lifetime distance, then the distances since the codes were cleared (31) and
// with the lamp on (21), which measure something else. The chosen one is the first of the first three kinds, else the
// record. Two places in one ECU that agree are one source. Readings without a value are no source.
func Weigh(readings []reading.Reading, ctx Context) Verdict {
	type source struct {
		Source
		rank  int
		place int // in the makers' table
	}
	var all []source
	for _, r := range readings {
		n := rank(r.Key)
		q, ok := r.Value.(reading.Quantity)
		if n < 0 || !ok {
			continue
		}
		km, ok := Km(q)
		if !ok || km.Num <= 0 && n < 4 || km.Cmp(limit) >= 0 || n == 4 && km.Num == full && km.Den == 1 {
			continue
		}
		all = append(all, source{Source{Key: r.Key, ECU: r.ECU, Km: km, Comparable: n <= 2}, n, place(r.Key)})
	}
	slices.SortStableFunc(all, func(a, b source) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(first(a.ECU, ctx), first(b.ECU, ctx)), cmp.Compare(a.place, b.place), cmp.Compare(a.ECU, b.ECU))
	})
	v := Verdict{Outcome: NoVerdict, Reason: ReasonNone, Chosen: -1}
	if len(all) == 0 || all[0].rank == 4 {
		for _, s := range all {
			v.Sources = append(v.Sources, s.Source)
		}
		return v
	}
	v.Chosen, v.Reason = 0, ReasonOne
	chosen := all[0]
	agree, reason := false, ""
	for i := range all[1:] {
		s := &all[i+1]
		switch {
		case s.rank <= 2:
			if s.rank <= 1 && chosen.rank <= 1 && s.ECU == chosen.ECU {
				continue // the same number of the same ECU over another service
			}
			if apart(s.Km, chosen.Km) {
				reason = cmp.Or(reason, differ(s.Km, chosen.Km, ReasonDiffer))
			} else if s.ECU != chosen.ECU { // one ECU that repeats itself confirms nothing
				agree = true
			}
		case s.rank == 3 && chosen.rank < 3:
			switch {
			case above(s.Km, chosen.Km, recordPercent):
				s.Comparable, reason = true, cmp.Or(reason, differ(s.Km, chosen.Km, ReasonRecordAbove))
			case !apart(s.Km, chosen.Km):
				s.Comparable, agree = true, true
			}
		case s.rank == 4 && chosen.rank < 3 && above(s.Km, chosen.Km, tolerancePercent):
			reason = cmp.Or(reason, ReasonSinceClearAbove)
		}
	}
	for _, s := range all {
		v.Sources = append(v.Sources, s.Source)
	}
	switch {
	case reason != "":
		v.Outcome, v.Reason = Inconsistent, reason
	case agree:
		v.Outcome, v.Reason = Consistent, ReasonAgree
	}
	return v
}

// place is where a maker's place stands in the table, which has the instrument cluster first.
func place(k reading.Key) int {
	return slices.IndexFunc(makers(), func(r Row) bool { return r.Key() == k })
}

func first(ecu string, ctx Context) int {
	if ctx.Engine != "" && ecu == ctx.Engine {
		return 0
	}
	return 1
}

// apart reports whether two mileages differ by more than the tolerance, which is taken of the larger.
func apart(a, b reading.Quantity) bool {
	if a.Cmp(b) < 0 {
		a, b = b, a
	}
	return above(a, b, tolerancePercent)
}

// differ is why two mileages differ: by the factor of a mile, or as told.
func differ(a, b reading.Quantity, otherwise string) string {
	if ByMile(a, b) {
		return ReasonMiles
	}
	return otherwise
}

// ByMile reports whether two distances differ by the factor of a mile and a kilometre, to half a percent: one of them may
// have been counted, or entered, in the other's unit. Units are left aside; neither may be zero.
func ByMile(a, b reading.Quantity) bool {
	x, y := metres(a), metres(b)
	if x < y {
		x, y = y, x
	}
	const mile, half = 1609344, 200 // metres of a thousand miles; one in 200
	off := x*1000 - y*mile/1000
	return y > 0 && max(off, -off) <= x*1000/half
}

// above reports whether a exceeds b by more than percent of a, and by more than toleranceKm.
func above(a, b reading.Quantity, percent int64) bool {
	x, y := metres(a), metres(b)
	return x-y > toleranceKm*1000 && (x-y)*100 > x*percent
}

// metres of a mileage below limit: fits, and the remainder of a metre does not matter here.
func metres(q reading.Quantity) int64 {
	whole, rest := q.Num/q.Den, q.Num%q.Den
	return whole*1000 + int64(float64(rest)*1000/float64(q.Den))
}
