//go:build !linux && !darwin

package elm

import (
	"context"
	"errors"

	"obdgate/internal/link"
	"obdgate/internal/sim"
)

// ServePTY needs pseudo terminals, which this system does not have.
func ServePTY(_ context.Context, path string, _ *sim.Vehicle, _ Personality, _ Options) error {
	return &link.Error{Op: "listen", URI: "elm+pty:" + path, Err: errors.ErrUnsupported,
		Hint: "there are no pseudo terminals here; use elm+tcp://127.0.0.1:35000"}
}
