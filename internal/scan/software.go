package scan

import (
	"context"
	"slices"
)

// identifiers are those of ISO 14229-1 that say what a control unit is and which software runs on it, for a
// repair or a recall. Those that name who programmed it are left out: F184, F185, F198.
var identifiers = []uint16{
	0xF187, 0xF188, 0xF189, // maker: part, software, its version
	0xF191, 0xF192, 0xF193, // hardware: maker, supplier, its version
	0xF194, 0xF195, 0xF197, // supplier's software, its version, system
	0xF18A, 0xF18B, 0xF18C, // supplier, made on, serial number
	0xF180, 0xF181, 0xF182, // boot, application, data software
	0xF18F, 0xF199, 0xF19E, // software for type approval, programmed on, description file
}

// introduction is identification before all else of a control unit that is to be asked for its reports: who does not know
// service 22 says so, and is asked for nothing more of ISO 14229.
func (r *reader) introduction(ctx context.Context, e *ecu) error {
	if !slices.ContainsFunc(e.owed, func(o owed) bool { return o.payload[0] == 0x19 }) {
		return nil
	}
	return r.identification(ctx, e)
}

// identification asks a control unit that knows service 22 what it is.
func (r *reader) identification(ctx context.Context, e *ecu) error {
	if r.o.Plan.Depth() != Full || r.bus.Functional.Legacy || e.identified {
		return nil
	}
	e.identified = true
	ids := slices.DeleteFunc(slices.Clone(identifiers), func(id uint16) bool { return r.hasDID(e, id) })
	_, err := r.dids(ctx, e, ids, probable)
	return err
}
