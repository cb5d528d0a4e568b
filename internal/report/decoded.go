package report

import (
	"errors"
	"fmt"
	"strings"

	"obdgate/internal/decode"
	"obdgate/internal/diag"
	"obdgate/internal/dtc"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/vin"
)

// Decoded is one object of `obdgate decode --json`.
type Decoded struct {
	Request string       `json:"request"`
	ECUs    []DecodedECU `json:"ecus"`
	Status  []string     `json:"status,omitempty"` // what the adapter said instead of an answer: "NO DATA"
	Damaged int          `json:"damaged_lines,omitempty"`
	Error   string       `json:"error,omitempty"`
}

// DecodedECU is what one ECU said.
type DecodedECU struct {
	ECU      string    `json:"ecu"`
	Readings []Reading `json:"readings"`
	DTCs     []DTC     `json:"dtcs"`
	VIN      *string   `json:"vin,omitempty"`
	CALIDs   []string  `json:"calids,omitempty"`
	CVNs     []string  `json:"cvns,omitempty"`
	Name     string    `json:"ecu_name,omitempty"`
	NRC      *NRC      `json:"nrc,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// NRC is a refusal.
type NRC struct {
	Code    string `json:"code"` // "31"
	Name    string `json:"name"`
	Service string `json:"service"`
}

// NewDecoded shapes one decoded record. The VIN is whole: it is the user's own recording on the user's own screen.
func NewDecoded(request string, res decode.Result, p *policy.Policy, lang string) Decoded {
	d := Decoded{Request: request, ECUs: []DecodedECU{}, Status: res.Status, Damaged: res.Damaged}
	if len(res.Request) > 0 {
		d.Request = fmt.Sprintf("%X", res.Request)
	}
	if res.Err != nil && !errors.Is(res.Err, decode.ErrNoAnswer) || res.Err != nil && len(res.Status) == 0 {
		d.Error = res.Err.Error()
	}
	for _, e := range res.ECUs {
		d.ECUs = append(d.ECUs, decodedECU(e, p, lang))
	}
	return d
}

func decodedECU(e decode.ECU, p *policy.Policy, lang string) DecodedECU {
	out := DecodedECU{ECU: e.Label, Readings: []Reading{}, DTCs: faults(e.Readings, p, lang)}
	if e.Negative != nil {
		n := diag.Negative{Service: e.Negative.Service, Code: e.Negative.Code}
		out.NRC = &NRC{Code: fmt.Sprintf("%02X", n.Code), Name: n.Name(), Service: fmt.Sprintf("%02X", n.Service)}
	}
	if e.Err != nil && e.Negative == nil {
		out.Error = e.Err.Error()
	}
	for _, r := range e.Readings {
		if _, fault := dtc.Of(r); fault {
			continue
		}
		out.Readings = append(out.Readings, readingOf(r, p.Tag(r).Tag()))
		text, _ := r.Value.(reading.Text)
		switch id := strings.TrimPrefix(string(r.Key), "uds.22.F8"); {
		case id == "04" || r.Key == "obd.09.04":
			out.CALIDs = append(out.CALIDs, string(text))
		case id == "06" || r.Key == "obd.09.06":
			out.CVNs = append(out.CVNs, string(text))
		case id == "0A" || r.Key == "obd.09.0A":
			out.Name = string(text)
		}
		if v, ok := vin.FromReading(r); ok {
			s := v.Reveal()
			out.VIN = &s
		}
	}
	return out
}

// Failed reports whether anything was not decoded whole. A refusal and an adapter's NO DATA are whole answers.
func (d Decoded) Failed() bool {
	if d.Error != "" || d.Damaged > 0 {
		return true
	}
	for _, e := range d.ECUs {
		if e.Error != "" {
			return true
		}
	}
	return false
}

// Decoded writes one decoded record for people.
func (t *Text) Decoded(d Decoded) error {
	for _, s := range d.Status {
		t.Line("%s", s)
	}
	for _, e := range d.ECUs {
		t.Line("%s", t.head.Render(nonEmpty(e.ECU, "-")))
		t.Rows(rowsOf(e.Readings, func(i int) []string {
			r := e.Readings[i]
			v := r.Absent
			if v == "" {
				v = strings.TrimSpace(display(r.Value, t.words) + " " + unitName(r.Unit))
			}
			return []string{r.Key, r.Name, v, t.words.T("tag." + r.Tag)}
		}))
		t.Rows(rowsOf(e.DTCs, func(i int) []string { c := e.DTCs[i]; return []string{c.Code, t.states(c), c.Text} }))
		if e.NRC != nil {
			t.Line("  %s", e.NRC.Name)
		}
		if e.Error != "" {
			t.Line("  %s", t.bad.Render(e.Error))
		}
	}
	if d.Error != "" {
		t.Line("%s", t.bad.Render(d.Error))
	}
	return t.err
}
