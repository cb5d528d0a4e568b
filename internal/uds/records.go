package uds

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"obdgate/internal/dtc"
	"obdgate/internal/obd"
	"obdgate/internal/reading"
)

//go:embed records.csv
var recordsCSV string

// Maker names whose layout of snapshots and extended data is meant. The zero value is nobody's: only what the standard
// says is split.
type Maker string

// BMW is BMW and MINI.
const BMW Maker = "bmw"

// recordField is one row of records.csv.
type recordField struct {
	width      int
	kind, name string
	scale      int64
	unit       reading.Unit
	verified   bool
}

type recordID struct {
	maker Maker
	sub   byte
	id    uint16
}

var recordTable = sync.OnceValue(func() map[recordID]recordField {
	c := csv.NewReader(strings.NewReader(recordsCSV))
	c.Comment, c.FieldsPerRecord = '#', 9
	rows, err := c.ReadAll()
	if err != nil {
		panic("uds: records.csv: " + err.Error())
	}
	out := map[recordID]recordField{}
	for _, r := range rows[1:] {
		sub, err1 := strconv.ParseUint(r[1], 16, 8)
		id, err2 := strconv.ParseUint(r[2], 16, 16)
		width, err3 := strconv.Atoi(r[3])
		scale, err4 := strconv.ParseInt(r[5], 10, 64)
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil || width < 1 || width > 4 {
			panic("uds: records.csv: row " + r[2])
		}
		out[recordID{Maker(r[0]), byte(sub), uint16(id)}] = recordField{width, r[4], r[7], scale, reading.Unit(r[6]), r[8] == "true"}
	}
	return out
})

func (f recordField) value(b []byte) reading.Value {
	var n int64
	ones := true
	for _, c := range b {
		n, ones = n<<8|int64(c), ones && c == 0xFF
	}
	switch {
	case ones && f.width > 1:
		return reading.Absent{Why: reading.NotAvailable}
	case f.kind == "number":
		q, _ := reading.Scaled(n, f.scale, 1, 0, 1, f.unit)
		return q
	}
	return reading.Text(hexUpper(b))
}

const recordHead = 6 // 59, report, three bytes of code, status

// records is 19 04 and 19 06: the code, its status, and records whose widths only the maker knows.
//
//	59 04 d1 d2 d3 st  { record  n  { did did data.. } x n }..
//	59 06 d1 d2 d3 st  { record  data.. }..
//
// Snapshots may hold time, place and speed: each value has a key of its own (uds.19.04.F40D), what cannot be told apart is
// kept as bytes under uds.19.04.raw, and what the policy does not name is personal.
func records(req, resp []byte) ([]reading.Reading, error) {
	sub := resp[1]
	if len(resp) < recordHead {
		return nil, &obd.Error{Kind: obd.ErrShort, Service: 0x19, ID: int(sub), Want: recordHead, Got: len(resp)}
	}
	if len(req) >= 5 && string(req[2:5]) != string(resp[2:5]) {
		return nil, &obd.Error{Kind: obd.ErrMismatch, Service: 0x19, ID: int(sub)}
	}
	out := []reading.Reading{dtc.Reading3(dtc.KeyUDS(sub), dtc.New3(resp[2], resp[3], resp[4]), dtc.Status(resp[5]), resp[:recordHead]...)}
	return append(out, split19(resp, "")...), nil
}

// ByMaker splits what Decode left as bytes of a snapshot or of extended data, where the maker's layout is public. Other
// readings, and those of other makers, come back as they are. The values of a layout that fewer than two sources know are
// called unconfirmed by Unconfirmed.
func ByMaker(m Maker, in []reading.Reading) []reading.Reading {
	var out []reading.Reading
	for _, r := range in {
		if (r.Key != subKey(0x04, "raw") && r.Key != subKey(0x06, "raw")) || len(r.Raw) <= recordHead {
			out = append(out, r)
			continue
		}
		// A snapshot is split from its beginning: what the first pass took apart is in front of what it left.
		for _, v := range split19(r.Raw, m) {
			v.ECU, v.From = r.ECU, r.From
			out = append(out, v)
		}
	}
	return out
}

// Unconfirmed reports whether a value of a snapshot or of extended data was split by a layout that one source alone gives.
func Unconfirmed(k reading.Key) bool {
	rest, ok := strings.CutPrefix(string(k), "uds.19.")
	sub, id, two := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(sub, 16, 8)
	i, err2 := strconv.ParseUint(id, 16, 16)
	if !ok || !two || err != nil || err2 != nil {
		return false
	}
	for at, f := range recordTable() {
		if at.sub == byte(n) && at.id == uint16(i) && len(id) == len(fmt.Sprintf("%0*X", 2+2*int(boolInt(at.sub == 0x04)), i)) {
			return !f.verified
		}
	}
	return false
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// RecordOf is the code and the record number that a value of a snapshot or of extended data belongs to.
func RecordOf(r reading.Reading) (c dtc.Code, record byte, ok bool) {
	k := string(r.Key)
	if !strings.HasPrefix(k, "uds.19.04.") && !strings.HasPrefix(k, "uds.19.06.") || strings.HasSuffix(k, ".dtc") || len(r.Raw) <= recordHead {
		return dtc.Code{}, 0, false
	}
	return dtc.New3(r.Raw[2], r.Raw[3], r.Raw[4]), r.Raw[recordHead], true
}

// split19 takes the records of a whole answer, or of what was left of one, apart as far as widths are known. Each value's
// bytes are the code's head, the record number and its own.
func split19(resp []byte, m Maker) (out []reading.Reading) {
	head, b := resp[:recordHead], resp[recordHead:]
	sub := resp[1]
	raw := func(parts ...[]byte) []byte {
		o := append([]byte(nil), head...)
		for _, p := range parts {
			o = append(o, p...)
		}
		return o
	}
	left := func(rest []byte) []reading.Reading {
		if len(rest) == 0 {
			return out
		}
		name := "Snapshot, record not known"
		if sub == 0x06 {
			name = "Extended data, record not known"
		}
		return append(out, reading.Reading{Key: subKey(sub, "raw"), Name: name, Value: reading.Text(hexUpper(rest)), Raw: raw(rest)})
	}
	if sub == 0x06 {
		for len(b) > 1 {
			f, ok := recordTable()[recordID{m, sub, uint16(b[0])}]
			if !ok || len(b) < 1+f.width {
				break
			}
			out = append(out, reading.Reading{Key: subKey(sub, fmt.Sprintf("%02X", b[0])), Name: f.name, Value: f.value(b[1 : 1+f.width]), Raw: raw(b[:1+f.width])})
			b = b[1+f.width:]
		}
		return left(b)
	}
	for len(b) >= 2 {
		record, n := b[:1], int(b[1])
		rest := b[2:]
		done := 0
		for ; done < n && len(rest) >= 2; done++ {
			did := uint16(rest[0])<<8 | uint16(rest[1])
			name := fmt.Sprintf(" (snapshot %d)", record[0])
			if least, most, known := obd.Lengths(rest[1]); rest[0] == pidRange && known && least == most && len(rest) >= 2+most {
				fields := obd.PID(fmt.Sprintf("uds.19.04.%04X", did), rest[1], rest[2:2+most], raw(record, rest[:2+most]))
				for i := range fields {
					fields[i].Name += name
				}
				out, rest = append(out, fields...), rest[2+most:]
				continue
			}
			f, ok := recordTable()[recordID{m, sub, did}]
			if !ok || len(rest) < 2+f.width {
				break
			}
			out = append(out, reading.Reading{Key: subKey(sub, fmt.Sprintf("%04X", did)), Name: f.name + name, Value: f.value(rest[2 : 2+f.width]), Raw: raw(record, rest[:2+f.width])})
			rest = rest[2+f.width:]
		}
		if done < n {
			return left(append([]byte{record[0], byte(n - done)}, rest...))
		}
		b = rest
	}
	return left(b)
}
