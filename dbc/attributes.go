package dbc

import (
	"fmt"
	"strconv"
	"strings"
)

// object reads the object of a CM_ or BA_ line; kind is "" when there is none.
func (p *parser) object() (kind string, m *Message, s *Signal, written string, err error) {
	t, err := p.s.peek()
	if err != nil || t.kind != word {
		return "", nil, nil, "", err
	}
	p.s.has = false
	switch t.text {
	case "BO_", "SG_":
		raw, at, err := p.uint("the message's identifier", 1<<32-1)
		if err != nil {
			return "", nil, nil, "", err
		}
		written = fmt.Sprintf("%s %d", t.text, raw)
		id := uint32(raw)
		m = p.d.Lookup(id&^(1<<31), id>>31 == 1)
		var name token
		if t.text == "SG_" {
			if name, err = p.want(word, "the signal's name"); err != nil {
				return "", nil, nil, "", err
			}
			written += " " + name.text
		}
		if p.skip[id] {
			return "other", nil, nil, written, nil
		}
		if m == nil {
			return "", nil, nil, "", p.s.failAt(at, "there is no message with identifier %d", raw)
		}
		if t.text == "SG_" {
			if s = m.Signal(name.text); s == nil {
				return "", nil, nil, "", p.s.failAt(name, "message %s has no signal %s", m.Name, name.text)
			}
		}
		return t.text, m, s, written, nil
	case "BU_", "EV_":
		name, err := p.want(word, "a name")
		return "other", nil, nil, t.text + " " + name.text, err
	}
	return "", nil, nil, "", p.s.failAt(t, "%s where BO_, SG_, BU_ or EV_ must stand", t.describe())
}

func (p *parser) comment() error {
	kind, m, s, _, err := p.object()
	if err != nil {
		return err
	}
	t, err := p.want(text, "the comment in quotes")
	if err != nil {
		return err
	}
	switch kind {
	case "BO_":
		m.Comment = toUTF8(t.text)
	case "SG_":
		s.Comment = toUTF8(t.text)
	}
	return p.punct(";")
}

// definition keeps the values of ENUM attributes, which BA_ lines may give by index.
func (p *parser) definition() error {
	var name string
	var list []string
	for {
		t, err := p.s.next()
		switch {
		case err != nil:
			return err
		case t.kind == endOfFile:
			return p.s.failAt(t, "BA_DEF_ is not closed with ;")
		case t.kind == punct && t.text == ";":
			p.enums[name] = list
			return nil
		case t.kind == text && name == "":
			name = t.text
		case t.kind == text:
			list = append(list, t.text)
		}
	}
}

func (p *parser) attribute() error {
	name, err := p.want(text, "the attribute's name in quotes")
	if err != nil {
		return err
	}
	_, _, s, written, err := p.object()
	if err != nil {
		return err
	}
	v, err := p.s.next()
	if err != nil {
		return err
	}
	if v.kind != text && v.kind != number {
		return p.s.failAt(v, "%s where the attribute's value must stand", v.describe())
	}
	value := toUTF8(v.text)
	if list := p.enums[name.text]; v.kind == number && len(list) > 0 {
		i, err := strconv.Atoi(v.text)
		if err != nil || i < 0 || i >= len(list) {
			return p.s.failAt(v, "attribute %s has %d values; there is no value %s", name.text, len(list), v.text)
		}
		value = list[i]
	}
	switch {
	case s == nil:
		p.d.Unknown = append(p.d.Unknown, Attribute{name.text, written, value})
	case name.text == "PrivacyClass":
		if value != "technical" && value != "personal" {
			return p.s.failAt(v, "PrivacyClass is technical or personal, not %q", value)
		}
		s.Privacy.Technical, s.Privacy.Explicit = value == "technical", true
	case name.text == "PrivacyCategory":
		s.Privacy.Category = value
	case name.text == "PrivacyBasis":
		s.Privacy.Basis = value
	case name.text == "VssPath":
		s.VSS = value
	default:
		p.d.Unknown = append(p.d.Unknown, Attribute{name.text, written, value})
	}
	return p.punct(";")
}

// values reads VAL_ id signal number "text" … ; and passes over those of environment variables.
func (p *parser) values() error {
	t, err := p.s.next()
	if err != nil {
		return err
	}
	if t.kind == word {
		return p.skipStatement(t)
	}
	p.s.ahead, p.s.has = t, true
	s, err := p.signalRef()
	if err != nil {
		return err
	}
	for {
		t, err := p.s.next()
		if err != nil {
			return err
		}
		if t.kind == punct && t.text == ";" {
			return nil
		}
		n, errInt := strconv.ParseInt(t.text, 10, 64)
		if t.kind != number || errInt != nil {
			f, errFloat := strconv.ParseFloat(t.text, 64) // "1.0", or a value above 63 bits
			if t.kind != number || errFloat != nil {
				return p.s.failAt(t, "%s where a value or ; must stand", t.describe())
			}
			n = int64(f)
			if u, err := strconv.ParseUint(t.text, 10, 64); err == nil {
				n = int64(u)
			}
		}
		label, err := p.want(text, "the value's text in quotes")
		if err != nil {
			return err
		}
		if s == nil {
			continue
		}
		if s.Values == nil {
			s.Values = map[int64]string{}
		}
		if len(s.Values) >= maxValues {
			return p.s.failAt(t, "signal %s has more than %d value texts", s.Name, maxValues)
		}
		s.Values[n] = toUTF8(label.text)
	}
}

// signalRef reads id signal; nil without error for a signal of the pseudo message.
func (p *parser) signalRef() (*Signal, error) {
	raw, at, err := p.uint("the message's identifier", 1<<32-1)
	if err != nil {
		return nil, err
	}
	name, err := p.want(word, "the signal's name")
	if err != nil {
		return nil, err
	}
	id := uint32(raw)
	if p.skip[id] {
		return nil, nil
	}
	m := p.d.Lookup(id&^(1<<31), id>>31 == 1)
	if m == nil {
		return nil, p.s.failAt(at, "there is no message with identifier %d", raw)
	}
	s := m.Signal(name.text)
	if s == nil {
		return nil, p.s.failAt(name, "message %s has no signal %s", m.Name, name.text)
	}
	return s, nil
}

func (p *parser) valueType() error {
	s, err := p.signalRef()
	if err != nil {
		return err
	}
	t, err := p.s.peek()
	if err != nil {
		return err
	}
	if t.kind == punct && t.text == ":" {
		p.s.has = false
	}
	n, at, err := p.uint("the value type", 3)
	if err != nil {
		return err
	}
	if s != nil {
		switch {
		case n == 1 && s.Size == 32:
			s.Float = Float32
		case n == 2 && s.Size == 64:
			s.Float = Float64
		case n == 1 || n == 2:
			return p.s.failAt(at, "signal %s has %d bits; a float has 32 or 64", s.Name, s.Size)
		}
	}
	return p.punct(";")
}

// multiplex reads SG_MUL_VAL_ id signal switch from-to, from-to ;
func (p *parser) multiplex() error {
	s, err := p.signalRef()
	if err != nil {
		return err
	}
	by, err := p.want(word, "the switch's name")
	if err != nil {
		return err
	}
	var when []Range
	for {
		from, at, err := p.uint("a switch value", 1<<64-1)
		if err != nil {
			return err
		}
		end, err := p.want(number, "the end of the range, as in 3-3")
		if err != nil {
			return err
		}
		to, err := strconv.ParseUint(strings.TrimPrefix(end.text, "-"), 10, 64)
		if err != nil || to < from || !strings.HasPrefix(end.text, "-") {
			return p.s.failAt(end, "a range is two numbers, the smaller first, as in 3-5")
		}
		if when = append(when, Range{from, to}); len(when) > maxRanges {
			return p.s.failAt(at, "more than %d ranges", maxRanges)
		}
		t, err := p.s.next()
		if err != nil {
			return err
		}
		if t.kind == punct && t.text == ";" {
			break
		}
		if t.kind != punct || t.text != "," {
			return p.s.failAt(t, "%s where , or ; must stand", t.describe())
		}
	}
	if s == nil {
		return nil
	}
	under := s.Message.Signal(by.text)
	if under == nil || under == s {
		return p.s.failAt(by, "message %s has no switch %s", s.Message.Name, by.text)
	}
	mux := p.muxes[s]
	mux.extended = true
	p.muxes[s] = mux
	s.Under, s.When, under.Switch = under, when, true
	return nil
}
