package obd

import "obdgate/internal/reading"

// Monitor is one on-board monitor of PID 01 (since the memory was cleared) or 41 (this drive cycle).
type Monitor struct {
	Key       string `json:"key"`  // stable, lower case: "catalyst", "egr_vvt"
	Name      string `json:"name"` // English
	Supported bool   `json:"supported"`
	Complete  bool   `json:"complete"` // only meaningful when Supported
}

// Readiness is PID 01 or 41 as a technician wants it.
type Readiness struct {
	ECU         string    `json:"ecu,omitempty"`
	MIL         bool      `json:"mil"`         // lamp commanded on by this ECU; false for PID 41, which does not say
	Codes       int       `json:"codes"`       // confirmed codes in this ECU; 0 for PID 41
	Compression bool      `json:"compression"` // diesel monitor set
	Cycle       bool      `json:"cycle"`       // PID 41: enabled and complete this drive cycle
	Monitors    []Monitor `json:"monitors"`    // the eleven places in the order of the bits, reserved ones left out
}

// Complete reports whether every supported monitor is complete, and how many are not.
func (r Readiness) Complete() (ok bool, open int) {
	for _, m := range r.Monitors {
		if m.Supported && !m.Complete {
			open++
		}
	}
	return open == 0, open
}

type monitorName struct{ key, name string }

// Continuous monitors: byte B bits 0-2 supported, bits 4-6 not complete (J1979 PID 01).
var continuous = [3]monitorName{{"misfire", "Misfire"}, {"fuel_system", "Fuel system"}, {"components", "Comprehensive components"}}

// Non-continuous monitors: byte C supported, byte D not complete, same bit numbers; the meaning depends on byte B bit 3.
var (
	spark = [8]monitorName{
		{"catalyst", "Catalyst"}, {"heated_catalyst", "Heated catalyst"}, {"evap", "Evaporative system"},
		{"secondary_air", "Secondary air"}, {"ac_refrigerant_or_gpf", "A/C refrigerant or gasoline particulate filter"}, {"oxygen_sensor", "Oxygen sensor"},
		{"oxygen_sensor_heater", "Oxygen sensor heater"}, {"egr_vvt", "EGR / VVT"},
	}
	compression = [8]monitorName{
		{"nmhc_catalyst", "NMHC catalyst"}, {"nox_scr", "NOx / SCR aftertreatment"}, {},
		{"boost_pressure", "Boost pressure"}, {}, {"exhaust_gas_sensor", "Exhaust gas sensor"},
		{"particulate_filter", "Particulate filter"}, {"egr_vvt", "EGR / VVT"},
	}
)

// MIL reports whether any ECU commands the lamp on; nil when no ECU said. One ECU that says no does not clear another's
// lamp.
func MIL(readings []reading.Reading) *bool {
	var out *bool
	for _, r := range readings {
		if one, ok := ReadinessFrom(r); ok && !one.Cycle {
			if out == nil {
				out = new(bool)
			}
			*out = *out || one.MIL
		}
	}
	return out
}

// ReadinessOf returns the readiness since clear of the ECU that supports the most monitors, the engine's; nil when no
// ECU said. MIL is its own lamp bit: the car's is MIL.
func ReadinessOf(readings []reading.Reading) *Readiness {
	var best *Readiness
	for _, r := range readings {
		one, ok := ReadinessFrom(r)
		if ok && !one.Cycle && (best == nil || one.supported() > best.supported()) {
			best = &one
		}
	}
	return best
}

func (r Readiness) supported() (n int) {
	for _, m := range r.Monitors {
		if m.Supported {
			n++
		}
	}
	return n
}

// ReadinessFrom decodes any one reading of PID 01 or 41 (service 01, or DID F401 and F441): their Raw holds the whole
// record. ok is false for other readings.
func ReadinessFrom(r reading.Reading) (out Readiness, ok bool) {
	raw := r.Raw
	out.ECU = r.ECU
	switch {
	case len(raw) == 6 && raw[0] == 0x41:
		raw = raw[1:]
	case len(raw) == 7 && raw[0] == 0x62 && raw[1] == 0xF4:
		raw = raw[2:]
	default:
		return out, false
	}
	if raw[0] != 0x01 && raw[0] != 0x41 {
		return out, false
	}
	out.Cycle = raw[0] == 0x41
	a, b, c, d := raw[1], raw[2], raw[3], raw[4]
	if !out.Cycle {
		out.MIL, out.Codes = a&0x80 != 0, int(a&0x7F)
	}
	out.Compression = b&0x08 != 0
	for i, m := range continuous {
		out.Monitors = append(out.Monitors, Monitor{m.key, m.name, b>>i&1 == 1, b>>i&1 == 1 && b>>(4+i)&1 == 0})
	}
	names := &spark
	if out.Compression {
		names = &compression
	}
	for i, m := range names {
		if m.key != "" {
			out.Monitors = append(out.Monitors, Monitor{m.key, m.name, c>>i&1 == 1, c>>i&1 == 1 && d>>i&1 == 0})
		}
	}
	return out, true
}
