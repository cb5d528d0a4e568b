package report

import (
	"strings"

	"obdgate/internal/policy"
)

// Explanation is `obdgate explain --json`.
type Explanation struct {
	Subject    string        `json:"subject"`
	Tag        string        `json:"tag"`
	Category   string        `json:"category"`
	Rule       string        `json:"rule"` // "" = no rule names it
	Reason     string        `json:"reason"`
	Source     string        `json:"source"`
	LegalBasis string        `json:"legal_basis"`
	Retention  string        `json:"retention"`
	Policy     string        `json:"policy"`
	Parts      []Explanation `json:"parts,omitempty"`
}

// NewExplanation puts x into the words of lang.
func NewExplanation(x policy.Explanation, lang string) Explanation {
	e := Explanation{Subject: x.Subject, Tag: x.Tag.Class.String(), Category: string(x.Category), Rule: x.Rule, Reason: x.Reason.In(lang),
		Source: x.Source, LegalBasis: x.LegalBasis, Retention: x.Retention.String(), Policy: x.Policy}
	for _, part := range x.Parts {
		e.Parts = append(e.Parts, NewExplanation(part, lang))
	}
	return e
}

// Explanation writes why something is technical or personal.
func (t *Text) Explanation(x policy.Explanation) error {
	w := t.words
	t.Line("%s", t.head.Render(x.Subject+": "+w.T("tag."+x.Tag.Class.String())))
	t.Rows([][]string{
		{w.T("explain.category"), t.Category(string(x.Category))},
		{w.T("explain.rule"), nonEmpty(x.Rule, w.T("explain.no-rule"))},
		{w.T("explain.source"), nonEmpty(x.Source, "-")},
		{w.T("explain.basis"), nonEmpty(x.LegalBasis, "-")},
		{w.T("explain.retention"), x.Retention.String()},
		{w.T("explain.policy"), x.Policy},
	})
	t.Line("  %s", x.Reason.In(w.Lang()))
	for _, part := range x.Parts {
		t.Line("")
		if err := t.Explanation(part); err != nil {
			return err
		}
	}
	return t.err
}

// PolicyDocument is `obdgate policy show --json`.
type PolicyDocument struct {
	Version string       `json:"version"`
	Hash    string       `json:"hash"`
	Rules   []PolicyRule `json:"rules"`
}

// PolicyRule is one rule in force.
type PolicyRule struct {
	ID       string   `json:"id"`
	Match    []string `json:"match"`
	Category string   `json:"category"`
	Tag      string   `json:"tag"`
	Reason   string   `json:"reason"`
	Source   string   `json:"source"`
}

// NewPolicy puts the rules into the words of lang.
func NewPolicy(p *policy.Policy, lang string) PolicyDocument {
	d := PolicyDocument{Version: p.Version(), Hash: p.Hash()}
	for _, r := range p.Rules() {
		d.Rules = append(d.Rules, PolicyRule{ID: r.ID, Match: r.Match, Category: string(r.Category),
			Tag: p.Category(r.Category).Class.String(), Reason: r.Reason.In(lang), Source: r.Source})
	}
	return d
}

// Policy writes the rules in force.
func (t *Text) Policy(p *policy.Policy) error {
	d := NewPolicy(p, t.words.Lang())
	t.Line("%s", t.head.Render(t.words.T("policy.title", d.Version)))
	t.Line("  sha256 %s", d.Hash)
	for _, r := range d.Rules {
		t.Line("\n%s  %s, %s", t.head.Render(r.ID), t.words.T("tag."+r.Tag), t.Category(r.Category))
		t.Line("  %s", strings.Join(r.Match, ", "))
		t.Line("  %s", r.Reason)
	}
	return t.err
}
