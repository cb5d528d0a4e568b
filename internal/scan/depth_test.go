package scan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/obd"
	"obdgate/internal/reading"
	"obdgate/internal/scan"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

func text(v reading.Value) string { return fmt.Sprint(v) }

// value is the one value of a key of an ECU, "" when there is none.
func value(rs []reading.Reading, ecu, key string) string {
	for _, r := range rs {
		if r.ECU == ecu && string(r.Key) == key {
			return text(r.Value)
		}
	}
	return ""
}

// A technician reads the moment of the fault: the frame with its code and values.
func TestFreezeFrames(t *testing.T) {
	l, v := car(t, "golf8")
	s, err := scan.Run(t.Context(), l, options(t, scan.Full, consent.Unasked))
	require.NoError(t, err)
	require.Contains(t, value(s.Readings, "7E8", "obd.02.02"), "P0301")
	require.Equal(t, "2375 rpm", value(s.Readings, "7E8", "obd.02.0C"))
	require.Equal(t, "82 degC", value(s.Readings, "7E8", "obd.02.05"))
	require.Equal(t, "107 km/h", value(s.Readings, "7E8", "obd.02.0D"))
	count := 0
	for _, r := range s.Readings {
		if n, ok := obd.FreezeFrame(r); ok {
			require.Zero(t, n)
			count++
		}
	}
	require.GreaterOrEqual(t, count, 12)
	requests := 0
	for _, r := range v.Log() {
		if r.Bytes[0] == 0x02 {
			requests++
		}
	}
	require.LessOrEqual(t, requests, 10, "three values to a question")

	healthy := run(t, "e350", options(t, scan.Full, consent.Unasked))
	require.Empty(t, value(healthy.Readings, "7E8", "obd.02.0C"), "no code, no frame")
}

func TestMonitorResults(t *testing.T) {
	s := run(t, "golf8", options(t, scan.Full, consent.Unasked))
	require.Contains(t, value(s.Readings, "7E8", "obd.06.21.80.result"), "passed")
	require.NotEmpty(t, value(s.Readings, "7E8", "obd.06.A2.0C.value"))
	quick := run(t, "golf8", options(t, scan.Quick, consent.Unasked))
	require.False(t, slices.ContainsFunc(quick.Readings, func(r reading.Reading) bool { return strings.HasPrefix(string(r.Key), "obd.06") }))
}

// A car after SAE J1979-2 gives what a classic one gives, in few questions: the ECU that takes several identifiers at once
// gets them so, the other one after another.
func TestOBDonUDSInFewQuestions(t *testing.T) {
	l, v := car(t, "obdonuds")
	s, err := scan.Run(t.Context(), l, options(t, scan.Full, consent.Granted))
	require.NoError(t, err)
	require.Empty(t, s.Errors)
	require.Equal(t, "12044.7 km", value(s.Readings, "7E8", "uds.22.F4A6"))
	require.Contains(t, value(s.Readings, "7EB", "uds.22.F45B"), "59.6")
	require.NotNil(t, obd.ReadinessOf(s.Readings))
	several, alone := 0, 0
	for _, r := range v.Log() {
		if r.Bytes[0] != 0x22 || !slices.Contains(r.ECUs, "engine") || len(r.ECUs) > 1 {
			continue
		}
		if len(r.Bytes) > 3 {
			several++
		} else {
			alone++
		}
	}
	require.Greater(t, several, 8)
	require.Less(t, alone, 12)
	t.Logf("%d requests in all", len(v.Log()))
}

// A refusal must reach the form of the question that only such a car has.
func TestOBDonUDSRefusal(t *testing.T) {
	l, v := car(t, "obdonuds")
	_, err := scan.Run(t.Context(), l, options(t, scan.Full, consent.Refused))
	require.NoError(t, err)
	require.Zero(t, v.OBFCMRequests())
}

// BMW and MINI: control units behind extended addressing, faults in the maker's own numbers, the cluster's mileage.
func TestMINI(t *testing.T) {
	s := run(t, "mini", options(t, scan.Full, consent.Unasked))
	require.Equal(t, "64210 km", value(s.Readings, "660", "odometer.22.D10D"))
	require.Equal(t, "64208 km", value(s.Readings, "618", "odometer.22.DA23"))
	require.Equal(t, "2021-11-30", value(s.Readings, "612", "uds.22.F18B"))
	require.Contains(t, value(s.Readings, "612", "uds.19.02.dtc"), "1F0910", "no P, C, B or U is invented")
	require.Equal(t, "63988 km", value(s.Readings, "612", "uds.19.04.1700"))
	require.Equal(t, "02A41B7C", value(s.Readings, "612", "uds.19.04.1701"))
	require.Contains(t, value(s.Readings, "612", "uds.19.04.raw"), "1703", "the maker's own stays whole")
	o := options(t, scan.Full, consent.Unasked)
	p := o.Policy
	for _, r := range s.Readings {
		if strings.HasPrefix(string(r.Key), "uds.19.04.1") || r.Key == "uds.19.04.raw" {
			require.False(t, p.Tag(r).Tag().Class.Releasable())
		}
	}
}

// No question is put twice to a car that answers, and nothing but reading is ever put.
func TestNoQuestionTwice(t *testing.T) {
	for _, name := range sim.Names() {
		if strings.HasPrefix(name, "broken") || name == "legacy" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			l, v := car(t, name)
			_, err := scan.Run(t.Context(), l, options(t, scan.Full, consent.Granted))
			require.NoError(t, err)
			seen := map[string]int{}
			for _, r := range v.Log() {
				if len(r.ECUs) == 0 {
					continue // nobody there
				}
				require.Contains(t, []byte{0x01, 0x02, 0x03, 0x06, 0x07, 0x09, 0x0A, 0x19, 0x1A, 0x21, 0x22}, r.Bytes[0])
				seen[fmt.Sprintf("%s %v %X", r.ID, r.ECUs, r.Bytes)]++
			}
			for q, n := range seen {
				require.LessOrEqual(t, n, 2, q)
			}
			t.Logf("%s: %d questions, %d different", name, len(v.Log()), len(seen))
		})
	}
}

const plainUnit = `  - name: unit 7
    addresses: [{request: "18DA07F1",`

// Makers' own 29-bit identifiers: VW MEB and Volvo, pairs from data, with answers of several frames.
func TestMakersWideIdentifiers(t *testing.T) {
	for _, c := range []struct{ name, vin, request, response, did, unit, mileage string }{
		{"VW MEB", "WVWZZZCD0SW000022", "17FC0076", "17FE0076", `"295A": u24(9821)`, "Electric drive", "9821 km"},
		{"Volvo", "YV1XZK8V0S2000022", "1DD01637", "1EC6EE80", `"DD01": u32(2514176)`, "Central electronic module", "9821 km"},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := fmt.Sprintf(`  - name: own
    addresses: [{request: "%s", response: "%s"}]
    latency: 6ms
    jitter: 2ms
    pids: {}
    dids: {%s, "F187": "'1EA907554B  '"}
    uds_dtcs: {availability: "FF", codes: [{code: "C10087", status: "2F"}, {code: "0AA600", status: "28"}, {code: "056200", status: "08"}]}
`, c.request, c.response, c.did)
			path := altered(t, "suv29", "WVWZZZCD0SW000022", c.vin, plainUnit, own+plainUnit)
			s := run(t, path, options(t, scan.Full, consent.Granted))
			require.Empty(t, s.Errors)
			require.Len(t, s.ECUs, 8)
			name := ""
			for _, e := range s.ECUs {
				if e.Address == c.response {
					name = e.Name
				}
			}
			require.Equal(t, c.unit, name)
			require.Contains(t, codes(s), "U0100-87")
			mileage := ""
			for _, r := range s.Readings {
				if r.ECU == c.response && strings.HasPrefix(string(r.Key), "odometer.") {
					mileage = text(r.Value)
				}
			}
			require.Equal(t, c.mileage, mileage)
		})
	}
}
