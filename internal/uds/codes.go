package uds

import (
	"encoding/binary"
	"fmt"

	"obdgate/internal/dtc"
	"obdgate/internal/obd"
	"obdgate/internal/reading"
)

// formatJ1939 is the DTC format identifier of SPN and FMI, which J2012 does not read.
const formatJ1939 = 0x02

var formats = map[byte]string{0: "J2012-DA, two bytes and failure type", 1: "ISO 14229-1", 2: "J1939-73", 3: "ISO 11992-4", 4: "J2012-DA for WWH-OBD"}

// codes is service 19. Every code the ECU lists is kept with its status byte: real ECUs list codes that the mask did not
// ask for, and what a status is worth is the reader's to judge (dtc.Of).
func codes(req, resp []byte) ([]reading.Reading, error) {
	if len(resp) < 2 {
		return nil, &obd.Error{Kind: obd.ErrShort, Service: 0x19, ID: -1, Want: 3, Got: len(resp)}
	}
	sub := resp[1]
	if len(req) > 1 && sub != req[1]&0x7F {
		return nil, &obd.Error{Kind: obd.ErrMismatch, Service: 0x19, ID: int(req[1])}
	}
	short := func(want int) error {
		return &obd.Error{Kind: obd.ErrShort, Service: 0x19, ID: int(sub), Want: want, Got: len(resp)}
	}
	switch sub {
	case 0x01, 0x07, 0x11, 0x12: // number of codes: availability, format, count
		if len(resp) < 6 {
			return nil, short(6)
		}
		n, _ := reading.Scaled(int64(binary.BigEndian.Uint16(resp[4:])), 1, 1, 0, 1, "")
		return append(availability(sub, resp[2], resp[:3]),
			reading.Reading{Key: subKey(sub, "format"), Name: "Format of the trouble codes", Value: reading.Code{N: uint64(resp[3]), Label: formats[resp[3]]}, Raw: append([]byte(nil), resp[:6]...)},
			reading.Reading{Key: subKey(sub, "count"), Name: "Number of trouble codes", Value: n, Raw: append([]byte(nil), resp[:6]...)}), nil
	case 0x02, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x13, 0x15: // availability, then code and status
		if len(resp) < 3 {
			return nil, short(3)
		}
		return list(sub, resp, 3, 0, false, availability(sub, resp[2], resp[:3]))
	case 0x17: // user memory: selection, availability, then code and status
		if len(resp) < 4 {
			return nil, short(4)
		}
		return list(sub, resp, 4, 0, false, availability(sub, resp[3], resp[:4]))
	case 0x08, 0x09: // availability, then severity, functional unit, code, status
		if len(resp) < 3 {
			return nil, short(3)
		}
		return list(sub, resp, 3, 2, false, availability(sub, resp[2], resp[:3]))
	case 0x14: // code and its fault detection counter, each
		return counters(resp)
	case 0x42: // group, availability, severities, format, then severity, code, status
		if len(resp) < 6 {
			return nil, short(6)
		}
		return list(sub, resp, 6, 1, resp[5] == formatJ1939, availability(sub, resp[3], resp[:6]))
	case 0x03: // code and the number of a snapshot record that is stored with it, each
		return snapshots(resp)
	case 0x56: // group, availability, format, readiness group, then code and status (ISO 14229-1:2020; no recorded answer is known)
		if len(resp) < 6 {
			return nil, short(6)
		}
		return list(sub, resp, 6, 0, resp[4] == formatJ1939, availability(sub, resp[3], resp[:6]))
	case 0x55: // group, availability, format, then code and status
		if len(resp) < 5 {
			return nil, short(5)
		}
		return list(sub, resp, 5, 0, resp[4] == formatJ1939, availability(sub, resp[3], resp[:5]))
	case 0x05, 0x16, 0x18, 0x19: // record number or memory, then the code they belong to, and records of the maker's
		if len(resp) < 7 {
			if len(resp) == 3 {
				return nil, nil // nothing is stored under it
			}
			return nil, short(7)
		}
		out := []reading.Reading{dtc.Reading3(dtc.KeyUDS(sub), dtc.New3(resp[3], resp[4], resp[5]), dtc.Status(resp[6]), append([]byte{0x59, sub}, resp[3:7]...)...)}
		if len(resp) > 7 {
			out = append(out, reading.Reading{Key: subKey(sub, "raw"), Name: fmt.Sprintf("Trouble code report %02X, bytes as sent", sub),
				Value: reading.Text(hexUpper(resp[7:])), Raw: append([]byte(nil), resp...)})
		}
		return out, nil
	case 0x04, 0x06: // snapshot and extended data of one code: the head is the standard's, the records are the maker's
		return records(req, resp)
	}
	if len(resp) < 3 {
		return nil, short(3)
	}
	return []reading.Reading{{Key: subKey(sub, "raw"), Name: fmt.Sprintf("Trouble code report %02X, bytes as sent", sub),
		Value: reading.Text(hexUpper(resp[2:])), Raw: append([]byte(nil), resp...)}}, nil
}

func subKey(sub byte, field string) reading.Key {
	return reading.Key(fmt.Sprintf("uds.19.%02X.%s", sub, field))
}

// availability is the mask of status bits the ECU supports.
func availability(sub, mask byte, raw []byte) []reading.Reading {
	return []reading.Reading{{Key: subKey(sub, "availability"), Name: "Status bits this ECU supports", Value: reading.Code{N: uint64(mask)}, Raw: append([]byte(nil), raw...)}}
}

// list reads records of before bytes, three bytes of code and a status byte. An all-zero record is filler.
func list(sub byte, resp []byte, head, before int, asHex bool, out []reading.Reading) ([]reading.Reading, error) {
	size := before + 4
	b := resp[head:]
	for ; len(b) >= size; b = b[size:] {
		c, s := dtc.New3(b[before], b[before+1], b[before+2]), b[before+3]
		if c.N == 0 && s == 0 {
			continue
		}
		if asHex {
			c = c.AsHex()
		}
		out = append(out, dtc.Reading3(dtc.KeyUDS(sub), c, dtc.Status(s), append([]byte{0x59, sub}, b[:size]...)...))
	}
	if len(b) > 0 {
		return out, &obd.Error{Kind: obd.ErrShort, Service: 0x19, ID: int(sub), Want: len(resp) - len(b) + size, Got: len(resp)}
	}
	return out, nil
}

// counters is 19 14: how close each test is to failing, from -128 (passed for certain) to 127 (failed for certain).
func counters(resp []byte) (out []reading.Reading, err error) {
	b := resp[2:]
	for ; len(b) >= 4; b = b[4:] {
		n, _ := reading.Scaled(int64(int8(b[3])), 1, 1, 0, 1, "")
		out = append(out, reading.Reading{Key: subKey(0x14, "counter"), Name: "Fault detection counter of " + dtc.New3(b[0], b[1], b[2]).String(),
			Value: n, Raw: append([]byte{0x59, 0x14}, b[:4]...)})
	}
	if len(b) > 0 {
		return out, &obd.Error{Kind: obd.ErrShort, Service: 0x19, ID: 0x14, Want: len(resp) - len(b) + 4, Got: len(resp)}
	}
	return out, nil
}

// snapshots is 19 03: which records are stored with which code. The status is not told here.
func snapshots(resp []byte) (out []reading.Reading, err error) {
	b := resp[2:]
	for ; len(b) >= 4; b = b[4:] {
		out = append(out, reading.Reading{Key: subKey(0x03, "record"), Name: "Snapshot record stored with " + dtc.New3(b[0], b[1], b[2]).String(),
			Value: reading.Code{N: uint64(b[3])}, Raw: append([]byte{0x59, 0x03}, b[:4]...)})
	}
	if len(b) > 0 {
		return out, &obd.Error{Kind: obd.ErrShort, Service: 0x19, ID: 0x03, Want: len(resp) - len(b) + 4, Got: len(resp)}
	}
	return out, nil
}
