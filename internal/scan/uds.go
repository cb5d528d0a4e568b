package scan

import (
	"context"
	"slices"

	"obdgate/internal/diag"
	"obdgate/internal/obd"
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
	first := []uint16{0xF400, 0xF800}
	for _, e := range slices.Clone(r.ecus) {
		if err := r.didMaps(ctx, e, probable, first...); err != nil {
			return err
		}
		for base := 0x20; base <= 0xE0; base += 0x60 { // three maps at a time
			if !e.pids.Has(byte(base)) {
				break
			}
			if err := r.didMaps(ctx, e, probable, 0xF400|uint16(base), 0xF420+uint16(base), 0xF440+uint16(base)); err != nil {
				return err
			}
		}
		for base := 0x20; base <= 0xE0; base += 0x20 {
			if id := 0xF400 | uint16(base); e.pids.Has(byte(base)) && !r.hasDID(e, id) {
				if err := r.didMaps(ctx, e, certain, id); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// ownDIDSoftware is ownSoftware for vehicles that have only UDS: 22 F8xx mirrors 09 xx.
func (r *reader) ownDIDSoftware(ctx context.Context, e *ecu) error {
	for _, id := range e.types.IDs() {
		if obd.IsBitmap(id) || id == 0x02 || obd.Elsewhere(id) || r.o.Plan.Depth() == Quick && id != 0x0A {
			continue
		}
		answers, err := r.oneDID(ctx, e, 0xF800|uint16(id), certain)
		if err != nil {
			return err
		}
		if id == 0x0A {
			takeNames(answers)
		}
	}
	return nil
}

// ownDIDValues reads F4xx, which mirrors PID xx.
func (r *reader) ownDIDValues(ctx context.Context, e *ecu) error {
	together, loose := steady(0xF4, slices.DeleteFunc(e.pids.IDs(), func(id byte) bool {
		return obd.IsBitmap(id) || r.o.Plan.Depth() == Quick && !slices.Contains(quickPIDs, id)
	}))
	if _, err := r.dids(ctx, e, together, certain); err != nil {
		return err
	}
	for _, id := range loose {
		if _, err := r.oneDID(ctx, e, id, certain); err != nil {
			return err
		}
	}
	return nil
}
