package policy

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"obdgate/dbc"
	"obdgate/internal/frame"
	"obdgate/internal/obd"
	"obdgate/internal/obfcm"
	"obdgate/internal/reading"
	"obdgate/internal/uds"
)

var (
	byContent = Text{
		EN: "A diagnostic identifier: what it carries changes with every message, so each message is judged by its fields.",
		NL: "Een diagnose-identificatie: de inhoud verschilt per bericht, dus elk bericht wordt op zijn velden beoordeeld.",
		DE: "Eine Diagnosekennung: ihr Inhalt wechselt mit jeder Nachricht, daher wird jede nach ihren Feldern beurteilt.",
		FR: "Un identifiant de diagnostic : son contenu change à chaque message, chacun est donc jugé selon ses champs.",
	}
	partOfMore = Text{
		EN: "Part of a longer message. Alone it cannot be judged and is treated as personal; in a recording the whole message decides.",
		NL: "Deel van een langer bericht. Alleen kan het niet worden beoordeeld en geldt het als persoonlijk; in een opname beslist het hele bericht.",
		DE: "Teil einer längeren Nachricht. Allein lässt er sich nicht beurteilen und gilt als personenbezogen; in einer Aufzeichnung entscheidet die ganze Nachricht.",
		FR: "Partie d'un message plus long. Seule, elle ne peut être jugée et vaut comme personnelle; dans un enregistrement, le message entier décide.",
	}
	byAttribute = Text{
		EN: "The broadcast database marks it so, without giving a reason.",
		NL: "De broadcastdatabase merkt het zo aan, zonder reden te geven.",
		DE: "Die Broadcast-Datenbank kennzeichnet es so, ohne einen Grund zu nennen.",
		FR: "La base de données de diffusion le marque ainsi, sans en donner la raison.",
	}
	mixed = Text{
		EN: "A frame is technical only if every field it carries is. The field named here decides; technical values in it keep their own tag.",
		NL: "Een frame is alleen technisch als elk veld erin dat is. Het genoemde veld beslist; technische waarden erin houden hun eigen label.",
		DE: "Ein Frame ist nur technisch, wenn jedes seiner Felder es ist. Das genannte Feld entscheidet; technische Werte darin behalten ihre Einstufung.",
		FR: "Une trame n'est technique que si chacun de ses champs l'est. Le champ nommé décide; ses valeurs techniques gardent leur propre étiquette.",
	}
)

// explainOther understands what is no key: frames, identifiers, message and signal names.
func (p *Policy) explainOther(what string) (Explanation, bool) {
	if id, data, ok := strings.Cut(what, "#"); ok {
		f, ok := readFrame(strings.TrimSpace(id), strings.TrimSpace(data))
		if !ok {
			return Explanation{}, false
		}
		return p.explainFrame(&f), true
	}
	db := p.database()
	if db == nil {
		return Explanation{}, false
	}
	message, signal, dotted := strings.Cut(what, ".")
	if m := db.Named(message); m != nil {
		if !dotted {
			return p.explainMessage(m), true
		}
		if s := m.Signal(signal); s != nil {
			return p.explainSignal(s), true
		}
		return Explanation{}, false
	}
	if f, ok := readID(what); ok {
		return p.explainID(&f), true
	}
	return Explanation{}, false
}

// database is the one given with With, else the embedded one.
func (p *Policy) database() *dbc.Database {
	if p.db != nil {
		return p.db
	}
	db, err := dbc.Embedded()
	if err != nil {
		return nil
	}
	return db
}

// readID reads an identifier: 0x3E9, 7E8, 18DAF110. Up to three digits are an 11-bit one.
func readID(s string) (frame.Frame, bool) {
	h, prefixed := strings.CutPrefix(strings.ToUpper(s), "0X")
	n, err := strconv.ParseUint(h, 16, 32)
	if err != nil || !prefixed && len(h) != 3 && len(h) != 8 {
		return frame.Frame{}, false
	}
	f := frame.New(uint32(n), 0)
	if len(h) == 8 {
		f.Flags |= frame.Extended
	}
	return f, f.Validate() == nil
}

// readFrame reads the candump form of a frame: 7E8#0641…, 7E8##1… for CAN FD.
func readFrame(id, data string) (frame.Frame, bool) {
	f, ok := readID(id)
	if !ok {
		return f, false
	}
	if fd, is := strings.CutPrefix(data, "#"); is {
		f.Flags |= frame.FD
		if data = ""; len(fd) > 0 {
			data = fd[1:]
		}
	}
	b, err := hex.DecodeString(strings.ReplaceAll(data, " ", ""))
	if err != nil || len(b) > frame.MaxData {
		return f, false
	}
	f.Len = uint8(copy(f.Data[:], b))
	return f, f.Validate() == nil
}

func (p *Policy) explainFrame(f *frame.Frame) Explanation {
	var ft FrameTag
	t := NewTagger(p, p.database())
	emit := func(_ *frame.Frame, x FrameTag) { ft = x }
	t.Push(f, emit)
	complete := t.Held() == 0
	t.Flush(emit)
	x := p.explainRule(f.IDString(), ft.Tag)
	if m := t.b.find(f); m != nil && !t.isDiagnostic(f) {
		x.Subject += " " + m.m.Name
		for _, s := range m.m.Signals {
			if s.Active(f) {
				x.Parts = append(x.Parts, p.explainSignal(s))
			}
		}
	} else if !complete {
		x.Reason = partOfMore
	} else {
		x.Parts = p.explainAnswer(f, t)
	}
	if len(x.Parts) > 1 {
		for _, part := range x.Parts[1:] {
			if part.Tag != x.Parts[0].Tag {
				x.Reason = mixed
			}
		}
	}
	return x
}

func (t *Tagger) isDiagnostic(f *frame.Frame) bool {
	if f.Is(frame.Extended) {
		_, ok := obd29(f.ID)
		return ok
	}
	return t.reserved(f)
}

// explainAnswer explains the fields of a complete answer, by key and without values.
func (p *Policy) explainAnswer(f *frame.Frame, t *Tagger) []Explanation {
	if !t.isDiagnostic(f) || f.Len < 3 || f.Data[0]>>4 != 0 {
		return nil
	}
	n := int(f.Data[0])
	at := 1
	if n == 0 {
		n, at = int(f.Data[1]), 2
	}
	msg := f.Bytes()
	if n = min(at+n, len(msg)); n <= at {
		return nil
	}
	return p.explainFields(msg[at:n])
}

// explainFields explains the fields of an answer by key and without values.
func (p *Policy) explainFields(msg []byte) []Explanation {
	var out []Explanation
	seen := map[reading.Key]bool{}
	for _, decode := range [...]func(req, resp []byte) ([]reading.Reading, error){obd.Decode, uds.Decode, obfcm.Decode} {
		readings, _ := decode(nil, msg)
		for _, r := range readings {
			if !seen[r.Key] {
				seen[r.Key] = true
				out = append(out, p.explainKey(r.Key))
			}
		}
	}
	return out
}

func (p *Policy) explainID(f *frame.Frame) Explanation {
	t := NewTagger(p, p.database())
	if m := t.b.find(f); m != nil && !t.isDiagnostic(f) {
		return p.explainMessage(m.m)
	}
	x := p.explainTag(f.IDString(), Tag{})
	if t.isDiagnostic(f) {
		x.Reason = byContent
	}
	return x
}

func (p *Policy) explainMessage(m *dbc.Message) Explanation {
	var worst Tag
	var parts []Explanation
	for i, s := range m.Signals {
		part := p.explainSignal(s)
		parts = append(parts, part)
		if i == 0 || rankOf(part.Tag) > rankOf(worst) {
			worst = part.Tag
		}
	}
	x := p.explainRule(fmt.Sprintf("0x%X %s", m.ID, m.Name), worst)
	for _, part := range parts {
		if part.Tag != worst {
			x.Reason = mixed
			break
		}
	}
	x.Parts = parts
	return x
}

// explainSignal gives the reason written in the DBC file, or that of the policy's own rule.
func (p *Policy) explainSignal(s *dbc.Signal) Explanation {
	t := p.signalTag(s)
	x := p.explainRule(s.Key(), t)
	if s.VSS != "" {
		x.VSS = []string{s.VSS}
	}
	if strings.HasPrefix(t.Rule, "dbc:") {
		x.Source = "DBC attributes of " + s.Message.Name + "." + s.Name
		if x.Reason = byAttribute; s.Privacy.Basis != "" {
			x.Reason = Text{EN: s.Privacy.Basis}
		}
	}
	return x
}

// explainRule is explainTag with the reason of the rule the tag names.
func (p *Policy) explainRule(subject string, t Tag) Explanation {
	x := p.explainTag(subject, t)
	for _, r := range p.rules {
		if r.ID == t.Rule {
			x.Reason, x.Source = r.Reason, p.source(r)
			return x
		}
	}
	message, signal, ok := strings.Cut(strings.TrimPrefix(t.Rule, "dbc:"), ".")
	if db := p.database(); ok && db != nil && strings.HasPrefix(t.Rule, "dbc:") {
		x.Source = "DBC attributes of " + message + "." + signal
		if m := db.Named(message); m != nil {
			if s := m.Signal(signal); s != nil && s.Privacy.Basis != "" {
				x.Reason = Text{EN: s.Privacy.Basis}
			}
		}
	}
	return x
}
