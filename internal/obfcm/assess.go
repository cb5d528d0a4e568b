package obfcm

import (
	"slices"
	"strings"

	"obdgate/internal/reading"
)

// Context is what Assess is told besides the readings. The zero value is allowed: nothing known.
type Context struct {
	FuelType   byte             // PID 51, 0 = not known (1 petrol, 4 diesel, 8 electric, 17 to 22 hybrid)
	Plugin     bool             // known to charge from the grid
	OdometerKm reading.Quantity // chosen mileage in km, zero value = not known
	Engine     string           // ECU that gave the odometer, "" = not known: its record is the authoritative one
	Failed     int              // questions for the record that were answered wrongly (not refusals, not silence)
}

// Reasons of a Verdict: stable keys. Those marked with * are remarks: they alone do not make a record implausible.
const (
	ReasonNotAvailable    = "not-available"              // every lifetime counter says "not available"
	ReasonUnknownLayout   = "unverified-layout"          // an answer of unknown length: kept as bytes
	ReasonAllZero         = "all-zero"                   // every counter is zero
	ReasonNoDistance      = "lifetime-distance-zero"     //
	ReasonDistanceTooHigh = "lifetime-distance-too-high" // above 2,000,000 km
	ReasonRecentAbove     = "recent-above-lifetime"      // a window cannot exceed the whole
	ReasonNoFuel          = "fuel-zero"                  // distance without fuel in a car with an engine alone
	ReasonFuelMissing     = "fuel-not-available"         // fuel "not available" in a car known to burn fuel
	ReasonConsumptionLow  = "consumption-too-low"        //
	ReasonConsumptionHigh = "consumption-too-high"       //
	ReasonCDDistance      = "charge-depleting-distance-above-total"
	ReasonCDFuel          = "charge-depleting-fuel-above-total"
	ReasonEnergyTooHigh   = "grid-energy-too-high" // more than the car could have used on its distance
	ReasonAboveOdometer   = "above-odometer"       // by more than 10 %
	ReasonMiles           = "miles-for-kilometres" // * against the odometer, by the factor of a mile: one of the two may count miles
	ReasonBelowHalf       = "below-half-odometer"  // * a counter may start again (annex XXII 5.3, 5.4), or not have started at new
)

// Bounds of the rules. Consumption in hundredths of L/100 km over the lifetime; the energy bound is inferred: no car
// charges more than 1 kWh per km it has driven, 200 kWh beyond.
const (
	maxDistanceKm      = 2_000_000
	minCombustion      = 150
	maxCombustion      = 5000
	minUnknown         = 50
	maxUnknown         = 6000
	odometerAbove      = 10 // percent
	odometerMarginKm   = 100
	energyMarginKWh    = 200
	shortDistanceKm    = 10 // below it a consumption says nothing
	fuelSumMarginPermi = 10 // thousandths: parts may exceed the total by 1 %
)

func electric(fuel byte) bool { return fuel == 8 }

// burnsOnly reports a car that is known to be moved by fuel and cannot charge: petrol to propane and their bi-fuel forms.
func burnsOnly(fuel byte) bool { return fuel >= 1 && fuel <= 7 || fuel >= 9 && fuel <= 14 }

func hybrid(fuel byte) bool { return fuel >= 17 && fuel <= 22 }

// Assess judges the record of one vehicle from all obfcm readings of a scan. One ECU is authoritative: the one that gave
// the odometer, else the one with the most counters; what others say is not mixed in. Rules and bounds: [S] the public
// obfcm validator and field data, in which about one car in eight sends corrupt values.
func Assess(readings []reading.Reading, ctx Context) Verdict {
	ecu, vals, odd := authoritative(readings, ctx.Engine)
	if len(vals) == 0 {
		switch {
		case odd:
			return Verdict{Outcome: VehicleError, ECU: ecu, Reasons: []string{ReasonUnknownLayout}}
		case ctx.Failed > 0:
			return Verdict{Outcome: VehicleError}
		}
		return Verdict{Outcome: NotFitted}
	}
	a := assessment{v: vals, ctx: ctx}
	out := Verdict{ECU: ecu}
	if !a.any("lifetime_") {
		out.Outcome, out.Reasons = NotFitted, []string{ReasonNotAvailable}
		return out
	}
	a.judge()
	out.Outcome, out.Reasons = OK, a.reasons
	if a.faults > 0 {
		out.Outcome = Implausible
	}
	for _, f := range Fields() {
		if _, ok := vals[strings.TrimPrefix(string(f.Key), "obfcm.")]; ok && !f.Verified {
			out.Layout = "unconfirmed"
		}
	}
	return out
}

// authoritative picks the ECU and returns its counters by field name, in thousandths of their unit; absent ones are in the
// map as -1. odd reports an answer whose layout is not known.
func authoritative(readings []reading.Reading, engine string) (ecu string, vals map[string]int64, odd bool) {
	by := map[string]map[string]int64{}
	var order []string
	strange := ""
	for _, r := range readings {
		name, ok := strings.CutPrefix(string(r.Key), "obfcm.")
		if !ok {
			continue
		}
		if t, isRaw := strings.CutPrefix(name, "raw_"); isRaw {
			if l := layoutOf(hexByte(t)); l != nil && l.length > 0 {
				odd, strange = true, r.ECU
			}
			continue
		}
		if by[r.ECU] == nil {
			by[r.ECU] = map[string]int64{}
			order = append(order, r.ECU)
		}
		if q, ok := r.Value.(reading.Quantity); ok {
			if had, seen := by[r.ECU][name]; !seen || had < 0 { // the classic answer comes first and stays
				by[r.ECU][name] = milli(q)
			}
		} else if _, seen := by[r.ECU][name]; !seen {
			by[r.ECU][name] = -1
		}
	}
	if len(order) == 0 {
		return strange, nil, odd
	}
	slices.SortStableFunc(order, func(a, b string) int { return score(by[b], b == engine) - score(by[a], a == engine) })
	return order[0], by[order[0]], odd
}

func score(v map[string]int64, engine bool) int {
	n := 0
	for _, x := range v {
		if x >= 0 {
			n++
		}
	}
	if engine && n > 0 {
		n += 1000
	}
	return n
}

func hexByte(s string) byte {
	var n byte
	for _, c := range s {
		n = n<<4 | byte(strings.IndexRune("0123456789ABCDEF", c))
	}
	return n
}

// milli is a counter in thousandths: denominators are 10 and 100, so that it is exact.
func milli(q reading.Quantity) int64 { return q.Num * 1000 / max(q.Den, 1) }

type assessment struct {
	v       map[string]int64
	ctx     Context
	reasons []string
	faults  int
}

// get returns a counter; ok is false when it was not read or is not available.
func (a *assessment) get(name string) (int64, bool) {
	n, ok := a.v[name]
	return n, ok && n >= 0
}

func (a *assessment) any(prefix string) bool {
	for k, n := range a.v {
		if strings.HasPrefix(k, prefix) && n >= 0 {
			return true
		}
	}
	return false
}

func (a *assessment) fault(bad bool, reason string) {
	if bad {
		a.faults++
		a.reasons = append(a.reasons, reason)
	}
}

func (a *assessment) remark(holds bool, reason string) {
	if holds {
		a.reasons = append(a.reasons, reason)
	}
}

func (a *assessment) plugin() bool {
	return a.ctx.Plugin || a.any("lifetime_grid") || a.any("lifetime_distance_cd") || a.any("lifetime_fuel_cd")
}

func (a *assessment) judge() {
	dist, hasDist := a.get("lifetime_distance")
	fuel, hasFuel := a.get("lifetime_fuel")
	zero := true
	for _, n := range a.v {
		zero = zero && n <= 0
	}
	if zero {
		a.fault(true, ReasonAllZero)
		return
	}
	a.fault(hasDist && dist == 0, ReasonNoDistance)
	a.fault(hasDist && dist > maxDistanceKm*1000, ReasonDistanceTooHigh)
	a.windows()
	if hasDist && dist > 0 {
		a.consumption(dist, fuel, hasFuel)
	}
	a.depleting(dist, hasDist, fuel, hasFuel)
	if km := a.ctx.OdometerKm; hasDist && dist > 0 && km.Den > 0 && km.Num > 0 {
		odo := milli(km)
		a.fault((dist-odo)*100 > odo*odometerAbove && dist-odo > odometerMarginKm*1000, ReasonAboveOdometer)
		a.remark(byMile(dist, odo), ReasonMiles)
		a.remark(dist*2 < odo && odo-dist > odometerMarginKm*1000, ReasonBelowHalf)
	}
}

// byMile reports whether two distances in metres differ by the factor of a mile, to half a percent. A record that started
// again may show it by chance, so that it is no fault in itself.
func byMile(a, b int64) bool {
	if a < b {
		a, b = b, a
	}
	const mile, half = 1609344, 200 // metres of a thousand miles; one in 200
	off := a*1000 - b*mile/1000
	return a-b > odometerMarginKm*1000 && max(off, -off) <= a*1000/half
}

// windows: no recent counter exceeds its lifetime counter.
func (a *assessment) windows() {
	for _, f := range Fields() {
		name, ok := strings.CutPrefix(string(f.Key), "obfcm.recent_")
		if !ok {
			continue
		}
		recent, has := a.get("recent_" + name)
		life, hasLife := a.get("lifetime_" + name)
		if has && hasLife && recent > life {
			a.fault(true, ReasonRecentAbove)
			return
		}
	}
}

// consumption: fuel against distance, by the kind of car.
func (a *assessment) consumption(dist, fuel int64, hasFuel bool) {
	kind := a.ctx.FuelType
	if !hasFuel {
		a.fault((burnsOnly(kind) || hybrid(kind)) && a.has("lifetime_fuel"), ReasonFuelMissing)
		return
	}
	if electric(kind) || dist < shortDistanceKm*1000 {
		return // a battery-electric car's distance without fuel is right
	}
	if fuel == 0 {
		a.fault(!a.plugin(), ReasonNoFuel)
		return
	}
	rate := fuel * 10000 / dist // thousandths of L over thousandths of km: hundredths of L/100 km
	lowest, highest := int64(minUnknown), int64(maxUnknown)
	switch {
	case a.plugin():
		lowest, highest = 0, maxCombustion
	case burnsOnly(kind) || hybrid(kind):
		lowest, highest = minCombustion, maxCombustion
	}
	a.fault(rate < lowest, ReasonConsumptionLow)
	a.fault(rate > highest, ReasonConsumptionHigh)
}

func (a *assessment) has(name string) bool { _, ok := a.v[name]; return ok }

// depleting: the plug-in counters are parts of the totals.
func (a *assessment) depleting(dist int64, hasDist bool, fuel int64, hasFuel bool) {
	if hasDist {
		var sum int64
		for _, n := range []string{"lifetime_distance_cd_engine_off", "lifetime_distance_cd_engine_on", "lifetime_distance_ci"} {
			if v, ok := a.get(n); ok {
				sum += v
			}
		}
		a.fault(sum > dist+dist*fuelSumMarginPermi/1000, ReasonCDDistance)
		energy, ok := a.get("lifetime_grid_energy_into_battery")
		a.fault(ok && energy > dist+energyMarginKWh*1000, ReasonEnergyTooHigh)
	}
	if hasFuel {
		cd, _ := a.get("lifetime_fuel_cd")
		ci, _ := a.get("lifetime_fuel_ci")
		a.fault(max(cd, 0)+max(ci, 0) > fuel+fuel*fuelSumMarginPermi/1000, ReasonCDFuel)
	}
}
