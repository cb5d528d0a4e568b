package dbc

import (
	"fmt"
	"math/big"
	"slices"
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
	s     *scanner
	d     *Database
	enums map[string][]string // PrivacyClass and others: BA_DEF_ … ENUM
	muxes map[*Signal]muxText
	skip  map[uint32]bool // pseudo messages
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
		enums: map[string][]string{}, muxes: map[*Signal]muxText{}, skip: map[uint32]bool{},
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
	if s.scale, err = newScale(s.Factor, s.Offset); err != nil {
		return p.s.failAt(at, "signal %s: %v", s.Name, err)
	}
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

// scale is raw*num + off, over den: the exact factor and offset on one denominator.
type scale struct {
	num, off, den int64
	factor, add   float64 // the same as float64, for Float
}

func newScale(factor, offset string) (scale, error) {
	f, okF := rat(factor)
	o, okO := rat(offset)
	if !okF || !okO {
		return scale{}, fmt.Errorf("factor %s or offset %s is no usable number", factor, offset)
	}
	den := new(big.Int).Mul(f.Denom(), o.Denom())
	den.Div(den, new(big.Int).GCD(nil, nil, f.Denom(), o.Denom()))
	num := new(big.Int).Mul(f.Num(), new(big.Int).Div(den, f.Denom()))
	off := new(big.Int).Mul(o.Num(), new(big.Int).Div(den, o.Denom()))
	if !num.IsInt64() || !off.IsInt64() || !den.IsInt64() {
		return scale{}, fmt.Errorf("factor %s and offset %s need more than 64 bits", factor, offset)
	}
	s := scale{num: num.Int64(), off: off.Int64(), den: den.Int64()}
	s.factor, _ = f.Float64()
	s.add, _ = o.Float64()
	return s, nil
}

// rat reads a decimal; exponents are bounded so that a short text cannot become a long number.
func rat(s string) (*big.Rat, bool) {
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if e, err := strconv.Atoi(s[i+1:]); err != nil || e > 40 || e < -40 {
			return nil, false
		}
	}
	return new(big.Rat).SetString(strings.TrimPrefix(s, "+"))
}

// Sorted returns the messages by identifier, 11-bit ones first.
func (d *Database) Sorted() []*Message {
	out := slices.Clone(d.messages)
	slices.SortFunc(out, func(a, b *Message) int {
		if a.Extended != b.Extended {
			if b.Extended {
				return -1
			}
			return 1
		}
		return int(int64(a.ID) - int64(b.ID))
	})
	return out
}
