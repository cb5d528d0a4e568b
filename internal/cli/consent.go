package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"

	"obdgate/internal/consent"
	"obdgate/internal/i18n"
	"obdgate/internal/outbox"
	"obdgate/internal/report"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/spf13/cobra"
)

func (p *program) consent() *cobra.Command {
	return group("consent", "The customer's answers: asked, recorded, withdrawn, proved",
		p.consentAsk(), p.consentForm(), p.consentRecord(), p.consentWithdraw(), p.consentShow(), p.consentCount(), p.consentReceipt())
}

// answerOptions are what an answer needs besides itself.
type answerOptions struct {
	visit, evidence, by, until, recipient string
}

func (o *answerOptions) flags(c *cobra.Command) {
	o.sharedFlags(c)
	c.Flags().StringVar(&o.until, "until", "", "last day of the answer, 2026-12-31 (default: until the purpose has ended)")
}

// sharedFlags are those a withdrawal has too.
func (o *answerOptions) sharedFlags(c *cobra.Command) {
	visitFlag(c, &o.visit)
	f := c.Flags()
	f.StringVar(&o.evidence, "evidence", "", `how the answer was given: "paper form 2026-114", "signature sign.png", "verbal Jan Peeters", "principal \"Noord Insurance\" claim 88-1"`)
	f.StringVar(&o.by, "by", "", "who asked (default: the user of this computer)")
	f.StringVar(&o.recipient, "recipient", "", "only towards this recipient (default: all of the purpose)")
}

// decision makes a decision of the options; purpose and answer are still to be set.
// image is the file of a signature in "signature FILE"; false when the evidence is something else, or names a hash.
func (o *answerOptions) image() (file string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(o.evidence), string(consent.Signature)+" ")
	file = strings.TrimSpace(rest)
	b, err := hex.DecodeString(file)
	return file, ok && (err != nil || len(b) != sha256.Size)
}

// signed keeps the image of a signature with the visit, sealed; its hash is the evidence.
func (o *answerOptions) signed(ctx context.Context, s *store.Store, id string) error {
	file, ok := o.image()
	if !ok {
		return nil
	}
	image, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	sum, err := s.AddSignature(ctx, id, image)
	if errors.Is(err, store.ErrImage) {
		return fail(exitData, "scan or photograph the signature anew", err)
	}
	o.evidence = string(consent.Signature) + " " + sum
	return err
}

func (o *answerOptions) decision(language string) (consent.Decision, error) {
	d := consent.Decision{Language: language, TakenBy: o.by, Recipient: o.recipient}
	if d.TakenBy == "" {
		if u, err := user.Current(); err == nil {
			d.TakenBy = u.Username
		}
	}
	if o.evidence != "" {
		e, err := consent.ParseEvidence(o.evidence)
		if err != nil {
			return d, usage(`for example --evidence "paper form 2026-114"`, err)
		}
		d.Evidence = e
	}
	until, err := parseDate(o.until)
	d.Until = until
	return d, err
}

func (p *program) consentRecord() *cobra.Command {
	var o answerOptions
	var answers []string
	c := &cobra.Command{
		Use: "record", Short: "Record the customer's answers, one per purpose", Args: exactArgs(0),
		Long: `record stores answers with their evidence and prints a receipt for each. Purposes are service, obfcm,
quality and third-party:NAME; answers are yes, no and later. No purpose is bundled with another, and
what is not asked stays no. A yes needs evidence: a technician cannot answer for the customer.

A no to obfcm before the scan keeps the question off the bus; after the scan it destroys the values.`,
		Example: `  obdgate consent record --visit v3k9… --purpose service=yes --purpose obfcm=no --evidence "paper form 2026-114"
  obdgate consent record --purpose third-party:Noord=yes --evidence "principal \"Noord\" claim 88-1"`,
		RunE: func(c *cobra.Command, _ []string) error { return p.runRecord(c.Context(), o, answers) },
	}
	o.flags(c)
	c.Flags().StringArrayVar(&answers, "purpose", nil, "PURPOSE=yes|no|later, once per purpose")
	return c
}

func (p *program) runRecord(ctx context.Context, o answerOptions, answers []string) error {
	if len(answers) == 0 {
		return usage("--purpose service=yes --purpose obfcm=no …", errors.New("no answer given"))
	}
	return p.withVisit(ctx, o.visit, func(s *store.Store, v visit.Visit) error {
		if err := o.signed(ctx, s, v.ID); err != nil {
			return err
		}
		base, err := o.decision(v.Language)
		if err != nil {
			return err
		}
		var ds []consent.Decision
		for _, a := range answers {
			d := base
			if d.Purpose, d.Answer, err = parseAnswer(a); err != nil {
				return err
			}
			d.At = p.now()
			ds = append(ds, d)
		}
		return p.answer(ctx, s, v, ds)
	})
}

func parseAnswer(s string) (consent.Purpose, consent.Answer, error) {
	name, word, ok := strings.Cut(s, "=")
	purpose := consent.Purpose(name)
	if !ok || !purpose.Valid() {
		return "", 0, usage("purposes are service, obfcm, quality and third-party:NAME, for example --purpose service=yes",
			fmt.Errorf("%q is no answer to a purpose", s))
	}
	if purpose.IsPortability() && word != "no" {
		return "", 0, usage(`obdgate rights export VISIT --recipient NAME --identity "passport seen" --evidence "paper form 2026-120"`,
			errors.New("a customer's own copy goes to another controller on a request only, once it is checked who asks"))
	}
	answer, ok := map[string]consent.Answer{"yes": consent.Granted, "no": consent.Refused, "later": consent.Deferred}[word]
	if !ok {
		return "", 0, usage("answers are yes, no and later", fmt.Errorf("%q is no answer", word))
	}
	return purpose, answer, nil
}

// answer records decisions and carries out what follows from them, each before the next: a no to the consumption record
// destroys what was read of it, every no destroys what is queued for the purpose.
func (p *program) answer(ctx context.Context, s *store.Store, v visit.Visit, ds []consent.Decision) error {
	for _, d := range ds {
		d.Visit = v.ID
		if err := d.Validate(); err != nil {
			return usage(`a yes needs evidence (--evidence "paper form 2026-114"), and a term ends later than today (--until 2026-12-31)`, err)
		}
	}
	q, err := outbox.Open(ctx, s, outbox.Options{Now: p.now})
	if err != nil {
		return err
	}
	var receipts []consent.Receipt
	notices := 0
	for _, d := range ds {
		a, err := q.Answer(ctx, v.ID, d)
		if err != nil {
			return err
		}
		receipts = append(receipts, a.Receipt)
		notices += a.Notices
		if err := p.consequences(ctx, s, v.ID, d, a); err != nil {
			return err
		}
	}
	if notices > 0 {
		if err := p.tell(ctx, q, v.ID); err != nil {
			return err
		}
	}
	if p.json {
		return p.writeJSON(receipts)
	}
	t := report.NewText(p.Out, p.words)
	for i, r := range receipts {
		t.Line("%s", p.words.T("consent.recorded", t.Purpose(ds[i].Purpose), t.Answer(ds[i].Answer), r.ID))
	}
	return t.Err()
}

// consequences tells what a no destroyed. A yes to the service purpose leaves the mark of the mileage.
func (p *program) consequences(ctx context.Context, s *store.Store, id string, d consent.Decision, a outbox.Answered) error {
	if a.Destroyed > 0 {
		p.say("consent.destroyed", a.Destroyed)
	}
	p.taken(a.Taken)
	if d.Answer.Yes() && d.Purpose == consent.Service && d.Recipient == "" { // the vehicle may have been read before
		return s.RememberMileage(ctx, id)
	}
	return nil
}

// taken tells what was destroyed of what had been read, or why a restriction keeps it for now.
func (p *program) taken(t store.Taken) {
	if t.Mileage {
		p.say("consent.mileage-forgotten")
	}
	if t.Values > 0 {
		p.say("consent.shredded", t.Values)
	}
	if t.Held != nil {
		p.say("consent.restricted", t.Held)
	}
}

// tell passes a withdrawal on at once. A recipient that does not answer now is told by the next upload.
func (p *program) tell(ctx context.Context, q *outbox.Outbox, id string) error {
	told, err := q.Tell(ctx, connect, id, true)
	for _, t := range told {
		if t.Err != nil {
			p.say("consent.told-later", t.Notice.Recipient, t.Err)
		} else {
			p.say("consent.told", t.Notice.Recipient)
		}
	}
	return err
}

func (p *program) consentWithdraw() *cobra.Command {
	var o answerOptions
	var names []string
	var receipt string
	c := &cobra.Command{
		Use: "withdraw", Short: "Withdraw answers: nothing more leaves, what waits is destroyed", Args: exactArgs(0),
		Long: `withdraw is as easy as giving: no evidence is needed, and the number on the receipt is enough. It stops what has
not left yet, at once. Recipients that got something are told and answer with a signed statement; visit show
lists both. What was sent before stays sent: rights erase asks for its erasure.`,
		Example: "  obdgate consent withdraw --receipt r7h2…\n  obdgate consent withdraw --visit v3k9… --purpose service --recipient \"Demo Dealer\"",
		RunE: func(c *cobra.Command, _ []string) error {
			if (len(names) == 0) == (receipt == "") || receipt != "" && o.visit != "" {
				return usage("--receipt NUMBER, or --visit ID --purpose service", errors.New("which answer?"))
			}
			if receipt != "" {
				return p.withStore(c.Context(), func(s *store.Store) error { return p.withdrawReceipt(c.Context(), s, receipt, o) })
			}
			return p.withVisit(c.Context(), o.visit, func(s *store.Store, v visit.Visit) error {
				var ds []consent.Decision
				for _, n := range names {
					d, err := o.decision(v.Language)
					if err != nil {
						return err
					}
					d.Purpose, d.Answer, d.At = consent.Purpose(n), consent.Withdrawn, p.now()
					if !d.Purpose.Valid() {
						return usage("purposes are service, obfcm, quality, third-party:NAME and portability:NAME", fmt.Errorf("no purpose %q", n))
					}
					ds = append(ds, d)
				}
				return p.answer(c.Context(), s, v, ds)
			})
		},
	}
	o.sharedFlags(c)
	c.Flags().StringArrayVar(&names, "purpose", nil, "purpose to withdraw, may be repeated")
	c.Flags().StringVar(&receipt, "receipt", "", "number of the receipt of the answer to withdraw")
	return c
}

// withdrawReceipt withdraws the answer a receipt proves, towards the recipient it was about, or the one --recipient names.
func (p *program) withdrawReceipt(ctx context.Context, s *store.Store, id string, o answerOptions) error {
	r, err := p.findReceipt(ctx, s, id)
	if err != nil {
		return err
	}
	v, err := getVisit(ctx, s, r.Subject.Visit)
	if err != nil {
		return err
	}
	d, err := o.decision(v.Language)
	if err != nil {
		return err
	}
	d.Purpose, d.Answer, d.At = r.Process.Purpose, consent.Withdrawn, p.now()
	if d.Recipient == "" {
		d.Recipient = r.Event.Recipient
	}
	return p.answer(ctx, s, v, []consent.Decision{d})
}

func (p *program) consentShow() *cobra.Command {
	var id string
	var byRecipient bool
	c := &cobra.Command{
		Use: "show [ID]", Short: "Show where every purpose stands", Args: argsBetween(0, 1),
		Long: `show says where every purpose stands. --recipients says the same for each recipient of the register by name: who may
receive what at this moment. consent withdraw --recipient stops one of them.`,
		Example: "  obdgate consent show --visit v3k9…\n  obdgate consent show --visit v3k9… --recipients",
		RunE: func(c *cobra.Command, args []string) error {
			return p.withVisit(c.Context(), first(args, id), func(s *store.Store, v visit.Visit) error {
				if byRecipient {
					return p.overview(c.Context(), s, v)
				}
				if err := p.accessed(c.Context(), s, v.ID, "consent-show"); err != nil {
					return err
				}
				sheet, err := p.sheet(c.Context(), s, v)
				if err != nil {
					return err
				}
				if p.json {
					return p.writeJSON(sheet.Answers)
				}
				return report.NewText(p.Out, p.words).Answers(sheet.Answers)
			})
		},
	}
	visitFlag(c, &id)
	c.Flags().BoolVar(&byRecipient, "recipients", false, "for each recipient of the register")
	return c
}

// may is one recipient and purpose of a visit.
type may struct {
	Recipient string `json:"recipient"`
	Country   string `json:"country"`
	Role      string `json:"role"`
	Purpose   string `json:"purpose"`
	Answer    string `json:"answer"`
	VIN       string `json:"vin"` // whole, cut
}

// overview lists every recipient of the register with what it may receive of a visit at this moment.
func (p *program) overview(ctx context.Context, s *store.Store, v visit.Visit) error {
	recipients, err := s.Recipients(ctx)
	if err != nil {
		return err
	}
	have, err := s.Ledger().Decisions(ctx, v.ID)
	if err != nil {
		return store.Explain(err)
	}
	all, rows := []may{}, [][]string{}
	t := report.NewText(p.Out, p.words)
	for _, r := range recipients {
		for _, purpose := range r.Purposes {
			stand, _ := consent.StandingFor(have, purpose, r.Name, p.now())
			m := may{r.Name, r.Country, string(r.Role), string(purpose), stand.String(), "cut"}
			if r.WholeVIN() {
				m.VIN = "whole"
			}
			all = append(all, m)
			rows = append(rows, []string{r.Name, r.Country, t.Purpose(purpose), t.Answer(stand)})
		}
	}
	if p.json {
		return p.writeJSON(all)
	}
	if len(rows) == 0 {
		p.say("recipient.none")
	}
	t.Rows(rows)
	return t.Err()
}

func (p *program) consentReceipt() *cobra.Command {
	var id, verify, key, html, verifier string
	c := &cobra.Command{
		Use: "receipt [RECEIPT]", Short: "Print the receipts of a visit, or check one", Args: argsBetween(0, 1),
		Long: `receipt prints signed receipts as JSON: of the visit, or the one named. --html writes the one named as a page to
print, in the language of --lang or else the customer's. --verify checks a receipt file, JSON or page, against this
station's key, or another station's with --station-key; it needs no network and no state. --verifier writes the page
with which anybody can do the same in a browser.`,
		Example: "  obdgate consent receipt --visit v3k9…\n  obdgate consent receipt r7h2… --html receipt.html\n" +
			"  obdgate consent receipt --verify receipt.json\n  obdgate consent receipt --verifier check.html",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case verify != "":
				return p.verifyReceipt(c.Context(), verify, key)
			case verifier != "":
				return p.withStore(c.Context(), func(s *store.Store) error {
					return p.writePage(verifier, func(w io.Writer) error {
						return report.Verifier(w, p.words.Lang(), hex.EncodeToString(s.Station().Public()))
					})
				})
			case len(args) == 1:
				return p.withStore(c.Context(), func(s *store.Store) error {
					r, err := p.findReceipt(c.Context(), s, args[0])
					if err != nil {
						return err
					}
					if html != "" {
						return p.receiptPage(html, r)
					}
					return p.writeJSON(r)
				})
			case html != "":
				return usage("name the receipt: obdgate consent receipt RECEIPT --html FILE", errors.New("which receipt?"))
			}
			return p.withVisit(c.Context(), id, func(s *store.Store, v visit.Visit) error {
				all, err := s.Receipts(c.Context(), v.ID)
				if err != nil {
					return err
				}
				return p.writeJSON(all)
			})
		},
	}
	visitFlag(c, &id)
	f := c.Flags()
	f.StringVar(&html, "html", "", "write the receipt as a page to print")
	f.StringVar(&verify, "verify", "", "receipt file to check")
	f.StringVar(&verifier, "verifier", "", "write the page that checks receipts in a browser")
	f.StringVar(&key, "station-key", "", "public key of the station that issued it, hexadecimal (default: this one's)")
	return c
}

func (p *program) findReceipt(ctx context.Context, s *store.Store, id string) (consent.Receipt, error) {
	r, err := s.Receipt(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return r, fail(exitNoInput, "see: obdgate consent receipt --visit ID", err)
	}
	return r, err
}

// receiptPage writes a receipt in the language asked for, else the customer's.
func (p *program) receiptPage(file string, r consent.Receipt) error {
	words := p.words
	if p.lang == "" {
		var err error
		if words, err = i18n.Load(r.Language); err != nil {
			return err
		}
	}
	return p.writePage(file, func(w io.Writer) error { return report.Receipt(w, words, r) })
}

// writePage makes a file that did not exist before; "-" is stdout.
func (p *program) writePage(file string, f func(io.Writer) error) error {
	if file == "-" {
		return f(p.Out)
	}
	var b bytes.Buffer
	if err := f(&b); err != nil {
		return err
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		return fail(exitCantCreate, "choose another file", err)
	}
	p.say("receipt.written", file)
	return nil
}

func (p *program) verifyReceipt(ctx context.Context, file, key string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	r, err := consent.ParseReceipt(report.ReceiptJSON(b))
	if err != nil {
		return fail(exitData, "give the file that obdgate consent receipt RECEIPT printed", err)
	}
	public, err := hex.DecodeString(key)
	if err != nil || key != "" && len(public) != ed25519.PublicKeySize {
		return usage("64 hexadecimal digits; obdgate doctor prints a station's", errors.New("not a public key"))
	}
	if key == "" {
		if err := p.withStore(ctx, func(s *store.Store) error { public = s.Station().Public(); return nil }); err != nil {
			return err
		}
	}
	if err := consent.VerifyReceipt(r, public); err != nil {
		return fail(exitData, "do not rely on it; ask the station for a fresh copy", err)
	}
	t := report.NewText(p.Out, p.words)
	t.Line("%s", p.words.T("consent.receipt-good", r.ID))
	t.ReceiptSays(r)
	return t.Err()
}

func (p *program) consentAsk() *cobra.Command {
	var o answerOptions
	c := &cobra.Command{
		Use: "ask", Short: "Show the customer the notices, in the customer's language, and take the answers", Args: exactArgs(0),
		Long: `ask shows what is read, why, who gets it and for how long, one purpose after the other, and waits for
yes, no or later after each. Enter alone means later: silence is no.`,
		Example: `  obdgate consent ask --visit v3k9… --evidence "paper form 2026-114"`,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withVisit(c.Context(), o.visit, func(s *store.Store, v visit.Visit) error { return p.ask(c.Context(), s, v, o) })
		},
	}
	o.flags(c)
	return c
}

func (p *program) consentForm() *cobra.Command {
	var id, to string
	var third []string
	c := &cobra.Command{
		Use: "form", Short: "Write the notices as a form to print and sign, in the customer's language", Args: exactArgs(0),
		Long: `form writes what the customer is asked as a page to print: what, why, who by name, how long, and a box for yes and one
for no after each question, none of them ticked. Number it; the number is the evidence for consent record.`,
		Example: "  obdgate consent form --visit v3k9… --to form.html\n  obdgate --lang fr consent form --third-party \"Noord Insurance\" --to form.html",
		RunE: func(c *cobra.Command, _ []string) error {
			if to == "" {
				return usage("--to FILE (- is stdout)", errors.New("where to?"))
			}
			return p.withVisit(c.Context(), id, func(s *store.Store, v visit.Visit) error {
				return p.form(c.Context(), s, v, third, to)
			})
		},
	}
	visitFlag(c, &id)
	c.Flags().StringArrayVar(&third, "third-party", nil, "ask for this third party too, may be repeated")
	c.Flags().StringVar(&to, "to", "", "file to write")
	return c
}

func (p *program) form(ctx context.Context, s *store.Store, v visit.Visit, third []string, to string) error {
	words, err := p.words, error(nil)
	if p.lang == "" {
		if words, err = i18n.Load(v.Language); err != nil {
			return err
		}
	}
	f := report.Form{Visit: v.ID, Order: v.Order, Made: v.Opened}
	if f.Shop, err = s.Workshop(ctx); err != nil {
		return err
	}
	if f.Recipients, err = s.Recipients(ctx); err != nil {
		return err
	}
	ask := purposes(nil)
	for _, name := range third {
		ask = append(ask, consent.ThirdParty(name))
	}
	for _, purpose := range ask {
		n, err := consent.NoticeFor(purpose, words.Lang())
		if err != nil {
			return usage("a name without spaces around it", err)
		}
		f.Notices = append(f.Notices, n)
	}
	if err := p.accessed(ctx, s, v.ID, "form"); err != nil {
		return err
	}
	return p.writePage(to, func(w io.Writer) error { return report.WriteForm(w, words, f) })
}

func (p *program) ask(ctx context.Context, s *store.Store, v visit.Visit, o answerOptions) error {
	if err := o.signed(ctx, s, v.ID); err != nil {
		return err
	}
	base, err := o.decision(v.Language)
	if err != nil {
		return err
	}
	words, err := i18n.Load(v.Language) // what the customer reads, whatever the workshop's language
	if err != nil {
		return err
	}
	recipients, err := s.Recipients(ctx)
	if err != nil {
		return err
	}
	shop, err := s.Workshop(ctx)
	if err != nil {
		return err
	}
	in := bufio.NewScanner(p.In)
	t := report.NewText(p.Err, words)
	var ds []consent.Decision
	for _, purpose := range purposes(nil) {
		n, err := consent.NoticeFor(purpose, v.Language)
		if err != nil {
			return err
		}
		t.Notice(n, recipients, shop)
		d := base
		d.Purpose, d.At, d.Notice = purpose, p.now(), n.Version
		for {
			fmt.Fprintf(p.Err, "%s [%s] ", n.Question, words.T("consent.choices"))
			if !in.Scan() {
				return fail(exitNoInput, "type yes, no or later after each question", errors.Join(errors.New("the answers ended early; nothing was recorded"), in.Err()))
			}
			if d.Answer, err = spoken(in.Text()); err == nil {
				break
			}
			fmt.Fprintln(p.Err, words.T("consent.choices"))
		}
		ds = append(ds, d)
	}
	return p.answer(ctx, s, v, ds)
}

// spoken reads an answer in any of the languages; nothing at all is "later".
func spoken(s string) (consent.Answer, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "y", "yes", "j", "ja", "o", "oui":
		return consent.Granted, nil
	case "n", "no", "nee", "nein", "non":
		return consent.Refused, nil
	case "", "later", "l", "später", "plus tard":
		return consent.Deferred, nil
	}
	return consent.Unasked, errors.New("no answer")
}
