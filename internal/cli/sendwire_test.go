package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

// onWire stands on the bus behind every link: a car that says little and answers at once, and somebody who notes what it is
// asked, read without our codec.
type onWire struct {
	mu       sync.Mutex
	file     string       // of the car
	seen     map[byte]int // services, by the first byte of each request
	bad      []string
	clearing bool
	cleared  int
}

func (w *onWire) links(r link.Registry) link.Registry {
	for scheme := range r {
		r[scheme] = w.open
	}
	return r
}

func (w *onWire) open(ctx context.Context, _ string) (link.Link, error) {
	l, err := sim.Open(ctx, "sim:"+w.file)
	if err != nil {
		return nil, err
	}
	return tapped{l, w}, nil
}

type tapped struct {
	link.Link
	w *onWire
}

func (t tapped) Send(ctx context.Context, f frame.Frame) error {
	t.w.note(f)
	return t.Link.Send(ctx, f)
}

func (w *onWire) note(f frame.Frame) {
	b := f.Bytes()
	if f.ID == 0x6F1 && len(b) > 0 { // the address of the ECU
		b = b[1:]
	}
	var q []byte
	switch {
	case len(b) > 1 && b[0]>>4 == 0 && int(b[0]) < len(b):
		q = b[1 : 1+b[0]]
	case len(b) > 2 && b[0]>>4 == 1:
		q = b[2:]
	case len(b) > 0 && b[0]>>4 == 3:
		return // flow control
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch text := fmt.Sprintf("%X", q); {
	case w.clearing && (text == "04" || text == "14FFFFFF"):
		w.cleared++
	case len(q) == 0:
		w.bad = append(w.bad, fmt.Sprintf("%X#%X", f.ID, f.Bytes()))
	default:
		w.seen[q[0]]++
		if !strings.ContainsRune("\x01\x02\x03\x06\x07\x09\x0A\x19\x1A\x21\x22\x3E", rune(q[0])) && text != "1001" {
			w.bad = append(w.bad, fmt.Sprintf("%X#%X", f.ID, f.Bytes()))
		}
	}
}

func (w *onWire) total() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.seen {
		n += k
	}
	return n
}

// OBDGATE_CLI_LINES is how many command lines are typed (1000000: about twenty minutes of a core, with TMPDIR on a memory file system).
func TestWhateverIsTypedOnTheWire(t *testing.T) {
	n := 300
	if s := os.Getenv("OBDGATE_CLI_LINES"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	newProgram(t)
	dir := t.TempDir()
	t.Chdir(dir)
	w := &onWire{seen: map[byte]int{}, file: filepath.Join(dir, "car.yaml")}
	require.NoError(t, os.WriteFile(w.file, []byte(`name: quiet
title: A car that says little
vin: ZARZZZCD0NW000022
bus: {protocol: can, bits: 11, rate: 500000}
ecus:
  - name: engine
    addresses: [{request: "7E0", response: "7E8", functional: ["7DF"]}]
    pids: {"01": "00 07 E5 00", "0C": "0B B8"}
    infotypes: {"02": "01 {vin}"}
    dtcs: {stored: [P0301], pending: []}
`), 0o600))
	recording := filepath.Join(dir, "wrote.log")
	require.NoError(t, os.WriteFile(recording, []byte("(1690000000.000000) can0 7E0#062EF19041\n(1690000000.010000) can0 7E8#036EF190\n"), 0o600))
	r := rand.New(rand.NewPCG(14229, 21))
	codes := map[int]int{}
	reached, tried := 0, 0
	began := time.Now()
	for i := range n {
		args := commandLine(r, "elm+tcp://192.168.0.10:35000", recording)
		if args[0] == "demo" || args[0] == "sim" || slices.Contains(args, "auto") {
			continue // they make a car, or look for an adapter, of their own
		}
		if r.IntN(20) == 0 {
			args = append(args, "--plan", "live", "--pid", "0C,04", "--count", "1", "--every", "0")
		}
		tried++
		request := slices.Index(args, "--request")
		w.mu.Lock()
		w.clearing = slices.Contains(args, "clear") && request > 0 && request+1 < len(args) && strings.TrimSpace(args[request+1]) != ""
		w.mu.Unlock()
		before := w.total()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		p := &program{Streams: Streams{In: strings.NewReader("04\n14FFFFFF\n"), Out: io.Discard, Err: io.Discard}, now: time.Now, wires: w.links}
		codes[p.run(ctx, args)]++
		cancel()
		if w.total() > before {
			reached++
		}
		if i%48 == 47 {
			require.NoError(t, os.RemoveAll(os.Getenv("OBDGATE_HOME")))
		}
		if i%100_000 == 99_999 {
			fmt.Fprintf(os.Stderr, "%d lines after %s, %d on the bus\n", i+1, time.Since(began).Round(time.Second), reached)
		}
	}
	var b strings.Builder
	for _, s := range slices.Sorted(maps.Keys(w.seen)) {
		fmt.Fprintf(&b, "  %02X  %8d\n", s, w.seen[s])
	}
	t.Logf("%d command lines, %d of them reached the bus, exit codes %v\nservices the bus saw, and how often\n%sclear at a named request: %d", tried, reached, codes, b.String(), w.cleared)
	require.Empty(t, w.bad)
	require.Greater(t, reached, tried/20)
}
