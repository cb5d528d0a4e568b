package obd_test

import (
	"testing"

	"obdgate/internal/obd"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
)

// Only 00, FF and spaces are padding: what a maker packs behind a value in bytes above 7F must not pass for nothing.
func TestFiller(t *testing.T) {
	require.True(t, obd.Blank(nil))
	require.True(t, obd.Blank([]byte{0x00, 0xFF, ' ', 0xFF}))
	for c := 1; c < 0xFF; c++ {
		if c != ' ' {
			require.False(t, obd.Blank([]byte{0x00, byte(c), 0xFF}), "%02X", c)
		}
	}
	require.Equal(t, reading.Text("85"), obd.TextValue([]byte{0x85}))
	require.Equal(t, reading.Text("ECM"), obd.TextValue([]byte{0xFF, 'E', 'C', 'M', 0x00, ' '}))
}
