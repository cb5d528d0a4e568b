//go:build !linux && !windows && !cgo

package elm327

import (
	"fmt"

	"obdgate/internal/link"
)

// openSerial: outside Linux and Windows tarm/serial is C, which this build leaves out.
func openSerial(string, int) (port, error) {
	return nil, fmt.Errorf("%w: this build has no serial ports (made without cgo); a Wi-Fi adapter works: elm+tcp://host:port",
		link.ErrUnsupported)
}
