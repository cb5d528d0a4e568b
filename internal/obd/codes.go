package obd

import (
	"obdgate/internal/dtc"
	"obdgate/internal/reading"
)

var codeKeys = map[byte]reading.Key{0x03: dtc.KeyStored, 0x07: dtc.KeyPending, 0x0A: dtc.KeyPermanent}

// codes is services 03, 07 and 0A. On CAN a count byte says how many two-byte codes follow and nothing pads them; on
// K-line and J1850 every message holds three, padded with 0000, and there may be several messages. 0000 is never a code.
func codes(service byte, resp []byte, legacy bool) ([]reading.Reading, error) {
	if legacy {
		return legacyCodes(service, resp)
	}
	if len(resp) < 2 {
		return nil, &Error{Kind: ErrShort, Service: service, ID: -1, Want: 2, Got: len(resp)}
	}
	want := 2 + 2*int(resp[1])
	out := codeList(service, resp[2:min(want, len(resp))])
	if len(resp) < want {
		return out, &Error{Kind: ErrShort, Service: service, ID: -1, Want: want, Got: len(resp)}
	}
	return out, surplus(service, -1, want, len(resp))
}

// legacyCodes reads three codes per message; the messages of one ECU are joined, with the service byte of the first only.
// Newer control units behind a gateway that speaks KWP2000 count them as on CAN; the length tells.
func legacyCodes(service byte, resp []byte) ([]reading.Reading, error) {
	const message = 6
	if n := len(resp); n > 1 && n%2 == 0 && n == 2+2*int(resp[1]) {
		return codeList(service, resp[2:]), nil
	}
	out := codeList(service, resp[1:])
	if n := len(resp) - 1; n == 0 || n%message != 0 {
		return out, &Error{Kind: ErrShort, Service: service, ID: -1, Want: 1 + max(1, (n+message-1)/message)*message, Got: len(resp)}
	}
	return out, nil
}

// codeList reads whole pairs of b; an odd byte at the end is the caller's to complain about.
func codeList(service byte, b []byte) []reading.Reading {
	var out []reading.Reading
	for ; len(b) >= 2; b = b[2:] {
		if b[0] == 0 && b[1] == 0 {
			continue
		}
		out = append(out, dtc.Reading2(codeKeys[service], dtc.New2(b[0], b[1]), service+0x40, b[0], b[1]))
	}
	return out
}
