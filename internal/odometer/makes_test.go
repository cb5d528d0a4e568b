package odometer_test

import (
	"testing"

	"obdgate/internal/odometer"

	"github.com/stretchr/testify/require"
)

// Asking another make's place can give a number that is no mileage at all.
func TestForMaker(t *testing.T) {
	keys := func(wmi string) (out []string) {
		for _, r := range odometer.ForMaker(wmi) {
			out = append(out, r.Make+" "+string(r.Key()))
		}
		return out
	}
	require.Equal(t, []string{"BMW, MINI odometer.22.D10D", "BMW odometer.22.DA23", "BMW odometer.22.1700"}, keys("WMW"))
	require.Equal(t, []string{"Ford odometer.22.404C", "Ford odometer.22.DD01"}, keys("1FD"))
	require.Contains(t, keys("JTD"), "Toyota odometer.21.28")
	require.Empty(t, keys("ZAR"))
	require.Empty(t, keys(""))
	require.True(t, odometer.ForMaker("WVW")[0].Verified, "confirmed places first")

	of := map[string]bool{}
	for _, wmi := range []string{"WMW", "WVW", "WF0", "SAL", "JTD", "JHM", "KMH", "KNA", "YV1", "VF1", "VF3", "W0L", "LSJ"} {
		for _, r := range odometer.ForMaker(wmi) {
			of[r.Make] = true
		}
	}
	for _, r := range odometer.Rows() {
		require.True(t, of[r.Make], "no prefix leads to %s", r.Make)
	}
}
