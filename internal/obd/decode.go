package obd

import (
	"fmt"

	"obdgate/internal/reading"
)

// Decode reads one ECU's answer resp to the request req, both from the service byte on, as ISO-TP carries them. The
// readings have no ECU and no From: those are the caller's to set. Raw is the echo and the record the field stands in.
//
// An error does not mean there are no readings: what was whole is returned beside ErrShort, and everything asked beside
// ErrOverlong (see Usable). A negative response is a *Negative. An empty or nil req accepts whatever the answer echoes,
// for recordings that did not keep the question.
func Decode(req, resp []byte) ([]reading.Reading, error) { return decode(req, resp, false) }

// DecodeLegacy is Decode for K-line and J1850. Trouble codes come three to a message without a count, padded with 0000;
// resp then is the first message and of each further one all but the service byte. Numbered messages of service 09 are
// joined as 49, InfoType, 01, then the data of messages 1, 2, … in order; those of service 06 like trouble codes.
func DecodeLegacy(req, resp []byte) ([]reading.Reading, error) { return decode(req, resp, true) }

func decode(req, resp []byte, legacy bool) ([]reading.Reading, error) {
	if n := AsNegative(resp); n != nil && (len(req) == 0 || n.Service == req[0]) {
		return nil, n
	}
	if len(resp) == 0 {
		return nil, &Error{Kind: ErrShort, ID: -1, Want: 1}
	}
	if len(req) == 0 {
		req = []byte{resp[0] &^ 0x40}
	}
	if resp[0] != req[0]+0x40 {
		return nil, &Error{Kind: ErrMismatch, Service: req[0], ID: -1}
	}
	switch req[0] {
	case 0x01:
		return current(req[1:], resp)
	case 0x02:
		return freeze(req[1:], resp)
	case 0x03, 0x07, 0x0A:
		return codes(req[0], resp, legacy)
	case 0x04:
		return nil, surplus(req[0], -1, 1, len(resp))
	case 0x06:
		if legacy {
			return legacyMonitors(req[1:], resp)
		}
		return monitors(req[1:], resp)
	case 0x09:
		return information(req[1:], resp, legacy)
	}
	return nil, &Error{Kind: ErrService, Service: req[0], ID: -1}
}

// surplus is ErrOverlong when got exceeds want.
func surplus(service byte, id, want, got int) error {
	if got > want {
		return &Error{Kind: ErrOverlong, Service: service, ID: id, Want: want, Got: got}
	}
	return nil
}

// current is service 01. want holds the PIDs asked.
func current(want, resp []byte) ([]reading.Reading, error) {
	if len(want) == 1 {
		return single(want[0], resp)
	}
	recs, err := split(0x01, want, resp[1:], 0)
	if err != nil {
		if len(want) == 0 && len(resp) > 1 { // question not recorded: take it for a single one
			return single(resp[1], resp)
		}
		return nil, err
	}
	var out []reading.Reading
	for _, r := range recs {
		out = append(out, PID(fmt.Sprintf("obd.01.%02X", r.id), r.id, r.data, echo(0x41, r))...)
	}
	return out, nil
}

// single is the answer to one PID: its length is the frame's, not the table's.
func single(pid byte, resp []byte) ([]reading.Reading, error) {
	if len(resp) < 2 {
		return nil, &Error{Kind: ErrShort, Service: 0x01, ID: int(pid), Want: 3, Got: len(resp)}
	}
	if resp[1] != pid {
		return nil, &Error{Kind: ErrMismatch, Service: 0x01, ID: int(pid)}
	}
	return PIDAnswer(0x01, fmt.Sprintf("obd.01.%02X", pid), int(pid), pid, resp, 2)
}

// PIDAnswer decodes an answer that holds one PID alone, from service 01 or a DID that carries its bytes: head bytes of
// echo, then data, whose length is the frame's and must be one the PID may have. id names the question in errors; the
// rest is as PID has it.
func PIDAnswer(service byte, prefix string, id int, pid byte, resp []byte, head int) ([]reading.Reading, error) {
	data, err := fit(service, id, pid, resp[head:], head)
	if data == nil {
		return nil, err
	}
	return PID(prefix, pid, data, resp[:head+len(data)]), err
}

// fit cuts data to what the PID may have; nil data comes with the error that says why it cannot be used. echo is the
// number of bytes before data, for the figures of the error.
func fit(service byte, id int, pid byte, data []byte, echo int) ([]byte, error) {
	least, most, known := Lengths(pid)
	switch {
	case !known && len(data) == 0:
		return nil, &Error{Kind: ErrShort, Service: service, ID: id, Want: echo + 1, Got: echo}
	case !known:
		return data, nil
	case len(data) < least:
		return nil, &Error{Kind: ErrShort, Service: service, ID: id, Want: echo + least, Got: echo + len(data)}
	case len(data) > most:
		return data[:least], &Error{Kind: ErrOverlong, Service: service, ID: id, Want: echo + most, Got: echo + len(data)}
	}
	return data, nil
}

// freeze is service 02: every PID is followed by the frame number, in the question and in the answer. want holds the
// pairs asked.
func freeze(want, resp []byte) ([]reading.Reading, error) {
	if len(want)%2 == 1 {
		return nil, &Error{Kind: ErrService, Service: 0x02, ID: -1}
	}
	if len(want) <= 2 {
		if len(resp) < 3 {
			return nil, &Error{Kind: ErrShort, Service: 0x02, ID: -1, Want: 4, Got: len(resp)}
		}
		if len(want) == 2 && (resp[1] != want[0] || resp[2] != want[1]) {
			return nil, &Error{Kind: ErrMismatch, Service: 0x02, ID: int(want[0])}
		}
		data, err := fit(0x02, int(resp[1]), resp[1], resp[3:], 3)
		if data == nil {
			return nil, err
		}
		return freezeFields(record{id: resp[1], frame: resp[2], data: data}), err
	}
	pids := make([]byte, 0, len(want)/2)
	frames := map[byte]byte{}
	for i := 0; i < len(want); i += 2 {
		pids = append(pids, want[i])
		frames[want[i]] = want[i+1]
	}
	recs, err := split(0x02, pids, resp[1:], 1)
	if err != nil {
		return nil, err
	}
	var out []reading.Reading
	for _, r := range recs {
		if r.frame != frames[r.id] {
			return out, &Error{Kind: ErrMismatch, Service: 0x02, ID: int(r.id)}
		}
		out = append(out, freezeFields(r)...)
	}
	return out, nil
}

func freezeFields(r record) []reading.Reading {
	raw := append([]byte{0x42, r.id, r.frame}, r.data...)
	out := PID(fmt.Sprintf("obd.02.%02X", r.id), r.id, r.data, raw)
	for i := range out {
		out[i].Name += " (freeze frame)"
	}
	return out
}

// FreezeFrame returns the number of the freeze frame a reading of service 02 stands in.
func FreezeFrame(r reading.Reading) (n byte, ok bool) {
	if len(r.Raw) < 3 || r.Raw[0] != 0x42 {
		return 0, false
	}
	return r.Raw[2], true
}

// record is one id with its data inside a combined answer.
type record struct {
	id, frame byte
	data      []byte
}

func echo(service byte, r record) []byte {
	return append([]byte{service, r.id}, r.data...)
}

// split cuts a combined answer into its records. want is what was asked (empty: anything the table knows); an id answers
// once, unsupported ids are left out, the order is the ECU's. head is the number of bytes between id and data. Ids of
// variable length (06 has one trim byte or two) make several readings possible: exactly one must remain.
func split(service byte, want, body []byte, head int) ([]record, error) {
	if len(body) == 0 {
		return nil, &Error{Kind: ErrShort, Service: service, ID: -1, Want: 3, Got: 1}
	}
	s := splitter{service: service, want: want, body: body, head: head, stuck: &Error{Kind: ErrShort, Service: service, ID: -1}}
	s.from(0, 0)
	switch s.ways {
	case 0:
		return nil, s.stuck
	case 1:
		return s.found, nil
	}
	return nil, &Error{Kind: ErrAmbiguous, Service: service, ID: -1}
}

type splitter struct {
	service    byte
	want, body []byte
	head       int
	cur, found []record
	ways       int
	stuck      *Error // why the deepest attempt ended
	depth      int
}

func (s *splitter) fail(at int, e *Error) {
	if at >= s.depth {
		s.depth, s.stuck = at, e
	}
}

func (s *splitter) from(at, n int) {
	if at == len(s.body) {
		if s.ways++; s.ways == 1 {
			s.found = append([]record(nil), s.cur...)
		}
		return
	}
	id := s.body[at]
	least, most, known := Lengths(id)
	if !s.asked(id) || s.seen(id) {
		s.fail(at, &Error{Kind: ErrMismatch, Service: s.service, ID: int(id)})
		return
	}
	if !known {
		s.fail(at, &Error{Kind: ErrLength, Service: s.service, ID: int(id)})
		return
	}
	start := at + 1 + s.head
	if start+least > len(s.body) {
		s.fail(at, &Error{Kind: ErrShort, Service: s.service, ID: int(id), Want: 1 + start + least, Got: 1 + len(s.body)})
		return
	}
	for l := least; l <= most && start+l <= len(s.body) && s.ways < 2; l++ {
		r := record{id: id, data: s.body[start : start+l]}
		if s.head == 1 {
			r.frame = s.body[at+1]
		}
		s.cur = append(s.cur, r)
		s.from(start+l, n+1)
		s.cur = s.cur[:n]
	}
}

func (s *splitter) asked(id byte) bool {
	if len(s.want) == 0 {
		return true
	}
	for _, w := range s.want {
		if w == id {
			return true
		}
	}
	return false
}

func (s *splitter) seen(id byte) bool {
	for _, r := range s.cur {
		if r.id == id {
			return true
		}
	}
	return false
}
