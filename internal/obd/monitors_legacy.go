package obd

import (
	"encoding/binary"
	"fmt"

	"obdgate/internal/reading"
)

// legacyMonitors is service 06 on K-line and J1850 (SAE J1979:2002, 6.6; freediag reads it so): one limit to a test, numbers
// whose unit only the maker knows. want holds the test asked.
//
//	46 00 FF b1 b2 b3 b4      which tests there are; the byte in front is filling
//	46 TID LC v v l l  ..     LC: bit 7 the limit is a minimum, else a maximum; bits 6..0 the component
func legacyMonitors(want, resp []byte) ([]reading.Reading, error) {
	const record, bitmap = 6, 7
	if len(resp) < 2 {
		return nil, &Error{Kind: ErrShort, Service: 0x06, ID: -1, Want: 1 + record, Got: len(resp)}
	}
	id := resp[1]
	if len(want) > 0 && id != want[0] {
		return nil, &Error{Kind: ErrMismatch, Service: 0x06, ID: int(want[0])}
	}
	if IsBitmap(id) {
		if len(resp) < bitmap {
			return nil, &Error{Kind: ErrShort, Service: 0x06, ID: int(id), Want: bitmap, Got: len(resp)}
		}
		return []reading.Reading{{Key: reading.Key(fmt.Sprintf("obd.06.%02X", id)), Name: fmt.Sprintf("Supported ids %02X-%02X of service 06", id+1, id+0x20),
			Value: reading.Code{N: uint64(binary.BigEndian.Uint32(resp[3:]))}, Raw: append([]byte{0x46, id}, resp[3:bitmap]...)}}, surplus(0x06, int(id), bitmap, len(resp))
	}
	var out []reading.Reading
	b := resp[1:]
	for ; len(b) >= record; b = b[record:] {
		if b[0] != id {
			return out, &Error{Kind: ErrFormat, Service: 0x06, ID: int(id)}
		}
		v, limit := binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[4:])
		side, result := "max", Passed
		if v > limit {
			result = Failed
		}
		if b[1]&0x80 != 0 {
			side, result = "min", Passed
			if v < limit {
				result = Failed
			}
		}
		name := fmt.Sprintf("Test %02X of component %02X", id, b[1]&0x7F)
		key := fmt.Sprintf("obd.06.%02X.%02X.", id, b[1])
		raw := append([]byte{0x46}, b[:record]...)
		allowed := map[string]string{"max": ", highest allowed", "min": ", lowest allowed"}[side]
		out = append(out,
			reading.Reading{Key: reading.Key(key + "value"), Name: name, Value: reading.Code{N: uint64(v)}, Raw: raw},
			reading.Reading{Key: reading.Key(key + side), Name: name + allowed, Value: reading.Code{N: uint64(limit)}, Raw: raw},
			reading.Reading{Key: reading.Key(key + "result"), Name: name + ", result", Value: reading.Code{N: uint64(result), Label: result.String()}, Raw: raw})
	}
	if len(b) > 0 {
		return out, &Error{Kind: ErrShort, Service: 0x06, ID: int(id), Want: len(resp) - len(b) + record, Got: len(resp)}
	}
	return out, nil
}
