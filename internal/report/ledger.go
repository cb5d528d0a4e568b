package report

import (
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"

	"obdgate/internal/i18n"
	"obdgate/internal/ledger"
)

// Ledger writes the outcome of a verification.
func (t *Text) Ledger(r ledger.Report) error {
	if r.OK() {
		t.Line("%s", t.words.T("ledger.good", r.Entries))
		t.Line("  sha256 %s", r.Root)
	} else {
		t.Line("%s", t.bad.Render(t.words.T("ledger.bad", r.Total, r.Entries)))
	}
	for _, p := range r.Problems {
		t.Line("  %s #%d: %s", p.Kind, p.Entry, p.Detail)
	}
	for _, n := range r.Notes {
		t.Line("  %s", n)
	}
	return t.err
}

// Entries writes ledger entries, a line each.
type Entries struct {
	text *Text
	json *json.Encoder
}

// NewEntries writes to w, as JSON lines or for people.
func NewEntries(w io.Writer, words *i18n.Catalog, asJSON bool) *Entries {
	if asJSON {
		return &Entries{json: json.NewEncoder(w)}
	}
	return &Entries{text: NewText(w, words)}
}

// Write writes some entries.
func (e *Entries) Write(es []ledger.Entry) error {
	for _, x := range es {
		if e.json != nil {
			if err := e.json.Encode(x); err != nil {
				return err
			}
			continue
		}
		e.text.Line("%6d  %s  %-18s %s", x.Seq, x.Time.Local().Format("2006-01-02 15:04:05"), x.Kind, facts(x.Facts))
	}
	if e.text != nil {
		return e.text.Err()
	}
	return nil
}

// facts are an entry's facts in one line; hashes are cut.
func facts(f ledger.Facts) string {
	var out []string
	add := func(name, value string) {
		if len(value) == 64 {
			value = value[:12] + "…"
		}
		if value != "" {
			out = append(out, name+"="+value)
		}
	}
	add("purpose", f.Purpose)
	add("answer", f.Answer)
	add("evidence", f.Evidence)
	add("obfcm", f.OBFCM)
	add("recipient", f.Recipient)
	add("content", f.Content)
	add("receipt", f.Receipt)
	add("reason", f.Reason)
	if f.Count > 0 {
		add("count", strconv.Itoa(f.Count))
	}
	keys := sortedKeys(f.Counts)
	slices.Sort(keys)
	for _, k := range keys {
		add(k, strconv.Itoa(f.Counts[k]))
	}
	return strings.Join(out, " ")
}
