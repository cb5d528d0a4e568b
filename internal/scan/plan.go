// Package scan reads one vehicle from start to end: a plan made from the customer's answers, then the questions, then
// the tags. What the plan leaves out is not asked on the bus.
package scan

import (
	"fmt"

	"obdgate/internal/consent"
	"obdgate/internal/obfcm"
)

// Depth is how much a scan asks for.
type Depth string

const (
	// Quick reads identity, trouble codes, lamp, readiness and mileage.
	Quick Depth = "quick"
	// Full reads every value and identification the vehicle offers as well.
	Full Depth = "full"
	// Watch is no scan: chosen values are shown as they change, see Live.
	Watch Depth = "live"
)

// ParseDepth accepts "quick", "full" and "live".
func ParseDepth(s string) (Depth, error) {
	if d := Depth(s); d == Quick || d == Full || d == Watch {
		return d, nil
	}
	return "", fmt.Errorf("no plan %q; there are quick, full and live", s)
}

// Plan is what may be asked. The zero Plan asks quickly and never for the consumption record.
type Plan struct {
	depth       Depth
	consumption consent.Answer
}

// NewPlan makes a plan from where the customer's answer to the consumption record stands. Only a granted answer puts
// that question on the bus: unasked is no.
func NewPlan(depth Depth, consumption consent.Answer) Plan {
	return Plan{depth: depth, consumption: consumption}
}

// Depth is the plan's depth.
func (p Plan) Depth() Depth {
	if p.depth == "" {
		return Quick
	}
	return p.depth
}

// AsksConsumption reports whether consumption questions may be put on the bus.
func (p Plan) AsksConsumption() bool { return p.consumption.Yes() }

// skipped is the outcome of the consumption record when it is not asked for.
func (p Plan) skipped() obfcm.Outcome {
	switch p.consumption {
	case consent.Refused, consent.Withdrawn:
		return obfcm.Refused
	}
	return obfcm.Unasked
}
