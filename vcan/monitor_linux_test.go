package vcan_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"obdgate/dbc"
	"obdgate/internal/canlog"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/monitor"
	"obdgate/internal/play"
	"obdgate/internal/policy"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// A bus in flood: a recording played as fast as the interface takes it, heard, tagged and written without losing a frame.
func TestMonitorLosesNothingInAFlood(t *testing.T) {
	uri := "can://" + testtier.Require(t, testtier.VCAN)
	const frames = 60_000
	var log bytes.Buffer
	for i := range frames {
		fmt.Fprintf(&log, "(1690000000.%06d) can0 %03X#0341055500%06X\n", i, 0x7A0+i%4, i)
	}
	ear, err := socketcan.Open(t.Context(), uri)
	require.NoError(t, err)
	mouth, err := socketcan.Open(t.Context(), uri)
	require.NoError(t, err)
	o := monitor.Options{Live: true, Count: frames}
	o.Policy, err = policy.Default()
	require.NoError(t, err)
	o.DBC, err = dbc.Embedded()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	played := make(chan error, 1)
	begin := time.Now()
	go func() {
		p, err := play.Play(ctx, canlog.NewReader(&log), mouth, play.Options{})
		if err == nil && p.Sent != frames {
			err = fmt.Errorf("%d frames sent", p.Sent)
		}
		played <- err
	}()
	c, err := monitor.Run(ctx, ear, io.Discard, o)
	took := time.Since(begin)
	require.NoError(t, err)
	require.NoError(t, <-played)
	require.EqualValues(t, frames, c.Shown)
	require.Zero(t, c.Dropped)
	require.Zero(t, ear.(*socketcan.Link).Stats().Lost)
	t.Logf("%d frames in %v: %.0f a second", frames, took, frames/took.Seconds())
	require.NoError(t, ear.Close())
	require.NoError(t, mouth.Close())
}
