package elm_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/require"
)

// session types a fixed list of commands with a second between them at an adapter with faults, on a clock of its own, and
// returns everything that came back.
func session(t *testing.T, seed uint64, faults ...string) (all string, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		list, err := elm.Faults(faults...)
		require.NoError(t, err)
		v, err := sim.Load("golf8")
		require.NoError(t, err)
		p, err := elm.ByName("")
		require.NoError(t, err)
		here, there := net.Pipe()
		a := elm.New(v, p, elm.Options{Scale: 1, Faults: list, Seed: seed})
		ended := make(chan error, 1)
		go func() { ended <- a.Serve(context.Background(), there) }()
		var got strings.Builder
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(&got, here)
		}()
		start := time.Now()
		for _, cmd := range append([]string{"ATE0", "ATS0", "ATH1", "ATSP0"}, strings.Fields(strings.Repeat("0100 0902 010C 0904 03 ", 9))...) {
			if _, err := here.Write([]byte(cmd + "\r")); err != nil {
				break
			}
			time.Sleep(4 * time.Second)
		}
		took = time.Since(start)
		_ = here.Close()
		require.NoError(t, <-ended)
		<-done
		all = got.String()
	})
	return all, took
}

// Every fault shows, in the same way for the same seed.
func TestEveryFaultShows(t *testing.T) {
	sound, _ := session(t, 1)
	require.NotContains(t, sound, "?")
	require.GreaterOrEqual(t, len(elm.FaultNames()), 25)
	shows := map[string]string{
		"nul": "\x00", "prompt-doubled": ">>", "merged": ">>", "echo": "010C\r7E", "chatter": "+CONNECTING<<00:1D", "no-data": "NO DATA\r\r>",
		"buffer-full": "BUFFER FULL\r\r>", "can-error": "CAN ERROR\r\r>", "stopped": "STOPPED\r\r>", "unable-once": "UNABLE TO CONNECT\r\r>",
		"fb-error": "FB ERROR\r\r>", "data-error": " <DATA ERROR\r", "rx-error": " <RX ERROR\r", "lv-reset": "\r\rLV RESET\r\r>", "err94": "ERR94\r\r>",
		"act-alert": "\rACT ALERT\r\r>", "lp-alert": "\rLP ALERT\r\r>", "wrong-ecu": "7EF06490055", "pending": "7E8037F0978\r7E8037F0978\r7E8037F0978\r7E810",
		"interleave": "7E81014490201575657\r7E921", "babble": "\r\r>7E8",
	}
	for _, name := range elm.FaultNames() {
		t.Run(name, func(t *testing.T) {
			seed := uint64(1)
			if name == "deaf" { // few characters come from the client
				seed = 3
			}
			got, took := session(t, seed, name)
			if name != "split" && name != "late" { // those change when, not what
				require.NotEqual(t, sound, got)
			}
			require.Contains(t, got, shows[name])
			again, same := session(t, seed, name)
			require.Equal(t, got, again, "not the same twice")
			require.Equal(t, took, same)
		})
	}
	_, err := elm.Faults("gremlins")
	require.ErrorIs(t, err, elm.ErrUnknown)
	require.ErrorContains(t, err, "babble-on")
}

// What changes the time and not the bytes: an answer that comes late, and one that comes in pieces.
func TestLateAndSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list, err := elm.Faults("late", "split")
		require.NoError(t, err)
		v, err := sim.Load("golf8")
		require.NoError(t, err)
		p, err := elm.ByName("")
		require.NoError(t, err)
		c := serve(t, v, p, elm.Options{Scale: 1, Faults: list, Seed: 7})
		c.setup("ATE0", "ATS0", "ATH1", "ATSP6")
		most, longest := 0, time.Duration(0)
		for range 10 {
			start := time.Now()
			go func() { _, _ = c.conn.Write([]byte("010C1\r")) }()
			for got := ""; !strings.HasSuffix(got, ">"); {
				b := make([]byte, 100)
				n, err := c.conn.Read(b)
				require.NoError(t, err)
				got, most = got+string(b[:n]), max(most, n)
			}
			longest = max(longest, time.Since(start))
		}
		require.LessOrEqual(t, most, 5)
		require.Greater(t, longest, 1300*time.Millisecond)
	})
}

// A damaged character never becomes another hex digit: what could not be noticed must not be part of a test of noticing.
func TestDamageCanBeSeen(t *testing.T) {
	const hex = "0123456789ABCDEF"
	for _, c := range []byte(hex) {
		require.NotContains(t, hex, string(rune(c^0x10)))
	}
}
