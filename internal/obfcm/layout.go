package obfcm

import (
	_ "embed"
	"encoding/binary"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"obdgate/internal/reading"
)

//go:embed layouts.csv
var layoutsCSV string

// Kinds of wrong answers.
var (
	// ErrLayout: the answer has a length no layout knows. Its bytes are kept as one raw reading beside the error.
	ErrLayout = errors.New("unverified layout: the answer has a length that is not known")
	// ErrShort: the answer ends before its data.
	ErrShort = errors.New("answer is too short")
	// ErrMismatch: the answer echoes another question.
	ErrMismatch = errors.New("answer belongs to another question")
	// ErrService: the request is no question for the consumption record.
	ErrService = errors.New("not a question for the consumption record")
)

// Error tells which answer was wrong. It carries no values.
type Error struct {
	Kind     error
	InfoType byte
	Got      int // data bytes present, count byte included
}

func (e *Error) Error() string {
	return fmt.Sprintf("consumption record %02X: %v (%d data bytes)", e.InfoType, e.Kind, e.Got)
}

func (e *Error) Unwrap() error { return e.Kind }

// Field is one counter of the record.
type Field struct {
	InfoType byte
	Key      reading.Key // "obfcm.lifetime_fuel"
	Name     string      // English
	Unit     reading.Unit
	Law      string // point of Regulation (EU) 2017/1151 annex XXII: "3.1(a), 3.2(a)"; empty = not asked for by law
	Verified bool   // the layout was seen in a capture
	offset   int
	den      int64
}

type layout struct {
	infoType byte
	name     string
	length   int // 0 = unknown: raw only
	fields   []Field
}

var layouts = sync.OnceValue(func() []layout {
	r := csv.NewReader(strings.NewReader(layoutsCSV))
	r.Comment, r.FieldsPerRecord = '#', 11
	all, err := r.ReadAll()
	if err != nil {
		panic("obfcm: layouts.csv: " + err.Error())
	}
	var out []layout
	for _, row := range all[1:] {
		t, err := strconv.ParseUint(row[0], 16, 8)
		must(err)
		if row[1] != fmt.Sprintf("F8%02X", t) {
			panic("obfcm: layouts.csv: DID of " + row[0])
		}
		if len(out) == 0 || out[len(out)-1].infoType != byte(t) {
			out = append(out, layout{infoType: byte(t), name: row[6]})
		}
		l := &out[len(out)-1]
		if row[5] == "" {
			continue
		}
		l.length = number(row[2])
		if number(row[4]) != 4 {
			panic("obfcm: layouts.csv: width of " + row[5])
		}
		l.fields = append(l.fields, Field{InfoType: byte(t), Key: reading.Key("obfcm." + row[5]), Name: row[6], Unit: reading.Unit(row[8]), Law: row[9],
			Verified: row[10] == "true", offset: number(row[3]), den: int64(number(row[7]))})
	}
	return out
})

func number(s string) int {
	n, err := strconv.Atoi(s)
	must(err)
	return n
}

func must(err error) {
	if err != nil {
		panic("obfcm: layouts.csv: " + err.Error())
	}
}

func layoutOf(t byte) *layout {
	for i := range layouts() {
		if layouts()[i].infoType == t {
			return &layouts()[i]
		}
	}
	return nil
}

// Fields returns every field of every known layout, in table order.
func Fields() []Field {
	var out []Field
	for _, l := range layouts() {
		out = append(out, l.fields...)
	}
	return out
}

// FieldOf returns the field behind a key.
func FieldOf(k reading.Key) (Field, bool) {
	for _, l := range layouts() {
		for _, f := range l.fields {
			if f.Key == k {
				return f, true
			}
		}
	}
	return Field{}, false
}

// Request is one question for the record, as data: the plan takes them in or leaves them all out.
type Request struct {
	Payload  []byte // 09 17 or 22 F8 17
	InfoType byte
	Name     string
	UDS      bool // over service 22, for cars whose 09 00 does not name the type
}

// Requests returns every question for the record: classic first, then UDS, each in the order distance and fuel (17),
// plug-in records (1A, 1B, 1C), then the rest. The caller asks those an ECU supports.
func Requests() []Request {
	var classic, uds []Request
	for _, t := range []byte{0x17, 0x1A, 0x1B, 0x1C, 0x16, 0x18, 0x19} {
		l := layoutOf(t)
		classic = append(classic, Request{[]byte{0x09, t}, t, l.name, false})
		uds = append(uds, Request{[]byte{0x22, 0xF8, t}, t, l.name, true})
	}
	for i := range classic {
		if f := layoutOf(classic[i].InfoType).fields; len(f) > 0 {
			classic[i].Name, uds[i].Name = recordNames[classic[i].InfoType], recordNames[classic[i].InfoType]
		}
	}
	return append(classic, uds...)
}

var recordNames = map[byte]string{0x17: "Distance and fuel used", 0x1A: "Plug-in hybrid distance", 0x1B: "Plug-in hybrid fuel", 0x1C: "Plug-in hybrid grid energy"}

// IsInfoType reports whether an InfoType holds vehicle operation data: 16 to 1D, 20, 22, 24 (SAE J1979-DA). What the
// refusal of consumption data covers is all of it, described here or not.
func IsInfoType(t byte) bool {
	return t >= 0x16 && t <= 0x1D || t == 0x20 || t == 0x22 || t == 0x24
}

// IsOBFCM reports whether payload (service byte first) is a question for the record or an answer to one, over service 09
// or 22, whatever its length. A question for several DIDs is one when any of them is; an answer is told by its first
// DID. Negative answers echo no type and are not told apart: false.
func IsOBFCM(payload []byte) bool {
	if len(payload) < 2 {
		return false
	}
	switch payload[0] {
	case 0x09, 0x49:
		return IsInfoType(payload[1])
	case 0x22:
		for b := payload[1:]; len(b) >= 2; b = b[2:] {
			if b[0] == 0xF8 && IsInfoType(b[1]) {
				return true
			}
		}
	case 0x62:
		return len(payload) >= 3 && payload[1] == 0xF8 && IsInfoType(payload[2])
	}
	return false
}

// Decode reads one ECU's answer to a question for the record. The classic form has a count byte 01; under service 22 it
// may be missing, which the length tells (both exist on one car). Any other length keeps the bytes as one reading
// "obfcm.raw_TT" beside ErrLayout; a type whose layout nobody has published is kept so without error. All ones are
// Absent, also where a decoder without sentinels would print 429496729.5 km.
func Decode(req, resp []byte) ([]reading.Reading, error) {
	if !IsOBFCM(req) || req[0] == 0x22 && len(req) != 3 || req[0] == 0x09 && len(req) != 2 {
		return nil, ErrService
	}
	t, head := req[len(req)-1], len(req)
	if len(resp) < head {
		return nil, &Error{Kind: ErrShort, InfoType: t}
	}
	if resp[0] != req[0]+0x40 || string(resp[1:head]) != string(req[1:]) {
		return nil, &Error{Kind: ErrMismatch, InfoType: t}
	}
	data := resp[head:]
	if len(data) == 0 {
		return nil, &Error{Kind: ErrShort, InfoType: t}
	}
	l := layoutOf(t)
	switch {
	case l == nil || l.length == 0:
		return []reading.Reading{raw(t, resp, head)}, nil
	case len(data) == l.length+1 && data[0] == 1:
		data = data[1:]
	case len(data) == l.length && req[0] == 0x22:
	case len(data) < l.length:
		return []reading.Reading{raw(t, resp, head)}, &Error{Kind: ErrShort, InfoType: t, Got: len(data)}
	default:
		return []reading.Reading{raw(t, resp, head)}, &Error{Kind: ErrLayout, InfoType: t, Got: len(data)}
	}
	out := make([]reading.Reading, len(l.fields))
	backing := make([]byte, 0, len(l.fields)*(head+4))
	for i, f := range l.fields {
		word := data[f.offset : f.offset+4]
		at := len(backing)
		backing = append(append(backing, resp[:head]...), word...)
		out[i] = reading.Reading{Key: f.Key, Name: f.Name, Value: f.value(binary.BigEndian.Uint32(word)), Raw: backing[at:len(backing):len(backing)]}
	}
	return out, nil
}

const notAvailable = 0xFFFFFFFF

func (f *Field) value(n uint32) reading.Value {
	if n == notAvailable {
		return reading.Absent{Why: reading.NotAvailable}
	}
	q, _ := reading.Scaled(int64(n), 1, f.den, 0, 1, f.Unit) // 32 bits over 10 or 100: always fits
	return q
}

// raw keeps the data of an answer nobody can read, count byte included.
func raw(t byte, resp []byte, head int) reading.Reading {
	return reading.Reading{Key: reading.Key(fmt.Sprintf("obfcm.raw_%02X", t)), Name: fmt.Sprintf("Consumption record %02X, bytes as sent", t),
		Value: reading.Text(strings.ToUpper(hex.EncodeToString(resp[head:]))), Raw: append([]byte(nil), resp...)}
}
