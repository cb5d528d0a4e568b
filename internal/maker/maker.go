// Package maker reads what a workshop wants from the makers' own identifiers: tyre pressures, oil life, the health of the 12 V
// and the traction battery. What is where stands in tables/, a file for each make; a further car is a further file. Pure: no
// I/O and no clock.
package maker

import (
	"embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"

	"obdgate/internal/isotp"
	"obdgate/internal/reading"
)

//go:embed tables/*.csv
var files embed.FS

// Row is one value of a maker's answer.
type Row struct {
	Make     string // the file's name: "ford"
	Field    string // "tyre_fl"
	Name     string // English
	ECU      string // English name of the control unit
	Unit     reading.Unit
	Category string // of the policy: condition, service, load-profile
	Verified bool   // recorded replies of real cars gave the published value
	Source   string
	Payload  []byte // the question: 22 C0 0B

	vehicles      []string // beginnings of the VIN
	addr          isotp.Address
	offset, width int // bytes after the echo of the question
	length        int // bytes after the echo of the question that an answer of this layout has, 0 = any
	signed        bool
	num, den      int64 // value = raw*num/den + add/addDen
	add, addDen   int64
	none          []uint64 // raw values that mean not available
}

// Address is the pair to ask with.
func (r Row) Address() isotp.Address { return r.addr }

// Vehicles are the beginnings of the VINs the row is for. The slice is shared: do not change it.
func (r Row) Vehicles() []string { return r.vehicles }

// Place is where the value stands: bytes after the echo of the question, and how many.
func (r Row) Place() (offset, width int) { return r.offset, r.width }

// Length is how many bytes after the echo of the question an answer with this layout has, 0 = any: makers change a layout
// under the same identifier, and its length tells which one it is.
func (r Row) Length() int { return r.length }

// Key is the key of the row's reading, the category in front so that the policy can tell: "maker.condition.ford.22.2813.tyre_fl".
func (r Row) Key() reading.Key {
	return reading.Key(fmt.Sprintf("maker.%s.%s.%02X.%X.%s", strings.ReplaceAll(r.Category, "-", "_"), r.Make, r.Payload[0], r.Payload[1:], r.Field))
}

const columns = 20

var table = sync.OnceValue(func() (out []Row) {
	records(func(p *parser, name string, r []string) {
		row := Row{Make: name, Field: r[0], Name: r[1], vehicles: strings.Split(r[2], "|"), ECU: r[3], Unit: reading.Unit(r[16]), Category: r[17],
			Verified: r[18] == "true", Source: r[19], length: p.int(r[8]), offset: p.int(r[9]), width: p.int(r[10]), signed: r[11] == "1", num: int64(p.int(r[12])), den: int64(p.int(r[13]))}
		row.addr = p.address(r[4], r[5])
		row.Payload = append([]byte{byte(p.hex(r[6]))}, p.bytes(r[7])...)
		row.add, row.addDen = p.decimal(r[14])
		for _, n := range strings.Fields(r[15]) {
			row.none = append(row.none, uint64(p.hex(n)))
		}
		if row.den <= 0 || row.width < 1 || row.width > 4 || row.offset < 0 || row.length < 0 || row.length > 0 && row.length < row.offset+row.width || row.Name == "" || row.Source == "" {
			p.err = errors.Join(p.err, errors.New("not a row"))
		}
		out = append(out, row)
	})
	return out
})

// addresses needs two columns; whoever follows conversations needs them long before a vehicle's maker is known.
var addresses = sync.OnceValue(func() (out []isotp.Address) {
	records(func(p *parser, _ string, r []string) {
		if a := p.address(r[4], r[5]); !slices.Contains(out, a) {
			out = append(out, a)
		}
	})
	return out
})

// records gives every record of every file, with its make, which is the file's name. The tables are part of the program: a
// broken one is a broken build, which the tests notice.
func records(each func(p *parser, name string, r []string)) {
	names, err := files.ReadDir("tables")
	if err != nil {
		panic("maker: " + err.Error())
	}
	for _, file := range names {
		f, err := files.Open("tables/" + file.Name())
		if err != nil {
			panic("maker: " + err.Error())
		}
		c := csv.NewReader(f)
		c.Comment, c.FieldsPerRecord, c.ReuseRecord = '#', columns, true
		p := &parser{}
		p.rows(c, strings.TrimSuffix(file.Name(), ".csv"), each)
		if p.err != nil {
			panic("maker: " + file.Name() + ": " + p.err.Error())
		}
	}
}

func (p *parser) rows(c *csv.Reader, name string, each func(p *parser, name string, r []string)) {
	_, err := c.Read() // the head
	for n := 0; ; n++ {
		var r []string
		if err == nil {
			r, err = c.Read()
		}
		if err != nil {
			if n == 0 || !errors.Is(err, io.EOF) {
				p.err = fmt.Errorf("row %d: %w", n+1, err)
			}
			return
		}
		if each(p, name, r); p.err != nil {
			p.err = fmt.Errorf("%s: %w", r[0], p.err)
			return
		}
	}
}

// parser keeps the first error.
type parser struct{ err error }

func (p *parser) int(s string) int {
	n, err := strconv.Atoi(s)
	p.err = errors.Join(p.err, err)
	return n
}

func (p *parser) hex(s string) uint32 {
	n, err := strconv.ParseUint(s, 16, 32)
	p.err = errors.Join(p.err, err)
	return uint32(n)
}

func (p *parser) bytes(s string) []byte {
	n := p.hex(s)
	if len(s) == 4 {
		return []byte{byte(n >> 8), byte(n)}
	}
	return []byte{byte(n)}
}

// decimal reads -0.5.
func (p *parser) decimal(s string) (num, den int64) {
	r, ok := new(big.Rat).SetString(s)
	if !ok || !r.Num().IsInt64() || !r.Denom().IsInt64() {
		p.err = errors.Join(p.err, fmt.Errorf("%q is no number", s))
		return 0, 1
	}
	return r.Num().Int64(), r.Denom().Int64()
}

// address reads "7A0" and "7A8", or with extended addressing "6F1/12" and "612/F1": the address byte behind the stroke.
func (p *parser) address(request, response string) isotp.Address {
	tx, to, ext := strings.Cut(request, "/")
	rx, from, _ := strings.Cut(response, "/")
	a := isotp.Address{Tx: p.hex(tx), Rx: p.hex(rx)}
	a.Extended29 = a.Tx > 0x7FF
	if ext {
		a.Ext, a.TxTarget, a.RxTarget = true, byte(p.hex(to)), byte(p.hex(from))
	}
	return a
}

// Rows returns every row of every file. The slice is the caller's.
func Rows() []Row { return slices.Clone(table()) }

// Addresses returns the pairs of identifiers of all rows, each once. The slice is the caller's.
func Addresses() []isotp.Address { return slices.Clone(addresses()) }

// ForVehicle returns the rows for a vehicle whose VIN begins so (the first characters of the world manufacturer identifier,
// ISO 3780), in the files' order. The same identifier of the same control unit is another thing in another make.
func ForVehicle(wmi string) []Row {
	var out []Row
	for _, r := range table() {
		if r.of(wmi) {
			out = append(out, r)
		}
	}
	return out
}

func (r *Row) of(vehicle string) bool {
	return slices.ContainsFunc(r.vehicles, func(v string) bool { return v != "" && strings.HasPrefix(vehicle, v) })
}

// Errors of an answer to the right question.
var (
	ErrShort  = errors.New("maker: answer is too short")                                // it ends before a value that has a place in it
	ErrLayout = errors.New("maker: answer has a length that no known layout of it has") // its bytes may mean something else
)

// Decode reads every value of an answer to a maker's own question, service byte first. response is the identifier the ECU
// answered on; 0, not known, decodes nothing: the same identifier means other things elsewhere. vehicle is how the VIN begins,
// "" = not known: identifiers that control units of every make answer on (ISO 15765-4) are then read only where recorded
// replies confirm the place. ok is false when no row has such an answer. Two makes that share control units have the same
// rows, so that the first decides.
func Decode(response uint32, vehicle string, resp []byte) (out []reading.Reading, ok bool, err error) {
	var seen []string
	other := false
	for _, r := range table() {
		head := len(r.Payload)
		if r.addr.Rx != response || len(resp) < head || resp[0] != r.Payload[0]+0x40 || string(resp[1:head]) != string(r.Payload[1:]) || slices.Contains(seen, r.Field) {
			continue
		}
		if _, every := isotp.OBDResponder(response, r.addr.Extended29); vehicle != "" && !r.of(vehicle) || vehicle == "" && every && !r.Verified {
			continue
		}
		ok = true
		if r.length > 0 && len(resp)-head != r.length {
			other = true
			continue
		}
		seen = append(seen, r.Field)
		v, fits := r.value(resp[head:])
		if !fits {
			err = ErrShort
			continue
		}
		out = append(out, reading.Reading{Key: r.Key(), Name: r.Name, Value: v, Raw: slices.Clone(resp)})
	}
	if len(out) == 0 && err == nil && other {
		err = ErrLayout
	}
	return out, ok, err
}

func (r *Row) value(data []byte) (reading.Value, bool) {
	if len(data) < r.offset+r.width {
		return nil, false
	}
	var raw uint64
	for _, b := range data[r.offset : r.offset+r.width] {
		raw = raw<<8 | uint64(b)
	}
	if slices.Contains(r.none, raw) {
		return reading.Absent{Why: reading.NotAvailable}, true
	}
	n := int64(raw)
	if r.signed && raw>>(8*r.width-1) == 1 {
		n -= 1 << (8 * r.width)
	}
	q, fits := reading.Scaled(n, r.num, r.den, r.add, r.addDen, r.Unit)
	if !fits {
		return reading.Absent{Why: reading.Damaged}, true
	}
	return q, true
}

// Unconfirmed reports whether a key has a place that no recorded reply of a real car has shown, or that sources dispute.
func Unconfirmed(k reading.Key) bool {
	return slices.ContainsFunc(table(), func(r Row) bool { return !r.Verified && r.Key() == k })
}
