package report

import (
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"obdgate/internal/i18n"
	"obdgate/internal/obfcm"
	"obdgate/internal/reading"
	"obdgate/internal/visit"

	"github.com/charmbracelet/lipgloss"
)

// Text writes reports for people. The words come from the catalog; styles vanish by themselves where the output is no
// terminal or NO_COLOR is set.
type Text struct {
	columns int // of the terminal, 0 = not known or none
	w       io.Writer
	words   *i18n.Catalog
	head    lipgloss.Style
	dim     lipgloss.Style
	bad     lipgloss.Style
	err     error
}

// NewText writes to w in the catalog's language.
func NewText(w io.Writer, words *i18n.Catalog) *Text {
	r := lipgloss.NewRenderer(w)
	return &Text{w: w, words: words,
		head: r.NewStyle().Bold(true), dim: r.NewStyle().Faint(true), bad: r.NewStyle().Bold(true).Foreground(lipgloss.Color("1"))}
}

// Fit says how many characters a line of the terminal has; without it lines are as long as they are.
func (t *Text) Fit(columns int) { t.columns = columns }

// Err is the first error of the writer.
func (t *Text) Err() error { return t.err }

// Line writes one line.
func (t *Text) Line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format+"\n", args...)
	}
}

// Heading writes an empty line and a heading.
func (t *Text) Heading(key string, args ...any) {
	t.Line("\n%s", t.head.Render(t.words.T(key, args...)))
}

// Rows writes rows in aligned columns, two spaces in front of each. It writes nothing for no rows.
func (t *Text) Rows(rows [][]string) { t.rows(rows, func(int) {}) }

// rows is Rows that calls under behind every row.
func (t *Text) rows(rows [][]string, under func(i int)) {
	for n, line := range table(rows) {
		t.Line("%s", line)
		under(n)
	}
}

// table aligns the cells of rows in columns, two spaces in front of each.
func table(rows [][]string) []string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	lines := make([]string, len(rows))
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString("  " + cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-lipgloss.Width(cell)))
			}
		}
		lines[n] = strings.TrimRight(line.String(), " ")
	}
	return lines
}

// Scan writes the technician's repair report of one scan. It is the same whatever the customer answered, except for the
// consumption section.
func (t *Text) Scan(d Document) error {
	w := t.words
	vin := w.T("none-read")
	if d.VIN != nil {
		vin = *d.VIN
	}
	mil := w.T("unknown")
	if d.MIL != nil && *d.MIL {
		mil = t.bad.Render(w.T("on"))
	} else if d.MIL != nil {
		mil = w.T("off")
	}
	t.Line("%s", t.head.Render(w.T("scan.title")))
	t.Rows([][]string{
		{w.T("scan.vehicle"), vin},
		{w.T("scan.adapter"), nonEmpty(d.Adapter, d.Link)},
		{w.T("scan.protocol"), nonEmpty(d.Protocol, w.T("unknown"))},
		{w.T("scan.mil"), mil},
	})
	t.codes(d)
	t.readiness(d)
	t.monitors(d)
	t.performance(d)
	t.mileage(d)
	t.consumption(d)
	t.service(d)
	t.values(d)
	t.software(d)
	for i, h := range d.Withheld {
		if i == 0 {
			t.Heading("scan.tags")
		}
		t.Line("  %s", w.T("scan.withheld", h.Count, t.Category(h.Category)))
	}
	if missing := slices.DeleteFunc(slices.Clone(d.Errors), aboutRecord); len(missing) > 0 {
		t.Heading("scan.errors")
		t.errors(missing)
	}
	return t.err
}

func (t *Text) errors(missing []visit.ReadError) {
	for _, e := range missing {
		t.Rows([][]string{{nonEmpty(e.ECU, "-"), e.Request, t.words.Name(e.Error)}})
		if e.Hint != "" {
			t.Line("      %s", t.dim.Render(t.words.Name(e.Hint)))
		}
	}
}

// aboutRecord reports whether a question that was not answered was for the consumption record: it is told in the record's
// own section, the rest of the report does not depend on whether the record was asked for.
func aboutRecord(e visit.ReadError) bool {
	req, err := hex.DecodeString(e.Request)
	return err == nil && obfcm.IsOBFCM(req)
}

func (t *Text) codes(d Document) {
	t.Heading("scan.codes")
	if len(d.DTCs) == 0 {
		t.Line("  %s", t.words.T("scan.no-codes"))
		return
	}
	t.rows(rowsOf(d.DTCs, func(i int) []string {
		c := d.DTCs[i]
		return []string{t.bad.Render(c.Code), t.states(c), c.ECU, c.Text}
	}), func(i int) {
		t.frames(d, d.DTCs[i])
		t.snapshots(d, d.DTCs[i])
	})
}

// states names every memory a code is in.
func (t *Text) states(c DTC) string {
	var names []string
	for _, s := range c.States {
		names = append(names, t.words.T("dtc."+s))
	}
	if c.Severity != "" {
		names = append(names, t.words.T("dtc."+c.Severity))
	}
	return strings.Join(names, ", ")
}

// readiness names every monitor there can be: what is not fitted cannot fail an inspection.
func (t *Text) readiness(d Document) {
	if d.Readiness == nil {
		return
	}
	w := t.words
	kind := w.T("readiness.spark")
	if d.Readiness.Compression {
		kind = w.T("readiness.compression")
	}
	t.Heading("scan.readiness", kind)
	var ready, not, none []string
	for _, m := range d.Readiness.Monitors {
		name := w.Name(m.Name)
		switch {
		case !m.Supported:
			none = append(none, name)
		case m.Complete:
			ready = append(ready, name)
		default:
			not = append(not, name)
		}
	}
	list := func(names []string) string { return nonEmpty(strings.Join(names, ", "), "-") }
	t.Rows([][]string{{w.T("ready"), list(ready)}, {w.T("not-ready"), list(not)}, {w.T("not-fitted"), list(none)}})
}

func (t *Text) consumption(d Document) {
	w := t.words
	t.Heading("scan.obfcm")
	if !d.OBFCM.Asked {
		t.Line("  %s", w.T("obfcm."+d.OBFCM.Reason))
		return
	}
	o := d.OBFCM
	rows := [][]string{{w.T("verdict"), w.T("obfcm." + o.Verdict)}}
	for _, r := range o.Reasons {
		rows = append(rows, []string{"", t.Reason("obfcm-reason.", r)})
	}
	add := func(name string, q *reading.Quantity) {
		if q != nil {
			rows = append(rows, []string{name, q.String()})
		}
	}
	add(w.T("obfcm.total-distance"), o.TotalDistance)
	add(w.T("obfcm.total-fuel"), o.TotalFuel)
	add(w.T("obfcm.recent-distance"), o.RecDistance)
	add(w.T("obfcm.recent-fuel"), o.RecFuel)
	for _, k := range sortedKeys(o.More) {
		name := k
		for _, f := range obfcm.Fields() {
			if string(f.Key) == "obfcm."+k {
				name = w.Name(f.Name)
			}
		}
		add(name, o.More[k].Value)
	}
	t.Rows(rows)
	if o.Layout != "" {
		t.Line("  %s", t.dim.Render(w.T("obfcm.unconfirmed")))
	}
	t.errors(slices.DeleteFunc(slices.Clone(d.Errors), func(e visit.ReadError) bool { return !aboutRecord(e) }))
}

// Reason is a stable key in words; one nobody has words for is shown as it is.
func (t *Text) Reason(prefix, key string) string {
	if t.words.Has(prefix + key) {
		return t.words.T(prefix + key)
	}
	return key
}

// Category is a category's name for people.
func (t *Text) Category(c string) string {
	if key := "category." + c; t.words.Has(key) {
		return t.words.T(key)
	}
	return c
}

// shown is a value as people read it, with its unit.
func shown(r Reading, w *i18n.Catalog) string {
	if r.Absent != "" {
		return w.Name(r.Absent)
	}
	if text, ok := r.Value.(string); ok {
		return w.Name(text)
	}
	return strings.TrimSpace(display(r.Value, w) + " " + unitName(r.Unit, w))
}

func display(v any, w *i18n.Catalog) string {
	switch v := v.(type) {
	case bool:
		if v {
			return w.T("yes")
		}
		return w.T("no")
	case reading.Quantity:
		return v.Round(2)
	}
	return fmt.Sprint(v)
}

// unitName is a unit as people write it.
func unitName(u string, w *i18n.Catalog) string {
	switch u {
	case "degC":
		return "°C"
	case "deg":
		return "°"
	case "bool", "enum", "bitmap", "count", "ratio":
		return ""
	}
	if key := "unit." + u; w.Has(key) {
		return w.T(key)
	}
	return u
}

func nonEmpty(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func rowsOf[T any](s []T, row func(i int) []string) [][]string {
	rows := make([][]string, len(s))
	for i := range s {
		rows[i] = row(i)
	}
	return rows
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
