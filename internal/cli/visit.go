package cli

import (
	"context"
	"errors"
	"slices"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/outbox"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/report"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/spf13/cobra"
)

func (p *program) visit() *cobra.Command {
	return group("visit", "Visits: one car in the workshop, its answers, what was read, what left",
		p.visitOpen(), p.visitList(), p.visitShow(), p.visitClose(), p.visitReport())
}

// visitFlag adds --visit, which every command about a visit has.
func visitFlag(c *cobra.Command, id *string) {
	c.Flags().StringVar(id, "visit", "", "the visit; may be left out when only one is open")
}

func (p *program) visitOpen() *cobra.Command {
	var order, language string
	c := &cobra.Command{
		Use: "open", Short: "Open a visit and print its id", Args: exactArgs(0),
		Long:    "open starts a visit. The order text is customer data: it is stored under the visit's own key and never leaves.",
		Example: "  obdgate visit open --order \"2026-1142\" --customer-lang nl",
		RunE: func(c *cobra.Command, _ []string) error {
			if language == "" {
				language = p.words.Lang()
			}
			if !slices.Contains([]string{"nl", "de", "fr", "en"}, language) {
				return usage("nl, de, fr or en", errors.New("there are no notices in this language"))
			}
			return p.withStore(c.Context(), func(s *store.Store) error {
				p.retain(c.Context(), s)
				v, err := s.OpenVisit(c.Context(), visit.Visit{Order: order, Language: language})
				if err != nil {
					return err
				}
				if p.json {
					return p.writeJSON(map[string]any{"visit": v.ID, "opened": v.Opened})
				}
				report.NewText(p.Out, p.words).Line("%s", v.ID)
				return nil
			})
		},
	}
	c.Flags().StringVar(&order, "order", "", "order number or note of the workshop")
	c.Flags().StringVar(&language, "customer-lang", "", "language the customer reads: nl, de, fr, en (default: --lang)")
	return c
}

func (p *program) visitList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List visits, newest first", Args: exactArgs(0),
		Example: "  obdgate visit list\n  obdgate visit list --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				all, err := s.ListVisits(c.Context())
				if err != nil {
					return err
				}
				if p.json {
					return p.writeJSON(all)
				}
				t := report.NewText(p.Out, p.words)
				var rows [][]string
				for _, v := range all {
					state := p.words.T("visit.open")
					if !v.Closed.IsZero() {
						state = p.words.T("visit.closed")
					}
					rows = append(rows, []string{v.ID, v.Opened.Local().Format("2006-01-02 15:04"), state, p.words.T("visit.scans", v.Scans)})
				}
				if len(rows) == 0 {
					p.say("visit.none")
				}
				t.Rows(rows)
				return t.Err()
			})
		},
	}
}

func (p *program) visitShow() *cobra.Command {
	var id string
	c := &cobra.Command{
		Use: "show [ID]", Short: "Show a visit: answers, scans, what left and what stayed", Args: argsBetween(0, 1),
		Example: "  obdgate visit show --visit v3k9…",
		RunE: func(c *cobra.Command, args []string) error {
			return p.withVisit(c.Context(), first(args, id), func(s *store.Store, v visit.Visit) error {
				if err := p.accessed(c.Context(), s, v.ID, "visit-show"); err != nil {
					return err
				}
				return p.showVisit(c.Context(), s, v)
			})
		},
	}
	visitFlag(c, &id)
	return c
}

// withVisit opens the state and finds the visit meant.
func (p *program) withVisit(ctx context.Context, id string, f func(*store.Store, visit.Visit) error) error {
	return p.withStore(ctx, func(s *store.Store) error {
		v, err := theVisit(ctx, s, id)
		if err != nil {
			return err
		}
		return f(s, v)
	})
}

func first(args []string, otherwise string) string {
	if len(args) > 0 {
		return args[0]
	}
	return otherwise
}

func (p *program) visitReport() *cobra.Command {
	var id string
	c := &cobra.Command{
		Use: "report [ID]", Short: "Print the repair report of a visit's last scan", Args: argsBetween(0, 1),
		Example: "  obdgate visit report --visit v3k9… --lang de",
		RunE: func(c *cobra.Command, args []string) error {
			return p.withVisit(c.Context(), first(args, id), func(s *store.Store, v visit.Visit) error {
				if len(v.Scans) == 0 {
					return fail(exitNoInput, "read the vehicle first: obdgate scan --visit "+v.ID, errors.New("this visit has no scan"))
				}
				if err := p.accessed(c.Context(), s, v.ID, "visit-report"); err != nil {
					return err
				}
				return p.printScan(v.ID, v.Scans[len(v.Scans)-1])
			})
		},
	}
	visitFlag(c, &id)
	return c
}

// printScan writes a scan as the flags ask for it.
func (p *program) printScan(id string, s visit.Scan) error {
	rules, err := p.rules()
	if err != nil {
		return err
	}
	d := report.New(id, s, rules, p.words.Lang())
	if p.json {
		b, err := d.JSON()
		if err != nil {
			return err
		}
		_, err = p.Out.Write(b)
		return err
	}
	return report.NewText(p.Out, p.words).Scan(d)
}

func (p *program) visitClose() *cobra.Command {
	var id string
	c := &cobra.Command{
		Use: "close [ID]", Short: "Close a visit: what may not outlive it is destroyed", Args: argsBetween(0, 1),
		Example: "  obdgate visit close --visit v3k9…",
		RunE: func(c *cobra.Command, args []string) error {
			rules, err := p.rules()
			if err != nil {
				return err
			}
			return p.withVisit(c.Context(), first(args, id), func(s *store.Store, v visit.Visit) error {
				_, err := s.CloseVisit(c.Context(), v.ID, p.now(), volatile(rules))
				if err != nil {
					return err
				}
				p.say("visit.is-closed", v.ID)
				return nil
			})
		},
	}
	visitFlag(c, &id)
	return c
}

// volatile names what does not outlive a visit.
func volatile(rules *policy.Policy) func(reading.Key) bool {
	return func(k reading.Key) bool {
		keep := rules.Retention(rules.TagKey(k).Category).Keep
		return keep == policy.KeepVisit || keep == policy.KeepNever
	}
}

// showVisit prints everything about a visit but the values, which the report has.
func (p *program) showVisit(ctx context.Context, s *store.Store, v visit.Visit) error {
	sheet, err := p.sheet(ctx, s, v)
	if err != nil {
		return err
	}
	if p.json {
		return p.writeJSON(sheet)
	}
	return report.NewText(p.Out, p.words).Visit(sheet)
}

// sheet gathers what is known of a visit.
func (p *program) sheet(ctx context.Context, s *store.Store, v visit.Visit) (report.Visit, error) {
	rules, err := p.rules()
	if err != nil {
		return report.Visit{}, err
	}
	decisions, err := s.Ledger().Decisions(ctx, v.ID)
	if err != nil {
		return report.Visit{}, err
	}
	items, err := p.items(ctx, s, v.ID)
	if err != nil {
		return report.Visit{}, err
	}
	q, err := outbox.Open(ctx, s, outbox.Options{Now: p.now})
	if err != nil {
		return report.Visit{}, err
	}
	notices, err := q.Notices(ctx, v.ID)
	if err != nil {
		return report.Visit{}, err
	}
	if err := p.answersLost(ctx, s, v.ID); err != nil {
		return report.Visit{}, err
	}
	return report.NewVisit(v, decisions, items, rules, p.now()).WithNotices(notices), nil
}

// answersLost says when no yes of a visit counts because the state is an older copy than a no that was given since.
func (p *program) answersLost(ctx context.Context, s *store.Store, id string) error {
	lost, err := s.AnswersLost(ctx, s.DB(), id)
	if lost {
		p.say("consent.lost", id)
	}
	return err
}

// purposes are all purposes a customer can be asked for, those that name somebody by the decisions there are.
func purposes(ds []consent.Decision) []consent.Purpose {
	out := []consent.Purpose{consent.Service, consent.OBFCM, consent.Quality}
	for _, d := range ds {
		if d.Purpose.Named() != "" && !slices.Contains(out, d.Purpose) {
			out = append(out, d.Purpose)
		}
	}
	return out
}

func parseDate(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.ParseInLocation("2006-01-02", s, time.Local)
	if err != nil {
		return t, usage("write it as 2026-12-31", errors.New("not a date"))
	}
	return t.AddDate(0, 0, 1), nil
}
