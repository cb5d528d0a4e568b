package vcan_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/scan"
	"obdgate/internal/sim"
	"obdgate/internal/sim/bus"

	"github.com/stretchr/testify/require"
)

// tripwire does something once, in the middle of an answer: when its third consecutive frame has come.
type tripwire struct {
	link.Link
	at int
	do func()
}

func (w *tripwire) Recv(ctx context.Context) (frame.Frame, error) {
	f, err := w.Link.Recv(ctx)
	if err == nil && f.Len > 0 && f.Data[0]>>4 == 2 && w.at > 0 {
		if w.at--; w.at == 0 {
			w.do()
		}
	}
	return f, err
}

func (w *tripwire) SetHint(h link.Hint) { w.Link.(link.Hinter).SetHint(h) }

func ip(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(within(t), "ip", args...).CombinedOutput()
	require.NoError(t, err, "ip %v: %s", args, out)
}

// TestFaultsOnTheKernelsBus reads a car over the kernel's bus while something goes wrong in the middle of an answer: what it
// comes to stands in testdata/kernel-faults.txt, with the time it took in an emulated machine.
func TestFaultsOnTheKernelsBus(t *testing.T) {
	const car, name = "golf8", "vcan9"
	second(t, name)
	want, o := truth(t, car, scan.Quick), options(t, scan.Quick)
	cansend := func(text string) func() {
		return func() {
			out, err := exec.CommandContext(within(t), "cansend", name, text).CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
	}
	peer := func(t *testing.T, program string, args ...string) {
		cmd := exec.Command(program, args...)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	var b strings.Builder
	b.WriteString("# A quick scan of golf8 over the kernel's bus. Written by TestFaultsOnTheKernelsBus -update in the machine of vcan/vm.\n")
	for _, c := range []struct {
		name   string
		trip   func()             // in the middle of an answer
		around func(t *testing.T) // while the scan runs
		faults []string           // of a gateway between car and tester
		never  bool               // the outcome is left to chance: only what it must not be is asserted
	}{
		{name: "nothing"},
		{name: "interface switched off in the middle of an answer", trip: func() { ip(t, "link", "set", name, "down") }},
		{name: "interface removed in the middle of an answer", trip: func() { ip(t, "link", "del", name) }},
		{name: "interface removed and made anew in the middle of an answer", trip: func() {
			ip(t, "link", "del", name)
			ip(t, "link", "add", "dev", name, "type", "vcan")
			ip(t, "link", "set", name, "mtu", "72", "up")
		}},
		{name: "bus-off reported in the middle of an answer", trip: cansend("20000040#0000000000000000"), never: true},
		{name: "no acknowledgement reported in the middle of an answer", trip: cansend("20000020#0000000000000000"), never: true},
		// More than a bus can carry, and all this machine can do; 100 % load of a wire is in faults.txt.
		{name: "babbling on 7FF as fast as the machine can", around: func(t *testing.T) { peer(t, "cangen", name, "-g", "0", "-I", "7FF", "-L", "8", "-p", "1") }, never: true},
		{name: "babbling on 000 as fast as the machine can", around: func(t *testing.T) { peer(t, "cangen", name, "-g", "0", "-I", "000", "-L", "8", "-p", "1") }, never: true},
		{name: "another tester asks the engine all the time", around: func(t *testing.T) {
			other := kernelEnd{rx: 0x7E8, tx: 0x7E0, pad: true, on: name}.socket(t)
			end := make(chan struct{})
			t.Cleanup(func() { close(end) })
			go func() {
				in := make([]byte, 5000)
				for {
					select {
					case <-end:
						return
					default:
					}
					_ = other.SetDeadline(time.Now().Add(100 * time.Millisecond))
					_, _ = other.Write([]byte{0x09, 0x04})
					_, _ = other.Read(in)
				}
			}()
		}, never: true},
		{name: "30 % of the frames lost", faults: []string{"loss=30%", "seed=2"}, never: true},
		{name: "every frame twice", faults: []string{"duplicate=100%"}},
		{name: "30 % of the consecutive frames out of order", faults: []string{"reorder=30%", "only=consecutive"}, never: true},
	} {
		var got outcome
		t.Run(c.name, func(t *testing.T) {
			v, err := sim.Load(car)
			require.NoError(t, err)
			at := name
			if c.faults != nil { // the car sits behind a gateway
				plan, err := bus.Parse(c.faults)
				require.NoError(t, err)
				stop := between(t, name, second(t, "vcan8"), plan)
				defer stop()
				at = "vcan8"
			}
			node, err := socketcan.Open(within(t), "can://"+at)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			served := make(chan error, 1)
			go func() { served <- v.Serve(ctx, node) }()
			l, err := socketcan.Open(within(t), "can://"+name)
			require.NoError(t, err)
			if c.around != nil {
				c.around(t)
			}
			w := &tripwire{Link: l}
			if c.trip != nil {
				w.at, w.do = 3, c.trip
			}
			limit, stop := context.WithTimeout(context.Background(), 2*time.Minute)
			defer stop()
			began := time.Now()
			s, err := scan.Run(limit, w, o)
			got = judge(want, s, err, time.Since(began), limit.Err() != nil)
			got.sound(t, c.name)
			require.Zero(t, w.at, "nothing happened")
			cancel()
			<-served
			require.NoError(t, l.Close())
			require.NoError(t, node.Close())
		})
		what := strings.TrimSpace(got.what + " " + got.detail)
		if c.never {
			fmt.Fprintf(&b, "%-60s no wrong value, no hang | %5.1f s  %3d of %d values  %s\n", c.name, got.took.Seconds(), got.all-got.missing, got.all, what)
		} else {
			fmt.Fprintf(&b, "%-60s %s | %5.1f s  %3d of %d values\n", c.name, what, got.took.Seconds(), got.all-got.missing, got.all)
		}
		restore(t, name)
	}
	t.Log("\n" + b.String())
	golden(t, "testdata/kernel-faults.txt", b.String())
}

// restore brings an interface back that a row has taken away.
func restore(t *testing.T, name string) {
	t.Helper()
	_ = exec.CommandContext(within(t), "ip", "link", "add", "dev", name, "type", "vcan").Run() // it may be there
	ip(t, "link", "set", name, "mtu", "72", "up")
}
