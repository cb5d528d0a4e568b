package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"obdgate/internal/policy"
	"obdgate/internal/rights"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/spf13/cobra"
)

func (p *program) rights() *cobra.Command {
	return group("rights", "What a customer may ask for, and what time asks for", p.rightsAccess(), p.rightsErase(), p.rightsSweep())
}

func (p *program) rightsAccess() *cobra.Command {
	var id string
	c := &cobra.Command{
		Use: "access [ID]", Short: "Print everything held on a visit, for its customer", Args: argsBetween(0, 1),
		Long: `access prints a machine-readable copy of everything held: readings, answers, receipts, what was sent or waits,
and every entry of the log about the visit with its proof. Check who asks before you hand it over; that
a copy was made is logged.`,
		Example: "  obdgate rights access --visit v3k9… > copy.json",
		RunE: func(c *cobra.Command, args []string) error {
			return p.withVisit(c.Context(), first(args, id), func(s *store.Store, v visit.Visit) error {
				sheet, err := p.sheet(c.Context(), s, v)
				if err != nil {
					return err
				}
				sent, err := json.Marshal(sheet.Left)
				if err != nil {
					return err
				}
				copied, err := rights.Access(c.Context(), s, v.ID, p.now(), map[string]json.RawMessage{"sent": sent})
				if err != nil {
					return err
				}
				return p.writeJSON(copied)
			})
		},
	}
	visitFlag(c, &id)
	return c
}

func (p *program) rightsErase() *cobra.Command {
	var confirm bool
	c := &cobra.Command{
		Use: "erase ID", Short: "Erase a visit for good: its key first, then everything stored of it", Args: exactArgs(1),
		Long: `erase destroys the visit's key, and with it every older copy of the state, then what is stored of the visit and
what waits to be sent. What was sent before is the recipients' to erase; visit show lists them: look
before you erase. The log keeps entries that name nobody.`,
		Example: "  obdgate rights erase v3k9… --confirm",
		RunE: func(c *cobra.Command, args []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				v, err := getVisit(c.Context(), s, args[0])
				if err != nil {
					return err
				}
				if !confirm {
					return usage("add --confirm", errors.New("this cannot be undone"))
				}
				if err := rights.Erase(c.Context(), s, v.ID); err != nil {
					return err
				}
				p.say("rights.erased", v.ID)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&confirm, "confirm", false, "yes, erase it for good")
	return c
}

func (p *program) rightsSweep() *cobra.Command {
	return &cobra.Command{
		Use: "sweep", Short: "Erase what has been kept as long as it may be", Args: exactArgs(0),
		Long: `sweep enforces retention: personal data of a visit goes four weeks after it was closed, answers and receipts
after a year. Run it daily; it does nothing when nothing is due.`,
		Example: "  obdgate rights sweep",
		RunE: func(c *cobra.Command, _ []string) error {
			rules, err := policy.Default()
			if err != nil {
				return err
			}
			return p.withStore(c.Context(), func(s *store.Store) error {
				swept, err := rights.Sweep(c.Context(), s, rules, p.now())
				if err != nil {
					return err
				}
				if p.json {
					return p.writeJSON(swept)
				}
				_, err = fmt.Fprintln(p.Out, p.words.T("rights.swept", swept.Values, swept.Erased))
				return err
			})
		},
	}
}

// retain enforces retention before new work is begun. What cannot be erased now must not keep the workshop from working:
// it is told, and tried again at the next start.
func (p *program) retain(ctx context.Context, s *store.Store) {
	rules, err := policy.Default()
	if err == nil {
		var swept rights.Swept
		if swept, err = rights.Sweep(ctx, s, rules, p.now()); swept.Values+swept.Erased > 0 {
			p.say("rights.swept", swept.Values, swept.Erased)
		}
	}
	if err != nil {
		p.say("rights.not-swept", err)
	}
}
