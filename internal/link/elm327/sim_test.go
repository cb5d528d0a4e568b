package elm327_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/elm327"
	"obdgate/internal/link/linktest"
	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/require"
)

// simulated puts an adapter with a virtual car on loopback TCP or a pty and returns its address. The simulator shares no
// code with the client but the frame type.
func simulated(t *testing.T, car, personality, on string) (string, *sim.Vehicle) {
	t.Helper()
	v, err := sim.Load(car)
	require.NoError(t, err)
	p, err := elm.ByName(personality)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	ready := make(chan string, 1)
	failed := make(chan error, 1)
	o := elm.Options{Ready: func(a string) { ready <- a }}
	wg.Go(func() {
		var err error
		if on == "pty" {
			err = elm.ServePTY(ctx, filepath.Join(t.TempDir(), "elm"), v, p, o)
		} else {
			var ln net.Listener
			if ln, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
				err = elm.ServeTCP(ctx, ln, v, p, o)
			}
		}
		if err != nil {
			failed <- err
		}
	})
	select {
	case a := <-ready:
		return a, v
	case err := <-failed:
		require.NoError(t, err)
	case <-time.After(5 * time.Second):
		t.Fatal("the simulated adapter does not listen")
	}
	return "", nil
}

// heard sends one request and returns what comes until the window ends.
func heard(t *testing.T, l link.Link, f frame.Frame) []frame.Frame {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, l.Send(ctx, f))
	var frames []frame.Frame
	for {
		f, err := l.Recv(ctx)
		if errors.Is(err, link.ErrQuiet) {
			return frames
		}
		require.NoError(t, err)
		frames = append(frames, f)
	}
}

// payloads joins the long answers of a window, trusting nothing: pieces must be in order.
func payloads(t *testing.T, frames []frame.Frame, ext int) map[string][]byte {
	t.Helper()
	got, want, next := map[string][]byte{}, map[string]int{}, map[string]byte{}
	for _, f := range frames {
		id, b := f.IDString(), f.Bytes()[ext:]
		switch b[0] >> 4 {
		case 0:
			got[id] = append([]byte(nil), b[1:1+b[0]]...)
		case 1:
			want[id], next[id] = int(b[0]&15)<<8|int(b[1]), 1
			got[id] = append([]byte(nil), b[2:]...)
		case 2:
			require.Equal(t, next[id], b[0]&15, "a piece is missing")
			next[id] = (next[id] + 1) & 15
			got[id] = append(got[id], b[1:]...)
		}
	}
	for id, n := range want {
		require.GreaterOrEqual(t, len(got[id]), n, "the answer of %s is cut", id)
		got[id] = got[id][:n]
	}
	return got
}

func forEachWay(t *testing.T, f func(t *testing.T, on string)) {
	for _, on := range []string{"tcp", "pty"} {
		t.Run(on, func(t *testing.T) {
			if on == "pty" && runtime.GOOS == "windows" {
				t.Skip("a pty stands in for a serial port, and Windows has none that tarm/serial opens")
			}
			f(t, on)
		})
	}
}

func TestConformanceOnTheSimulator(t *testing.T) {
	forEachWay(t, func(t *testing.T, on string) {
		linktest.Run(t, func(t *testing.T) linktest.Fixture {
			addr, _ := simulated(t, "golf8", "", on)
			l, err := elm327.Open(t.Context(), addr)
			require.NoError(t, err)
			ask := frame.New(0x7E0, 0, 2, 9, 2, 0, 0, 0, 0, 0) // one ECU: several answer in an order of their own
			answers := heard(t, l, ask)
			require.NotEmpty(t, answers)
			return linktest.Fixture{Link: l, Ask: ask, Answers: answers,
				Mute: frame.New(0x7E5, 0, 2, 1, 0, 0, 0, 0, 0, 0)}
		})
	})
}

// Every personality of the simulator reads the VIN, as one long answer, on both kinds of port.
func TestEveryPersonalityReadsALongAnswer(t *testing.T) {
	for _, name := range elm.Names() {
		t.Run(name, func(t *testing.T) {
			p, err := elm.ByName(name)
			require.NoError(t, err)
			if !p.Reaches(11) {
				t.Skip("it sends nothing to such a bus")
			}
			addr, v := simulated(t, "golf8", name, "tcp")
			l, err := elm327.Open(t.Context(), addr)
			require.NoError(t, err)
			defer l.Close() //nolint:errcheck // the test is over
			got := payloads(t, heard(t, l, frame.New(0x7DF, 0, 2, 9, 2, 0, 0, 0, 0, 0)), 0)
			require.NotEmpty(t, got)
			require.Len(t, got["7E8"], 20, "VIN of ECU 7E8")
			require.Equal(t, []byte{0x49, 2, 1}, got["7E8"][:3])
			require.Equal(t, "ISO 15765-4 CAN 11/500", l.Caps().Protocol)
			require.Zero(t, v.OBFCMRequests())
			require.NoError(t, l.Close())
		})
	}
}

// Cars on other buses, and ECUs outside the standard pairs, through the adapters that can carry them.
func TestCarsOfEveryKind(t *testing.T) {
	engine, cluster := byte(0x12), byte(0x60)
	for _, c := range []struct {
		car      string
		ask      frame.Frame
		hint     link.Hint
		ext      int
		from     string // the ECU that must answer
		want     []byte // the beginning of its answer
		length   int
		protocol string
	}{
		{"tahoe", frame.New(0x18DB33F1, 0, 2, 9, 2, 0, 0, 0, 0, 0), link.Hint{}, 0, "18DAF110", []byte{0x49, 2, 1, '1', 'G', 'N'}, 20, "ISO 15765-4 CAN 29/500"},
		{"tahoe", frame.New(0x18DA10F1, 0, 3, 0x22, 0xF1, 0x90, 0, 0, 0, 0), link.Hint{Accept: []uint32{0x18DAF110}, FlowTo: 0x18DA10F1}, 0,
			"18DAF110", []byte{0x62, 0xF1, 0x90, '1', 'G', 'N'}, 20, "ISO 15765-4 CAN 29/500"},
		{"mini", frame.New(0x7DF, 0, 2, 9, 2, 0, 0, 0, 0, 0), link.Hint{}, 0, "7E8", []byte{0x49, 2, 1, 'W', 'M', 'W'}, 20, "ISO 15765-4 CAN 11/500"},
		{"mini", frame.New(0x6F1, 0, 0x12, 3, 0x22, 0xF1, 0x90), link.Hint{Accept: []uint32{0x612}, FlowTo: 0x6F1, Ext: &engine}, 1,
			"612", []byte{0x62, 0xF1, 0x90, 'W', 'M', 'W'}, 20, "ISO 15765-4 CAN 11/500"},
		{"mini", frame.New(0x6F1, 0, 0x60, 3, 0x22, 0xD1, 0x0D), link.Hint{Accept: []uint32{0x660}, FlowTo: 0x6F1, Ext: &cluster}, 1,
			"660", []byte{0x62, 0xD1, 0x0D}, 11, "ISO 15765-4 CAN 11/500"},
	} {
		for _, name := range []string{"genuine-1.4b", "genuine-2.2", "v1.5"} {
			t.Run(c.car+" "+c.from+" "+name, func(t *testing.T) {
				addr, _ := simulated(t, c.car, name, "tcp")
				l, err := elm327.Open(t.Context(), addr)
				require.NoError(t, err)
				defer l.Close() //nolint:errcheck // the test is over
				for range 2 {
					l.(link.Hinter).SetHint(c.hint)
					got := payloads(t, heard(t, l, c.ask), c.ext)
					require.Len(t, got[c.from], c.length)
					require.Equal(t, c.want, got[c.from][:len(c.want)])
					require.Equal(t, c.protocol, l.Caps().Protocol)
				}
				require.NoError(t, l.Close())
			})
		}
	}
}

// A car of 2005: the VIN in five numbered messages, and codes three to a message.
func TestKLineThroughTheAdapter(t *testing.T) {
	for _, name := range elm.Names() {
		t.Run(name, func(t *testing.T) {
			p, err := elm.ByName(name)
			require.NoError(t, err)
			if !p.Reaches(0) {
				t.Skip("it sends nothing to such a bus")
			}
			addr, _ := simulated(t, "legacy", name, "tcp")
			l, err := elm327.Open(t.Context(), addr)
			require.NoError(t, err)
			defer l.Close() //nolint:errcheck // the test is over
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for _, id := range []uint32{0x7DF, 0x18DB33F1} { // as diag.Find asks first
				if err := l.Send(ctx, frame.New(id, 0, 2, 1, 0, 0, 0, 0, 0, 0)); err != nil {
					require.ErrorIs(t, err, link.ErrUnsupported)
					require.False(t, p.Reaches(29))
					continue
				}
				_, err = l.Recv(ctx)
				require.ErrorIs(t, err, link.ErrNoVehicle)
			}
			began := time.Now()
			frames := heard(t, l, frame.New(link.LegacyFunctional, frame.Legacy, 1, 0))
			require.Less(t, time.Since(began), 300*time.Millisecond, "the prompt had to be looked for")
			require.Len(t, frames, 2)
			require.True(t, l.Caps().Legacy)
			require.Contains(t, l.Caps().Protocol, "KWP FAST")
			var vin []byte
			for i, f := range heard(t, l, frame.New(link.LegacyFunctional, frame.Legacy, 9, 2)) {
				require.Equal(t, uint32(0x10), f.ID&0xFF)
				require.Equal(t, []byte{0x49, 2, byte(i + 1)}, f.Bytes()[:3])
				vin = append(vin, f.Bytes()[3:]...)
			}
			require.Equal(t, "WAUZZZ8P05A000006", string(vin[3:]))
			require.NoError(t, l.Close())
		})
	}
}

// The plug pulled while a car is read: told at once, and what was heard before stays good.
func TestUnpluggedPort(t *testing.T) {
	forEachWay(t, func(t *testing.T, on string) {
		v, err := sim.Load("golf8")
		require.NoError(t, err)
		p, err := elm.ByName("")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		ready, ended := make(chan string, 1), make(chan error, 1)
		o := elm.Options{Ready: func(a string) { ready <- a }}
		uri := "elm+tcp://127.0.0.1:0"
		if on == "pty" {
			uri = "elm+pty:" + filepath.Join(t.TempDir(), "elm")
		}
		go func() { ended <- elm.Serve(ctx, uri, v, p, o) }()
		l, err := elm327.Options{Reopen: 300 * time.Millisecond}.Open(t.Context(), <-ready)
		require.NoError(t, err)
		defer l.Close() //nolint:errcheck // the adapter is gone
		ask := frame.New(0x7DF, 0, 2, 1, 0, 0, 0, 0, 0, 0)
		require.NotEmpty(t, heard(t, l, ask))
		cancel()
		require.NoError(t, <-ended)
		began := time.Now()
		for err = nil; err == nil; {
			if err = l.Send(t.Context(), ask); err == nil {
				_, err = l.Recv(t.Context())
			}
		}
		require.ErrorIs(t, err, link.ErrGone)
		require.Less(t, time.Since(began), 2*time.Second)
		began = time.Now()
		require.NoError(t, l.Close())
		require.Less(t, time.Since(began), time.Second)
	})
}
