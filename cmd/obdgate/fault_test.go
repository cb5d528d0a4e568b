package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// listener serves every connection with f until the test ends and returns its address.
func listener(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); f(c) }()
		}
	}()
	return "elm+tcp://" + ln.Addr().String()
}

// What is at the address is no adapter: told within the time the link promises, and nothing is lost.
func TestNoAdapter(t *testing.T) {
	notes := filepath.Join(t.TempDir(), "notes.txt")
	require.NoError(t, os.WriteFile(notes, []byte("call Jan\r"), 0o600))
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, dead.Close())
	for _, c := range []struct {
		name, link string
		code       int
	}{
		{"no such port", "elm:///dev/ttyUSB99", 69},
		{"no such Windows port", "elm:COM77", 69},
		{"a text file", "elm://" + notes, 69},
		{"nobody listens", "elm+tcp://" + dead.Addr().String(), 69},
		{"no such interface", "can://can99", 69},
		{"no such recording", "replay:" + filepath.Join(t.TempDir(), "gone.log"), 66},
		{"a recording that is none", "replay:" + notes, 65},
		{"no such virtual car", "sim:trabant", 69},
		{"no such kind of link", "carrier-pigeon:7", 64},
		{"nothing plugged in", "auto", 69},
		{"a web server", listener(t, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nConnection: close\r\n\r\n<html>400</html>")
			_, _ = io.Copy(io.Discard, c)
		}), 69},
		{"somebody who says nothing", listener(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), 69},
		{"somebody who hangs up", listener(t, func(net.Conn) {}), 69},
		{"somebody who never stops talking", listener(t, func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, strings.Repeat("bla bla\r\n", 100)); err != nil {
					return
				}
			}
		}), 69},
		{"an echo", listener(t, func(c net.Conn) { _, _ = io.Copy(c, c) }), 69},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.link == "auto" {
				if ports, _ := filepath.Glob("/dev/tty[UA]*"); len(ports) > 0 {
					t.Skip("this host has serial ports")
				}
			}
			if strings.HasPrefix(c.link, "can:") && runtime.GOOS != "linux" {
				t.Skip("no SocketCAN")
			}
			s := newShop(t)
			id := s.must("visit", "open", "--order", "first")
			r := s.fails(c.code, "scan", c.link)
			require.Less(t, r.took, 20*time.Second, "the link promises 12 s")
			require.Empty(t, r.out)
			require.Contains(t, s.must("visit", "show", id), "order   first")
			s.usable()
		})
	}
}

// cutter is a cable to an adapter that breaks for good after a number of commands.
func cutter(t *testing.T, adapter string, after int) (address string, commands *atomic.Int64) {
	commands = new(atomic.Int64)
	target := strings.TrimPrefix(adapter, "elm+tcp://")
	return listener(t, func(c net.Conn) {
		if after >= 0 && commands.Load() > int64(after) {
			return // plugged in again is another test
		}
		far, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		defer far.Close()
		go func() { _, _ = io.Copy(c, far); _ = c.Close() }()
		b := make([]byte, 1)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			if b[0] == '\r' {
				if n := commands.Add(1); after >= 0 && n > int64(after) {
					return
				}
			}
			if _, err := far.Write(b); err != nil {
				return
			}
		}
	}), commands
}

// The adapter is pulled out after any number of commands: told at once, what was read is kept and is what the car has, and
// with the adapter back the visit goes on. (Every single frame: internal/scan.)
func TestUnplugged(t *testing.T) {
	t.Parallel()
	plugged := func(t *testing.T, after int) (s shop, car *child, through string, commands *atomic.Int64) {
		s = newShop(t)
		car = s.start("obdgate", "sim", "golf8", "--on", "elm+tcp://127.0.0.1:0", "--time", "0")
		through, commands = cutter(t, car.address, after)
		return s, car, through, commands
	}
	s, _, through, commands := plugged(t, -1)
	want := s.must("scan", through, "--json", "--visit", s.agreed())
	total := int(commands.Load())
	require.Greater(t, total, 60)
	var kept atomic.Int64
	t.Run("after", func(t *testing.T) {
		for n := 0; n < total-3; n += 1 + n/3 + n/9*3 { // 0, 1, 2, 3, 5, 7, 10, 17, ...
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel() // each waits for the plug as long as the link promises
				s, car, through, _ := plugged(t, n)
				id := s.agreed()
				r := s.fails(69, "scan", through, "--json", "--visit", id)
				require.Less(t, r.took, 20*time.Second)
				if r.out == "" {
					require.Contains(t, s.must("visit", "show", id, "--json"), `"scans": []`)
					return
				}
				kept.Add(1)
				require.Contains(t, r.out, "the scan broke off")
				partOf(t, r.out, want)
				require.Contains(t, s.must("visit", "show", id, "--json"), `"complete": false`)
				again := s.must("scan", car.address, "--json", "--visit", id)
				partOf(t, again, want)
				partOf(t, want, again)
				s.usable()
			})
		}
	})
	require.Greater(t, int(kept.Load()), 3)
}

// partOf: every reading and code of part stands in whole.
func partOf(t *testing.T, part, whole string) {
	t.Helper()
	p, w := parse(t, part), parse(t, whole)
	for _, list := range []string{"readings", "dtcs"} {
		have := map[string]int{}
		for _, x := range w[list].([]any) {
			have[fmt.Sprint(x)]++
		}
		for _, x := range p[list].([]any) {
			m := x.(map[string]any)
			if list == "dtcs" { // a code is in fewer memories when the others were not read any more
				require.Contains(t, whole, fmt.Sprintf("%q", m["code"]))
				continue
			}
			require.Positive(t, have[fmt.Sprint(x)], "%v is not what the car has", m["key"])
			have[fmt.Sprint(x)]--
		}
	}
	if p["vin"] != nil {
		require.Equal(t, w["vin"], p["vin"])
	}
}

// The ignition is off: the adapter answers, the car does not.
func TestIgnitionOff(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	car := s.start("obdgate", "sim", "broken-mute", "--on", "elm+tcp://127.0.0.1:0", "--time", "0")
	r := s.fails(69, "scan", car.address)
	require.Contains(t, r.errs, "ignition")
	require.Less(t, r.took, 20*time.Second)
	s.usable()
}

// Two lanes read one car at once: both scans are kept. Two programs at one adapter take turns.
func TestTwoScansAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	one := s.start("obdgate", "sim", "golf8", "--on", "elm+tcp://127.0.0.1:0", "--time", "0")
	two := s.start("obdgate", "sim", "golf8", "--on", "elm+tcp://127.0.0.1:0", "--time", "0")
	id := s.agreed()
	done := make(chan result, 3)
	for _, address := range []string{one.address, two.address, one.address} {
		go func() { done <- s.run("scan", address, "--visit", id, "--json") }()
	}
	for range 3 {
		r := <-done
		require.Zero(t, r.code, r)
	}
	require.Equal(t, 3, strings.Count(s.must("visit", "show", id, "--json"), `"complete": true`))
	s.usable()
}

// Ctrl-C in the middle of a scan: the program ends at once with 130, what was read is kept, and the adapter stands at its
// prompt for the next user.
func TestInterruptedScan(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	t.Parallel()
	s := newShop(t)
	car := s.start("obdgate", "sim", "golf8", "--on", "elm+tcp://127.0.0.1:0", "--time", "0.2", "--log", filepath.Join(s.dir, "asked"))
	id := s.agreed()
	for _, after := range []string{"REQ 7DF 03", "REQ 7DF 0100", "REQ 7E0 0917"} {
		require.NoError(t, os.Truncate(filepath.Join(s.dir, "asked"), 0))
		cmd := s.command(t.Context(), "obdgate", "scan", car.address, "--visit", id)
		end := s.begin(cmd)
		waitFor(t, func() bool {
			b, _ := os.ReadFile(filepath.Join(s.dir, "asked"))
			return strings.Contains(string(b), after)
		})
		r := s.interrupt(cmd, end)
		require.Equal(t, 130, r.code, r)
		require.Regexp(t, says, r.errs)

		c, err := net.Dial("tcp", strings.TrimPrefix(car.address, "elm+tcp://"))
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		_, err = io.WriteString(c, "ATI\r")
		require.NoError(t, err)
		var answer []byte
		for !strings.HasSuffix(string(answer), ">") {
			b := make([]byte, 64)
			n, err := c.Read(b)
			require.NoError(t, err)
			answer = append(answer, b[:n]...)
		}
		require.Contains(t, string(answer), "ELM327")
		require.NoError(t, c.Close())
	}
	s.must("scan", "sim:golf8", "--visit", id)
	s.usable()
}

// Ctrl-C is how a live view ends: well, and with the adapter at its prompt. Nothing is in the state directory.
func TestInterruptedLive(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	t.Parallel()
	s := newShop(t)
	car := s.start("obdgate", "sim", "golf8", "--on", "elm+tcp://127.0.0.1:0", "--time", "0", "--log", filepath.Join(s.dir, "asked"))
	for range 2 {
		require.NoError(t, os.Truncate(filepath.Join(s.dir, "asked"), 0))
		cmd := s.command(t.Context(), "obdgate", "scan", car.address, "--plan", "live", "--pid", "0C,0D", "--every", "20ms", "--json")
		end := s.begin(cmd)
		waitFor(t, func() bool {
			b, _ := os.ReadFile(filepath.Join(s.dir, "asked"))
			return strings.Count(string(b), "REQ 7DF 010C0D") >= 3
		})
		r := s.interrupt(cmd, end)
		require.Zero(t, r.code, r)
		require.Empty(t, r.errs)
		for line := range strings.Lines(r.out) {
			parse(t, line)
		}
		require.GreaterOrEqual(t, strings.Count(r.out, `"obd.01.0D"`), 2*2)
	}
	files(t, s.dir, func(name string, b []byte) {
		require.NotContains(t, string(b), "obd.01.0D", name)
		require.NotRegexp(t, `\.db`, name)
	})
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "it never came")
	}
}

// A state directory that something happened to: nothing is repaired by guessing, nothing replaced, and with the damage
// undone everything is there.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	id := s.must("visit", "open", "--order", "before")
	s.must("scan", "sim:golf8", "--visit", id)
	for _, c := range []struct {
		name, file string
		damage     func(b []byte) []byte
		code       int
	}{
		{"the database is something else", "obdgate.db", func([]byte) []byte { return []byte("Dear diary, today the car was ill.\n") }, 78},
		{"the database is empty", "obdgate.db", func([]byte) []byte { return nil }, 78},
		{"the database is cut", "obdgate.db", func(b []byte) []byte { return b[:len(b)/2] }, 78},
		{"the header is zeroed", "obdgate.db", func(b []byte) []byte { return append(make([]byte, 100), b[100:]...) }, 78},
		{"the key is something else", "station.key", func([]byte) []byte { return []byte("not a key") }, 78},
		{"the key is cut", "station.key", func(b []byte) []byte { return b[:len(b)-9] }, 78},
		{"the key is another station's", "station.key", func([]byte) []byte {
			other := newShop(t)
			other.must("visit", "list")
			b, err := os.ReadFile(filepath.Join(other.home, "station.key"))
			require.NoError(t, err)
			return b
		}, 78},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			path := filepath.Join(s.home, c.file)
			was, err := os.ReadFile(path)
			require.NoError(t, err)
			now := c.damage(append([]byte(nil), was...))
			require.NoError(t, os.WriteFile(path, now, 0o600))
			defer func() {
				require.NoError(t, os.WriteFile(path, was, 0o600))
				require.Contains(t, s.must("visit", "show", id), "order   before")
			}()
			for _, args := range [][]string{{"visit", "list"}, {"visit", "open"}, {"scan", "sim:golf8"}, {"upload"}, {"ledger", "verify"}} {
				r := s.fails(c.code, args...)
				require.Less(t, r.took, 10*time.Second)
			}
			r := s.run("doctor")
			require.Equal(t, 78, r.code, r)
			require.Contains(t, r.out, "!!  state")
			still, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(now), string(still), "somebody repaired it by guessing")
		})
	}
	s.t = t
	// A key others can read is no key of ours.
	if runtime.GOOS != "windows" {
		require.NoError(t, os.Chmod(filepath.Join(s.home, "station.key"), 0o644))
		s.fails(78, "visit", "list")
		require.NoError(t, os.Chmod(filepath.Join(s.home, "station.key"), 0o600))
	}
	s.usable()
}

// Recordings are not written over anything, and not made where nothing can be made.
func TestRecordingSomewhereElse(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	taken := filepath.Join(s.dir, "taken.log")
	require.NoError(t, os.WriteFile(taken, []byte("mine"), 0o600))
	s.fails(73, "scan", "sim:golf8", "--record", taken)
	s.fails(73, "scan", "sim:golf8", "--record", filepath.Join(s.dir, "no", "such", "dir.log"))
	b, err := os.ReadFile(taken)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))
	s.usable()
}

// A home that cannot be made.
func TestNoPlaceForState(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	file := filepath.Join(s.dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	s.fails(73, "--home", filepath.Join(file, "state"), "visit", "open")
}
