package report

import (
	"slices"
	"strings"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/outbox"
	"obdgate/internal/policy"
	"obdgate/internal/recipient"
	"obdgate/internal/visit"
	"obdgate/internal/wire"
)

// Visit is `obdgate visit show --json`: everything about one visit but the values.
type Visit struct {
	ID       string       `json:"visit"`
	Opened   time.Time    `json:"opened"`
	Closed   time.Time    `json:"closed,omitzero"`
	Order    string       `json:"order,omitempty"`
	Language string       `json:"language"`
	VIN      *string      `json:"vin"`
	Answers  []Answer     `json:"answers"`
	Scans    []ScanLine   `json:"scans"`
	Left     []UploadItem `json:"left"`           // what left, or waits to
	Told     []Told       `json:"told,omitempty"` // recipients that were, or are to be, told of a withdrawal
	Withheld []Withheld   `json:"withheld"`       // of the last scan
}

// Answer is where one purpose stands.
type Answer struct {
	Purpose   string    `json:"purpose"`
	Recipient string    `json:"recipient,omitempty"` // when the answer is towards one only
	Answer    string    `json:"answer"`
	At        time.Time `json:"at,omitzero"`
	Until     time.Time `json:"until,omitzero"`
	Evidence  string    `json:"evidence,omitempty"`
	TakenBy   string    `json:"taken_by,omitempty"`
	Notice    string    `json:"notice,omitempty"`
}

// ScanLine is one scan in short.
type ScanLine struct {
	At       time.Time `json:"at"`
	Link     string    `json:"link"`
	Plan     string    `json:"plan"`
	ECUs     int       `json:"ecus"`
	Readings int       `json:"readings"`
	OBFCM    string    `json:"obfcm"`
	Complete bool      `json:"complete"`
}

// NewVisit gathers a visit's sheet. items are its envelopes; now decides which answers have expired.
func NewVisit(v visit.Visit, ds []consent.Decision, items []outbox.Item, p *policy.Policy, now time.Time) Visit {
	out := Visit{ID: v.ID, Opened: v.Opened, Closed: v.Closed, Order: v.Order, Language: v.Language, Scans: []ScanLine{},
		Left: []UploadItem{}, Withheld: []Withheld{}, Answers: NewAnswers(ds, now)}
	if !v.VIN.IsZero() {
		text := v.VIN.Reveal()
		out.VIN = &text
	}
	for _, s := range v.Scans {
		out.Scans = append(out.Scans, ScanLine{At: s.At, Link: s.Link, Plan: s.Plan, ECUs: len(s.ECUs), Readings: len(s.Readings),
			OBFCM: string(s.OBFCM.Outcome), Complete: s.Complete()})
		out.Withheld = withheld(s, p)
	}
	for _, it := range items {
		out.Left = append(out.Left, newItem(it))
	}
	return out
}

// NewAnswers lists the three standing purposes, asked or not, then every third party and every answer towards a single
// recipient that there is.
func NewAnswers(ds []consent.Decision, now time.Time) []Answer {
	type key struct {
		purpose   consent.Purpose
		recipient string
	}
	keys := []key{{consent.Service, ""}, {consent.OBFCM, ""}, {consent.Quality, ""}}
	seen := map[key]bool{keys[0]: true, keys[1]: true, keys[2]: true}
	for _, d := range ds {
		if k := (key{d.Purpose, d.Recipient}); !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	out := []Answer{}
	for _, k := range keys {
		stand, d := consent.StandingFor(ds, k.purpose, k.recipient, now)
		a := Answer{Purpose: string(k.purpose), Recipient: k.recipient, Answer: stand.String()}
		if stand != consent.Unasked {
			a.At, a.Until, a.Evidence, a.TakenBy, a.Notice = d.At, d.Until, d.Evidence.Format(), d.TakenBy, d.Notice
		}
		out = append(out, a)
	}
	return out
}

// Upload is `obdgate upload --json`.
type Upload struct {
	Sent     int          `json:"sent"`
	Deferred int          `json:"deferred"`
	Blocked  int          `json:"blocked"`
	Rejected int          `json:"rejected"`
	Held     int          `json:"held"`
	Items    []UploadItem `json:"items"`
	Told     []Told       `json:"told,omitempty"` // withdrawals passed on
}

// UploadItem is one envelope and what became of it.
type UploadItem struct {
	Envelope  string        `json:"envelope"` // content hash
	Visit     string        `json:"visit"`
	Recipient string        `json:"recipient"`
	Purpose   string        `json:"purpose"`
	Bytes     int           `json:"bytes"`
	State     string        `json:"state"`
	Reason    string        `json:"reason,omitempty"`
	Settled   time.Time     `json:"settled,omitzero"`
	Receipt   *wire.Receipt `json:"receipt,omitempty"`
}

func newItem(it outbox.Item) UploadItem {
	u := UploadItem{Envelope: it.ID, Visit: it.Visit, Recipient: it.Recipient, Purpose: string(it.Purpose), Bytes: it.Size,
		State: string(it.State), Reason: it.Reason, Settled: it.Settled}
	if len(it.Receipt) > 0 {
		if r, err := wire.ParseReceipt(it.Receipt); err == nil {
			u.Receipt = &r
		}
	}
	return u
}

// NewUpload shapes the result of one drain.
func NewUpload(res outbox.Result) Upload {
	u := Upload{Sent: res.Sent, Deferred: res.Deferred + res.Busy + res.Unproved, Blocked: res.Blocked, Rejected: res.Rejected, Held: res.Held,
		Items: []UploadItem{}}
	for _, n := range res.Told {
		one := newTold(n.Notice)
		if one.State = "told"; n.Err != nil {
			one.State, one.Reason = "later", n.Err.Error()
		}
		u.Told = append(u.Told, one)
	}
	for _, r := range res.Reports {
		it := newItem(r.Item)
		it.State = string(r.Outcome)
		if r.Err != nil {
			it.Reason = r.Err.Error()
		}
		if r.Outcome == outbox.WasSent {
			it.Receipt = &r.Receipt
		}
		u.Items = append(u.Items, it)
	}
	return u
}

// Visit writes a visit's sheet.
func (t *Text) Visit(v Visit) error {
	w := t.words
	vin := w.T("none-read")
	if v.VIN != nil {
		vin = *v.VIN
	}
	t.Line("%s", t.head.Render(w.T("visit.title", v.ID)))
	t.Rows([][]string{
		{w.T("visit.opened"), v.Opened.Local().Format("2006-01-02 15:04")},
		{w.T("visit.order"), nonEmpty(v.Order, "-")},
		{w.T("scan.vehicle"), vin},
	})
	t.Heading("visit.answers")
	if err := t.Answers(v.Answers); err != nil {
		return err
	}
	t.Heading("visit.read")
	t.Rows(rowsOf(v.Scans, func(i int) []string {
		s := v.Scans[i]
		return []string{s.At.Local().Format("2006-01-02 15:04"), s.Link, s.Plan, w.T("visit.values", s.Readings), "OBFCM: " + w.T("obfcm."+s.OBFCM)}
	}))
	t.Heading("visit.left")
	if len(v.Left) == 0 {
		t.Line("  %s", w.T("visit.nothing-left"))
	}
	t.items(v.Left)
	t.told(v.Told)
	t.Heading("visit.stayed")
	var copies []string // the customer's own, with everything in them
	for _, u := range v.Left {
		if p := consent.Purpose(u.Purpose); p.IsPortability() && !slices.Contains(copies, u.Recipient) {
			copies = append(copies, u.Recipient)
		}
	}
	if len(copies) > 0 && len(v.Withheld) > 0 {
		t.Line("  %s", w.T("visit.stayed-but", strings.Join(copies, ", ")))
	}
	for _, h := range v.Withheld {
		t.Line("  %s", w.T("scan.withheld", h.Count, t.Category(h.Category)))
	}
	for _, a := range v.Answers {
		if a.Answer != consent.Granted.String() {
			t.Line("  %s: %s", t.Purpose(consent.Purpose(a.Purpose)), w.T("answer."+a.Answer))
		}
	}
	return t.err
}

// Answers writes where every purpose stands.
func (t *Text) Answers(as []Answer) error {
	t.Rows(rowsOf(as, func(i int) []string {
		a := as[i]
		name := t.Purpose(consent.Purpose(a.Purpose))
		if a.Recipient != "" {
			name += " → " + a.Recipient
		}
		return []string{name, t.words.T("answer." + a.Answer), a.Evidence}
	}))
	return t.err
}

// Purpose is a purpose's name for people.
func (t *Text) Purpose(p consent.Purpose) string {
	if name := p.Named(); name != "" {
		return t.words.T("purpose."+p.Kind()) + " " + name
	}
	return t.words.T("purpose." + string(p))
}

// Answer is an answer's name for people.
func (t *Text) Answer(a consent.Answer) string { return t.words.T("answer." + a.String()) }

func (t *Text) items(items []UploadItem) {
	for _, u := range items {
		t.Rows([][]string{{u.Recipient, t.Purpose(consent.Purpose(u.Purpose)), t.words.T("upload." + u.State), t.words.T("upload.bytes", u.Bytes), "sha256 " + u.Envelope[:min(16, len(u.Envelope))] + "…"}})
		if u.Receipt != nil {
			t.Line("    %s", t.dim.Render(t.words.T("upload.receipt", u.Receipt.Received, u.Receipt.Key)))
		} else if u.Reason != "" {
			t.Line("    %s", t.dim.Render(u.Reason))
		}
	}
}

// Upload writes what became of each envelope.
func (t *Text) Upload(u Upload) error {
	for _, n := range u.Told {
		t.Rows([][]string{{n.Recipient, t.words.T("told." + n.Action), t.words.T("told." + n.State), n.Reason}})
	}
	if len(u.Items)+len(u.Told) == 0 {
		t.Line("%s", t.words.T("upload.nothing"))
	}
	t.items(u.Items)
	return t.err
}

// Recipient writes one entry of the register.
func (t *Text) Recipient(r recipient.Recipient) error {
	w := t.words
	t.Line("%s", t.head.Render(r.Name))
	whole := w.T("recipient.vin-cut")
	if r.WholeVIN() {
		whole = w.T("recipient.vin-whole")
	}
	var purposes string
	for i, p := range r.Purposes {
		if i > 0 {
			purposes += ", "
		}
		purposes += t.Purpose(p)
	}
	t.Rows([][]string{
		{w.T("recipient.role"), string(r.Role) + ", " + r.Country + " (" + string(recipient.AreaOf(r.Country)) + ")"},
		{w.T("recipient.agreement"), nonEmpty(r.Agreement, "-")},
		{w.T("recipient.purposes"), purposes},
		{w.T("scan.vehicle"), whole},
		{w.T("recipient.address"), nonEmpty(r.URL, "-")},
	})
	return t.err
}

// Notice writes what the customer is told before a question, all of it in the catalog's language: who receives by name, on which
// legal basis, whom to reach and where to complain, as the form on paper says it.
func (t *Text) Notice(n consent.Notice, recipients []recipient.Recipient, shop consent.Workshop) {
	t.Line("\n%s", t.head.Render(n.Title))
	for _, s := range []string{n.What, n.Why, n.Who} {
		t.Line("  %s", s)
	}
	named := false
	for _, r := range recipients {
		if r.For(n.Purpose) {
			named = true
			t.Line("    %s", receives(t.words, r))
		}
	}
	if !named {
		t.Line("    %s", t.words.T("form.nobody"))
	}
	for _, s := range []string{n.HowLong, n.No, n.Withdraw, n.Rights} {
		t.Line("  %s", s)
	}
	t.Line("  %s: %s", t.words.T("explain.basis"), t.words.T("basis."+n.Purpose.Kind()))
	if reach := strings.Join(filled(shop.Contact, shop.Email, shop.Phone, shop.URL, shop.Address), " · "); reach != "" {
		t.Line("  %s: %s", t.words.T("receipt.contact"), reach)
	}
	a := consent.AuthorityOf(shop.Country)
	t.Line("  %s: %s · %s", t.words.T("receipt.authority"), a.Name, a.URL)
}
