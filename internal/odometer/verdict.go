// Package odometer weighs the mileage sources of one vehicle. Pure: no I/O and no clock.
package odometer

import "obdgate/internal/reading"

// Outcome is the judgement over all sources.
type Outcome string

const (
	Consistent   Outcome = "consistent"   // at least two sources that agree within tolerance
	Inconsistent Outcome = "inconsistent" // at least two that do not
	NoVerdict    Outcome = "no-verdict"   // fewer than two comparable sources
)

// Source is one source's distance.
type Source struct {
	Key reading.Key      `json:"key"` // obd.01.A6, obfcm.lifetime_distance, …
	ECU string           `json:"ecu"`
	Km  reading.Quantity `json:"km"`
	// Comparable is false for counters that do not measure the whole life (distance since codes cleared).
	Comparable bool `json:"comparable"`
}

// Verdict is the mileage as obdgate states it.
type Verdict struct {
	Outcome Outcome  `json:"outcome"`
	Reason  string   `json:"reason,omitempty"` // stable key
	Chosen  int      `json:"chosen"`           // index into Sources, -1 = none answered
	Sources []Source `json:"sources,omitempty"`
	// Earlier is the mark of an earlier visit that the mileage is below; nil when it is not, or nothing is known.
	Earlier *Mark `json:"earlier,omitempty"`
	// NotBelow: compared with an earlier visit and not below it.
	NotBelow bool `json:"not_below,omitempty"`
}
