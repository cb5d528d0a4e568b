//go:build !windows

package elm327

import (
	"path/filepath"
	"slices"
)

// portPatterns are the names under which USB, CDC and Bluetooth serial ports appear on Linux, and USB and Bluetooth ones
// on macOS (callout devices).
var portPatterns = []string{"/dev/ttyUSB*", "/dev/ttyACM*", "/dev/rfcomm*", "/dev/cu.usb*", "/dev/cu.OBD*", "/dev/cu.wchusb*", "/dev/cu.SLAB*"}

// Ports lists the serial ports an adapter may be on, by name. Nothing is opened.
func Ports() ([]string, error) {
	var out []string
	for _, p := range portPatterns {
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	slices.Sort(out)
	return out, nil
}
