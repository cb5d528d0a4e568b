package vin_test

import (
	"testing"

	"obdgate/internal/reading"
	"obdgate/internal/vin"

	"github.com/stretchr/testify/require"
)

func TestLeading(t *testing.T) {
	for in, whole := range map[string]bool{"WVWZZZCD0NW000001": true, "WVWZZZCD0NW000001\x00\x00": true, "WVWZZZCD0NW0000019": false, "\x00WVWZZZCD0NW00000199": false} {
		v, w, err := vin.Leading(in)
		require.NoError(t, err, "%q", in)
		require.Equal(t, whole, w, "%q", in)
		require.Equal(t, "WVWZZZCD0NW000001", v.Reveal())
	}
	for _, in := range []string{"", "WVWZZZCD0NW00000", "OSEV__ BMS\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		_, _, err := vin.Leading(in)
		require.ErrorIs(t, err, vin.ErrNotVIN, "%q", in)
	}
}

// A reading carries a VIN from the decoder to the gate without showing it on the way.
func TestReading(t *testing.T) {
	v, err := vin.Parse("WVWZZZCD0NW000001")
	require.NoError(t, err)
	back, ok := vin.FromReading(reading.Reading{Value: v.Identity()})
	require.True(t, ok)
	require.True(t, v.Equal(back))
	_, ok = vin.FromReading(reading.Reading{Value: reading.Text("WVWZZZCD0NW000001")})
	require.False(t, ok)
	require.Equal(t, reading.Absent{}, vin.VIN{}.Identity())
}
