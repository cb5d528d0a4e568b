package uds

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"obdgate/internal/obd"
	"obdgate/internal/reading"
	"obdgate/internal/vin"
)

//go:embed dids.csv
var didsCSV string

type didRow struct{ kind, name string }

var didTable = sync.OnceValue(func() map[int]didRow {
	r := csv.NewReader(strings.NewReader(didsCSV))
	r.Comment, r.FieldsPerRecord = '#', 3
	all, err := r.ReadAll()
	if err != nil {
		panic("uds: dids.csv: " + err.Error())
	}
	t := map[int]didRow{}
	for _, row := range all[1:] {
		n, err := strconv.ParseUint(row[0], 16, 16)
		if err != nil {
			panic("uds: dids.csv: " + err.Error())
		}
		t[int(n)] = didRow{row[1], row[2]}
	}
	return t
})

// Ranges of ISO 14229-1 and J1979-2 that carry OBD data.
const (
	pidRange     = 0xF4 // F4xx has the bytes of PID xx
	monitorRange = 0xF6 // F6xx the results of MID xx
	infoRange    = 0xF8 // F8xx the data of InfoType xx
)

// data is service 22.
func data(req, resp []byte) ([]reading.Reading, error) {
	if len(req) == 4 { // KWP2000 (ISO 14230-3) puts a transmission mode behind the identifier
		req = req[:3]
	}
	if len(req) > 1 && len(req)%2 == 0 {
		return nil, &obd.Error{Kind: obd.ErrService, Service: 0x22, ID: -1}
	}
	if len(resp) < 3 {
		return nil, &obd.Error{Kind: obd.ErrShort, Service: 0x22, ID: -1, Want: 4, Got: len(resp)}
	}
	var want []int
	for b := req[1:]; len(b) >= 2; b = b[2:] {
		want = append(want, int(binary.BigEndian.Uint16(b)))
	}
	if len(want) <= 1 {
		did := int(binary.BigEndian.Uint16(resp[1:]))
		if len(want) == 1 && did != want[0] {
			return nil, &obd.Error{Kind: obd.ErrMismatch, Service: 0x22, ID: want[0]}
		}
		return DID(did, resp)
	}
	recs, err := split(want, resp[1:])
	if err != nil {
		return nil, err
	}
	var out []reading.Reading
	var soft error
	for _, r := range recs {
		part, err := DID(r.did, append([]byte{0x62, byte(r.did >> 8), byte(r.did)}, r.data...))
		out = append(out, part...)
		if err != nil && (soft == nil || obd.Usable(soft)) {
			soft = err
		}
	}
	return out, soft
}

type record struct {
	did  int
	data []byte
}

// split cuts an answer of several DIDs. ECUs leave out what they do not know and keep the order of the question, but the
// standard gives no lengths: a DID of known length is stepped over, any other reaches to the next DID that was asked.
// Where such a mark occurs twice in what is left, the cut is not certain and nothing is returned.
func split(want []int, body []byte) ([]record, error) {
	var out []record
	left := append([]int(nil), want...)
	for len(body) > 0 {
		if len(body) < 3 {
			return nil, &obd.Error{Kind: obd.ErrShort, Service: 0x22, ID: -1, Want: 3, Got: len(body)}
		}
		did := int(binary.BigEndian.Uint16(body))
		at := -1
		for i, w := range left {
			if w == did {
				at = i
			}
		}
		if at < 0 {
			return nil, &obd.Error{Kind: obd.ErrMismatch, Service: 0x22, ID: did}
		}
		left = append(left[:at], left[at+1:]...)
		rest := body[2:]
		end, err := extent(did, rest, left)
		if err != nil {
			return nil, err
		}
		out = append(out, record{did, rest[:end]})
		body = rest[end:]
	}
	return out, nil
}

// extent returns how many bytes of rest belong to did.
func extent(did int, rest []byte, left []int) (int, error) {
	if did>>8 == pidRange {
		if least, most, known := obd.Lengths(byte(did)); known && least == most {
			if len(rest) < least {
				return 0, &obd.Error{Kind: obd.ErrShort, Service: 0x22, ID: did, Want: least, Got: len(rest)}
			}
			return least, nil
		}
	}
	end := len(rest)
	for _, w := range left {
		mark := []byte{byte(w >> 8), byte(w)}
		i := bytes.Index(rest[1:], mark)
		if i < 0 {
			continue
		}
		if bytes.Contains(rest[1+i+1:], mark) {
			return 0, &obd.Error{Kind: obd.ErrAmbiguous, Service: 0x22, ID: w}
		}
		end = min(end, 1+i)
	}
	return end, nil
}

// DID decodes the answer to one data identifier. resp is the whole answer: 62, the DID, the data.
func DID(did int, resp []byte) ([]reading.Reading, error) {
	const head = 3
	if len(resp) == head && did>>8 < 0xF0 { // the maker's own: a list with nothing in it is an answer
		return one(key(did), fmt.Sprintf("DID %04X (the maker's own)", did), reading.Absent{Why: reading.NotAvailable}, resp), nil
	}
	if len(resp) <= head {
		return nil, &obd.Error{Kind: obd.ErrShort, Service: 0x22, ID: did, Want: head + 1, Got: len(resp)}
	}
	b, k, low := resp[head:], key(did), byte(did)
	switch did >> 8 {
	case pidRange:
		return obd.PIDAnswer(0x22, k, did, low, resp, head)
	case monitorRange:
		if !obd.IsBitmap(low) {
			return obd.MonitorResults(k, low, b, resp)
		}
		if len(b) < 4 {
			return nil, &obd.Error{Kind: obd.ErrShort, Service: 0x22, ID: did, Want: head + 4, Got: len(resp)}
		}
		return one(k, fmt.Sprintf("Supported DIDs F6%02X-F6%02X", low+1, low+0x20), reading.Code{N: uint64(binary.BigEndian.Uint32(b))}, resp[:head+4]), over(did, head+4, len(resp))
	case infoRange:
		return obd.Information(0x22, k, low, b, resp)
	case 0xF1:
		row, ok := didTable()[did]
		if !ok {
			return one(k, fmt.Sprintf("DID %04X (the maker's own)", did), obd.TextValue(b), resp), nil
		}
		return identification(did, row, b, resp)
	}
	return one(k, fmt.Sprintf("DID %04X (the maker's own)", did), reading.Text(hexUpper(b)), resp), nil
}

func over(did, want, got int) error {
	if got > want {
		return &obd.Error{Kind: obd.ErrOverlong, Service: 0x22, ID: did, Want: want, Got: got}
	}
	return nil
}

// identification decodes the DIDs of the standard's identification table.
func identification(did int, row didRow, b, resp []byte) ([]reading.Reading, error) {
	switch row.kind {
	case "vin":
		if len(b) < vin.Len {
			return nil, &obd.Error{Kind: obd.ErrShort, Service: 0x22, ID: did, Want: 3 + vin.Len, Got: len(resp)}
		}
		v, whole := obd.VIN(b)
		if !whole {
			return one(key(did), row.name, v, resp), over(did, 3+vin.Len, len(resp))
		}
		return one(key(did), row.name, v, resp), nil
	case "number":
		return one(key(did), row.name, numberValue(b), resp), nil
	case "number-or-text":
		if s, ok := obd.ASCII(b); ok && b[0] != 0 {
			return one(key(did), row.name, reading.Text(s), resp), nil
		}
		return one(key(did), row.name, numberValue(b), resp), nil
	case "date":
		return one(key(did), row.name, dateValue(b), resp), nil
	}
	v := obd.TextValue(b)
	if _, absent := v.(reading.Absent); absent && len(bytes.Trim(b, "\xff ")) > 0 {
		v = reading.Text(hexUpper(b)) // version 00 or 0000 is a version; only FF and spaces are padding
	}
	return one(key(did), row.name, v, resp), nil
}

// numberValue is a big endian number of up to eight bytes; more are shown as hexadecimal digits.
func numberValue(b []byte) reading.Value {
	if len(b) > 8 {
		return reading.Text(hexUpper(b))
	}
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return reading.Code{N: n}
}

// dateValue is a date as YYYYMMDD in ASCII or BCD, or YYMMDD in BCD (this century), written 2017-06-15. Anything else is
// treated as text.
func dateValue(b []byte) reading.Value {
	digits := string(b)
	if len(b) == 3 || len(b) == 4 {
		digits = hexUpper(b)
	}
	if len(digits) == 6 {
		digits = "20" + digits
	}
	if len(digits) != 8 || strings.Trim(digits, "0123456789") != "" {
		return obd.TextValue(b)
	}
	y, m, d := digits[:4], digits[4:6], digits[6:]
	if y < "1980" || m < "01" || m > "12" || d < "01" || d > "31" {
		return obd.TextValue(b)
	}
	return reading.Text(y + "-" + m + "-" + d)
}

func one(k, name string, v reading.Value, raw []byte) []reading.Reading {
	return []reading.Reading{{Key: reading.Key(k), Name: name, Value: v, Raw: append([]byte(nil), raw...)}}
}

func hexUpper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
