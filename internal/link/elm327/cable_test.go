package elm327

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHeldBack(t *testing.T) {
	sys := fstest.MapFS{
		"bus/usb-serial/devices/ttyUSB0/latency_timer": {Data: []byte("16\n")},
		"bus/usb-serial/devices/ttyUSB1/latency_timer": {Data: []byte("1\n")},
		"bus/usb-serial/devices/ttyUSB2/latency_timer": {Data: []byte("none\n")},
		"bus/usb-serial/devices/ttyUSB3/port_number":   {Data: []byte("0\n")},
	}
	for port, want := range map[string]time.Duration{"/dev/ttyUSB0": 16 * time.Millisecond, "/dev/ttyUSB1": 0, "/dev/ttyUSB2": 0,
		"/dev/ttyUSB3": 0, "/dev/ttyACM0": 0, "COM5": 0, "": 0, "/": 0, "/dev/..": 0} {
		d, file := heldBack(sys, port)
		require.Equal(t, want, d, port)
		if want > 0 {
			require.Equal(t, "/sys/bus/usb-serial/devices/ttyUSB0/latency_timer", file)
		} else {
			require.Empty(t, file, port)
		}
	}
}
