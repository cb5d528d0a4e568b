package store

import (
	"math"
	"testing"
	"time"

	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	_ "obdgate/internal/pinned"
	"obdgate/internal/reading"
	"obdgate/internal/vin"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func anyText(t *rapid.T, label string) string {
	if rapid.Bool().Draw(t, label+" raw") {
		return string(rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, label)) // what an ECU sends need not be UTF-8
	}
	return rapid.StringN(0, 12, -1).Draw(t, label)
}

func anyQuantity(t *rapid.T) reading.Quantity {
	return reading.Quantity{Num: rapid.Int64().Draw(t, "num"), Den: rapid.Int64Range(0, math.MaxInt64).Draw(t, "den"),
		Unit: reading.Unit(rapid.SampledFrom([]string{"", "km", "degC", "%"}).Draw(t, "unit"))}
}

func anyValue(t *rapid.T) reading.Value {
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return anyQuantity(t)
	case 1:
		return reading.Code{N: rapid.Uint64().Draw(t, "n"), Label: anyText(t, "label"), Bool: rapid.Bool().Draw(t, "bool")}
	case 2:
		return reading.Text(anyText(t, "text"))
	case 3:
		return reading.NewIdentity(anyText(t, "identity"))
	}
	return reading.Absent{Why: reading.Why(rapid.IntRange(0, int(reading.Damaged)).Draw(t, "why"))}
}

func anyVIN(t *rapid.T) vin.VIN {
	if rapid.Bool().Draw(t, "no vin") {
		return vin.VIN{}
	}
	v, err := vin.Parse(rapid.StringMatching(`[A-HJ-NPR-Z0-9]{17}`).Draw(t, "vin"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func anyTime(t *rapid.T, label string) time.Time {
	if rapid.Bool().Draw(t, label+" zero") {
		return time.Time{}
	}
	return time.Unix(rapid.Int64Range(0, 4e9).Draw(t, label), rapid.Int64Range(0, 999).Draw(t, label+" ms")*1e6).UTC()
}

func list[T any](t *rapid.T, label string, f func() T) (out []T) {
	for range rapid.IntRange(0, 3).Draw(t, label) {
		out = append(out, f())
	}
	return out
}

func anyVisit(t *rapid.T) visit.Visit {
	return visit.Visit{
		ID: rapid.StringMatching(`v[a-z0-9]{12}`).Draw(t, "id"), Opened: anyTime(t, "opened"), Closed: anyTime(t, "closed"),
		Order: anyText(t, "order"), Language: "nl", VIN: anyVIN(t),
		Scans: list(t, "scans", func() visit.Scan {
			return visit.Scan{
				At: anyTime(t, "at"), Link: anyText(t, "link"), Adapter: anyText(t, "adapter"), Plan: "full", Protocol: anyText(t, "protocol"),
				VIN:  anyVIN(t),
				ECUs: list(t, "ecus", func() visit.ECU { return visit.ECU{Address: "7E8", Name: anyText(t, "name")} }),
				Readings: list(t, "readings", func() reading.Reading {
					r := reading.Reading{Key: "obd.01.05", Name: anyText(t, "name"), ECU: "7E8", Value: anyValue(t)}
					if rapid.Bool().Draw(t, "raw") {
						r.Raw, r.From = []byte{0x41, 0x05, 0xFF}, []uint64{1, math.MaxUint64}
					}
					return r
				}),
				OBFCM: obfcm.Verdict{Outcome: obfcm.OK, ECU: "7E8", Reasons: []string{"recent-above-lifetime"}},
				Odometer: odometer.Verdict{Outcome: odometer.Consistent, Reason: anyText(t, "reason"), Chosen: -1,
					Sources: list(t, "sources", func() odometer.Source {
						return odometer.Source{Key: "obd.01.A6", ECU: anyText(t, "ecu"), Km: anyQuantity(t), Comparable: rapid.Bool().Draw(t, "c")}
					})},
				Frames: visit.Frames{Total: 3, Technical: 2, Personal: 1},
				Errors: list(t, "errors", func() visit.ReadError {
					return visit.ReadError{ECU: "7E9", Request: "0902", Error: anyText(t, "error"), Hint: anyText(t, "hint")}
				}),
			}
		}),
	}
}

// Nothing that was read is lost or changed on its way to the disk and back: not a byte of a text, not an Absent, not an
// exact fraction.
func TestAVisitComesBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyVisit(t)
		b, err := encodeVisit(want)
		require.NoError(t, err)
		got, err := decodeVisit(b)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func TestAReadingWithoutAValueIsNotStored(t *testing.T) {
	_, err := encodeVisit(visit.Visit{Scans: []visit.Scan{{Readings: []reading.Reading{{Key: "obd.01.05"}}}}})
	require.ErrorContains(t, err, "obd.01.05")
}

var bodySeeds = []string{
	`{"v":1,"id":"va","opened":"2026-11-20T09:00:00Z","scans":[]}`,
	`{"v":1,"id":"va","opened":"2026-11-20T09:00:00Z","order":{"b":"/w=="},"vin":"WVWZZZCD0NW000001","scans":[{"at":"2026-11-20T09:00:00Z","obfcm":{"outcome":""},"odometer":{"chosen":-1},"frames":{"total":0,"technical":0,"personal":0},"readings":[{"key":"obd.01.05","value":{"q":{"n":83,"d":1,"u":"degC"}}},{"key":"obd.09.02","value":{"i":"X"}},{"key":"obd.01.0C","value":{"a":0}}]}]}`,
	`{"v":2,"id":"va","opened":"2026-11-20T09:00:00Z","scans":[]}`,
	`{"v":1,"id":"va","opened":"2026-11-20T09:00:00Z","scans":[{"at":"2026-11-20T09:00:00Z","obfcm":{"outcome":""},"odometer":{"chosen":0},"frames":{"total":0,"technical":0,"personal":0},"readings":[{"key":"k","value":{"t":"a","a":1}}]}]}`,
	`{}`, `null`, `{"v":1}x`,
}

// What decodes can be written again and reads the same.
func FuzzDecodeVisit(f *testing.F) {
	for _, s := range bodySeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeVisit(b)
		if err != nil {
			return
		}
		b2, err := encodeVisit(v)
		if err != nil {
			if v.Opened.Year() > 9999 || v.Opened.Year() < 0 {
				return // RFC 3339 has no such year
			}
			t.Fatal(err)
		}
		v2, err := decodeVisit(b2)
		require.NoError(t, err)
		require.Equal(t, v, v2)
	})
}

func TestBodiesOfAnotherFormAreRefused(t *testing.T) {
	for i, want := range []bool{true, true, false, false, false, false, false} {
		_, err := decodeVisit([]byte(bodySeeds[i]))
		require.Equal(t, want, err == nil, "%d: %v", i, err)
	}
	_, err := decodeVisit([]byte(bodySeeds[2]))
	require.ErrorIs(t, err, ErrNewer)
}
