package elm327_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/elm327"
	"obdgate/internal/scan"
	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/require"
)

// upTo is a cable whose drivers carry no higher rate.
func upTo(most int) func(int, bool, string) bool {
	return func(rate int, _ bool, _ string) bool { return rate > most }
}

// once spoils one text of the adapter at this rate.
func once(rate int, text string, up bool) func() func(int, bool, string) bool {
	return func() func(int, bool, string) bool {
		done := false
		return func(r int, u bool, s string) bool {
			hit := !done && r == rate && u == up && s == text
			done = done || hit
			return hit
		}
	}
}

// TestRaise: a full scan over a cable at a low rate. Whatever comes of the attempt, nothing of the scan is lost, the adapter is left
// at the rate it was found at, and the next scan does not try in vain again.
func TestRaise(t *testing.T) {
	without := func(cmds ...string) func(*elm.Personality) {
		return func(p *elm.Personality) { p.Refuse = append(slices.Clone(p.Refuse), cmds...) }
	}
	for _, c := range []struct {
		name    string
		cell    cell
		bad     func() func(int, bool, string) bool
		fastest int // rate that the client's port had at most in the first scan
		again   int // in the second
		fast    int // remembered
	}{
		{name: "genuine", cell: cell{adapter: "genuine-2.2", baud: 38400}, fastest: 500000, again: 500000, fast: 500000},
		{name: "oldest with the command", cell: cell{adapter: "genuine-1.4b", baud: 57600}, fastest: 500000, again: 500000, fast: 500000},
		{name: "STN", cell: cell{adapter: "stn1110", baud: 38400}, fastest: 500000, again: 500000, fast: 500000},
		{name: "9600, to which only a reset goes back", cell: cell{adapter: "genuine-2.2", baud: 9600}, fastest: 500000, again: 500000, fast: 500000},
		{name: "high enough", cell: cell{adapter: "genuine-2.2", baud: 115200}, fastest: 115200, again: 115200},
		{name: "a radio", cell: cell{adapter: "genuine-2.2", baud: 38400, latency: 15 * time.Millisecond}},
		{name: "a network", cell: cell{adapter: "wifi-v1.5"}},
		{name: "a port with one rate", cell: cell{adapter: "genuine-2.2", baud: 38400, fixed: true}, fastest: 38400, again: 38400},
		{name: "a port that refuses", cell: cell{adapter: "genuine-2.2", baud: 38400, stuck: true}, fastest: 38400, again: 38400, fast: -1},
		{name: "a command unknown", cell: cell{adapter: "genuine-2.2", baud: 38400, change: without("BRD hh")}, fastest: 38400, again: 38400, fast: -1},
		{name: "a cable to 230400", cell: cell{adapter: "genuine-2.2", baud: 38400, bad: upTo(240000)}, fastest: 500000, again: 230400, fast: 230400},
		{name: "a cable to 115200", cell: cell{adapter: "stn1110", baud: 38400, bad: upTo(115200)}, fastest: 500000, again: 115200, fast: 115200},
		{name: "a cable to 57600", cell: cell{adapter: "genuine-2.2", baud: 38400, bad: upTo(58000)}, fastest: 500000, again: 38400, fast: -1},
		{name: "the carriage return lost", cell: cell{adapter: "genuine-2.2", baud: 38400}, bad: once(500000, "\r", true), fastest: 500000, again: 230400, fast: 230400},
		{name: "the id damaged", cell: cell{adapter: "genuine-2.2", baud: 38400}, bad: once(500000, "ELM327 v2.2\r", false), fastest: 500000, again: 230400, fast: 230400},
		{name: "the last OK damaged", cell: cell{adapter: "genuine-2.2", baud: 38400}, bad: once(500000, "OK\r\r>", false), fastest: 500000, again: 500000, fast: 500000},
		{name: "the way back damaged", cell: cell{adapter: "genuine-2.2", baud: 38400}, bad: once(38461, "ELM327 v2.2\r", false), fastest: 500000, again: 500000, fast: 500000},
		{name: "the way back not agreed on", cell: cell{adapter: "genuine-2.2", baud: 38400}, bad: once(38461, "\r", true), fastest: 500000, again: 500000, fast: 500000},
		{name: "its end damaged", cell: cell{adapter: "genuine-2.2", baud: 38400}, bad: once(38461, "OK\r\r>", false), fastest: 500000, again: 500000, fast: 500000},
		{name: "NUL bytes in between", cell: cell{adapter: "genuine-1.4b", baud: 38400, fault: "nul"}, fastest: 500000, again: 500000, fast: 500000},
		{name: "power lost at the high rate", cell: cell{adapter: "genuine-2.2", baud: 38400, fault: "replug"}, fastest: 500000, again: 500000, fast: 500000},
		{name: "silence at the high rate", cell: cell{adapter: "genuine-2.2", baud: 38400, fault: "mute-a-while"}, fastest: 500000, again: 500000, fast: 500000},
	} {
		t.Run(c.name, func(t *testing.T) {
			memory := elm327.Options{Dir: t.TempDir()}
			want := truth(t, "golf8")
			for i, fastest := range []int{c.fastest, c.again} {
				r := &result{}
				here := c.cell
				here.car, here.known, here.seed = "golf8", true, 1
				if c.bad != nil {
					here.bad = c.bad()
				}
				if i == 1 {
					here.fault = ""
					if c.fast > 0 && c.fast < 500000 {
						here.bad = nil
					}
				}
				o := options(t)
				here.bench(t, r, func(ctx context.Context, dial func(int) (io.ReadWriteCloser, error), rates []int) {
					l, err := elm327.OpenWith(ctx, memory, dial, rates...)
					require.NoError(t, err)
					began := time.Now()
					r.scan, r.err = scan.Run(ctx, l, o)
					require.Less(t, time.Since(began), 25*time.Second)
					began = time.Now()
					require.NoError(t, l.Close())
					require.Less(t, time.Since(began), 4*time.Second)
					if fastest > 0 {
						port, err := dial(rates[0])
						require.NoError(t, err)
						require.True(t, untouched(t, port), "what the next program finds")
						require.NoError(t, port.Close())
					}
				})
				require.NoError(t, r.err)
				outcome, loss, _ := r.judge(want)
				require.Equal(t, complete, outcome, loss)
				require.Equal(t, fastest, r.fastest, "scan %d", i+1)
				if fastest > 0 {
					require.True(t, alike(c.cell.baud, r.left), "scan %d: the adapter is left at %d", i+1, r.left)
				}
				if known := memory.Remembered(); c.fast != 0 {
					require.Len(t, known, 1)
					require.Equal(t, c.fast, known[0].Fast)
					require.Equal(t, c.cell.baud, known[0].Baud, "the rate to start with stays")
				}
			}
		})
	}
}

// A question or two are over before another rate is agreed on.
func TestRaiseNotForLittle(t *testing.T) {
	r := &result{}
	c := cell{adapter: "genuine-2.2", car: "golf8", baud: 38400, known: true}
	c.trace = func(command string, _ time.Duration, _ int) { require.False(t, strings.HasPrefix(command, "ATBRD")) }
	r.spent.trace = c.trace
	c.bench(t, r, func(ctx context.Context, dial func(int) (io.ReadWriteCloser, error), rates []int) {
		l, err := elm327.OpenOver(ctx, dial, rates...)
		require.NoError(t, err)
		for _, pid := range []byte{0, 0x0C, 0x05} {
			require.NoError(t, l.Send(ctx, frame.New(0x7DF, 0, 2, 1, pid, 0, 0, 0, 0, 0)))
			for err = nil; err == nil; {
				_, err = l.Recv(ctx)
			}
			require.ErrorIs(t, err, link.ErrQuiet)
		}
		require.NoError(t, l.Close())
	})
	require.Equal(t, 38400, r.fastest)
}

// A program that is killed while the rate is raised leaves the adapter there. The next finds it, whether or not it is told the
// rate that the adapter should have, and takes it back; without anything remembered the search for the rate finds it.
func TestKilledAtTheHighRate(t *testing.T) {
	for _, c := range []struct {
		name   string
		adapt  string
		given  bool // the second program is told the rate
		memory bool
		power  bool // the adapter is plugged in anew between the two
		left   int
		within time.Duration // to open
	}{
		{"rate given", "genuine-2.2", true, true, false, 38400, 500 * time.Millisecond},
		{"rate found", "genuine-2.2", false, true, false, 38400, 500 * time.Millisecond},
		{"STN", "stn1110", true, true, false, 38400, 500 * time.Millisecond},
		{"nothing remembered", "genuine-2.2", false, false, false, 500000, 1500 * time.Millisecond},
		{"plugged in anew", "genuine-2.2", true, true, true, 38400, time.Second},
		{"plugged in anew, rate found", "stn1110", false, true, true, 38400, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			memory := elm327.Options{Dir: t.TempDir(), Reopen: -1}
			r := &result{}
			o := options(t)
			cell{adapter: c.adapt, car: "golf8", baud: 38400, known: true}.bench(t, r, func(ctx context.Context, dial func(int) (io.ReadWriteCloser, error), _ []int) {
				var cable io.Closer
				l, err := elm327.OpenWith(ctx, memory, func(baud int) (io.ReadWriteCloser, error) {
					port, err := dial(baud)
					cable = port
					return port, err
				}, 38400)
				require.NoError(t, err)
				_, err = scan.Run(ctx, &killed{Link: l, after: 30, kill: func() { require.NoError(t, cable.Close()) }}, o)
				require.Error(t, err)
				require.NoError(t, l.Close())
				if c.power {
					port, err := dial(500000)
					require.NoError(t, err)
					_, err = port.Write([]byte("ATZ\r")) // what plugging in does, too
					require.NoError(t, err)
					time.Sleep(2 * time.Second)
					require.NoError(t, port.Close())
				}
				if !c.memory {
					memory.Dir = t.TempDir()
				}
				rates := elm327.Rates()
				if c.given {
					rates = []int{38400}
				}
				for range 2 {
					began := time.Now()
					l, err = elm327.OpenWith(ctx, memory, dial, rates...)
					require.NoError(t, err)
					require.Less(t, time.Since(began), c.within)
					_, err = scan.Run(ctx, l, o)
					require.NoError(t, err)
					require.NoError(t, l.Close())
				}
			})
			require.True(t, alike(c.left, r.left), "left at %d", r.left)
			known := memory.Remembered()
			require.Len(t, known, 1)
			require.Zero(t, known[0].Raised)
			require.Equal(t, c.left, known[0].Baud)
		})
	}
}

// killed is a link whose program ends after some questions.
type killed struct {
	link.Link
	after int
	kill  func()
}

func (k *killed) Send(ctx context.Context, f frame.Frame) error {
	if k.after--; k.after == 0 {
		k.kill()
	}
	return k.Link.Send(ctx, f)
}
