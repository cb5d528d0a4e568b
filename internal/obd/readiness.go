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

// ReadinessOf decodes any reading of PID 01 or 41 (service 01, or DID F401 and F441): their Raw holds the whole record.
// ok is false for other readings.
func ReadinessOf(r reading.Reading) (out Readiness, ok bool) {
	raw := r.Raw
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
