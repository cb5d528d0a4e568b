package scan

import (
	"context"
	"slices"

	"obdgate/internal/obd"
)

// readMonitors reads the results of the on-board tests that several ECUs have (service 06). Buses before CAN have another
// service 06, which names no unit: it is left alone.
func (r *reader) readMonitors(ctx context.Context) error {
	if r.o.Plan.Depth() != Full || r.bus.Functional.Legacy || r.onlyUDS() {
		return nil
	}
	req := []byte{0x06, 0x00}
	err := r.offer(ctx, req, r.having(func(e *ecu) bool { return e.pids.Len() > 0 }), r.tests, func(answers []answer) { r.takeMonitorMaps(req, answers) })
	if err != nil {
		return err
	}
	return r.monitors(ctx, func(who []*ecu) []*ecu {
		if len(who) < 2 {
			return nil
		}
		return who
	})
}

// tests reports whether an ECU says in 01 01 that it runs tests of its own, beyond watching its wires: only such a one has
// results. One that did not say may have some.
func (r *reader) tests(e *ecu) bool {
	said := false
	for _, v := range r.s.Readings {
		if one, ok := obd.ReadinessFrom(v); ok && v.ECU == e.label && !one.Cycle {
			said = true
			if slices.ContainsFunc(one.Monitors, func(m obd.Monitor) bool { return m.Supported && m.Key != "components" }) {
				return true
			}
		}
	}
	return !said
}

// ownMonitors reads the results that e still owes: service 06, or 22 F6xx where the vehicle has only UDS.
func (r *reader) ownMonitors(ctx context.Context, e *ecu) error {
	switch {
	case r.o.Plan.Depth() != Full || r.bus.Functional.Legacy:
		return nil
	case r.onlyUDS():
		return r.ownDIDMonitors(ctx, e)
	}
	return r.monitors(ctx, func(who []*ecu) []*ecu {
		if slices.Contains(who, e) {
			return []*ecu{e}
		}
		return nil
	})
}

// monitors asks support maps and results. of chooses whom of those who owe something.
func (r *reader) monitors(ctx context.Context, of func(who []*ecu) []*ecu) error {
	owing := func(id byte) []*ecu {
		return of(r.having(func(e *ecu) bool {
			return e.mids.Has(id) && !r.have(e, 0x06, id) && !r.named(e, []byte{0x06, id})
		}))
	}
	if who := owing(0x20); len(who) > 0 { // the maps together, then those that somebody still owes
		if err := r.monitorMaps(ctx, who, []byte{0x20, 0x40, 0x60, 0x80, 0xA0, 0xC0}, unknown); err != nil {
			return err
		}
	}
	for base := 0x20; base <= 0xE0; base += 0x20 {
		if who := owing(byte(base)); len(who) > 0 {
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
		who := owing(id)
		if obd.IsBitmap(id) || len(who) == 0 {
			continue
		}
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
	r.takeMonitorMaps(q.Payload, answers)
	return nil
}

func (r *reader) takeMonitorMaps(req []byte, answers []answer) {
	r.keep(req, answers, never)
	for _, a := range answers {
		a.ecu.mids = a.ecu.mids.Union(obd.Supported(0x06, a.readings))
	}
}

// ownDIDMonitors is ownMonitors for vehicles that have only UDS: 22 F6xx has the results of MID xx (SAE J1979-2).
func (r *reader) ownDIDMonitors(ctx context.Context, e *ecu) error {
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
