package cli

import (
	"errors"

	"obdgate/internal/policy"
	"obdgate/internal/report"

	"github.com/spf13/cobra"
)

func (p *program) explain() *cobra.Command {
	return &cobra.Command{
		Use:   "explain KEY|FRAME|ID|DID|PID|ANSWER|PATH",
		Short: "Say why something is technical or personal",
		Long: `explain names the rule, the category, the source and the legal basis behind a tag, and what others call it: the path
of the COVESA Vehicle Signal Specification and the category of the W3C Data Privacy Vocabulary. It knows
reading keys (obd.01.0D), PIDs (010D), data identifiers (F190 or 22F190), frames as candump prints them
(7E8#04410D32), a control unit's answer (410D32; its values are not repeated), identifiers, messages and
signals of broadcast databases, and paths (Vehicle.Speed).`,
		Example: `  obdgate explain 010D
  obdgate explain F190
  obdgate explain 7E8#04410D3200000000
  obdgate explain Vehicle.Speed --lang nl`,
		Args: exactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return p.runExplain(args[0]) },
	}
}

func (p *program) runExplain(what string) error {
	rules, err := p.rules()
	if err != nil {
		return err
	}
	x, err := rules.Explain(what)
	if errors.Is(err, policy.ErrNotUnderstood) {
		return fail(exitData, "give a key (obd.01.0D), a PID (010D), a DID (F190), a frame (7E8#04410D32), an answer (410D32) or a path (Vehicle.Speed)", err)
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
