//go:build !linux

package elm327

// openPort: elsewhere than on Linux a port is opened by one, once. To change its rate it has to be closed, by which the adapter's
// control lines fall, and reopened in time; no adapter has shown yet that it bears that.
func openPort(name string, baud int) (port, error) { return openSerial(name, baud) }
