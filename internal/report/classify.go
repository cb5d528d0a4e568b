package report

import (
	"fmt"
	"html"
	"io"
	"strings"
	"time"

	"obdgate/internal/classify"
	"obdgate/internal/i18n"

	"github.com/charmbracelet/lipgloss"
)

// Classified is `obdgate classify --json`: what the recordings have of which category.
type Classified struct {
	Schema string           `json:"schema"`
	Policy string           `json:"policy"`
	Files  []ClassifiedFile `json:"files"`
}

// ClassifiedFile is one recording.
type ClassifiedFile struct {
	File       string               `json:"file"`
	Lines      int                  `json:"lines"`
	Damaged    int                  `json:"damaged"`
	Interfaces []string             `json:"interfaces"`
	All        ClassifiedCount      `json:"all"`
	Technical  ClassifiedCount      `json:"technical"`
	Personal   ClassifiedCount      `json:"personal"`
	Categories []ClassifiedCategory `json:"categories"`
	Start      float64              `json:"start"`        // seconds since 1970-01-01 UTC, or whatever the recording counts from
	Slot       float64              `json:"slot_seconds"` // length of the pieces of time in frames_over_time
}

// ClassifiedCount is a number of frames and their data bytes.
type ClassifiedCount struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
}

// ClassifiedCategory is one category of a recording.
type ClassifiedCategory struct {
	Category string   `json:"category"`
	Tag      string   `json:"tag"`
	Frames   uint64   `json:"frames"`
	Bytes    uint64   `json:"bytes"`
	Over     []uint64 `json:"frames_over_time"`
	BytesAt  []uint64 `json:"bytes_over_time"`
}

// NewClassified is the document without files.
func NewClassified(policy string) Classified {
	return Classified{Schema: "obdgate/classify/v1", Policy: policy, Files: []ClassifiedFile{}}
}

// Add puts the summary of one recording in.
func (c *Classified) Add(file string, s *classify.Summary) {
	f := ClassifiedFile{File: file, Lines: s.Lines, Damaged: s.Damaged, Interfaces: append([]string{}, s.Interfaces...),
		All: ClassifiedCount(s.All), Technical: ClassifiedCount(s.Technical), Personal: ClassifiedCount(s.Personal),
		Categories: []ClassifiedCategory{}, Start: s.Start.Seconds(), Slot: s.Slot.Seconds()}
	for _, k := range s.Categories {
		x := ClassifiedCategory{Category: string(k.Category), Tag: tagOf(k.Technical), Frames: k.Frames, Bytes: k.Bytes}
		for _, o := range k.Over {
			x.Over, x.BytesAt = append(x.Over, o.Frames), append(x.BytesAt, o.Bytes)
		}
		f.Categories = append(f.Categories, x)
	}
	c.Files = append(c.Files, f)
}

func tagOf(technical bool) string {
	if technical {
		return "technical"
	}
	return "personal"
}

// How many characters a plot line has: as many as the terminal has room for, at most the wide one. Where even the narrow one
// does not fit, lines are broken, as the numbers alone would.
const (
	plotWidth  = 48
	plotNarrow = 8
)

// Classified writes what a recording has of which category, and how much of it when.
func (t *Text) Classified(f ClassifiedFile) error {
	w := t.words
	t.Line("%s", t.head.Render(f.File))
	t.Rows([][]string{
		{w.T("classify.frames"), fmt.Sprint(f.All.Frames), w.T("classify.bytes", f.All.Bytes)},
		{w.T("tag.technical"), fmt.Sprint(f.Technical.Frames), w.T("classify.bytes", f.Technical.Bytes)},
		{w.T("tag.personal"), fmt.Sprint(f.Personal.Frames), w.T("classify.bytes", f.Personal.Bytes)},
	})
	if f.Damaged > 0 {
		t.Line("  %s", t.bad.Render(w.T("classify.damaged", f.Damaged, f.Lines)))
	}
	if len(f.Categories) == 0 {
		return t.err
	}
	slots := len(f.Categories[0].Over)
	t.Heading("classify.over-time", time.Duration(float64(slots)*f.Slot*float64(time.Second)).Round(100*time.Millisecond))
	rows := rowsOf(f.Categories, func(i int) []string {
		c := f.Categories[i]
		return []string{w.T("tag." + c.Tag), t.Category(c.Category), fmt.Sprint(c.Frames), w.T("classify.bytes", c.Bytes)}
	})
	width := plotWidth
	if t.columns > 0 {
		used := 2
		for _, line := range table(rows) {
			used = max(used, 2+lipgloss.Width(line))
		}
		width = min(plotWidth, max(plotNarrow, t.columns-used))
	}
	for i := range rows {
		rows[i] = append(rows[i], plot(f.Categories[i].Over, width))
	}
	t.Rows(rows)
	return t.err
}

// plot draws numbers as bars of eight heights; a piece of time that has any has at least the lowest.
func plot(over []uint64, width int) string {
	columns := make([]uint64, min(width, len(over)))
	for i, n := range over { // a piece that lies in two columns is shared out, else a steady bus would look like a comb
		from, to := i*len(columns), (i+1)*len(columns)
		for from < to {
			c := from / len(over)
			end := min(to, (c+1)*len(over))
			columns[c] += n * uint64(end-from)
			from = end
		}
	}
	most := uint64(1)
	for _, n := range columns {
		most = max(most, n)
	}
	var b strings.Builder
	for _, n := range columns {
		if n == 0 {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune([]rune("▁▂▃▄▅▆▇█")[(n*8-1)/most])
	}
	return b.String()
}

// ClassifiedSVG draws the bytes of every category over time, stacked: technical in blues, personal in reds.
func ClassifiedSVG(out io.Writer, f ClassifiedFile, words *i18n.Catalog) error {
	const width, height, left, top = 960, 320, 70, 40
	slots := 1
	if len(f.Categories) > 0 {
		slots = max(1, len(f.Categories[0].BytesAt))
	}
	sums := make([]uint64, slots)
	most := uint64(1)
	for _, c := range f.Categories {
		for i, n := range c.BytesAt {
			sums[i] += n
			most = max(most, sums[i])
		}
	}
	var b strings.Builder
	total := height + top + 40 + 20*len(f.Categories)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" role="img">`+"\n", width+left+20, total)
	fmt.Fprintf(&b, `<title>%s</title><rect width="100%%" height="100%%" fill="white"/>`+"\n", html.EscapeString(words.T("classify.svg-title", f.File)))
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="16">%s</text>`+"\n", left, html.EscapeString(words.T("classify.svg-title", f.File)))
	clear(sums)
	for i, c := range f.Categories {
		colour := colourOf(i, c.Tag)
		name := words.T("tag."+c.Tag) + ": " + words.T("category."+c.Category)
		fmt.Fprintf(&b, `<g fill="%s"><title>%s</title>`, colour, html.EscapeString(name))
		for j, n := range c.BytesAt {
			if n == 0 {
				continue
			}
			h := float64(n) * height / float64(most)
			y := float64(top+height) - float64(sums[j])*height/float64(most) - h
			fmt.Fprintf(&b, `<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f"/>`, left+float64(j)*width/float64(slots), y, float64(width)/float64(slots), h)
			sums[j] += n
		}
		y := height + top + 40 + 20*i
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="12" height="12"/></g><text x="%d" y="%d">%s, %s</text>`+"\n", left, y-11, left+18, y,
			html.EscapeString(name), html.EscapeString(words.T("classify.bytes", c.Bytes)))
	}
	fmt.Fprintf(&b, `<path d="M%d %dV%dH%d" fill="none" stroke="black"/>`, left, top, top+height, left+width)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><text x="%d" y="%d" text-anchor="end">0</text>`, left-6, top+12,
		html.EscapeString(fmt.Sprintf("%.0f B/s", float64(most)/max(f.Slot, 0.001))), left-6, top+height)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%.1f s</text></svg>`+"\n", left+width, top+height+16, float64(slots)*f.Slot)
	_, err := io.WriteString(out, b.String())
	return err
}

func colourOf(i int, tag string) string {
	hue := 190 + i*23%80
	if tag == "personal" {
		hue = 345 + i*17%60
	}
	return fmt.Sprintf("hsl(%d,65%%,%d%%)", hue%360, 40+i*13%30)
}
