package elm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"obdgate/internal/link"
	"obdgate/internal/sim"
)

// Serve offers an adapter with v plugged in at an address, elm+tcp://HOST:PORT (port 0 = any) or elm+pty:PATH, until ctx
// ends; it then returns nil. Options.Ready is told the address to use.
func Serve(ctx context.Context, uri string, v *sim.Vehicle, p Personality, o Options) error {
	scheme, rest, _ := link.Split(uri)
	switch scheme {
	case "elm+tcp":
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", strings.TrimPrefix(rest, "//"))
		if err != nil {
			return &link.Error{Op: "listen", URI: uri, Err: err, Hint: "choose a free port, or 0 for any"}
		}
		return ServeTCP(ctx, ln, v, p, o)
	case "elm+pty":
		return ServePTY(ctx, strings.TrimPrefix(rest, "//"), v, p, o)
	}
	return &link.Error{Op: "listen", URI: uri, Err: errors.New("a simulated adapter listens on elm+tcp: and elm+pty: only"),
		Hint: "for example elm+tcp://127.0.0.1:35000 or elm+pty:/tmp/elm"}
}

// ServeTCP offers an adapter with v plugged in on ln until ctx ends; it then returns nil. One client is served at a time,
// the next waits. It closes ln.
func ServeTCP(ctx context.Context, ln net.Listener, v *sim.Vehicle, p Personality, o Options) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	defer ln.Close() //nolint:errcheck // it is being given up
	a := New(v, p, o)
	if o.Ready != nil {
		o.Ready("elm+tcp://" + ln.Addr().String())
	}
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("waiting for a client: %w", err)
		}
		if err := a.Serve(ctx, conn); err != nil {
			return err
		}
	}
}
