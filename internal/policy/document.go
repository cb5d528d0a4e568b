package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// document is the policy file as written (policy.yaml explains it to its reader).
type document struct {
	Version    string                 `yaml:"version" json:"version"`
	Categories map[Category]*category `yaml:"categories" json:"categories"`
	Rules      []*rule                `yaml:"rules" json:"rules"`

	Vocabularies vocabularies        `yaml:"vocabularies" json:"vocabularies"`
	VSS          map[string][]string `yaml:"vss" json:"vss,omitempty"` // path to keys
}

// vocabularies are the releases whose names the file uses.
type vocabularies struct {
	VSS string `yaml:"vss" json:"vss,omitempty"`
	DPV string `yaml:"dpv" json:"dpv,omitempty"`
}

type category struct {
	Tag       string    `yaml:"tag" json:"tag"`
	Name      Text      `yaml:"name" json:"name"`
	DPV       []string  `yaml:"dpv" json:"dpv,omitempty"`
	Basis     Text      `yaml:"basis" json:"basis"`
	Retention retention `yaml:"retention" json:"retention"`
	Source    string    `yaml:"source" json:"source"`
}

type retention struct {
	Keep       string `yaml:"keep" json:"keep"`
	Days       int    `yaml:"days" json:"days,omitempty"`
	PinnedDays int    `yaml:"pinned-days" json:"pinned_days,omitempty"`
}

type rule struct {
	ID       string   `yaml:"id" json:"id"`
	Match    []string `yaml:"match" json:"match"`
	Category Category `yaml:"category" json:"category"`
	Reason   Text     `yaml:"reason" json:"reason"`
	Source   string   `yaml:"source" json:"source,omitempty"`

	site bool // came from the workshop's own file
}

// Text is one sentence in the languages of the people who read it.
type Text struct {
	EN string `yaml:"en" json:"en"`
	NL string `yaml:"nl" json:"nl,omitempty"`
	DE string `yaml:"de" json:"de,omitempty"`
	FR string `yaml:"fr" json:"fr,omitempty"`
}

// In returns the sentence in lang ("nl", "de", "fr", "en"), else in English, else in any language that has one.
func (t Text) In(lang string) string {
	s := ""
	switch lang {
	case "nl":
		s = t.NL
	case "de":
		s = t.DE
	case "fr":
		s = t.FR
	}
	for _, other := range [...]string{t.EN, t.NL, t.DE, t.FR} {
		if s == "" {
			s = other
		}
	}
	return s
}

// String is the English text.
func (t Text) String() string { return t.In("en") }

// maxFile bounds a policy file; the embedded one is some 40 kB.
const maxFile = 1 << 20

// maxVersion bounds a file's version, which goes out with every envelope.
const maxVersion = 24

// parse reads a policy file strictly: unknown fields are errors, and errors say line and column.
func parse(b []byte) (*document, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("policy: the file has more than %d bytes", maxFile)
	}
	var d document
	if err := unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	return &d, nil
}

// check looks at what does not depend on other files.
func (d *document) check() error {
	switch {
	case d.Version == "":
		return fmt.Errorf("policy: the file has no version")
	case len(d.Version) > maxVersion || strings.IndexFunc(d.Version, func(r rune) bool { return r != '.' && notKeyRune(r) }) >= 0:
		return fmt.Errorf("policy: version %.40q: write at most %d letters, digits, dots, - and _: it stands in every envelope and in the log", d.Version, maxVersion)
	}
	ids := map[string]bool{}
	for i, r := range d.Rules {
		switch {
		case r == nil || r.ID == "":
			return fmt.Errorf("policy: rule %d has no id", i+1)
		case ids[r.ID]:
			return fmt.Errorf("policy: two rules are called %q", r.ID)
		case len(r.Match) == 0:
			return fmt.Errorf("policy: rule %q matches nothing; give it match lines", r.ID)
		case r.Category == "":
			return fmt.Errorf("policy: rule %q has no category", r.ID)
		case r.Reason.String() == "":
			return fmt.Errorf("policy: rule %q has no reason; a decision without one cannot be explained", r.ID)
		}
		ids[r.ID] = true
	}
	return nil
}

// unmarshal decodes strictly. The YAML library panics on some malformed files (a tag without a value before a list);
// that is a fault of the file.
func unmarshal(b []byte, d *document) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the file is not well-formed YAML")
		}
	}()
	return yaml.UnmarshalWithOptions(b, d, yaml.Strict())
}

// Keep says how long a category's values may be stored.
type Keep uint8

const (
	KeepNever       Keep = iota // not stored at all
	KeepVisit                   // not beyond the visit; PinnedDays for values a technician pinned to a repair
	KeepDays                    // Days after the visit was closed
	KeepVehicleLife             // until the end of the vehicle's life
)

var keepNames = [...]string{"never", "visit", "days", "vehicle-life"}

func (k Keep) String() string { return keepNames[min(int(k), len(keepNames)-1)] }

// Retention is how long the values of a category are kept. The zero value is "never".
type Retention struct {
	Keep       Keep
	Days       int // with KeepDays: days after the visit was closed
	PinnedDays int // with KeepVisit: days a value pinned to a repair may stay; 0 = pinning is not allowed
}

// String is "never", "visit", "visit (pinned: 28 days)", "28 days", "vehicle-life".
func (r Retention) String() string {
	switch {
	case r.Keep == KeepDays:
		return fmt.Sprintf("%d days", r.Days)
	case r.Keep == KeepVisit && r.PinnedDays > 0:
		return fmt.Sprintf("visit (pinned: %d days)", r.PinnedDays)
	}
	return r.Keep.String()
}

// longer reports whether r lets a value live longer than o in any case.
func (r Retention) longer(o Retention) bool {
	days := func(r Retention) (normal, pinned int) {
		switch r.Keep {
		case KeepVehicleLife:
			return 1 << 30, 1 << 30
		case KeepDays:
			return r.Days + 1, r.Days + 1
		case KeepVisit:
			return 1, 1 + r.PinnedDays
		}
		return 0, 0
	}
	n, p := days(r)
	on, op := days(o)
	return n > on || p > op
}

func (r retention) compile() (Retention, error) {
	for k, n := range keepNames {
		if n != r.Keep {
			continue
		}
		out := Retention{Keep: Keep(k), Days: r.Days, PinnedDays: r.PinnedDays}
		if (out.Keep == KeepDays) != (r.Days > 0) || r.Days < 0 {
			return Retention{}, fmt.Errorf("retention: days belongs to keep: days, and is at least 1")
		}
		if out.Keep != KeepVisit && r.PinnedDays != 0 || r.PinnedDays < 0 {
			return Retention{}, fmt.Errorf("retention: pinned-days belongs to keep: visit")
		}
		return out, nil
	}
	return Retention{}, fmt.Errorf("retention: keep is %q; it must be never, visit, days or vehicle-life", r.Keep)
}
