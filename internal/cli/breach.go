package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"obdgate/internal/i18n"
	"obdgate/internal/report"
	"obdgate/internal/rights"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

func (p *program) rightsBreach() *cobra.Command {
	var since, letters string
	var what, measures []string
	var drill bool
	c := &cobra.Command{
		Use: "breach", Short: "After a breach: whose data was where since when, and a letter to each", Args: exactArgs(0),
		Long: `breach lists, out of the log, every visit held since a day, the recipients its data had gone to and who had
looked at it. --letters writes a page to print for each, in the customer's language; customers are told within 48
hours. --drill marks everything as an exercise. That the list was made is logged.`,
		Example: "  obdgate rights breach --since 2026-11-01 --letters letters --what \"nl: Een laptop is gestolen.\" --what \"A laptop was stolen.\"\n  obdgate rights breach --since 2026-11-01 --drill",
		RunE: func(c *cobra.Command, _ []string) error {
			at, err := parseDate(since)
			if err != nil || since == "" {
				return usage("--since 2026-11-01", errors.Join(errors.New("since when?"), err))
			}
			return p.withStore(c.Context(), func(s *store.Store) error {
				b, err := rights.Affects(c.Context(), s, at.AddDate(0, 0, -1), p.now(), drill)
				if err != nil {
					return err
				}
				if letters != "" {
					if err := p.letters(c.Context(), s, b, letters, what, measures); err != nil {
						return err
					}
				}
				if p.json {
					return p.writeJSON(b)
				}
				t := report.NewText(p.Out, p.words)
				if b.Drill {
					t.Line("%s", p.words.T("breach.drill"))
				}
				t.Line("%s", p.words.T("breach.list", len(b.Affected), b.Gone, b.Deadline.Local().Format("2006-01-02 15:04")))
				var rows [][]string
				for _, a := range b.Affected {
					rows = append(rows, []string{a.Visit, a.Order, a.Opened.Local().Format("2006-01-02"), a.Language, p.words.T("breach.row", len(a.Where), len(a.Read))})
				}
				t.Rows(rows)
				return t.Err()
			})
		},
	}
	f := c.Flags()
	f.StringVar(&since, "since", "", "first day on which data may have been exposed, 2026-11-01")
	f.StringVar(&letters, "letters", "", "directory to write the letters to, one page each")
	f.StringArrayVar(&what, "what", nil, "what happened, in your words, for the letters; \"fr: …\" for those in French")
	f.StringArrayVar(&measures, "measures", nil, "what you do about it, in the same way")
	f.BoolVar(&drill, "drill", false, "an exercise")
	return c
}

func (p *program) letters(ctx context.Context, s *store.Store, b rights.Breach, dir string, what, measures []string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(exitCantCreate, "choose another directory", err)
	}
	shop, err := s.Workshop(ctx)
	if err != nil {
		return err
	}
	for _, a := range b.Affected {
		words, err := i18n.Load(a.Language)
		if err != nil {
			words = p.words
		}
		n := report.BreachNotice{Visit: a.Visit, Order: a.Order, Opened: a.Opened, Since: b.Since, At: b.Made, Drill: b.Drill, Shop: shop,
			What: inLanguage(what, words.Lang()), Measures: inLanguage(measures, words.Lang()), Entry: strconv.FormatUint(b.Entry, 10)}
		for _, w := range a.Where {
			if !slices.Contains(n.Recipients, w.Recipient) {
				n.Recipients = append(n.Recipients, w.Recipient)
			}
		}
		err = p.writePage(filepath.Join(dir, a.Visit+".html"), func(w io.Writer) error { return report.WriteBreachNotice(w, words, n) })
		if err != nil {
			return err
		}
	}
	return nil
}

// inLanguage picks the text that is marked for a language ("nl: …"), or else the one that is marked for none.
func inLanguage(texts []string, lang string) (text string) {
	for _, s := range texts {
		mark, rest, marked := strings.Cut(s, ":")
		switch {
		case marked && mark == lang:
			return strings.TrimSpace(rest)
		case !marked || !slices.Contains(i18n.Languages, mark):
			text = s
		}
	}
	return text
}

func (p *program) rightsRetention() *cobra.Command {
	return &cobra.Command{
		Use: "retention", Short: "Show how long each category is kept, and everything that was erased when", Args: exactArgs(0),
		Example: "  obdgate rights retention\n  obdgate rights retention --json",
		RunE: func(c *cobra.Command, _ []string) error {
			rules, err := p.rules()
			if err != nil {
				return err
			}
			return p.withStore(c.Context(), func(s *store.Store) error {
				gone, err := rights.Destructions(c.Context(), s)
				if err != nil {
					return err
				}
				t := report.NewText(p.Out, p.words)
				kept := map[string]string{}
				var rows, lines [][]string
				for _, info := range rules.Categories() {
					category := info.Key
					kept[string(category)] = rules.Retention(category).String()
					rows = append(rows, []string{t.Category(string(category)), t.Retention(rules.Retention(category))})
				}
				if p.json {
					return p.writeJSON(map[string]any{"kept": kept, "answers_days": rights.RecordsDays, "destroyed": gone})
				}
				t.Rows(rows)
				t.Heading("retention.gone")
				for _, g := range gone {
					lines = append(lines, []string{strconv.FormatUint(g.Entry, 10), g.At.Local().Format("2006-01-02 15:04"), string(g.Kind), g.Reason, strconv.Itoa(max(g.Count, 1))})
				}
				t.Rows(lines)
				return t.Err()
			})
		},
	}
}
