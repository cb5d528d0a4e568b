package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"obdgate/internal/i18n"
	"obdgate/internal/report"
	"obdgate/internal/rights"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/spf13/cobra"
)

func (p *program) rightsAccess() *cobra.Command {
	var a asked
	var html string
	c := &cobra.Command{
		Use: "access ID...", Short: "Print everything held on a customer's visits", Args: argsBetween(1, 100),
		Long: `access prints a machine-readable copy of everything held: readings, answers, receipts, what was sent or waits,
requests, and every entry of the log about the visit with its proof. --html writes it as a page to print,
in the customer's language or that of --lang, with the machine-readable copy inside (rights check reads both). Check who asks before you hand it over; that a copy was made is logged.`,
		Example: `  obdgate rights access v3k9… --identity "passport seen" > copy.json
  obdgate rights access v3k9… v7a2… --identity "passport seen" --html copy.html`,
		RunE: func(c *cobra.Command, args []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error { return p.access(c.Context(), s, args, a, html) })
		},
	}
	a.flags(c)
	c.Flags().StringVar(&html, "html", "", "write a page to print instead")
	return c
}

func (p *program) access(ctx context.Context, s *store.Store, ids []string, a asked, html string) error {
	rules, err := p.rules()
	if err != nil {
		return err
	}
	var copies []rights.Copy
	var pages []report.AccessVisit
	for _, id := range ids {
		v, err := getVisit(ctx, s, id)
		if err != nil {
			return err
		}
		ticket, err := a.open(ctx, p, s, v, rights.AccessRequest)
		if err != nil {
			return err
		}
		copied, sheet, err := p.copyOf(ctx, s, v)
		if err != nil {
			return err
		}
		copies = append(copies, copied)
		page, err := accessPage(ctx, s, v, sheet, copied)
		if err != nil {
			return err
		}
		pages = append(pages, page)
		if err := ticket.Settle(ctx, s, p.now()); err != nil {
			return err
		}
		if a.letter != "" && len(ids) == 1 {
			err = p.confirm(ctx, s, ticket, a.letter)
		} else {
			err = p.confirm(ctx, s, ticket, "")
		}
		if err != nil {
			return err
		}
	}
	if html != "" {
		shop, err := s.Workshop(ctx)
		if err != nil {
			return err
		}
		words := p.words
		if p.lang == "" {
			if words, err = i18n.Load(pages[0].Visit.Language); err != nil {
				return err
			}
		}
		return p.writePage(html, func(w io.Writer) error { return report.Access(w, words, shop, pages, rules, p.now(), copies) })
	}
	if len(copies) == 1 {
		return p.writeJSON(copies[0])
	}
	return p.writeJSON(copies)
}

// accessPage gathers what the page to print says of a visit: the same as its machine-readable copy.
func accessPage(ctx context.Context, s *store.Store, v visit.Visit, sheet report.Visit, c rights.Copy) (a report.AccessVisit, err error) {
	a = report.AccessVisit{Visit: v, Sheet: sheet, Head: c.Head}
	for _, e := range c.Log {
		a.Log = append(a.Log, e.Entry)
	}
	var body struct {
		Mark *struct {
			Km    int64
			Month string
		} `json:"mileage_mark"`
	}
	if err := json.Unmarshal(c.Visit, &body); err != nil {
		return a, err
	}
	if m := body.Mark; m != nil {
		a.Mark = strconv.FormatInt(m.Km, 10) + " km · " + m.Month
	}
	tickets, err := rights.Tickets(ctx, s, v.ID)
	if err != nil {
		return a, err
	}
	for _, t := range tickets {
		a.Requests = append(a.Requests, report.AccessRequest{Request: string(t.Request), State: t.State, Text: cmp.Or(t.Reason, t.Note), Opened: t.Opened})
	}
	signatures, err := s.Signatures(ctx, v.ID)
	if err != nil {
		return a, err
	}
	a.Signatures = slices.Sorted(maps.Keys(signatures))
	links, err := s.Links(ctx, v.ID)
	if err != nil {
		return a, err
	}
	a.Links = len(links)
	if a.Address, _, err = s.AnyAddress(ctx, v.ID); err != nil {
		return a, err
	}
	a.Restricted, err = s.Restriction(ctx, v.ID)
	return a, err
}

// copyOf makes the machine-readable copy of one visit.
func (p *program) copyOf(ctx context.Context, s *store.Store, v visit.Visit) (rights.Copy, report.Visit, error) {
	sheet, err := p.sheet(ctx, s, v)
	if err != nil {
		return rights.Copy{}, sheet, err
	}
	tickets, err := rights.Tickets(ctx, s, v.ID)
	if err != nil {
		return rights.Copy{}, sheet, err
	}
	elsewhere := map[string]json.RawMessage{}
	signatures, err := s.Signatures(ctx, v.ID)
	if err != nil {
		return rights.Copy{}, sheet, err
	}
	links, err := s.Links(ctx, v.ID)
	if err != nil {
		return rights.Copy{}, sheet, err
	}
	address, confirmed, err := s.AnyAddress(ctx, v.ID)
	if err != nil {
		return rights.Copy{}, sheet, err
	}
	for name, x := range map[string]any{"sent": sheet.Left, "told": sheet.Told, "requests": tickets, "signatures": signatures, "links": links,
		"address": addressOf(address, confirmed)} {
		if elsewhere[name], err = json.Marshal(x); err != nil {
			return rights.Copy{}, sheet, err
		}
	}
	c, err := rights.Access(ctx, s, v.ID, p.now(), elsewhere)
	return c, sheet, err
}

// addressOf is a visit's e-mail address with the moment it was confirmed; nil without one.
func addressOf(address string, confirmed time.Time) any {
	if address == "" {
		return nil
	}
	return struct {
		Email     string    `json:"email"`
		Confirmed time.Time `json:"confirmed,omitzero"`
	}{address, confirmed}
}
