package decode

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"obdgate/internal/maker"
	"obdgate/internal/odometer"
)

// question reads what was asked: the request from the service byte on, without an identifier, an address, a length and
// padding, and the identifier its address is answered on (0 = not known, or everyone was asked).
func question(s string) (req []byte, from uint32, err error) {
	s = strings.ToUpper(strings.TrimLeft(strings.TrimSpace(s), "> \t"))
	if s == "" {
		return nil, 0, nil
	}
	s = stpx(s)
	tokens := strings.FieldsFunc(strings.ReplaceAll(s, "#", " "), func(r rune) bool { return strings.ContainsRune(" \t,;.:|\"'[]", r) })
	for i, t := range tokens {
		if tokens[i] = strings.TrimPrefix(t, "0X"); !isHex(tokens[i]) {
			return nil, 0, ErrRequest
		}
	}
	id := ""
	if len(tokens) > 1 && (len(tokens[0]) == 3 || len(tokens[0]) == 8) {
		id, tokens = tokens[0], tokens[1:]
	}
	all := strings.Join(tokens, "")
	if len(all)%2 == 1 { // the number of answers the adapter is to wait for
		all = all[:len(all)-1]
	}
	b, err := hex.DecodeString(all)
	if err != nil || len(b) == 0 {
		return nil, 0, ErrRequest
	}
	if q := headed(b); q != nil && id == "" {
		return q, 0, nil
	}
	var ext byte
	if id == bmwTester && len(b) > 2 || addressed(b) { // extended addressing: the first byte names the ECU
		ext, b = b[0], b[1:]
		if id == "" {
			id = bmwTester
		}
	}
	from = answeredOn(id, ext)
	if n := int(b[0]); (len(b) == 8 || ext != 0 && len(b) == 7) && n >= 1 && n < len(b) && b[1] != 0 && padding(b[1+n:]) {
		return b[1 : 1+n], from, nil // a whole frame
	}
	// A frame without padding, told by the identifier in front: its length, then a service that is asked for. Two bytes
	// are a question of their own (01 03).
	if id != "" && len(b) > 2 && int(b[0]) == len(b)-1 && slices.Contains(services, b[1]) {
		b = b[1:]
	}
	return b, from, nil
}

// stpx is the header and the data of an STN adapter's command: "STPX H:7E0, D:22F190, R:1".
func stpx(s string) string {
	rest, ok := strings.CutPrefix(s, "STPX")
	if !ok {
		return s
	}
	var head, data string
	for _, part := range strings.Split(rest, ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(part), ":"); name {
		case "H":
			if head = strings.TrimSpace(value); len(head) == 6 {
				head = "18" + head
			}
		case "D":
			data = strings.ReplaceAll(value, " ", "")
		}
	}
	return strings.TrimSpace(head + " " + data)
}

// headed takes header and checksum off a question of K-line or J1850 (ISO 14230-2, ISO 9141-2, SAE J1850); nil when it has
// none.
//
//	8L tt F1 d1 .. [cs]   C2 33 F1 01 00 [cs]   80 tt F1 LL d1 .. [cs]   68 6A F1 d1 .. [cs]   61 6A F1 d1 .. [crc]
func headed(b []byte) (req []byte) {
	if len(b) < 4 || b[2] != 0xF1 {
		return nil
	}
	last := len(b) - 1
	switch {
	case b[0]&0x80 != 0:
		head, n := 3, int(b[0]&0x3F)
		if n == 0 {
			head, n = 4, int(b[3])
		}
		if n == 0 || len(b) != head+n && (len(b) != head+n+1 || sum(b[:last]) != b[last]) {
			return nil
		}
		req = b[head : head+n]
	case (b[0] == 0x68 || b[0] == 0x61) && b[1] == 0x6A:
		req = b[3:]
		if c := b[last]; len(req) > 1 && (c == sum(b[:last]) || c == crc(b[:last])) {
			req = b[3:last]
		}
	}
	if len(req) == 0 || req[0]&0x40 != 0 {
		return nil
	}
	return req
}

// services are those a question can begin with.
var services = []byte{0x01, 0x02, 0x03, 0x04, 0x06, 0x07, 0x09, 0x0A, 0x10, 0x14, 0x17, 0x18, 0x19, 0x1A, 0x20, 0x21, 0x22, 0x3E}

// bmwTester is the identifier of BMW's and MINI's tester; an ECU answers on 600 and its address.
const bmwTester = "6F1"

// addressed reports whether a request without identifier has an ECU's address in front, as it is typed and shown where the
// identifier is always 6F1: "60 03 22 D1 0D". No service is asked for by the first byte, the second is the length.
func addressed(b []byte) bool {
	return len(b) > 3 && !slices.Contains(services, b[0]) && int(b[1]) <= len(b)-2 && b[1] > 0 && slices.Contains(services, b[2]) && padding(b[2+int(b[1]):])
}

// answeredOn is the identifier a physical address is answered on: ISO 15765-4, BMW, and the pairs of the makers' tables.
func answeredOn(id string, ext byte) uint32 {
	n, err := strconv.ParseUint(id, 16, 32)
	tx := uint32(n)
	switch {
	case err != nil:
		return 0
	case id == bmwTester && ext != 0:
		return 0x600 + uint32(ext)
	case tx >= 0x7E0 && tx <= 0x7E7:
		return tx + 8
	case tx&0x1FFF00FF == 0x18DA00F1:
		return 0x18DAF100 | tx>>8&0xFF
	}
	for _, r := range odometer.Rows() {
		if r.Request == tx && r.Ext == ext {
			return r.Response
		}
	}
	for _, r := range maker.Rows() {
		if a := r.Address(); a.Tx == tx && a.TxTarget == ext {
			return a.Rx
		}
	}
	return 0
}
