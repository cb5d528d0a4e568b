// Command obdgate-collector is the receiving end: it takes envelopes from enrolled stations, answers with signed receipts,
// exports and erases. See internal/collector/command.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"obdgate/internal/collector/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
