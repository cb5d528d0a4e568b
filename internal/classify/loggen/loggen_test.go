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
	frames  = flag.Int("log.frames", 5_000_000, "and how many frames it has")
)

func TestTheDatabaseHasWhatItSays(t *testing.T) {
	d, err := dbc.Parse("loggen.dbc", loggen.DBC())
	require.NoError(t, err)
	require.Len(t, d.Messages(), loggen.Messages)
	n, big, signed, float, mux, ext := 0, 0, 0, 0, 0, 0
	for _, m := range d.Messages() {
		if m.Extended {
			ext++
		}
		if m.Multiplexed() {
			mux++
		}
		for _, s := range m.Signals {
			n++
			if s.BigEndian {
				big++
			}
			if s.Signed {
				signed++
			}
			if s.Float != dbc.Integer {
				float++
			}
		}
	}
	t.Logf("%d signals: %d big endian, %d signed, %d floats; %d messages multiplexed, %d with 29 bits", n, big, signed, float, mux, ext)
	require.InDelta(t, 640, n, 60)
	for _, k := range []int{big, signed, float, mux, ext} {
		require.Greater(t, k, 4)
	}
}

// Figures measured on one machine mean something on another only if the log is the same.
func TestTheLogIsTheSameEverywhere(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, loggen.Log(&b, 10_000, 1))
	require.Equal(t, "fc14014a0b7f6513dced23dc83455a7488cabd4cc81588431d5b9e7664059d68", fmt.Sprintf("%x", sha256.Sum256(b.Bytes())))
	require.Equal(t, "215a50cd0c109dc954ae3a0820d3aa60101a08a22f153a327f8b942a9df6ba05", fmt.Sprintf("%x", sha256.Sum256(loggen.DBC())))
}

// Not a test: writes the log for measuring other programs. go test ./internal/classify/loggen -args -log.out=FILE
func TestWriteLog(t *testing.T) {
	if *logFile == "" {
		t.Skip("no -log.out")
	}
	f, err := os.Create(*logFile)
	require.NoError(t, err)
	require.NoError(t, loggen.Log(f, *frames, 1))
	require.NoError(t, f.Close())
	require.NoError(t, os.WriteFile(*logFile+".dbc", loggen.DBC(), 0o644))
}
