package obd

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"sync"

	"obdgate/internal/reading"
)

//go:embed uas.csv
var uasCSV string

//go:embed mids.csv
var midsCSV string

//go:embed tids.csv
var tidsCSV string

// unitScale is one row of the unit and scaling table of service 06.
type unitScale struct {
	signed      bool
	num, den    int64
	off, offDen int64
	unit        reading.Unit
	known       bool
}

type monitorTables struct {
	uas  [256]unitScale
	mids [256]string
	tids [256]string
}

var monitorTable = sync.OnceValue(func() *monitorTables {
	t := &monitorTables{}
	for r := range rows(uasCSV, 8) {
		t.uas[hexByte(r[0])] = unitScale{r[1] == "1", int64(atoi(r[2])), int64(atoi(r[3])), int64(atoi(r[4])), int64(atoi(r[5])), reading.Unit(r[6]), true}
	}
	for r := range rows(midsCSV, 3) {
		t.mids[hexByte(r[0])] = r[1]
	}
	for r := range rows(tidsCSV, 2) {
		t.tids[hexByte(r[0])] = r[1]
	}
	return t
})

// Result is the judgement of one monitor test.
type Result uint8

const (
	NotRun    Result = iota // value and both limits are zero: the test has not run since the memory was cleared
	Passed                  // min <= value <= max
	Failed                  // outside
	NotJudged               // min > max, or a scaling nobody has described
)

func (r Result) String() string {
	return [...]string{"not run", "passed", "failed", "not judged"}[min(r, NotJudged)]
}

// Test is one record of service 06: a monitor test with its limits.
type Test struct {
	MID, TID, UAS       byte
	Monitor, Name       string // English; Name is empty for the maker's own tests
	Value, Min, Max     reading.Value
	NoLowest, NoHighest bool // the limit is the end of the range: no limit on this side
	Result              Result
	InLimits            bool // min <= value <= max as numbers, also where the test has not run
}

const testRecord = 9 // MID TID UASID value(2) min(2) max(2)

// Tests decodes the records of a service 06 answer. Nothing is returned for a bitmap answer.
func Tests(resp []byte) ([]Test, error) {
	if len(resp) < 2 || resp[0] != 0x46 {
		return nil, &Error{Kind: ErrMismatch, Service: 0x06, ID: -1}
	}
	if IsBitmap(resp[1]) {
		return nil, nil
	}
	var out []Test
	b := resp[1:]
	for ; len(b) >= testRecord; b = b[testRecord:] {
		if b[0] != resp[1] {
			return out, &Error{Kind: ErrFormat, Service: 0x06, ID: int(resp[1])}
		}
		out = append(out, test(b[0], b[1:testRecord]))
	}
	if len(b) > 0 {
		return out, &Error{Kind: ErrShort, Service: 0x06, ID: int(resp[1]), Want: len(resp) - len(b) + testRecord, Got: len(resp)}
	}
	return out, nil
}

// test reads TID UASID value min max.
func test(mid byte, b []byte) Test {
	t := monitorTable()
	s := t.uas[b[1]]
	v, lo, hi := binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	out := Test{MID: mid, TID: b[0], UAS: b[1], Monitor: t.mids[mid], Name: t.tids[b[0]],
		Value: s.value(v), Min: s.value(lo), Max: s.value(hi)}
	n, nlo, nhi := s.order(v), s.order(lo), s.order(hi)
	out.InLimits = nlo <= n && n <= nhi
	if s.signed {
		out.NoLowest, out.NoHighest = lo == 0x8000, hi == 0x7FFF
	} else {
		out.NoLowest, out.NoHighest = lo == 0, hi == 0xFFFF
	}
	switch {
	case v == 0 && lo == 0 && hi == 0:
		out.Result = NotRun
	case !s.known || nlo > nhi:
		out.Result = NotJudged
	case out.InLimits:
		out.Result = Passed
	default:
		out.Result = Failed
	}
	return out
}

func (s unitScale) order(v uint16) int64 {
	if s.signed {
		return int64(int16(v))
	}
	return int64(v)
}

// value scales a test value; one whose scaling nobody has described is shown as sent.
func (s unitScale) value(v uint16) reading.Value {
	if !s.known {
		return reading.Code{N: uint64(v)}
	}
	return scaled(s.order(v), s.num, s.den, s.off, s.offDen, s.unit)
}

// monitors is service 06 on CAN. want holds the MIDs asked: one, or several bitmaps.
func monitors(want, resp []byte) ([]reading.Reading, error) {
	if len(resp) < 2 {
		return nil, &Error{Kind: ErrShort, Service: 0x06, ID: -1, Want: 2 + testRecord, Got: len(resp)}
	}
	if len(want) > 0 && bytes.IndexByte(want, resp[1]) < 0 {
		return nil, &Error{Kind: ErrMismatch, Service: 0x06, ID: int(want[0])}
	}
	if IsBitmap(resp[1]) {
		return bitmaps(0x06, want, resp)
	}
	tests, err := Tests(resp)
	var out []reading.Reading
	for i, t := range tests {
		raw := append([]byte{0x46}, resp[1+i*testRecord:1+(i+1)*testRecord]...)
		out = append(out, t.readings(fmt.Sprintf("obd.06.%02X.%02X", t.MID, t.TID), raw)...)
	}
	return out, err
}

// MonitorResults decodes what DID F6xx carries: the records of MID xx without the repeated MID. No capture of it is
// public: the layout is inferred. key is the key without test, raw the echo and the data.
func MonitorResults(key string, mid byte, data, raw []byte) ([]reading.Reading, error) {
	const n = testRecord - 1
	var out []reading.Reading
	for b := data; len(b) >= n; b = b[n:] {
		t := test(mid, b[:n])
		out = append(out, t.readings(fmt.Sprintf("%s.%02X", key, t.TID), append(append([]byte(nil), raw[:len(raw)-len(data)]...), b[:n]...))...)
	}
	if len(data) == 0 || len(data)%n != 0 {
		return out, &Error{Kind: ErrShort, Service: 0x22, ID: 0xF600 | int(mid), Want: len(raw) - len(data)%n + n, Got: len(raw)}
	}
	return out, nil
}

// readings gives one test as four readings: value, limits, result.
func (t Test) readings(key string, raw []byte) []reading.Reading {
	name := t.Monitor
	if name == "" {
		name = fmt.Sprintf("Monitor %02X", t.MID)
	}
	if t.Name != "" {
		name += ": " + t.Name
	} else {
		name += fmt.Sprintf(": test %02X", t.TID)
	}
	out := make([]reading.Reading, 0, 4)
	for _, f := range []struct {
		key, name string
		v         reading.Value
	}{
		{"value", "", t.Value}, {"min", ", lowest allowed", t.Min}, {"max", ", highest allowed", t.Max},
		{"result", ", result", reading.Code{N: uint64(t.Result), Label: t.Result.String()}},
	} {
		out = append(out, reading.Reading{Key: reading.Key(key + "." + f.key), Name: name + f.name, Value: f.v, Raw: append([]byte(nil), raw...)})
	}
	return out
}

// bitmaps decodes an answer of support bitmaps, id and four bytes each.
func bitmaps(service byte, want, resp []byte) ([]reading.Reading, error) {
	var out []reading.Reading
	b := resp[1:]
	for ; len(b) >= 5; b = b[5:] {
		if !IsBitmap(b[0]) || len(want) > 0 && bytes.IndexByte(want, b[0]) < 0 {
			if len(out) > 0 && len(want) == 1 {
				break
			}
			return out, &Error{Kind: ErrMismatch, Service: service, ID: int(b[0])}
		}
		out = append(out, reading.Reading{Key: reading.Key(fmt.Sprintf("obd.%02X.%02X", service, b[0])),
			Name:  fmt.Sprintf("Supported ids %02X-%02X of service %02X", b[0]+1, b[0]+0x20, service),
			Value: reading.Code{N: uint64(binary.BigEndian.Uint32(b[1:]))}, Raw: append([]byte{service + 0x40}, b[:5]...)})
	}
	if len(b) == 0 {
		return out, nil
	}
	if len(want) == 1 && len(out) == 1 {
		return out, surplus(service, int(want[0]), 6, len(resp))
	}
	return out, &Error{Kind: ErrShort, Service: service, ID: int(b[0]), Want: len(resp) - len(b) + 5, Got: len(resp)}
}
