package loggen_test

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"testing"

	"obdgate/dbc"
	"obdgate/internal/classify/loggen"

	"github.com/stretchr/testify/require"
)

var (
	logFile = flag.String("log.out", "", "write the log to this file, and the database beside it as .dbc")
	logBus  = flag.String("log.bus", "classic", "of which bus: classic or fd")
	frames  = flag.Int("log.frames", 5_000_000, "and how many frames it has")
)

var buses = map[string]loggen.Bus{"classic": loggen.Classic, "fd": loggen.FD}

func TestTheDatabaseHasWhatItSays(t *testing.T) {
	for name, bus := range buses {
		d, err := dbc.Parse("loggen.dbc", bus.DBC())
		require.NoError(t, err)
		require.Len(t, d.Messages(), loggen.Messages)
		n, big, signed, float, bit, under, twice, ext, long := 0, 0, 0, 0, 0, 0, 0, 0, 0
		for _, m := range d.Messages() {
			if m.Extended {
				ext++
			}
			if m.Length > 8 {
				long++
			}
			for _, s := range m.Signals {
				n++
				for _, k := range []struct {
					is    bool
					count *int
				}{{s.BigEndian, &big}, {s.Signed && s.Float == dbc.Integer, &signed}, {s.Float != dbc.Integer, &float}, {s.Under != nil, &under}, {s.Under != nil && s.Under.Under != nil, &twice}, {s.Size == 1, &bit}} {
					if k.is {
						*k.count++
					}
				}
			}
		}
		t.Logf("%s: %d signals: %d big endian, %d signed, %d floats, %d of one bit, %d multiplexed, %d of them twice; %d messages with 29 bits, %d longer than 8 bytes",
			name, n, big, signed, float, bit, under, twice, ext, long)
		require.InDelta(t, 640, n, 80)
		for _, k := range []int{big, signed, float, bit, under, twice, ext} {
			require.Greater(t, k, 4)
		}
		require.Equal(t, bus == loggen.FD, long > 0)
	}
}

// Figures measured on one machine mean something on another only if the log is the same.
func TestTheLogIsTheSameEverywhere(t *testing.T) {
	for name, want := range map[string][2]string{
		"classic": {"544bab1a6cc904beb9cca3ae24e7788e7b73711dca26b2085da902fb4b062c59", "1a3d610e045ffd501f78de3b3dc08ffa041b075a184bd5f28dcd70acdb007701"},
		"fd":      {"6438dd4a56d37e3d52dc663996a6765a4f6812323899d3e48ad8ed42d9e81171", "76b4dfeb6bf9ae305cbc10ddfc4c6bb2d1bd3a5a7c418c5f81700ee178648c17"},
	} {
		var b bytes.Buffer
		require.NoError(t, buses[name].Log(&b, 10_000, 1))
		require.Equal(t, want[0], fmt.Sprintf("%x", sha256.Sum256(b.Bytes())), name)
		require.Equal(t, want[1], fmt.Sprintf("%x", sha256.Sum256(buses[name].DBC())), name)
	}
}

// Not a test: writes the log for measuring other programs. go test ./internal/classify/loggen -args -log.out=FILE
func TestWriteLog(t *testing.T) {
	if *logFile == "" {
		t.Skip("no -log.out")
	}
	f, err := os.Create(*logFile)
	require.NoError(t, err)
	require.NoError(t, buses[*logBus].Log(f, *frames, 1))
	require.NoError(t, f.Close())
	require.NoError(t, os.WriteFile(*logFile+".dbc", buses[*logBus].DBC(), 0o644))
}
