package cli

import (
	"slices"
	"strconv"
	"strings"

	"obdgate/internal/ledger"
	"obdgate/internal/report"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

// tally is how often something was answered.
type tally struct {
	Purpose string `json:"purpose"`
	Answer  string `json:"answer"`
	Count   int    `json:"count"`
}

func (p *program) consentCount() *cobra.Command {
	return &cobra.Command{
		Use: "count", Short: "Count the answers by purpose, out of the log: it names nobody", Args: exactArgs(0),
		Long: `count says how often each answer was given, in all the time the log has been kept, erased visits included. It is all
that can be told about customers who refused: no export holds anything of them.`,
		Example: "  obdgate consent count\n  obdgate consent count --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withStore(c.Context(), func(s *store.Store) error {
				counted := map[tally]int{}
				const page = 1000
				for from := uint64(0); ; from += page {
					es, err := s.Ledger().Entries(c.Context(), from, page)
					if err != nil {
						return store.Explain(err)
					}
					for _, e := range es {
						if e.Kind == ledger.Answer {
							counted[tally{Purpose: e.Facts.Purpose, Answer: e.Facts.Answer}]++
						}
					}
					if len(es) < page {
						break
					}
				}
				all := []tally{}
				for k, n := range counted {
					k.Count = n
					all = append(all, k)
				}
				slices.SortFunc(all, func(a, b tally) int { return strings.Compare(a.Purpose+" "+a.Answer, b.Purpose+" "+b.Answer) })
				if p.json {
					return p.writeJSON(all)
				}
				t := report.NewText(p.Out, p.words)
				var rows [][]string
				for _, x := range all {
					rows = append(rows, []string{p.words.T("purpose." + x.Purpose), p.words.T("answer." + x.Answer), strconv.Itoa(x.Count)})
				}
				t.Rows(rows)
				return t.Err()
			})
		},
	}
}
