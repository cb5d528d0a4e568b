package policy

import (
	"fmt"
	"strings"
)

// Finding is one thing wrong with a policy.
type Finding struct {
	Kind string // "contradictory", "unreachable", "untranslated", "unclassified"
	Rule string // id of the rule, "" when it concerns none
	What string // one sentence
}

func (f Finding) String() string {
	if f.Rule == "" {
		return f.Kind + ": " + f.What
	}
	return f.Kind + ": rule " + f.Rule + ": " + f.What
}

// widths says how many upper-case hexadecimal digits the parts of a key have after its beginning (reading.Key). Words in
// lower case (obd.dtc.stored, uds.19.04.status) may stand in their place.
var widths = map[string][]int{
	"obd": {2, 2}, "uds": {2}, "uds.22": {4}, "uds.19": {2, 4}, "diag": nil, "diag.request": {2},
	"kwp": {2, 2}, "obfcm": nil, "odometer": nil, "maker": nil, "dbc": nil, "vin": nil, "customer": nil, "workshop": nil,
}

// Lint checks the policy against itself and against what can be read: keys of the tables that no rule names, rules that
// overlap and disagree without one being more specific, patterns no key can match, reasons missing in a language. An overlay
// weaker than the built-in policy does not get this far: Load refuses it.
func (p *Policy) Lint() []Finding {
	var out []Finding
	for k := range TableKeys {
		if p.tagOf(k).Rule == "" {
			out = append(out, Finding{"unclassified", "", "no rule names " + k})
		}
	}
	for i, e := range p.entries {
		if why := unreachable(e.pat); why != "" {
			out = append(out, Finding{"unreachable", e.rule.ID, why})
		}
		for _, o := range p.entries[:i] {
			if e.tag.Category != o.tag.Category && e.pat.crosses(o.pat) {
				out = append(out, Finding{"contradictory", e.rule.ID,
					fmt.Sprintf("%s overlaps %s of rule %s, and neither is more specific", e.pat.text, o.pat.text, o.rule.ID)})
			}
		}
	}
	for _, c := range p.Categories() {
		for _, lang := range [...]string{"nl", "de", "fr"} {
			if c.LegalBasis.In(lang) == c.LegalBasis.EN && p.builtIn(c.Key) {
				out = append(out, Finding{"untranslated", "", fmt.Sprintf("category %s has no legal basis in %s", c.Key, lang)})
			}
		}
	}
	for _, r := range p.rules {
		for _, l := range [...]struct{ lang, text string }{{"en", r.Reason.EN}, {"nl", r.Reason.NL}, {"de", r.Reason.DE}, {"fr", r.Reason.FR}} {
			if l.text == "" && !r.site {
				out = append(out, Finding{"untranslated", r.ID, "no reason in " + l.lang})
			}
		}
	}
	return out
}

// unreachable says why no key of the grammar (reading.Key) can match, "" when one can.
func unreachable(p pattern) string {
	w, known := widths[p.parts[0].text]
	if !known {
		return fmt.Sprintf("no key begins with %q (in %s)", p.parts[0].text, p.text)
	}
	for i, s := range p.parts[1:] {
		if i == 1 {
			if deeper := widths[p.parts[0].text+"."+p.parts[1].text]; deeper != nil {
				w = append([]int{2}, deeper...)
			}
		}
		if i >= len(w) || isWord(s.text) {
			continue
		}
		if s.text != "" && !isHex(s.text) || s.open && len(s.text) >= w[i] || !s.open && len(s.text) != w[i] {
			return fmt.Sprintf("%q in %s: keys write numbers as %d upper-case hexadecimal digits", s.text, p.text, w[i])
		}
	}
	return ""
}

// isWord reports a lower-case word such as dtc, status, stored.
func isWord(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_-") == ""
}

// builtIn reports whether the built-in policy has the category and says the same of its legal basis.
func (p *Policy) builtIn(k Category) bool {
	d, err := embeddedDocument()
	return err == nil && d.Categories[k] != nil && d.Categories[k].Basis == p.categories[k].LegalBasis
}
