package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"sync"

	"obdgate/internal/consent"
	"obdgate/internal/gate"
	"obdgate/internal/outbox"
	"obdgate/internal/report"
	"obdgate/internal/rights"
	"obdgate/internal/store"
	"obdgate/internal/visit"
	"obdgate/internal/wire"

	"github.com/spf13/cobra"
)

func (p *program) rights() *cobra.Command {
	return group("rights", "What a customer may ask for, and what time asks for", p.rightsAccess(), p.rightsErase(), p.rightsRestrict(),
		p.rightsRectify(), p.rightsExport(), p.rightsObject(), p.rightsOpen(), p.rightsList(), p.rightsClose(), p.rightsLetter(), p.rightsCheck(), p.rightsSweep(),
		p.rightsRetention(), p.rightsBreach())
}

// asked is what every request needs besides the visit.
type asked struct{ identity, note, letter string }

func (a *asked) flags(c *cobra.Command) {
	c.Flags().StringVar(&a.identity, "identity", "", `how you checked who asks: "passport seen", "known customer, signed order"`)
	c.Flags().StringVar(&a.note, "note", "", "what was asked for, in the customer's words")
	c.Flags().StringVar(&a.letter, "letter", "", "write what the customer is told here, as a page to print")
}

// open takes up the request that came in before (rights open), or records it now; nobody is answered whose identity was not
// checked.
func (a *asked) open(ctx context.Context, p *program, s *store.Store, v visit.Visit, r rights.Request) (rights.Ticket, error) {
	tickets, err := rights.Tickets(ctx, s, v.ID)
	if err != nil {
		return rights.Ticket{}, err
	}
	unknown := usage(`check who asks first, then for example --identity "passport seen"`, rights.ErrIdentity)
	for _, t := range tickets {
		if t.State != rights.Open || t.Request != r {
			continue
		}
		if a.note != "" {
			t.Note = a.note
		}
		switch {
		case a.identity != "":
			err = t.Identify(ctx, s, a.identity, p.now())
		case t.Identity == "":
			err = unknown
		}
		return t, err
	}
	if a.identity == "" {
		return rights.Ticket{}, unknown
	}
	return rights.Receive(ctx, s, v.ID, r, rights.Text{Identity: a.identity, Note: a.note, Language: v.Language}, p.now(), p.now())
}

func (p *program) rightsErase() *cobra.Command {
	var a asked
	var confirm bool
	c := &cobra.Command{
		Use: "erase ID", Short: "Erase a visit for good: its key first, then everything stored of it", Args: exactArgs(1),
		Long: `erase destroys the visit's key, and with it every older copy of the state, then what is stored of the visit and
what waits to be sent. Recipients that got something are asked to erase it and answer with a signed
statement. The log keeps entries that name nobody. A restricted visit is not erased: the refusal is
recorded with its reason, and the customer is told it.`,
		Example: `  obdgate rights erase v3k9… --identity "passport seen" --confirm`,
		RunE: func(c *cobra.Command, args []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				v, err := getVisit(c.Context(), s, args[0])
				if err != nil {
					return err
				}
				if !confirm {
					return usage("add --confirm", errors.New("this cannot be undone"))
				}
				return p.erase(c.Context(), s, v, a)
			})
		},
	}
	a.flags(c)
	c.Flags().BoolVar(&confirm, "confirm", false, "yes, erase it for good")
	return c
}

func (p *program) erase(ctx context.Context, s *store.Store, v visit.Visit, a asked) error {
	id := v.ID
	ticket, err := a.open(ctx, p, s, v, rights.ErasureRequest)
	if err != nil {
		return err
	}
	hold, err := s.Restriction(ctx, id)
	if err != nil {
		return err
	}
	if hold != "" {
		if err := ticket.Refuse(ctx, s, hold, p.now()); err != nil {
			return err
		}
		shop, err := s.Workshop(ctx)
		if err != nil {
			return err
		}
		authority := consent.AuthorityOf(shop.Country)
		why := hold
		if p.words.Has("hold." + hold) {
			why = p.words.T("hold." + hold)
		}
		p.say("rights.refused", why, authority.Name, authority.URL)
		if err := p.confirm(ctx, s, ticket, a.letter); err != nil {
			return err
		}
		return fmt.Errorf("visit %s (%s): %w", id, hold, store.ErrRestricted)
	}
	q, err := outbox.Open(ctx, s, outbox.Options{Now: p.now})
	if err != nil {
		return err
	}
	notices, err := q.Erase(ctx, id)
	if err != nil {
		return err
	}
	if ticket.Details.Recipients, err = told(ctx, q, id, wire.ActionErase); err != nil {
		return err
	}
	if err := rights.Erase(ctx, s, id); err != nil {
		return err
	}
	ticket.Visit = ""
	if err := ticket.Settle(ctx, s, p.now()); err != nil {
		return err
	}
	p.say("rights.erased", id)
	if notices > 0 {
		if err := p.tell(ctx, q, ""); err != nil {
			return err
		}
	}
	return p.confirm(ctx, s, ticket, a.letter)
}

// told lists the recipients that are or were told something about a visit.
func told(ctx context.Context, q *outbox.Outbox, id, action string) (names []string, err error) {
	all, err := q.Notices(ctx, id)
	for _, n := range all {
		if n.Action == action && !slices.Contains(names, n.Recipient) {
			names = append(names, n.Recipient)
		}
	}
	return names, err
}

var stableReason = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`) })

func (p *program) rightsRestrict() *cobra.Command {
	var a asked
	var reason string
	var lift bool
	c := &cobra.Command{
		Use: "restrict ID", Short: "Keep a visit as it is: neither erased nor sent, until the restriction is lifted", Args: exactArgs(1),
		Long: `restrict blocks erasure, retention and upload of a visit: at its customer's request (accuracy-contested,
claim-of-customer, objection-pending) or for a legal hold. The reason is one of these words or your own.`,
		Example: `  obdgate rights restrict v3k9… --reason accuracy-contested --identity "passport seen"
  obdgate rights restrict v3k9… --reason legal-hold --identity "order of the court 2026/77"
  obdgate rights restrict v3k9… --lift --identity "passport seen"`,
		RunE: func(c *cobra.Command, args []string) error {
			if !lift && !stableReason().MatchString(reason) {
				return usage("--reason legal-hold, accuracy-contested, claim-of-customer or objection-pending", errors.New("why?"))
			}
			return p.request(c.Context(), args[0], a, rights.RestrictionRequest, func(s *store.Store, v visit.Visit, d *rights.Details) error {
				d.Hold, d.Lifted = reason, lift
				if lift {
					taken, err := s.LiftRestriction(c.Context(), v.ID)
					if err == nil {
						p.say("rights.lifted", v.ID)
						p.taken(taken)
					}
					return err
				}
				p.say("rights.restricted", v.ID, reason)
				return s.Restrict(c.Context(), v.ID, reason)
			})
		},
	}
	a.flags(c)
	c.Flags().StringVar(&reason, "reason", "", "why, one word with dashes")
	c.Flags().BoolVar(&lift, "lift", false, "end the restriction")
	return c
}

// request opens a ticket, does what is asked and settles it. When it fails the ticket stays open.
func (p *program) request(ctx context.Context, id string, a asked, r rights.Request, f func(*store.Store, visit.Visit, *rights.Details) error) error {
	return p.withStore(ctx, func(s *store.Store) error {
		v, err := getVisit(ctx, s, id)
		if err != nil {
			return err
		}
		ticket, err := a.open(ctx, p, s, v, r)
		if err != nil {
			return err
		}
		if err := f(s, v, &ticket.Details); err != nil {
			return err
		}
		if err := ticket.Settle(ctx, s, p.now()); err != nil {
			return err
		}
		return p.confirm(ctx, s, ticket, a.letter)
	})
}

func (p *program) rightsRectify() *cobra.Command {
	var a asked
	var field, to string
	c := &cobra.Command{
		Use: "rectify ID", Short: "Correct what people entered, or attach the customer's statement", Args: exactArgs(1),
		Long: `rectify changes the order note or the customer's language. What the vehicle said is not rewritten: give the
customer's statement about it with --note, and it stays with the visit and is part of every copy.`,
		Example: `  obdgate rights rectify v3k9… --field order --to "2026-1143" --identity "passport seen"
  obdgate rights rectify v3k9… --note "the mileage is that of the old cluster" --identity "passport seen"`,
		RunE: func(c *cobra.Command, args []string) error {
			if (field == "") == (a.note == "") {
				return usage(`--field order --to TEXT, or --note "the customer's statement"`, errors.New("what is wrong?"))
			}
			if field != "" && field != "order" && field != "language" || field == "language" && !slices.Contains(consent.Languages, to) {
				return usage("fields are order and language (nl, de, fr, en)", fmt.Errorf("%q cannot be corrected so", field))
			}
			return p.request(c.Context(), args[0], a, rights.RectificationRequest, func(s *store.Store, v visit.Visit, d *rights.Details) error {
				d.Field, d.Value = field, to
				if field == "" {
					d.Value = a.note // a statement
				}
				if field == "" {
					p.say("rights.noted", v.ID)
					return nil
				}
				p.say("rights.rectified", v.ID)
				return s.Rectify(c.Context(), v.ID, field, to)
			})
		},
	}
	a.flags(c)
	c.Flags().StringVar(&field, "field", "", "order or language")
	c.Flags().StringVar(&to, "to", "", "what it should say")
	return c
}

func (p *program) rightsExport() *cobra.Command {
	var a asked
	var file, to, evidence string
	c := &cobra.Command{
		Use: "export ID", Short: "Hand a customer's data over to take along, or straight to another controller", Args: exactArgs(1),
		Long: `export writes the machine-readable copy to a file the customer can take to another workshop. With --recipient it
goes straight to a registered recipient, through the same door as everything else: every value the vehicle gave at the
visit, personal ones too, and nothing people entered. It needs the customer's word for this recipient (--evidence), is
receipted and can be withdrawn as portability:NAME. For technical values alone: consent record --purpose third-party:NAME.`,
		Example: `  obdgate rights export v3k9… --to copy.json --identity "passport seen"
  obdgate rights export v3k9… --recipient "Noord Insurance" --identity "passport seen" --evidence "paper form 2026-120"`,
		RunE: func(c *cobra.Command, args []string) error {
			if (file == "") == (to == "") {
				return usage("--to FILE, or --recipient NAME", errors.New("where to?"))
			}
			return p.request(c.Context(), args[0], a, rights.PortabilityRequest, func(s *store.Store, v visit.Visit, d *rights.Details) error {
				if to != "" {
					d.Recipients = []string{to}
					return p.port(c.Context(), s, v, to, evidence)
				}
				copied, _, err := p.copyOf(c.Context(), s, v)
				if err != nil {
					return err
				}
				b, err := json.MarshalIndent(copied, "", "  ")
				if err != nil {
					return err
				}
				if err := os.WriteFile(file, append(b, '\n'), 0o600); err != nil {
					return fail(exitCantCreate, "choose another file", err)
				}
				p.say("receipt.written", file)
				return nil
			})
		},
	}
	a.flags(c)
	c.Flags().StringVar(&file, "to", "", "file to write")
	c.Flags().StringVar(&to, "recipient", "", "registered recipient to send to")
	c.Flags().StringVar(&evidence, "evidence", "", "how the customer asked for it, as for consent record: records the yes to this recipient")
	return c
}

// port sends a visit to one recipient under the purpose that names it.
func (p *program) port(ctx context.Context, s *store.Store, v visit.Visit, to, evidence string) error {
	if err := p.trustLog(ctx, s); err != nil {
		return err
	}
	r, err := s.Recipient(ctx, to)
	if err != nil {
		return unknownRecipient(err)
	}
	purpose := consent.Portability(r.Name)
	switch {
	case !r.For(purpose):
		return fail(exitNoPerm, fmt.Sprintf("agree with it, then: obdgate recipient add BUNDLE --replace --agreement … --purpose %q", purpose),
			fmt.Errorf("%w: %s", gate.ErrPurpose, purpose))
	case len(v.Scans) == 0:
		return fail(exitNoPerm, "obdgate scan first", gate.ErrNothing)
	}
	if evidence != "" {
		o := answerOptions{evidence: evidence}
		if err := o.signed(ctx, s, v.ID); err != nil {
			return err
		}
		d, err := o.decision(v.Language)
		if err != nil {
			return err
		}
		d.Purpose, d.Answer, d.At = purpose, consent.Granted, p.now()
		if err := p.answer(ctx, s, v, []consent.Decision{d}); err != nil {
			return err
		}
	}
	q, err := outbox.Open(ctx, s, outbox.Options{Now: p.now})
	if err != nil {
		return err
	}
	all, err := p.candidates(ctx, s, v.ID)
	if err != nil {
		return err
	}
	door, sealed := gate.New(s.Consent(), s.Station()), 0
	for _, c := range all {
		if c.input.Recipient.Name != r.Name || c.input.Purpose != purpose {
			continue
		}
		e, err := door.Seal(ctx, c.input)
		if errors.Is(err, gate.ErrNothing) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := q.Put(ctx, e); err != nil {
			return err
		}
		sealed++
	}
	if sealed == 0 {
		return fail(exitNoPerm, "there is nothing the vehicle gave at this visit", gate.ErrNothing)
	}
	return p.drain(ctx, q, v.ID, kept{})
}

func (p *program) rightsObject() *cobra.Command {
	var a asked
	var names []string
	c := &cobra.Command{
		Use: "object ID", Short: "Record the customer's objection: every purpose named ends, recipients are told", Args: exactArgs(1),
		Long: `object ends the purposes named, or all of them: a yes is withdrawn, anything else is refused. What waits is
destroyed; the consumption record, once refused, is destroyed too.`,
		Example: `  obdgate rights object v3k9… --identity "passport seen"
  obdgate rights object v3k9… --purpose quality --identity "passport seen"`,
		RunE: func(c *cobra.Command, args []string) error {
			return p.request(c.Context(), args[0], a, rights.ObjectionRequest, func(s *store.Store, v visit.Visit, d *rights.Details) error {
				return p.object(c.Context(), s, v, names, d)
			})
		},
	}
	a.flags(c)
	c.Flags().StringArrayVar(&names, "purpose", nil, "only this purpose, may be repeated")
	return c
}

func (p *program) object(ctx context.Context, s *store.Store, v visit.Visit, names []string, details *rights.Details) error {
	have, err := s.Ledger().Decisions(ctx, v.ID)
	if err != nil {
		return store.Explain(err)
	}
	which := purposes(have)
	if len(names) > 0 {
		which = nil
		for _, n := range names {
			which = append(which, consent.Purpose(n))
		}
	}
	var ds []consent.Decision
	for _, purpose := range which {
		d, err := new(answerOptions).decision(v.Language)
		if err != nil {
			return err
		}
		d.Purpose, d.Answer, d.At = purpose, consent.Refused, p.now()
		if was, _ := consent.Standing(have, purpose, p.now()); was.Yes() {
			d.Answer = consent.Withdrawn
		}
		ds = append(ds, d)
		details.Purposes = append(details.Purposes, string(purpose))
	}
	if err := p.answer(ctx, s, v, ds); err != nil {
		return err
	}
	q, err := outbox.Open(ctx, s, outbox.Options{Now: p.now})
	if err != nil {
		return err
	}
	details.Recipients, err = told(ctx, q, v.ID, wire.ActionStop)
	return err
}

func (p *program) rightsSweep() *cobra.Command {
	return &cobra.Command{
		Use: "sweep", Short: "Erase what has been kept as long as it may be", Args: exactArgs(0),
		Long: `sweep enforces retention: personal data of a visit goes four weeks after it was closed, answers and receipts
after a year. Run it daily; it does nothing when nothing is due.`,
		Example: "  obdgate rights sweep",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				swept, err := p.sweep(c.Context(), s)
				if err != nil {
					return err
				}
				if p.json {
					return p.writeJSON(swept)
				}
				t := report.NewText(p.Out, p.words)
				t.Line("%s", p.words.T("rights.swept", swept.Values, swept.Erased))
				if n := swept.Requests + swept.Notices; n > 0 {
					t.Line("%s", p.words.T("rights.dropped", n))
				}
				return t.Err()
			})
		},
	}
}

// swept is what retention took.
type swept struct {
	rights.Swept
	Notices int `json:"notices"` // messages to recipients, a year after they were answered
}

// sweep enforces retention in every room that keeps something.
func (p *program) sweep(ctx context.Context, s *store.Store) (out swept, err error) {
	rules, err := p.rules()
	if err != nil {
		return out, err
	}
	var first error
	out.Swept, first = rights.Sweep(ctx, s, rules, p.now())
	q, err := outbox.Open(ctx, s, outbox.Options{Now: p.now})
	if err == nil {
		out.Notices, err = q.DropNotices(ctx, p.now().AddDate(0, 0, -rights.RecordsDays))
	}
	return out, errors.Join(first, err)
}

// retain enforces retention before new work is begun. What cannot be erased now must not keep the workshop from working:
// it is told, and tried again at the next start.
func (p *program) retain(ctx context.Context, s *store.Store) {
	out, err := p.sweep(ctx, s)
	if out.Values+out.Erased > 0 {
		p.say("rights.swept", out.Values, out.Erased)
	}
	if n := out.Requests + out.Notices; n > 0 {
		p.say("rights.dropped", n)
	}
	if err != nil {
		p.say("rights.not-swept", err)
	}
	p.remind(ctx, s)
}

// remind tells of requests whose time is nearly over.
func (p *program) remind(ctx context.Context, s *store.Store) {
	const soon = 7 // days
	tickets, err := rights.Tickets(ctx, s, "")
	if err != nil {
		return // told by the command that needs them
	}
	for _, t := range tickets {
		if left := t.DaysLeft(p.now()); t.State == rights.Open && left <= soon {
			p.say("ticket.remind", t.ID, left)
		}
	}
}
