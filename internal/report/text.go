package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"obdgate/internal/i18n"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/lipgloss/table"
)

// Text writes reports for people. The words come from the catalog; styles vanish by themselves where the output is no
// terminal or NO_COLOR is set.
type Text struct {
	w     io.Writer
	words *i18n.Catalog
	head  lipgloss.Style
	dim   lipgloss.Style
	bad   lipgloss.Style
	err   error
}

// NewText writes to w in the catalog's language.
func NewText(w io.Writer, words *i18n.Catalog) *Text {
	r := lipgloss.NewRenderer(w)
	return &Text{w: w, words: words,
		head: r.NewStyle().Bold(true), dim: r.NewStyle().Faint(true), bad: r.NewStyle().Bold(true).Foreground(lipgloss.Color("1"))}
}

// Err is the first error of the writer.
func (t *Text) Err() error { return t.err }

// Line writes one line.
func (t *Text) Line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format+"\n", args...)
	}
}

// Heading writes an empty line and a heading.
func (t *Text) Heading(key string, args ...any) { t.Line("\n%s", t.head.Render(t.words.T(key, args...))) }

// Rows writes rows in aligned columns, two spaces in front. It writes nothing for no rows.
func (t *Text) Rows(rows [][]string) {
	if len(rows) == 0 {
		return
	}
	tb := table.New().Border(lipgloss.Border{}).BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderColumn(false).BorderHeader(false).BorderRow(false).Rows(rows...).
		StyleFunc(func(_, _ int) lipgloss.Style { return lipgloss.NewStyle().PaddingLeft(2) })
	for line := range strings.SplitSeq(strings.TrimRight(tb.String(), "\n"), "\n") {
		t.Line("%s", strings.TrimRight(line, " "))
	}
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
	t.Heading("scan.ecus")
	t.Rows(rowsOf(d.ECUs, func(i int) []string { return []string{d.ECUs[i].Address, d.ECUs[i].Name} }))
	t.codes(d)
	t.readiness(d)
	t.consumption(d)
	t.mileage(d)
	t.values(d)
	t.Heading("scan.tags")
	t.Line("  %s", w.T("scan.frames", d.Frames.Total, d.Frames.Technical, d.Frames.Personal))
	for _, h := range d.Withheld {
		t.Line("  %s", w.T("scan.withheld", h.Count, t.Category(h.Category)))
	}
	if len(d.Errors) > 0 {
		t.Heading("scan.errors")
		for _, e := range d.Errors {
			t.Rows([][]string{{nonEmpty(e.ECU, "-"), e.Request, e.Error}})
			if e.Hint != "" {
				t.Line("      %s", t.dim.Render(e.Hint))
			}
		}
	}
	return t.err
}

func (t *Text) codes(d Document) {
	t.Heading("scan.codes")
	if len(d.DTCs) == 0 {
		t.Line("  %s", t.words.T("scan.no-codes"))
		return
	}
	t.Rows(rowsOf(d.DTCs, func(i int) []string {
		c := d.DTCs[i]
		return []string{t.bad.Render(c.Code), t.words.T("dtc." + c.Status), c.ECU, c.Text}
	}))
}

func (t *Text) readiness(d Document) {
	if d.Readiness == nil {
		return
	}
	t.Heading("scan.readiness")
	var ready, not []string
	for _, m := range d.Readiness.Monitors {
		switch {
		case !m.Supported:
		case m.Complete:
			ready = append(ready, m.Name)
		default:
			not = append(not, m.Name)
		}
	}
	t.Rows([][]string{{t.words.T("ready"), nonEmpty(strings.Join(ready, ", "), "-")}, {t.words.T("not-ready"), nonEmpty(strings.Join(not, ", "), "-")}})
}

func (t *Text) consumption(d Document) {
	w := t.words
	t.Heading("scan.obfcm")
	if !d.OBFCM.Asked {
		t.Line("  %s", w.T("obfcm."+d.OBFCM.Reason))
		return
	}
	rows := [][]string{{w.T("verdict"), strings.TrimSpace(w.T("obfcm."+d.OBFCM.Verdict) + " " + strings.Join(d.OBFCM.Reasons, ", "))}}
	add := func(name string, q fmt.Stringer, ok bool) {
		if ok {
			rows = append(rows, []string{name, q.String()})
		}
	}
	o := d.OBFCM
	add(w.T("obfcm.total-distance"), o.TotalDistance, o.TotalDistance != nil)
	add(w.T("obfcm.total-fuel"), o.TotalFuel, o.TotalFuel != nil)
	add(w.T("obfcm.recent-distance"), o.RecDistance, o.RecDistance != nil)
	add(w.T("obfcm.recent-fuel"), o.RecFuel, o.RecFuel != nil)
	for _, k := range sortedKeys(o.More) {
		add(k, o.More[k].Value, o.More[k].Value != nil)
	}
	t.Rows(rows)
	if o.Layout != "" {
		t.Line("  %s", t.dim.Render(w.T("obfcm.unconfirmed")))
	}
}

func (t *Text) mileage(d Document) {
	w := t.words
	t.Heading("scan.mileage")
	km := w.T("none-read")
	if d.Odometer.Km != nil {
		km = d.Odometer.Km.String() + " (" + d.Odometer.Source + ")"
	}
	t.Rows([][]string{{km, w.T("odometer." + d.Odometer.Verdict)}})
	if len(d.Odometer.Sources) > 1 {
		t.Rows(rowsOf(d.Odometer.Sources, func(i int) []string {
			s := d.Odometer.Sources[i]
			return []string{"", s.Source, s.ECU, s.Km.String()}
		}))
	}
}

func (t *Text) values(d Document) {
	var rows [][]string
	for _, r := range d.Readings {
		if r.Absent != "" || strings.HasPrefix(r.Key, "obfcm.") || r.Key == "odometer" {
			continue
		}
		rows = append(rows, []string{r.ECU, r.Name, strings.TrimSpace(fmt.Sprint(display(r.Value, t.words), " ", unitName(r.Unit))), r.Tag, t.Category(r.Category)})
	}
	t.Heading("scan.values")
	t.Rows(rows)
}

// Category is a category's name for people.
func (t *Text) Category(c string) string {
	if key := "category." + c; t.words.Has(key) {
		return t.words.T(key)
	}
	return c
}

func display(v any, w *i18n.Catalog) string {
	switch v := v.(type) {
	case bool:
		if v {
			return w.T("yes")
		}
		return w.T("no")
	case interface{ Decimal() string }:
		return v.Decimal()
	}
	return fmt.Sprint(v)
}

// unitName is a unit as people write it.
func unitName(u string) string {
	switch u {
	case "degC":
		return "°C"
	case "deg":
		return "°"
	case "bool", "enum", "bitmap", "count":
		return ""
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
