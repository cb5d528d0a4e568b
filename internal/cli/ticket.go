package cli

import (
	"errors"
	"slices"

	"obdgate/internal/report"
	"obdgate/internal/rights"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

func (p *program) rightsList() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "list", Short: "List requests with the days left to answer them", Args: exactArgs(0), Example: "  obdgate rights list\n  obdgate rights list --all --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				tickets, err := rights.Tickets(c.Context(), s, "")
				if err != nil {
					return err
				}
				if !all {
					tickets = slices.DeleteFunc(tickets, func(t rights.Ticket) bool { return t.State != rights.Open })
				}
				type line struct {
					rights.Ticket
					Left int `json:"days_left"`
				}
				lines := []line{}
				var rows [][]string
				for _, t := range tickets {
					left := t.DaysLeft(p.now())
					lines = append(lines, line{t, left})
					state := p.words.T("ticket." + t.State)
					if t.State == rights.Open && left < 0 {
						state = p.words.T("ticket.overdue", -left)
					} else if t.State == rights.Open {
						state = p.words.T("ticket.left", left)
					}
					rows = append(rows, []string{t.ID, p.words.T("request." + string(t.Request)), t.Visit, t.Opened.Local().Format("2006-01-02"), state, t.Reason})
				}
				if p.json {
					return p.writeJSON(lines)
				}
				if len(rows) == 0 {
					p.say("ticket.none")
				}
				w := report.NewText(p.Out, p.words)
				w.Rows(rows)
				return w.Err()
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "settled ones too")
	return c
}

func (p *program) rightsClose() *cobra.Command {
	var refuse, longer, letter string
	c := &cobra.Command{
		Use: "close TICKET", Short: "Settle a request, refuse it with a reason, or extend its time once", Args: exactArgs(1),
		Example: `  obdgate rights close t4k2…
  obdgate rights close t4k2… --refuse "asked the third time this month" --letter refusal.html
  obdgate rights close t4k2… --extend "visits at three workshops"`,
		RunE: func(c *cobra.Command, args []string) error {
			if refuse != "" && longer != "" {
				return usage("--refuse or --extend", errors.New("both cannot be"))
			}
			return p.withStore(c.Context(), func(s *store.Store) error {
				t, err := findTicket(c.Context(), s, args[0])
				if err != nil {
					return err
				}
				switch {
				case refuse != "":
					err = t.Refuse(c.Context(), s, refuse, p.now())
				case longer != "":
					err = t.Extend(c.Context(), s, longer, p.now())
				default:
					err = t.Settle(c.Context(), s, p.now())
				}
				if errors.Is(err, rights.ErrSettled) || errors.Is(err, rights.ErrLonger) {
					return fail(exitData, "see: obdgate rights list --all", err)
				}
				if errors.Is(err, rights.ErrIdentity) {
					return usage("answer it with the command for it and --identity, or refuse it", err)
				}
				if err != nil {
					return err
				}
				p.say("ticket.is", t.ID, p.words.T("ticket."+t.State), t.Due.Format("2006-01-02"))
				return p.confirm(c.Context(), s, t, letter)
			})
		},
	}
	c.Flags().StringVar(&refuse, "refuse", "", "refuse it; the customer is told this reason")
	c.Flags().StringVar(&letter, "letter", "", "write what the customer is told here, as a page to print")
	c.Flags().StringVar(&longer, "extend", "", "give it 60 days more, with this reason")
	return c
}
