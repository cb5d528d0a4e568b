package scan

import (
	"context"
	"slices"

	"obdgate/internal/diag"
	"obdgate/internal/obd"
	"obdgate/internal/reading"
)

// onlyUDS reports whether services 01 to 0A are gone and everything is asked as data identifiers.
func (r *reader) onlyUDS() bool { return r.bus.Kind == diag.UDSOnly || r.bus.Kind == diag.OBDonUDS }

// readDIDSupport asks the support bitmaps of an OBDonUDS vehicle: 22 F400 … mirrors 01 00 …, 22 F800 mirrors 09 00
// (SAE J1979-2). Every ECU is asked by itself; one that refuses has none.
func (r *reader) readDIDSupport(ctx context.Context) error {
	// Once more to everybody: who was overheard while the bus was looked for would be missing as a whole.
	if _, err := r.put(ctx, diag.Request{To: r.bus.Functional, Payload: []byte{0x22, 0xF4, 0x00}}, nil, unknown); err != nil {
		return err
	}
	for _, e := range slices.Clone(r.ecus) {
		for base := 0x00; base <= 0xE0; base += 0x20 {
			if base > 0 && !e.pids.Has(byte(base)) {
				break
			}
			answers, err := r.did(ctx, e, 0xF4, byte(base), base > 0)
			if err != nil {
				return err
			}
			e.pids = e.pids.Union(obd.DIDs(0xF4, readingsOf(answers)))
		}
		answers, err := r.did(ctx, e, 0xF8, 0x00, false)
		if err != nil {
			return err
		}
		e.types = e.types.Union(obd.DIDs(0xF8, readingsOf(answers)))
	}
	return nil
}

// did reads one data identifier of one ECU. expected says that the ECU claims to have it.
func (r *reader) did(ctx context.Context, e *ecu, high, low byte, expected bool) ([]answer, error) {
	req := []byte{0x22, high, low}
	c := probable
	if expected {
		c = certain
	}
	answers, err := r.put(ctx, diag.Request{To: diag.Physical(e.addr), Payload: req, Expect: 1}, []*ecu{e}, c)
	if err == nil {
		r.keep(req, answers, func(*ecu) bool { return expected })
	}
	return answers, err
}

func readingsOf(answers []answer) []reading.Reading {
	var out []reading.Reading
	for _, a := range answers {
		out = append(out, a.readings...)
	}
	return out
}

// readDIDSoftware is readSoftware for vehicles that have only UDS: 22 F8xx mirrors 09 xx.
func (r *reader) readDIDSoftware(ctx context.Context) error {
	for _, e := range slices.Clone(r.ecus) {
		for _, id := range e.types.IDs() {
			if obd.IsBitmap(id) || id == 0x02 || obd.Elsewhere(id) || r.o.Plan.Depth() == Quick && id != 0x0A {
				continue
			}
			answers, err := r.did(ctx, e, 0xF8, id, true)
			if err != nil {
				return err
			}
			if id == 0x0A {
				takeNames(answers)
			}
		}
	}
	return nil
}

// readDIDValues reads F4xx, which mirrors PID xx.
func (r *reader) readDIDValues(ctx context.Context) error {
	for _, e := range slices.Clone(r.ecus) {
		for _, id := range e.pids.IDs() {
			if obd.IsBitmap(id) || r.o.Plan.Depth() == Quick && !slices.Contains(quickPIDs, id) {
				continue
			}
			if _, err := r.did(ctx, e, 0xF4, id, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// readUDSCodes asks 19 02 with every status bit that means something is or was wrong (ISO 14229-1 D.2).
func (r *reader) readUDSCodes(ctx context.Context) error {
	q := diag.Request{To: r.bus.Functional, Payload: []byte{0x19, 0x02, 0x0D}, Expect: len(r.ecus)}
	answers, err := r.put(ctx, q, r.ecus, certain)
	if err != nil {
		return err
	}
	r.keep(q.Payload, answers, never)
	return nil
}
