package vcan_test

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"testing"

	"obdgate/internal/cli"
)

// childArgs makes this test binary the program itself, so that what the program costs can be measured as a process of its
// own.
const childArgs = "OBDGATE_VCAN_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(childArgs); args != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		code := cli.Main(ctx, strings.Fields(args), cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}
