package elm327

import (
	"slices"
	"strings"
	"time"
)

// Ability is something a workshop read may need of an adapter.
type Ability string

// The abilities that Probe finds out.
const (
	Requests    Ability = "requests"      // it puts questions to the vehicle at all
	Count       Ability = "count"         // the digit that says how many lines to expect
	Filter      Ability = "filter"        // AT CRA, or CF and CM
	Flow        Ability = "flow-control"  // AT FC SH, SD and SM: long answers of control units beyond the emission ones
	LongRequest Ability = "long-requests" // seven bytes arrive as seven bytes
	LongAnswer  Ability = "long-answers"  // an answer of several frames arrives whole
	Wide        Ability = "29-bit"        // 29-bit identifiers
	Extended    Ability = "extended"      // address bytes in front of the PCI (BMW)
	Timeout     Ability = "timeout"       // AT ST does what it says
	Number      Ability = "protocol"      // AT DPN names the protocol in use
	STPX        Ability = "stpx"          // header, data and count in one line
	Segments    Ability = "segments"      // STCSEGR
)

// Answer is what is known of an ability. The zero value is Unknown.
type Answer string

// Answers: by effect where a vehicle could show it, else by the adapter's own word.
const (
	Unknown Answer = ""
	Yes     Answer = "yes"
	No      Answer = "no"
)

// Badge is how good an adapter is.
type Badge string

// Badges. A good copy reads every car; a poor one does not, and the record says what is missing.
const (
	Unproven Badge = "unproven" // it was not probed
	Genuine  Badge = "genuine"
	GoodCopy Badge = "good copy"
	PoorCopy Badge = "poor copy"
)

// Record is what is known of one adapter. It holds nothing about a vehicle or a person.
type Record struct {
	Adapter string             `json:"adapter"`          // answer to AT I
	STN     string             `json:"stn,omitempty"`    // answer to STI
	Baud    int                `json:"baud,omitempty"`   // rate of the port, 0 = none
	Raised  int                `json:"raised,omitempty"` // rate that it may be left at, 0 = it was taken back to Baud
	Fast    int                `json:"fast,omitempty"`   // rate that it took for reading more than a little, 0 = not tried, negative = it takes none
	Level   string             `json:"level,omitempty"`  // newest version of the genuine chip whose commands it knows without a gap
	Gap     bool               `json:"gap,omitempty"`    // its commands are those of no genuine chip: one of the oldest is missing, or there are another maker's
	Can     map[Ability]Answer `json:"can,omitempty"`
	Trip    time.Duration      `json:"trip_ns,omitempty"` // round trip of a command
	Volts   string             `json:"-"`                 // supply measured just now, "12.6"
}

// needed are the abilities without which some car is not read whole, with what is then lost. Order is of weight.
var needed = []struct {
	ability Ability
	loss    string
}{
	{Requests, "it puts no question to the vehicle: it may belong to one program only"},
	{LongAnswer, "long answers stop after their first part: no VIN, no software numbers"},
	{LongRequest, "longer questions arrive cut: several values must be asked one by one, some not at all"},
	{Wide, "cars with 29-bit identifiers cannot be read"},
	{Flow, "long answers of control units beyond engine and gearbox stop after their first part"},
	{Filter, "control units beyond engine and gearbox are not heard"},
	{Extended, "BMW and MINI control units cannot be asked"},
}

// Lacks lists the abilities without which some car is not read whole and that this adapter was seen not to have, the
// weightiest first.
func (r *Record) Lacks() []Ability {
	var out []Ability
	for _, n := range needed {
		if r.Can[n.ability] == No {
			out = append(out, n.ability)
		}
	}
	return out
}

// Cannot says in plain English what is lost with this adapter, in the order of Lacks.
func (r *Record) Cannot() []string {
	var out []string
	for _, n := range needed {
		if r.Can[n.ability] == No {
			out = append(out, n.loss)
		}
	}
	return out
}

// versions are the genuine firmware versions that a command can tell apart, oldest first, each with a command that came
// with it and changes nothing that AT D does not undo (ELM32x AT Commands; data sheet ELM327DSJ, p. 90).
var versions = []struct {
	version, command string
	kline            bool // of the buses before CAN
}{
	{"1.2", "ATKW0", true}, {"1.3", "ATS0", false}, {"1.3a", "ATFE", false}, {"1.4", "ATSS", false}, {"1.4b", "ATCSM0", false}, {"2.0", "ATAMT20", false},
	{"2.1", "ATCTM1", false}, {"2.2", "ATCERF1", false},
}

// canOnly: it calls itself an ELM329, the CAN half of the chip (ELM329DSC).
func (r *Record) canOnly() bool { return strings.Contains(r.Adapter, "ELM329 v") }

// genuine329 are the versions of that chip that were sold, with the version of the other whose CAN commands each has.
var genuine329 = map[string]string{"2.0": "2.0", "2.1": "2.1"}

// genuineBanners are the versions Elm Electronics sold; 1.5 is not one of them.
var genuineBanners = []string{"1.0", "1.0a", "1.1", "1.2", "1.2a", "1.3", "1.3a", "1.4", "1.4b", "2.0", "2.1", "2.2", "2.3"}

// Badge judges by what the adapter does; its name counts only where it is contradicted.
func (r *Record) Badge() Badge {
	switch {
	case r.Can == nil:
		return Unproven
	case r.STN != "":
		if len(r.Cannot()) > 0 {
			return PoorCopy
		}
		if r.Can[STPX] == No || r.Gap {
			return GoodCopy
		}
		return Genuine
	case r.genuine():
		return Genuine
	case len(r.Cannot()) > 0:
		return PoorCopy
	}
	return GoodCopy
}

// genuine: it knows what its version knows, no more and no less. A genuine chip may still lack what came later.
func (r *Record) genuine() bool {
	_, said, ok := strings.Cut(r.Adapter, "ELM327 v")
	if r.canOnly() {
		_, said, _ = strings.Cut(r.Adapter, "ELM329 v")
		said, ok = genuine329[said]
	}
	if !ok || !slices.Contains(genuineBanners, said) || r.Gap {
		return false
	}
	level := r.Level
	if level == "" {
		level = "1.0"
	}
	for _, a := range []Ability{LongAnswer, LongRequest, Timeout, Number, Wide} {
		if r.Can[a] == No {
			return false
		}
	}
	base := strings.TrimRight(said, "a")
	return said == level || base == level || level == "1.0" && base < "1.2" || said == "2.3" && level == "2.2"
}
