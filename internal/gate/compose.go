package gate

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/wire"
)

const obfcmPrefix = "obfcm."

// neverLeaves are the categories that go nowhere, whoever asks: what people entered, and what is not even to be stored.
var neverLeaves = []policy.Category{policy.Customer, policy.Occupant, policy.WorkshopRecord}

// serviceCategories are what the service purpose and a named third party get, and what quality is made from. Consumption
// has its own purpose, and the workshop's record stays in the workshop.
var serviceCategories = []policy.Category{
	policy.VehicleIdentity, policy.FaultMemory, policy.Condition, policy.LoadProfile, policy.Software, policy.Service,
}

// naming are technical keys whose value names one vehicle as the VIN does; they go where the whole VIN goes.
var naming = []string{
	"obd.09.0D", "uds.22.F80D", // engine serial number
	"uds.22.F18C",              // serial number of the control unit
	"obd.09.0F", "uds.22.F80F", // exhaust aftertreatment approval, per unit on some makes
}

// compose selects, generalises where the purpose asks for it, and puts into canonical order.
func (g *Gate) compose(in Input, receipt string) (*wire.Envelope, error) {
	e := &wire.Envelope{
		Station: cmp.Or(in.Recipient.Station, in.Station), Day: in.Day.Format(time.DateOnly), VIN: linkingKey(&in), Purpose: purposeOnWire(in.Purpose),
		Receipt: receipt, Policy: in.Policy,
	}
	s := selection{in: &in, whole: len(e.VIN) == len(in.VIN.Reveal())}
	if in.Purpose == consent.Quality {
		e.VIN, e.Receipt = "", g.pseudonym(receipt)
		e.Day = time.Date(in.Day.Year(), in.Day.Month(), 1, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
		s.quality(e)
	} else if err := s.fill(e); err != nil {
		return nil, err
	}
	e.Canonicalise()
	switch {
	case in.Purpose == consent.OBFCM && (e.OBFCM == nil || e.VIN == ""):
		return nil, fmt.Errorf("%w: no consumption record with a VIN was read", ErrNothing)
	case len(e.Readings)+len(e.Codes)+len(e.Software) == 0 && e.OBFCM == nil && e.Odometer == nil:
		return nil, ErrNothing
	}
	return e, nil
}

// purposeOnWire spells the name in a purpose as the schema does.
func purposeOnWire(p consent.Purpose) string {
	if name := p.Named(); name != "" {
		return p.Kind() + ":" + wire.Name(name)
	}
	return string(p)
}

// linkingKey returns the VIN as the recipient may have it: whole inside the EEA, or where an adequacy decision or a
// safeguard stands on its record and the purpose named it to the customer; otherwise the first 11 characters, which name a
// model and a plant.
func linkingKey(in *Input) string {
	v := in.VIN.Reveal()
	if v == "" || in.Recipient.WholeVIN() || in.Purpose.Named() != "" && protected(in) {
		return v
	}
	return v[:11]
}

// selection picks the values one purpose may carry.
type selection struct {
	in    *Input
	whole bool // the VIN goes whole, or there is none
}

// allows is the rule of the purpose for one tag.
func (s *selection) allows(t policy.Tag) bool {
	if s.in.Purpose.IsPortability() { // to the one controller the customer named in a request (Regulation (EU) 2016/679, Art. 20(2))
		return !slices.Contains(neverLeaves, t.Category)
	}
	if !t.Class.Releasable() {
		return false
	}
	if s.in.Purpose == consent.OBFCM {
		return t.Category == policy.Consumption
	}
	return slices.Contains(serviceCategories, t.Category)
}

func (s *selection) fill(e *wire.Envelope) error {
	var record []wire.Reading
	for _, v := range s.in.Values {
		r, t := v.Reading(), v.Tag()
		if !s.allows(t) {
			continue
		}
		if status, ok := strings.CutPrefix(string(r.Key), wire.CodeKey); ok {
			if c, ok := r.Value.(reading.Code); ok && c.Label != "" {
				e.Codes = append(e.Codes, wire.Code{Code: c.Label, Status: status, ECU: r.ECU})
			}
			continue
		}
		// The mileage verdict's chosen value stands in the odometer member, with its source.
		if r.Key == "odometer" || !s.whole && s.names(r) {
			continue
		}
		w, ok := onWire(r)
		switch {
		case !ok:
		case strings.HasPrefix(w.Key, obfcmPrefix):
			record = append(record, w)
		case s.in.Purpose == consent.OBFCM:
			// Raw words of the consumption InfoTypes that no law asks for stay.
		case t.Category == policy.Software:
			e.Software = append(e.Software, w)
		default:
			e.Readings = append(e.Readings, w)
		}
	}
	if len(record) > 0 {
		o := s.in.OBFCM
		switch o.Outcome {
		case obfcm.OK, obfcm.Implausible, obfcm.VehicleError:
		default:
			return fmt.Errorf("the consumption record: %w", ErrRefused) // what was refused is not held; if it were, it would stay
		}
		e.OBFCM = &wire.OBFCM{Verdict: string(o.Outcome), Reasons: slices.Clone(o.Reasons), Layout: o.Layout, ECU: o.ECU, Values: record}
	}
	e.Odometer = s.mileage()
	return nil
}

// names reports whether r names one vehicle: by its key, or because its text repeats what the cut VIN leaves out.
func (s *selection) names(r reading.Reading) bool {
	for _, k := range naming {
		if string(r.Key) == k || strings.HasPrefix(string(r.Key), k+".") {
			return true
		}
	}
	t, ok := r.Value.(reading.Text)
	v := s.in.VIN.Reveal()
	return ok && v != "" && strings.Contains(strings.ToUpper(string(t)), v[11:])
}

// mileage is the odometer member. The sources are weighed here anew, from the tagged readings the purpose may carry: a
// judgement made elsewhere may rest on values that stay.
func (s *selection) mileage() *wire.Odometer {
	var may []reading.Reading
	for _, v := range s.in.Values {
		r, t := v.Reading(), v.Tag()
		if _, ok := r.Value.(reading.Quantity); !ok {
			continue
		}
		if s.allows(t) || s.in.Purpose == consent.OBFCM && t.Class.Releasable() && t.Category == policy.Condition {
			may = append(may, r)
		}
	}
	slices.SortFunc(may, func(a, b reading.Reading) int {
		if c := cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ECU, b.ECU)); c != 0 {
			return c
		}
		return a.Value.(reading.Quantity).Cmp(b.Value.(reading.Quantity))
	})
	v := odometer.Weigh(may, odometer.Context{Engine: s.in.Engine})
	if v.Chosen < 0 || v.Chosen >= len(v.Sources) {
		return nil
	}
	o := &wire.Odometer{Verdict: string(v.Outcome)}
	for i, src := range v.Sources {
		w, ok := onWire(reading.Reading{Key: src.Key, ECU: src.ECU, Value: src.Km})
		if !ok {
			continue
		}
		o.Sources = append(o.Sources, w)
		if i == v.Chosen {
			o.Km, o.Source, o.ECU = w.Value, w.Key, w.ECU
		}
	}
	return o
}

// onWire turns a reading into what the schema knows; ok is false for absent values, identities and empty texts.
func onWire(r reading.Reading) (w wire.Reading, ok bool) {
	w = wire.Reading{Key: string(r.Key), ECU: r.ECU}
	switch v := r.Value.(type) {
	case reading.Quantity:
		w.Unit = string(v.Unit)
		w.Value, ok = wire.Number(v.Decimal())
	case reading.Code:
		if v.Bool {
			w.Value, ok = wire.Truth(v.N != 0), true
		} else {
			w.Value, ok = wire.Number(strconv.FormatUint(v.N, 10))
		}
	case reading.Text:
		w.Value, ok = wire.Text(wire.Printable(string(v)))
	}
	return w, ok
}

// coarse are the values that may go into anonymised quality data, each rounded down to its step; 0 = as it is (truth
// values and small enumerations). Everything else stays, calibrations and part numbers with it.
var coarse = map[reading.Key]int64{
	"obd.01.01.mil_on": 0,
	"obd.01.51":        0,      // fuel type
	"obd.01.30":        50,     // warm-ups since codes were cleared
	"obd.01.31":        1000,   // km since codes were cleared
	"obd.01.42":        1,      // V, control module
	"obd.01.5B":        10,     // % hybrid battery remaining life
	"odometer":         10_000, // km
}

// quality fills e with generalised values: codes without their control unit, the coarse table, the mileage to 10,000 km.
func (s *selection) quality(e *wire.Envelope) {
	for _, v := range s.in.Values {
		r, t := v.Reading(), v.Tag()
		if !s.allows(t) {
			continue
		}
		if status, ok := strings.CutPrefix(string(r.Key), wire.CodeKey); ok {
			if c, ok := r.Value.(reading.Code); ok && c.Label != "" {
				e.Codes = append(e.Codes, wire.Code{Code: c.Label, Status: status})
			}
			continue
		}
		step, ok := coarse[r.Key]
		if !ok || r.Key == "odometer" {
			continue
		}
		if w, ok := onWire(r); ok {
			w.ECU = ""
			if step > 0 {
				w.Value, ok = roundDown(w.Value, step)
			}
			if _, isText := w.Value.Text(); ok && !isText {
				e.Readings = append(e.Readings, w)
			}
		}
	}
	if o := s.mileage(); o != nil {
		if km, ok := roundDown(o.Km, coarse["odometer"]); ok {
			e.Odometer = &wire.Odometer{Km: km, Source: o.Source}
		}
	}
}

// roundDown returns the largest multiple of step that is not above v; ok is false when v is no number.
func roundDown(v wire.Value, step int64) (wire.Value, bool) {
	digits, ok := v.Number()
	if !ok {
		return wire.Value{}, false
	}
	x, ok := new(big.Rat).SetString(digits)
	if !ok {
		return wire.Value{}, false
	}
	x.Quo(x, new(big.Rat).SetInt64(step))
	n := new(big.Int).Div(x.Num(), x.Denom()) // Euclidean: towards minus infinity for a positive divisor
	return wire.Number(n.Mul(n, big.NewInt(step)).String())
}
