package report

import (
	"obdgate/internal/dtc"
)

// Clearing is `obdgate clear --json`: what each control unit made of it, the codes before and after.
type Clearing struct {
	Visit   string        `json:"visit"`
	Request string        `json:"request"` // as the technician named it
	Units   []ClearResult `json:"units"`
	Before  []DTC         `json:"before"`
	After   []DTC         `json:"after"`
}

// ClearResult is one control unit's answer to one service.
type ClearResult struct {
	ECU     string `json:"ecu"`
	Service string `json:"service"`
	Cleared bool   `json:"cleared"`
	Error   string `json:"error,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// NewClearing shapes the account of one clearing.
func NewClearing(visit, request, lang string, units []ClearResult, before, after []dtc.Entry) Clearing {
	return Clearing{Visit: visit, Request: request, Units: orEmpty(units), Before: entries(before, lang), After: entries(after, lang)}
}

func entries(es []dtc.Entry, lang string) []DTC {
	out := []DTC{}
	for _, e := range es {
		out = append(out, DTC{Code: e.Code.String(), Format: e.Code.Format.String(), Status: e.State(), States: e.States(), ECU: e.ECU,
			Text: dtc.Text(e.Code, lang), Tag: "technical"})
	}
	return out
}

// Clearing writes the account.
func (t *Text) Clearing(c Clearing) error {
	w := t.words
	t.Line("%s", t.head.Render(w.T("clear.title", c.Request)))
	for _, u := range c.Units {
		said := w.T("clear.done")
		if !u.Cleared {
			said = t.bad.Render(w.Name(u.Error))
		}
		t.Rows([][]string{{u.ECU, u.Service, said}})
		if u.Hint != "" {
			t.Line("      %s", t.dim.Render(w.Name(u.Hint)))
		}
	}
	for _, part := range []struct {
		key   string
		codes []DTC
	}{{"clear.before", c.Before}, {"clear.after", c.After}} {
		t.Heading(part.key)
		if len(part.codes) == 0 {
			t.Line("  %s", w.T("scan.no-codes"))
		}
		t.Rows(rowsOf(part.codes, func(i int) []string {
			d := part.codes[i]
			return []string{d.Code, t.states(d), d.ECU, d.Text}
		}))
	}
	return t.err
}
