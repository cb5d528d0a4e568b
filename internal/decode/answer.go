// Package decode turns recorded questions and answers into readings: text as adapters, loggers and people write it down,
// put together per ECU, and decoded by the room that knows the service. No I/O and no clock; safe for concurrent use.
package decode

import (
	"obdgate/internal/maker"
	"obdgate/internal/obd"
	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	"obdgate/internal/reading"
	"obdgate/internal/uds"
)

// Source says where an answer came from.
type Source struct {
	ID      uint32 // CAN identifier the ECU answered on, 0 = not known: makers' identifiers mean different things in different ECUs
	Vehicle string // how the vehicle's number begins (WMI), "" = not known
	Legacy  bool   // K-line or J1850: messages joined as obd.DecodeLegacy wants them
}

// Answer decodes one ECU's answer to req, both from the service byte on, by the room whose service it is: obfcm, obd,
// odometer and maker (makers' own identifiers), uds. The contract is obd.Decode's: readings without ECU and From, usable ones may come
// beside an error.
func Answer(req, resp []byte, from Source) ([]reading.Reading, error) {
	if len(req) == 0 && len(resp) > 0 {
		req = asked(resp)
	}
	if len(req) == 0 {
		return nil, obd.ErrShort
	}
	if n := obd.AsNegative(resp); n != nil && n.Service == req[0] {
		return nil, n
	}
	if obfcm.IsOBFCM(req) {
		return obfcm.Decode(req, resp)
	}
	if req[0] <= 0x0A {
		if from.Legacy {
			return obd.DecodeLegacy(req, resp)
		}
		return obd.Decode(req, resp)
	}
	out, err := uds.Decode(req, resp)
	if err != nil {
		return out, err
	}
	km, ok, err := odometer.Decode(from.ID, resp)
	if ok && len(km) > 0 {
		return km, err
	}
	if own, ok, ownErr := maker.Decode(from.ID, from.Vehicle, resp); ok && len(own) > 0 {
		return own, ownErr
	}
	return out, err // another layout than the maker's table has: the bytes are kept, and it is told
}

// asked is the question an answer answers, for recordings that did not keep it: the service, and the consumption
// record's type, which another room decodes.
func asked(resp []byte) []byte {
	switch {
	case resp[0] == 0x7F && len(resp) > 1:
		return resp[1:2]
	case resp[0]&0x40 == 0:
		return nil
	case obfcm.IsOBFCM(resp) && resp[0] == 0x49:
		return []byte{0x09, resp[1]}
	case obfcm.IsOBFCM(resp):
		return []byte{0x22, resp[1], resp[2]}
	}
	return []byte{resp[0] &^ 0x40}
}
