package scan

import (
	"cmp"
	"context"

	"obdgate/internal/isotp"
	"obdgate/internal/maker"
)

// readMaker asks what the maker of this vehicle keeps under identifiers of its own and a workshop wants to know, as far as it
// was not asked yet.
func (r *reader) readMaker(ctx context.Context) error {
	return r.maker(ctx, func(isotp.Address) bool { return true })
}

// makerOf asks it of one ECU.
func (r *reader) makerOf(ctx context.Context, e *ecu) error {
	return r.maker(ctx, func(a isotp.Address) bool { return a == e.addr })
}

// maker asks each question of a full plan once, and nothing of control units that have said that they do not know the service.
func (r *reader) maker(ctx context.Context, at func(isotp.Address) bool) error {
	if r.s.VIN.IsZero() || r.bus.Functional.Legacy || r.o.Plan.Depth() != Full {
		return nil
	}
	if r.asked == nil {
		r.asked = map[place]bool{}
	}
	rows := maker.ForVehicle(r.s.VIN.WMI())
	for _, row := range rows {
		to := row.Address()
		q := place{to, string(row.Payload)}
		if !at(to) || r.asked[q] || to.Extended29 != r.bus.Functional.Extended {
			continue // another kind of identifiers would have an adapter look for the bus anew
		}
		r.asked[q] = true
		e := r.known(to)
		if _, emission := isotp.OBDResponder(to.Rx, to.Extended29); emission && e == nil || e != nil && e.noDIDs && row.Payload[0] == 0x22 {
			continue // not there, or it has said that it does not know the service
		}
		for _, o := range rows {
			if o.Address() == to && string(o.Payload) == q.payload {
				r.tags.tagger.Expect(makerPlace(o))
			}
		}
		r.asNewer(row.Payload)
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
