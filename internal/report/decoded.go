package report

import (
	"strings"

	"obdgate/internal/decode"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
)

// Decoded is one object of `obdgate decode --json`, DecodedECU what one ECU said in it.
type (
	Decoded    = decode.Document
	DecodedECU = decode.ECUDoc
)

// NewDecoded shapes one decoded record. The VIN is whole: it is the user's own recording on the user's own screen.
func NewDecoded(request string, res decode.Result, p *policy.Policy, lang string) Decoded {
	d := res.Document(decode.Show{
		Lang:   lang,
		Reveal: func(id reading.Identity) string { return id.Reveal() },
		Tag: func(r reading.Reading) (tag, category string) {
			t := p.Tag(r).Tag()
			return t.Class.String(), categoryName(t)
		},
	})
	if d.Request == "" {
		d.Request = request
	}
	return d
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
			v := t.words.Name(r.Absent)
			switch {
			case v != "":
			case r.Label != "":
				v = t.words.Name(r.Label)
			default:
				v = strings.TrimSpace(display(r.Value, t.words) + " " + unitName(r.Unit, t.words))
			}
			if r.Note != "" {
				v += " (" + t.words.Name(r.Note) + ")"
			}
			return []string{r.Key, t.words.Name(r.Name), v, t.words.T("tag." + r.Tag)}
		}))
		t.Rows(rowsOf(e.DTCs, func(i int) []string { c := e.DTCs[i]; return []string{c.Code, t.states(DTC{States: c.States}), c.Text} }))
		if e.NRC != nil {
			t.Line("  %s", t.words.Name(e.NRC.Name))
		}
		if e.Error != "" {
			t.Line("  %s", t.bad.Render(t.words.Name(e.Error)))
		}
	}
	if d.Error != "" {
		t.Line("%s", t.bad.Render(d.Error))
	}
	return t.err
}
