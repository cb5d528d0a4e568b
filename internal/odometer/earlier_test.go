package odometer_test

import (
	"testing"
	"time"

	"obdgate/internal/odometer"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var march = time.Date(2026, 3, 17, 9, 30, 0, 0, time.UTC)

func weigh(in ...reading.Reading) odometer.Verdict { return odometer.Weigh(in, odometer.Context{}) }

// What two visits to one workshop say together that neither says alone.
func TestBetweenVisits(t *testing.T) {
	a6 := func(km float64) reading.Reading { return src("obd.01.A6", "7E8", km) }
	cluster := func(km float64) reading.Reading { return src("odometer.22.D10D", "660", km) }
	miles := func(n int64) reading.Reading {
		return reading.Reading{Key: "odometer.22.B002", ECU: "7CE", Value: reading.Quantity{Num: n, Den: 1, Unit: "mi"}}
	}
	record := src("obfcm.lifetime_distance", "7E8", 200)
	for _, c := range []struct {
		name      string
		then, now []reading.Reading
		outcome   odometer.Outcome
		reason    string
		below     bool
		mark      int64
	}{
		{"honest wear", []reading.Reading{a6(120_480), cluster(120_479)}, []reading.Reading{a6(133_020), cluster(133_019)}, odometer.Consistent, odometer.ReasonAgree, false, 120_400},
		{"the same day again", []reading.Reading{a6(120_480)}, []reading.Reading{a6(120_481)}, odometer.NoVerdict, odometer.ReasonOne, false, 120_400},
		{"every control unit rolled back alike", []reading.Reading{a6(180_000), cluster(180_000)}, []reading.Reading{a6(90_000), cluster(90_000)}, odometer.Inconsistent, odometer.ReasonBelowEarlier, true, 180_000},
		{"only source rolled back", []reading.Reading{cluster(180_000)}, []reading.Reading{cluster(95_000)}, odometer.Inconsistent, odometer.ReasonBelowEarlier, true, 180_000},
		{"rolled back by little", []reading.Reading{cluster(60_000)}, []reading.Reading{cluster(59_000)}, odometer.Inconsistent, odometer.ReasonBelowEarlier, true, 60_000},
		{"cluster swapped for one with fewer kilometres", []reading.Reading{a6(150_000), cluster(150_000)}, []reading.Reading{a6(151_000), cluster(40_000)}, odometer.Inconsistent, odometer.ReasonDiffer, false, 150_000},
		{"cluster swapped where it alone counts", []reading.Reading{cluster(150_000)}, []reading.Reading{cluster(40_000)}, odometer.Inconsistent, odometer.ReasonBelowEarlier, true, 150_000},
		{"engine swapped for a younger one", []reading.Reading{a6(150_000), cluster(150_000)}, []reading.Reading{a6(12_000), cluster(151_000)}, odometer.Inconsistent, odometer.ReasonDiffer, true, 150_000},
		{"miles entered as kilometres", []reading.Reading{a6(160_900)}, []reading.Reading{a6(100_600)}, odometer.Inconsistent, odometer.ReasonBelowEarlier, true, 160_900},
		{"a mile cluster then, kilometres now", []reading.Reading{miles(100_000)}, []reading.Reading{a6(161_500)}, odometer.NoVerdict, odometer.ReasonOne, false, 160_900},
		{"another source that lags by its step", []reading.Reading{a6(97_527)}, []reading.Reading{src("odometer.22.DA23", "618", 97_520)}, odometer.NoVerdict, odometer.ReasonOne, false, 97_500},
		{"a new car", []reading.Reading{a6(120)}, []reading.Reading{a6(480)}, odometer.NoVerdict, odometer.ReasonOne, false, 100},
		{"nothing answered this time", []reading.Reading{a6(120_480)}, nil, odometer.NoVerdict, odometer.ReasonNone, false, 120_400},
		{"only the consumption record, which starts again when its unit is replaced", []reading.Reading{a6(120_480)}, []reading.Reading{record}, odometer.NoVerdict, odometer.ReasonOne, false, 120_400},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, ok := odometer.MarkOf(weigh(c.then...), march)
			require.True(t, ok)
			require.Equal(t, odometer.Mark{Km: c.mark, Month: "2026-03"}, m)
			v := weigh(c.now...).Since(m)
			require.Equal(t, c.outcome, v.Outcome)
			require.Equal(t, c.reason, v.Reason)
			require.Equal(t, c.below, v.Earlier != nil)
			if c.below {
				require.Equal(t, m, *v.Earlier)
			}
		})
	}
}

// What gives no mark: nothing read, sources that contradict each other, the refusable record, a car with fewer km than a step.
func TestNoMark(t *testing.T) {
	for _, in := range [][]reading.Reading{nil, {src("obd.01.A6", "7E8", 100_000), src("odometer.22.D10D", "660", 50_000)},
		{src("obfcm.lifetime_distance", "7E8", 50_000)}, {src("obd.01.A6", "7E8", 99.9)}} {
		_, ok := odometer.MarkOf(weigh(in...), march)
		require.False(t, ok)
	}
}

// No false alarm: whatever source answers at either visit, each late by its own resolution, a car that was driven between is
// never below itself. And a roll-back beyond what sources of one car may differ is always found.
func TestHonestVisits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		source := func(name string, km float64) reading.Reading {
			km = max(0.1, km-rapid.Float64Range(0, 90).Draw(t, name+" lags"))
			keys := []string{"obd.01.A6", "uds.22.F4A6", "odometer.22.DA23", "odometer.22.D10D"}
			return src(rapid.SampledFrom(keys).Draw(t, name), "7E8", km)
		}
		then := rapid.Float64Range(300, 900_000).Draw(t, "then")
		now := then + rapid.Float64Range(0, 50_000).Draw(t, "driven")
		m, ok := odometer.MarkOf(weigh(source("first", then)), march)
		require.True(t, ok)
		require.Zero(t, m.Km%odometer.Step)
		v := weigh(source("second", now)).Since(m)
		require.NotEqual(t, odometer.Inconsistent, v.Outcome)
		require.True(t, v.NotBelow)

		back := float64(m.Km) - max(101, float64(m.Km)*0.0101) - rapid.Float64Range(0, 1000).Draw(t, "back")
		if back > 0 {
			require.NotNil(t, weigh(src("obd.01.A6", "7E8", back)).Since(m).Earlier, "%v after %v", back, m.Km)
		}
	})
}
