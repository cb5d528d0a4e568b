package cli

import (
	"errors"

	"obdgate/internal/policy"
	"obdgate/internal/report"

	"github.com/spf13/cobra"
)

func (p *program) explain() *cobra.Command {
	return &cobra.Command{
		Use:   "explain KEY|FRAME|DID|PID",
		Short: "Say why something is technical or personal",
		Long: `explain names the rule, the category, the source and the legal basis behind a tag. It knows reading keys
(obd.01.0D), PIDs (010D), data identifiers (F190 or 22F190), frames as candump prints them
(7E8#04410D32) and identifiers or messages of broadcast databases.`,
		Example: `  obdgate explain 010D
  obdgate explain F190
  obdgate explain 7E8#04410D3200000000`,
		Args: exactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return p.runExplain(args[0]) },
	}
}

func (p *program) runExplain(what string) error {
	rules, err := policy.Default()
	if err != nil {
		return err
	}
	x, err := rules.Explain(what)
	if errors.Is(err, policy.ErrNotUnderstood) {
		return fail(exitData, "give a key (obd.01.0D), a PID (010D), a DID (F190) or a frame (7E8#04410D32)", err)
	}
	if err != nil {
		return err
	}
	if p.json {
		return p.writeJSON(report.NewExplanation(x, p.words.Lang()))
	}
	t := report.NewText(p.Out, p.words)
	return t.Explanation(x)
}

func (p *program) policy() *cobra.Command {
	show := &cobra.Command{
		Use: "show", Short: "Print the rules in force", Args: exactArgs(0),
		Example: "  obdgate policy show\n  obdgate policy show --json",
		RunE: func(*cobra.Command, []string) error {
			rules, err := policy.Default()
			if err != nil {
				return err
			}
			if p.json {
				return p.writeJSON(report.NewPolicy(rules, p.words.Lang()))
			}
			return report.NewText(p.Out, p.words).Policy(rules)
		},
	}
	lint := &cobra.Command{
		Use: "lint", Short: "Check the rules: fails on unclassified or contradictory entries", Args: exactArgs(0),
		Example: "  obdgate policy lint",
		RunE:    func(*cobra.Command, []string) error { return p.runLint() },
	}
	return group("policy", "The rules that decide what is technical and what is personal", show, lint)
}

func (p *program) runLint() error {
	rules, err := policy.Default()
	if err != nil {
		return err
	}
	found := rules.Lint()
	t := report.NewText(p.Out, p.words)
	for _, f := range found {
		t.Line("%s", f)
	}
	if len(found) > 0 {
		return fail(exitConfig, "mend the entries above", errors.New("the policy is not clean"))
	}
	t.Line("%s", p.words.T("policy.clean", len(rules.Rules()), rules.Version()))
	return t.Err()
}
