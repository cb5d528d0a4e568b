package policy

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"obdgate/dbc"
	"obdgate/internal/reading"
)

// The rules are written in policy.yaml. What is built in is the same document as policy.json, which is read ten times as
// fast at each start of the program (go test -run TestPolicyJSON -update writes it).
//
//go:embed policy.json
var embedded []byte

// Policy is a compiled set of rules. It is immutable and safe for concurrent use.
type Policy struct {
	version    string
	hash       func() string
	categories map[Category]CategoryInfo
	rules      []*rule
	entries    []*entry // one per expanded pattern, in file order
	root       *tree
	db         *dbc.Database // With; nil = none
	signals    map[reading.Key]Tag
	names      vocabularies
	paths      map[string][]reading.Key // VSS path to keys
	vss        map[reading.Key][]string // and back
	bytes      func() *layout
}

// CategoryInfo is what the policy says about one category.
type CategoryInfo struct {
	Key        Category
	Class      Class
	Name       Text
	DPV        []string // terms of the W3C Data Privacy Vocabulary
	LegalBasis Text
	Retention  Retention
	Source     string // the statement that promises it
}

var embeddedDocument = sync.OnceValues(builtIn)

func builtIn() (*document, error) {
	var d document
	if err := json.Unmarshal(embedded, &d); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return &d, d.check()
}

var embeddedPolicy = sync.OnceValues(func() (*Policy, error) {
	d, err := embeddedDocument()
	if err != nil {
		return nil, err
	}
	return compile(d)
})

// Default returns the embedded policy. The error is a fault of the build.
func Default() (*Policy, error) { return embeddedPolicy() }

// Load returns the embedded policy with a workshop's own file over it. The overlay may add rules for keys the embedded
// policy does not name, make others stricter and shorten retention. A rule that would make anything weaker is
// ErrWeaker, a rule that contradicts an embedded one without being more specific is ErrContradiction; the error names
// both rules of every such place. A nil overlay gives Default.
func Load(overlay io.Reader) (*Policy, error) {
	if overlay == nil {
		return Default()
	}
	base, site, err := read(overlay)
	if err != nil {
		return nil, err
	}
	merged, err := merge(base, site, true)
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	return compile(merged)
}

// read parses an overlay and gives the built-in document with it.
func read(overlay io.Reader) (base, site *document, err error) {
	b, err := io.ReadAll(io.LimitReader(overlay, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("policy: reading the overlay: %w", err)
	}
	if base, err = embeddedDocument(); err != nil {
		return nil, nil, err
	}
	if site, err = parse(b); err != nil {
		return nil, nil, fmt.Errorf("overlay: %w", err)
	}
	return base, site, nil
}

func compile(d *document) (*Policy, error) {
	p := &Policy{version: d.Version, categories: map[Category]CategoryInfo{}, rules: d.Rules, root: &tree{}}
	for k, c := range d.Categories {
		info, err := c.compile(k)
		if err != nil {
			return nil, fmt.Errorf("policy: category %q: %w", k, err)
		}
		p.categories[k] = info
	}
	if c, ok := p.categories[NoCategory]; !ok || c.Class != Personal {
		return nil, fmt.Errorf("policy: there must be a category %q, tagged personal", NoCategory)
	}
	for _, r := range d.Rules {
		info, ok := p.categories[r.Category]
		if !ok {
			return nil, fmt.Errorf("policy: rule %q: there is no category %q", r.ID, r.Category)
		}
		tag := Tag{Class: info.Class, Category: info.Key, Rule: r.ID}
		for _, line := range r.Match {
			pats, err := parsePatterns(line)
			if err != nil {
				return nil, fmt.Errorf("policy: rule %q: %w", r.ID, err)
			}
			for _, pat := range pats {
				e := &entry{tag, r, pat}
				if old := p.root.add(pat, e); old != nil && old.rule.site == r.site {
					return nil, fmt.Errorf("policy: %w: rules %q and %q both name %s", ErrContradiction, old.rule.ID, r.ID, pat.text)
				}
				p.entries = append(p.entries, e)
			}
		}
	}
	if err := p.compileVSS(d); err != nil {
		return nil, err
	}
	p.hash = sync.OnceValue(func() string { return canonical(d) })
	p.bytes = sync.OnceValue(func() *layout { return newLayout(p) })
	return p, nil
}

// layout is the policy compiled for bytes; it is made when first needed.
func (p *Policy) layout() *layout { return p.bytes() }

func (c *category) compile(k Category) (CategoryInfo, error) {
	if c == nil {
		return CategoryInfo{}, fmt.Errorf("it is empty")
	}
	info := CategoryInfo{Key: k, Name: c.Name, DPV: c.DPV, LegalBasis: c.Basis, Source: c.Source}
	for _, term := range c.DPV {
		if !isDPV(term) {
			return CategoryInfo{}, fmt.Errorf("dpv term %q; write dpv:Term or pd:Term", term)
		}
	}
	switch c.Tag {
	case "technical":
		info.Class = Technical
	case "personal":
		info.Class = Personal
	default:
		return CategoryInfo{}, fmt.Errorf("tag is %q; it must be technical or personal", c.Tag)
	}
	r, err := c.Retention.compile()
	if err != nil {
		return CategoryInfo{}, err
	}
	info.Retention = r
	if c.Basis == (Text{}) || c.Source == "" || c.Name.String() == "" {
		return CategoryInfo{}, fmt.Errorf("name, basis and source must be given")
	}
	return info, nil
}

// canonical hashes what the file means: rule order, comments and the way of writing do not count.
func canonical(d *document) string {
	c := *d
	c.Rules = slices.Clone(d.Rules)
	for i, r := range c.Rules {
		r := *r
		r.Match = slices.Clone(r.Match)
		slices.Sort(r.Match)
		c.Rules[i] = &r
	}
	slices.SortFunc(c.Rules, func(a, b *rule) int { return strings.Compare(a.ID, b.ID) })
	b, err := json.Marshal(&c) // map keys come out sorted
	if err != nil {            // it was read from text a moment ago
		panic("policy: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Version is the version written in the file and the first eight digits of the hash: "2026-11+1a2b3c4d". A site overlay
// shows as "2026-11/site-version+…".
func (p *Policy) Version() string { return p.version + "+" + p.hash()[:8] }

// Hash is the SHA-256 of the policy's canonical content in hex.
func (p *Policy) Hash() string { return p.hash() }

// TagKey returns the decision for a key. It does not allocate.
func (p *Policy) TagKey(k reading.Key) Tag {
	if p.signals != nil {
		if t, ok := p.signals[k]; ok {
			return t
		}
	}
	if e := p.root.find(string(k), true); e != nil {
		return e.tag
	}
	return Tag{}
}

// Tag decides on a reading. A value that names the vehicle (reading.Identity) is technical only as vehicle-identity:
// under any other key it is treated as unclassified.
func (p *Policy) Tag(r reading.Reading) Tagged {
	t := p.TagKey(r.Key)
	if _, id := r.Value.(reading.Identity); id && t.Category != VehicleIdentity {
		t = Tag{}
	}
	return Tagged{r, t}
}

// Categories returns all categories, technical first, then by name.
func (p *Policy) Categories() []CategoryInfo {
	return slices.SortedFunc(maps.Values(p.categories), func(a, b CategoryInfo) int {
		if a.Class != b.Class {
			return int(b.Class) - int(a.Class)
		}
		return strings.Compare(string(a.Key), string(b.Key))
	})
}

// Category returns what the policy says about c; "" and unknown categories are "unclassified".
func (p *Policy) Category(c Category) CategoryInfo {
	if info, ok := p.categories[c]; ok {
		return info
	}
	return p.categories[NoCategory]
}

// Retention returns how long values of c may be kept; unknown categories as long as unclassified ones.
func (p *Policy) Retention(c Category) Retention { return p.Category(c).Retention }

// Rule is one rule as people read it.
type Rule struct {
	ID       string
	Match    []string // as written
	Category Category
	Reason   Text
	Source   string
	Site     bool // from the workshop's own file
}

// Rules returns the rules in force in the order of the file, the workshop's own last.
func (p *Policy) Rules() []Rule {
	out := make([]Rule, 0, len(p.rules))
	for _, r := range p.rules {
		out = append(out, Rule{r.ID, slices.Clone(r.Match), r.Category, r.Reason, p.source(r), r.site})
	}
	return out
}

func (p *Policy) source(r *rule) string {
	if r.Source != "" {
		return r.Source
	}
	return p.Category(r.Category).Source
}
