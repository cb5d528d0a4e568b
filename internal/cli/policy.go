package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"obdgate/dbc"
	"obdgate/internal/policy"
	"obdgate/internal/report"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

// overlayFile is the workshop's own rules, in the state directory.
const overlayFile = "policy.yaml"

// stateDir is where the state lies or would lie, "" when nobody knows.
func (p *program) stateDir() string {
	if p.home != "" {
		return p.home
	}
	dir, err := store.DefaultHome()
	if err != nil {
		return "" // opening the state tells it better
	}
	return dir
}

// siteRules reads the workshop's own rules; nil when it has none.
func (p *program) siteRules() ([]byte, error) {
	dir := p.stateDir()
	if dir == "" {
		return nil, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, overlayFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil // opening the state tells what is wrong with the directory
	}
	return b, err
}

// rules are the rules in force: the built-in ones, with the workshop's own over them where it has any. Rules that cannot be
// read are no reason to go on with others.
func (p *program) rules() (*policy.Policy, error) {
	b, err := p.siteRules()
	if err != nil {
		return nil, fail(exitConfig, "policy.yaml in the state directory must be readable", err)
	}
	if b == nil {
		return policy.Default()
	}
	return p.loadRules(b)
}

func (p *program) loadRules(b []byte) (*policy.Policy, error) {
	rules, err := policy.Load(bytes.NewReader(b))
	if err != nil {
		return nil, fail(exitConfig, "correct policy.yaml; `obdgate policy diff FILE` shows what it would change", err)
	}
	return rules, nil
}

func (p *program) policy() *cobra.Command {
	show := &cobra.Command{
		Use: "show [FILE]", Short: "Print the rules in force, or those a file over the built-in ones would give", Args: argsBetween(0, 1),
		Example: "  obdgate policy show\n  obdgate policy show house-rules.yaml --json",
		RunE: func(_ *cobra.Command, args []string) error {
			rules, err := p.rulesOf(args)
			if err != nil {
				return err
			}
			if p.json {
				return p.writeJSON(report.NewPolicy(rules, p.words.Lang()))
			}
			return report.NewText(p.Out, p.words).Policy(rules)
		},
	}
	var dbcs []string
	lint := &cobra.Command{
		Use: "lint [FILE]", Short: "Check the rules: fails on unclassified, contradictory, unreachable or weaker entries", Args: argsBetween(0, 1),
		Long: `lint checks the rules in force, or a file of the workshop's own rules before it is put in place: keys that the
tables can give and no rule names, rules that overlap and disagree, patterns no key can match, and anything that
protects less than the built-in rules. With --dbc it also checks the privacy attributes of a broadcast database.

The workshop's own rules are policy.yaml in the state directory. Every command then works with them; a file that does
not pass stops every command.`,
		Example: "  obdgate policy lint\n  obdgate policy lint house-rules.yaml\n  obdgate policy lint --dbc body.dbc",
		RunE:    func(_ *cobra.Command, args []string) error { return p.runLint(args, dbcs) },
	}
	lint.Flags().StringArrayVar(&dbcs, "dbc", nil, "broadcast database to check; may be repeated")
	diff := &cobra.Command{
		Use: "diff [FILE [FILE]]", Short: "Show what one set of rules changes against another, and whether it protects less", Args: argsBetween(0, 2),
		Long: `diff compares the workshop's own rules in force with the built-in ones; with one FILE, that file over the built-in
rules with the built-in ones; with two, the first with the second. For every key that would be treated otherwise it
prints the pattern, both tags, and weaker or stronger. A file that would be refused as weaker is compared all the same.

It ends with 0 when nothing is protected less, with 78 when something is.`,
		Example: "  obdgate policy diff\n  obdgate policy diff house-rules.yaml\n  obdgate policy diff old.yaml new.yaml --json",
		RunE:    func(_ *cobra.Command, args []string) error { return p.runDiff(args) },
	}
	return group("policy", "The rules that decide what is technical and what is personal", show, lint, diff)
}

// rulesOf are the rules of a named file over the built-in ones, or those in force.
func (p *program) rulesOf(args []string) (*policy.Policy, error) {
	if len(args) == 0 {
		return p.rules()
	}
	b, err := os.ReadFile(args[0])
	if err != nil {
		return nil, err
	}
	return p.loadRules(b)
}

func (p *program) runLint(args, dbcs []string) error {
	rules, err := p.rulesOf(args)
	if err != nil {
		return err
	}
	found := rules.Lint()
	for _, name := range dbcs {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		db, err := dbc.Parse(name, b)
		if err != nil {
			return fail(exitData, "correct the file at that place", err)
		}
		found = append(found, rules.LintDBC(db)...)
	}
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

func (p *program) runDiff(args []string) error {
	var sides [2]io.Reader // nil = built-in
	for i, name := range args {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		sides[2-len(args)+i] = bytes.NewReader(b)
	}
	if len(args) == 0 {
		b, err := p.siteRules()
		if err != nil {
			return err
		}
		if b != nil {
			sides[1] = bytes.NewReader(b)
		}
	}
	d, err := policy.Diff(sides[0], sides[1])
	if err != nil {
		return fail(exitData, "correct the file at that place", err)
	}
	doc := report.NewDifference(d)
	if p.json {
		err = p.writeJSON(doc)
	} else {
		err = report.NewText(p.Out, p.words).Difference(doc)
	}
	if err == nil && d.Weaker() {
		return fail(exitConfig, p.words.T("policy.weaker-hint"), fmt.Errorf("%s", p.words.T("policy.weaker")))
	}
	return err
}
