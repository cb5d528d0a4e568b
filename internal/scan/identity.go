package scan

import (
	"context"
	"errors"
	"slices"

	"obdgate/internal/diag"
	"obdgate/internal/vin"
)

// vinSource is one ECU's VIN.
type vinSource struct {
	ecu *ecu
	vin vin.VIN
}

// readVIN asks each ECU once: 09 02, 22 F802 where the vehicle has only UDS.
func (r *reader) readVIN(ctx context.Context) error {
	if err := r.askVIN(ctx, r.having(func(e *ecu) bool { return e.types.Has(0x02) && !e.askedVIN })); err != nil {
		return err
	}
	if r.onlyUDS() {
		return r.otherVIN(ctx)
	}
	return nil
}

// otherVIN asks by 22 F190 where the other ways gave none.
func (r *reader) otherVIN(ctx context.Context) error {
	for _, e := range r.ecus {
		if len(r.vins) > 0 || r.bus.Functional.Legacy {
			break
		}
		if e.noDIDs || e.askedF190 {
			continue
		}
		e.askedF190 = true
		q := diag.Request{To: diag.Physical(e.addr), Payload: []byte{0x22, 0xF1, 0x90}, Expect: 1}
		answers, err := r.ask(ctx, q)
		if err != nil {
			return err
		}
		r.keep(q.Payload, answers, never)
		r.takeVIN(answers)
	}
	return nil
}

// lateVIN asks an ECU that has only now said that it has a VIN.
func (r *reader) lateVIN(ctx context.Context, e *ecu) error {
	if !e.types.Has(0x02) || e.askedVIN {
		return nil
	}
	return r.askVIN(ctx, []*ecu{e})
}

func (r *reader) askVIN(ctx context.Context, who []*ecu) error {
	for _, e := range who {
		e.askedVIN = true
	}
	if r.onlyUDS() {
		for _, e := range who {
			answers, err := r.oneDID(ctx, e, 0xF802, certain)
			if err != nil {
				return err
			}
			r.takeVIN(answers)
		}
	} else if len(who) > 0 {
		q := r.target(who)
		if r.readdressed { // nobody else has one to give
			q = diag.Request{To: r.bus.Functional, Expect: len(who)}
		}
		q.Payload, q.Frames = []byte{0x09, 0x02}, r.infoFrames(0x02, who)
		var answers []answer
		var err error
		if q.To.IsPhysical {
			answers, err = r.first(ctx, q, who[0], certain)
		} else {
			answers, err = r.put(ctx, q, who, certain)
		}
		if err != nil {
			return err
		}
		answers = slices.DeleteFunc(answers, func(a answer) bool { return a.err != nil && !slices.Contains(who, a.ecu) })
		r.keep(q.Payload, answers, func(e *ecu) bool { return e.types.Has(0x02) })
		r.takeVIN(answers)
	}
	return nil
}

// weighVINs takes the VIN of the first ECU and names those that give another.
func (r *reader) weighVINs() {
	if len(r.vins) == 0 {
		return
	}
	slices.SortStableFunc(r.vins, func(a, b vinSource) int { return int(a.ecu.addr.Rx) - int(b.ecu.addr.Rx) })
	r.s.VIN = r.vins[0].vin
	for _, v := range r.vins[1:] {
		if !v.vin.Equal(r.s.VIN) {
			r.missing(v.ecu.label, []byte{0x09, 0x02}, errTwoVINs, "a control unit comes from another vehicle, or was never coded")
		}
	}
}

func (r *reader) takeVIN(answers []answer) {
	for _, a := range answers {
		for _, v := range a.readings {
			if n, ok := vin.FromReading(v); ok {
				r.vins = append(r.vins, vinSource{a.ecu, n})
			}
		}
	}
	r.weighVINs()
}

var errTwoVINs = errors.New("this control unit gives another VIN than the others")
