package policy

import (
	"fmt"

	"obdgate/dbc"
	"obdgate/internal/obd"
	"obdgate/internal/obfcm"
)

// identification are the data identifiers that ISO 14229-1 annex C gives a meaning.
const firstIdentification, lastIdentification = 0xF180, 0xF19E

// TableKeys calls yield with every key that the tables of services and identifiers can produce: PIDs in their four places,
// InfoTypes and monitors in two, the consumption record, the standard identification and the reports of service 19. It is
// what Lint holds the rules against.
func TableKeys(yield func(key string) bool) {
	for i := range 256 {
		id := byte(i)
		for _, f := range obd.Fields(id) {
			for _, prefix := range pidPrefix {
				k := fmt.Sprintf("%s%02X", prefix, id)
				if !f.Only() {
					k += "." + f.Key
				}
				if !yield(k) {
					return
				}
			}
		}
		if _, ok := obd.ShapeOf(id); ok || obd.Elsewhere(id) || obfcm.IsInfoType(id) {
			if !yield(fmt.Sprintf("obd.09.%02X", id)) || !yield(fmt.Sprintf("uds.22.F8%02X", id)) {
				return
			}
		}
		if !yield(fmt.Sprintf("obd.06.%02X", id)) || !yield(fmt.Sprintf("uds.22.F6%02X", id)) {
			return
		}
	}
	for _, f := range obfcm.Fields() {
		if !yield(string(f.Key)) {
			return
		}
	}
	for did := firstIdentification; did <= lastIdentification; did++ {
		if !yield(fmt.Sprintf("uds.22.%04X", did)) {
			return
		}
	}
	for _, sub := range [...]int{0x01, 0x02, 0x03, 0x04, 0x06, 0x07, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x11, 0x12, 0x13, 0x14, 0x15, 0x17, 0x1A, 0x42, 0x55, 0x56} {
		for _, part := range [...]string{"dtc", "availability"} {
			if !yield(fmt.Sprintf("uds.19.%02X.%s", sub, part)) {
				return
			}
		}
	}
	for _, k := range [...]string{"vin", "odometer", "obd.dtc.stored", "obd.dtc.pending", "obd.dtc.permanent", "kwp.18.dtc", "kwp.1A.90",
		"uds.10", "diag.flow-control", "diag.negative", "diag.acknowledge", "diag.echo"} {
		if !yield(k) {
			return
		}
	}
}

// LintDBC checks the privacy attributes of a broadcast database against the policy: signals nobody marked, categories the
// policy does not have, a class that contradicts its category. All of these are personal; a file that is to say something
// should say it.
func (p *Policy) LintDBC(db *dbc.Database) []Finding {
	var out []Finding
	for _, m := range db.Messages() {
		for _, s := range m.Signals {
			name := m.Name + "." + s.Name
			info, known := p.categories[Category(s.Privacy.Category)]
			named := p.root.find(s.Key(), true) != nil
			switch {
			case !s.Privacy.Explicit && !named:
				out = append(out, Finding{"unclassified", "", name + " has no PrivacyClass"})
			case s.Privacy.Category != "" && !known:
				out = append(out, Finding{"contradictory", "", fmt.Sprintf("%s: the policy has no category %q", name, s.Privacy.Category)})
			case s.Privacy.Technical && !named && (!known || info.Class != Technical):
				out = append(out, Finding{"contradictory", "", fmt.Sprintf("%s is marked technical, its category %q is not", name, s.Privacy.Category)})
			}
			if s.VSS != "" && !isVSS(s.VSS) {
				out = append(out, Finding{"unreachable", "", fmt.Sprintf("%s: VssPath %q is no path; write Vehicle.Branch.Signal", name, s.VSS)})
			}
		}
	}
	return out
}
