package elm327_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link/elm327"
	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/require"
)

// adaptersFile is what every simulated adapter is found to be.
const adaptersFile = "testdata/adapters.txt"

// plugged runs f with an open link through adapter to car, in a bubble.
func plugged(t *testing.T, adapter, car string, f func(t *testing.T, l *elm327.Link, v *sim.Vehicle)) {
	t.Helper()
	p, err := elm.ByName(adapter)
	require.NoError(t, err)
	v, err := sim.Load(car)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		a := elm.New(v, p, elm.Options{Scale: 1})
		ctx, cancel := context.WithCancel(context.Background())
		plugs := make(chan *end, 16)
		var wg sync.WaitGroup
		wg.Go(func() {
			for there := range plugs {
				_ = a.Serve(ctx, there)
			}
		})
		l, err := elm327.OpenOver(ctx, func(int) (io.ReadWriteCloser, error) {
			here, there := cable()
			plugs <- there
			return here, nil
		}, 0)
		require.NoError(t, err)
		defer func() {
			_ = l.Close()
			cancel()
			close(plugs)
			wg.Wait()
		}()
		f(t, l.(*elm327.Link), v)
	})
}

// Every simulated adapter is judged by what it does. The golden table is what a technician would be told.
func TestProbe(t *testing.T) {
	var b strings.Builder
	b.WriteString("# adapter: badge, level, what it cannot do; with a vehicle on the bus (golf8)\n# Written by TestProbe -update.\n")
	for _, name := range elm.Names() {
		plugged(t, name, "golf8", func(t *testing.T, l *elm327.Link, v *sim.Vehicle) {
			began := time.Now()
			rec, err := l.Probe(t.Context())
			require.NoError(t, err, name)
			require.Less(t, time.Since(began), 8*time.Second, name)
			for _, q := range v.Log() {
				require.NotEqual(t, []byte{9, 2}, q.Bytes, "a probe has no use for the VIN")
			}
			var no []string
			for a, is := range rec.Can {
				if is == elm327.No {
					no = append(no, string(a))
				}
			}
			slices.Sort(no)
			fmt.Fprintf(&b, "%-22s %-10s %-5s no: %s\n", name, rec.Badge(), rec.Level, strings.Join(no, " "))
			for _, loss := range rec.Cannot() {
				fmt.Fprintf(&b, "%-22s   %s\n", "", loss)
			}
			// The adapter is usable afterwards, and its settings are right again.
			p, err := elm.ByName(name)
			require.NoError(t, err)
			if p.Reaches(11) {
				require.NotEmpty(t, heard(t, l, frame.New(0x7DF, 0, 2, 1, 0, 0, 0, 0, 0, 0)), name)
			}
		})
	}
	if *update {
		require.NoError(t, os.WriteFile(adaptersFile, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(adaptersFile)
	require.NoError(t, err, "run this test with -update")
	require.Equal(t, string(want), b.String())
}

// A probe writes no programmable parameter, ends with its context, and says less without a vehicle, but nothing wrong.
func TestProbeWithoutVehicle(t *testing.T) {
	plugged(t, "genuine-1.4b", "legacy", func(t *testing.T, l *elm327.Link, _ *sim.Vehicle) {
		rec, err := l.Probe(t.Context())
		require.NoError(t, err)
		require.Equal(t, elm327.Genuine, rec.Badge())
		require.Equal(t, elm327.Unknown, rec.Can[elm327.Count])
		require.NotEmpty(t, rec.Volts)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = l.Probe(ctx)
		require.ErrorIs(t, err, context.Canceled)
	})
}

// What was found out is there at the next start; a damaged file costs nothing but time.
func TestMemory(t *testing.T) {
	dir := t.TempDir()
	addr, _ := simulated(t, "golf8", "v1.5-no-fc", "tcp")
	o := elm327.Options{Dir: filepath.Join(dir, "state")}
	open := func() *elm327.Link {
		l, err := o.Open(t.Context(), addr)
		require.NoError(t, err)
		return l.(*elm327.Link)
	}
	l := open()
	require.Equal(t, elm327.Unproven, func() elm327.Badge { r := l.Known(); return r.Badge() }())
	want, err := l.Probe(t.Context())
	require.NoError(t, err)
	require.Equal(t, elm327.PoorCopy, want.Badge())
	require.NoError(t, l.Close())
	l = open()
	got := l.Known()
	want.Volts = ""
	require.Equal(t, want, got)
	require.NoError(t, l.Close())
	file := filepath.Join(o.Dir, "adapters.json")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(b), "WVW", "nothing of the vehicle is kept")
	require.NoError(t, os.WriteFile(file, b[:len(b)/2], 0o600))
	l = open()
	r := l.Known()
	require.Equal(t, elm327.Unproven, r.Badge())
	require.NoError(t, l.Close())
}

// An ELM329 is judged by what it does, as any other: it has the CAN commands of its version and none of the older buses'.
func TestBadgeOfTheCANChip(t *testing.T) {
	can := map[elm327.Ability]elm327.Answer{elm327.LongAnswer: elm327.Yes}
	for _, c := range []struct {
		r    elm327.Record
		want elm327.Badge
	}{
		{elm327.Record{Adapter: "ELM329 v2.1", Level: "2.1", Can: can}, elm327.Genuine},
		{elm327.Record{Adapter: "ELM329 v2.0", Level: "2.0", Can: can}, elm327.Genuine},
		{elm327.Record{Adapter: "ELM329 v2.1", Level: "1.4", Can: can}, elm327.GoodCopy},
		{elm327.Record{Adapter: "ELM329 v2.1", Level: "2.1", Gap: true, Can: can}, elm327.GoodCopy},
		{elm327.Record{Adapter: "ELM329 v1.5", Level: "1.4", Can: can}, elm327.GoodCopy},
		{elm327.Record{Adapter: "ELM329 v2.1", Level: "2.1", Can: map[elm327.Ability]elm327.Answer{elm327.LongAnswer: elm327.No}}, elm327.PoorCopy},
	} {
		require.Equal(t, c.want, c.r.Badge(), "%+v", c.r)
	}
}
