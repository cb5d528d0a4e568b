package odometer

import (
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"obdgate/internal/isotp"
	"obdgate/internal/reading"
)

//go:embed makers.csv
var makersCSV string

// Row is one place where a maker keeps the mileage.
type Row struct {
	Make, Unit        string // "BMW, MINI"; unit km or mi
	ECU               string // English name of the control unit
	Request, Response uint32 // CAN identifiers
	Ext               byte   // extended address of the ECU, 0 = normal addressing
	Payload           []byte // the question: 22 D1 0D, 21 28, 1A DF
	Verified          bool   // two sources and recorded replies agree
	Sources, Note     string
	offset, width     int
	num, den          int64
}

// Address is the pair to ask with.
func (r Row) Address() isotp.Address {
	a := isotp.Address{Tx: r.Request, Rx: r.Response, Extended29: r.Request > 0x7FF}
	if r.Ext != 0 {
		a.Ext, a.TxTarget, a.RxTarget = true, r.Ext, 0xF1
	}
	return a
}

// Key is the key of the row's reading: "odometer.22.D10D".
func (r Row) Key() reading.Key {
	return reading.Key(fmt.Sprintf("odometer.%02X.%X", r.Payload[0], r.Payload[1:]))
}

var makers = sync.OnceValue(func() []Row {
	c := csv.NewReader(strings.NewReader(makersCSV))
	c.Comment, c.FieldsPerRecord = '#', 15
	all, err := c.ReadAll()
	must(err)
	var out []Row
	for _, r := range all[1:] {
		row := Row{Make: r[0], ECU: r[1], Request: hexa(r[2]), Response: hexa(r[3]), Unit: r[11], Verified: r[12] == "true", Sources: r[13], Note: r[14],
			offset: deci(r[7]), width: deci(r[8]), num: int64(deci(r[9])), den: int64(deci(r[10]))}
		if r[4] != "" {
			row.Ext = byte(hexa(r[4]))
		}
		row.Payload = []byte{byte(hexa(r[5]))}
		id := hexa(r[6])
		if len(r[6]) == 4 {
			row.Payload = append(row.Payload, byte(id>>8))
		}
		row.Payload = append(row.Payload, byte(id))
		out = append(out, row)
	}
	return out
})

// Rows returns every place of every make, in the table's order. The slice is the caller's.
func Rows() []Row { return slices.Clone(makers()) }

func must(err error) {
	if err != nil {
		panic("odometer: makers.csv: " + err.Error())
	}
}

func hexa(s string) uint32 {
	n, err := strconv.ParseUint(s, 16, 32)
	must(err)
	return uint32(n)
}

func deci(s string) int {
	n, err := strconv.Atoi(s)
	must(err)
	return n
}

// ErrShort: the answer is the right one and ends before the mileage.
var ErrShort = errors.New("odometer: answer is too short")

// Decode reads the mileage out of an answer to a maker's own question, service byte first. response is the identifier the
// ECU answered on, 0 = not known. ok is false when the table has no such place: the same identifier means other things in
// other control units, so that a known response identifier must match a row. With an unknown one every row of that
// question must agree on the place, and the answer must end with it.
//
// A cluster that shows miles answers the kilometre place with 0 and the other way round: both places are returned, the
// empty one as Absent. 0, all ones, and ten million kilometres or more are no mileage.
func Decode(response uint32, resp []byte) (out []reading.Reading, ok bool, err error) {
	for i := range makers() {
		row := &makers()[i]
		if len(resp) < len(row.Payload) || resp[0] != row.Payload[0]+0x40 || string(resp[1:len(row.Payload)]) != string(row.Payload[1:]) {
			continue
		}
		if response != 0 && row.Response != response || response == 0 && len(resp) != len(row.Payload)+row.offset+row.width {
			continue
		}
		v, err := row.value(resp[len(row.Payload):])
		if err != nil {
			return nil, true, err
		}
		if n := len(out); n > 0 && response == 0 {
			if out[n-1].Value != v {
				return nil, false, nil // rows disagree and nothing tells which one it is
			}
			continue
		}
		out = append(out, reading.Reading{Key: row.Key(), Name: "Mileage, " + row.ECU, Value: v, Raw: append([]byte(nil), resp...)})
	}
	return out, len(out) > 0, nil
}

func (r *Row) value(data []byte) (reading.Value, error) {
	if len(data) < r.offset+r.width {
		return nil, ErrShort
	}
	var n uint64
	for _, b := range data[r.offset : r.offset+r.width] {
		n = n<<8 | uint64(b)
	}
	if n == 0 || n == 1<<(8*r.width)-1 {
		return reading.Absent{Why: reading.NotAvailable}, nil
	}
	q, fits := reading.Scaled(int64(n), r.num, r.den, 0, 1, reading.Unit(r.Unit))
	if km, ok := Km(q); !fits || !ok || km.Cmp(limit) >= 0 {
		return reading.Absent{Why: reading.NotAvailable}, nil
	}
	return q, nil
}

// limit is the mileage no vehicle has.
var limit = reading.Quantity{Num: 10_000_000, Den: 1, Unit: "km"}

// Km converts a distance in km or mi (1609.344 m) to km, exactly; ok is false for other units.
func Km(q reading.Quantity) (km reading.Quantity, ok bool) {
	switch q.Unit {
	case "km":
		return q, q.Den > 0
	case "mi":
		const num, den = 201168, 125000 // 1.609344
		km, ok = reading.Scaled(q.Num, num, den*q.Den, 0, 1, "km")
		return km, ok
	}
	return reading.Quantity{}, false
}
