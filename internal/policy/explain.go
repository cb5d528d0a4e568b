package policy

import (
	"errors"
	"fmt"
	"strings"

	"obdgate/internal/reading"
)

// Explanation says why something is technical or personal.
type Explanation struct {
	Subject      string        // what was asked, as it is called: key, message, frame identifier
	Tag          Tag           // the decision
	Category     Category      // never empty
	CategoryName Text          // for people
	Rule         string        // id of the rule; "" = no rule names it
	Reason       Text          // why
	Source       string        // the statement or standard behind it
	DPV          []string      // terms of the W3C Data Privacy Vocabulary for the category
	VSS          []string      // paths of the COVESA Vehicle Signal Specification for a key, "" when there is none
	LegalBasis   Text          // of reading and passing on
	Retention    Retention     // how long it may be kept
	Policy       string        // Policy.Version
	Parts        []Explanation // of a frame or message: its fields in order
}

// ErrNotUnderstood is returned by Explain for a subject that is no key, PID, DID, frame, answer, message or VSS path.
var ErrNotUnderstood = errors.New("policy: not a key, PID, DID, frame, answer, message name or VSS path")

var unnamed = Text{
	EN: "No rule names it. What nobody has examined is treated as personal: it stays in the workshop and is erased with the visit.",
	NL: "Geen regel noemt het. Wat niemand heeft onderzocht geldt als persoonlijk: het blijft in de werkplaats en wordt met het bezoek gewist.",
	DE: "Keine Regel nennt es. Was niemand geprüft hat, gilt als personenbezogen: es bleibt in der Werkstatt und wird mit dem Besuch gelöscht.",
	FR: "Aucune règle ne le nomme. Ce que personne n'a examiné est traité comme personnel: cela reste à l'atelier et est effacé avec la visite.",
}

// Explain says why a subject is technical or personal. It understands a reading key (obd.01.0D), a PID with its service
// (010D, "01 0D"; a bare PID means service 01), a data identifier (F190, 22F190), a frame (7E8#03410D32), an identifier
// (0x3E9, 7E8, 18DAF110), a broadcast message or signal by name (BRAKE_WEAR, BRAKE_WEAR.BrakeFault), the bytes of a control
// unit's answer (410D32, "62 F1 90 57…", which are not repeated) and a path of the Vehicle Signal Specification
// (Vehicle.Speed). Four digits that are both a PID and a DID mean the PID. Anything else is ErrNotUnderstood.
func (p *Policy) Explain(what string) (Explanation, error) {
	what = strings.TrimSpace(what)
	if k, ok := subjectKey(what); ok {
		return p.explainKey(k), nil
	}
	if isVSS(what) {
		return p.explainVSS(what), nil
	}
	if x, ok := p.explainBytes(what); ok {
		return x, nil
	}
	if x, ok := p.explainOther(what); ok {
		return x, nil
	}
	return Explanation{}, fmt.Errorf("%w: %q", ErrNotUnderstood, what)
}

func (p *Policy) explainKey(k reading.Key) Explanation {
	if name, ok := strings.CutPrefix(string(k), "dbc."); ok {
		if x, ok := p.explainOther(name); ok {
			return x
		}
	}
	if e := p.root.find(string(k), true); e != nil {
		x := p.explainTag(string(k), e.tag)
		x.Reason, x.Source, x.VSS = e.rule.Reason, p.source(e.rule), p.VSS(k)
		return x
	}
	x := p.explainTag(string(k), Tag{})
	x.VSS = p.VSS(k)
	return x
}

// explainTag fills what the category says; the reason is that of an unnamed subject until a rule gives a better one.
func (p *Policy) explainTag(subject string, t Tag) Explanation {
	info := p.Category(t.Category)
	return Explanation{
		Subject: subject, Tag: t, Category: info.Key, CategoryName: info.Name, Rule: t.Rule, Reason: unnamed, Source: info.Source,
		DPV: info.DPV, LegalBasis: info.LegalBasis, Retention: info.Retention, Policy: p.Version(),
	}
}

// subjectKey reads the forms in which people write a key.
func subjectKey(what string) (reading.Key, bool) {
	if strings.HasPrefix(what, "0x") || strings.HasPrefix(what, "0X") {
		return "", false
	}
	if root, _, _ := strings.Cut(what, "."); isRoot(root) {
		if strings.IndexFunc(strings.ReplaceAll(what, ".", ""), notKeyRune) < 0 && !strings.Contains(what+".", "..") {
			return reading.Key(what), true
		}
		return "", false
	}
	h := strings.ToUpper(strings.ReplaceAll(what, " ", ""))
	if !isHex(h) {
		return "", false
	}
	switch {
	case len(h) == 2:
		return reading.Key("obd.01." + h), true
	case len(h) == 4 && strings.HasPrefix(h, "0") && strings.Contains("01 02 06 09", h[:2]):
		return reading.Key("obd." + h[:2] + "." + h[2:]), true
	case len(h) == 4:
		return reading.Key("uds.22." + h), true
	case len(h) == 6 && h[:2] == "22":
		return reading.Key("uds.22." + h[2:]), true
	}
	return "", false
}

func isRoot(s string) bool { _, ok := widths[s]; return ok }
