package scan

import (
	"context"
	"slices"

	"obdgate/internal/diag"
	"obdgate/internal/obd"
	"obdgate/internal/reading"
)

// readDIDSupport asks the support bitmaps of an OBDonUDS vehicle: 22 F400 … mirrors 01 00 …, 22 F800 mirrors 09 00
// (SAE J1979-2). Every ECU is asked by itself; one that refuses has none.
func (r *reader) readDIDSupport(ctx context.Context) error {
	for _, e := range slices.Clone(r.ecus) {
		for base := 0x00; base <= 0xE0; base += 0x20 {
			if base > 0 && !e.pids.Has(byte(base)) {
				break
			}
			rs, err := r.did(ctx, e, 0xF4, byte(base), base > 0)
			if err != nil {
				return err
			}
			e.pids = e.pids.Union(obd.DIDs(0xF4, rs))
		}
		rs, err := r.did(ctx, e, 0xF8, 0x00, false)
		if err != nil {
			return err
		}
		e.types = e.types.Union(obd.DIDs(0xF8, rs))
	}
	return nil
}

// did reads one data identifier of one ECU. expected says that the ECU claims to have it.
func (r *reader) did(ctx context.Context, e *ecu, high, low byte, expected bool) ([]reading.Reading, error) {
	req := []byte{0x22, high, low}
	answers, err := r.ask(ctx, diag.Request{To: diag.Physical(e.addr), Payload: req, Expect: 1})
	if err != nil {
		return nil, err
	}
	r.keep(req, answers, func(*ecu) bool { return expected })
	if expected && !spoke(answers, e) && !r.named(e, req) {
		r.missing(e.label, req, errSilent, "")
	}
	var out []reading.Reading
	for _, a := range answers {
		out = append(out, a.readings...)
	}
	return out, nil
}

// readDIDValues reads F4xx, which mirrors PID xx, and F8xx identification of an OBDonUDS vehicle.
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
	answers, err := r.ask(ctx, q)
	if err != nil {
		return err
	}
	r.keep(q.Payload, answers, never)
	return nil
}
