package vcan_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/play"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// traffic makes a recording of a bus at 100 % load: frames back to back, each as long as its bits take at these rates.
func traffic(length int, fd bool, rate, dataRate int, span time.Duration) (log []byte, frames int) {
	epoch := time.Unix(1690000000, 0)
	for at := time.Duration(0); at < span; frames++ {
		var flags frame.Flags
		if fd {
			flags = frame.FD | frame.BRS
		}
		data := make([]byte, length)
		for i := range data {
			data[i] = byte(frames >> (8 * (i % 4)))
		}
		if length > 0 && frames%5 == 0 { // a diagnostic answer among them
			copy(data, []byte{0x03, 0x41, 0x05, 0x55})
		}
		id := []uint32{0x7E8, 0x100, 0x1A0, 0x280, 0x3B3}[frames%5]
		f := frame.New(id, flags, data...)
		f.Time = at
		log = canlog.Append(log, &f, "can0", epoch.Add(at))
		log = append(log, '\n')
		at += f.Occupies(rate, dataRate)
	}
	return bytes.ReplaceAll(log, []byte("\n\n"), []byte("\n")), frames
}

// ear is a program that writes down what it hears.
type ear struct {
	cmd  *exec.Cmd
	out  string
	told bytes.Buffer
}

func listen(t *testing.T, env, program string, args ...string) *ear {
	t.Helper()
	before := listeners(t)
	e := &ear{cmd: exec.Command(program, args...), out: filepath.Join("/dev/shm", strings.ReplaceAll(t.Name(), "/", "_")+filepath.Base(program))}
	f, err := os.Create(e.out)
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.Remove(e.out) })
	e.cmd.Stdout, e.cmd.Stderr = f, &e.told
	e.cmd.Env = append(os.Environ(), env)
	require.NoError(t, e.cmd.Start())
	require.NoError(t, f.Close())
	require.Eventually(t, func() bool { return listeners(t) > before }, patience, 5*time.Millisecond, "%s does not listen", program)
	return e
}

// listeners counts the kernel's entries for sockets that hear everything.
func listeners(t *testing.T) int {
	text, err := os.ReadFile("/proc/net/can/rcvlist_all")
	require.NoError(t, err)
	return bytes.Count(text, []byte("\n"))
}

// lines waits until nothing more is written and returns how many frames were.
func (e *ear) lines(t *testing.T, want int) int {
	t.Helper()
	n, still := -1, 0
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		b, err := os.ReadFile(e.out)
		require.NoError(t, err)
		now := bytes.Count(b, []byte("\n"))
		if now == n {
			still++
		} else {
			n, still = now, 0
		}
		if n >= want || still > 10 {
			break
		}
	}
	return n
}

// stop ends the program and returns the processor time it used.
func (e *ear) stop(t *testing.T) (user, system time.Duration) {
	t.Helper()
	require.NoError(t, e.cmd.Process.Signal(os.Interrupt))
	_ = e.cmd.Wait()
	return e.cmd.ProcessState.UserTime(), e.cmd.ProcessState.SystemTime()
}

// TestMonitorAtTheSpeedOfTheWire plays buses at 100 % load, each frame as long as it takes on the wire, to the program's
// monitor and to candump side by side. The monitor must not lose one. OBDGATE_WIRE_SECONDS plays longer than 1 s.
// How much later than the wire the frames came says whether the machine kept up with it at all; an emulated one does not, so
// the same traffic is also played at a quarter of the wire's pace, which it can carry.
func TestMonitorAtTheSpeedOfTheWire(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	candump, err := exec.LookPath("candump")
	if err != nil {
		t.Skip("no candump (can-utils)")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	span := time.Second
	if s := os.Getenv("OBDGATE_WIRE_SECONDS"); s != "" {
		n := 0
		_, err := fmt.Sscan(s, &n)
		require.NoError(t, err)
		span = time.Duration(n) * time.Second
	}
	monitor := childArgs + "=--home " + t.TempDir() + " --lang en monitor can://" + name
	idle := listen(t, monitor, self)
	baseUser, baseSystem := idle.stop(t)
	var table strings.Builder
	table.WriteString("# The program's monitor and candump side by side on a bus at 100 % load. Behind\n" +
		"# the |: frames, how late the latest was put on the bus, frames candump lost, processor time per\n" +
		"# 1,000 frames of the monitor and of candump in this emulated machine (user + system), their ratio.\n")
	for _, c := range []struct {
		name           string
		length         int
		fd             bool
		rate, dataRate int
		speed          float64
	}{
		{"classic, 1 Mbit/s, 8 bytes", 8, false, 1_000_000, 0, 1},
		{"classic, 1 Mbit/s, no data", 0, false, 1_000_000, 0, 1},
		{"FD, 1 and 5 Mbit/s, 64 bytes", 64, true, 1_000_000, 5_000_000, 1},
		{"FD, 1 and 5 Mbit/s, 8 bytes", 8, true, 1_000_000, 5_000_000, 1},
		{"classic, 1 Mbit/s, 8 bytes, a quarter of the pace", 8, false, 1_000_000, 0, 0.25},
		{"classic, 1 Mbit/s, no data, a quarter of the pace", 0, false, 1_000_000, 0, 0.25},
		{"FD, 1 and 5 Mbit/s, 64 bytes, a quarter of the pace", 64, true, 1_000_000, 5_000_000, 0.25},
		{"FD, 1 and 5 Mbit/s, 8 bytes, a quarter of the pace", 8, true, 1_000_000, 5_000_000, 0.25},
	} {
		t.Run(c.name, func(t *testing.T) {
			log, frames := traffic(c.length, c.fd, c.rate, c.dataRate, span)
			theirs := listen(t, "", candump, "-L", name)
			ours := listen(t, monitor, self)
			mouth, err := socketcan.Open(within(t), "can://"+name)
			require.NoError(t, err)
			began := time.Now()
			p, err := play.Play(within(t), canlog.NewReader(bytes.NewReader(log)), mouth, play.Options{Speed: c.speed})
			took := time.Since(began)
			require.NoError(t, err)
			require.EqualValues(t, frames, p.Sent)
			heard, dumped := ours.lines(t, frames), theirs.lines(t, frames)
			user, system := ours.stop(t)
			user, system = max(0, user-baseUser), max(0, system-baseSystem)
			theirUser, theirSystem := theirs.stop(t)
			per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(frames) } // ms per 1,000 frames
			t.Logf("%d frames in %v of %v, the latest %v late: monitor %d (%d lost), candump %d (%d lost)", frames, took.Round(time.Millisecond), span,
				p.Late.Round(time.Millisecond), heard, frames-heard, dumped, frames-dumped)
			t.Logf("processor per 1,000 frames in this emulated machine: monitor %.1f ms user, %.1f ms system; candump %.1f and %.1f; ratio %.2f",
				per(user), per(system), per(theirUser), per(theirSystem), float64(user+system)/float64(theirUser+theirSystem))
			fmt.Fprintf(&table, "%-54s %d lost | %6d frames, %6v late, candump %5d lost, %5.1f ms and %5.1f ms, ratio %.2f\n", c.name, frames-heard, frames,
				p.Late.Round(time.Millisecond), frames-dumped, per(user+system), per(theirUser+theirSystem), float64(user+system)/float64(theirUser+theirSystem))
			require.Equal(t, frames, heard)
			require.NotContains(t, ours.told.String(), "lost")
			require.NoError(t, mouth.Close())
		})
	}
	t.Log("\n" + table.String())
}
