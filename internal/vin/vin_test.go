package vin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"obdgate/internal/vin"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
	}{
		{"plain", "WVWZZZCD0NW000001", "WVWZZZCD0NW000001"},
		{"padded to 24 with zeros", "WVWZZZCD0NW000001\x00\x00\x00\x00\x00\x00\x00", "WVWZZZCD0NW000001"},
		{"leading zeros as on K-line", "\x00\x00\x00WVWZZZCD0NW000001", "WVWZZZCD0NW000001"},
		{"padded with FF and space", " WVWZZZCD0NW000001\xff\xff", "WVWZZZCD0NW000001"},
		{"lower case", "wvwzzzcd0nw000001", "WVWZZZCD0NW000001"},
		{"letter O", "WVWZZZCD0NWO00001", ""},
		{"short", "VG11111", ""},
		{"name of a battery", "OSEV__ BMS\x00\x00\x00\x00\x00\x00\x00", ""},
		{"eighteen", "WVWZZZCD0NW0000011", ""},
		{"hole in the middle", "WVWZZZCD\x00NW000001", ""},
		{"empty", "", ""},
		{"a byte that is no filler behind it", "WVWZZZCD0NW000001\x85", ""},
		{"a byte that is no filler before it", "\x85WVWZZZCD0NW000001", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := vin.Parse(c.in)
			if c.want == "" {
				require.ErrorIs(t, err, vin.ErrNotVIN)
				require.True(t, v.IsZero())
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, v.Reveal())
			require.Equal(t, "WVW", v.WMI())
		})
	}
}

func TestCheckDigit(t *testing.T) {
	// 49 CFR 565 example and all-ones, which every table gives as valid.
	for in, ok := range map[string]bool{"1M8GDM9AXKP042788": true, "11111111111111111": true, "1M8GDM9A0KP042788": false} {
		v, err := vin.Parse(in)
		require.NoError(t, err)
		require.Equal(t, ok, v.CheckDigitOK(), in)
	}
}

func TestDoesNotPrint(t *testing.T) {
	v, err := vin.Parse("WVWZZZCD0NW000001")
	require.NoError(t, err)
	hidden := struct{ v vin.VIN }{v}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb, v, &v, hidden)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "vin", v, "in", hidden)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "vin", v, "in", hidden)
	b, err := json.Marshal(map[string]any{"vin": v})
	require.Error(t, err)
	out.Write(b)
	fmt.Fprint(&out, err)
	require.NotContains(t, out.String(), "WVWZZZ")
	require.NotContains(t, out.String(), "5756575A5A5A", "hex")
	require.NotContains(t, out.String(), "5756575a5a5a", "hex")
}
