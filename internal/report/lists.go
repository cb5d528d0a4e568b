package report

import (
	"slices"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/outbox"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/visit"
	"obdgate/internal/wire"
)

// Sent is one delivered envelope with its exact bytes.
type Sent struct {
	Item outbox.Item
	Body []byte
}

// Lists are the two lists a customer understands: what left, with the proof, and what stayed, with the reason.
type Lists struct {
	Left   []Left   `json:"left"`
	Stayed []Stayed `json:"stayed"`
}

// Left is one envelope that left.
type Left struct {
	Recipient string        `json:"recipient"`
	Purpose   string        `json:"purpose"`
	VIN       string        `json:"vin"` // as it was sent: whole, 11 characters, or "" for none
	Values    []Withheld    `json:"values"`
	Bytes     int           `json:"bytes"`
	Envelope  string        `json:"envelope"`
	Receipt   *wire.Receipt `json:"receipt"`
}

// Stayed is one kind of data that did not leave.
type Stayed struct {
	Category string `json:"category"`
	Count    int    `json:"count"` // values read, 0 when they were not even asked for
	Reason   string `json:"reason"`
}

// NewLists makes both lists from a scan, the customer's answers and what was sent of it.
func NewLists(s visit.Scan, ds []consent.Decision, sent []Sent, p *policy.Policy, now time.Time) (Lists, error) {
	l := Lists{Left: []Left{}, Stayed: []Stayed{}}
	gone := map[policy.Category]bool{}
	for _, one := range sent {
		e, err := wire.Parse(one.Body)
		if err != nil {
			return l, err
		}
		item := newItem(one.Item)
		left := Left{Recipient: item.Recipient, Purpose: item.Purpose, VIN: e.VIN, Bytes: item.Bytes, Envelope: e.ID, Receipt: item.Receipt}
		counts := map[policy.Category]int{}
		for key := range e.Keys {
			counts[p.TagKey(reading.Key(key)).Category]++
		}
		for _, c := range p.Categories() {
			if n := counts[c.Key]; n > 0 {
				gone[c.Key] = true
				left.Values = append(left.Values, Withheld{Category: string(c.Key), Count: n})
			}
		}
		l.Left = append(l.Left, left)
	}
	read := map[policy.Category]int{}
	for _, r := range s.Readings {
		c := p.Tag(r).Tag().Category
		if c == "" {
			c = policy.NoCategory
		}
		read[c]++
	}
	if !s.OBFCM.Outcome.Asked() {
		l.Stayed = append(l.Stayed, Stayed{Category: string(policy.Consumption), Reason: "not-asked-" + string(s.OBFCM.Outcome)})
	}
	for _, c := range slices.Concat(p.Categories(), []policy.CategoryInfo{{Key: policy.NoCategory}}) {
		if read[c.Key] == 0 || gone[c.Key] {
			continue
		}
		reason := "personal"
		if c.Class.Releasable() {
			reason = "no-consent"
			if answer, _ := consent.Standing(ds, purposeOf(c.Key), now); answer.Yes() {
				reason = "not-needed"
			}
		}
		l.Stayed = append(l.Stayed, Stayed{Category: string(c.Key), Count: read[c.Key], Reason: reason})
		delete(read, c.Key) // a policy may list the unclassified among its categories
	}
	return l, nil
}

func purposeOf(c policy.Category) consent.Purpose {
	if c == policy.Consumption {
		return consent.OBFCM
	}
	return consent.Service
}

// Lists writes both lists.
func (t *Text) Lists(l Lists) error {
	w := t.words
	t.Heading("lists.left")
	if len(l.Left) == 0 {
		t.Line("  %s", w.T("visit.nothing-left"))
	}
	for _, left := range l.Left {
		t.Line("  %s", w.T("lists.to", left.Recipient, t.Purpose(consent.Purpose(left.Purpose))))
		t.Rows([][]string{{"", w.T("scan.vehicle"), nonEmpty(left.VIN, "-")}})
		t.Rows(rowsOf(left.Values, func(i int) []string {
			v := left.Values[i]
			return []string{"", t.Category(v.Category), w.T("visit.values", v.Count)}
		}))
		if r := left.Receipt; r != nil {
			t.Line("    %s", w.T("upload.receipt", r.Received, r.Key))
			t.Line("    %s", t.dim.Render("sha256 "+left.Envelope))
		}
	}
	t.Heading("lists.stayed")
	t.Rows(rowsOf(l.Stayed, func(i int) []string {
		s := l.Stayed[i]
		count := w.T("visit.values", s.Count)
		if s.Count == 0 {
			count = "-"
		}
		return []string{t.Category(s.Category), count, w.T("lists." + s.Reason)}
	}))
	return t.err
}
