package dbc

import (
	"fmt"
	"strconv"
	"strings"
)

// Limits of what a file may contain; more is an error, not a slow program.
const (
	maxFile    = 32 << 20
	maxSignals = 1024 // of one message
	maxValues  = 1 << 16
	maxRanges  = 4096
)

// independent is the pseudo message under which tools keep signals that belong to no frame.
const independent = 0xC0000000

type parser struct {
	s      *scanner
	d      *Database
	enums  map[string][]string // PrivacyClass and others: BA_DEF_ … ENUM
	muxes  map[*Signal]muxText
	skip   map[uint32]bool // pseudo messages
	scales map[[2]string]scale
}

// muxText is the multiplexer indicator as written and where.
type muxText struct {
	at       token
	value    uint64
	selected bool // m<value>
	extended bool // SG_MUL_VAL_ named its switch
}

// Parse reads a .dbc file. name is used in errors, which are *Error and say line and column.
func Parse(name string, src []byte) (*Database, error) {
	if len(src) > maxFile {
		return nil, &Error{name, 1, 1, fmt.Sprintf("the file has more than %d bytes", maxFile)}
	}
	p := &parser{
		s: newScanner(name, src), d: &Database{ext: map[uint32]*Message{}, names: map[string]*Message{}},
		enums: map[string][]string{}, muxes: map[*Signal]muxText{}, skip: map[uint32]bool{}, scales: map[[2]string]scale{},
	}
	for {
		t, err := p.s.next()
		if err != nil {
			return nil, err
		}
		if t.kind == endOfFile {
			break
		}
		if t.kind != word {
			return nil, p.s.failAt(t, "%s where a section such as BO_ or BA_ must begin", t.describe())
		}
		if err := p.section(t); err != nil {
			return nil, err
		}
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	return p.d, nil
}

func (p *parser) section(t token) error {
	switch t.text {
	case "VERSION":
		v, err := p.want(text, "the version in quotes")
		p.d.Version = v.text
		return err
	case "NS_", "BS_", "BU_":
		return p.skipLines()
	case "BO_":
		return p.message()
	case "CM_":
		return p.comment()
	case "BA_DEF_":
		return p.definition()
	case "BA_":
		return p.attribute()
	case "VAL_":
		return p.values()
	case "SIG_VALTYPE_":
		return p.valueType()
	case "SG_MUL_VAL_":
		return p.multiplex()
	case "SG_":
		return p.s.failAt(t, "a signal outside a message")
	}
	return p.skipStatement(t)
}

// skipLines passes over a block whose lines are indented.
func (p *parser) skipLines() error {
	for {
		t, err := p.s.peek()
		if err != nil {
			return err
		}
		if t.kind == endOfFile || t.col == 1 {
			return nil
		}
		p.s.has = false
	}
}

// skipStatement passes over everything up to the closing ;.
func (p *parser) skipStatement(begin token) error {
	for {
		t, err := p.s.next()
		if err != nil {
			return err
		}
		switch {
		case t.kind == punct && t.text == ";":
			return nil
		case t.kind == endOfFile:
			return p.s.failAt(begin, "section %s is not closed with ;", begin.text)
		}
	}
}

func (p *parser) want(k tokenKind, what string) (token, error) {
	t, err := p.s.next()
	if err == nil && t.kind != k {
		err = p.s.failAt(t, "%s where %s must stand", t.describe(), what)
	}
	return t, err
}

func (p *parser) punct(c string) error {
	t, err := p.s.next()
	if err == nil && (t.kind != punct || t.text != c) {
		err = p.s.failAt(t, "%s where %q must stand", t.describe(), c)
	}
	return err
}

func (p *parser) uint(what string, most uint64) (uint64, token, error) {
	t, err := p.want(number, what)
	if err != nil {
		return 0, t, err
	}
	n, err := strconv.ParseUint(t.text, 10, 64)
	if err != nil || n > most {
		return 0, t, p.s.failAt(t, "%s must be a whole number from 0 to %d", what, most)
	}
	return n, t, nil
}

// message reads BO_ id name: length sender and the signals that follow.
func (p *parser) message() error {
	raw, at, err := p.uint("the message's identifier", 1<<32-1)
	if err != nil {
		return err
	}
	name, err := p.want(word, "the message's name")
	if err != nil {
		return err
	}
	if err := p.punct(":"); err != nil {
		return err
	}
	n, _, err := p.uint("the message's length in bytes", 1<<16)
	if err != nil {
		return err
	}
	sender, err := p.want(word, "the sender")
	if err != nil {
		return err
	}
	id := uint32(raw)
	m := &Message{ID: id &^ (1 << 31), Extended: id>>31 == 1, Name: name.text, Length: int(n), Sender: sender.text}
	if id == independent {
		p.skip[id] = true
	} else if m.Extended && m.ID > 0x1FFFFFFF || !m.Extended && m.ID > 0x7FF {
		return p.s.failAt(at, "no bus has an identifier %X", m.ID)
	}
	for {
		t, err := p.s.peek()
		if err != nil {
			return err
		}
		if t.kind != word || t.text != "SG_" {
			break
		}
		p.s.has = false
		if err := p.signal(m, id == independent); err != nil {
			return err
		}
	}
	if p.skip[id] {
		return nil
	}
	if err := p.d.add(m); err != nil {
		return p.s.failAt(at, "%v", err)
	}
	return nil
}

// signal reads name [M|m0|m0M]: start|size@order sign (factor,offset) [min|max] "unit" receivers.
func (p *parser) signal(m *Message, pseudo bool) error {
	name, err := p.want(word, "the signal's name")
	if err != nil {
		return err
	}
	s := &Signal{Name: name.text, Message: m}
	if err := p.indicator(s); err != nil {
		return err
	}
	if err := p.layout(s, name, pseudo); err != nil {
		return err
	}
	if err := p.scaling(s); err != nil {
		return err
	}
	unit, err := p.want(text, "the unit in quotes")
	if err != nil {
		return err
	}
	s.Unit = toUTF8(unit.text)
	for {
		if _, err := p.want(word, "a receiver"); err != nil {
			return err
		}
		t, err := p.s.peek()
		if err != nil {
			return err
		}
		if t.kind != punct || t.text != "," {
			break
		}
		p.s.has = false
	}
	switch {
	case m.Signal(s.Name) != nil:
		return p.s.failAt(name, "two signals of %s are called %s", m.Name, s.Name)
	case len(m.Signals) >= maxSignals:
		return p.s.failAt(name, "%s has more than %d signals", m.Name, maxSignals)
	}
	m.Signals = append(m.Signals, s)
	return nil
}

// indicator reads the multiplexer indicator, if any, and the colon.
func (p *parser) indicator(s *Signal) error {
	t, err := p.s.next()
	if err != nil {
		return err
	}
	if t.kind == punct && t.text == ":" {
		return nil
	}
	body, isM := strings.CutSuffix(t.text, "M")
	digits, selected := strings.CutPrefix(body, "m")
	mux := muxText{at: t, selected: selected}
	if t.kind == word && selected {
		if mux.value, err = strconv.ParseUint(digits, 10, 64); err != nil {
			return p.s.failAt(t, "multiplexer indicator %q must be m and a number", t.text)
		}
	} else if t.kind != word || body != "" || !isM {
		return p.s.failAt(t, "%s where a multiplexer indicator or a colon must stand", t.describe())
	}
	s.Switch = isM
	p.muxes[s] = mux
	return p.punct(":")
}

func (p *parser) layout(s *Signal, at token, pseudo bool) error {
	start, _, err := p.uint("the start bit", 1<<19)
	if err != nil {
		return err
	}
	if err := p.punct("|"); err != nil {
		return err
	}
	size, sizeAt, err := p.uint("the size in bits", 1<<19)
	if err != nil {
		return err
	}
	if err := p.punct("@"); err != nil {
		return err
	}
	order, _, err := p.uint("the byte order", 1)
	if err != nil {
		return err
	}
	sign, err := p.want(punct, "+ or -")
	if err != nil {
		return err
	}
	if sign.text != "+" && sign.text != "-" {
		return p.s.failAt(sign, "%s where + or - must stand", sign.describe())
	}
	s.Start, s.Size, s.BigEndian, s.Signed = int(start), int(size), order == 0, sign.text == "-"
	if s.Size < 1 || s.Size > 64 {
		return p.s.failAt(sizeAt, "signal %s has %d bits; 1 to 64 are possible", s.Name, s.Size)
	}
	if !s.place() && !pseudo {
		return p.s.failAt(at, "signal %s does not fit into the %d bytes of %s", s.Name, s.Message.Length, s.Message.Name)
	}
	return nil
}

// place works out the bits a signal occupies; false when they lie outside the message or beyond 64 bytes.
func (s *Signal) place() bool {
	limit := min(s.Message.Length, 64) * 8
	first := s.Start
	if s.BigEndian {
		first = s.Start/8*8 + 7 - s.Start%8
	}
	if first+s.Size > limit {
		return false
	}
	s.first = first
	for i := first; i < first+s.Size; i++ {
		if s.BigEndian {
			s.bits[i/8] |= 0x80 >> (i % 8)
		} else {
			s.bits[i/8] |= 1 << (i % 8)
		}
	}
	s.bytes = [2]int{first / 8, (first + s.Size - 1) / 8}
	return true
}

func (p *parser) scaling(s *Signal) error {
	if err := p.punct("("); err != nil {
		return err
	}
	factor, at, err := p.decimal("the factor")
	if err != nil {
		return err
	}
	if err := p.punct(","); err != nil {
		return err
	}
	offset, _, err := p.decimal("the offset")
	if err != nil {
		return err
	}
	if err := p.punct(")"); err != nil {
		return err
	}
	s.Factor, s.Offset = factor.text, offset.text
	pair := [2]string{s.Factor, s.Offset}
	known, ok := p.scales[pair] // a few pairs serve a whole file
	if !ok {
		if known, err = newScale(s.Factor, s.Offset); err != nil {
			return p.s.failAt(at, "signal %s: %v", s.Name, err)
		}
		p.scales[pair] = known
	}
	s.scale = known
	if err := p.punct("["); err != nil {
		return err
	}
	least, _, err := p.decimal("the minimum")
	if err != nil {
		return err
	}
	if err := p.punct("|"); err != nil {
		return err
	}
	most, _, err := p.decimal("the maximum")
	if err != nil {
		return err
	}
	s.Min, s.Max = least.text, most.text
	return p.punct("]")
}

func (p *parser) decimal(what string) (token, token, error) {
	t, err := p.want(number, what)
	if err != nil {
		return t, t, err
	}
	if len(t.text) > 64 {
		return t, t, p.s.failAt(t, "%s has %d characters", what, len(t.text))
	}
	return t, t, nil
}

// finish resolves multiplexing: a signal m3 belongs to the message's only plain switch, or to the one SG_MUL_VAL_ names.
func (p *parser) finish() error {
	for _, m := range p.d.messages {
		var plain []*Signal
		for _, s := range m.Signals {
			if s.Switch && !p.muxes[s].selected {
				plain = append(plain, s)
			}
		}
		for _, s := range m.Signals {
			mux, any := p.muxes[s]
			if !any || !mux.selected {
				continue
			}
			m.muxed = true
			switch {
			case mux.extended:
			case len(plain) == 1:
				s.Under, s.When = plain[0], []Range{{mux.value, mux.value}}
			default:
				s.Lost = true
			}
		}
		for _, s := range m.Signals {
			m.muxed = m.muxed || s.Under != nil
			for at, n := s.Under, 0; at != nil; at, n = at.Under, n+1 {
				if at == s || n > len(m.Signals) {
					return p.s.failAt(p.muxes[s].at, "the switches of %s select each other in a circle", m.Name)
				}
				s.Lost = s.Lost || at.Lost
			}
		}
	}
	return nil
}

// toUTF8 reads Latin-1 where a text is not UTF-8, so that "°C" stays one.
func toUTF8(s string) string {
	if strings.ToValidUTF8(s, "") == s {
		return s
	}
	r := make([]rune, len(s))
	for i := range len(s) {
		r[i] = rune(s[i])
	}
	return string(r)
}
