package scan

import (
	"context"
	"slices"
)

// identification are the identifiers of ISO 14229-1 that say what a control unit is and which software runs on it, for a
// repair or a recall. Those that name who programmed it are left out: F184, F185, F198.
var identification = []uint16{
	0xF187, 0xF188, 0xF189, // maker: part, software, its version
	0xF191, 0xF192, 0xF193, // hardware: maker, supplier, its version
	0xF194, 0xF195, 0xF197, // supplier's software, its version, system
	0xF18A, 0xF18B, 0xF18C, // supplier, made on, serial number
	0xF180, 0xF181, 0xF182, // boot, application, data software
	0xF18F, 0xF199, 0xF19E, // software for type approval, programmed on, description file
}

// readIdentification asks the identification of every control unit that knows service 22.
func (r *reader) readIdentification(ctx context.Context) error {
	if r.o.Plan.Depth() != Full || r.bus.Functional.Legacy {
		return nil
	}
	for _, e := range slices.Clone(r.ecus) {
		ids := slices.DeleteFunc(slices.Clone(identification), func(id uint16) bool { return r.hasDID(e, id) })
		if _, err := r.dids(ctx, e, ids, probable); err != nil {
			return err
		}
	}
	return nil
}
