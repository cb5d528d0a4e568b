package scan

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"obdgate/internal/obfcm"
	"obdgate/internal/reading"
)

// readConsumption asks the consumption record where the customer agreed. Classic InfoTypes are asked of the ECUs whose
// bitmap names them; where no ECU names any, the UDS form is asked of each (facts: both exist).
func (r *reader) readConsumption(ctx context.Context) error {
	if !r.o.Plan.AsksConsumption() {
		return nil
	}
	classic := r.having(func(e *ecu) bool {
		return slices.ContainsFunc(e.types.IDs(), obfcm.IsInfoType)
	})
	for _, q := range obfcm.Requests() {
		if q.UDS == (len(classic) > 0) || q.UDS && r.bus.Functional.Legacy {
			continue
		}
		if q.UDS && q.InfoType != 0x17 && !r.hasConsumption() {
			continue // no ECU knows distance and fuel: the plug-in records are not there either
		}
		who := r.ecus
		if !q.UDS {
			who = r.having(func(e *ecu) bool { return e.types.Has(q.InfoType) })
		}
		if err := r.askRecord(ctx, q, who); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) askRecord(ctx context.Context, q obfcm.Request, who []*ecu) error {
	if len(who) == 0 {
		return nil
	}
	groups := [][]*ecu{who}
	if q.UDS { // 22 is asked ECU by ECU: those that lack the DID refuse or keep silent
		groups = nil
		for _, e := range who {
			groups = append(groups, []*ecu{e})
		}
	}
	for _, g := range groups {
		ask := r.target(g)
		ask.Payload = q.Payload
		answers, err := r.ask(ctx, ask)
		if err != nil {
			return err
		}
		announced := func(*ecu) bool { return !q.UDS }
		r.keep(q.Payload, answers, announced)
		for _, e := range g {
			if !q.UDS && !spoke(answers, e) && !r.named(e, q.Payload) {
				r.missing(e.label, q.Payload, errSilent, "")
			}
		}
	}
	return nil
}

func (r *reader) hasConsumption() bool {
	return slices.ContainsFunc(r.s.Readings, isConsumption)
}

func isConsumption(v reading.Reading) bool { return strings.HasPrefix(string(v.Key), "obfcm.") }

// judgeConsumption settles the outcome: not asked, not fitted, or what the record is worth.
func (r *reader) judgeConsumption() {
	if !r.o.Plan.AsksConsumption() {
		r.s.OBFCM = obfcm.Verdict{Outcome: r.o.Plan.skipped()}
		return
	}
	var facts obfcm.Context
	for _, v := range r.s.Readings {
		if c, ok := v.Value.(reading.Code); ok && v.Key == "obd.01.51" {
			facts.FuelType = cmp.Or(facts.FuelType, byte(c.N))
		}
	}
	if v := r.s.Odometer; v.Chosen >= 0 && v.Chosen < len(v.Sources) && !isConsumption(reading.Reading{Key: v.Sources[v.Chosen].Key}) {
		facts.OdometerKm = v.Sources[v.Chosen].Km
	}
	r.s.OBFCM = obfcm.Assess(r.s.Readings, facts)
	if r.s.OBFCM.Outcome == obfcm.NotFitted && r.consumptionFailed() {
		r.s.OBFCM.Outcome = obfcm.VehicleError
	}
}

// consumptionFailed reports whether a consumption question was put and went wrong, so that "not fitted" would be a lie.
func (r *reader) consumptionFailed() bool {
	for _, q := range obfcm.Requests() {
		for _, e := range r.ecus {
			if r.named(e, q.Payload) {
				return true
			}
		}
	}
	return false
}

