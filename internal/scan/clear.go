package scan

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"obdgate/internal/diag"
	"obdgate/internal/dtc"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/reading"
	"obdgate/internal/visit"
)

// Why a fault memory is not cleared; nothing was changed in the vehicle.
var (
	ErrOtherVehicle  = errors.New("this is another vehicle than the visit's, or does not say which it is")
	ErrEngineRunning = errors.New("the engine is running")
	ErrEngineUnknown = errors.New("the vehicle does not say whether its engine is running")
	ErrNotSaved      = errors.New("the vehicle has trouble codes that no scan of this visit has saved")
)

// ClearResult is what one control unit made of one question to clear.
type ClearResult struct {
	ECU     string `json:"ecu"`
	Service string `json:"service"` // "04", "14"
	Cleared bool   `json:"cleared"`
	Error   string `json:"error,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// Clearing is the account of one clearing.
type Clearing struct {
	Results []ClearResult
	Before  []dtc.Entry // read just before
	After   []dtc.Entry // and just after: permanent codes clear by themselves only
	Asked   bool        // the question was put: from here on the vehicle may have changed
}

// Units is how many control units said that they cleared.
func (c *Clearing) Units() int {
	var who []string
	for _, r := range c.Results {
		if r.Cleared && !slices.Contains(who, r.ECU) {
			who = append(who, r.ECU)
		}
	}
	return len(who)
}

// Complete reports whether everybody that was asked has cleared by at least one of the services it was asked by, and no
// code but permanent ones is left.
func (c *Clearing) Complete() bool {
	done := map[string]bool{}
	for _, r := range c.Results {
		done[r.ECU] = done[r.ECU] || r.Cleared
	}
	for _, ok := range done {
		if !ok {
			return false
		}
	}
	return len(done) > 0 && len(c.Left()) == 0
}

// Left are the codes that are still stored or pending.
func (c *Clearing) Left() []dtc.Entry {
	return slices.DeleteFunc(slices.Clone(c.After), func(e dtc.Entry) bool { return !e.Stored && !e.Pending && !e.Active })
}

// Clear clears the fault memories of the vehicle on l: service 04 and, of those that have service 19, 14 FF FF FF. The
// customer's request must have been recorded before; saved are the scans of the same visit. It asks first whether this
// is the same vehicle, whether the engine stands still, and whether every code there is has been saved; otherwise it
// changes nothing (Err…). The ignition is on when the vehicle answers at all. Afterwards it reads the codes again. o is as
// for Run; its plan does not matter.
func Clear(ctx context.Context, l link.Link, o Options, saved []visit.Scan) (Clearing, error) {
	if o.Policy == nil {
		return Clearing{}, ErrNoPolicy
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Plan = Plan{depth: Full}
	t := newTags(o)
	r := &reader{o: o, tags: t}
	r.conn = diag.New(l, diag.Options{Logger: o.Log, Tap: func(f frame.Frame) { r.hear(&f); t.frame(f) }})
	var out Clearing
	err := r.clear(ctx, saved, &out)
	_, tagErr := t.close()
	return out, errors.Join(err, tagErr)
}

func (r *reader) clear(ctx context.Context, saved []visit.Scan, out *Clearing) error {
	for _, step := range []func(context.Context) error{r.findBus, r.readSupport, r.readVIN, r.readLanguage} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if !r.sameVehicle(saved) {
		return ErrOtherVehicle
	}
	if err := r.standingStill(ctx); err != nil {
		return err
	}
	if err := r.codesNow(ctx); err != nil {
		return err
	}
	out.Before = dtc.Merge(r.s.Readings)
	if !allSaved(out.Before, saved) {
		return ErrNotSaved
	}
	who := slices.Clone(r.ecus)
	reports := map[*ecu]bool{}
	for _, e := range who {
		reports[e] = slices.ContainsFunc(r.s.Readings, func(v reading.Reading) bool { return v.ECU == e.label && strings.HasPrefix(string(v.Key), "uds.19.") })
	}
	out.Asked = true
	for _, e := range who {
		if e.pids.Len() > 0 && !r.onlyUDS() {
			if err := r.clearOne(ctx, e, diag.ClearEmission, "04", out); err != nil {
				return err
			}
		}
		if reports[e] {
			if err := r.clearOne(ctx, e, diag.ClearAll, "14", out); err != nil {
				return err
			}
		}
		if r.bus.Functional.Legacy {
			break // one question reaches everybody there
		}
	}
	r.s = visit.Scan{VIN: r.s.VIN}
	if err := r.codesNow(ctx); err != nil {
		return err
	}
	out.After = dtc.Merge(r.s.Readings)
	return nil
}

// codesNow reads every code, the other control units' as well.
func (r *reader) codesNow(ctx context.Context) error {
	for _, step := range []func(context.Context) error{r.readCodes, r.readReports} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, e := range slices.Clone(r.ecus) {
		if err := r.settle(ctx, e); err != nil {
			return err
		}
	}
	return r.findUnits(ctx, func(*ecu) error { return nil })
}

// sameVehicle compares with the visit's scans. Vehicles that never gave a VIN are told by their control units.
func (r *reader) sameVehicle(saved []visit.Scan) bool {
	for _, s := range saved {
		if !s.VIN.IsZero() {
			return !r.s.VIN.IsZero() && s.VIN.Equal(r.s.VIN)
		}
	}
	known := func(e *ecu) bool {
		return slices.ContainsFunc(saved, func(s visit.Scan) bool {
			return slices.ContainsFunc(s.ECUs, func(u visit.ECU) bool { return u.Address == e.label })
		})
	}
	return len(r.ecus) > 0 && r.s.VIN.IsZero() && !slices.ContainsFunc(r.ecus, func(e *ecu) bool { return !known(e) })
}

// standingStill asks the engine speed of every control unit that has it. A vehicle without an engine has none.
func (r *reader) standingStill(ctx context.Context) error {
	who := r.having(func(e *ecu) bool { return e.pids.Has(0x0C) })
	known := 0
	for _, e := range who {
		var answers []answer
		var err error
		if r.onlyUDS() {
			answers, err = r.oneDID(ctx, e, 0xF40C, probable)
		} else {
			answers, err = r.put(ctx, diag.Request{To: r.physical(e), Payload: []byte{0x01, 0x0C}, Expect: 1}, []*ecu{e}, probable)
		}
		if err != nil {
			return err
		}
		for _, v := range readingsOf(answers) {
			if q, ok := v.Value.(reading.Quantity); ok && q.Unit == "rpm" {
				known++
				if q.Num != 0 {
					return ErrEngineRunning
				}
			}
		}
	}
	if known < len(who) {
		return ErrEngineUnknown
	}
	return nil
}

// allSaved reports whether each code, with its control unit, stands in one of the scans.
func allSaved(now []dtc.Entry, saved []visit.Scan) bool {
	var have []dtc.Entry
	for _, s := range saved {
		have = append(have, dtc.Merge(s.Readings)...)
	}
	for _, e := range now {
		if !slices.ContainsFunc(have, func(h dtc.Entry) bool { return h.ECU == e.ECU && h.Code == e.Code }) {
			return false
		}
	}
	return true
}

// clearOne puts the question to one control unit and notes what it says.
func (r *reader) clearOne(ctx context.Context, e *ecu, how diag.Clearing, service string, out *Clearing) error {
	answers, err := r.conn.Clear(ctx, r.physical(e), how)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, link.ErrGone) || errors.Is(err, link.ErrClosed) {
			return err
		}
		out.Results = append(out.Results, ClearResult{ECU: e.label, Service: service, Error: err.Error(), Hint: hintOf(err)})
		return nil
	}
	if len(answers) == 0 {
		out.Results = append(out.Results, ClearResult{ECU: e.label, Service: service, Error: "no answer"})
	}
	for _, a := range answers {
		one := ClearResult{ECU: a.Addr.ECU(), Service: service, Cleared: a.Err == nil}
		if a.Err != nil {
			one.Error, one.Hint = a.Err.Error(), hintOf(a.Err)
		}
		out.Results = append(out.Results, one)
	}
	return nil
}
