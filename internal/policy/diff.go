package policy

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Direction says what a change does to the people behind the data.
type Direction uint8

const (
	Sideways Direction = iota // neither: another technical category
	Stronger                  // protects more
	Opened                    // what no rule named, and so was personal, is named technical
	Weaker                    // protects less: Load refuses an overlay that does this to the built-in policy
)

func (d Direction) String() string { return [...]string{"sideways", "stronger", "opened", "weaker"}[d] }

// Change is one difference between two policies.
type Change struct {
	Keys      string // pattern of the keys it concerns; "" = the category itself
	From, To  Tag
	Kept      [2]Retention
	Direction Direction
}

// Difference is what Diff found.
type Difference struct {
	From, To string // versions
	Changes  []Change
}

// Weaker reports whether anything a rule named is protected less.
func (d *Difference) Weaker() bool {
	return slices.ContainsFunc(d.Changes, func(c Change) bool { return c.Direction == Weaker })
}

// Diff compares two policies, each the built-in one (nil) or the built-in one with an overlay: which keys change tag or
// category, which categories change retention. It also compares overlays that Load refuses because they are weaker or
// contradictory; what it reads can be used for nothing else. The answer is complete: every key whose decision differs is
// matched by the pattern of a change.
func Diff(from, to io.Reader) (*Difference, error) {
	a, err := unchecked(from)
	if err != nil {
		return nil, err
	}
	b, err := unchecked(to)
	if err != nil {
		return nil, err
	}
	d := &Difference{From: a.Version(), To: b.Version()}
	for _, k := range slices.Sorted(categoriesOf(a, b)) {
		was, is := a.Category(k), b.Category(k)
		if was.Key != is.Key || was.Retention == is.Retention && was.Class == is.Class {
			continue
		}
		d.Changes = append(d.Changes, change("", Tag{was.Class, k, ""}, Tag{is.Class, k, ""}, was, is))
	}
	d.compareKeys(a, b)
	return d, nil
}

// unchecked reads a policy without asking whether it is weaker than the built-in one.
func unchecked(overlay io.Reader) (*Policy, error) {
	if overlay == nil {
		return Default()
	}
	base, site, err := read(overlay)
	if err != nil {
		return nil, err
	}
	merged, err := merge(base, site, false)
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	return compile(merged)
}

func categoriesOf(a, b *Policy) func(func(Category) bool) {
	return func(yield func(Category) bool) {
		for k := range a.categories {
			if !yield(k) {
				return
			}
		}
		for k := range b.categories {
			if _, both := a.categories[k]; !both && !yield(k) {
				return
			}
		}
	}
}

func change(keys string, from, to Tag, was, is CategoryInfo) Change {
	c := Change{Keys: keys, From: from, To: to, Kept: [2]Retention{was.Retention, is.Retention}}
	switch {
	case keys != "" && from.Rule == "" && is.Class == Technical:
		c.Direction = Opened
	case weaker(is, was):
		c.Direction = Weaker
	case weaker(was, is):
		c.Direction = Stronger
	}
	return c
}

// compareKeys asks both policies about one key of every region in which their decisions are constant. A region that may
// differ lies inside a pattern only one of them has, cut with at most one pattern of the other.
func (d *Difference) compareKeys(a, b *Policy) {
	type place struct{ text, key string }
	has := func(p *Policy) map[string]Category {
		m := map[string]Category{}
		for _, e := range p.entries {
			m[e.pat.text] = e.tag.Category // a site rule replaces the built-in one of the same pattern
		}
		return m
	}
	inA, inB := has(a), has(b)
	var asked []place
	probe := func(text string, p pattern) {
		for _, k := range p.witnesses() {
			asked = append(asked, place{text, k})
		}
	}
	all := slices.Concat(a.entries, b.entries)
	for _, e := range all {
		ca, okA := inA[e.pat.text]
		cb, okB := inB[e.pat.text]
		if okA && okB && ca == cb {
			continue
		}
		probe(e.pat.text, e.pat)
		for _, o := range all {
			if cut, ok := e.pat.meet(o.pat); ok {
				probe(cut.text, cut)
			}
		}
	}
	seen := map[string]bool{}
	for _, q := range asked {
		from, to := a.tagOf(q.key), b.tagOf(q.key)
		was, is := a.Category(from.Category), b.Category(to.Category)
		if was.Key == is.Key && was.Class == is.Class {
			continue
		}
		id := q.text + "|" + string(was.Key) + "|" + string(is.Key)
		if seen[id] {
			continue
		}
		seen[id] = true
		d.Changes = append(d.Changes, change(q.text, from, to, was, is))
	}
	slices.SortStableFunc(d.Changes, func(x, y Change) int { return strings.Compare(x.Keys, y.Keys) })
}

// tagOf is the rules' decision alone, without a broadcast database.
func (p *Policy) tagOf(key string) Tag {
	if e := p.root.find(key, true); e != nil {
		return e.tag
	}
	return Tag{}
}

// filler is a character no key and no exact part of a pattern has: it stands for "anything else".
const filler = "~"

// witnesses are keys that p matches and that no more specific pattern matches by its open or exact parts.
func (p pattern) witnesses() []string {
	var parts []string
	for _, s := range p.parts {
		if s.open {
			parts = append(parts, s.text+filler)
		} else {
			parts = append(parts, s.text)
		}
	}
	k := strings.Join(parts, ".")
	if p.deep {
		return []string{k, k + "." + filler}
	}
	return []string{k}
}

// meet is the pattern of the keys that both match.
func (p pattern) meet(q pattern) (pattern, bool) {
	if !p.meets(q) {
		return pattern{}, false
	}
	if len(p.parts) < len(q.parts) || len(p.parts) == len(q.parts) && p.deep {
		p, q = q, p // p is now as deep as the meeting, and q deep or of its length
	}
	out := pattern{deep: p.deep && q.deep, parts: slices.Clone(p.parts)}
	for i := range min(len(p.parts), len(q.parts)) {
		if q.parts[i].in(p.parts[i]) {
			out.parts[i] = q.parts[i]
		}
	}
	var words []string
	for _, s := range out.parts {
		if s.open {
			words = append(words, s.text+"*")
		} else {
			words = append(words, s.text)
		}
	}
	if out.deep {
		words = append(words, "**")
	}
	out.text = strings.Join(words, ".")
	return out, true
}
