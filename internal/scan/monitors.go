package scan

import (
	"context"
	"slices"

	"obdgate/internal/obd"
)

// readMonitors reads the results of the on-board tests: service 06, or 22 F6xx where the vehicle has only UDS. Buses before
// CAN have another service 06, which names no unit: it is left alone.
func (r *reader) readMonitors(ctx context.Context) error {
	switch {
	case r.o.Plan.Depth() != Full || r.bus.Functional.Legacy:
		return nil
	case r.onlyUDS():
		return r.readDIDMonitors(ctx)
	}
	who := r.having(func(e *ecu) bool { return e.pids.Len() > 0 })
	if len(who) == 0 {
		return nil
	}
	if err := r.monitorMaps(ctx, who, []byte{0x00}, probable); err != nil {
		return err
	}
	who = r.having(func(e *ecu) bool { return e.mids.Has(0x20) })
	if len(who) > 0 { // the maps together, then those that somebody still owes
		if err := r.monitorMaps(ctx, who, []byte{0x20, 0x40, 0x60, 0x80, 0xA0, 0xC0}, unknown); err != nil {
			return err
		}
	}
	for base := 0x20; base <= 0xE0; base += 0x20 {
		who := r.having(func(e *ecu) bool { return e.mids.Has(byte(base)) && !r.have(e, 0x06, byte(base)) })
		if len(who) > 0 {
			if err := r.monitorMaps(ctx, who, []byte{byte(base)}, certain); err != nil {
				return err
			}
		}
	}
	var all obd.Set
	for _, e := range r.ecus {
		all = all.Union(e.mids)
	}
	for _, id := range all.IDs() {
		if obd.IsBitmap(id) {
			continue
		}
		who := r.having(func(e *ecu) bool { return e.mids.Has(id) })
		q := r.target(who)
		q.Payload = []byte{0x06, id}
		answers, err := r.put(ctx, q, who, certain)
		if err != nil {
			return err
		}
		r.keep(q.Payload, answers, always)
	}
	return nil
}

// monitorMaps asks support maps of service 06; several may stand in one question (SAE J1979).
func (r *reader) monitorMaps(ctx context.Context, who []*ecu, bases []byte, c claim) error {
	q := r.target(who)
	q.Payload = append([]byte{0x06}, bases...)
	answers, err := r.put(ctx, q, who, c)
	if err != nil {
		return err
	}
	if len(bases) > 1 {
		answers = slices.DeleteFunc(answers, func(a answer) bool { return !obd.Usable(a.err) })
	}
	r.keep(q.Payload, answers, never)
	for _, a := range answers {
		a.ecu.mids = a.ecu.mids.Union(obd.Supported(0x06, a.readings))
	}
	return nil
}

// readDIDMonitors is readMonitors for vehicles that have only UDS: 22 F6xx has the results of MID xx (SAE J1979-2).
func (r *reader) readDIDMonitors(ctx context.Context) error {
	for _, e := range slices.Clone(r.ecus) {
		for base := 0x00; base <= 0xE0; base += 0x20 {
			if base > 0 && !e.mids.Has(byte(base)) {
				break
			}
			c := certain
			if base == 0 {
				c = probable
			}
			if err := r.didMaps(ctx, e, c, 0xF600|uint16(base)); err != nil {
				return err
			}
		}
		_, loose := steady(0xF6, slices.DeleteFunc(e.mids.IDs(), obd.IsBitmap))
		for _, id := range loose {
			if _, err := r.oneDID(ctx, e, id, certain); err != nil {
				return err
			}
		}
	}
	return nil
}

// didMaps asks support maps of an ECU and learns from them.
func (r *reader) didMaps(ctx context.Context, e *ecu, c claim, ids ...uint16) error {
	answers, err := r.dids(ctx, e, ids, c)
	if err != nil {
		return err
	}
	got := readingsOf(answers)
	e.pids, e.mids, e.types = e.pids.Union(obd.DIDs(0xF4, got)), e.mids.Union(obd.DIDs(0xF6, got)), e.types.Union(obd.DIDs(0xF8, got))
	return nil
}
