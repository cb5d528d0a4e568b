package elm327

import (
	"errors"
	"slices"

	"golang.org/x/sys/windows/registry"
)

// Ports lists the serial ports Windows knows, by name ("COM5"). Nothing is opened.
func Ports() ([]string, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `HARDWARE\DEVICEMAP\SERIALCOMM`, registry.QUERY_VALUE)
	if errors.Is(err, registry.ErrNotExist) {
		return nil, nil // no port has ever been plugged in
	}
	if err != nil {
		return nil, err
	}
	defer k.Close()
	names, err := k.ReadValueNames(-1)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		port, _, err := k.GetStringValue(n)
		if err != nil {
			return nil, err
		}
		out = append(out, port)
	}
	slices.Sort(out)
	return out, nil
}
