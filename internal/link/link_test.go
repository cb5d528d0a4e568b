package link_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

func TestRegistryOpensByScheme(t *testing.T) {
	asked := ""
	opener := func(err error) link.Opener {
		return func(_ context.Context, uri string) (link.Link, error) {
			asked = uri
			return nil, err
		}
	}
	elm, can := errors.New("elm"), errors.New("can")
	r := link.Registry{"elm": opener(elm), "elm+tcp": opener(elm), "can": opener(can), "auto": nil}
	for uri, want := range map[string]error{"can://can0": can, "elm:///dev/ttyUSB0?baud=9600": elm, "elm:COM5": elm, "elm+tcp://192.168.0.10:35000": elm} {
		_, err := r.Open(t.Context(), uri)
		require.ErrorIs(t, err, want)
		require.Equal(t, uri, asked, "an opener gets the whole address")
	}
}

// A mistyped address must tell which kinds there are, not just that it failed.
func TestRegistryUnknownAddress(t *testing.T) {
	r := link.Registry{"elm": nil, "can": func(context.Context, string) (link.Link, error) { return nil, nil }}
	for _, uri := range []string{"", "can0", "/dev/ttyUSB0", "usb://1", "CAN://can0", "elm:COM5"} {
		l, err := r.Open(t.Context(), uri)
		require.Nil(t, l)
		require.ErrorIs(t, err, link.ErrNoAdapter, uri)
		var le *link.Error
		require.ErrorAs(t, err, &le)
		require.Contains(t, le.Hint, "can:")
		require.Equal(t, uri, le.URI)
	}
}

func TestErrorKeepsItsCause(t *testing.T) {
	err := fmt.Errorf("reading: %w", &link.Error{Op: "send", URI: "elm:COM5", Err: fmt.Errorf("%w: 3 times", link.ErrBus), Hint: "check the plug"})
	require.ErrorIs(t, err, link.ErrBus)
	require.EqualError(t, err, "reading: send elm:COM5: bus fault: 3 times")
}
