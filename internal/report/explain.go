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
	VSS        []string      `json:"vss,omitempty"` // paths of the COVESA Vehicle Signal Specification
	DPV        []string      `json:"dpv,omitempty"` // terms of the W3C Data Privacy Vocabulary
	Policy     string        `json:"policy"`
	Parts      []Explanation `json:"parts,omitempty"`
}

// NewExplanation puts x into the words of lang.
func NewExplanation(x policy.Explanation, lang string) Explanation {
	e := Explanation{Subject: x.Subject, Tag: x.Tag.Class.String(), Category: string(x.Category), Rule: x.Rule, Reason: x.Reason.In(lang),
		Source: x.Source, LegalBasis: x.LegalBasis.In(lang), Retention: x.Retention.String(), VSS: x.VSS, DPV: x.DPV, Policy: x.Policy}
	for _, part := range x.Parts {
		e.Parts = append(e.Parts, NewExplanation(part, lang))
	}
	return e
}

// Explanation writes why something is technical or personal.
func (t *Text) Explanation(x policy.Explanation) error {
	w := t.words
	t.Line("%s", t.head.Render(x.Subject+": "+w.T("tag."+x.Tag.Class.String())))
	rows := [][]string{
		{w.T("explain.category"), t.Category(string(x.Category))},
		{w.T("explain.rule"), nonEmpty(x.Rule, w.T("explain.no-rule"))},
		{w.T("explain.source"), nonEmpty(x.Source, "-")},
		{w.T("explain.basis"), nonEmpty(x.LegalBasis.In(w.Lang()), "-")},
		{w.T("explain.retention"), t.Retention(x.Retention)},
	}
	if len(x.VSS) > 0 {
		rows = append(rows, []string{w.T("explain.vss"), strings.Join(x.VSS, ", ")})
	}
	if len(x.DPV) > 0 {
		rows = append(rows, []string{w.T("explain.dpv"), strings.Join(x.DPV, ", ")})
	}
	t.Rows(append(rows, []string{w.T("explain.policy"), x.Policy}))
	t.Line("  %s", x.Reason.In(w.Lang()))
	for _, part := range x.Parts {
		t.Line("")
		if err := t.Explanation(part); err != nil {
			return err
		}
	}
	return t.err
}

// Retention says how long something is kept.
func (t *Text) Retention(r policy.Retention) string {
	switch {
	case r.Keep == policy.KeepDays:
		return t.words.T("keep.days", r.Days)
	case r.Keep == policy.KeepVisit && r.PinnedDays > 0:
		return t.words.T("keep.visit-pinned", r.PinnedDays)
	}
	return t.words.T("keep." + r.Keep.String())
}

// PolicyDocument is `obdgate policy show --json`.
type PolicyDocument struct {
	Version      string           `json:"version"`
	Hash         string           `json:"hash"`
	Vocabularies Vocabularies     `json:"vocabularies"`
	Categories   []PolicyCategory `json:"categories"`
	Rules        []PolicyRule     `json:"rules"`
}

// Vocabularies are the releases whose names the policy uses.
type Vocabularies struct {
	VSS string `json:"vss"`
	DPV string `json:"dpv"`
}

// PolicyCategory is one kind of data.
type PolicyCategory struct {
	Category   string   `json:"category"`
	Tag        string   `json:"tag"`
	Name       string   `json:"name"`
	LegalBasis string   `json:"legal_basis"`
	Retention  string   `json:"retention"`
	Source     string   `json:"source"`
	DPV        []string `json:"dpv"`
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
	d.Vocabularies.VSS, d.Vocabularies.DPV = p.Vocabularies()
	for _, c := range p.Categories() {
		d.Categories = append(d.Categories, PolicyCategory{Category: string(c.Key), Tag: c.Class.String(), Name: c.Name.In(lang), LegalBasis: c.LegalBasis.In(lang),
			Retention: c.Retention.String(), Source: c.Source, DPV: c.DPV})
	}
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
	t.Line("  VSS %s, DPV %s\n", d.Vocabularies.VSS, d.Vocabularies.DPV)
	all := p.Categories()
	t.Rows(rowsOf(all, func(i int) []string {
		c := all[i]
		return []string{string(c.Key), t.words.T("tag." + c.Class.String()), t.Retention(c.Retention), strings.Join(c.DPV, ", ")}
	}))
	for _, r := range d.Rules {
		t.Line("\n%s  %s, %s", t.head.Render(r.ID), t.words.T("tag."+r.Tag), t.Category(r.Category))
		t.Line("  %s", strings.Join(r.Match, ", "))
		t.Line("  %s", r.Reason)
	}
	return t.err
}

// Difference is `obdgate policy diff --json`.
type Difference struct {
	From    string         `json:"from"`
	To      string         `json:"to"`
	Weaker  bool           `json:"weaker"` // something is protected less
	Changes []PolicyChange `json:"changes"`
}

// PolicyChange is one pattern of keys, or one category, that is treated otherwise.
type PolicyChange struct {
	Keys      string       `json:"keys,omitempty"`     // "" = the category's own retention
	Category  string       `json:"category,omitempty"` // with keys ""
	From      PolicyAspect `json:"from"`
	To        PolicyAspect `json:"to"`
	Direction string       `json:"direction"` // weaker, stronger, opened (named technical where no rule named it), sideways
}

// PolicyAspect is how keys are treated.
type PolicyAspect struct {
	Tag       string `json:"tag"`
	Category  string `json:"category"`
	Retention string `json:"retention"`
	Rule      string `json:"rule,omitempty"`
}

// NewDifference puts d into a document.
func NewDifference(d *policy.Difference) Difference {
	out := Difference{From: d.From, To: d.To, Weaker: d.Weaker(), Changes: []PolicyChange{}}
	aspect := func(t policy.Tag, r policy.Retention) PolicyAspect {
		c := t.Category
		if c == "" {
			c = policy.NoCategory
		}
		return PolicyAspect{Tag: t.Class.String(), Category: string(c), Retention: r.String(), Rule: t.Rule}
	}
	for _, c := range d.Changes {
		x := PolicyChange{Keys: c.Keys, From: aspect(c.From, c.Kept[0]), To: aspect(c.To, c.Kept[1]), Direction: c.Direction.String()}
		if c.Keys == "" {
			x.Category = x.From.Category
		}
		out.Changes = append(out.Changes, x)
	}
	return out
}

// Difference writes what changes from one policy to the other.
func (t *Text) Difference(d Difference) error {
	t.Line("%s", t.head.Render(t.words.T("policy.diff", d.From, d.To)))
	if len(d.Changes) == 0 {
		t.Line("  %s", t.words.T("policy.same"))
	}
	t.Rows(rowsOf(d.Changes, func(i int) []string {
		c := d.Changes[i]
		show := func(a PolicyAspect) string {
			if c.Keys == "" {
				return a.Retention
			}
			return t.words.T("tag."+a.Tag) + ", " + a.Category
		}
		direction := t.words.T("direction." + c.Direction)
		if c.Direction == "weaker" {
			direction = t.bad.Render(direction)
		}
		return []string{nonEmpty(c.Keys, c.Category), show(c.From), "→ " + show(c.To), direction, c.To.Rule}
	}))
	return t.err
}
