package elm327_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/dbc"
	"obdgate/internal/consent"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/elm327"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/scan"
	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

// A test bench: a virtual car, a simulated adapter with its faults, a cable of channels, the real client and a full scan,
// in a bubble whose clock is the modelled one.

// trace, by OBDGATE_TRACE, prints what passes on every cable, to look into one cell.
var trace = os.Getenv("OBDGATE_TRACE") != ""

// end is one end of a cable. What is written is buffered, as the system does it.
type end struct {
	in, out      chan []byte
	mine, theirs *closing
	rest         []byte
	slice        time.Duration // Read returns after so long with nothing; 0 = never
	wire         *wire         // nil = whatever rate does
	tap          *spent        // is told what passes
}

// spent is where the time of a session goes, by kind of command. It belongs to the bubble of one cell.
type spent struct {
	mu    sync.Mutex
	kind  int
	since time.Time
	text  string
	trace func(command string, took time.Duration, kind int) // nil = nobody listens
	ready time.Time                                          // when the prompt came, zero = it has not
	pause time.Duration                                      // from prompts to the commands after them
	count [kinds]int
	time  [kinds]time.Duration
}

// Kinds of commands: to the adapter itself; questions with the count of answers, without it, and those that nobody answered.
const (
	idle = iota
	internal
	counted
	uncounted
	unanswered
	kinds
)

// command begins one; the time until the next is its.
func (s *spent) command(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
	if !s.ready.IsZero() {
		s.pause += time.Since(s.ready)
		s.ready = time.Time{}
	}
	text := strings.TrimSpace(strings.Trim(string(b), "\x7F"))
	s.text = text
	switch {
	case text == "":
		return
	case strings.HasPrefix(text, "AT"), strings.HasPrefix(text, "ST") && !strings.HasPrefix(text, "STPX"):
		s.kind = internal
	case strings.HasPrefix(text, "STPX") && strings.Contains(text, "R:"), len(text)%2 == 1:
		s.kind = counted
	default:
		s.kind = uncounted
	}
}

// begin forgets what was.
func (s *spent) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kind, s.count, s.time, s.pause = idle, [kinds]int{}, [kinds]time.Duration{}, 0
}

// total is how many commands there were; the one under way counts.
func (s *spent) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for k, c := range s.count {
		if n += c; k == s.kind && k != idle {
			n++
		}
	}
	return n
}

func (s *spent) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
}

// answer looks for the status that says nobody spoke.
func (s *spent) answer(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasSuffix(string(b), ">") {
		s.ready = time.Now()
	}
	if s.kind > internal && strings.Contains(string(b), "NO DATA") {
		s.kind = unanswered
	}
}

// close ends the command under way; mu is held.
func (s *spent) close() {
	if s.trace != nil && s.kind != idle {
		s.trace(s.text, time.Since(s.since), s.kind)
	}
	if s.kind != idle {
		s.count[s.kind]++
		s.time[s.kind] += time.Since(s.since)
	}
	s.kind, s.since = idle, time.Now()
}

type closing struct {
	done chan struct{}
	once sync.Once
}

func (c *closing) close() { c.once.Do(func() { close(c.done) }) }

// wire is a cable whose ends have rates of their own. What is sent while they differ is spoiled for good.
type wire struct {
	host    atomic.Int64
	adapter func() int
	bad     func(rate int, up bool, text string) bool // what does not arrive though the rates agree; nil = all does
	stuck   bool                                      // the client's port takes no other rate
}

func (w *wire) spoils(text []byte, up bool) bool {
	return !alike(int(w.host.Load()), w.adapter()) || w.bad != nil && w.bad(w.adapter(), up, string(text))
}

// alike: a UART reads what is up to three percent off.
func alike(a, b int) bool { return 100*max(a-b, b-a) <= 3*b }

// wired is the client's end of it; it can be tuned, as a serial port.
type wired struct {
	*end
	r *result
}

func (w wired) Tune(baud int) error {
	if w.wire.stuck {
		return errors.ErrUnsupported
	}
	w.wire.host.Store(int64(baud))
	w.r.fastest = max(w.r.fastest, baud)
	return nil
}

// cable returns the client's and the adapter's end.
func cable() (client, adapter *end) {
	a, b := make(chan []byte, 1<<14), make(chan []byte, 1<<14)
	ca, cb := &closing{done: make(chan struct{})}, &closing{done: make(chan struct{})}
	return &end{in: a, out: b, mine: ca, theirs: cb, slice: 100 * time.Millisecond}, &end{in: b, out: a, mine: cb, theirs: ca}
}

func (e *end) Read(b []byte) (int, error) {
	if len(e.rest) == 0 {
		select { // what was sent before the end is still there
		case e.rest = <-e.in:
		default:
			var late <-chan time.Time
			if e.slice > 0 {
				t := time.NewTimer(e.slice)
				defer t.Stop()
				late = t.C
			}
			select {
			case e.rest = <-e.in:
			case <-e.mine.done:
				return 0, io.ErrClosedPipe
			case <-e.theirs.done:
				select {
				case e.rest = <-e.in:
				default:
					return 0, io.EOF
				}
			case <-late:
				return 0, nil
			}
		}
	}
	n := copy(b, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func (e *end) Write(b []byte) (int, error) {
	select {
	case <-e.mine.done:
		return 0, io.ErrClosedPipe
	case <-e.theirs.done:
		return 0, io.ErrClosedPipe
	default:
	}
	sent := slices.Clone(b)
	if trace && e.tap != nil {
		d := "<"
		if e.slice > 0 {
			d = ">"
		}
		fmt.Fprintf(os.Stderr, "%s %s %q\n", time.Now().Format("05.000"), d, b)
	}
	if e.wire != nil && e.wire.spoils(b, e.slice > 0) {
		for i := range sent {
			sent[i] |= 0xC1
		}
	}
	switch {
	case e.tap == nil:
	case e.slice > 0:
		e.tap.command(b)
	default:
		e.tap.answer(b)
	}
	e.out <- sent
	return len(b), nil
}

func (e *end) Close() error {
	e.mine.close()
	return nil
}

// cell is one run of the bench.
type cell struct {
	adapter, car, fault string
	baud                int // overrides the adapter's, 0 = its own
	seed                uint64
	trace               func(string, time.Duration, int)
	latency             time.Duration // overrides the adapter's, 0 = its own
	known               bool          // the client knows the rate
	fixed               bool          // it cannot change it
	stuck               bool          // it thinks that it can
	bad                 func(rate int, up bool, text string) bool
	change              func(*elm.Personality)
}

// result is what a scan came to.
type result struct {
	scan     visit.Scan
	err      error
	took     time.Duration
	opened   time.Duration // of it, to open the adapter
	closed   time.Duration // after it, to leave the adapter as it was
	requests int           // that reached the car
	commands int           // lines sent to the adapter, questions included
	pause    time.Duration // in which neither side had anything to do
	spent    spent         // by the scan, opening apart
	log      []sim.Request
	fastest  int  // rate that the client's port was set to
	left     int  // rate of the adapter in the end
	over     bool // the deadline of the bench
}

// benchLimit is when a run is given up, in modelled time: no scan of a virtual car may take as long.
const benchLimit = 10 * time.Minute

// rules are loaded outside of any bubble.
var rules = sync.OnceValues(policy.Default)
var signals = sync.OnceValues(dbc.Embedded)

func options(t *testing.T) scan.Options {
	p, err := rules()
	require.NoError(t, err)
	d, err := signals()
	require.NoError(t, err)
	return scan.Options{Plan: scan.NewPlan(scan.Full, consent.Granted), Policy: p, DBC: d, At: time.Unix(0, 0)}
}

// bench puts car and adapter together, in a bubble; use is the client.
func (c cell) bench(t *testing.T, r *result, use func(ctx context.Context, dial func(baud int) (io.ReadWriteCloser, error), rates []int)) {
	t.Helper()
	p, err := elm.ByName(c.adapter)
	require.NoError(t, err)
	if c.baud > 0 {
		p.Baud = c.baud
	}
	if c.latency > 0 {
		p.Latency = c.latency
	}
	if c.change != nil {
		c.change(&p)
	}
	var faults []elm.Fault
	if c.fault != "" {
		faults, err = elm.Faults(c.fault)
		require.NoError(t, err)
	}
	v := car(t, c.car)
	synctest.Test(t, func(t *testing.T) {
		a := elm.New(v, p, elm.Options{Scale: 1, Faults: faults, Seed: c.seed})
		ctx, cancel := context.WithTimeout(context.Background(), benchLimit)
		plugs := make(chan *end, 16)
		var wg sync.WaitGroup
		wg.Go(func() {
			for there := range plugs {
				_ = a.Serve(ctx, there)
			}
		})
		dial := func(baud int) (io.ReadWriteCloser, error) {
			here, there := cable()
			here.tap, there.tap = &r.spent, &r.spent
			if p.Baud == 0 || p.Latency >= 10*time.Millisecond { // behind a radio any rate does
				plugs <- there
				return here, nil
			}
			here.wire = &wire{adapter: a.Baud, bad: c.bad, stuck: c.stuck}
			here.wire.host.Store(int64(baud))
			r.fastest = max(r.fastest, baud)
			there.wire = here.wire
			plugs <- there
			if c.fixed {
				return here, nil
			}
			return wired{here, r}, nil
		}
		rates := []int{0}
		switch {
		case p.Baud != 0 && c.known:
			rates = []int{p.Baud}
		case p.Baud != 0:
			rates = elm327.Rates()
		}
		use(ctx, dial, rates)
		r.over = ctx.Err() != nil
		cancel()
		close(plugs)
		wg.Wait()
		r.left = a.Baud()
	})
	r.log = v.Log()
	r.requests = len(r.log)
}

// read reads the car.
func (c cell) read(t *testing.T) *result {
	t.Helper()
	r := &result{spent: spent{trace: c.trace}}
	o := options(t)
	c.bench(t, r, func(ctx context.Context, dial func(int) (io.ReadWriteCloser, error), rates []int) {
		began := time.Now()
		var l link.Link
		if l, r.err = elm327.OpenOver(ctx, dial, rates...); r.err == nil {
			r.opened = time.Since(began)
			r.commands, r.pause = r.spent.total(), r.spent.pause
			r.spent.begin()
			r.scan, r.err = scan.Run(ctx, l, o)
			r.took = time.Since(began)
			r.spent.end()
			r.commands, r.pause = r.commands+r.spent.total(), r.pause+r.spent.pause
			began = time.Now()
			require.NoError(t, l.Close())
			r.closed = time.Since(began)
		} else {
			r.took = time.Since(began)
		}
	})
	return r
}

// facts are what a car says when nothing stands between.
type facts struct {
	scan  visit.Scan        // what is read of it
	other []reading.Reading // what it says besides to other questions, which are put when it seems to be another kind of car
}

var truths sync.Map

// truth reads a car in process, without an adapter.
func truth(t *testing.T, name string) facts {
	t.Helper()
	if f, ok := truths.Load(name); ok {
		return f.(facts)
	}
	read := func(deaf string) visit.Scan {
		path := name
		if text, ok := carText(t, name); ok {
			path = filepath.Join(t.TempDir(), name+".yaml")
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		}
		l, err := sim.Open(context.Background(), "sim:"+path)
		require.NoError(t, err)
		defer l.Close() //nolint:errcheck // in process
		if deaf != "" {
			l = &deafened{l, deaf}
		}
		s, err := scan.Run(context.Background(), l, options(t))
		if deaf == "" {
			require.NoError(t, err)
			require.NotEmpty(t, s.Readings)
		}
		return s
	}
	f := facts{scan: read("")}
	for _, deaf := range []string{"\x01", "\x09\x02", "\x22\xF8\x02"} {
		f.other = append(f.other, read(deaf).Readings...)
	}
	truths.Store(name, f)
	return f
}

// deafened loses every question that begins so, as if the car had no answer to it.
type deafened struct {
	link.Link
	to string
}

func (d *deafened) Send(ctx context.Context, f frame.Frame) error {
	if b := f.Bytes(); len(b) > 1 && b[0] < 8 && strings.HasPrefix(string(b[1:]), d.to) {
		f = frame.New(0x7DF, 0, 1, 0x3E)
		if d.Caps().IDBits == 29 {
			f = frame.New(0x18DB33F1, frame.Extended, 1, 0x3E)
		}
	}
	return d.Link.Send(ctx, f)
}

func has(rs []reading.Reading, r reading.Reading) bool {
	return slices.ContainsFunc(rs, func(w reading.Reading) bool {
		return w.ECU == r.ECU && w.Key == r.Key && reflect.DeepEqual(w.Value, r.Value)
	})
}

// compare names the readings that got lacks, and those that are not so.
func compare(want facts, got visit.Scan) (missing, wrong []string) {
	for _, r := range got.Readings {
		if a, ok := r.Value.(reading.Absent); ok && a.Why != reading.NotAvailable {
			continue // a loss that says so
		}
		if !has(want.scan.Readings, r) && !has(want.other, r) {
			wrong = append(wrong, r.ECU+" "+string(r.Key))
		}
	}
	for _, w := range want.scan.Readings {
		if !has(got.Readings, w) {
			missing = append(missing, w.ECU+" "+string(w.Key))
		}
	}
	return missing, wrong
}

// Outcomes of a cell.
const (
	complete = "complete"
	partial  = "partial"
	refused  = "refused"
	silently = "LOST IN SILENCE"
	unclear  = "UNCLEAR REFUSAL"
	hangs    = "HANGS"
	lies     = "WRONG VALUE"
	bounded  = "bounded only" // see TestNoise
)

// judge says what a cell came to; the loss is named where there is one.
func (r *result) judge(want facts) (outcome, loss string, missing int) {
	lost, wrong := compare(want, r.scan)
	missing = len(lost)
	switch {
	case r.over:
		return hangs, "", missing
	case len(wrong) > 0:
		return lies, strings.Join(wrong, ", "), missing
	case missing == 0:
		return complete, "", 0
	case len(r.scan.Readings) == 0 && r.err != nil:
		var le *link.Error
		if !errors.As(r.err, &le) || le.Hint == "" {
			return unclear, r.err.Error(), missing
		}
		return refused, reason(r.err), missing
	case r.err != nil:
		return partial, reason(r.err), missing
	case len(r.scan.Errors) > 0:
		return partial, "each question named", missing
	}
	return silently, strings.Join(lost, ", "), missing
}

// reason is the sentinel behind an error.
func reason(err error) string {
	for _, s := range []error{link.ErrGone, link.ErrUnsupported, link.ErrGarbled, link.ErrBus, link.ErrNoVehicle, link.ErrNoAdapter} {
		if errors.Is(err, s) {
			return s.Error()
		}
	}
	return err.Error()
}
