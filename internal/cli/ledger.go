package cli

import (
	"errors"
	"os"

	"obdgate/internal/report"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

func (p *program) ledger() *cobra.Command {
	var heads []string
	verify := &cobra.Command{
		Use: "verify", Short: "Check the log offline: edited, deleted, reordered or cut entries are found", Args: exactArgs(0),
		Long: `verify recomputes the whole tree and compares it with the signed head. Heads kept elsewhere (--head FILE, from an
earlier verify --json, ledger head or ledger witness) are compared as well: a log that was replaced as a whole is
found that way.`,
		Example: "  obdgate ledger verify\n  obdgate ledger verify --head head-2026-11-01.txt",
		RunE: func(c *cobra.Command, _ []string) error {
			var kept [][]byte
			for _, h := range heads {
				b, err := os.ReadFile(h)
				if err != nil {
					return err
				}
				kept = append(kept, keptNotes(b)...)
			}
			return p.withStore(c.Context(), func(s *store.Store) error {
				r, err := s.Ledger().VerifyAgainst(c.Context(), kept...)
				if err != nil {
					return store.Explain(err)
				}
				if p.json {
					err = p.writeJSON(r)
				} else {
					err = report.NewText(p.Out, p.words).Ledger(r)
				}
				if err == nil && !r.OK() {
					return errTampered()
				}
				return err
			})
		},
	}
	verify.Flags().StringArrayVar(&heads, "head", nil, "file with a signed head kept earlier, may be repeated")
	var exact bool
	show := &cobra.Command{
		Use: "show", Short: "Print the log, oldest first", Args: exactArgs(0),
		Long: `show prints the log. With --exact it prints the very bytes the signed tree is built over, a line each: with them
anybody can check a customer's copy for completeness (rights check --log). They name no customer and no vehicle.`,
		Example: "  obdgate ledger show --json\n  obdgate ledger show --exact > log.jsonl",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				if exact {
					return p.showLeaves(c.Context(), s)
				}
				const page = 500
				lines := report.NewEntries(p.Out, p.words, p.json)
				for seq := uint64(0); ; {
					es, err := s.Ledger().Entries(c.Context(), seq, page)
					if err != nil {
						return store.Explain(err)
					}
					if err := lines.Write(es); err != nil {
						return err
					}
					if len(es) < page {
						return nil
					}
					seq += uint64(len(es))
				}
			})
		},
	}
	show.Flags().BoolVar(&exact, "exact", false, "the bytes the tree is built over")
	return group("ledger", "The tamper-evident log of every answer and everything that left", verify, show, p.ledgerHead(), p.ledgerWitness())
}

func errTampered() error {
	return fail(exitData, "keep the state directory as it is and tell the data protection officer; obdgate ledger verify says where",
		errors.New("the log was tampered with: nothing is sent"))
}
