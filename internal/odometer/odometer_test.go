package odometer_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"obdgate/internal/odometer"
	_ "obdgate/internal/pinned"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
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

var cases = []struct {
	name     string
	response uint32
	resp     string
	want     []string
}{
	{"BMW cluster", 0x660, "62D10D000286B3000286B3", []string{"odometer.22.D10D=165555 km"}},
	{"BMW gearbox, steps of 8 km", 0x618, "62DA2300002F9E", []string{"odometer.22.DA23=97520 km"}},
	{"BMW gearbox at its end is no mileage", 0x618, "62DA231FFFFFFF", []string{"odometer.22.DA23=absent:not available"}},
	{"Ford cluster", 0x728, "62404C346530", []string{"odometer.22.404C=343377.6 km"}},
	{"Kia cluster in km", 0x7CE, "62B002EC000000FFAC00713800000047DCAE0000", []string{"odometer.22.B002=28984 km", "odometer.22.B002=absent:not available"}},
	{"Kia cluster in miles", 0x7CE, "62B002D00000001AB0000000008351", []string{"odometer.22.B002=absent:not available", "odometer.22.B002=33617 mi"}},
	{"VW ID.4", 0x17FE0076, "62295A01C106", []string{"odometer.22.295A=114950 km"}},
	{"Toyota local identifier", 0x7E8, "6128007023", []string{"odometer.21.28=28707 km"}},
	{"Renault zero", 0x763, "620207000000", []string{"odometer.22.0207=absent:not available"}},
	{"the same DID in another control unit", 0x7A0, "62D10D000286B3000286B3", nil},
	{"unknown sender, rows agree", 0, "62DD01003C83", []string{"odometer.22.DD01=15491 km"}},
	{"unknown sender, another length", 0, "62DD0100", nil},
	{"not in the table", 0x7E8, "62F190", nil},
}

func TestDecode(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out, ok, err := odometer.Decode(c.response, unhex(t, c.resp))
			require.NoError(t, err)
			require.Equal(t, c.want != nil, ok)
			require.Equal(t, c.want, show(out))
		})
	}
	_, ok, err := odometer.Decode(0x660, unhex(t, "62D10D0002"))
	require.True(t, ok)
	require.ErrorIs(t, err, odometer.ErrShort)
}

// Each row finds its own place: the field alone is set and must come out scaled.
func TestEveryRow(t *testing.T) {
	for _, r := range odometer.Rows() {
		resp := append([]byte{r.Payload[0] + 0x40}, r.Payload[1:]...)
		resp = append(resp, make([]byte, 64)...)
		found := false
		for at := len(r.Payload); at < len(resp) && !found; at++ {
			resp[at] = 1
			out, ok, err := odometer.Decode(r.Response, resp)
			require.NoError(t, err)
			require.True(t, ok)
			for _, x := range out {
				if q, isQ := x.Value.(reading.Quantity); isQ && x.Key == r.Key() && string(q.Unit) == r.Unit {
					found = true
				}
			}
			resp[at] = 0
		}
		require.True(t, found, "%s %s", r.Make, r.Key())
		require.NotEmpty(t, r.Sources)
		a := r.Address()
		require.Equal(t, r.Response, a.Rx)
		require.Equal(t, r.Ext != 0, a.Ext)
	}
}

func src(key, ecu string, km float64) reading.Reading {
	q, _ := reading.Scaled(int64(km*10), 1, 10, 0, 1, "km")
	return reading.Reading{Key: reading.Key(key), ECU: ecu, Value: q}
}

// What a buyer or a customer is told about the mileage: rollback, swapped clusters and engines, and honest wear.
func TestWeigh(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     []reading.Reading
		want   odometer.Outcome
		reason string
		chosen string
	}{
		{"nothing", nil, odometer.NoVerdict, odometer.ReasonNone, ""},
		{"one source", []reading.Reading{src("obd.01.A6", "7E8", 67148.4)}, odometer.NoVerdict, odometer.ReasonOne, "obd.01.A6 7E8"},
		{"engine and battery agree", []reading.Reading{src("obd.01.A6", "7EC", 67150), src("obd.01.A6", "7E8", 67148.4)}, odometer.Consistent, odometer.ReasonAgree, "obd.01.A6 7E8"},
		{"the same number over another service is no second source", []reading.Reading{src("obd.01.A6", "7E8", 67148.4), src("uds.22.F4A6", "7E8", 67148.4)}, odometer.NoVerdict, odometer.ReasonOne, "obd.01.A6 7E8"},
		{"cluster agrees", []reading.Reading{src("obd.01.A6", "7E8", 165555), src("odometer.22.D10D", "660", 165555)}, odometer.Consistent, odometer.ReasonAgree, "obd.01.A6 7E8"},
		{"cluster rolled back", []reading.Reading{src("obd.01.A6", "7E8", 165555), src("odometer.22.D10D", "660", 65555)}, odometer.Inconsistent, odometer.ReasonDiffer, "obd.01.A6 7E8"},
		{"cluster swapped for an older one", []reading.Reading{src("odometer.22.D10D", "660", 220000), src("odometer.22.DA23", "618", 90000)}, odometer.Inconsistent, odometer.ReasonDiffer, "odometer.22.D10D 660"},
		{"engine swapped, record started again", []reading.Reading{src("obd.01.A6", "7E8", 165555), src("obfcm.lifetime_distance", "7E8", 800)}, odometer.NoVerdict, odometer.ReasonOne, "obd.01.A6 7E8"},
		{"engine from a car with more behind it", []reading.Reading{src("obd.01.A6", "7E8", 30000), src("obfcm.lifetime_distance", "7E8", 120000)}, odometer.Inconsistent, odometer.ReasonRecordAbove, "obd.01.A6 7E8"},
		{"record agrees", []reading.Reading{src("obd.01.A6", "7E8", 1252.3), src("obfcm.lifetime_distance", "7E8", 1252.3)}, odometer.Consistent, odometer.ReasonAgree, "obd.01.A6 7E8"},
		{"record alone", []reading.Reading{src("obfcm.lifetime_distance", "7E8", 37357.5)}, odometer.NoVerdict, odometer.ReasonOne, "obfcm.lifetime_distance 7E8"},
		{"more since clear than ever", []reading.Reading{src("obd.01.A6", "7E8", 20000), src("obd.01.31", "7EA", 54210)}, odometer.Inconsistent, odometer.ReasonSinceClearAbove, "obd.01.A6 7E8"},
		{"distance since clear is no mileage", []reading.Reading{src("obd.01.31", "7E8", 600)}, odometer.NoVerdict, odometer.ReasonNone, ""},
		{"full counter of a hybrid", []reading.Reading{src("obd.01.A6", "7E8", 20000), src("obd.01.31", "7EA", 65535)}, odometer.NoVerdict, odometer.ReasonOne, "obd.01.A6 7E8"},
		{"a zero is no mileage", []reading.Reading{src("odometer.22.0207", "763", 0), src("odometer.22.4B06", "760", 51000)}, odometer.NoVerdict, odometer.ReasonOne, "odometer.22.4B06 760"},
		{"miles and kilometres", []reading.Reading{src("obd.01.A6", "7E8", 54101.3), {Key: "odometer.22.B002", ECU: "7CE", Value: reading.Quantity{Num: 33617, Den: 1, Unit: "mi"}}}, odometer.Consistent, odometer.ReasonAgree, "obd.01.A6 7E8"},
		{"miles taken for kilometres", []reading.Reading{src("obd.01.A6", "7E8", 54101.3), src("odometer.22.B002", "7CE", 33617)}, odometer.Inconsistent, odometer.ReasonMiles, "obd.01.A6 7E8"},
		{"one engine in two places", []reading.Reading{src("obd.01.A6", "7E8", 45721.3), src("odometer.22.295A", "7E8", 45721)}, odometer.NoVerdict, odometer.ReasonOne, "obd.01.A6 7E8"},
		{"one engine that contradicts itself", []reading.Reading{src("obd.01.A6", "7E8", 45721.3), src("odometer.22.295A", "7E8", 145721)}, odometer.Inconsistent, odometer.ReasonDiffer, "obd.01.A6 7E8"},
		{"not available", []reading.Reading{{Key: "obd.01.A6", ECU: "7E8", Value: reading.Absent{}}}, odometer.NoVerdict, odometer.ReasonNone, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := odometer.Weigh(c.in, odometer.Context{})
			require.Equal(t, c.want, v.Outcome)
			require.Equal(t, c.reason, v.Reason)
			if c.chosen == "" {
				require.Equal(t, -1, v.Chosen)
				return
			}
			s := v.Sources[v.Chosen]
			require.Equal(t, c.chosen, string(s.Key)+" "+s.ECU)
		})
	}
	v := odometer.Weigh([]reading.Reading{src("obd.01.A6", "7E8", 1000), src("obd.01.A6", "7EC", 1002)}, odometer.Context{Engine: "7EC"})
	require.Equal(t, "7EC", v.Sources[v.Chosen].ECU)
	v = odometer.Weigh([]reading.Reading{src("obd.01.A6", "7E8", 1000), src("obd.01.31", "7E8", 500)}, odometer.Context{})
	require.Len(t, v.Sources, 2)
	require.False(t, v.Sources[1].Comparable)
}

// No false alarm: control units of one honest car lag by resolution and by the minutes between two questions.
func TestHonestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		km := rapid.Float64Range(1, 900_000).Draw(t, "km")
		near := func(name string, less float64) float64 {
			return max(0.1, km-rapid.Float64Range(0, less).Draw(t, name))
		}
		in := []reading.Reading{src("obd.01.A6", "7E8", km), src("obd.01.A6", "7EC", near("second", 90)), src("odometer.22.DA23", "618", near("gearbox", 90)),
			src("obfcm.lifetime_distance", "7E8", km*rapid.Float64Range(0.001, 1.05).Draw(t, "record")),
			src("obd.01.31", "7E8", min(65534, km*rapid.Float64Range(0, 1).Draw(t, "since clear")))}
		n := rapid.IntRange(1, len(in)).Draw(t, "answered")
		v := odometer.Weigh(in[:n], odometer.Context{})
		require.NotEqual(t, odometer.Inconsistent, v.Outcome, v.Reason)
		require.Equal(t, reading.Key("obd.01.A6"), v.Sources[v.Chosen].Key)
	})
}

func FuzzDecode(f *testing.F) {
	for _, c := range cases {
		f.Add(c.response, unhex(f, c.resp))
	}
	f.Fuzz(func(t *testing.T, response uint32, resp []byte) {
		out, ok, err := odometer.Decode(response, resp)
		require.Equal(t, ok && err == nil, len(out) > 0)
		for _, r := range out {
			require.True(t, strings.HasPrefix(string(r.Key), "odometer."))
			if q, isQ := r.Value.(reading.Quantity); isQ { // the number stands in the answer
				km, ok := odometer.Km(q)
				require.True(t, ok)
				require.Positive(t, km.Num)
				require.Less(t, km.Float(), 1e7)
			}
		}
	})
}
