package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"obdgate/internal/consent"
	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	"obdgate/internal/reading"
)

// errNoLonger ends the reading of the consumption record when the customer's answer has changed.
var errNoLonger = errors.New("scan: the customer does not agree to the consumption record any more")

// stillAgreed is asked right before a consumption question is put on the bus. The plan is as old as the scan; a customer
// who says no meanwhile is heard here.
func (r *reader) stillAgreed(ctx context.Context, req []byte) error {
	if !r.o.Plan.AsksConsumption() {
		return errRefusedQuestion
	}
	if r.o.Consent != nil {
		now, err := r.o.Consent(ctx)
		if err != nil { // nobody can say that it is a yes
			now = consent.Unasked
			r.missing("", req, fmt.Errorf("the customer's answer could not be looked up: %w", err), "scan again")
		}
		if !now.Yes() {
			r.o.Plan.consumption = now
			return errNoLonger
		}
	}
	r.record++
	return nil
}

// readConsumption asks the consumption record where the customer agreed, and as long as he does: the InfoTypes an ECU
// announces, by service 09 or, where the vehicle has only UDS, as DIDs. Where no ECU announces any, the DIDs are tried on
// each (facts: both exist).
func (r *reader) readConsumption(ctx context.Context) error {
	return r.consumption(ctx, func(_ byte, who []*ecu) []*ecu { return who })
}

// ownConsumption asks what an ECU can be asked by itself. Of a record that nobody announces that is the one without which
// there are no others.
func (r *reader) ownConsumption(ctx context.Context, e *ecu) error {
	return r.consumption(ctx, func(t byte, who []*ecu) []*ecu {
		if !slices.Contains(who, e) || len(who) > 1 && (!r.onlyUDS() && r.announcesConsumption() || t != 0x17 && !r.announcesConsumption()) {
			return nil
		}
		return []*ecu{e}
	})
}

func (r *reader) announcesConsumption() bool {
	return len(r.having(func(e *ecu) bool { return slices.ContainsFunc(e.types.IDs(), obfcm.IsInfoType) })) > 0
}

// consumption asks each record that somebody owes; of chooses whom of those.
func (r *reader) consumption(ctx context.Context, of func(t byte, who []*ecu) []*ecu) error {
	if !r.o.Plan.AsksConsumption() {
		return nil
	}
	announced := r.announcesConsumption()
	for _, q := range obfcm.Requests() {
		if q.UDS && r.bus.Functional.Legacy || q.UDS != (!announced || r.onlyUDS()) {
			continue
		}
		if !announced && q.InfoType != 0x17 && !r.hasConsumption() {
			continue // no ECU knows distance and fuel: the plug-in records are not there either
		}
		who := of(q.InfoType, r.having(func(e *ecu) bool {
			return !e.records.Has(q.InfoType) && (!announced || e.types.Has(q.InfoType)) && !(q.UDS && !announced && e.noDIDs)
		}))
		for _, e := range who {
			e.records.Add(q.InfoType)
		}
		if err := r.askRecord(ctx, q, who, announced); errors.Is(err, errNoLonger) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// askRecord asks one record. announced says that those asked claim to have it.
func (r *reader) askRecord(ctx context.Context, q obfcm.Request, who []*ecu, announced bool) error {
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
		c := unknown
		if announced {
			c = certain
		}
		answers, err := r.put(ctx, ask, g, c)
		if err != nil {
			return err
		}
		r.keep(q.Payload, answers, func(*ecu) bool { return announced })
	}
	return nil
}

func (r *reader) hasConsumption() bool {
	return slices.ContainsFunc(r.s.Readings, isConsumption)
}

func isConsumption(v reading.Reading) bool { return strings.HasPrefix(string(v.Key), "obfcm.") }

// judgeConsumption settles the outcome: not asked, not fitted, or what the record is worth. A record whose reading began
// before the customer said no counts as asked for: whoever keeps the scan destroys what was read of it.
func (r *reader) judgeConsumption() {
	if !r.o.Plan.AsksConsumption() && r.record == 0 {
		r.s.OBFCM = obfcm.Verdict{Outcome: r.o.Plan.skipped()}
		return
	}
	facts := obfcm.Context{Failed: r.consumptionFailures()}
	for _, v := range r.s.Readings {
		if c, ok := v.Value.(reading.Code); ok && (v.Key == "obd.01.51" || v.Key == "uds.22.F451") {
			facts.FuelType = cmp.Or(facts.FuelType, byte(c.N))
		}
		facts.Plugin = facts.Plugin || strings.HasPrefix(string(v.Key), "obfcm.lifetime_grid_energy")
	}
	if o := odometer.Weigh(slices.DeleteFunc(slices.Clone(r.s.Readings), isConsumption), odometer.Context{Engine: r.engine()}); o.Chosen >= 0 {
		facts.OdometerKm, facts.Engine = o.Sources[o.Chosen].Km, o.Sources[o.Chosen].ECU
	}
	r.s.OBFCM = obfcm.Assess(r.s.Readings, facts)
}

// consumptionFailures counts the consumption questions that were put and went wrong, so that "not fitted" is no lie.
func (r *reader) consumptionFailures() int {
	n := 0
	for _, q := range obfcm.Requests() {
		for _, e := range r.ecus {
			if r.named(e, q.Payload) {
				n++
			}
		}
	}
	return n
}
