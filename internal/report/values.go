package report

import (
	"fmt"
	"slices"
	"strings"

	"obdgate/internal/maker"
	"obdgate/internal/obd"
	"obdgate/internal/odometer"
	"obdgate/internal/reading"
)

// mileage leaves the consumption record out: it has its own section, and this one must not tell whether it was read.
func (t *Text) mileage(d Document) {
	w := t.words
	t.Heading("scan.mileage")
	m := d.Mileage
	if m.Km == nil {
		t.Line("  %s", w.T("none-read"))
	} else {
		verdict := w.T("odometer." + m.Verdict)
		if m.Verdict == string(odometer.Inconsistent) {
			verdict = t.bad.Render(verdict)
		}
		t.Rows([][]string{{m.Km.String() + " (" + sourceCode(m.Source) + ")", verdict}})
		t.Line("  %s", t.Reason("odometer-reason.", m.Reason))
		switch {
		case m.Earlier != nil:
			t.Line("  %s", t.bad.Render(w.T("odometer.earlier", m.Earlier.Km, m.Earlier.Month)))
		case m.NotBelow:
			t.Line("  %s", w.T("odometer.not-below"))
		}
	}
	t.Rows(rowsOf(m.Sources, func(i int) []string {
		s := m.Sources[i]
		note := ""
		if s.Unconfirmed {
			note = w.T("unconfirmed")
		}
		return []string{"", s.ECU, sourceCode(s.Source), t.sourceName(s), s.Km.String(), note}
	}))
}

// sourceCode is the question a mileage answers, as technicians write it: 01A6, 22D10D.
func sourceCode(source string) string {
	return strings.ReplaceAll(strings.TrimPrefix(source, "odometer."), ".", "")
}

// sourceName says in words what a mileage source is.
func (t *Text) sourceName(s OdometerSource) string {
	if s.name != "" {
		return t.words.Name(s.name)
	}
	return ""
}

// values are those that no section of their own has, under the control unit that gave them.
func (t *Text) values(d Document) {
	t.Heading("scan.values")
	var rows [][]string
	var under []string // the heading above each row, "" = none
	last := ""
	for _, r := range d.Readings {
		if r.Absent != "" || elsewhere(r.Key) {
			continue
		}
		head := ""
		if r.ECU != last {
			head, last = r.ECU, r.ECU
		}
		rows = append(rows, []string{"  " + t.words.Name(r.Name), shown(r, t.words), t.words.T("tag." + r.Tag), t.Category(r.Category), t.caution(r)})
		under = append(under, head)
	}
	for i, line := range table(rows) {
		if under[i] != "" {
			t.Line("  %s", t.ecu(d, under[i]))
		}
		t.Line("%s", line)
	}
}

// service writes what the maker keeps under identifiers of its own: pressures, wear, batteries.
func (t *Text) service(d Document) {
	var rows [][]string
	for _, r := range d.Readings {
		if r.Absent == "" && strings.HasPrefix(r.Key, "maker.") {
			rows = append(rows, []string{r.ECU, t.words.Name(r.Name), shown(r, t.words), t.words.T("tag." + r.Tag), t.caution(r)})
		}
	}
	if len(rows) > 0 {
		t.Heading("scan.service")
		t.Rows(rows)
	}
}

// caution is what a reader must know of a value: that its layout is not confirmed, that a counter is at its end.
func (t *Text) caution(r Reading) string {
	var notes []string
	if f, ok := obd.FieldOf(reading.Key(r.Key)); ok && !f.Verified || maker.Unconfirmed(reading.Key(r.Key)) {
		notes = append(notes, t.words.T("unconfirmed"))
	}
	if r.Note != "" {
		notes = append(notes, t.words.Name(r.Note))
	}
	if len(notes) == 0 {
		return ""
	}
	return t.dim.Render("(" + strings.Join(notes, "; ") + ")")
}

// ecu is a control unit's address with its name.
func (t *Text) ecu(d Document, address string) string {
	for _, e := range d.ECUs {
		if e.Address == address && e.Name != "" {
			return address + "  " + t.words.Name(e.Name)
		}
	}
	return address
}

// elsewhere reports values that a section of their own has, and the lists of what an ECU supports, which say nothing about
// the vehicle's state.
func elsewhere(key string) bool {
	for _, prefix := range []string{"obfcm.", "odometer", "maker.", "obd.02.", "obd.06.", "uds.22.F6", "uds.19.", "obd.09.08.", "obd.09.0B.", "uds.22.F808.", "uds.22.F80B.",
		"obd.01.01", "obd.01.41", "uds.22.F401", "uds.22.F441", "uds.22.F1"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	for _, id := range []string{"02", "04", "06", "0A"} { // VIN, calibrations, their verification numbers, name
		if key == "obd.09."+id || key == "uds.22.F8"+id {
			return true
		}
	}
	id := key[strings.LastIndex(key, ".")+1:]
	return len(id) >= 2 && strings.Contains("00 20 40 60 80 A0 C0 E0", id[len(id)-2:]) &&
		(strings.HasPrefix(key, "obd.0") || strings.HasPrefix(key, "uds.22.F4") || strings.HasPrefix(key, "uds.22.F8"))
}

// performance writes how often each monitor ran of the times it could have.
func (t *Text) performance(d Document) {
	if len(d.Performance) == 0 {
		return
	}
	t.Heading("scan.performance")
	t.Rows(rowsOf(d.Performance, func(i int) []string {
		p := d.Performance[i]
		ratio := "-"
		if p.Ratio != nil {
			ratio = p.Ratio.Round(2)
		}
		return []string{p.ECU, t.words.Name(p.Name), fmt.Sprintf("%s / %s", p.Completed, p.Conditions), ratio}
	}))
}

// software writes what each control unit is and runs, as a recall campaign asks for it: the calibrations with their
// verification numbers, then part, hardware and software numbers and versions.
func (t *Text) software(d Document) {
	t.Heading("scan.ecus")
	for _, e := range d.ECUs {
		t.Line("  %s", t.ecu(d, e.Address))
		i := slices.IndexFunc(d.Software, func(s Software) bool { return s.ECU == e.Address })
		if i < 0 {
			continue
		}
		var rows [][]string
		for _, c := range d.Software[i].Calibrations {
			rows = append(rows, []string{"  " + t.words.T("software.calibration"), c.ID, nonEmpty(c.CVN, "-")})
		}
		for _, id := range d.Software[i].Identification {
			rows = append(rows, []string{"  " + t.words.Name(id.Name), display(id.Value, t.words), id.DID})
		}
		t.Rows(rows)
	}
}
