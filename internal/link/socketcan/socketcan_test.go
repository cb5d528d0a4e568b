package socketcan

import (
	"errors"
	"testing"

	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for uri, want := range map[string]address{
		"can://can0":                       {name: "can0"},
		"can:can0":                         {name: "can0"},
		"can://vcan0?fd=1":                 {name: "vcan0", fd: fdForced},
		"can://vcan0?fd=0":                 {name: "vcan0", fd: fdRefused},
		"can://can1?errors=frames":         {name: "can1", frames: true},
		"can://can1?fd=auto&errors=frames": {name: "can1", frames: true},
	} {
		want.uri = uri
		got, err := parse(uri)
		require.NoError(t, err, uri)
		require.Equal(t, want, got)
	}
	for _, uri := range []string{"can://", "can:", "can", "elm://x", "can://a/b", "can://sixteencharacter", "can://can 0",
		"can://..", "can://can0?fd=2", "can://can0?speed=1", "can://can0?%zz", "can://can0:1"} {
		_, err := parse(uri)
		require.ErrorIs(t, err, link.ErrNoAdapter, uri)
		var e *link.Error
		require.True(t, errors.As(err, &e))
		require.Contains(t, e.Hint, "can://can0", uri)
	}
}

func TestCommandsToType(t *testing.T) {
	require.Equal(t, "sudo ip link set can0 up type can bitrate 500000", upCommand("can0"))
	require.Equal(t, "sudo ip link set vcan0 mtu 72 up", upCommand("vcan0"))
	require.Contains(t, missingHint("vcan0", nil), "sudo ip link add dev vcan0 type vcan")
	require.Contains(t, missingHint("can0", nil), "sudo ip link set can0 up type can bitrate 500000")
	require.Equal(t, "CAN interfaces here: can1, vcan0", missingHint("can0", []string{"can1", "vcan0"}))
	require.Contains(t, missingHint("slcan0", nil), "sudo slcand -o -c -s6 /dev/ttyUSB0 slcan0")
}
