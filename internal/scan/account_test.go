package scan_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/reading"
	"obdgate/internal/scan"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/asked-*.txt anew")

// single cuts a question into what it asks for, one by one: PID, InfoType, MID, DID; everything else is one thing.
func single(b []byte) (out []string) {
	stride := map[byte]int{0x01: 1, 0x06: 1, 0x09: 1, 0x22: 2, 0x02: 2}[b[0]]
	if stride == 0 || len(b) == 1 {
		return []string{fmt.Sprintf("%X", b)}
	}
	for r := b[1:]; len(r) >= stride; r = r[stride:] {
		out = append(out, fmt.Sprintf("%02X%X", b[0], r[:stride]))
	}
	return out
}

// values counts the readings that answer one thing asked.
func values(rs []reading.Reading, thing string) (n int, who map[string]bool) {
	who = map[string]bool{}
	for _, r := range rs {
		raw := fmt.Sprintf("%X", r.Raw)
		if want := fmt.Sprintf("%02X%s", (thing[0]-'0')*16+hexDigit(thing[1])|0x40, thing[2:]); strings.HasPrefix(raw, want) || thing[:2] == "19" && strings.HasPrefix(raw, want[:4]) {
			n++
			who[r.ECU] = true
		}
	}
	return n, who
}

func hexDigit(c byte) byte {
	return byte(strings.IndexByte("0123456789ABCDEF", c))
}

// The account of a full read of the car with seven control units: every question that was put on the bus, who heard it,
// what came of it. Nothing is asked of a control unit twice, and nothing that no value or refusal came of.
func TestAccountOfSevenControlUnits(t *testing.T) {
	l, v := car(t, "suv29")
	s, err := scan.Run(t.Context(), l, options(t, scan.Full, consent.Granted))
	require.NoError(t, err)
	require.Len(t, s.ECUs, 7)
	require.Empty(t, s.Errors)
	log := v.Log()
	asked := map[string]int{}
	used, things, empty, idle := 0, 0, 0, []string{}
	var b strings.Builder
	for i, r := range log {
		came := 0
		who := map[string]bool{}
		for _, thing := range single(r.Bytes) {
			n, by := values(s.Readings, thing)
			if len(r.ECUs) == 0 { // who answered this was asked elsewhere
				n, by = 0, nil
			}
			came += n
			for e := range by {
				who[e] = true
			}
			things++
			if n > 0 {
				used++
			}
			for _, e := range r.ECUs {
				asked[e+" "+thing]++
			}
		}
		fmt.Fprintf(&b, "%3d  %-8s  %-32s heard by %d, answered with values by %d, %d values\n", i+1, r.ID, fmt.Sprintf("%X", r.Bytes), len(r.ECUs), min(len(who), len(r.ECUs)), came)
		switch {
		case came > 0, r.Bytes[0] == 0x03, r.Bytes[0] == 0x07, r.Bytes[0] == 0x0A: // an empty memory is an answer
		case len(r.ECUs) == 0:
			empty++
		default:
			idle = append(idle, fmt.Sprintf("%s %X", r.ID, r.Bytes))
		}
	}
	fmt.Fprintf(&b, "\n%d questions on the bus, %d things asked for, %d of them gave values; readings: %d, control units: %d\n"+
		"%d to addresses where nobody is; %d that were refused whole:\n  %s\n", len(log), things, used, len(s.Readings), len(s.ECUs), empty, len(idle), strings.Join(idle, "\n  "))
	var twice []string
	for q, n := range asked {
		if n > 1 {
			twice = append(twice, fmt.Sprintf("%s: %d", q, n))
		}
	}
	slices.Sort(twice)
	fmt.Fprintf(&b, "asked twice of one control unit: %d\n", len(twice))
	path := "testdata/asked-suv29.txt"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	}
	require.Empty(t, twice, "asked twice")
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String(), "go test ./internal/scan -run Account -update")
}
