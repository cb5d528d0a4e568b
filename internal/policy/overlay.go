package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Errors of Load and findings of Lint.
var (
	ErrWeaker        = errors.New("weaker than the built-in policy")
	ErrContradiction = errors.New("contradictory rules")
)

// merge lays site over the built-in document, which it does not change. Unless it is told to check, it also makes what is
// weaker or contradictory, for comparing only.
func merge(builtIn, site *document, check bool) (*document, error) {
	ref, err := Default()
	if err != nil {
		return nil, err
	}
	base := &document{Version: builtIn.Version, Categories: maps.Clone(builtIn.Categories), Rules: slices.Clone(builtIn.Rules),
		Vocabularies: builtIn.Vocabularies, VSS: maps.Clone(builtIn.VSS)}
	var wrong []error
	for _, k := range slices.Sorted(maps.Keys(site.Categories)) {
		if err := mergeCategory(base, ref, k, site.Categories[k], check); errors.Is(err, ErrWeaker) {
			wrong = append(wrong, err)
		} else if err != nil {
			return nil, err
		}
	}
	taken := map[string]bool{}
	for _, r := range base.Rules {
		taken[r.ID] = true
	}
	for _, r := range site.Rules {
		if taken[r.ID] {
			return nil, fmt.Errorf("policy: the built-in policy has a rule %q already; choose another id", r.ID)
		}
		r.site = true
		info, ok := base.Categories[r.Category]
		if !ok {
			return nil, fmt.Errorf("policy: rule %q: there is no category %q", r.ID, r.Category)
		}
		want, err := info.compile(r.Category)
		if err != nil {
			return nil, fmt.Errorf("policy: category %q: %w", r.Category, err)
		}
		for _, line := range r.Match {
			pats, err := parsePatterns(line)
			if err != nil {
				return nil, fmt.Errorf("policy: rule %q: %w", r.ID, err)
			}
			for _, pat := range pats {
				if err := ref.admits(r.ID, pat, want); err != nil && check {
					wrong = append(wrong, err)
				}
			}
		}
		base.Rules = append(base.Rules, r)
	}
	if err := mergeNames(base, site); err != nil {
		return nil, err
	}
	base.Version += "/" + site.Version
	return base, errors.Join(wrong...)
}

// mergeNames adds the site's names for its own keys, of the same releases.
func mergeNames(base, site *document) error {
	for _, v := range [...]struct{ site, base, name string }{
		{site.Vocabularies.VSS, base.Vocabularies.VSS, "vss"}, {site.Vocabularies.DPV, base.Vocabularies.DPV, "dpv"},
	} {
		if v.site != "" && v.site != v.base {
			return fmt.Errorf("policy: vocabularies: the built-in policy names %s %s; a file over it cannot name another release", v.name, v.base)
		}
	}
	for path, keys := range site.VSS {
		base.VSS[path] = append(slices.Clip(base.VSS[path]), keys...)
	}
	return nil
}

func mergeCategory(base *document, ref *Policy, k Category, c *category, check bool) error {
	old, known := base.Categories[k]
	if !known {
		info, err := c.compile(k)
		if err != nil {
			return fmt.Errorf("policy: category %q: %w", k, err)
		}
		if info.Class == Technical && check {
			return fmt.Errorf("policy: category %q: %w: a new category must be personal", k, ErrWeaker)
		}
		base.Categories[k] = c
		return nil
	}
	if c == nil {
		return fmt.Errorf("policy: category %q is empty", k)
	}
	if c.Tag != "" && c.Tag != old.Tag {
		return fmt.Errorf("policy: category %q: its tag is %s and cannot be changed; put the keys into another category", k, old.Tag)
	}
	next := *old
	if c.Retention != (retention{}) {
		r, err := c.Retention.compile()
		if err != nil {
			return fmt.Errorf("policy: category %q: %w", k, err)
		}
		if had := ref.Retention(k); r.longer(had) && check {
			return fmt.Errorf("policy: category %q: %w: it keeps values for %s, the built-in policy for %s", k, ErrWeaker, r, had)
		}
		next.Retention = c.Retention
	}
	if c.Basis != (Text{}) {
		next.Basis = c.Basis
	}
	if c.Source != "" {
		next.Source = c.Source
	}
	if len(c.DPV) > 0 {
		next.DPV = c.DPV
	}
	if c.Name != (Text{}) {
		next.Name = c.Name
	}
	base.Categories[k] = &next
	return nil
}

// openParts is how many leading parts of a pattern an added technical rule must write out, so that no overlay can turn
// a whole service technical in one line: uds.22.F1* is allowed, uds.22.** is not.
const openParts = 3

// admits says whether a site rule for pat in category want may stand beside the built-in rules.
func (p *Policy) admits(id string, pat pattern, want CategoryInfo) error {
	if want.Class == Technical && (len(pat.parts) < openParts || pat.parts[openParts-1].open && len(pat.parts[openParts-1].text) < 2) {
		return fmt.Errorf("policy: rule %q: %w: %s would make too much technical in one line; name the third part", id, ErrWeaker, pat.text)
	}
	for _, e := range p.entries {
		if !pat.meets(e.pat) {
			continue
		}
		had := p.categories[e.tag.Category]
		switch {
		case pat.in(e.pat) && weaker(want, had):
			return fmt.Errorf("policy: rule %q: %w: %s is %s/%s by the built-in rule %q and would become %s/%s",
				id, ErrWeaker, pat.text, had.Class, had.Key, e.rule.ID, want.Class, want.Key)
		case pat.crosses(e.pat) && had.Key != want.Key:
			return fmt.Errorf("policy: rule %q: %w: %s overlaps %s of the built-in rule %q, and neither is more specific; write the keys out",
				id, ErrContradiction, pat.text, e.pat.text, e.rule.ID)
		}
	}
	return nil
}

// weaker reports whether being in category a protects less than being in b: personal protects most, consumption can be
// refused, and a longer retention protects less.
func weaker(a, b CategoryInfo) bool {
	rank := func(c CategoryInfo) int {
		switch {
		case c.Class != Technical:
			return 2
		case c.Key == Consumption, c.Key == WorkshopRecord:
			return 1
		}
		return 0
	}
	if rank(a) != rank(b) {
		return rank(a) < rank(b)
	}
	return rank(a) == 1 && a.Key != b.Key || a.Retention.longer(b.Retention)
}
