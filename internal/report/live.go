package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"obdgate/internal/i18n"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/visit"

	"github.com/charmbracelet/lipgloss"
)

// Moment is one round of `obdgate scan --plan live --json`, one line each. Seconds count from the first.
type Moment struct {
	Seconds  float64           `json:"seconds"`
	Readings []Reading         `json:"readings"`
	Errors   []visit.ReadError `json:"errors"`
}

// NewMoment shapes one round. Raw bytes are left out: a value that is watched is looked at and gone.
func NewMoment(seconds float64, rs []reading.Reading, errs []visit.ReadError, p *policy.Policy) Moment {
	m := Moment{Seconds: seconds, Readings: []Reading{}, Errors: orEmpty(errs)}
	for _, r := range rs {
		one := readingOf(r, p.Tag(r).Tag())
		one.Raw = ""
		m.Readings = append(m.Readings, one)
	}
	return m
}

// Screen shows moments in place on a terminal: each value with the least and the most it has been.
type Screen struct {
	t     *Text
	size  func() (width, height int)
	head  string
	drawn int // lines that stand on the terminal
	most  map[string]extremes
}

type extremes struct{ low, high reading.Quantity }

// NewScreen draws on w; size is asked before every drawing, a width or height of 0 is not known. head is the first line.
func NewScreen(w io.Writer, words *i18n.Catalog, size func() (width, height int), head string) *Screen {
	return &Screen{t: NewText(w, words), size: size, head: head, most: map[string]extremes{}}
}

// Show draws a moment over the one before.
func (s *Screen) Show(m Moment) error {
	w := s.t.words
	rows := [][]string{{w.T("live.ecu"), w.T("live.value"), "", w.T("live.least"), w.T("live.most"), ""}}
	for _, r := range m.Readings {
		value, least, most := shown(r, w), "", ""
		if q, ok := r.Value.(reading.Quantity); ok {
			x := s.seen(r.ECU+"/"+r.Key, q)
			least, most = x.low.Round(2), x.high.Round(2)
		}
		tag := ""
		if r.Tag != policy.Technical.String() {
			tag = w.T("tag." + r.Tag)
		}
		rows = append(rows, []string{r.ECU, w.Name(r.Name), value, least, most, tag})
	}
	lines := append([]string{s.t.head.Render(s.head)}, table(rows)...)
	for _, e := range m.Errors {
		lines = append(lines, s.t.bad.Render("  "+strings.TrimSpace(e.ECU+" "+e.Request+" "+w.Name(e.Error))))
	}
	lines = append(lines, s.t.dim.Render(w.T("live.foot", m.Seconds)))
	return s.draw(lines)
}

func (s *Screen) seen(key string, q reading.Quantity) extremes {
	x, known := s.most[key]
	if !known {
		x = extremes{q, q}
	}
	if q.Cmp(x.low) < 0 {
		x.low = q
	}
	if q.Cmp(x.high) > 0 {
		x.high = q
	}
	s.most[key] = x
	return x
}

// draw goes back to the first line that was drawn and writes over it (ECMA-48: CPL, EL, ED). What does not fit the terminal
// is left out: a line that wraps or scrolls could not be found again.
func (s *Screen) draw(lines []string) error {
	width, height := s.size()
	if height > 2 && len(lines) > height-1 {
		lines = append(lines[:height-2:height-2], lines[len(lines)-1])
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dF", s.drawn)
	}
	for _, l := range lines {
		if width > 0 {
			l = lipgloss.NewStyle().MaxWidth(width).Render(l)
		}
		b.WriteString(l + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	if s.t.err == nil {
		_, s.t.err = io.WriteString(s.t.w, b.String())
	}
	return s.t.err
}

// Moment writes a line for every value: for a pipe or a file.
func (t *Text) Moment(m Moment) error {
	for _, r := range m.Readings {
		t.Line("%.1f\t%s\t%s\t%s\t%s", m.Seconds, r.ECU, t.words.Name(r.Name), shown(r, t.words), t.words.T("tag."+r.Tag))
	}
	for _, e := range m.Errors {
		t.Line("%.1f\t%s\t%s\t%s", m.Seconds, nonEmpty(e.ECU, "-"), e.Request, t.words.Name(e.Error))
	}
	return t.err
}

// WriteMoment writes a moment as one line of JSON.
func WriteMoment(w io.Writer, m Moment) error { return json.NewEncoder(w).Encode(m) }
