package collector_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"obdgate/internal/collector"
	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
)

// Groups too small to be anonymous are made coarser, then left out; a rare code is left out; nothing leads back.
func TestQualityExportIsAnonymous(t *testing.T) {
	s := serve(t, collector.Options{})
	b := enrol(t, s, "station-1")
	c := client(t, b, false)
	send := func(n int, day, km, fuel string, codes ...string) {
		t.Helper()
		e := &wire.Envelope{Station: "station-1", Day: day, Purpose: "quality", Receipt: fmt.Sprintf("q-%032d", n),
			Policy: wire.Policy{Version: "2026-11", Hash: envelope(t).Policy.Hash}, Readings: []wire.Reading{{Key: "obd.01.51", Value: num(t, fuel)}},
			Odometer: &wire.Odometer{Km: num(t, km), Source: "obd.01.A6"}}
		for _, code := range codes {
			e.Codes = append(e.Codes, wire.Code{Code: code, Status: "stored"})
		}
		e.Canonicalise()
		status, text := post(t, c, s.url, e.Append(nil))
		require.Equal(t, 200, status, text)
	}
	export := func(k int) (q collector.Quality, err error) {
		var out bytes.Buffer
		if err = s.ExportQuality(t.Context(), &out, k); err == nil {
			require.NotContains(t, out.String(), "q-0", "no receipt")
			require.NotContains(t, out.String(), "station-1")
			require.NoError(t, json.Unmarshal(out.Bytes(), &q))
		}
		return q, err
	}
	for n := range 4 {
		send(n, "2026-11-01", "40000", "1", "P0301")
		send(n, "2026-11-01", "50000", "1", "P0301") // the same car again
	}
	_, err := export(5)
	require.ErrorIs(t, err, collector.ErrTooFew, "four cars are four cars, however often they come")
	_, err = export(1)
	require.ErrorIs(t, err, collector.ErrTooFew, "a k that protects nobody is refused")

	for n := 4; n < 12; n++ {
		send(n, "2026-11-01", "50000", "1", "P0301")
	}
	send(12, "2026-11-01", "50000", "1", "P0420") // one car with a rare code
	q, err := export(5)
	require.NoError(t, err)
	require.Equal(t, 0, q.Level, "fine enough as it is")
	require.Len(t, q.Groups, 1)
	require.Equal(t, 13, q.Groups[0].Vehicles)
	require.Equal(t, []collector.QualityCode{{Code: "P0301", Status: "stored", Vehicles: 12}}, q.Groups[0].Codes, "a rare code is not told")

	for n := 13; n < 17; n++ { // four that stand out by their mileage
		send(n, "2026-10-01", "40000", "1")
	}
	q, err = export(5)
	require.NoError(t, err)
	require.Equal(t, 1, q.Level, "coarser until nobody stands out")
	require.Equal(t, "quarter", q.Period)
	require.Len(t, q.Groups, 1)
	require.Equal(t, 17, q.Groups[0].Vehicles)
	require.Equal(t, int64(40_000), *q.Groups[0].Mileage)
	require.Zero(t, q.Suppressed)

	send(17, "2026-11-01", "400000", "4") // one alone
	q, err = export(5)
	require.NoError(t, err)
	require.Len(t, q.Groups, 1, "who is alone is left out")
	require.Equal(t, 17, q.Groups[0].Vehicles)
	require.Equal(t, 6, q.Suppressed)
}
