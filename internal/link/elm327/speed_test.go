package elm327_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// speedFile is the table of what a full scan costs.
const speedFile = "testdata/speed.txt"

// physical is the shortest time in which these requests can be answered over this adapter by anybody. For each request
//
//	t = L + c·(d+1) + Σ + c·2
//
// with c the time of a character on the UART, ten bits: 10/baud, none on TCP; L the round trip of cable or radio; d the
// digits of the request with its count digit, and the carriage return; c·2 the empty line and the prompt. Σ walks through
// the frames of the answers in the order they come:
//
//	s := max(s, due) + c·n
//
// due is when the frame is on the bus (ECU latency, then a frame each 250 µs at 500 kbit/s, or the ECU's own gap), n the
// characters of its line at their fewest: identifier, two digits a byte of what the frame carries, a carriage return. It
// holds no AT command, no waiting for an answer that may still come, and no thinking. Only a question that nobody answers
// costs the 50 ms that an ECU may take (P2 of ISO 15765-4): nobody can know earlier.
func physical(t *testing.T, car string, p elm.Personality, log []sim.Request) time.Duration {
	t.Helper()
	v, err := sim.Load(car)
	require.NoError(t, err)
	char := time.Duration(0)
	if p.Baud > 0 {
		char = 10 * time.Second / time.Duration(p.Baud)
	}
	var now, total time.Duration
	for _, q := range log {
		id, err := strconv.ParseUint(q.ID, 16, 32)
		require.NoError(t, err)
		var flags frame.Flags
		if len(q.ID) == 8 {
			flags = frame.Extended
		}
		start := now
		now += p.Latency + char*time.Duration(2*len(q.Bytes)+2)
		const onBus = 250 * time.Microsecond
		now += onBus
		v.Handle(frame.New(uint32(id), flags, append([]byte{byte(len(q.Bytes))}, q.Bytes...)...), now)
		heard := false
		for ; ; heard = true {
			due, more := v.Due()
			if !more {
				break
			}
			f, taken := v.Next(due)
			if !taken {
				break
			}
			n := int(f.Len)
			if b := f.Bytes(); n > 0 && b[0]>>4 == 0 {
				n = int(b[0]) + 1
			}
			digits := 3
			if f.Is(frame.Extended) {
				digits = 8
			}
			now = max(now, due) + char*time.Duration(digits+2*n+1)
			if f.Len > 0 && f.Data[0]>>4 == 1 {
				to := f.ID &^ 8
				if f.Is(frame.Extended) {
					to = f.ID&0x1FFF0000 | f.ID&0xFF<<8 | f.ID>>8&0xFF
				}
				v.Handle(frame.New(to, f.Flags&frame.Extended, 0x30, 0, 0), due+onBus)
			}
		}
		if !heard {
			now += 50 * time.Millisecond
		}
		now += 2 * char
		total += now - start
	}
	return total
}

// slack is how much longer than the physical minimum connecting and reading may take: on genuine chips and STN, whose rate
// is known from the time before. A copy behind a network, which has neither their counts nor their short cable, is allowed what was measured last.
func slack(adapter string) float64 {
	if adapter == "wifi-v1.5" {
		return 1.65
	}
	return 1.3
}

// raisedFrom are rates from which the client goes up by itself on a cable, and the one that it goes to.
var raisedFrom = []struct {
	adapter  string
	from, to int
}{{"genuine-2.2", 9600, 500000}, {"genuine-2.2", 38400, 500000}, {"genuine-2.2", 57600, 500000}, {"stn1110", 38400, 500000}, {"genuine-1.4b", 38400, 500000}}

// raised adds what a scan costs where the rate may be changed beside what it costs where it may not, opening and closing
// included: it has to pay.
func raised(t *testing.T, b *strings.Builder) {
	fmt.Fprintf(b, "\n# A rate raised for the scan and taken back at the end, beside the same scan at the rate it was found at.\n")
	fmt.Fprintf(b, "%-6s %-16s %14s %9s %9s %9s %9s %8s\n", "car", "adapter", "rate", "open+read", "close", "at it", "close", "gain")
	for _, car := range []string{"golf8", "testdata/seven.yaml"} {
		for _, c := range raisedFrom {
			slow := cell{adapter: c.adapter, car: car, baud: c.from, known: true, fixed: true}.read(t)
			fast := cell{adapter: c.adapter, car: car, baud: c.from, known: true}.read(t)
			for _, r := range []*result{slow, fast} {
				require.NoError(t, r.err)
				outcome, loss, _ := r.judge(truth(t, car))
				require.Equal(t, complete, outcome, loss)
			}
			require.Equal(t, c.to, fast.fastest)
			require.Equal(t, c.from, slow.fastest)
			gain := 1 - float64(fast.took+fast.closed)/float64(slow.took+slow.closed)
			name := strings.TrimSuffix(strings.TrimPrefix(car, "testdata/"), ".yaml")
			fmt.Fprintf(b, "%-6s %-16s %14s %7.2f s %7.2f s %7.2f s %7.2f s %6.0f %%\n", name, c.adapter, fmt.Sprintf("%d->%d", c.from, c.to), fast.took.Seconds(),
				fast.closed.Seconds(), slow.took.Seconds(), slow.closed.Seconds(), 100*gain)
			assert.Greater(t, gain, 0.05, "%s %s %d", name, c.adapter, c.from)
		}
	}
}

// TestSpeed writes down what connecting and a full scan cost at each rate, in modelled time, beside what physics asks for.
func TestSpeed(t *testing.T) {
	var b strings.Builder
	b.WriteString("# A full scan on modelled time. minimum: the same requests with nothing but characters, frames, ECUs and cable; see physical.\n")
	b.WriteString("# Written by TestSpeed -update.\n")
	b.WriteString("# The last four: how often and how long the adapter itself was commanded, questions with the count of their answers,\n" +
		"# questions without it, and questions that nobody answered.\n")
	fmt.Fprintf(&b, "%-6s %-16s %7s %8s %9s %9s %9s %6s %12s %12s %12s %12s\n", "car", "adapter", "rate", "requests", "open", "read", "minimum", "ratio",
		"commands", "counted", "uncounted", "unanswered")
	for _, car := range []string{"golf8", "testdata/seven.yaml"} {
		for _, c := range []struct {
			adapter string
			baud    int
		}{{"genuine-2.2", 38400}, {"genuine-2.2", 115200}, {"genuine-2.2", 500000}, {"stn1110", 38400}, {"stn1110", 115200}, {"stn1110", 500000},
			{"wifi-v1.5", 0}, {"obdlink-mx-wifi", 0}} {
			r := cell{adapter: c.adapter, car: car, baud: c.baud, known: true, fixed: true}.read(t)
			require.NoError(t, r.err)
			outcome, loss, _ := r.judge(truth(t, car))
			require.Equal(t, complete, outcome, loss)
			p, err := elm.ByName(c.adapter)
			require.NoError(t, err)
			rate := "TCP"
			if c.baud > 0 {
				p.Baud, rate = c.baud, strconv.Itoa(c.baud)
			}
			least := physical(t, car, p, r.log)
			ratio := float64(r.took) / float64(least)
			name := strings.TrimSuffix(strings.TrimPrefix(car, "testdata/"), ".yaml")
			fmt.Fprintf(&b, "%-6s %-16s %7s %8d %7.2f s %7.2f s %7.2f s %6.2f", name, c.adapter, rate, r.requests, r.opened.Seconds(),
				(r.took - r.opened).Seconds(), least.Seconds(), ratio)
			for k := internal; k < kinds; k++ {
				fmt.Fprintf(&b, " %3d %6.2f s", r.spent.count[k], r.spent.time[k].Seconds())
			}
			b.WriteByte('\n')
			assert.Less(t, ratio, slack(c.adapter), "%s %s %s", name, c.adapter, rate)
			require.Greater(t, ratio, 1.0, "faster than physics: the minimum is not one")
		}
	}
	raised(t, &b)
	t.Log("\n" + b.String())
	if *update {
		require.NoError(t, os.WriteFile(speedFile, []byte(b.String()), 0o644))
	}
	require.FileExists(t, speedFile)
}
