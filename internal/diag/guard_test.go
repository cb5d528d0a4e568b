package diag_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"obdgate/internal/diag"
	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

func TestGuard(t *testing.T) {
	for _, c := range []struct {
		frame string
		bad   bool
	}{
		{"7DF#020100", false}, {"7E0#0322F190", false}, {"7E0#300000", false}, {"7E0#2101020304050607", false}, {"7E8#0641", false}, {"7E8#037F2E33", false},
		{"7DF#0104", true}, {"7E0#0414FFFFFF", true}, {"7E0#062EF19041", true}, {"7E0#0431010203", true}, {"7E0#021003", true}, {"7E0#021001", false},
		{"7E0#0211010000000000", true}, {"7E0#10142EF190414243", true}, {"7E0#101422F190414243", false}, {"7E0#10141001", true}, {"7E0#100000000020 2EF1", true},
		{"714#0322F190", false}, {"714#062EF19041", true}, {"77E#0462F190", false}, {"6F1#600322D10D", false}, {"6F1#60042E1234", true}, {"6F1#60300000", false},
		{"18DB33F1#0104", true}, {"18DA10F1#0322F190", false}, {"18DA10F1#022701", true}, {"18DAF110#026701", false}, {"17FC0076#0322295A", false}, {"17FC0076#042E295A", true},
		{"1DD01637#0322DD01", false}, {"1DD01637#0431010203", true}, {"100#0104", false}, {"0CF00400#0104", false},
		{"~686AF1#04", true}, {"~686AF1#0100", false}, {"~486B10#4100", false}, {"7E0#", false}, {"7E0#00", false}, {"7E0#01", false}, {"7E0##000A2EF190", true},
	} {
		f := parse(c.frame)
		err := diag.Guard(&f)
		require.Equal(t, c.bad, err != nil, c.frame)
		if c.bad {
			require.ErrorIs(t, err, diag.ErrForbiddenService)
		}
	}
}

// Millions of questions, clearings and frames, most of them meant to change something: what services the bus sees.
// OBDGATE_SEND_FUZZ is how many (10000000: about five minutes).
func TestSendPath(t *testing.T) {
	n := 20_000
	if s := os.Getenv("OBDGATE_SEND_FUZZ"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	const seed = 14229
	r := rand.New(rand.NewPCG(seed, 1979))
	asked, seen, refused := map[byte]int{}, map[byte]int{}, map[byte]int{}
	clears, frames := 0, 0
	targets := []diag.Target{diag.Functional11, diag.Functional29, diag.FunctionalLegacy, diag.FunctionalKWP, diag.Physical(ecu7E8), diag.Physical(ecuBMW)}
	l := &counting{half: &half{caps: link.Caps{HalfDuplex: true, Instant: true, FlowControl: true}}, seen: seen}
	c := diag.New(l, diag.Options{})
	bytesOf := func(n int) []byte {
		b := make([]byte, n, n+8)
		for i := 0; i < n; i += 8 {
			binary.LittleEndian.PutUint64(b[i : n : n+8][:8], r.Uint64())
		}
		return b
	}
	change := [][]byte{{0x04}, {0x08, 0x01}, {0x10, 0x03}, {0x10, 0x02}, {0x10, 0x81}, {0x11, 0x01}, {0x14, 0xFF, 0xFF, 0xFF}, {0x27, 0x01}, {0x28, 0x03}, {0x2E, 0xF1, 0x90, 0x41},
		{0x2F, 0x10, 0x00, 0x03}, {0x31, 0x01, 0xFF, 0x00}, {0x34, 0x00}, {0x36, 0x01}, {0x37}, {0x3B, 0x90}, {0x3D, 0x14}, {0x85, 0x02}, {0x87, 0x03}, {0xBA, 0x01}}
	for range n {
		var p []byte
		switch r.IntN(4) {
		case 0:
			p = bytesOf(r.IntN(16))
		case 1:
			p = append([]byte{[]byte("\x01\x02\x03\x06\x07\x09\x0A\x10\x19\x1A\x21\x22\x3E")[r.IntN(13)]}, bytesOf(r.IntN(8))...)
		default:
			p = append([]byte(nil), change[r.IntN(len(change))]...)
			for range r.IntN(3) { // mutate
				switch i := r.IntN(len(p)); r.IntN(3) {
				case 0:
					p[i] ^= 1 << r.IntN(8)
				case 1:
					p = append(p, byte(r.Uint32()))
				default:
					p = p[:max(1, i)]
				}
			}
		}
		to := targets[r.IntN(len(targets))]
		l.ext, l.clearing = to.Addr.Ext, false
		if r.IntN(64) == 0 {
			clears++
			l.clearing = true
			_, _ = c.Clear(context.Background(), to, diag.Clearing(r.IntN(8)))
			continue
		}
		if r.IntN(4) == 0 { // as a frame of a recording
			frames++
			f := frame.New([]uint32{0x7DF, 0x7E0, 0x7E3, 0x714, 0x18DB33F1, 0x18DA10F1}[r.IntN(6)], 0)
			if f.ID > 0x7FF {
				f.Flags |= frame.Extended
			}
			f.Len = uint8(copy(f.Data[:8], append([]byte{byte(min(len(p), 7))}, p...)))
			if diag.Guard(&f) == nil && f.Len > 1 && f.Data[0] > 0 && f.Data[1]&0x40 == 0 {
				l.count(f)
			} else if f.Len > 1 {
				refused[f.Data[1]]++
			}
			continue
		}
		before := l.sent
		if len(p) > 0 {
			asked[p[0]]++
		}
		if _, err := c.Request(context.Background(), diag.Request{To: to, Payload: p}); err != nil && l.sent == before && len(p) > 0 {
			refused[p[0]]++
		}
	}
	var b strings.Builder
	for _, s := range slices.Sorted(maps.Keys(seen)) {
		fmt.Fprintf(&b, "  %02X  %9d\n", s, seen[s])
	}
	total := 0
	for _, k := range refused {
		total += k
	}
	t.Logf("%d inputs with seed %d: %d questions put in %d services, %d clearings, %d recorded frames; refused %d\n"+
		"services the bus saw, and how often\n%s14 and 04 through Clear alone: %d", n, seed, sum(asked), len(asked), clears, frames, total, b.String(), l.cleared)
	require.Equal(t, []byte("\x01\x02\x03\x06\x07\x09\x0A\x10\x19\x1A\x21\x22\x3E"), slices.Sorted(maps.Keys(seen)))
	require.Empty(t, l.bad)
	require.Positive(t, l.cleared)
}

func sum(m map[byte]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

// counting is a silent bus that notes which requests begin on it.
type counting struct {
	*half
	seen          map[byte]int
	ext, clearing bool
	sent, cleared int
	bad           []string
}

func (l *counting) Send(_ context.Context, f frame.Frame) error {
	l.count(f)
	return nil
}

func (l *counting) Recv(context.Context) (frame.Frame, error) { return frame.Frame{}, link.ErrQuiet }

func (l *counting) count(f frame.Frame) {
	l.sent++
	service, second, ok := asked(f, l.ext && f.ID == ecuBMW.Tx)
	if !ok {
		return
	}
	b := f.Bytes()
	if l.clearing {
		if service == 0x04 || service == 0x14 && bytes.Contains(b, []byte{0x14, 0xFF, 0xFF, 0xFF}) {
			l.cleared++
			return
		}
		l.bad = append(l.bad, fmt.Sprintf("%02X by Clear", service))
	}
	if service == 0x10 && second != 0x01 {
		l.bad = append(l.bad, "10 of another session")
	}
	l.seen[service]++
}
