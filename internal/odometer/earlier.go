package odometer

import (
	"slices"
	"strings"
	"time"

	"obdgate/internal/reading"
)

// Step is how coarse a mark is, in km: it answers whether a vehicle has less than it had, and does not say how far it was
// driven between two visits.
const Step = 100

// Mark is what is kept of a vehicle's mileage between two visits: the highest reading, rounded down to Step, and the month
// it was taken in. There is one of each vehicle, never a history.
type Mark struct {
	Km    int64  `json:"km"`    // at least this, a multiple of Step
	Month string `json:"month"` // "2026-03"
}

// MarkOf makes the mark of a verdict; ok is false where there is no mileage of the vehicle itself, or its sources
// contradict each other. The consumption record is no source here: it can be refused, and destroyed.
func MarkOf(v Verdict, at time.Time) (m Mark, ok bool) {
	if v.Outcome == Inconsistent || v.Chosen < 0 || v.Chosen >= len(v.Sources) || v.Sources[v.Chosen].Key == keyRecord {
		return Mark{}, false
	}
	km := metres(v.Sources[v.Chosen].Km) / 1000
	return Mark{Km: km - km%Step, Month: at.UTC().Format("2006-01")}, km >= Step
}

// Since weighs a verdict against the mark of an earlier visit. A mileage below it, by more than sources of one vehicle may
// differ, is a contradiction (ReasonBelowEarlier), and the verdict then carries the mark. A verdict without a mileage of the
// vehicle itself stays as it is.
func (v Verdict) Since(m Mark) Verdict {
	if v.Chosen < 0 || v.Chosen >= len(v.Sources) || v.Sources[v.Chosen].Key == keyRecord {
		return v
	}
	before := reading.Quantity{Num: m.Km, Den: 1, Unit: "km"}
	if !above(before, v.Sources[v.Chosen].Km, tolerancePercent) {
		v.NotBelow = true
		return v
	}
	v.Earlier = &m
	if v.Outcome != Inconsistent { // what contradicts itself today is told first
		v.Outcome, v.Reason = Inconsistent, ReasonBelowEarlier
	}
	return v
}

// WithoutRecord is the verdict that the same readings give when the consumption record was not read.
func WithoutRecord(readings []reading.Reading, v Verdict, ctx Context) Verdict {
	out := Weigh(slices.DeleteFunc(slices.Clone(readings), func(r reading.Reading) bool {
		return strings.HasPrefix(string(r.Key), "obfcm.")
	}), ctx)
	if v.Earlier != nil {
		return out.Since(*v.Earlier)
	}
	out.NotBelow = v.NotBelow
	return out
}
