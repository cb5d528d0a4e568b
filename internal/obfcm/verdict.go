// Package obfcm knows the on-board fuel and energy consumption record: its layouts as data, decoding and plausibility.
// Bytes in, readings out; no I/O and no clock.
//
// A record is judged by itself and against the mileage of the same visit, never against the record of an earlier visit. A
// counter that went back between two visits could only be seen by who keeps the earlier one, and a dealer or repairer keeps
// the data until it has been sent to the manufacturer and no longer (Implementing Regulation (EU) 2021/392, Art. 11(5)); a
// coarse mark of it would still be kept of it. What the law lets a reset look like shows in one visit: a distance well below
// the mileage (ReasonBelowHalf).
package obfcm

// Outcome says how the reading of the consumption record ended.
type Outcome string

const (
	OK           Outcome = "plausible"
	Implausible  Outcome = "implausible"
	VehicleError Outcome = "vehicle-error" // an ECU answered wrongly
	NotFitted    Outcome = "not-fitted"    // no ECU knows the question: normal before 2021
	Refused      Outcome = "refused"       // the customer said no: not asked on the bus
	Unasked      Outcome = "unasked"       // nobody asked the customer, which is no: not asked on the bus
)

// Asked reports whether the question was put on the bus.
func (o Outcome) Asked() bool { return o != Refused && o != Unasked && o != "" }

// Verdict is the judgement of one record.
type Verdict struct {
	Outcome Outcome  `json:"outcome"`
	ECU     string   `json:"ecu,omitempty"`     // the authoritative ECU
	Reasons []string `json:"reasons,omitempty"` // stable keys such as "recent-above-lifetime", in the order of the rules
	Layout  string   `json:"layout,omitempty"`  // "unconfirmed" when a field came through a layout marked verified: false
}
