package monitor

import (
	"encoding/json"
	"strconv"
	"time"

	"obdgate/dbc"
	"obdgate/internal/frame"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
)

// text writes frames down. It allocates nothing per frame; the rare exception is a value whose fraction does not end
// within six places.
type text struct {
	Options
	signals map[*dbc.Message][]field
	buses   []string
}

// field is one broadcast signal with what is said about it, ready to be written.
type field struct {
	s    *dbc.Signal
	name string // "EngineData.Speed"
	unit string
	tag  policy.Tag
	json string // `{"key":"dbc.EngineData.Speed","unit":"rpm","tag":…,"value":`
}

func newText(o Options) *text {
	t := &text{Options: o, signals: map[*dbc.Message][]field{}}
	if !o.Decode || o.DBC == nil {
		return t
	}
	rules := o.Policy.With(o.DBC)
	for _, m := range o.DBC.Messages() {
		for _, s := range m.Signals {
			g := field{s: s, name: m.Name + "." + s.Name, tag: rules.TagKey(reading.Key(s.Key())), unit: s.Unit}
			technical := g.tag.Class == policy.Technical
			if o.Mask && !technical || o.Only == policy.Technical && !technical || o.Only == policy.Personal && technical {
				continue
			}
			g.json = `{"key":` + quote(s.Key()) + `,"unit":` + quote(s.Unit) + `,"tag":"` + g.tag.Class.String() +
				`","category":` + quote(string(category(g.tag))) + `,"value":`
			t.signals[m] = append(t.signals[m], g)
		}
	}
	return t
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // no string fails
	}
	return string(b)
}

func category(t policy.Tag) policy.Category {
	if t.Category == "" {
		return policy.NoCategory
	}
	return t.Category
}

// bus is the name of a bus; names are asked for once.
func (t *text) bus(i uint8) string {
	for int(i) >= len(t.buses) {
		name := "can" + strconv.Itoa(len(t.buses))
		if t.Bus != nil {
			name = t.Bus(uint8(len(t.buses)))
		}
		t.buses = append(t.buses, name)
	}
	return t.buses[i]
}

func (t *text) append(b []byte, f *frame.Frame, tag policy.FrameTag) []byte {
	if t.JSON {
		return t.object(b, f, tag)
	}
	b = append(b, ' ', '(')
	b = appendTime(b, f.Time, 3)
	b = append(b, ") "...)
	b = append(b, t.bus(f.Bus)...)
	b = append(b, ' ')
	at := len(b)
	b = appendID(b, f)
	for len(b)-at < 8 {
		b = append(b, ' ')
	}
	b = append(b, ' ', '[')
	b = strconv.AppendUint(b, uint64(f.Len), 10)
	b = append(b, ']')
	at = len(b)
	switch {
	case f.Is(frame.Remote):
		b = append(b, "  remote request"...)
	default:
		b = append(b, ' ')
		for _, x := range f.Bytes() {
			b = append(b, ' ', hex[x>>4], hex[x&15])
		}
		if f.Is(frame.Error) {
			b = append(b, "  error report"...)
		}
	}
	for len(b)-at < 26 {
		b = append(b, ' ')
	}
	b = append(b, ' ')
	b = append(b, tag.Class.String()...)
	b = append(b, ' ')
	b = append(b, category(tag.Tag)...)
	b = append(b, '\n')
	return t.values(b, f)
}

// message is the broadcast message that a frame is, nil when it is none or its values are not wanted.
func (t *text) message(f *frame.Frame) *dbc.Message {
	if len(t.signals) == 0 || f.Flags&(frame.Error|frame.Remote|frame.Legacy) != 0 {
		return nil
	}
	m := t.DBC.Lookup(f.ID, f.Is(frame.Extended))
	if m == nil || int(f.Len) < m.Length {
		return nil
	}
	return m
}

// values are the lines under a frame.
func (t *text) values(b []byte, f *frame.Frame) []byte {
	m := t.message(f)
	for i := range t.signals[m] {
		g := &t.signals[m][i]
		if !g.s.Active(f) {
			continue
		}
		b = append(b, "        "...)
		b = append(b, g.name...)
		b = append(b, " = "...)
		label, q, ok := value(g.s, f)
		switch {
		case label != "":
			b = append(b, label...)
		case !ok:
			b = append(b, '?')
		default:
			b = appendDecimal(b, q)
			if g.unit != "" {
				b = append(b, ' ')
				b = append(b, g.unit...)
			}
		}
		b = append(b, "  "...)
		b = append(b, g.tag.Class.String()...)
		b = append(b, ' ')
		b = append(b, category(g.tag)...)
		b = append(b, '\n')
	}
	return b
}

// object is the JSON line of a frame. Names in it are the policy's and the database's, which are quoted beforehand, or of
// characters that need no quoting.
func (t *text) object(b []byte, f *frame.Frame, tag policy.FrameTag) []byte {
	b = append(b, `{"time":`...)
	b = appendTime(b, f.Time, 1)
	b = append(b, `,"bus":`...)
	b = strconv.AppendQuoteToASCII(b, t.bus(f.Bus)) // printable ASCII: the same as JSON's quoting
	b = append(b, `,"id":"`...)
	b = appendID(b, f)
	b = append(b, `","len":`...)
	b = strconv.AppendUint(b, uint64(f.Len), 10)
	for _, k := range kinds {
		if f.Is(k.flag) {
			b = append(b, k.json...)
		}
	}
	if !f.Is(frame.Remote) {
		b = append(b, `,"data":"`...)
		for _, x := range f.Bytes() {
			b = append(b, hex[x>>4], hex[x&15])
		}
		b = append(b, '"')
	}
	b = append(b, `,"tag":"`...)
	b = append(b, tag.Class.String()...)
	b = append(b, `","category":"`...)
	b = append(b, category(tag.Tag)...)
	b = append(b, '"')
	if m := t.message(f); m != nil {
		b = t.objects(b, f, m)
	}
	return append(b, "}\n"...)
}

func (t *text) objects(b []byte, f *frame.Frame, m *dbc.Message) []byte {
	b = append(b, `,"signals":[`...)
	first := true
	for i := range t.signals[m] {
		g := &t.signals[m][i]
		if !g.s.Active(f) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, g.json...)
		label, q, ok := value(g.s, f)
		switch {
		case label != "":
			raw, _ := g.s.Raw(f)
			b = strconv.AppendUint(b, raw, 10)
			b = append(b, `,"label":`...)
			b = append(b, quote(label)...)
		case !ok:
			b = append(b, "null"...)
		default:
			b = appendDecimal(b, q)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// kinds are the flags that make a frame unlike most.
var kinds = []struct {
	flag frame.Flags
	json string
}{
	{frame.Extended, `,"extended":true`}, {frame.Remote, `,"remote":true`}, {frame.FD, `,"fd":true`}, {frame.BRS, `,"brs":true`},
	{frame.ESI, `,"esi":true`}, {frame.Error, `,"error":true`}, {frame.Legacy, `,"legacy":true`},
}

// value is a signal's text (VAL_) or its number.
func value(s *dbc.Signal, f *frame.Frame) (label string, q reading.Quantity, ok bool) {
	raw, _ := s.Raw(f)
	if len(s.Values) > 0 && s.Float == dbc.Integer {
		n := int64(raw)
		if s.Signed {
			n = n << (64 - s.Size) >> (64 - s.Size)
		}
		if label = s.Values[n]; label != "" {
			return label, q, true
		}
	}
	q, ok = s.Value(f)
	return "", q, ok
}

// appendDecimal writes what q.Decimal says.
func appendDecimal(b []byte, q reading.Quantity) []byte {
	num, scale := q.Num, int64(1)
	for places := 0; places <= 6 && num < 1<<58 && num > -1<<58; places++ {
		if num%q.Den == 0 {
			n := num / q.Den
			if n < 0 {
				b, n = append(b, '-'), -n
			}
			b = strconv.AppendInt(b, n/scale, 10)
			if places > 0 {
				b = append(b, '.')
				for rest, unit := n%scale, scale/10; unit > 0; unit /= 10 {
					b = append(b, byte('0'+rest/unit%10))
				}
			}
			return b
		}
		num *= 10
		scale *= 10
	}
	return append(b, q.Decimal()...)
}

const hex = "0123456789ABCDEF"

func appendID(b []byte, f *frame.Frame) []byte {
	width := 3
	switch {
	case f.Is(frame.Legacy):
		width = 6
	case f.Flags&(frame.Extended|frame.Error) != 0:
		width = 8
	}
	for i := width - 1; i >= 0; i-- {
		b = append(b, hex[f.ID>>(4*i)&15])
	}
	return b
}

// appendTime writes seconds with microseconds, and at least width digits before the point.
func appendTime(b []byte, t time.Duration, width int) []byte {
	if t < 0 {
		b, t = append(b, '-'), -t
	}
	us := uint64(t / time.Microsecond)
	for n, w := us/1e6, uint64(10); width > 1; width, w = width-1, w*10 {
		if n < w {
			b = append(b, '0')
		}
	}
	b = strconv.AppendUint(b, us/1e6, 10)
	b = append(b, '.')
	for unit := uint64(100000); unit > 0; unit /= 10 {
		b = append(b, byte('0'+us/unit%10))
	}
	return b
}
