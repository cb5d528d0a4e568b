// Package policy says what is technical and what is personal: rules as data, the tagger for values and frames, and the
// explanation of every decision. It does no I/O beyond its embedded rules and reads no clock.
package policy

import (
	"fmt"

	"obdgate/internal/reading"
)

// Class is the binary tag. The zero value is Unclassified, which everything treats as personal; only Technical may leave.
type Class uint8

const (
	Unclassified Class = iota
	Personal
	Technical
)

// Releasable reports whether a value of this class may leave the workshop at all (consent is asked besides).
func (c Class) Releasable() bool { return c == Technical }

// String is "technical" or "personal"; unclassified reads "personal", which is how it is treated.
func (c Class) String() string {
	if c == Technical {
		return "technical"
	}
	return "personal"
}

// Category is the kind of data behind a tag (privacy.md section 1 of the founding promises).
type Category string

const (
	VehicleIdentity Category = "vehicle-identity"
	FaultMemory     Category = "fault-memory"
	Condition       Category = "condition"
	LoadProfile     Category = "load-profile"
	Consumption     Category = "consumption"
	Software        Category = "software"
	Service         Category = "service"
	WorkshopRecord  Category = "workshop-record"
	Protocol        Category = "protocol" // frames that carry no value: questions, flow control, refusals; no reading has it
	Movement        Category = "movement"
	Location        Category = "location"
	DriverProfile   Category = "driver-profile"
	Infotainment    Category = "infotainment"
	Occupant        Category = "occupant"
	Surroundings    Category = "surroundings"
	EventRecord     Category = "event-record"
	Access          Category = "access"
	Customer        Category = "customer"
	NoCategory      Category = "unclassified"
)

// Tag is a decision: class, category and the rule that made it. The zero Tag is personal, unclassified, by no rule.
type Tag struct {
	Class    Class
	Category Category // "" reads as NoCategory
	Rule     string   // id of the rule in the policy or "dbc:MESSAGE.SIGNAL"; "" = no rule names it
}

func (t Tag) String() string {
	c := t.Category
	if c == "" {
		c = NoCategory
	}
	return fmt.Sprintf("%s/%s", t.Class, c)
}

// Tagged is a reading with its tag. Only Policy.Tag makes one: un-tagged data cannot reach the gate because it does not
// compile. The zero Tagged is personal and empty.
type Tagged struct {
	r reading.Reading
	t Tag
}

// Reading returns the value.
func (t Tagged) Reading() reading.Reading { return t.r }

// Tag returns the decision.
func (t Tagged) Tag() Tag { return t.t }
