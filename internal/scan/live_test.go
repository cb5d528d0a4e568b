package scan_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/link"
	"obdgate/internal/link/replay"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/scan"

	"github.com/stretchr/testify/require"
)

func watching(t testing.TB, pids ...byte) scan.LiveOptions {
	o := options(t, scan.Full, consent.Granted)
	return scan.LiveOptions{Policy: o.Policy, DBC: o.DBC, PIDs: pids}
}

// live watches for so many rounds and returns them.
func live(t testing.TB, l link.Link, o scan.LiveOptions, rounds int) (all []scan.Round) {
	t.Helper()
	for one, err := range scan.Live(t.Context(), l, o) {
		require.NoError(t, err)
		if all = append(all, one); len(all) == rounds {
			break
		}
	}
	return all
}

func shown(one scan.Round) string {
	var out []string
	for _, v := range one.Values {
		out = append(out, fmt.Sprintf("%s %s=%v", v.ECU, strings.TrimPrefix(strings.TrimPrefix(string(v.Key), "obd.01."), "uds.22."), v.Value))
	}
	return strings.Join(out, ", ")
}

// What a live view shows, and that a round of six values is one question on CAN, however many control units answer it.
func TestLive(t *testing.T) {
	for _, c := range []struct {
		car       string
		pids      []byte
		want      string
		lacking   string
		questions int // a round
	}{
		{"golf8", []byte{0x05, 0x0C, 0x42}, "7E8 05=83 degC, 7E9 05=83 degC, 7E8 0C=762 rpm, 7E9 0C=761 rpm, 7E8 42=14.21 V, 7E9 42=14.19 V", "", 1},
		{"golf8", []byte{0x0D, 0x8B, 0x04}, "7E8 0D=0 km/h, 7E9 0D=0 km/h, 7E8 04=21.568627 %", "8B", 1},
		{"obdonuds", []byte{0x0C}, "7E8 F40C=712.5 rpm", "", 1},
		{"legacy", []byte{0x0C, 0x05}, "10 0C=800 rpm, 10 05=85 degC, 18 05=81 degC", "", 2},
		{"suv29", []byte{0x42}, "", "", 1},
	} {
		t.Run(fmt.Sprintf("%s % X", c.car, c.pids), func(t *testing.T) {
			l, v := car(t, c.car)
			o := watching(t, c.pids...)
			first := live(t, l, o, 1)[0]
			one := len(v.Log())
			const rounds = 11
			l, v = car(t, c.car)
			all := live(t, l, o, rounds)
			require.Equal(t, c.questions*(rounds-1), len(v.Log())-one, v.Log())
			require.Zero(t, v.OBFCMRequests())
			if c.want != "" {
				require.Equal(t, c.want, shown(first))
			} else {
				require.Len(t, first.Values, 7, "every control unit")
			}
			require.Equal(t, c.lacking, strings.TrimSpace(fmt.Sprintf("% X", first.Lacking)))
			require.Empty(t, all[rounds-1].Errors)
		})
	}
}

// Without a choice the usual values are shown, each of the control unit that comes first, in two questions a round.
func TestLiveUsual(t *testing.T) {
	for _, name := range []string{"golf8", "mini", "diesel", "phev", "bev", "suv29", "uds15", "obdonuds", "e350", "tahoe"} {
		t.Run(name, func(t *testing.T) {
			l, _ := car(t, name)
			one := live(t, l, watching(t), 1)[0]
			require.NotEmpty(t, one.Values)
			require.Empty(t, one.Lacking)
			require.Empty(t, one.Errors)
			seen := map[reading.Key]bool{}
			for _, v := range one.Values {
				require.False(t, seen[v.Key], "%s is shown twice", v.Key)
				seen[v.Key] = true
				_, absent := v.Value.(reading.Absent)
				require.False(t, absent, v.Key)
			}
		})
	}
}

// Speed is shown to the technician and is personal; engine speed is technical.
func TestLiveTags(t *testing.T) {
	l, _ := car(t, "golf8")
	o := watching(t, 0x0C, 0x0D)
	for _, v := range live(t, l, o, 1)[0].Values {
		require.Equal(t, v.Key == "obd.01.0C", o.Policy.Tag(v).Tag().Class == policy.Technical, v.Key)
	}
}

// A recording of a scan holds other combinations of the same PIDs: they are put instead.
func TestLiveFromARecording(t *testing.T) {
	for _, name := range []string{"golf8", "mini", "legacy", "tahoe"} {
		l, err := replay.Open(t.Context(), "replay:"+filepath.Join("../../fixtures/recordings", name+".log"))
		require.NoError(t, err)
		all := live(t, l, watching(t, 0x0C, 0x05), 2)
		require.NoError(t, l.Close())
		require.NotEmpty(t, all[1].Values, name)
		require.Empty(t, all[1].Errors, name)
		require.Equal(t, shown(all[0]), shown(all[1]))
	}
}

// The recording of a watching has no movement in it; it can be watched again.
func TestLiveRecording(t *testing.T) {
	path := filepath.Join(t.TempDir(), "live.log")
	f, err := os.Create(path)
	require.NoError(t, err)
	o := watching(t, 0x0C, 0x11)
	o.Record = f
	l, _ := car(t, "golf8")
	live(t, l, o, 2)
	require.NoError(t, f.Close())
	again, err := replay.Open(t.Context(), "replay:"+path)
	require.NoError(t, err)
	o.Record = nil
	one := live(t, again, o, 1)[0]
	require.NoError(t, again.Close())
	require.Equal(t, "7E8 0C=762 rpm, 7E9 0C=761 rpm, 7E8 11=0 %", shown(one), "the throttle was masked")
}

// Ctrl-C ends it without an error; an adapter that goes away, and PIDs nobody has, with one.
func TestLiveEnds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l, _ := car(t, "golf8")
	n := 0
	for _, err := range scan.Live(ctx, l, watching(t)) {
		require.NoError(t, err)
		if n++; n == 3 {
			stop()
		}
	}
	require.Equal(t, 3, n)
	var last error
	for _, err := range scan.Live(t.Context(), l, watching(t, 0x8B)) {
		last = err
	}
	require.ErrorIs(t, last, scan.ErrNotFitted)
	n = 0
	gone, _ := car(t, "golf8")
	for _, err := range scan.Live(t.Context(), gone, watching(t)) {
		last = err
		if n++; n == 2 {
			require.NoError(t, gone.Close())
		}
	}
	require.ErrorIs(t, last, link.ErrClosed)
	last = nil
	for _, err := range scan.Live(t.Context(), l, scan.LiveOptions{}) {
		last = err
	}
	require.ErrorIs(t, last, scan.ErrNoPolicy)
}
