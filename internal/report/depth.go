package report

import (
	"bytes"
	"slices"
	"strings"

	"obdgate/internal/obd"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/visit"
)

// FreezeFrame is what an ECU kept of the moment a code was stored (service 02). Values carry their own tags: engine values
// are technical, speed and times are personal.
type FreezeFrame struct {
	ECU    string    `json:"ecu"`
	Frame  int       `json:"frame"`
	Code   string    `json:"code"` // the code it belongs to
	Values []Reading `json:"values"`
}

// MonitorResult is one on-board test with its limits (service 06, or 22 F6xx). A limit is null where there is none on that
// side or its scale is not known.
type MonitorResult struct {
	ECU    string `json:"ecu"`
	Test   string `json:"test"` // MID and TID, "21.80"
	Name   string `json:"name"`
	Value  any    `json:"value"`
	Min    any    `json:"min"`
	Max    any    `json:"max"`
	Unit   string `json:"unit,omitempty"`
	Result string `json:"result"` // passed, failed, not run, not judged
	Tag    string `json:"tag"`
}

// Performance is how often a monitor could run and did (09 08, 09 0B, or 22 F808, F80B).
type Performance struct {
	ECU        string            `json:"ecu"`
	Monitor    string            `json:"monitor"`
	Name       string            `json:"name"` // English
	Completed  reading.Quantity  `json:"completed"`
	Conditions reading.Quantity  `json:"conditions"`
	Ratio      *reading.Quantity `json:"ratio"` // null before the first time
}

// Software is what one ECU runs, for a recall campaign.
type Software struct {
	ECU            string        `json:"ecu"`
	Name           string        `json:"name,omitempty"`
	Calibrations   []Calibration `json:"calibrations"`
	Identification []Identity    `json:"identification"`
}

// Calibration is one calibration with its verification number; CVN is empty where the ECU gave fewer numbers than
// calibrations.
type Calibration struct {
	ID  string `json:"id"`
	CVN string `json:"cvn,omitempty"`
}

// Identity is one identification an ECU gave (ISO 14229-1 F18x, F19x).
type Identity struct {
	DID   string `json:"did"`
	Name  string `json:"name"`
	Value any    `json:"value"`
}

func freezeFrames(s visit.Scan, p *policy.Policy) []FreezeFrame {
	out := []FreezeFrame{}
	at := func(ecu string, n int) *FreezeFrame {
		i := slices.IndexFunc(out, func(f FreezeFrame) bool { return f.ECU == ecu && f.Frame == n })
		if i < 0 {
			out = append(out, FreezeFrame{ECU: ecu, Frame: n, Values: []Reading{}})
			i = len(out) - 1
		}
		return &out[i]
	}
	for _, r := range s.Readings {
		n, ok := obd.FreezeFrame(r)
		if !ok || obd.IsBitmap(r.Raw[1]) {
			continue
		}
		c, isCode := r.Value.(reading.Code)
		switch {
		case r.Raw[1] != 0x02:
			f := at(r.ECU, int(n))
			f.Values = append(f.Values, readingOf(r, p.Tag(r).Tag()))
		case isCode:
			at(r.ECU, int(n)).Code = c.Label
		}
	}
	return slices.DeleteFunc(out, func(f FreezeFrame) bool { return f.Code == "" && len(f.Values) == 0 })
}

// monitorResults puts the readings of each test together: value, limits and result share their bytes.
func monitorResults(s visit.Scan, p *policy.Policy) []MonitorResult {
	type id struct{ ecu, test, raw string }
	out := []MonitorResult{}
	index := map[id]int{}
	for _, r := range s.Readings {
		test, field, ok := monitorKey(string(r.Key))
		if !ok {
			continue
		}
		k := id{r.ECU, test, string(r.Raw)}
		i, known := index[k]
		if !known {
			i = len(out)
			index[k] = i
			out = append(out, MonitorResult{ECU: r.ECU, Test: test})
		}
		m, one := &out[i], readingOf(r, p.Tag(r).Tag())
		switch field {
		case "value":
			m.Name, m.Value, m.Unit, m.Tag = r.Name, one.Value, one.Unit, one.Tag
		case "min":
			m.Min = one.Value
		case "max":
			m.Max = one.Value
		case "result":
			m.Result, _ = one.Value.(string)
		}
	}
	return out
}

// monitorKey splits obd.06.21.80.value and uds.22.F621.80.value.
func monitorKey(k string) (test, field string, ok bool) {
	rest, classic := strings.CutPrefix(k, "obd.06.")
	if !classic {
		if rest, ok = strings.CutPrefix(k, "uds.22.F6"); !ok {
			return "", "", false
		}
	}
	parts := strings.Split(rest, ".")
	if len(parts) != 3 {
		return "", "", false
	}
	return parts[0] + "." + parts[1], parts[2], true
}

// performance pairs the counters: one counts how often the conditions were met, one how often the test came to its end.
// Pairs without either are not fitted.
func performance(s visit.Scan) []Performance {
	out := []Performance{}
	for _, r := range s.Readings {
		field, ok := performanceField(string(r.Key))
		if !ok || !strings.Contains(field, "comp") {
			continue
		}
		done, ok := r.Value.(reading.Quantity)
		if !ok {
			continue
		}
		partner := strings.TrimSuffix(string(r.Key), field) + strings.Replace(field, "comp", "cond", 1)
		for _, o := range s.Readings {
			met, isNumber := o.Value.(reading.Quantity)
			if o.ECU != r.ECU || string(o.Key) != partner || !isNumber || done.Num == 0 && met.Num == 0 {
				continue
			}
			one := Performance{ECU: r.ECU, Monitor: strings.Replace(field, "comp", "", 1), Name: strings.Replace(r.Name, " completions", "", 1), Completed: done, Conditions: met}
			if q, ok := reading.Scaled(done.Num, 1, max(met.Num, 1), 0, 1, ""); ok && met.Num > 0 {
				one.Ratio = &q
			}
			out = append(out, one)
		}
	}
	return out
}

func performanceField(k string) (string, bool) {
	for _, prefix := range []string{"obd.09.08.", "obd.09.0B.", "uds.22.F808.", "uds.22.F80B."} {
		if field, ok := strings.CutPrefix(k, prefix); ok {
			return field, true
		}
	}
	return "", false
}

// software gathers what each ECU said of itself. Calibrations and verification numbers come in the same order.
func software(s visit.Scan) []Software {
	out := []Software{}
	for _, e := range s.ECUs {
		one := Software{ECU: e.Address, Name: e.Name, Calibrations: []Calibration{}, Identification: []Identity{}}
		var cvns []string
		for _, r := range s.Readings {
			text, isText := r.Value.(reading.Text)
			if r.ECU != e.Address || !isText {
				continue
			}
			switch k := string(r.Key); {
			case k == "obd.09.04", k == "uds.22.F804":
				one.Calibrations = append(one.Calibrations, Calibration{ID: string(text)})
			case k == "obd.09.06", k == "uds.22.F806":
				cvns = append(cvns, string(text))
			case len(r.Raw) > 3 && bytes.HasPrefix(r.Raw, []byte{0x62, 0xF1}):
				one.Identification = append(one.Identification, Identity{DID: strings.TrimPrefix(k, "uds.22."), Name: r.Name, Value: string(text)})
			}
		}
		for i := range min(len(cvns), len(one.Calibrations)) {
			one.Calibrations[i].CVN = cvns[i]
		}
		if len(one.Calibrations)+len(one.Identification) > 0 {
			out = append(out, one)
		}
	}
	return out
}

// frames writes the freeze frames of one code under it.
func (t *Text) frames(d Document, c DTC) {
	for _, f := range d.FreezeFrames {
		if f.ECU != c.ECU || f.Code != c.Code && !strings.HasPrefix(c.Code, f.Code+"-") {
			continue
		}
		t.Line("    %s", t.dim.Render(t.words.T("scan.freeze", f.Frame)))
		var rows [][]string
		for _, v := range f.Values {
			if v.Absent == "" {
				rows = append(rows, []string{"    " + t.words.Name(strings.TrimSuffix(v.Name, " (freeze frame)")), shown(v, t.words), t.words.T("tag." + v.Tag)})
			}
		}
		t.Rows(rows)
	}
}

// monitors writes the tests that failed, and how many there are in all.
func (t *Text) monitors(d Document) {
	if len(d.MonitorResults) == 0 {
		return
	}
	counts := map[string]int{}
	var rows [][]string
	for _, m := range d.MonitorResults {
		counts[m.Result]++
		if m.Result == obd.Failed.String() {
			rows = append(rows, []string{m.ECU, t.words.Name(m.Name), t.bad.Render(t.words.T("monitor.failed")),
				strings.TrimSpace(display(m.Value, t.words) + " " + unitName(m.Unit, t.words)), limits(m, t)})
		}
	}
	t.Heading("scan.monitors")
	t.Rows(rows)
	t.Line("  %s", t.words.T("scan.monitor-counts", counts[obd.Passed.String()], counts[obd.Failed.String()], counts[obd.NotRun.String()]))
}

func limits(m MonitorResult, t *Text) string {
	side := func(v any) string {
		if v == nil {
			return ""
		}
		return display(v, t.words)
	}
	return side(m.Min) + " … " + side(m.Max)
}
