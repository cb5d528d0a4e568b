package report

import (
	"encoding/json"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/i18n"
	"obdgate/internal/ledger"
	"obdgate/internal/policy"
	"obdgate/internal/visit"
)

// AccessVisit is what is held on one visit, for its customer.
type AccessVisit struct {
	Visit      visit.Visit
	Sheet      Visit
	Log        []ledger.Entry // complete: proved against Head by the machine-readable copy
	Head       string         // signed head the log stands under
	Restricted string         // why the visit is restricted, "" when it is not
	Mark       string         // km and month kept to be compared at the vehicle's next visit
	Requests   []AccessRequest
	Signatures []string // SHA-256 of each image kept
	Links      int      // to the customer's own page
	Address    string   // e-mail, confirmed or not
}

// AccessRequest is one request of the customer before.
type AccessRequest struct {
	Request, State, Text string
	Opened               time.Time
}

// Access writes the copy a customer may ask for as a page to print: everything held on the visits, in the catalog's
// language, values with their names. copies, the same for machines with its proofs, is inside the page.
func Access(w io.Writer, words *i18n.Catalog, shop consent.Workshop, visits []AccessVisit, rules *policy.Policy, made time.Time, copies any) error {
	t := words.T
	body, err := json.Marshal(copies) // escapes <, > and &: no text can end the script element
	if err != nil {
		return err
	}
	page := struct {
		Lang, Title, Workshop, Intro string
		Style                        template.CSS
		Visits                       []accessPart
		Rights                       section
		JSON                         template.JS
	}{JSON: template.JS(body), Lang: words.Lang(), Title: t("access.title"), Workshop: strings.Join(filled(shop.Name, shop.Address), " · "),
		Intro: t("access.intro", made.UTC().Format("2006-01-02 15:04 UTC"), len(visits)), Style: style()}
	for _, v := range visits {
		page.Visits = append(page.Visits, accessVisit(words, v, rules))
	}
	n, err := consent.NoticeFor(consent.Service, words.Lang())
	if err != nil {
		return err
	}
	a := consent.AuthorityOf(shop.Country)
	page.Rights = section{t("receipt.rights"), []string{n.Rights}, [][2]string{
		{t("receipt.contact"), nonEmpty(strings.Join(filled(shop.Contact, shop.Email, shop.Phone, shop.URL, shop.Address), " · "), "–")},
		{t("receipt.authority"), a.Name + " · " + a.URL}}}
	return render(w, "access.html", page)
}

type accessPart struct {
	Heading  string
	Sections []section
}

func accessVisit(words *i18n.Catalog, a AccessVisit, rules *policy.Policy) accessPart {
	t := words.T
	names := NewText(io.Discard, words)
	v, s := a.Visit, a.Sheet
	vin := t("none-read")
	if s.VIN != nil {
		vin = *s.VIN
	}
	minute := func(at time.Time) string { return at.UTC().Format("2006-01-02 15:04 UTC") }
	about := section{t("access.about"), nil, [][2]string{{t("visit.opened"), minute(v.Opened)}, {t("visit.order"), nonEmpty(v.Order, "–")}, {t("scan.vehicle"), vin}}}
	if !v.Closed.IsZero() {
		about.Rows = append(about.Rows, [2]string{t("visit.closed"), minute(v.Closed)})
	}
	if a.Restricted != "" {
		about.Rows = append(about.Rows, [2]string{t("access.restricted"), a.Restricted})
	}
	if a.Mark != "" {
		about.Rows = append(about.Rows, [2]string{t("access.mark"), a.Mark})
	}
	if a.Address != "" {
		about.Rows = append(about.Rows, [2]string{t("access.address"), a.Address})
	}
	if a.Links > 0 {
		about.Rows = append(about.Rows, [2]string{t("access.links"), strconv.Itoa(a.Links)})
	}
	for _, sum := range a.Signatures {
		about.Rows = append(about.Rows, [2]string{t("access.signature"), "sha256 " + sum})
	}
	answers := section{Heading: t("access.answers")}
	for _, x := range s.Answers {
		name := names.Purpose(consent.Purpose(x.Purpose))
		if x.Recipient != "" {
			name += " → " + x.Recipient
		}
		answers.Rows = append(answers.Rows, [2]string{name, strings.Join(filled(t("answer."+x.Answer), evidence(words, x.Evidence)), " · ")})
	}
	parts := []section{about, answers}
	if len(a.Requests) > 0 {
		asked := section{Heading: t("access.requests")}
		for _, r := range a.Requests {
			asked.Rows = append(asked.Rows, [2]string{minute(r.Opened), strings.Join(filled(t("request."+r.Request), t("ticket."+r.State), r.Text), " · ")})
		}
		parts = append(parts, asked)
	}
	for _, scan := range v.Scans {
		d := New(v.ID, scan, rules, words.Lang())
		read := section{Heading: t("visit.read") + " · " + minute(scan.At)}
		for _, c := range d.DTCs {
			read.Rows = append(read.Rows, [2]string{c.Code, strings.Join(filled(c.Text, c.ECU), " · ")})
		}
		for _, r := range d.Readings {
			read.Rows = append(read.Rows, [2]string{nonEmpty(words.Name(r.Name), r.Key), strings.Join(filled(shown(r, words), t("category."+r.Category), r.ECU), " · ")})
		}
		parts = append(parts, read)
	}
	left := section{Heading: t("visit.left")}
	for _, u := range s.Left {
		left.Rows = append(left.Rows, [2]string{u.Recipient, strings.Join(filled(names.Purpose(consent.Purpose(u.Purpose)), t("upload."+u.State), t("upload.bytes", u.Bytes), "sha256 "+u.Envelope), " · ")})
	}
	for _, n := range s.Told {
		left.Rows = append(left.Rows, [2]string{n.Recipient, t("told."+n.Action) + " · " + t("told."+n.State)})
	}
	if len(left.Rows) == 0 {
		left.Text = []string{t("visit.nothing-left")}
	}
	log := section{Heading: t("access.log"), Text: []string{t("access.log-complete", len(a.Log))}}
	for _, e := range a.Log {
		log.Rows = append(log.Rows, [2]string{strconv.FormatUint(e.Seq, 10) + " · " + minute(e.Time),
			strings.Join(logLine(words, names, e), " · ")})
	}
	log.Rows = append(log.Rows, [2]string{t("access.head"), a.Head})
	return accessPart{t("visit.title", v.ID), append(parts, left, log)}
}

// evidence is how an answer was given, in the catalog's words, with its reference.
func evidence(words *i18n.Catalog, typed string) string {
	kind, rest, _ := strings.Cut(typed, " ")
	if !words.Has("evidence." + kind) {
		return typed
	}
	return strings.TrimSpace(words.T("evidence."+kind) + " " + rest)
}

// logLine says in words what an entry of the log is about.
func logLine(words *i18n.Catalog, names *Text, e ledger.Entry) []string {
	or := func(key, otherwise string) string {
		if words.Has(key) {
			return words.T(key)
		}
		return otherwise
	}
	f := e.Facts
	purpose := f.Purpose
	switch {
	case f.Purpose == "third-party" || f.Purpose == "portability":
		purpose = "" // the recipient says which
	case f.Purpose != "":
		purpose = names.Purpose(consent.Purpose(f.Purpose))
	}
	answer := f.Answer
	if answer != "" {
		answer = or("answer."+answer, answer)
	}
	reason := f.Reason
	request, state, isRequest := strings.Cut(reason, "-")
	hold, held := strings.CutPrefix(reason, "restricted.")
	switch {
	case reason == "":
	case words.Has("why." + reason):
		reason = words.T("why." + reason)
	case held:
		reason = or("hold."+hold, hold)
	case isRequest && words.Has("request."+request):
		reason = words.T("request."+request) + ": " + or("why."+state, or("ticket."+state, state))
	default:
		reason = or("answer."+reason, reason)
	}
	return filled(or("event."+string(e.Kind), string(e.Kind)), purpose, answer, f.Recipient, reason)
}
