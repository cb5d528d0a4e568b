package obd

import (
	_ "embed"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"sync"

	"obdgate/internal/dtc"
	"obdgate/internal/reading"
)

//go:embed pids.csv
var pidsCSV string

//go:embed enums.csv
var enumsCSV string

// kind says how the bits of a field become a value.
type kind uint8

const (
	quantity kind = iota // raw*num/den + offset in unit
	boolean              // one bit
	enum                 // a number with a name
	bitmap               // a number whose bits have names
	number               // bits whose meaning or scale nobody has confirmed: shown as sent
	dtc16                // a two-byte trouble code, 0000 = none
)

var kinds = map[string]kind{"quantity": quantity, "bool": boolean, "enum": enum, "bitmap": bitmap, "raw": number, "dtc16": dtc16}

// Field is one row of the service 01 table: one value inside the data of one PID. Services 02 and 22 F4xx share it.
type Field struct {
	PID      byte
	Key      string // "engine_coolant_temp"
	Name     string // English, for people
	Unit     reading.Unit
	Verified bool   // two independent sources agree on position and scale
	Sources  string // letters of the table's head
	kind     kind
	start    int // bits after the most significant bit of byte A
	bits     int
	signed   bool
	num, den int64
	offset   int64
	support  int8 // bit of byte A that must be 1, -1 = none
	enum     string
	ones     string
	only     bool // the PID has no other field
}

// pidTable is what is known of one PID.
type pidTable struct {
	min, max int // data bytes
	fields   []Field
}

type tables struct {
	pids  [256]pidTable
	enums map[string]map[string]string
}

var table = sync.OnceValue(func() *tables {
	t := &tables{enums: map[string]map[string]string{}}
	for r := range rows(enumsCSV, 3) {
		if t.enums[r[0]] == nil {
			t.enums[r[0]] = map[string]string{}
		}
		t.enums[r[0]][r[1]] = r[2]
	}
	for r := range rows(pidsCSV, 19) {
		pid := hexByte(r[0])
		p := &t.pids[pid]
		p.min, p.max = atoi(r[1]), atoi(r[2])
		k, ok := kinds[r[5]]
		if !ok {
			panic("obd: pids.csv: kind " + r[5])
		}
		f := Field{
			PID: pid, Key: r[3], Name: r[4], kind: k, Unit: reading.Unit(r[6]),
			start: atoi(r[7]), bits: atoi(r[8]), signed: r[9] == "1",
			num: int64(atoi(r[10])), den: int64(atoi(r[11])), offset: int64(atoi(r[12])), support: -1,
			enum: r[14], ones: r[15], Verified: r[16] == "true", Sources: r[18],
		}
		if r[13] != "" {
			f.support = int8(atoi(r[13]))
		}
		p.fields = append(p.fields, f)
	}
	for i := range t.pids {
		for j := range t.pids[i].fields {
			t.pids[i].fields[j].only = len(t.pids[i].fields) == 1
		}
	}
	return t
})

// rows gives the rows of an embedded table: '#' comments, a header, n columns. A row is good until the next. The tables are
// part of the program; a broken one is a broken build, which the package's tests notice.
func rows(text string, n int) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		r := csv.NewReader(strings.NewReader(text))
		r.Comment, r.FieldsPerRecord, r.ReuseRecord = '#', n, true
		_, err := r.Read()
		for err == nil {
			var row []string
			if row, err = r.Read(); err == nil && !yield(row) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			panic("obd: embedded table: " + err.Error())
		}
	}
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("obd: embedded table: " + err.Error())
	}
	return n
}

func hexByte(s string) byte {
	n, err := strconv.ParseUint(s, 16, 8)
	if err != nil {
		panic("obd: embedded table: " + err.Error())
	}
	return byte(n)
}

// bitsOf returns the bits of data from start, most significant first. bits is at most 64 and inside data.
func bitsOf(data []byte, start, bits int) uint64 {
	var v uint64
	for i := start / 8; i <= (start+bits-1)/8; i++ {
		v = v<<8 | uint64(data[i])
	}
	v >>= uint(7 - (start+bits-1)%8)
	if bits < 64 {
		v &= 1<<uint(bits) - 1
	}
	return v
}

// fits reports whether the field lies inside n data bytes.
func (f *Field) fits(n int) bool { return f.start+f.bits <= n*8 }

// value interprets the field's bits. data holds the whole field.
func (f *Field) value(t *tables, data []byte) reading.Value {
	if f.support >= 0 && data[0]>>uint(f.support)&1 == 0 {
		return reading.Absent{Why: reading.NotAvailable}
	}
	if f.bits > 64 {
		return reading.Text(hexUpper(data[f.start/8 : (f.start+f.bits)/8]))
	}
	raw := bitsOf(data, f.start, f.bits)
	if f.ones == "absent" && raw == 1<<uint(f.bits)-1 {
		return reading.Absent{Why: reading.NotAvailable}
	}
	switch f.kind {
	case boolean:
		return reading.Code{N: raw, Bool: true}
	case enum:
		return reading.Code{N: raw, Label: t.enums[f.enum][strconv.FormatUint(raw, 10)]}
	case bitmap:
		return reading.Code{N: raw, Label: t.bitNames(f.enum, raw)}
	case number:
		return reading.Code{N: raw}
	case dtc16:
		if raw == 0 {
			return reading.Absent{Why: reading.NotAvailable}
		}
		return reading.Code{N: raw, Label: dtc.New2(byte(raw>>8), byte(raw)).String()}
	}
	n := int64(raw)
	if f.signed && raw>>uint(f.bits-1) == 1 {
		n -= 1 << uint(f.bits)
	}
	return scaled(n, f.num, f.den, f.offset, 1, f.Unit)
}

// scaled is reading.Scaled; the tables' factors keep every result inside 64 bits (tested), so that it cannot fail.
func scaled(raw, num, den, off, offDen int64, u reading.Unit) reading.Value {
	q, ok := reading.Scaled(raw, num, den, off, offDen, u)
	if !ok {
		return reading.Absent{Why: reading.Damaged}
	}
	return q
}

// bitNames lists the names of the bits set, in ascending order; empty when the bitmap has none.
func (t *tables) bitNames(enum string, raw uint64) string {
	names := t.enums[enum]
	if names == nil {
		return ""
	}
	var set []string
	for i := range 64 {
		if raw>>uint(i)&1 == 1 && names["bit"+strconv.Itoa(i)] != "" {
			set = append(set, names["bit"+strconv.Itoa(i)])
		}
	}
	return strings.Join(set, ", ")
}

func hexUpper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// PID decodes the data bytes of one PID (J1979 layout) into one reading per field, in table order. prefix is the key up
// to and including the id ("obd.01.05", "uds.22.F405"); raw, the echo and the data, is copied into every reading. Fields
// beyond the data of a PID of variable length are left out. A PID without a row gives its bytes as hexadecimal text.
// The length is the caller's to check (Lengths).
func PID(prefix string, pid byte, data, raw []byte) []reading.Reading {
	t := table()
	p := &t.pids[pid]
	if len(p.fields) == 0 {
		return []reading.Reading{{Key: reading.Key(prefix), Name: fmt.Sprintf("PID %02X (not described)", pid),
			Value: reading.Text(hexUpper(data)), Raw: append([]byte(nil), raw...)}}
	}
	out := make([]reading.Reading, 0, len(p.fields))
	backing := make([]byte, 0, len(p.fields)*len(raw))
	for i := range p.fields {
		f := &p.fields[i]
		if !f.fits(len(data)) {
			continue
		}
		at := len(backing)
		backing = append(backing, raw...)
		key := reading.Key(prefix)
		if !f.only {
			key = reading.Key(prefix + "." + f.Key)
		}
		out = append(out, reading.Reading{Key: key, Name: f.Name, Value: f.value(t, data), Raw: backing[at:len(backing):len(backing)]})
	}
	return out
}

// Lengths returns the number of data bytes a PID may have in an answer; ok is false when no row knows it, so that it
// cannot be split out of a combined answer.
func Lengths(pid byte) (least, most int, ok bool) {
	p := &table().pids[pid]
	return p.min, p.max, len(p.fields) > 0
}

// Fields returns the rows of one PID in table order, nil when it has none. The slice is the caller's.
func Fields(pid byte) []Field { return append([]Field(nil), table().pids[pid].fields...) }

// FieldOf returns the row behind a key of the forms obd.01.PP[.field], obd.02.PP[.field] and uds.22.F4PP[.field].
func FieldOf(k reading.Key) (Field, bool) {
	s := string(k)
	var rest string
	switch {
	case strings.HasPrefix(s, "obd.01."), strings.HasPrefix(s, "obd.02."):
		rest = s[7:]
	case strings.HasPrefix(s, "uds.22.F4"):
		rest = s[9:]
	default:
		return Field{}, false
	}
	id, name, _ := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(id, 16, 8)
	if err != nil || len(id) != 2 {
		return Field{}, false
	}
	for _, f := range table().pids[n].fields {
		if f.Key == name || f.only && name == "" {
			return f, true
		}
	}
	return Field{}, false
}

// Note returns a caution that belongs to this value, "" when there is none: a counter at its end ("at least"), a byte
// that stands for "not used". The value itself is as sent: one ECU's FFFF may be a full counter and another's "not
// available", which only the other answers can tell.
func Note(r reading.Reading) string {
	f, ok := FieldOf(r.Key)
	if !ok {
		return ""
	}
	q, isQ := r.Value.(reading.Quantity)
	if !isQ || f.ones == "" || f.bits > 32 {
		return ""
	}
	top, _ := reading.Scaled(1<<uint(f.bits)-1, f.num, f.den, f.offset, 1, f.Unit)
	if q != top {
		return ""
	}
	switch f.ones {
	case "saturated":
		return "counter at its end: at least this, or not available"
	case "unused":
		return "sensor is not used for trim"
	case "doubtful":
		return "can mean not available"
	}
	return ""
}

// Saturated reports whether r is a counter at its end (PIDs 1F, 21, 30, 31, 4D, 4E): "at least", or from some hybrid
// ECUs "not available". It must not be compared with other distances or times.
func Saturated(r reading.Reading) bool {
	f, ok := FieldOf(r.Key)
	return ok && f.ones == "saturated" && Note(r) != ""
}
