package report

import (
	"io"
	"strings"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/i18n"
)

// BreachNotice is what one affected customer is told.
type BreachNotice struct {
	Visit, Order      string
	Opened, Since, At time.Time
	Recipients        []string // where data had gone
	Drill             bool
	Shop              consent.Workshop
	What, Measures    string // what happened and what is done against it, in the workshop's words; may be ""
	Entry             string // number of the log's entry about the list the letter comes from
}

// WriteBreachNotice writes the letter to one customer (Regulation (EU) 2016/679, Art. 34) as a page to print, in the catalog's
// language. It loads nothing.
func WriteBreachNotice(w io.Writer, words *i18n.Catalog, n BreachNotice) error {
	t := words.T
	page := newLetterPage(words, n.Shop, n.At)
	day := func(at time.Time) string { return at.UTC().Format(t("date.day")) }
	page.Title = t("breach.title")
	if n.Drill {
		page.Banner = t("breach.drill")
	}
	if n.Order != "" {
		page.About = append(page.About, [2]string{t("visit.order"), n.Order})
	}
	page.About = append(page.About, [2]string{t("receipt.visit"), n.Visit + " · " + day(n.Opened)})
	page.Body = filled(t("breach.what", day(n.Opened), nonEmpty(n.Order, n.Visit), n.Since.Local().Format(t("date.day"))), n.What, t("breach.data"), t("breach.do"))
	if n.Measures != "" {
		page.Sections = append(page.Sections, section{Heading: t("breach.measures"), Text: []string{n.Measures}})
	}
	elsewhere := section{Heading: t("visit.left"), Text: []string{t("breach.nowhere")}}
	if len(n.Recipients) > 0 {
		elsewhere.Text = []string{t("breach.elsewhere", strings.Join(n.Recipients, ", "))}
	}
	page.Sections = append(page.Sections, elsewhere)
	if err := page.rights(words, n.Shop); err != nil {
		return err
	}
	page.Sections = append(page.Sections, section{t("receipt.proof"), []string{t("breach.proof")}, [][2]string{{t("receipt.log"), n.Entry}}})
	return render(w, "letter.html", page)
}
