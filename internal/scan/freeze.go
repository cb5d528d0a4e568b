package scan

import (
	"context"
	"slices"

	"obdgate/internal/diag"
	"obdgate/internal/dtc"
	"obdgate/internal/obd"
	"obdgate/internal/reading"
)

const (
	maxFreezeFrames = 4 // per ECU; the standard has frame 00, makers add a few
	pairsPerRequest = 3 // PID and frame number each: what one frame holds (SAE J1979)
)

// readFreezeFrames asks everybody what they have of service 02.
func (r *reader) readFreezeFrames(ctx context.Context) error {
	if r.onlyUDS() || r.o.Plan.Depth() != Full {
		return nil
	}
	req := []byte{0x02, 0x00, 0x00}
	// Without a code there is no frame.
	return r.offer(ctx, req, r.having(func(e *ecu) bool { return e.pids.Len() > 0 }), r.hasCodes, func(answers []answer) {
		r.keepFrozen(req, answers, nil)
	})
}

// hasCodes reports whether an ECU has given a trouble code.
func (r *reader) hasCodes(e *ecu) bool {
	return slices.ContainsFunc(r.s.Readings, func(v reading.Reading) bool {
		_, ok := dtc.Of(v)
		return ok && v.ECU == e.label
	})
}

// freezeFrames reads service 02 of an ECU that announces it and has a frame stored: which code it belongs to, and every
// value it has. Frames behind 00 are the maker's choice and asked for until one is missing.
func (r *reader) freezeFrames(ctx context.Context, e *ecu) error {
	for frame := byte(0); frame < maxFreezeFrames; frame++ {
		if found, err := r.freezeFrame(ctx, e, frame); err != nil || !found {
			return err
		}
	}
	return nil
}

// freezeFrame reads one frame of one ECU; found is false when nothing is stored in it.
func (r *reader) freezeFrame(ctx context.Context, e *ecu, frame byte) (found bool, err error) {
	if !e.frozen.Has(0x02) {
		return false, nil
	}
	if err := r.askFrozen(ctx, e, frame, []byte{0x02}, probable); err != nil {
		return false, err
	}
	if !r.frozenCode(e, frame) {
		return false, nil
	}
	for base := 0x20; frame == 0 && base <= 0xE0; base += 0x20 {
		if e.frozen.Has(byte(base)) {
			if err := r.askFrozen(ctx, e, 0, []byte{byte(base)}, certain); err != nil {
				return true, err
			}
		}
	}
	want := slices.DeleteFunc(e.frozen.IDs(), func(id byte) bool { return obd.IsBitmap(id) || id == 0x02 })
	most := pairsPerRequest
	if r.bus.Functional.Legacy || e.alone {
		most = 1
	}
	var set obd.Set
	for _, id := range want {
		set.Add(id)
	}
	for _, payload := range obd.Plan(set, most) {
		if err := r.askFrozen(ctx, e, frame, payload[1:], certain); err != nil {
			return true, err
		}
	}
	return true, nil
}

// askFrozen asks PIDs of one frame; those missing in a combined answer are asked alone.
func (r *reader) askFrozen(ctx context.Context, e *ecu, frame byte, pids []byte, c claim) error {
	single := len(pids) == 1
	req := []byte{0x02}
	for _, id := range pids {
		req = append(req, id, frame)
	}
	asked := c
	if !single {
		asked = min(c, probable)
	}
	answers, err := r.put(ctx, diag.Request{To: r.physical(e), Payload: req, Expect: 1, Frames: frozenFrames(pids)}, []*ecu{e}, asked)
	if err != nil {
		return err
	}
	if single && frame == 0 && c == probable && r.hasCodes(e) { // whose frame it is must be known where there is one
		if answers, err = r.doubt(ctx, req, e, answers); err != nil {
			return err
		}
	}
	if single {
		r.keepFrozen(req, answers, e)
		return nil
	}
	r.keepFrozen(req, slices.DeleteFunc(answers, func(a answer) bool { return !obd.Usable(a.err) }), e)
	for _, id := range pids {
		if !r.hasFrozen(e, id, frame) {
			if err := r.askFrozen(ctx, e, frame, []byte{id}, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// frozenFrames is how many CAN frames the answer takes, 0 when a length is not fixed. Which code a frame belongs to takes
// two bytes.
func frozenFrames(pids []byte) int {
	n := 1
	for _, id := range pids {
		least, most, known := obd.Lengths(id)
		if id == 0x02 {
			least, most, known = 2, 2, true
		}
		if !known || least != most {
			return 0
		}
		n += 2 + least
	}
	return framesOf(n)
}

// keepFrozen keeps the answers of one ECU (nil = everybody) and learns from its support maps.
func (r *reader) keepFrozen(req []byte, answers []answer, of *ecu) {
	answers = slices.DeleteFunc(slices.Clone(answers), func(a answer) bool { return of != nil && a.ecu != of })
	for _, a := range answers {
		for _, v := range a.readings {
			c, isCode := v.Value.(reading.Code)
			if isCode && len(v.Raw) == 7 && obd.IsBitmap(v.Raw[1]) && v.Raw[2] == 0 {
				a.ecu.frozen.AddBitmap(v.Raw[1], uint32(c.N))
			}
		}
	}
	r.keep(req, answers, never)
}

func (r *reader) hasFrozen(e *ecu, id, frame byte) bool {
	return slices.ContainsFunc(r.s.Readings, func(v reading.Reading) bool {
		n, ok := obd.FreezeFrame(v)
		return ok && v.ECU == e.label && v.Raw[1] == id && n == frame
	})
}

// frozenCode reports whether a frame says which code it belongs to: none is an empty frame.
func (r *reader) frozenCode(e *ecu, frame byte) bool {
	return slices.ContainsFunc(r.s.Readings, func(v reading.Reading) bool {
		n, ok := obd.FreezeFrame(v)
		_, none := v.Value.(reading.Absent)
		return ok && !none && v.ECU == e.label && v.Raw[1] == 0x02 && n == frame
	})
}
