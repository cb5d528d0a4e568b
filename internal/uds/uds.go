// Package uds is what a workshop reads over ISO 14229 and its predecessor KWP2000: identification, data by identifier,
// trouble codes with status. Bytes in, readings out; no I/O, no clock; safe for concurrent use. Errors are those of
// package obd: one kind of wrong answer has one name.
package uds

import (
	"fmt"

	"obdgate/internal/obd"
	"obdgate/internal/reading"
)

// Decode reads one ECU's answer resp to the request req, both from the service byte on. It has the contract of
// obd.Decode: readings have no ECU and no From, an error may come beside readings that can be used, a negative response is
// *obd.Negative, an empty req accepts whatever the answer echoes.
//
// Questions of the consumption record (22 F816 …) are obd.ErrService: they are another package's, alone or beside other
// DIDs.
func Decode(req, resp []byte) ([]reading.Reading, error) {
	if n := obd.AsNegative(resp); n != nil && (len(req) == 0 || n.Service == req[0]) {
		return nil, n
	}
	if len(resp) == 0 {
		return nil, &obd.Error{Kind: obd.ErrShort, ID: -1, Want: 1}
	}
	if len(req) == 0 {
		req = []byte{resp[0] &^ 0x40}
	}
	if resp[0] != req[0]+0x40 {
		return nil, &obd.Error{Kind: obd.ErrMismatch, Service: req[0], ID: -1}
	}
	switch req[0] {
	case 0x10:
		return session(req, resp)
	case 0x14, 0x20, 0x3E:
		return nil, echoed(req, resp)
	case 0x17:
		return statusKWP(req, resp)
	case 0x18:
		return codesKWP(resp)
	case 0x19:
		return codes(req, resp)
	case 0x1A:
		return identKWP(req, resp)
	case 0x21:
		return local(req, resp)
	case 0x22:
		return data(req, resp)
	}
	return nil, &obd.Error{Kind: obd.ErrService, Service: req[0], ID: -1}
}

// echoed is a positive answer without content. A sub-function may be echoed.
func echoed(req, resp []byte) error {
	if len(resp) > 1 && req[0] == 0x3E {
		resp = resp[:len(resp)-1]
	}
	if len(resp) > 1 {
		return &obd.Error{Kind: obd.ErrOverlong, Service: req[0], ID: -1, Want: 1, Got: len(resp)}
	}
	return nil
}

// session is service 10: the ECU's own waiting times, P2 in milliseconds and P2* in units of 10 ms. Older ECUs leave
// them out.
func session(req, resp []byte) ([]reading.Reading, error) {
	if len(resp) < 2 {
		return nil, &obd.Error{Kind: obd.ErrShort, Service: 0x10, ID: -1, Want: 2, Got: len(resp)}
	}
	if len(req) > 1 && resp[1] != req[1]&0x7F && resp[1] != req[1] { // a session above 7F is the maker's
		return nil, &obd.Error{Kind: obd.ErrMismatch, Service: 0x10, ID: int(req[1])}
	}
	switch {
	case len(resp) == 2:
		return nil, nil
	case len(resp) < 6:
		return nil, &obd.Error{Kind: obd.ErrShort, Service: 0x10, ID: int(resp[1]), Want: 6, Got: len(resp)}
	}
	raw := resp[:6]
	p2, _ := reading.Scaled(int64(resp[2])<<8|int64(resp[3]), 1, 1, 0, 1, "ms")
	star, _ := reading.Scaled(int64(resp[4])<<8|int64(resp[5]), 10, 1, 0, 1, "ms")
	out := []reading.Reading{
		{Key: "uds.10.p2_ms", Name: "Waiting time of the ECU (P2)", Value: p2, Raw: append([]byte(nil), raw...)},
		{Key: "uds.10.p2_star_ms", Name: "Waiting time after response pending (P2*)", Value: star, Raw: append([]byte(nil), raw...)},
	}
	if len(resp) > 6 {
		return out, &obd.Error{Kind: obd.ErrOverlong, Service: 0x10, ID: int(resp[1]), Want: 6, Got: len(resp)}
	}
	return out, nil
}

func key(did int) string { return fmt.Sprintf("uds.22.%04X", did) }
