package report

import (
	"strings"

	"obdgate/internal/dtc"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/uds"
	"obdgate/internal/visit"
)

// Snapshot is what an ECU keeps of one code in one record of service 19: values of that moment (04) or counters (06). What
// cannot be taken apart stands as bytes, and is personal.
type Snapshot struct {
	ECU      string  `json:"ecu"`
	Code     string  `json:"code"`
	Record   int     `json:"record"`
	Extended bool    `json:"extended"` // 19 06
	Values   []Value `json:"values"`
}

// Value is one value of a snapshot. Unconfirmed: its place is known from one source alone.
type Value struct {
	Reading
	Unconfirmed bool `json:"unconfirmed,omitempty"`
}

func snapshots(s visit.Scan, p *policy.Policy) []Snapshot {
	type id struct {
		ecu      string
		code     uint32
		record   byte
		extended bool
	}
	out := []Snapshot{}
	index := map[id]int{}
	for _, r := range s.Readings {
		c, record, ok := uds.RecordOf(r)
		if !ok {
			continue
		}
		k := id{r.ECU, c.N, record, strings.HasPrefix(string(r.Key), "uds.19.06.")}
		if k.extended {
			k.record = 0 // each record is one value: they stand together
		}
		i, known := index[k]
		if !known {
			i = len(out)
			index[k] = i
			out = append(out, Snapshot{ECU: r.ECU, Code: codeText(s.Readings, r.ECU, c), Record: int(k.record), Extended: k.extended, Values: []Value{}})
		}
		one := readingOf(r, p.Tag(r).Tag())
		out[i].Values = append(out[i].Values, Value{one, uds.Unconfirmed(r.Key)})
	}
	return out
}

// codeText is a code as the list of codes has it: without a failure type that says nothing, or in the maker's digits.
func codeText(rs []reading.Reading, ecu string, c dtc.Code) string {
	for _, e := range dtc.Merge(rs) {
		n := e.Code.N
		if e.Code.Format == dtc.J2012 {
			n <<= 8
		}
		if e.ECU == ecu && n == c.N {
			return e.Code.String()
		}
	}
	return c.String()
}

// snapshots writes what was kept with a code under it.
func (t *Text) snapshots(d Document, c DTC) {
	for _, s := range d.Snapshots {
		if s.ECU != c.ECU || s.Code != c.Code {
			continue
		}
		if s.Extended {
			t.Line("    %s", t.dim.Render(t.words.T("scan.extended")))
		} else {
			t.Line("    %s", t.dim.Render(t.words.T("scan.snapshot", s.Record)))
		}
		var rows [][]string
		for _, v := range s.Values {
			name, _, _ := strings.Cut(v.Name, " (snapshot ")
			name = t.words.Name(name)
			if v.Unconfirmed {
				name += ", " + t.words.T("scan.unconfirmed")
			}
			text := shown(v.Reading, t.words)
			if v.Absent != "" {
				continue
			}
			if strings.HasSuffix(v.Key, ".raw") {
				name = t.words.T("scan.unknown-record")
				if n := len(text) / 2; n > 8 {
					text = t.words.T("scan.bytes", n)
				}
			}
			rows = append(rows, []string{"    " + name, text, t.words.T("tag." + v.Tag)})
		}
		t.Rows(rows)
	}
}
