package policy

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"obdgate/internal/reading"
)

// Vocabularies returns the releases of the Vehicle Signal Specification (COVESA) and of the Data Privacy Vocabulary (W3C)
// that the policy's names are taken from.
func (p *Policy) Vocabularies() (vss, dpv string) { return p.names.VSS, p.names.DPV }

// VSS returns the paths of the Vehicle Signal Specification that stand for the quantity of a key, nil when there is none.
// The slice is the policy's: do not change it.
func (p *Policy) VSS(k reading.Key) []string { return p.vss[k] }

// Keys returns the keys that hold the quantity of a path, in the order of the file, nil when there is none.
func (p *Policy) Keys(path string) []reading.Key { return slices.Clone(p.paths[path]) }

// Paths returns every path of the Vehicle Signal Specification that the policy names, sorted.
func (p *Policy) Paths() []string {
	out := make([]string, 0, len(p.paths))
	for path := range p.paths {
		out = append(out, path)
	}
	slices.Sort(out)
	return out
}

func (p *Policy) compileVSS(d *document) error {
	p.names, p.paths, p.vss = d.Vocabularies, make(map[string][]reading.Key, len(d.VSS)), make(map[reading.Key][]string, 4*len(d.VSS))
	for path, keys := range d.VSS {
		if !isVSS(path) {
			return fmt.Errorf("policy: vss path %q: write Vehicle.Branch.Signal", path)
		}
		for _, k := range keys {
			for _, k := range mirrors(k) {
				if !isKey(k) {
					return fmt.Errorf("policy: vss path %s: %q is no key", path, k)
				}
				p.paths[path] = append(p.paths[path], reading.Key(k))
				p.vss[reading.Key(k)] = append(p.vss[reading.Key(k)], path)
			}
		}
	}
	for _, paths := range p.vss {
		slices.Sort(paths)
	}
	return nil
}

// mirrors turns pid.0D… into the four keys under which a PID comes back; any other key stands for itself.
func mirrors(key string) []string {
	rest, ok := strings.CutPrefix(key, "pid.")
	if !ok {
		return []string{key}
	}
	out := make([]string, 0, len(pidPrefix))
	for _, prefix := range pidPrefix {
		out = append(out, prefix+rest)
	}
	return out
}

// isKey reports whether a text has the form of a key under a root this policy knows.
func isKey(k string) bool {
	root, _, _ := strings.Cut(k, ".")
	return isRoot(root) && !strings.Contains(k+".", "..") && strings.IndexFunc(strings.ReplaceAll(k, ".", ""), notKeyRune) < 0
}

// isVSS reports whether a text has the form of a path of the Vehicle Signal Specification.
func isVSS(s string) bool {
	parts := strings.Split(s, ".")
	for _, part := range parts {
		if part == "" || part[0] < 'A' || part[0] > 'Z' || strings.IndexFunc(part, notKeyRune) >= 0 {
			return false
		}
	}
	return len(parts) > 1 && parts[0] == "Vehicle"
}

// isDPV reports whether a text has the form of a term of the Data Privacy Vocabulary or its extension for personal data.
func isDPV(s string) bool {
	space, term, ok := strings.Cut(s, ":")
	return ok && (space == "dpv" || space == "pd") && term != "" && strings.IndexFunc(term, notKeyRune) < 0
}

var (
	byPath = Text{
		EN: "A name of the Vehicle Signal Specification. The keys below hold this quantity; each has its own tag, because a value read live can be personal where the one stored with a fault is not.",
		NL: "Een naam uit de Vehicle Signal Specification. De sleutels hieronder bevatten deze grootheid; elk heeft een eigen label, want een live gelezen waarde kan persoonlijk zijn waar die van een opgeslagen fout dat niet is.",
		DE: "Ein Name der Vehicle Signal Specification. Die Schlüssel darunter enthalten diese Größe; jeder hat seine eigene Einstufung, denn live gelesen kann ein Wert personenbezogen sein, der im Fehlerspeicher es nicht ist.",
		FR: "Un nom de la Vehicle Signal Specification. Les clés ci-dessous portent cette grandeur; chacune a sa propre étiquette, car une valeur lue en direct peut être personnelle là où celle mémorisée avec un défaut ne l'est pas.",
	}
	byAnswer = Text{
		EN: "An answer of a control unit. Each field is judged by itself; the answer as a whole is technical only if every field is.",
		NL: "Een antwoord van een regelapparaat. Elk veld wordt apart beoordeeld; het antwoord is alleen technisch als elk veld dat is.",
		DE: "Eine Antwort eines Steuergeräts. Jedes Feld wird für sich beurteilt; die Antwort ist nur technisch, wenn jedes Feld es ist.",
		FR: "Une réponse d'un calculateur. Chaque champ est jugé séparément; la réponse n'est technique que si chacun l'est.",
	}
)

// explainVSS explains a path by the keys that hold its quantity; one that none holds is as personal as anything unnamed.
func (p *Policy) explainVSS(path string) Explanation {
	q := p
	if p.db == nil {
		if db := p.database(); db != nil {
			q = p.With(db)
		}
	}
	var parts []Explanation
	for _, k := range q.paths[path] {
		parts = append(parts, q.explainKey(k))
	}
	x := p.explainWorst(path, parts)
	if x.VSS = []string{path}; len(parts) > 0 {
		x.Reason = byPath
	}
	return x
}

// explainBytes explains the answer of a control unit, given as hexadecimal digits. The first byte tells it from a frame
// identifier, which is below 20000000, and from a data identifier. What the bytes say is not repeated.
func (p *Policy) explainBytes(what string) (Explanation, bool) {
	msg, err := hex.DecodeString(strings.ReplaceAll(what, " ", ""))
	if err != nil || len(msg) < 3 || msg[0] < 0x41 {
		return Explanation{}, false
	}
	parts := p.explainFields(msg)
	if len(parts) == 0 {
		return Explanation{}, false
	}
	x := p.explainWorst(fmt.Sprintf("%02X…", msg[0]), parts)
	x.Reason = byAnswer
	return x, true
}

// explainWorst is the explanation of a whole by its most telling part.
func (p *Policy) explainWorst(subject string, parts []Explanation) Explanation {
	var worst Tag
	for i, part := range parts {
		if i == 0 || rankOf(part.Tag) > rankOf(worst) {
			worst = part.Tag
		}
	}
	x := p.explainRule(subject, worst)
	x.Parts = parts
	return x
}
