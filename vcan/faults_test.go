package vcan_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/dbc"
	"obdgate/internal/consent"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/memory"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/scan"
	"obdgate/internal/sim"
	"obdgate/internal/sim/bus"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden tables of testdata anew")

// A disturbance is one row of the fault table: what is wrong with the bus a car is read over.
type disturbance struct {
	name    string
	faults  []string // as obdgate sim --fault takes them
	testers int      // that read the car at once, 0 = 1
	chance  bool     // the seed decides what is hit
}

var disturbances = []disturbance{
	{name: "none"},
	{name: "5 % of the frames lost", faults: []string{"loss=5%"}, chance: true},
	{name: "30 % of the frames lost", faults: []string{"loss=30%"}, chance: true},
	{name: "30 % of the consecutive frames lost", faults: []string{"loss=30%", "only=consecutive"}, chance: true},
	{name: "every consecutive frame twice", faults: []string{"duplicate=100%", "only=consecutive"}},
	{name: "every frame twice", faults: []string{"duplicate=100%"}},
	{name: "30 % of the consecutive frames out of order", faults: []string{"reorder=30%", "only=consecutive"}, chance: true},
	{name: "30 % of the frames out of order", faults: []string{"reorder=30%"}, chance: true},
	{name: "lost, twice and out of order, 10 % each", faults: []string{"loss=10%", "duplicate=10%", "reorder=10%"}, chance: true},
	{name: "every frame 40 ms late", faults: []string{"delay=40ms"}},
	{name: "three wait frames before each flow control", faults: []string{"wait=3"}},
	{name: "the car falls silent in the middle of an answer", faults: []string{"mute=40"}},
	{name: "the car is silent for 2 s in the middle of an answer", faults: []string{"mute=40/2s"}},
	{name: "babbling control unit, 100 % load, least urgent", faults: []string{"babble=7FF", "rate=500000"}},
	{name: "babbling control unit, 100 % load, most urgent", faults: []string{"babble=000", "rate=500000"}},
	{name: "babbling control unit on the engine's identifier", faults: []string{"babble=7E8", "rate=500000"}},
	{name: "two testers at once", testers: 2},
}

// hangs after so long, in modelled time: a sound car is read in under ten seconds.
const scanLimit = 5 * time.Minute

// Outcomes of a scan on a disturbed bus.
const (
	complete = "complete"
	partial  = "partial, each loss named"
	refused  = "refused"
	silently = "SILENT LOSS"
	lies     = "WRONG VALUES"
	hangs    = "HANGS"
	unclear  = "NO WORD WHAT TO DO"
)

// outcome is what one scan came to.
type outcome struct {
	what    string
	detail  string
	took    time.Duration
	missing int
	all     int
}

func options(t testing.TB, depth scan.Depth) scan.Options {
	t.Helper()
	rules, err := policy.Default()
	require.NoError(t, err)
	signals, err := dbc.Embedded()
	require.NoError(t, err)
	return scan.Options{Plan: scan.NewPlan(depth, consent.Granted), Policy: rules, DBC: signals, At: time.Unix(0, 0)}
}

// facts are what a car says when nothing is wrong, and what it says to the questions that are put only when others stay
// unanswered.
type facts struct {
	scan  visit.Scan
	other []reading.Reading
	vin   reading.Reading
}

var truths sync.Map

func truth(t testing.TB, car string, depth scan.Depth) facts {
	t.Helper()
	if f, ok := truths.Load(car + string(depth)); ok {
		return f.(facts)
	}
	var f facts
	for _, deaf := range []byte{0, 0x01, 0x09} {
		l, err := sim.Open(t.Context(), "sim:"+car)
		require.NoError(t, err)
		s, err := scan.Run(t.Context(), deafened{l, deaf}, options(t, depth))
		if deaf == 0 {
			require.NoError(t, err)
			require.Greater(t, len(s.Readings), 30)
			f.scan = s
			f.vin = s.Readings[slices.IndexFunc(s.Readings, func(r reading.Reading) bool { return r.Key == "obd.09.02" })]
		}
		f.other = append(f.other, s.Readings...)
		require.NoError(t, l.Close())
	}
	truths.Store(car+string(depth), f)
	return f
}

// deafened loses every question of one service, as if the car had none of it.
type deafened struct {
	link.Link
	service byte
}

func (d deafened) Send(ctx context.Context, f frame.Frame) error {
	if b := f.Bytes(); d.service != 0 && len(b) > 1 && b[1] == d.service && b[0] < 8 {
		f.Data[1] = 0x3E // tester present: nobody minds
	}
	return d.Link.Send(ctx, f)
}

// judge compares what was read with what is so.
func judge(want facts, got visit.Scan, err error, took time.Duration, over bool) outcome {
	has := func(rs []reading.Reading, r reading.Reading) bool {
		return slices.ContainsFunc(rs, func(w reading.Reading) bool {
			return w.ECU == r.ECU && w.Key == r.Key && reflect.DeepEqual(w.Value, r.Value)
		})
	}
	o := outcome{took: took, all: len(want.scan.Readings)}
	var wrong []string
	for _, r := range got.Readings {
		if a, ok := r.Value.(reading.Absent); ok && a.Why != reading.NotAvailable {
			continue // a loss that says so
		}
		if r.Key == "uds.22.F190" {
			r.ECU, r.Key = want.vin.ECU, want.vin.Key // asked where the other way was lost
		}
		if !has(want.other, r) {
			wrong = append(wrong, r.ECU+" "+string(r.Key))
		}
	}
	for _, r := range want.scan.Readings {
		if !has(got.Readings, r) {
			o.missing++
		}
	}
	var le *link.Error
	switch {
	case over:
		o.what = hangs
	case len(wrong) > 0:
		o.what, o.detail = lies, strings.Join(wrong, ", ")
	case err == nil && o.missing == 0:
		o.what = complete
	case err != nil && (!errors.As(err, &le) || le.Hint == ""):
		o.what, o.detail = unclear, err.Error()
	case err != nil:
		o.what, o.detail = refused, reason(err)
		if len(got.Readings) > 0 {
			o.what = partial
		}
	case len(got.Errors) > 0:
		o.what = partial
	default:
		o.what = silently
	}
	return o
}

// reason is the sentinel behind an error.
func reason(err error) string {
	for _, s := range []error{link.ErrGone, link.ErrBus, link.ErrNoVehicle, link.ErrGarbled, link.ErrUnsupported} {
		if errors.Is(err, s) {
			return s.Error()
		}
	}
	return err.Error()
}

// read reads a car over a bus in memory with these faults, in modelled time. Every tester's outcome is returned.
func (d disturbance) read(t *testing.T, car string, seed uint64) (out []outcome) {
	t.Helper()
	plan, err := bus.Parse(d.faults)
	require.NoError(t, err)
	plan.Seed = seed
	v, err := sim.Load(car)
	require.NoError(t, err)
	want, o := truth(t, car, scan.Full), options(t, scan.Full)
	out = make([]outcome, max(1, d.testers))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), scanLimit)
		defer cancel()
		outside, inside := memory.NewBus(), memory.NewBus()
		left, right, node := outside.Attach("left"), inside.Attach("right"), inside.Attach("car")
		var others, testers sync.WaitGroup
		others.Go(func() { _ = v.Serve(ctx, node) })
		others.Go(func() { _, _ = bus.Serve(ctx, left, right, plan) })
		for i := range out {
			testers.Go(func() {
				l := outside.Attach("tester")
				began := time.Now()
				got, err := scan.Run(ctx, l, o)
				out[i] = judge(want, got, err, time.Since(began), ctx.Err() != nil)
				_ = l.Close()
			})
		}
		testers.Wait()
		cancel()
		others.Wait()
		for _, l := range []link.Link{left, right, node} {
			_ = l.Close()
		}
	})
	return out
}

// sound asserts what must hold on every bus: no wrong value, no hang, nothing lost without a word, and a refusal that says
// what to do.
func (o outcome) sound(t *testing.T, name string) {
	t.Helper()
	switch o.what {
	case lies, hangs, silently, unclear:
		t.Errorf("%s: %s: %s (%d of %d values missing)", name, o.what, o.detail, o.missing, o.all)
	}
}

// rounds is how many seeds each row of chance is tried with; OBDGATE_FAULT_ROUNDS asks for more.
func rounds(t *testing.T) uint64 {
	n := uint64(3)
	if s := os.Getenv("OBDGATE_FAULT_ROUNDS"); s != "" {
		_, err := fmt.Sscan(s, &n)
		require.NoError(t, err)
	}
	return n
}

// TestFaultTable reads cars over every kind of disturbed bus, with the real client and modelled time: outcome and time per
// row stand in testdata/faults.txt. OBDGATE_FAULT_ROUNDS=200 tries as many seeds of each row that leaves things to chance.
func TestFaultTable(t *testing.T) {
	var b strings.Builder
	all, quiet := 0, 0
	b.WriteString("# A full scan over a CAN bus on which things go wrong, on modelled time; the first three seeds where chance decides what is hit.\n" +
		"# Written by TestFaultTable -update. Behind | stand figures that are not compared.\n")
	for _, car := range []string{"golf8", "mini", "tahoe"} {
		fmt.Fprintf(&b, "\n%s\n", car)
		for _, d := range disturbances {
			n := uint64(1)
			if d.chance {
				n = rounds(t)
			}
			for seed := uint64(1); seed <= n; seed++ {
				for _, o := range d.read(t, car, seed) {
					all++
					if d.chance && o.what == silently {
						t.Logf("%s, %s, seed %d: %s (%d of %d values missing)", car, d.name, seed, o.what, o.missing, o.all)
						quiet++ // a question nobody is known to have an answer to is put once: a single lost frame is not seen
					} else {
						o.sound(t, fmt.Sprintf("%s, %s, seed %d", car, d.name, seed))
					}
					switch {
					case d.chance && seed <= 3:
						fmt.Fprintf(&b, "%-54s no wrong value, no hang | %6.2f s  %3d of %d values  %s %s\n", d.name, o.took.Seconds(), o.all-o.missing, o.all, o.what, o.detail)
					case !d.chance:
						fmt.Fprintf(&b, "%-54s %s %s | %6.2f s  %3d of %d values\n", d.name, o.what, o.detail, o.took.Seconds(), o.all-o.missing, o.all)
					}
				}
			}
		}
	}
	t.Logf("%d scans, no wrong value, no hang, %d with a loss that is not named", all, quiet)
	require.LessOrEqual(t, quiet, max(2, all/100))
	golden(t, "testdata/faults.txt", b.String())
}

// golden compares what stands before the bar in each line with the file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644)) //nolint:gosec // a public file
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run this test with -update")
	bare := func(s string) string {
		var out []string
		for l := range strings.SplitSeq(strings.ReplaceAll(s, "\r\n", "\n"), "\n") {
			l, _, _ = strings.Cut(l, "|")
			out = append(out, strings.TrimRight(l, " "))
		}
		return strings.Join(out, "\n")
	}
	require.Equal(t, bare(string(want)), bare(got), "%s has changed; if for the better, run with -update", path)
}
