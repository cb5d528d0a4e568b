package policy

import (
	"slices"
	"strings"
)

// tree finds the most specific pattern of a key without allocating. It is read-only once built.
type tree struct {
	exact map[string]*tree
	open  []openEdge // longest beginning first; * is the empty one, last
	end   *entry     // a key may end here
	deep  *entry     // everything at and below this place
}

type openEdge struct {
	begin string
	to    *tree
}

// entry is the decision at a leaf.
type entry struct {
	tag  Tag
	rule *rule
	pat  pattern
}

// add puts e at p. It returns the entry that was there, which it replaces.
func (t *tree) add(p pattern, e *entry) (old *entry) {
	for _, s := range p.parts {
		t = t.child(s)
	}
	at := &t.end
	if p.deep {
		at = &t.deep
	}
	old, *at = *at, e
	return old
}

func (t *tree) child(p part) *tree {
	if !p.open {
		if t.exact == nil {
			t.exact = map[string]*tree{}
		}
		if t.exact[p.text] == nil {
			t.exact[p.text] = &tree{}
		}
		return t.exact[p.text]
	}
	i, found := slices.BinarySearchFunc(t.open, p.text, func(e openEdge, s string) int {
		if c := len(s) - len(e.begin); c != 0 {
			return c
		}
		return strings.Compare(e.begin, s)
	})
	if !found {
		t.open = slices.Insert(t.open, i, openEdge{p.text, &tree{}})
	}
	return t.open[i].to
}

// find returns the decision for the rest of a key; more is false when the key has ended.
func (t *tree) find(rest string, more bool) *entry {
	if !more {
		if t.end != nil {
			return t.end
		}
		return t.deep
	}
	head, tail, more := strings.Cut(rest, ".")
	if c := t.exact[head]; c != nil {
		if e := c.find(tail, more); e != nil {
			return e
		}
	}
	for i := range t.open {
		if strings.HasPrefix(head, t.open[i].begin) {
			if e := t.open[i].to.find(tail, more); e != nil {
				return e
			}
		}
	}
	return t.deep
}
