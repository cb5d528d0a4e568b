package obd

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"

	"obdgate/internal/reading"
	"obdgate/internal/vin"
)

//go:embed infotypes.csv
var infotypesCSV string

//go:embed iupr.csv
var iuprCSV string

// infoType is one row of the service 09 table.
type infoType struct {
	kind  string // bitmap, vin, text, hex, iupr, count, number, km
	count string // leading count byte: "1" is always 01, "n" counts items, "" none
	width int    // bytes of one item, 0 = what is left
	name  string
	valid bool // verified against captures or two sources
}

type iuprRow struct {
	field, name string
	verified    bool
}

type infoTables struct {
	types [256]*infoType
	iupr  map[byte][]iuprRow
}

var infoTable = sync.OnceValue(func() *infoTables {
	t := &infoTables{iupr: map[byte][]iuprRow{}}
	for r := range rows(infotypesCSV, 6) {
		w := 0
		if r[3] != "" {
			w = atoi(r[3])
		}
		t.types[hexByte(r[0])] = &infoType{kind: r[1], count: r[2], width: w, name: r[4], valid: r[5] == "true"}
	}
	for r := range rows(iuprCSV, 5) {
		k := hexByte(r[0])
		if atoi(r[1]) != len(t.iupr[k]) {
			panic("obd: iupr.csv: rows out of order")
		}
		t.iupr[k] = append(t.iupr[k], iuprRow{r[2], r[3], r[4] == "true"})
	}
	return t
})

// Elsewhere reports whether an InfoType belongs to the consumption record (vehicle operation data, J1979-DA): this
// package neither decodes it nor keeps its bytes, so that they cannot turn up under a key nobody asked consent for.
func Elsewhere(infotype byte) bool {
	return infotype >= 0x16 && infotype <= 0x1D || infotype == 0x22 || infotype == 0x24
}

// information is service 09. want holds the InfoTypes asked: one, or several bitmaps.
func information(want, resp []byte, legacy bool) ([]reading.Reading, error) {
	if len(resp) < 2 {
		return nil, &Error{Kind: ErrShort, Service: 0x09, ID: -1, Want: 3, Got: len(resp)}
	}
	id := resp[1]
	if len(want) > 0 && bytes.IndexByte(want, id) < 0 {
		return nil, &Error{Kind: ErrMismatch, Service: 0x09, ID: int(want[0])}
	}
	if Elsewhere(id) {
		return nil, &Error{Kind: ErrService, Service: 0x09, ID: int(id)}
	}
	key := fmt.Sprintf("obd.09.%02X", id)
	if legacy {
		data, err := legacyData(id, resp)
		if err != nil {
			return nil, err
		}
		return items(0x09, key, id, data, resp, false)
	}
	if IsBitmap(id) && len(want) > 1 {
		return bitmaps(0x09, want, resp)
	}
	data, err := countByte(id, resp[2:])
	if err != nil {
		return nil, err
	}
	return items(0x09, key, id, data, resp, data.n >= 0)
}

// payload is the data of an InfoType without its count byte; n is what that byte said, -1 when there is none.
type payload struct {
	b []byte
	n int
}

// countByte takes the leading count byte off, where the type has one on CAN.
func countByte(id byte, data []byte) (payload, error) {
	t := infoTable().types[id]
	if t == nil || t.count == "" {
		return payload{data, -1}, nil
	}
	if len(data) == 0 {
		return payload{}, &Error{Kind: ErrShort, Service: 0x09, ID: int(id), Want: 3, Got: 2}
	}
	return payload{data[1:], int(data[0])}, nil
}

// legacyData is the data of joined K-line or J1850 messages: the number 01 stands before it, except in message counts.
func legacyData(id byte, resp []byte) (payload, error) {
	if t := infoTable().types[id]; t != nil && t.kind == "count" {
		return payload{resp[2:], -1}, nil
	}
	if len(resp) < 4 {
		return payload{}, &Error{Kind: ErrShort, Service: 0x09, ID: int(id), Want: 7, Got: len(resp)}
	}
	return payload{resp[3:], -1}, nil
}

// Information decodes the data of one InfoType that came over another service (22 F8xx): with or without the count
// byte, which the length tells. Both forms exist on one car: an expected length means no count byte, one byte more with
// a matching count in front means there is one. key is the key without field, raw the echo and the data.
func Information(service byte, key string, id byte, data, raw []byte) ([]reading.Reading, error) {
	if Elsewhere(id) {
		return nil, &Error{Kind: ErrService, Service: service, ID: int(id)}
	}
	p := payload{data, -1}
	if t := infoTable().types[id]; t != nil && t.count != "" && len(data) > 0 {
		n, w := int(data[0]), t.width
		switch {
		case t.count == "1" && n == 1 && len(data) >= 1+w,
			t.count == "n" && w > 0 && n > 0 && len(data) == 1+n*w,
			t.count == "n" && w == 0 && n < 0x20:
			p = payload{data[1:], n}
		}
	}
	return items(service, key, id, p, raw, p.n >= 0)
}

// items decodes the items of an InfoType. counted says that a count byte was there and must agree.
func items(service byte, key string, id byte, p payload, raw []byte, counted bool) ([]reading.Reading, error) {
	t := infoTable().types[id]
	head := len(raw) - len(p.b)
	short := func(want int) error {
		return &Error{Kind: ErrShort, Service: service, ID: int(id), Want: head + want, Got: len(raw)}
	}
	one := func(name string, v reading.Value) []reading.Reading {
		return []reading.Reading{{Key: reading.Key(key), Name: name, Value: v, Raw: append([]byte(nil), raw...)}}
	}
	if t == nil {
		if len(p.b) == 0 {
			return nil, short(1)
		}
		return one(fmt.Sprintf("InfoType %02X (not described)", id), reading.Text(hexUpper(p.b))), nil
	}
	if counted && p.n == 0 || t.padded() && len(p.b) == 1 && p.b[0] == 0 {
		return one(t.name, reading.Absent{Why: reading.NotAvailable}), nil // an ECU that has none: count 0, or one zero byte
	}
	if counted && t.count == "1" && p.n != 1 {
		return nil, &Error{Kind: ErrFormat, Service: service, ID: int(id)}
	}
	want := t.want(p, counted)
	var err error
	if len(p.b) < want {
		if err = short(want); !t.list() {
			return nil, err
		}
	} else if !Blank(p.b[want:]) && t.kind != "vin" { // filler may stand before a VIN too
		err = surplus(service, int(id), head+want, len(raw))
	}
	b := p.b[:min(want, len(p.b))]
	switch t.kind {
	case "vin":
		v, whole := VIN(p.b)
		if !whole {
			err = surplus(service, int(id), head+want, len(raw))
		}
		return one(t.name, v), err
	case "bitmap":
		return one(t.name, reading.Code{N: uint64(binary.BigEndian.Uint32(b))}), err
	case "count", "number":
		return one(t.name, reading.Code{N: bitsOf(b, 0, 8*len(b))}), err
	case "km":
		return one(t.name, scaled(int64(binary.BigEndian.Uint16(b)), 1, 1, 0, 1, "km")), err
	case "iupr":
		return counters(key, id, b, raw), err
	}
	w := t.width
	if w == 0 {
		w = want
	}
	var out []reading.Reading
	for ; len(b) >= w; b = b[w:] {
		v := TextValue(b[:w])
		if t.kind == "hex" {
			v = reading.Text(hexUpper(b[:w]))
		}
		out = append(out, one(t.name, v)...)
	}
	return out, err
}

// padded reports whether an ECU without content answers one zero byte in its place.
func (t *infoType) padded() bool { return t.kind == "text" || t.kind == "hex" || t.kind == "vin" }

// list reports whether whole items of a short answer can be used.
func (t *infoType) list() bool { return t.kind == "text" || t.kind == "hex" || t.kind == "iupr" }

// want is the number of data bytes a whole answer has.
func (t *infoType) want(p payload, counted bool) int {
	switch {
	case t.kind == "bitmap":
		return 4
	case t.width == 0:
		return max(len(p.b), 1)
	case t.count == "n" && counted:
		return p.n * t.width
	case t.count == "n":
		return max(len(p.b)/t.width, 1) * t.width
	}
	return t.width
}

// counters is InfoTypes 08 and 0B: u16 each in a fixed order; those past the named ones keep their number.
func counters(key string, id byte, b, raw []byte) []reading.Reading {
	names := infoTable().iupr[id]
	out := make([]reading.Reading, 0, len(b)/2)
	for i := 0; i+1 < len(b); i += 2 {
		row := iuprRow{field: fmt.Sprintf("COUNTER%d", i/2), name: fmt.Sprintf("In-use performance counter %d (not described)", i/2)}
		if i/2 < len(names) {
			row = names[i/2]
		}
		out = append(out, reading.Reading{Key: reading.Key(key + "." + strings.ToLower(row.field)), Name: row.name,
			Value: scaled(int64(b[i])<<8|int64(b[i+1]), 1, 1, 0, 1, ""), Raw: append([]byte(nil), raw...)})
	}
	return out
}

// InfoFields returns the names of the counters of InfoType 08 or 0B in the order sent ("OBDCOND", "IGNCNTR" …); nil for
// other types. The key of a counter is its name in lower case.
func InfoFields(id byte) []string {
	var out []string
	for _, r := range infoTable().iupr[id] {
		out = append(out, r.field)
	}
	return out
}

// VIN is a VIN field of any padding: an Identity, or Absent where it holds padding or no VIN (a battery controller
// answers with its name), which is never shown. whole is false when other bytes follow the VIN.
func VIN(b []byte) (v reading.Value, whole bool) {
	if Blank(b) {
		return reading.Absent{Why: reading.NotAvailable}, true
	}
	n, whole, err := vin.Leading(string(b))
	if err != nil {
		return reading.Absent{Why: reading.Damaged}, true
	}
	return n.Identity(), whole
}

// Blank reports whether b holds padding only: 00, FF or spaces.
func Blank(b []byte) bool { return len(trim(b)) == 0 }

// trim takes 00, FF and spaces off both ends. The set cannot be given to bytes.Trim, which reads it as UTF-8 and takes every
// byte above 7F for FF.
func trim(b []byte) []byte {
	filler := func(c byte) bool { return c == 0x00 || c == 0xFF || c == ' ' }
	for len(b) > 0 && filler(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && filler(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// TextValue is text as ECUs send it: ASCII padded with 00, FF or spaces, sometimes with zeros between its parts, which
// are dropped. Padding alone is Absent. Bytes that are no text are shown as hexadecimal digits.
func TextValue(b []byte) reading.Value {
	if Blank(b) {
		return reading.Absent{Why: reading.NotAvailable}
	}
	if s, ok := ASCII(b); ok {
		return reading.Text(s)
	}
	return reading.Text(hexUpper(b))
}

// ASCII returns b without padding when all the rest is printable ASCII; ok is false otherwise and for padding alone.
func ASCII(b []byte) (s string, ok bool) {
	s = strings.Trim(strings.ReplaceAll(string(trim(b)), "\x00", ""), " ")
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7E {
			return "", false
		}
	}
	return s, s != ""
}
