package elm327_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden tables anew")

// matrixFile is the table: what every adapter comes to with every kind of car, and what becomes of a scan under each fault.
const matrixFile = "testdata/matrix.txt"

// slow are adapters of which nobody can expect a scan in twenty seconds: 45 ms and more a command, or a full wait after
// every answer because ST does nothing.
var slow = []string{"ble-broken-fc", "wifi-slow", "st-ignored", "elm-emulator"}

// deadline is how long a cell may take in modelled time: a sound adapter reads a car in twenty seconds, a slow one in
// thirty; a fault may cost twice that. Nonsense without end is given up after the 20 s that one request may take, twice.
func (c cell) deadline() time.Duration {
	d := 20 * time.Second
	if slices.Contains(slow, c.adapter) {
		d = 30 * time.Second
	}
	switch {
	case c.fault == "babble-on":
		return d + 45*time.Second
	case c.fault == "deaf":
		return 6 * d // a round trip more for every command, and every answer twice: four times; what was read before it showed once more;
		// and an adapter that waits for the end of a line is found silent first
	case slices.Contains(noises, c.fault):
		return 3 * d // every answer twice, and what was read before it showed once more
	case c.fault == "prompt-lost":
		return 4 * d // each costs the time after which a prompt is missed
	case c.fault != "":
		return 2 * d
	}
	return d
}

// knownDefects are losses that are not named yet, with the reason. One that no longer happens must be taken out.
var knownDefects = map[string]string{}

// defect is the key of the known defect that explains a silent loss, "" = none.
func (c cell) defect() string {
	for _, k := range []string{c.fault, c.adapter} {
		if knownDefects[k] != "" {
			return k
		}
	}
	return ""
}

type row struct {
	cell
	outcome, loss string
	missing, all  int
	*result
}

// rows runs cells on as many workers as there are processors to hand.
func rows(t *testing.T, cells []cell) []row {
	for _, c := range cells {
		truth(t, c.car)
	}
	before := t.Failed()
	out := make([]row, len(cells))
	var wg sync.WaitGroup
	next := make(chan int, len(cells)) // with room for all: a worker whose cell fails the test ends with it
	for i := range cells {
		next <- i
	}
	close(next)
	for range 2 {
		wg.Go(func() {
			for i := range next {
				c := cells[i]
				want := truth(t, c.car)
				r := row{cell: c, result: c.read(t), all: len(want.scan.Readings)}
				r.outcome, r.loss, r.missing = r.judge(want)
				out[i] = r
			}
		})
	}
	wg.Wait()
	if t.Failed() && !before {
		t.FailNow()
	}
	return out
}

// sound asserts what must hold in every cell: no wrong value, no hang, nothing lost without a word, a refusal that says
// what to do, and the deadline.
func (r *row) sound(t *testing.T) {
	t.Helper()
	name := fmt.Sprintf("%s × %s × %s (seed %d)", r.adapter, r.car, r.fault, r.seed)
	switch r.outcome {
	case lies, hangs, unclear:
		t.Errorf("%s: %s: %s", name, r.outcome, r.loss)
	case silently:
		if r.defect() == "" && r.fault != "deaf" { // a question damaged on its way was refused, see TestNoise
			t.Errorf("%s: %s: %s", name, r.outcome, r.loss)
		}
	}
	for _, q := range r.log {
		if order(q.Bytes) {
			t.Errorf("%s: the vehicle was given an order: service %02X", name, q.Bytes[0])
		}
	}
	if r.took > r.deadline() {
		t.Errorf("%s took %v of modelled time, more than %v", name, r.took, r.deadline())
	}
}

// order reports whether a vehicle would do something on a message: clear its fault memory, restart, open another session, let
// itself be controlled or written to (SAE J1979 services 04 and 08; ISO 14229-1 services 10, 11, 14, 27, 28, 2E, 2F, 31, 85), with
// the length that the standards ask for; others are refused.
func order(m []byte) bool {
	if len(m) == 0 {
		return false
	}
	sub := func(subs ...byte) bool { return len(m) > 1 && slices.Contains(subs, m[1]&0x7F) }
	switch n := len(m); m[0] {
	case 0x04:
		return n == 1
	case 0x08:
		return n == 7 && sub(1)
	case 0x10:
		return n == 2 && sub(2, 3, 4)
	case 0x11:
		return n == 2 && sub(1, 2, 3, 4, 5)
	case 0x27, 0x85:
		return n == 2 && sub(1, 2)
	case 0x28:
		return n == 3 && sub(0, 1, 2, 3)
	case 0x14:
		return n == 3 || n == 4
	case 0x2E:
		return n > 3
	case 0x2F:
		return n > 3 && m[3] < 4
	case 0x31:
		return n > 3 && sub(1, 2, 3)
	}
	return false
}

// everyCar are the vehicles that answer as they should.
var everyCar = []string{"golf8", "tahoe", "legacy", "mini", "e350", "phev", "bev", "diesel", "suv29", "uds15", "obdonuds"}

// matrixCars: 11 and 29 bits, 500 and 250 kbit/s, every bus before CAN, addresses in front of the PCI, and long lists.
var matrixCars = []string{"golf8", "tahoe", "legacy", "mini", "can-250", "can29-250", "iso9141", "kwp-slow", "pwm", "vpw", "codes", "vpw-codes", "9141-codes"}

// TestWholeMatrix is every adapter with every car under every fault, with OBDGATE_MATRIX=all (25,000 cells, minutes) or
// the number of cells to draw. What it comes to is kept by fault.
func TestWholeMatrix(t *testing.T) {
	want := os.Getenv("OBDGATE_MATRIX")
	if want == "" {
		t.Skip("needs OBDGATE_MATRIX=all or a number of cells")
	}
	var cells []cell
	for _, f := range elm.FaultNames() {
		for _, a := range elm.Names() {
			for _, car := range append(slices.Clone(matrixCars), everyCar[4:]...) {
				if f != "flipped" {
					cells = append(cells, cell{adapter: a, car: car, fault: f, seed: 1})
				}
			}
		}
	}
	if want != "all" {
		n, err := strconv.Atoi(want)
		require.NoError(t, err)
		rand.New(rand.NewPCG(uint64(n), 1)).Shuffle(len(cells), func(i, j int) { cells[i], cells[j] = cells[j], cells[i] })
		cells = cells[:n]
	}
	outcomes := []string{complete, partial, refused, silently, unclear, hangs, lies}
	count := map[string]map[string]int{}
	for _, f := range elm.FaultNames() {
		count[f] = map[string]int{}
	}
	for chunk := range slices.Chunk(cells, 500) {
		done := rows(t, chunk)
		for i := range done {
			done[i].sound(t)
			count[done[i].fault][done[i].outcome]++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Every adapter (%d) × every car (%d) by fault: what a full scan comes to. Written by TestWholeMatrix -update.\n%-15s", len(elm.Names()),
		len(matrixCars)+len(everyCar)-4, "")
	for _, o := range outcomes {
		fmt.Fprintf(&b, " %15s", o)
	}
	for _, f := range elm.FaultNames() {
		if len(count[f]) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%-15s", f)
		for _, o := range outcomes {
			fmt.Fprintf(&b, " %15d", count[f][o])
		}
	}
	t.Log("\n" + b.String())
	if *update && want == "all" && !t.Failed() {
		require.NoError(t, os.WriteFile("testdata/matrix-all.txt", []byte(b.String()+"\n"), 0o644))
	}
}

// representatives of the three families: a genuine chip on a cable, a bad copy on a radio, an STN.
var representatives = []string{"genuine-1.4b", "ble-broken-fc", "stn1110"}

// TestMatrix reads every kind of car through every adapter, and one car under every fault through one adapter of each
// family, and a sample of everything else; all with the real client, on modelled time.
func TestMatrix(t *testing.T) {
	var plain, faulty, sample []cell
	for _, a := range elm.Names() {
		for _, car := range matrixCars {
			plain = append(plain, cell{adapter: a, car: car})
		}
	}
	kinds := slices.DeleteFunc(elm.FaultNames(), func(f string) bool { return f == "flipped" }) // TestNoise has it
	for _, f := range kinds {
		for _, a := range representatives {
			faulty = append(faulty, cell{adapter: a, car: "golf8", fault: f, seed: 1})
		}
	}
	rnd := rand.New(rand.NewPCG(327, 0))
	cars := append(slices.Clone(matrixCars), everyCar[4:]...)
	for range 300 {
		sample = append(sample, cell{adapter: elm.Names()[rnd.IntN(len(elm.Names()))], car: cars[rnd.IntN(len(cars))],
			fault: kinds[rnd.IntN(len(kinds))], seed: rnd.Uint64N(1000)})
	}
	start := time.Now()
	done := rows(t, slices.Concat(plain, faulty, sample))
	t.Logf("%d cells in %v", len(done), time.Since(start).Round(time.Millisecond))
	defects := map[string]bool{}
	for i := range done {
		done[i].sound(t)
		if done[i].outcome == silently {
			defects[done[i].defect()] = true
		}
	}
	for f, why := range knownDefects {
		require.True(t, defects[f], "%s is mended (%s): take it out of knownDefects", f, why)
	}

	got := table(done[:len(plain)], done[len(plain):len(plain)+len(faulty)], done[len(plain)+len(faulty):])
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(matrixFile, []byte(got), 0o644))
	}
	want, err := os.ReadFile(matrixFile)
	require.NoError(t, err, "run this test with -update")
	was, is := strings.Split(withoutFigures(string(want)), "\n"), strings.Split(withoutFigures(got), "\n")
	for i := range max(len(was), len(is)) {
		a, b := at(was, i), at(is, i)
		require.Equal(t, a, b, "line %d: what became of a scan has changed; if for the better, run with -update", i+1)
	}
}

// figures of a row stand behind this mark and are not compared: they change with every question the scan puts, and a
// little with how two goroutines meet.
const figures = " | "

func withoutFigures(s string) string {
	var out []string
	for _, l := range strings.Split(s, "\n") {
		l, _, _ = strings.Cut(l, figures)
		out = append(out, strings.TrimRight(l, " "))
	}
	return strings.Join(out, "\n")
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

func table(plain, faulty, sample []row) string {
	var b strings.Builder
	line := func(rs []row) {
		for _, r := range rs {
			fault := r.fault
			if fault == "" {
				fault = "-"
			}
			what := r.outcome
			switch {
			case r.outcome == silently:
				what += ": " + knownDefects[r.defect()]
			case r.loss != "":
				what += ": " + r.loss
			}
			fmt.Fprintf(&b, "%-22s %-10s %-15s %3d s  %-38s%s%3d requests %6.1f s  %3d of %d values\n", r.adapter, r.car, fault, r.deadline()/time.Second,
				what, figures, r.requests, r.took.Seconds(), r.all-r.missing, r.all)
		}
	}
	b.WriteString("# adapter × car × fault, modelled time allowed, what a full scan comes to" + figures + "requests that reached the car, modelled time, values read\n")
	b.WriteString("# Written by TestMatrix -update.\n\n# Every adapter, every kind of car\n")
	line(plain)
	b.WriteString("\n# Every fault, an adapter of each family\n")
	line(faulty)
	b.WriteString("\n# A sample of everything else\n")
	count := map[string]int{}
	for _, r := range sample {
		count[r.outcome]++
	}
	for _, o := range []string{complete, partial, refused, silently, unclear, hangs, lies} {
		fmt.Fprintf(&b, "%-16s%s%3d\n", o, figures, count[o])
	}
	return b.String()
}

// What an adapter heard otherwise is asked again: 010 for 0100, which nobody answers, and 0111 for 011F1, which draws another value.
func TestWhatWasHeardOtherwiseIsAskedAgain(t *testing.T) {
	for _, r := range rows(t, []cell{{adapter: "elm-usb", car: "legacy", fault: "deaf", seed: 1}, {adapter: "stn1110", car: "legacy", fault: "deaf", seed: 1}}) {
		r.sound(t)
		require.Equal(t, complete, r.outcome, "%s: %v, %v", r.adapter, r.err, r.scan.Errors)
	}
}
