package uds

import (
	"fmt"

	"obdgate/internal/dtc"
	"obdgate/internal/obd"
	"obdgate/internal/reading"
)

// codesKWP is service 18 (readDTCByStatus): count, then two bytes of code and a status byte each.
func codesKWP(resp []byte) ([]reading.Reading, error) {
	if len(resp) < 2 {
		return nil, &obd.Error{Kind: obd.ErrShort, Service: 0x18, ID: -1, Want: 2, Got: len(resp)}
	}
	var out []reading.Reading
	want := 2 + 3*int(resp[1])
	for b := resp[2:min(want, len(resp))]; len(b) >= 3; b = b[3:] {
		out = append(out, dtc.Reading3(dtc.KeyKWP, dtc.New2(b[0], b[1]), dtc.Status(b[2]), 0x58, b[0], b[1], b[2]))
	}
	switch {
	case len(resp) < want:
		return out, &obd.Error{Kind: obd.ErrShort, Service: 0x18, ID: -1, Want: want, Got: len(resp)}
	case len(resp) > want:
		return out, &obd.Error{Kind: obd.ErrOverlong, Service: 0x18, ID: -1, Want: want, Got: len(resp)}
	}
	return out, nil
}

// statusKWP is service 17 (readStatusOfDTC): count, the code that was asked for with its status, and what the ECU noted about
// it, whose layout is the maker's.
func statusKWP(req, resp []byte) ([]reading.Reading, error) {
	if len(resp) < 2 || resp[1] > 0 && len(resp) < 5 {
		return nil, &obd.Error{Kind: obd.ErrShort, Service: 0x17, ID: -1, Want: 5, Got: len(resp)}
	}
	if resp[1] == 0 {
		return nil, over(-1, 2, len(resp))
	}
	if len(req) == 3 && (resp[2] != req[1] || resp[3] != req[2]) {
		return nil, &obd.Error{Kind: obd.ErrMismatch, Service: 0x17, ID: -1}
	}
	out := []reading.Reading{dtc.Reading3(dtc.KeyKWP, dtc.New2(resp[2], resp[3]), dtc.Status(resp[4]), 0x57, resp[2], resp[3], resp[4])}
	if len(resp) > 5 {
		out = append(out, one("kwp.17.noted", "What the control unit noted (the maker's own)", reading.Text(hexUpper(resp[5:])), resp)...)
	}
	return out, nil
}

// identKWP is service 1A (readECUIdentification). Only 90, the VIN, has a common meaning; some ECUs give its last seven
// characters, which is no VIN and is not shown.
func identKWP(req, resp []byte) ([]reading.Reading, error) {
	b, err := local1(0x1A, req, resp)
	if err != nil {
		return nil, err
	}
	k := fmt.Sprintf("kwp.1A.%02X", resp[1])
	if resp[1] != 0x90 {
		return one(k, fmt.Sprintf("Identification %02X (the maker's own)", resp[1]), obd.TextValue(b), resp), nil
	}
	v, _ := obd.VIN(b)
	return one(k, "Vehicle identification number", v, resp), nil
}

// local is service 21 (readDataByLocalIdentifier): the maker's own, kept as bytes.
func local(req, resp []byte) ([]reading.Reading, error) {
	b, err := local1(0x21, req, resp)
	if err != nil {
		return nil, err
	}
	return one(fmt.Sprintf("kwp.21.%02X", resp[1]), fmt.Sprintf("Local identifier %02X (the maker's own)", resp[1]), reading.Text(hexUpper(b)), resp), nil
}

// local1 checks an answer that echoes one identifier byte and returns the data behind it.
func local1(service byte, req, resp []byte) ([]byte, error) {
	if len(resp) < 3 {
		return nil, &obd.Error{Kind: obd.ErrShort, Service: service, ID: -1, Want: 3, Got: len(resp)}
	}
	if len(req) > 1 && resp[1] != req[1] {
		return nil, &obd.Error{Kind: obd.ErrMismatch, Service: service, ID: int(req[1])}
	}
	return resp[2:], nil
}
