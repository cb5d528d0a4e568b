//go:build !linux

package socketcan

import (
	"context"
	"fmt"

	"obdgate/internal/link"
)

// Open opens can://NAME on Linux; here it is always link.ErrNoAdapter.
func Open(_ context.Context, uri string) (link.Link, error) {
	if _, err := parse(uri); err != nil {
		return nil, err
	}
	return nil, &link.Error{Op: "open", URI: uri, Err: fmt.Errorf("%w: SocketCAN exists on Linux only", link.ErrNoAdapter),
		Hint: "use an ELM327 or STN adapter here: elm:COM5 on Windows, elm:/dev/tty.usbserial-1 on macOS"}
}

// Interfaces lists the CAN interfaces; there are none outside Linux.
func Interfaces() ([]Interface, error) { return nil, nil }
