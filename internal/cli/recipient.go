package cli

import (
	"errors"
	"fmt"
	"os"

	"obdgate/internal/consent"
	"obdgate/internal/recipient"
	"obdgate/internal/report"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

func (p *program) recipient() *cobra.Command {
	return group("recipient", "The register of who may receive", p.recipientAdd(), p.recipientList(), p.recipientShow(), p.recipientRemove())
}

func (p *program) recipientAdd() *cobra.Command {
	var agreement, safeguard string
	var names []string
	var replace bool
	c := &cobra.Command{
		Use: "add BUNDLE", Short: "Enter a recipient from the enrolment file its collector issued", Args: exactArgs(1),
		Long: `add reads the file that obdgate-collector keys wrote: name, country, role, address, certificates. The agreement
with the recipient is yours to add; without one nothing is sent. --purpose says for what it is registered, in place of
what the collector offers: service, obfcm, quality; third-party:NAME (technical values to an insurer or lessor, at the
customer's request) and portability:NAME (rights export --recipient) name the recipient.`,
		Example: `  obdgate recipient add garage-1.enrolment --agreement "AVV 2026-07"
  obdgate recipient add garage-1.enrolment --agreement "AVV 2026-07" --purpose obfcm
  obdgate recipient add noord.enrolment --agreement "AVV 2026-08" --purpose "third-party:Noord" --purpose "portability:Noord"`,
		RunE: func(c *cobra.Command, args []string) error {
			b, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			bundle, err := recipient.ParseBundle(b)
			if err != nil {
				return fail(exitData, "give the file that obdgate-collector keys --out wrote", err)
			}
			r := bundle.Recipient()
			r.Agreement, r.Safeguard = agreement, safeguard
			if len(names) > 0 {
				r.Purposes = nil
				for _, n := range names {
					if !consent.Purpose(n).Valid() {
						return usage("purposes are service, obfcm, quality, third-party:NAME and portability:NAME", fmt.Errorf("no purpose %q", n))
					}
					r.Purposes = append(r.Purposes, consent.Purpose(n))
				}
			}
			return p.withStore(c.Context(), func(s *store.Store) error {
				add := s.AddRecipient
				if replace {
					add = s.ReplaceRecipient
				}
				err := add(c.Context(), r)
				switch {
				case errors.Is(err, store.ErrExists):
					return usage("--replace puts the new entry in its place", err)
				case errors.Is(err, recipient.ErrInvalid):
					return fail(exitData, "ask the recipient's operator for a new enrolment file", err)
				case err != nil:
					return err
				}
				if err := r.Usable(); err != nil {
					p.say("recipient.unusable", err)
				}
				return p.printRecipient(r)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&agreement, "agreement", "", "reference of the agreement with the recipient")
	f.StringVar(&safeguard, "safeguard", "", "outside the EEA: reference of the safeguard (standard clauses)")
	f.StringArrayVar(&names, "purpose", nil, "only these purposes, may be repeated (default: all the collector takes)")
	f.BoolVar(&replace, "replace", false, "replace the entry of the same name")
	return c
}

func (p *program) printRecipient(r recipient.Recipient) error {
	if p.json {
		return p.writeJSON(r)
	}
	return report.NewText(p.Out, p.words).Recipient(r)
}

func (p *program) recipientList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List who may receive what", Args: exactArgs(0), Example: "  obdgate recipient list",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				all, err := s.Recipients(c.Context())
				if err != nil {
					return err
				}
				if p.json {
					return p.writeJSON(all)
				}
				if len(all) == 0 {
					p.say("recipient.none")
				}
				t := report.NewText(p.Out, p.words)
				for _, r := range all {
					if err := t.Recipient(r); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (p *program) recipientShow() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show one recipient", Args: exactArgs(1), Example: "  obdgate recipient show \"Demo Dealer\"",
		RunE: func(c *cobra.Command, args []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				r, err := s.Recipient(c.Context(), args[0])
				if err != nil {
					return unknownRecipient(err)
				}
				return p.printRecipient(r)
			})
		},
	}
}

func (p *program) recipientRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove a recipient: nothing more is sent to it", Args: exactArgs(1), Example: "  obdgate recipient remove \"Demo Dealer\"",
		RunE: func(c *cobra.Command, args []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				return unknownRecipient(s.RemoveRecipient(c.Context(), args[0]))
			})
		},
	}
}

func unknownRecipient(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fail(exitNoInput, "see: obdgate recipient list", err)
	}
	return err
}
