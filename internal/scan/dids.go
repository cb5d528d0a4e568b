package scan

import (
	"context"
	"errors"
	"slices"

	"obdgate/internal/diag"
	"obdgate/internal/obd"
	"obdgate/internal/reading"
)

// didsPerQuestion is how many data identifiers fit a question of one frame (ISO 15765-2), which every adapter and every
// ECU can take; the address byte of extended addressing costs one.
func didsPerQuestion(e *ecu) int {
	switch {
	case e.oneDID:
		return 1
	case e.addr.Ext:
		return 2
	}
	return 3
}

// Negative response codes that say something about the ECU, not about the identifier asked (ISO 14229-1 annex A.1).
const (
	nrcNoService     = 0x11
	nrcLength        = 0x13
	nrcTooLong       = 0x14 // answer does not fit
	nrcOutOfRange    = 0x31
	nrcNoServiceHere = 0x7F
)

// dids reads data identifiers of one ECU, as many in one question as it takes, and keeps what it says. c certain says
// that it announced them all: what is missing in a combined answer is then asked alone. Else what is missing is not
// there (ISO 14229-1: unknown ones are left out of the answer). An ECU that refuses combinations is asked one by one from
// then on; one that does not know the service, or says nothing to the first question of the kind, is not asked again.
func (r *reader) dids(ctx context.Context, e *ecu, ids []uint16, c claim) ([]answer, error) {
	var all []answer
	for len(ids) > 0 && !e.noDIDs {
		n := min(len(ids), didsPerQuestion(e))
		group := ids[:n]
		ids = ids[n:]
		if n > 1 {
			answers, rest, err := r.combined(ctx, e, group, c)
			if err != nil {
				return all, err
			}
			all, group = append(all, answers...), rest
		}
		gave := false
		for _, id := range group {
			if e.noDIDs {
				break
			}
			answers, err := r.oneDID(ctx, e, id, c)
			if err != nil {
				return all, err
			}
			all = append(all, answers...)
			if n > 1 && answered(answers, e) {
				e.oneDID, gave = true, true // knows it, and did not say so when asked for several
			}
		}
		e.frankDIDs = e.frankDIDs || n > 1 && len(group) == n && !gave
	}
	return all, nil
}

// combined asks several identifiers at once; rest are those to be asked alone.
func (r *reader) combined(ctx context.Context, e *ecu, group []uint16, c claim) (answers []answer, rest []uint16, err error) {
	req := []byte{0x22}
	for _, id := range group {
		req = append(req, byte(id>>8), byte(id))
	}
	q := diag.Request{To: diag.Physical(e.addr), Payload: req, Expect: 1}
	if c != certain && !e.heardDIDs {
		r.asNewer(req) // older recordings begin with another question of the service, and have no second where that was refused
		if len(r.having(func(e *ecu) bool { return e.noUDS })) > 0 {
			q.Frames = 1 // a refusal here as well; more is asked for again
		}
	}
	answers, err = r.put(ctx, q, []*ecu{e}, min(c, probable))
	if err != nil {
		return nil, nil, err
	}
	e.heardDIDs = e.heardDIDs || answered(answers, e)
	if answered(answers, e) {
		r.keep(req, answers, never)
		if c != certain {
			return answers, nil, nil
		}
		for _, id := range group {
			if !gives(answers, id) {
				rest = append(rest, id)
			}
		}
		return answers, rest, nil
	}
	switch code, refused := refusal(answers, e); {
	case !spoke(answers, e) && r.named(e, req): // it was not put, or its answer did not arrive
	case !spoke(answers, e) && c != certain && !e.heardDIDs, code == nrcNoService && refused, code == nrcNoServiceHere && refused:
		e.noDIDs = c != certain
		return nil, group[:0], nil
	case refused && code == nrcOutOfRange && c != certain && (e.heardDIDs || e.frankDIDs):
		return nil, nil, nil // has told others, or was right before: it has none of these
	case refused && (code == nrcLength || code == nrcTooLong):
		e.oneDID = true
	}
	return nil, group, nil
}

func (r *reader) oneDID(ctx context.Context, e *ecu, id uint16, c claim) ([]answer, error) {
	req := []byte{0x22, byte(id >> 8), byte(id)}
	answers, err := r.put(ctx, diag.Request{To: diag.Physical(e.addr), Payload: req, Expect: 1}, []*ecu{e}, c)
	if err != nil {
		return nil, err
	}
	r.keep(req, answers, func(*ecu) bool { return c == certain })
	e.heardDIDs = e.heardDIDs || answered(answers, e)
	if code, refused := refusal(answers, e); c != certain && !e.heardDIDs &&
		(!spoke(answers, e) || refused && (code == nrcNoService || code == nrcNoServiceHere)) {
		e.noDIDs = true
	}
	return answers, nil
}

// learnDIDs looks at an answer to service 22: a refusal of the service, not of the identifier, holds for every identifier.
func (e *ecu) learnDIDs(err error) {
	var n *diag.Negative
	switch {
	case err == nil:
		e.heardDIDs, e.noDIDs = true, false
	case errors.As(err, &n) && (n.Code == nrcNoService || n.Code == nrcNoServiceHere) && !e.heardDIDs:
		e.noDIDs, e.noUDS = true, e.noUDS || n.Code == nrcNoService
	}
}

// gives reports whether an answer holds an identifier.
func gives(answers []answer, id uint16) bool {
	for _, a := range answers {
		for _, v := range a.readings {
			if len(v.Raw) > 2 && v.Raw[1] == byte(id>>8) && v.Raw[2] == byte(id) {
				return true
			}
		}
	}
	return false
}

// refusal is the code with which an ECU refused.
func refusal(answers []answer, e *ecu) (code byte, ok bool) {
	for _, a := range answers {
		var n *diag.Negative
		if a.ecu == e && errors.As(a.err, &n) {
			return n.Code, true
		}
	}
	return 0, false
}

// mistaken reports whether what an ECU answered was another question.
func mistaken(answers []answer, e *ecu) bool {
	return slices.ContainsFunc(answers, func(a answer) bool { return a.ecu == e && errors.Is(a.err, diag.ErrMismatch) })
}

// has reports whether an ECU already gave data identifier id.
func (r *reader) hasDID(e *ecu, id uint16) bool {
	for _, v := range r.s.Readings {
		if v.ECU == e.label && len(v.Raw) > 2 && v.Raw[0] == 0x62 && v.Raw[1] == byte(id>>8) && v.Raw[2] == byte(id) {
			return true
		}
	}
	return false
}

func readingsOf(answers []answer) []reading.Reading {
	var out []reading.Reading
	for _, a := range answers {
		out = append(out, a.readings...)
	}
	return out
}

// steady keeps the identifiers of one range (F4) whose data have one length, which can be asked together because their
// answer can be cut; loose are the others.
func steady(high byte, ids []byte) (together, loose []uint16) {
	for _, id := range ids {
		n := uint16(high)<<8 | uint16(id)
		if least, most, known := obd.Lengths(id); high == 0xF4 && known && least == most {
			together = append(together, n)
		} else {
			loose = append(loose, n)
		}
	}
	return together, loose
}
