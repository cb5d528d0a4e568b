package report

import (
	"encoding/json"
	"html/template"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/i18n"
)

// Letter is what a customer is told about a request, to print.
type Letter struct {
	Shop          consent.Workshop
	Visit, Order  string // "" once the visit is erased
	Opened        time.Time
	Ticket        string
	Request       string // access, rectification, erasure, restriction, portability, objection
	Outcome       string // received, extended, done, refused
	Received, Due time.Time
	At            time.Time
	Reason        string   // of a refusal or an extension; a stable key of a restriction has words of its own
	Recipients    []string // told, or sent to
	Purposes      []string // ended
	Field, Value  string   // corrected; Field "" = Value is the customer's statement
	Hold          string   // reason of a restriction
	Lifted        bool
	Proof         json.RawMessage // the letter for machines, with its proof
	Entry         string          // number of the entry that commits to it
	Key           string          // the station's, hexadecimal
}

// WriteLetter writes the confirmation, extension or refusal of a request (Regulation (EU) 2016/679, Art. 12) as a page to print,
// in the catalog's language. It loads nothing; what machines check is inside it.
func WriteLetter(w io.Writer, words *i18n.Catalog, l Letter) error {
	t := words.T
	day := func(at time.Time) string { return at.UTC().Format(t("date.day")) }
	var proof strings.Builder
	if err := json.NewEncoder(&proof).Encode(l.Proof); err != nil { // escapes <, > and &: no text can end the script element
		return err
	}
	about := [][2]string{{t("letter.ticket"), l.Ticket}, {t("letter.on"), day(l.Received)}}
	if l.Order != "" {
		about = append(about, [2]string{t("visit.order"), l.Order})
	}
	if l.Visit != "" {
		about = append(about, [2]string{t("receipt.visit"), l.Visit + " · " + day(l.Opened)})
	}
	page := newLetterPage(words, l.Shop, l.At)
	page.Title, page.About, page.Body = t("letter.title."+l.Outcome, t("request."+l.Request)), about, letterAnswer(words, l, day)
	page.JSON = template.JS(strings.TrimSpace(proof.String()))
	if err := page.rights(words, l.Shop); err != nil {
		return err
	}
	page.Sections = append(page.Sections, section{t("receipt.proof"), []string{t("letter.proof")}, [][2]string{{t("receipt.log"), l.Entry}, {t("receipt.key"), l.Key}}})
	return render(w, "letter.html", page)
}

// letterPage is what every letter to a customer has.
type letterPage struct {
	Lang, Title, At, Banner string
	Style                   template.CSS
	From, Body              []string
	About                   [][2]string
	Sections                []section
	JSON                    template.JS // "" = there is nothing for machines
	T                       func(string, ...any) string
}

func newLetterPage(words *i18n.Catalog, shop consent.Workshop, at time.Time) letterPage {
	return letterPage{Lang: words.Lang(), At: at.UTC().Format(words.T("date.day")), Style: style(), From: filled(shop.Name, shop.Address), T: words.T}
}

// rights adds what the customer may do, whom to reach and where to complain.
func (p *letterPage) rights(words *i18n.Catalog, shop consent.Workshop) error {
	n, err := consent.NoticeFor(consent.Service, words.Lang())
	if err != nil {
		return err
	}
	a := consent.AuthorityOf(shop.Country)
	p.Sections = append(p.Sections, section{words.T("receipt.rights"), []string{n.Rights, words.T("letter.court")}, [][2]string{
		{words.T("receipt.contact"), nonEmpty(strings.Join(filled(shop.Contact, shop.Email, shop.Phone, shop.URL, shop.Address), " · "), "–")},
		{words.T("receipt.authority"), a.Name + " · " + a.URL}}})
	return nil
}

// letterAnswer is the body: what became of the request.
func letterAnswer(words *i18n.Catalog, l Letter, day func(time.Time) string) []string {
	t := words.T
	reason := l.Reason
	if words.Has("hold." + reason) {
		reason = t("hold." + reason)
	}
	switch l.Outcome {
	case "received":
		return []string{t("letter.received", day(l.Received), day(l.Due)), t("letter.identity")}
	case "extended":
		return []string{t("letter.extended", day(l.Due)), t("letter.reason", reason)}
	case "refused":
		return []string{t("letter.refused"), t("letter.reason", reason), t("letter.complain")}
	}
	var body []string
	to := strings.Join(l.Recipients, ", ")
	switch l.Request {
	case "rectification":
		if l.Field == "" {
			return []string{t("letter.noted"), "“" + l.Value + "”"}
		}
		return []string{t("letter.rectified"), t("letter.field."+l.Field) + ": " + l.Value}
	case "restriction":
		if l.Lifted {
			return []string{t("letter.lifted")}
		}
		hold := l.Hold
		if words.Has("hold." + hold) {
			hold = t("hold." + hold)
		}
		return []string{t("letter.restricted"), t("letter.reason", hold), t("letter.before-lift")}
	case "portability":
		if to != "" {
			return []string{t("letter.ported", to)}
		}
		return []string{t("letter.portable")}
	case "objection":
		var names []string
		text := NewText(io.Discard, words)
		for _, p := range l.Purposes {
			names = append(names, text.Purpose(consent.Purpose(p)))
		}
		body = []string{t("letter.objected"), strings.Join(names, ", ")}
		if to != "" {
			body = append(body, t("letter.told-stop", to))
		}
	case "erasure":
		body = []string{t("letter.erased"), t("letter.erased-log")}
		if to != "" {
			body = append(body, t("letter.told-erase", to))
		}
	default:
		body = []string{t("letter.access")}
	}
	return body
}

// LetterSays writes what a letter that was checked says: a page shown with it may say something else.
func (t *Text) LetterSays(l Letter) {
	day := func(at time.Time) string { return at.UTC().Format(t.words.T("date.day")) }
	t.Line("  %s", t.words.T("check.says"))
	t.Line("  %s (%s)", t.words.T("letter.title."+l.Outcome, t.words.T("request."+l.Request)), day(l.At))
	for _, line := range letterAnswer(t.words, l, day) {
		t.Line("  %s", line)
	}
}

var letterInPage = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?s)<script type="application/json" id="(?:letter|copy)">(.*?)</script>`)
})

// LetterJSON takes what is for machines out of a page that WriteLetter or Access wrote; anything else is returned as it is.
func LetterJSON(file []byte) []byte {
	if m := letterInPage().FindSubmatch(file); m != nil {
		return m[1]
	}
	return file
}
