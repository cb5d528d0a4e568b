package report

import (
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html/template"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"obdgate/internal/consent"
	"obdgate/internal/i18n"

	qrcode "github.com/skip2/go-qrcode"
)

//go:embed pages
var pages embed.FS

// section is one part of a page: a heading, lines of text, then rows of two.
type section struct {
	Heading string
	Text    []string
	Rows    [][2]string
}

func style() template.CSS {
	b, err := pages.ReadFile("pages/style.css")
	if err != nil {
		return "" // embedded; a test looks at the pages
	}
	return template.CSS(b)
}

// ReceiptCode is what the QR code of a printed receipt says: a scheme, the receipt's number (a withdrawal needs no more),
// the first 16 hex digits of the station's key and the signature. Whoever has the receipt's file can compare.
func ReceiptCode(r consent.Receipt) string {
	key, err := base64.StdEncoding.DecodeString(r.Key.Public)
	if err != nil || len(key) < 8 {
		key = make([]byte, 8)
	}
	return "OBDGATE1:" + r.ID + ":" + hex.EncodeToString(key[:8]) + ":" + string(r.Sig)
}

// Receipt writes a receipt as a page to print: one file that loads nothing. The words are those of the catalog; the
// receipt itself, which the signature is over, is in the page as JSON.
func Receipt(w io.Writer, words *i18n.Catalog, r consent.Receipt) error {
	n, err := consent.NoticeVersion(r.Process.NoticeVersion, r.Process.Purpose, words.Lang())
	if err != nil {
		return err
	}
	png, err := qrcode.Encode(ReceiptCode(r), qrcode.Medium, 360)
	if err != nil {
		return err
	}
	// Marshal escapes <, > and &, so that no text can end the script element.
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	t := words.T
	var who [][2]string
	for _, p := range r.Parties {
		who = append(who, [2]string{p.Name, strings.Join(filled(p.Country, t("role."+strings.TrimPrefix(p.Role, "dpv:")), p.Retention), " · ")})
	}
	if len(who) == 0 {
		who = append(who, [2]string{"–", t("receipt.nobody")})
	}
	var kinds []string
	for _, c := range r.Process.Categories {
		kinds = append(kinds, t("category."+c))
	}
	given := "–"
	if r.Event.Method != "" {
		given = strings.Join(filled(t("evidence."+r.Event.Method), r.Event.ObtainedBy, r.Event.Reference), " · ")
	}
	p := r.Party
	valid := t("receipt.until-ended")
	if r.Event.State != consent.Granted.String() {
		valid = t("receipt.until-changed") // a no has no end of its own
	}
	if r.Event.Until != nil {
		valid = r.Event.Until.UTC().Format("2006-01-02 15:04 UTC")
	}
	page := struct {
		Lang, Title, Answer, At string
		Style                   template.CSS
		QR                      template.URL
		JSON                    template.JS
		R                       consent.Receipt
		Notice                  consent.Notice
		Sections                []section
		Proof                   [][2]string
		T                       func(string, ...any) string
	}{
		Lang: words.Lang(), Title: t("receipt.title"), Answer: t("answer." + r.Event.State), At: r.Event.At.Format("2006-01-02 15:04 UTC"),
		Style: style(), QR: template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(png)), JSON: template.JS(body),
		R: r, Notice: n, T: t,
		Sections: []section{
			{t("receipt.what"), []string{n.What, n.Why}, [][2]string{{t("receipt.categories"), strings.Join(kinds, ", ")}, {t("explain.basis"), t("basis." + r.Process.Purpose.Kind())}}},
			{t("receipt.who"), []string{n.Who}, who},
			{t("receipt.how-long"), []string{n.HowLong}, [][2]string{{t("receipt.valid"), valid}}},
			{t("receipt.withdraw"), []string{n.Withdraw, n.No}, nil},
			{t("receipt.rights"), []string{n.Rights}, [][2]string{
				{t("receipt.contact"), strings.Join(filled(p.Contact, p.Email, p.Phone, p.URL, p.Address), " · ")},
				{t("receipt.authority"), r.Authority.Name + " · " + r.Authority.URL}}},
		},
		Proof: [][2]string{
			{t("receipt.number"), r.ID}, {t("receipt.visit"), r.Subject.Visit}, {t("receipt.station"), p.Station},
			{t("receipt.how-given"), given},
			{t("receipt.notice"), r.Process.NoticeVersion + " · " + r.Process.NoticeHash},
			{t("receipt.log"), strconv.FormatUint(r.Ledger.Seq, 10) + " · " + r.Ledger.Commitment},
			{t("receipt.key"), r.Key.Algorithm + " · " + r.Key.Public}, {t("receipt.signature"), string(r.Sig)},
			{t("receipt.terms"), strings.Join(append([]string{r.Event.StateTerm, r.Process.LegalBasis}, r.Process.PurposeTerms...), ", ")},
		},
	}
	return render(w, "receipt.html", page)
}

var receiptInPage = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?s)<script type="application/json" id="receipt">(.*?)</script>`)
})

// ReceiptJSON takes the receipt out of a page that Receipt wrote; anything else is returned as it is.
func ReceiptJSON(file []byte) []byte {
	if m := receiptInPage().FindSubmatch(file); m != nil {
		return m[1]
	}
	return file
}

// Verifier writes the page that checks receipts without a network, in all languages, beginning in the catalog's. key is
// the hexadecimal public key it starts with; a customer compares it with the one the workshop shows.
func Verifier(w io.Writer, lang, key string) error {
	all := map[string]map[string]string{}
	for _, l := range i18n.Languages {
		c, err := i18n.Load(l)
		if err != nil {
			return err
		}
		m := map[string]string{}
		for _, k := range c.Keys() {
			if name, ok := strings.CutPrefix(k, "verifier."); ok {
				m[name] = c.T(k)
			}
			// What a receipt says in keys is shown in words.
			for _, group := range []string{"answer.", "basis.", "purpose."} {
				if name, ok := strings.CutPrefix(k, group); ok {
					m[strings.TrimSuffix(group, ".")+"-"+name] = c.T(k)
				}
			}
		}
		all[l] = m
	}
	return render(w, "verifier.html", struct {
		Lang, Key string
		Style     template.CSS
		Langs     []string
		Words     map[string]map[string]string
	}{lang, key, style(), i18n.Languages, all})
}

func render(w io.Writer, name string, data any) error {
	t, err := template.ParseFS(pages, "pages/"+name)
	if err != nil {
		return err
	}
	return t.Execute(w, data)
}

func filled(all ...string) (some []string) {
	for _, s := range all {
		if s != "" {
			some = append(some, s)
		}
	}
	return some
}

// Workshop writes who stands on receipts, with the key they are checked with.
func (t *Text) Workshop(w consent.Workshop, station, key string) error {
	if w.Name == "" {
		t.Line("%s", t.words.T("workshop.unset"))
	}
	a := consent.AuthorityOf(w.Country)
	t.Rows([][]string{
		{t.words.T("workshop.name"), nonEmpty(w.Name, "-")},
		{t.words.T("workshop.address"), nonEmpty(w.Address, "-")},
		{t.words.T("workshop.country"), nonEmpty(w.Country, "-")},
		{t.words.T("workshop.reach"), nonEmpty(strings.Join(filled(w.Contact, w.Email, w.Phone, w.URL), " · "), "-")},
		{t.words.T("workshop.authority"), a.Name + " · " + a.URL},
		{t.words.T("receipt.station"), station},
		{t.words.T("receipt.key"), key},
	})
	return t.err
}

// ReceiptSays writes what a receipt that was checked says: a page shown with it may say something else.
func (t *Text) ReceiptSays(r consent.Receipt) {
	var to []string
	for _, p := range r.Parties {
		to = append(to, p.Name)
	}
	t.Line("  %s", t.words.T("check.says"))
	t.Rows([][]string{
		{t.words.T("verifier.row-workshop"), strings.Join(filled(r.Party.Name, r.Party.Address), ", ")},
		{t.words.T("verifier.row-purpose"), t.Purpose(r.Process.Purpose)},
		{t.words.T("verifier.row-answer"), strings.Join(filled(t.words.T("answer."+r.Event.State), r.Event.Recipient), " · ")},
		{t.words.T("verifier.row-at"), r.Event.At.UTC().Format("2006-01-02 15:04 UTC")},
		{t.words.T("verifier.row-recipients"), nonEmpty(strings.Join(to, ", "), "–")},
	})
}
