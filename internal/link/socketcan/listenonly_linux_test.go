package socketcan

import (
	"testing"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

// The driver of a listen-only controller drops what is sent and reports success; the user would wait for an answer that
// cannot come. (Virtual interfaces have no such mode, so this cannot be shown on one.)
func TestListenOnlyIsSaid(t *testing.T) {
	l := &Link{address: address{uri: "can://can0", name: "can0"}, about: Interface{ListenOnly: true, Bitrate: 500000},
		closing: make(chan struct{})}
	err := l.Send(t.Context(), frame.New(0x7DF, 0, 2, 1, 0))
	require.ErrorIs(t, err, link.ErrUnsupported)
	require.ErrorContains(t, err, "can0 only listens")
	require.Equal(t, "can0, 500 kbit/s, listen-only", l.Caps().Adapter)
}
