package elm327_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"obdgate/internal/link/elm327"
	"obdgate/internal/scan"
	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/require"
)

// Other programs read the same car through the same simulated adapter, on a pty and in real time, side by side with ours.
// Nothing of them is kept here: the test runs where they are.
//
//	OBDGATE_PEER_PYTHONOBD=DIR   a checkout of brendan-w/python-OBD, whose modules (pint, pyserial) python3 must find;
//	                             OBDGATE_PEER_PYTHON names another interpreter
//	OBDGATE_PEER_ELMOBD=DIR      a checkout of rzetterberg/elmobd, with its modules in the module cache
//	OBDGATE_PEER_CAR=golf8       the car, or a file
//	go test ./internal/link/elm327 -run TestPeers -v

// pythonReads puts every question that python-OBD believes the car to have, and what a workshop asks besides.
const pythonReads = `
import sys, json, time
sys.path.insert(0, sys.argv[1])
import obd
obd.logger.setLevel("CRITICAL")
began = time.time()
car = obd.OBD(sys.argv[2], baudrate=int(sys.argv[3]), fast=True)
commands = [c for c in car.supported_commands if c.command[:2] in (b"01", b"06", b"09")]
commands += [obd.commands[n] for n in ("GET_DTC", "GET_CURRENT_DTC", "VIN", "CALIBRATION_ID", "CVN")]
answers, shown = {}, {}
for c in sorted(commands, key=lambda c: c.command):
    r = car.query(c, force=True)
    if r.is_null():
        continue
    shown[c.name] = str(r.value)
    for m in r.messages:
        if not m.data:
            continue
        answers["%X %s" % (0x7E8 + (m.tx_id or 0), m.data[:3 if m.data[0] in (0x46,) else 2].hex().upper())] = m.data.hex().upper()
print(json.dumps({"seconds": time.time() - began, "answers": answers, "vin": shown.get("VIN", ""), "error": "" if car.is_connected() else "not connected"}))
`

// elmobdReads puts every question that elmobd knows and the car has.
const elmobdReads = `package main

import (
	"encoding/json"
	"os"

	"github.com/rzetterberg/elmobd"
)

func main() {
	out := map[string]any{}
	defer func() { _ = json.NewEncoder(os.Stdout).Encode(out) }()
	dev, err := elmobd.NewDevice("serial://"+os.Args[1], false)
	if err != nil {
		out["error"] = err.Error()
		return
	}
	has, err := dev.CheckSupportedCommands()
	if err != nil {
		out["error"] = err.Error()
		return
	}
	n := 0
	for _, c := range has.FilterSupported(elmobd.GetSensorCommands()) {
		if _, err := dev.RunOBDCommand(c); err == nil {
			n++
		}
	}
	out["values"] = n
}
`

// said is what a peer tells on its output.
type said struct {
	Answers map[string]string `json:"answers"` // messages by "ECU service and identifier"
	Values  int               `json:"values"`  // where the messages are not told
	Seconds float64           `json:"seconds"` // 0 = the whole run
	VIN     string            `json:"vin"`
	Error   string            `json:"error"`
}

// realTime serves a car behind an adapter on a pty whose every wait is a real one.
func realTime(t *testing.T, car string, p elm.Personality) (path string, v *sim.Vehicle, end func()) {
	t.Helper()
	v, err := sim.Load(car)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	path = filepath.Join(t.TempDir(), "elm")
	ready := make(chan string, 1)
	var wg sync.WaitGroup
	wg.Go(func() { _ = elm.ServePTY(ctx, path, v, p, elm.Options{Scale: 1, Ready: func(a string) { ready <- a }}) })
	<-ready
	return path, v, func() { cancel(); wg.Wait() }
}

// messages of services 01, 03, 06, 07 and 09 in what was read, by ECU, service and identifier.
func messages(t *testing.T, car string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, r := range truth(t, car).scan.Readings {
		if len(r.Raw) < 2 || strings.HasPrefix(string(r.Key), "uds") {
			continue
		}
		switch r.Raw[0] {
		case 0x41, 0x46, 0x49, 0x43, 0x47:
			out[r.ECU+" "+key(r.Raw)] = strings.ToUpper(hex.EncodeToString(r.Raw))
		}
	}
	return out
}

// key is the service with its identifier, and with the monitor's of service 06.
func key(raw []byte) string {
	n := 2
	if raw[0] == 0x46 && len(raw) > 2 {
		n = 3
	}
	return strings.ToUpper(hex.EncodeToString(raw[:n]))
}

func TestPeers(t *testing.T) {
	python, elmobd := os.Getenv("OBDGATE_PEER_PYTHONOBD"), os.Getenv("OBDGATE_PEER_ELMOBD")
	if python == "" && elmobd == "" {
		t.Skip("needs OBDGATE_PEER_PYTHONOBD or OBDGATE_PEER_ELMOBD, checkouts of other clients")
	}
	car := os.Getenv("OBDGATE_PEER_CAR")
	if car == "" {
		car = "golf8"
	}
	want := messages(t, car)
	for _, a := range []struct {
		name    string
		adapter string
		latency time.Duration
	}{{"cable 38400", "genuine-1.4b", time.Millisecond}, {"cable 115200", "elm-usb", time.Millisecond}, {"Bluetooth 38400", "genuine-1.4b", 12 * time.Millisecond}} {
		p, err := elm.ByName(a.adapter)
		require.NoError(t, err)
		p.Latency = a.latency
		path, v, end := realTime(t, car, p)
		took, right, vin := ours(t, path, p.Baud, car, want)
		t.Logf("%-16s %-11s %3d of %3d messages, %3d questions reached the car, %5.2f s, VIN %s", a.name, "obdgate", right, len(want), len(v.Log()), took.Seconds(), vin)
		require.Equal(t, len(want), right)
		mine := len(v.Log())
		end()
		for _, peer := range []struct {
			name string
			run  func(path string) *exec.Cmd
		}{{"python-OBD", pythonPeer(python, p.Baud)}, {"elmobd", elmobdPeer(t, elmobd)}} {
			if peer.run == nil {
				continue
			}
			path, v, end := realTime(t, car, p)
			began := time.Now()
			c := peer.run(path)
			var complaint bytes.Buffer
			c.Stderr = &complaint
			out, err := c.Output()
			require.NoError(t, err, "%s", complaint.String())
			got := said{Seconds: time.Since(began).Seconds()}
			require.NoError(t, json.Unmarshal(out, &got), "%s", out)
			right, wrong := 0, 0
			for k, m := range got.Answers {
				if want[k] == m {
					right++
				} else if want[k] != "" {
					wrong++
				}
			}
			t.Logf("%-16s %-11s %3d of %3d messages (%d others than the car sent), %3d questions reached the car, %5.2f s, VIN %s %s", a.name, peer.name,
				max(right, got.Values), len(want), wrong, len(v.Log()), got.Seconds, got.VIN, got.Error)
			require.LessOrEqual(t, right, len(want))
			require.Greater(t, float64(len(want))/float64(mine), float64(right)/float64(len(v.Log())), "messages to a question")
			end()
		}
	}
}

func ours(t *testing.T, path string, baud int, car string, want map[string]string) (took time.Duration, right int, vin string) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := elm327.Open(ctx, fmt.Sprintf("elm://%s?baud=%d", path, baud))
	require.NoError(t, err)
	s, err := scan.Run(ctx, l, options(t))
	require.NoError(t, errors.Join(err, l.Close()))
	took = time.Since(began)
	seen := map[string]bool{}
	for _, r := range s.Readings {
		if len(r.Raw) < 2 {
			continue
		}
		k := r.ECU + " " + key(r.Raw)
		if want[k] == strings.ToUpper(hex.EncodeToString(r.Raw)) && !seen[k] {
			seen[k] = true
			right++
		}
	}
	return took, right, s.VIN.Reveal()
}

func pythonPeer(dir string, baud int) func(string) *exec.Cmd {
	if dir == "" {
		return nil
	}
	python := os.Getenv("OBDGATE_PEER_PYTHON")
	if python == "" {
		python = "python3"
	}
	return func(path string) *exec.Cmd {
		return exec.Command(python, "-c", pythonReads, dir, path, fmt.Sprint(baud))
	}
}

// elmobdPeer builds a program around elmobd.
func elmobdPeer(t *testing.T, dir string) func(string) *exec.Cmd {
	if dir == "" {
		return nil
	}
	at := t.TempDir()
	mod := "module peer\n\ngo 1.21\n\nrequire github.com/rzetterberg/elmobd v0.0.0\n\nreplace github.com/rzetterberg/elmobd => " + dir + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(at, "go.mod"), []byte(mod), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(at, "main.go"), []byte(elmobdReads), 0o600))
	for _, args := range [][]string{{"mod", "tidy"}, {"build", "-o", "peer"}} {
		c := exec.Command("go", args...)
		c.Dir, c.Env = at, append(os.Environ(), "GOFLAGS=-mod=mod")
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	return func(path string) *exec.Cmd { return exec.Command(filepath.Join(at, "peer"), path) }
}
