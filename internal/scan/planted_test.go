package scan_test

import (
	"fmt"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	"obdgate/internal/scan"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const honestRecord = `"17": "01 FFFFFFFF u32(457028) FFFFFFFF u32(292498)"`

// About one car in eight sends a corrupt consumption record. Each kind, planted in a car's own bytes, is caught by a scan
// with its reason; the honest ones beside them are not.
func TestPlantedRecords(t *testing.T) {
	for _, c := range []struct {
		name, record string
		want         obfcm.Outcome
		reason       string
	}{
		{"honest", `01 FFFFFFFF u32(457028) FFFFFFFF u32(292498)`, obfcm.OK, ""},
		{"honest, with a window", `01 u32(10000) u32(457028) u32(6400) u32(292498)`, obfcm.OK, ""},
		{"honest, ECU replaced last month", `01 FFFFFFFF u32(9000) FFFFFFFF u32(6100)`, obfcm.OK, obfcm.ReasonBelowHalf},

		{"all zero", `01 00000000 00000000 00000000 00000000`, obfcm.Implausible, obfcm.ReasonAllZero},
		{"fuel without distance", `01 FFFFFFFF 00000000 FFFFFFFF u32(292498)`, obfcm.Implausible, obfcm.ReasonNoDistance},
		{"distance to the moon and back", `01 FFFFFFFF u32(23000000) FFFFFFFF u32(15000000)`, obfcm.Implausible, obfcm.ReasonDistanceTooHigh},
		{"window longer than the life", `01 u32(457029) u32(457028) FFFFFFFF u32(292498)`, obfcm.Implausible, obfcm.ReasonRecentAbove},
		{"window thirstier than the life", `01 FFFFFFFF u32(457028) u32(292499) u32(292498)`, obfcm.Implausible, obfcm.ReasonRecentAbove},
		{"petrol car that burns nothing", `01 FFFFFFFF u32(457028) FFFFFFFF 00000000`, obfcm.Implausible, obfcm.ReasonNoFuel},
		{"petrol car that does not know its fuel", `01 FFFFFFFF u32(457028) FFFFFFFF FFFFFFFF`, obfcm.Implausible, obfcm.ReasonFuelMissing},
		{"1.2 L/100 km", `01 FFFFFFFF u32(457028) FFFFFFFF u32(54843)`, obfcm.Implausible, obfcm.ReasonConsumptionLow},
		{"litres counted ten times", `01 FFFFFFFF u32(457028) FFFFFFFF u32(2924980)`, obfcm.Implausible, obfcm.ReasonConsumptionHigh},
		{"ten times the odometer", `01 FFFFFFFF u32(4570280) FFFFFFFF u32(2924980)`, obfcm.Implausible, obfcm.ReasonAboveOdometer},
		{"miles taken for kilometres on the odometer side", `01 FFFFFFFF u32(735515) FFFFFFFF u32(292498)`, obfcm.Implausible, obfcm.ReasonAboveOdometer},
		{"bytes in the other order", `01 FFFFFFFF 44F90600 FFFFFFFF 92760400`, obfcm.Implausible, obfcm.ReasonDistanceTooHigh},
		{"two bytes short", `01 FFFFFFFF u32(457028) FFFFFFFF 0476`, obfcm.VehicleError, obfcm.ReasonUnknownLayout},
		{"a count of two and one record", `02 FFFFFFFF u32(457028) FFFFFFFF u32(292498)`, obfcm.VehicleError, obfcm.ReasonUnknownLayout},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := run(t, altered(t, "golf8", honestRecord, `"17": "`+c.record+`"`), options(t, scan.Full, consent.Granted))
			require.Equal(t, c.want, s.OBFCM.Outcome, "%v", s.OBFCM.Reasons)
			if c.reason == "" {
				require.Empty(t, s.OBFCM.Reasons)
			} else {
				require.Contains(t, s.OBFCM.Reasons, c.reason)
			}
		})
	}
}

// Ten things that happen to odometers, each as the control units of one car tell it.
func TestPlantedOdometers(t *testing.T) {
	const (
		engine, gearbox  = `"A6": u32(457213)`, `"3841": u32(45720)`
		cluster, gateway = `"2203": u24(45721)`, `"2A0A": u32(45721)`
		engineDID        = `"295A": u24(45721)`
	)
	for _, c := range []struct {
		name    string
		replace []string
		want    odometer.Outcome
		reason  string
	}{
		{"honest wear", nil, odometer.Consistent, odometer.ReasonAgree},
		{"a cluster that lags a little", []string{cluster, `"2203": u24(45650)`}, odometer.Consistent, odometer.ReasonAgree},
		{"a cluster that answers zero", []string{cluster, `"2203": u24(0)`}, odometer.Consistent, odometer.ReasonAgree},
		{"a gateway that answers all ones", []string{gateway, `"2A0A": "FFFFFFFF"`}, odometer.Consistent, odometer.ReasonAgree},
		{"rollback in the cluster", []string{cluster, `"2203": u24(15721)`}, odometer.Inconsistent, odometer.ReasonDiffer},
		{"rollback in the gateway only", []string{gateway, `"2A0A": u32(25721)`}, odometer.Inconsistent, odometer.ReasonDiffer},
		{"cluster from a scrapped car", []string{cluster, `"2203": u24(198400)`}, odometer.Inconsistent, odometer.ReasonDiffer},
		{"gearbox from another car", []string{gearbox, `"3841": u32(120400)`}, odometer.Inconsistent, odometer.ReasonDiffer},
		{"engine control from another car", []string{engineDID, `"295A": u24(8800)`}, odometer.Inconsistent, odometer.ReasonDiffer},
		{"a cluster that shows miles", []string{cluster, `"2203": u24(28409)`}, odometer.Inconsistent, odometer.ReasonDiffer},
		{"everything rolled back but the distance since clear", []string{engine, `"A6": u32(40000)`, cluster, `"2203": u24(4000)`, gateway, `"2A0A": u32(4000)`,
			gearbox, `"3841": u32(4000)`, engineDID, `"295A": u24(4000)`, `"10E0": u32(45721)`, `"10E0": u32(4000)`}, odometer.Inconsistent, odometer.ReasonSinceClearAbove},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := run(t, altered(t, "golf8", c.replace...), options(t, scan.Full, consent.Unasked))
			require.Equal(t, c.want, s.Odometer.Outcome)
			require.Equal(t, c.reason, s.Odometer.Reason)
		})
	}
}

// No false alarm: whatever an honest car has driven and burned, and however its units round and lag, it is in order.
func TestHonestCars(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		km := rapid.IntRange(8500, 900_000).Draw(rt, "km")
		rate := rapid.IntRange(16, 300).Draw(rt, "tenths of L per 100 km")
		lag := func(name string) int { return km - rapid.IntRange(0, min(90, km/200)).Draw(rt, name) }
		record := max(20, km*rapid.IntRange(2, 1000).Draw(rt, "record, thousandths")/1000)
		s := run(t, altered(t, "golf8",
			`"A6": u32(457213)`, fmt.Sprintf(`"A6": u32(%d)`, km*10), `"295A": u24(45721)`, fmt.Sprintf(`"295A": u24(%d)`, km),
			`"10E0": u32(45721)`, fmt.Sprintf(`"10E0": u32(%d)`, km), `"2203": u24(45721)`, fmt.Sprintf(`"2203": u24(%d)`, lag("cluster")),
			`"2A0A": u32(45721)`, fmt.Sprintf(`"2A0A": u32(%d)`, lag("gateway")), `"3841": u32(45720)`, fmt.Sprintf(`"3841": u32(%d)`, lag("gearbox")),
			honestRecord, fmt.Sprintf(`"17": "01 FFFFFFFF u32(%d) FFFFFFFF u32(%d)"`, record*10, record*rate/10)), options(t, scan.Full, consent.Granted))
		require.Equal(rt, odometer.Consistent, s.Odometer.Outcome, s.Odometer.Reason)
		require.Equal(rt, obfcm.OK, s.OBFCM.Outcome, "%v", s.OBFCM.Reasons)
	})
}
