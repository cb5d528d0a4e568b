package report

import (
	"html/template"
	"io"
	"strings"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/i18n"
	"obdgate/internal/recipient"
)

// Form is what a customer is asked, to print and sign.
type Form struct {
	Shop         consent.Workshop
	Visit, Order string
	Made         time.Time
	Notices      []consent.Notice // one a purpose, in the catalog's language
	Recipients   []recipient.Recipient
}

// WriteForm writes the notices as a page to print, each with boxes for yes and no and a line for a signature. No box is ticked,
// each purpose stands by itself, and an empty one is no.
func WriteForm(w io.Writer, words *i18n.Catalog, f Form) error {
	t := words.T
	type part struct {
		section
		Question, Yes, No, Hash string
	}
	var parts []part
	for _, n := range f.Notices {
		rows := [][2]string{{t("explain.basis"), t("basis." + n.Purpose.Kind())}}
		for _, r := range f.Recipients {
			if r.For(n.Purpose) {
				who := t("receipt.who")
				if len(rows) > 1 {
					who = "" // said once
				}
				rows = append(rows, [2]string{who, receives(words, r)})
			}
		}
		if len(rows) == 1 {
			rows = append(rows, [2]string{t("receipt.who"), t("form.nobody")})
		}
		parts = append(parts, part{section{n.Title, []string{n.What, n.Why, n.Who, n.HowLong, n.No, n.Withdraw}, rows}, n.Question,
			t("answer.granted"), t("answer.refused"), n.Version + " · " + n.Hash[:16]})
	}
	a := consent.AuthorityOf(f.Shop.Country)
	rights := section{Heading: t("receipt.rights"), Rows: [][2]string{
		{t("receipt.contact"), nonEmpty(strings.Join(filled(f.Shop.Contact, f.Shop.Email, f.Shop.Phone, f.Shop.URL, f.Shop.Address), " · "), "–")},
		{t("receipt.authority"), a.Name + " · " + a.URL}}}
	if len(f.Notices) > 0 {
		rights.Text = []string{f.Notices[0].Rights}
	}
	return render(w, "form.html", struct {
		Lang, Title, Intro string
		Style              template.CSS
		From               []string
		About              [][2]string
		Parts              []part
		Rights             section
		T                  func(string, ...any) string
	}{words.Lang(), t("form.title"), t("form.intro"), style(), filled(f.Shop.Name, f.Shop.Address),
		[][2]string{{t("visit.order"), nonEmpty(f.Order, "–")}, {t("receipt.visit"), f.Visit + " · " + f.Made.UTC().Format(t("date.day"))}}, parts, rights, t})
}

// receives names a recipient to a customer: who, where, in which role, for how long.
func receives(words *i18n.Catalog, r recipient.Recipient) string {
	return strings.Join(filled(r.Name, r.Country, words.T("role."+roleName(r.Role)), r.Retention), " · ")
}

func roleName(r recipient.Role) string {
	if r == recipient.Processor {
		return "DataProcessor"
	}
	return "DataController"
}
