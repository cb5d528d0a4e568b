package obfcm_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"obdgate/internal/obfcm"
	_ "obdgate/internal/pinned"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func show(out []reading.Reading) (s []string) {
	for _, r := range out {
		if a, ok := r.Value.(reading.Absent); ok {
			s = append(s, fmt.Sprintf("%s=absent:%s", r.Key, a.Why))
		} else {
			s = append(s, fmt.Sprintf("%s=%v", r.Key, r.Value))
		}
	}
	return s
}

// e350 is the raw capture of a Ford E-350, the only paired one published.
const e350 = "000030E0 000030EB 0000724A 0000727E"

var e350Values = []string{"obfcm.recent_distance=1251.2 km", "obfcm.lifetime_distance=1252.3 km", "obfcm.recent_fuel=292.58 L", "obfcm.lifetime_fuel=293.1 L"}

var cases = []struct {
	name, req, resp string
	want            []string
	err             error
}{
	{"classic", "0917", "491701" + e350, e350Values, nil},
	{"UDS without count byte", "22F817", "62F817" + e350, e350Values, nil},
	{"UDS with count byte", "22F817", "62F81701" + e350, e350Values, nil},
	{"window not kept", "0917", "491701 FFFFFFFF 0005B347 FFFFFFFF 0001FDE0", []string{"obfcm.recent_distance=absent:not available", "obfcm.lifetime_distance=37357.5 km", "obfcm.recent_fuel=absent:not available", "obfcm.lifetime_fuel=1305.28 L"}, nil},
	{"battery-electric", "0917", "491701 0000011A 0001F814 FFFFFFFF FFFFFFFF", []string{"obfcm.recent_distance=28.2 km", "obfcm.lifetime_distance=12904.4 km", "obfcm.recent_fuel=absent:not available", "obfcm.lifetime_fuel=absent:not available"}, nil},
	{"plug-in fuel", "22F81B", "62F81B 00000064 000000C8 0000000A 00000014", []string{"obfcm.recent_fuel_cd=1 L", "obfcm.lifetime_fuel_cd=2 L", "obfcm.recent_fuel_ci=0.1 L", "obfcm.lifetime_fuel_ci=0.2 L"}, nil},
	{"cut off", "0917", "491701 000030E0 000030EB 0000724A 0000", []string{"obfcm.raw_17=01000030E0000030EB0000724A0000"}, obfcm.ErrShort},
	{"too long", "0917", "491701" + e350 + "00", []string{"obfcm.raw_17=01" + strings.ReplaceAll(e350, " ", "") + "00"}, obfcm.ErrLayout},
	{"another count", "0917", "491702" + e350, []string{"obfcm.raw_17=02" + strings.ReplaceAll(e350, " ", "")}, obfcm.ErrLayout},
	{"classic without count byte", "0917", "4917" + e350, []string{"obfcm.raw_17=" + strings.ReplaceAll(e350, " ", "")}, obfcm.ErrLayout},
	{"layout nobody has published", "0916", "491601 00000001 00000002", []string{"obfcm.raw_16=010000000100000002"}, nil},
	{"no data", "0917", "4917", nil, obfcm.ErrShort},
	{"one byte", "0917", "49", nil, obfcm.ErrShort},
	{"another type", "0917", "491A01" + e350, nil, obfcm.ErrMismatch},
	{"VIN", "0902", "490201", nil, obfcm.ErrService},
}

func TestDecode(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out, err := obfcm.Decode(unhex(t, c.req), unhex(t, c.resp))
			require.Equal(t, c.want, show(out))
			require.ErrorIs(t, err, c.err)
			for _, r := range out {
				require.True(t, strings.HasPrefix(string(r.Key), "obfcm."), "consumption data must not hide under another key")
			}
		})
	}
}

// A field without a vector could have the wrong place: every field of every layout is set alone and must come out alone.
func TestEveryFieldHasItsPlace(t *testing.T) {
	n := 0
	for _, q := range obfcm.Requests() {
		size := map[byte]int{0x17: 16, 0x1A: 24, 0x1B: 16, 0x1C: 24}[q.InfoType]
		if size == 0 {
			continue
		}
		i := 0
		for _, f := range obfcm.Fields() {
			if f.InfoType != q.InfoType {
				continue
			}
			resp := append([]byte{q.Payload[0] + 0x40}, q.Payload[1:]...)
			if !q.UDS {
				resp = append(resp, 1)
			}
			data := make([]byte, size)
			binary.BigEndian.PutUint32(data[4*i:], 12345)
			out, err := obfcm.Decode(q.Payload, append(resp, data...))
			require.NoError(t, err)
			for j, r := range out {
				want := map[bool]string{true: map[reading.Unit]string{"km": "1234.5", "L": "123.45", "kWh": "1234.5"}[f.Unit], false: "0"}[j == i]
				require.Equal(t, want, r.Value.(reading.Quantity).Decimal())
			}
			require.Equal(t, f.Key, out[i].Key)
			require.Equal(t, strings.HasPrefix(string(f.Key), "obfcm.recent_"), i%2 == 0, "always recent, then lifetime")
			back, ok := obfcm.FieldOf(f.Key)
			require.True(t, ok)
			require.Equal(t, f, back)
			require.Equal(t, q.InfoType == 0x17, f.Verified)
			i++
			n++
		}
	}
	require.Equal(t, 2*(4+6+4+6), n)
}

// What a refusal takes off the bus.
func TestIsOBFCM(t *testing.T) {
	for s, want := range map[string]bool{
		"0917": true, "091A": true, "091B": true, "091C": true, "0916": true, "0918": true, "0919": true, "091D": true, "0920": true, "0922": true, "0924": true,
		"22F817": true, "22F81A": true, "22F190F817": true, "22F817F190": true, "22F824": true,
		"491701000030E0": true, "62F81700": true, "62F81A": true,
		"0902": false, "0904": false, "0915": false, "091E": false, "0921": false, "01A6": false, "22F190": false, "22F4A6": false, "22F800": false, "22F802": false,
		"490201": false, "62F190": false, "7F0912": false, "1902FF": false, "": false, "09": false, "22F8": false, "2217F8": false,
	} {
		require.Equal(t, want, obfcm.IsOBFCM(unhex(t, s)), s)
	}
	for _, q := range obfcm.Requests() {
		require.True(t, obfcm.IsOBFCM(q.Payload))
		require.NotEmpty(t, q.Name)
	}
	require.Len(t, obfcm.Requests(), 14)
}

func record(ecu string, kv map[string]float64) (out []reading.Reading) {
	keys := make([]string, 0, len(kv))
	for k := range kv {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		r := reading.Reading{Key: reading.Key("obfcm." + k), ECU: ecu, Value: reading.Absent{}}
		if v := kv[k]; v >= 0 {
			q, _ := reading.Scaled(int64(v*100+0.5), 1, 100, 0, 1, "km")
			r.Value = q
		}
		out = append(out, r)
	}
	return out
}

func km(n int64) reading.Quantity { return reading.Quantity{Num: n, Den: 1, Unit: "km"} }

// About one car in eight sends corrupt values; each must be told from an honest car with its reason.
func TestAssess(t *testing.T) {
	const petrol, diesel, electric, hybrid = 1, 4, 8, 17
	type m = map[string]float64
	honest := m{"lifetime_distance": 37357.5, "lifetime_fuel": 2305.28, "recent_distance": -1, "recent_fuel": -1}
	with := func(kv m) m {
		out := m{}
		for k, v := range honest {
			out[k] = v
		}
		for k, v := range kv {
			out[k] = v
		}
		return out
	}
	plug := m{"lifetime_distance": 20000, "lifetime_fuel": 600, "lifetime_distance_cd_engine_off": 12000, "lifetime_distance_cd_engine_on": 1000, "lifetime_distance_ci": 500,
		"lifetime_fuel_cd": 60, "lifetime_fuel_ci": 50, "lifetime_grid_energy_into_battery": 2900}
	plugWith := func(k string, v float64) m {
		out := m{}
		for k, v := range plug {
			out[k] = v
		}
		out[k] = v
		return out
	}
	for _, c := range []struct {
		name    string
		kv      m
		ctx     obfcm.Context
		want    obfcm.Outcome
		reasons []string
	}{
		{"honest petrol car", honest, obfcm.Context{FuelType: petrol, OdometerKm: km(37360)}, obfcm.OK, nil},
		{"nothing known about the car", honest, obfcm.Context{}, obfcm.OK, nil},
		{"Ford E-350, 23.4 L/100 km", m{"lifetime_distance": 1252.3, "lifetime_fuel": 293.1, "recent_distance": 1251.2, "recent_fuel": 292.58}, obfcm.Context{FuelType: petrol, OdometerKm: km(1252)}, obfcm.OK, nil},
		{"frugal hybrid", with(m{"lifetime_fuel": 1300}), obfcm.Context{FuelType: hybrid}, obfcm.OK, nil},
		{"battery-electric", with(m{"lifetime_fuel": -1}), obfcm.Context{FuelType: electric}, obfcm.OK, nil},
		{"battery-electric that counts zero fuel", with(m{"lifetime_fuel": 0}), obfcm.Context{FuelType: electric}, obfcm.OK, nil},
		{"new car on the lorry", m{"lifetime_distance": 3.2, "lifetime_fuel": 2.9}, obfcm.Context{FuelType: petrol, OdometerKm: km(4)}, obfcm.OK, nil},
		{"new ECU in an old car", with(m{"lifetime_distance": 900, "lifetime_fuel": 60}), obfcm.Context{FuelType: petrol, OdometerKm: km(150000)}, obfcm.OK, []string{obfcm.ReasonBelowHalf}},
		{"a record in miles, or one that started again", with(m{"lifetime_distance": 23213, "lifetime_fuel": 1432}), obfcm.Context{FuelType: petrol, OdometerKm: km(37357)}, obfcm.OK, []string{obfcm.ReasonMiles}},
		{"plug-in hybrid", plug, obfcm.Context{FuelType: hybrid, Plugin: true, OdometerKm: km(20010)}, obfcm.OK, nil},
		{"plug-in hybrid that never burned fuel", plugWith("lifetime_fuel", 120), obfcm.Context{Plugin: true}, obfcm.OK, nil},

		{"lifetime all ones", m{"lifetime_distance": -1, "lifetime_fuel": -1, "recent_distance": 12}, obfcm.Context{}, obfcm.NotFitted, []string{obfcm.ReasonNotAvailable}},
		{"everything zero", m{"lifetime_distance": 0, "lifetime_fuel": 0, "recent_distance": 0}, obfcm.Context{FuelType: petrol}, obfcm.Implausible, []string{obfcm.ReasonAllZero}},
		{"fuel without distance", with(m{"lifetime_distance": 0}), obfcm.Context{FuelType: petrol}, obfcm.Implausible, []string{obfcm.ReasonNoDistance}},
		{"distance to the moon", with(m{"lifetime_distance": 2_100_000, "lifetime_fuel": 150_000}), obfcm.Context{FuelType: petrol}, obfcm.Implausible, []string{obfcm.ReasonDistanceTooHigh}},
		{"window above the whole", with(m{"recent_distance": 40000}), obfcm.Context{FuelType: petrol}, obfcm.Implausible, []string{obfcm.ReasonRecentAbove}},
		{"window of fuel above the whole", with(m{"recent_fuel": 2400}), obfcm.Context{FuelType: petrol}, obfcm.Implausible, []string{obfcm.ReasonRecentAbove}},
		{"petrol car without fuel", with(m{"lifetime_fuel": 0}), obfcm.Context{FuelType: petrol}, obfcm.Implausible, []string{obfcm.ReasonNoFuel}},
		{"petrol car, fuel all ones", with(m{"lifetime_fuel": -1}), obfcm.Context{FuelType: petrol}, obfcm.Implausible, []string{obfcm.ReasonFuelMissing}},
		{"1.2 L/100 km", with(m{"lifetime_fuel": 448}), obfcm.Context{FuelType: petrol}, obfcm.Implausible, []string{obfcm.ReasonConsumptionLow}},
		{"55 L/100 km", with(m{"lifetime_fuel": 20546}), obfcm.Context{FuelType: diesel}, obfcm.Implausible, []string{obfcm.ReasonConsumptionHigh}},
		{"0.4 L/100 km in an unknown car", with(m{"lifetime_fuel": 149}), obfcm.Context{}, obfcm.Implausible, []string{obfcm.ReasonConsumptionLow}},
		{"more than the odometer", honest, obfcm.Context{FuelType: petrol, OdometerKm: km(30000)}, obfcm.Implausible, []string{obfcm.ReasonAboveOdometer}},
		{"an odometer entered in miles", honest, obfcm.Context{FuelType: petrol, OdometerKm: km(23213)}, obfcm.Implausible, []string{obfcm.ReasonAboveOdometer, obfcm.ReasonMiles}},
		{"parts longer than the whole", plugWith("lifetime_distance_cd_engine_off", 25000), obfcm.Context{Plugin: true}, obfcm.Implausible, []string{obfcm.ReasonCDDistance}},
		{"parts burn more than the whole", plugWith("lifetime_fuel_cd", 640), obfcm.Context{Plugin: true}, obfcm.Implausible, []string{obfcm.ReasonCDFuel}},
		{"impossible energy", plugWith("lifetime_grid_energy_into_battery", 429496), obfcm.Context{Plugin: true}, obfcm.Implausible, []string{obfcm.ReasonEnergyTooHigh}},
		{"two faults at once", with(m{"lifetime_fuel": 0, "recent_distance": 99999}), obfcm.Context{FuelType: petrol}, obfcm.Implausible, []string{obfcm.ReasonRecentAbove, obfcm.ReasonNoFuel}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := obfcm.Assess(record("7E8", c.kv), c.ctx)
			require.Equal(t, c.want, v.Outcome)
			require.Equal(t, c.reasons, v.Reasons)
			require.Equal(t, "7E8", v.ECU)
		})
	}
	require.Equal(t, obfcm.Verdict{Outcome: obfcm.NotFitted}, obfcm.Assess(nil, obfcm.Context{}))
	require.Equal(t, obfcm.VehicleError, obfcm.Assess(nil, obfcm.Context{Failed: 1}).Outcome)
	odd, _ := obfcm.Decode(unhex(t, "0917"), unhex(t, "4917020000"))
	require.Equal(t, obfcm.Verdict{Outcome: obfcm.VehicleError, Reasons: []string{obfcm.ReasonUnknownLayout}}, obfcm.Assess(odd, obfcm.Context{Failed: 1}))
	require.Equal(t, "unconfirmed", obfcm.Assess(record("7E8", plug), obfcm.Context{}).Layout)
	require.Empty(t, obfcm.Assess(record("7E8", honest), obfcm.Context{}).Layout)
}

// The ECU with the odometer has the last word; without one, the ECU that counts most.
func TestAuthoritativeECU(t *testing.T) {
	thin := record("7E8", map[string]float64{"lifetime_distance": 100})
	full := record("7EC", map[string]float64{"lifetime_distance": 37357.5, "lifetime_fuel": 2305})
	require.Equal(t, "7EC", obfcm.Assess(append(thin, full...), obfcm.Context{}).ECU)
	require.Equal(t, "7E8", obfcm.Assess(append(thin, full...), obfcm.Context{Engine: "7E8"}).ECU)
	dead := record("7E8", map[string]float64{"lifetime_distance": -1})
	require.Equal(t, "7EC", obfcm.Assess(append(dead, full...), obfcm.Context{Engine: "7E8"}).ECU)
}

// No false alarm: any car that drives and burns within the bounds is plausible, window or not, reset or not.
func TestHonestCarsArePlausible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dist := rapid.Float64Range(20, 900_000).Draw(t, "km")
		rate := rapid.Float64Range(1.6, 49).Draw(t, "L/100 km")
		kv := map[string]float64{"lifetime_distance": dist, "lifetime_fuel": dist * rate / 100}
		if rapid.Bool().Draw(t, "window") {
			share := rapid.Float64Range(0, 1).Draw(t, "share")
			kv["recent_distance"], kv["recent_fuel"] = dist*share, dist*rate/100*share
		}
		odo := dist * rapid.Float64Range(0.95, 5).Draw(t, "odometer") // counters may have started again
		v := obfcm.Assess(record("7E8", kv), obfcm.Context{FuelType: 1, OdometerKm: km(int64(odo) + 1)})
		require.Equal(t, obfcm.OK, v.Outcome, "%v", v.Reasons)
	})
}

func FuzzDecode(f *testing.F) {
	for _, c := range cases {
		f.Add(unhex(f, c.req), unhex(f, c.resp))
	}
	f.Fuzz(func(t *testing.T, req, resp []byte) {
		out, err := obfcm.Decode(req, resp)
		if len(out) == 0 {
			return
		}
		if strings.HasPrefix(string(out[0].Key), "obfcm.raw_") {
			require.Equal(t, resp, out[0].Raw)
			return
		}
		require.NoError(t, err)
		var data []byte // encode again: the words in order are the answer's data
		for _, r := range out {
			data = append(data, r.Raw[len(r.Raw)-4:]...)
			word := binary.BigEndian.Uint32(r.Raw[len(r.Raw)-4:])
			q, ok := r.Value.(reading.Quantity)
			require.Equal(t, word != 0xFFFFFFFF, ok, "all ones and nothing else are absent")
			fld, _ := obfcm.FieldOf(r.Key)
			if scale := map[reading.Unit]int64{"km": 10, "L": 100, "kWh": 10}[fld.Unit]; ok {
				require.Equal(t, int64(word)*q.Den, q.Num*scale)
			}
		}
		require.True(t, strings.HasSuffix(string(resp), string(data)))
		require.LessOrEqual(t, len(resp)-len(data), len(req)+1)
	})
}

func BenchmarkDecode(b *testing.B) {
	req, resp := unhex(b, "0917"), unhex(b, "491701"+e350)
	b.ReportAllocs()
	for b.Loop() {
		if out, err := obfcm.Decode(req, resp); err != nil || len(out) != 4 {
			b.Fatal(err)
		}
	}
}
