package scan

import (
	"context"
	"slices"

	"obdgate/internal/diag"
	"obdgate/internal/dtc"
	"obdgate/internal/reading"
	"obdgate/internal/uds"
)

// Reports of service 19 (ISO 14229-1, ISO 27145).
const (
	byStatus       = 0x02
	snapshotOf     = 0x04
	extendedOf     = 0x06
	byGroup        = 0x42
	permanentGroup = 0x55

	emissionGroup = 0x33
	everyRecord   = 0xFF

	// nowOrStored are the bits asked for: failing now, pending, confirmed.
	nowOrStored = byte(dtc.TestFailed | dtc.Pending | dtc.Confirmed)
)

// readUDSCodes asks the codes of a vehicle that has only UDS: the emission group with severities and the permanent codes
// where it follows SAE J1979-2, then the plain list, which has the codes of no group as well.
func (r *reader) readUDSCodes(ctx context.Context) error {
	if r.bus.Kind == diag.OBDonUDS {
		// Both masks full: whichever order an ECU takes them in, no code is missed.
		for _, args := range [][]byte{{byGroup, emissionGroup, 0xFF, 0xFF}, {permanentGroup, emissionGroup}} {
			if _, err := r.reports(ctx, r.ecus, probable, args...); err != nil {
				return err
			}
		}
	}
	_, err := r.reports(ctx, r.ecus, certain, byStatus, nowOrStored)
	return err
}

// readReports asks the three-byte codes of the vehicles that have services 03 to 0A as well.
func (r *reader) readReports(ctx context.Context) error {
	if r.o.Plan.Depth() != Full || r.bus.Functional.Legacy {
		return nil
	}
	if r.onlyUDS() {
		return nil
	}
	req := []byte{0x19, byStatus, nowOrStored}
	return r.offer(ctx, req, r.having(func(e *ecu) bool { return !e.noUDS }), always, func(answers []answer) { r.keepReports(req, answers, never) })
}

// reports puts one question of service 19.
func (r *reader) reports(ctx context.Context, who []*ecu, c claim, args ...byte) ([]answer, error) {
	q := r.target(who)
	q.Payload = append([]byte{0x19}, args...)
	answers, err := r.put(ctx, q, who, c)
	if err == nil && c == probable {
		answers, err = r.doubtEach(ctx, q.Payload, who, answers)
	}
	if err != nil {
		return nil, err
	}
	r.keepReports(q.Payload, answers, never)
	return answers, nil
}

// keepReports keeps the answers without the codes that never failed.
func (r *reader) keepReports(req []byte, answers []answer, expected func(*ecu) bool) {
	for i := range answers {
		a := &answers[i]
		a.readings = slices.DeleteFunc(a.readings, func(v reading.Reading) bool {
			f, ok := dtc.Of(v)
			return ok && !f.Failed()
		})
		for j := range a.readings {
			a.ecu.numbered(&a.readings[j])
		}
		if a.ecu.addr.Ext { // BMW and MINI
			a.readings = uds.ByMaker(uds.BMW, a.readings)
		}
	}
	r.keep(req, answers, expected)
}

// numbered writes the code of a maker that numbers its faults freely in the three bytes as digits (BMW, MINI: units behind
// extended addressing): the letters and places of J2012 would be invented.
func (e *ecu) numbered(v *reading.Reading) {
	f, ok := dtc.Of(*v)
	if ok && e.addr.Ext && f.HasStatus {
		n := f.Code.AsHex()
		v.Value = reading.Code{N: uint64(n.N)<<8 | uint64(f.Status), Label: n.String()}
	}
}

const maxSnapshots = 8 // codes per ECU whose snapshots are read

// snapshots reads what an ECU stored with each confirmed code: values of that moment and counters. An ECU that does not
// have such a report is not asked for the next code's.
func (r *reader) snapshots(ctx context.Context, e *ecu) error {
	if r.o.Plan.Depth() != Full || r.bus.Functional.Legacy {
		return nil
	}
	for i, code := range r.confirmed(e) {
		if i == maxSnapshots {
			break
		}
		for _, sub := range []byte{snapshotOf, extendedOf} {
			if e.noReports[sub] {
				continue
			}
			answers, err := r.reports(ctx, []*ecu{e}, probable, sub, byte(code>>16), byte(code>>8), byte(code), everyRecord)
			if err != nil {
				return err
			}
			e.noReports[sub] = !answered(answers, e)
		}
	}
	return nil
}

// confirmed are the three-byte codes an ECU has stored, each once, in the order it gave them.
func (r *reader) confirmed(e *ecu) []uint32 {
	var out []uint32
	for _, v := range r.s.Readings {
		f, ok := dtc.Of(v)
		if ok && v.ECU == e.label && f.HasStatus && f.Status&dtc.Confirmed != 0 && f.Code.Format != dtc.J2012 && !slices.Contains(out, f.Code.N) {
			out = append(out, f.Code.N)
		}
	}
	return out
}
