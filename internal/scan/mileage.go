package scan

import (
	"cmp"
	"context"
	"strings"

	"obdgate/internal/isotp"
	"obdgate/internal/odometer"
	"obdgate/internal/reading"
)

// place is a question at an address: kilometres and miles of one cluster stand in one answer.
type place struct {
	to      isotp.Address
	payload string
}

// readMileage asks the places where the maker of this vehicle keeps the mileage, as far as they were not asked yet. A full
// plan asks them all, to be weighed against each other; a quick one only until one has answered, and only where the
// standard's own PID gave nothing.
func (r *reader) readMileage(ctx context.Context) error {
	return r.mileage(ctx, func(isotp.Address) bool { return true })
}

// mileageOf asks the places of one ECU.
func (r *reader) mileageOf(ctx context.Context, e *ecu) error {
	if r.o.Plan.Depth() != Full {
		return nil
	}
	return r.mileage(ctx, func(a isotp.Address) bool { return a == e.addr })
}

func (r *reader) mileage(ctx context.Context, at func(isotp.Address) bool) error {
	if r.s.VIN.IsZero() || r.bus.Functional.Legacy {
		return nil
	}
	if r.asked == nil {
		r.asked = map[place]bool{}
	}
	rows := odometer.ForMaker(r.s.VIN.WMI())
	for _, row := range rows {
		to := row.Address()
		if !at(to) {
			continue
		}
		if r.o.Plan.Depth() != Full && r.hasMileage() {
			return nil
		}
		if to.Extended29 != r.bus.Functional.Extended {
			continue // another kind of identifiers would have an adapter look for the bus anew
		}
		q := place{to, string(row.Payload)}
		if r.asked[q] {
			continue
		}
		r.asked[q] = true
		e := r.known(to)
		if _, emission := isotp.OBDResponder(to.Rx, to.Extended29); emission && e == nil || e != nil && e.noDIDs && row.Payload[0] == 0x22 {
			continue // not there, or it has said that it does not know the service
		}
		for _, o := range rows {
			if o.Address() == to && string(o.Payload) == q.payload {
				r.tags.tagger.Expect(mileagePlace(o))
			}
		}
		answers, err := r.probe(ctx, to, row.Payload)
		if err != nil {
			return err
		}
		for _, a := range answers {
			if e == nil {
				a.ecu.known, a.ecu.name = true, cmp.Or(a.ecu.name, row.ECU)
			}
		}
		r.keep(row.Payload, answers, never)
	}
	return nil
}

// known is the ECU at an address, nil when none has answered there.
func (r *reader) known(a isotp.Address) *ecu {
	for _, e := range r.ecus {
		if e.addr == a {
			return e
		}
	}
	return nil
}

func (r *reader) hasMileage() bool {
	for _, v := range r.s.Readings {
		_, isNumber := v.Value.(reading.Quantity)
		k := string(v.Key)
		if isNumber && (k == "obd.01.A6" || k == "uds.22.F4A6" || strings.HasPrefix(k, "odometer.")) {
			return true
		}
	}
	return false
}
