package monitor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/dbc"
	"obdgate/internal/canlog"
	"obdgate/internal/crash"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/memory"
	"obdgate/internal/monitor"
	"obdgate/internal/policy"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

func options(t testing.TB) monitor.Options {
	rules, err := policy.Default()
	require.NoError(t, err)
	db, err := dbc.Embedded()
	require.NoError(t, err)
	return monitor.Options{Policy: rules, DBC: db}
}

// mixed holds a technical answer (coolant), a personal one (speed), a VIN over three frames, an unknown identifier, a
// remote request, an error report and a CAN FD frame.
const mixed = `(10.000000) can0 7DF#0201050000000000
(10.002000) can0 7E8#0341055500000000
(10.100000) can0 7DF#02010D0000000000
(10.102000) can0 7E8#03410D3200000000
(10.200000) can0 7DF#0209020000000000
(10.202000) can0 7E8#1014490201575657
(10.203000) can0 7E0#3000000000000000
(10.204000) can0 7E8#215A5A5A4344304E
(10.205000) can0 7E8#2257303030303031
(10.300000) can1 18FEF100#AABB
(10.400000) can1 123#R2
(10.500000) can0 20000004#0004000000000000
(10.600000) can0 6AB##1112233445566778899AABBCC
`

func watch(t *testing.T, log string, o monitor.Options) (string, *monitor.Counts) {
	t.Helper()
	var out bytes.Buffer
	c, err := monitor.Run(t.Context(), monitor.Recorded(canlog.NewReader(strings.NewReader(log))), &out, o)
	require.NoError(t, err)
	return out.String(), c
}

func TestLines(t *testing.T) {
	out, c := watch(t, mixed, options(t))
	require.Equal(t, strings.TrimLeft(`
 (000.000000) can0 7DF      [8]  02 01 05 00 00 00 00 00  technical protocol
 (000.002000) can0 7E8      [8]  03 41 05 55 00 00 00 00  technical condition
 (000.100000) can0 7DF      [8]  02 01 0D 00 00 00 00 00  technical protocol
 (000.102000) can0 7E8      [8]  03 41 0D 32 00 00 00 00  personal movement
 (000.200000) can0 7DF      [8]  02 09 02 00 00 00 00 00  technical protocol
 (000.202000) can0 7E8      [8]  10 14 49 02 01 57 56 57  technical vehicle-identity
 (000.203000) can0 7E0      [8]  30 00 00 00 00 00 00 00  technical protocol
 (000.204000) can0 7E8      [8]  21 5A 5A 5A 43 44 30 4E  technical vehicle-identity
 (000.205000) can0 7E8      [8]  22 57 30 30 30 30 30 31  technical vehicle-identity
 (000.300000) can1 18FEF100 [2]  AA BB                    personal unclassified
 (000.400000) can1 123      [2]  remote request           personal unclassified
 (000.500000) can0 00000004 [8]  00 04 00 00 00 00 00 00  error report technical protocol
 (000.600000) can0 6AB      [12]  11 22 33 44 55 66 77 88 99 AA BB CC personal unclassified
`, "\n"), out)
	require.EqualValues(t, 13, c.Frames)
	require.EqualValues(t, 4, c.Personal)
	require.EqualValues(t, 1, c.Categories[policy.Movement].PersonalBytes-4, "the speed and four bytes of padding")
	var ids []string
	for _, i := range c.IDs() {
		f := frame.New(i.ID, 0)
		ids = append(ids, f.IDString())
	}
	require.Equal(t, []string{"004", "6AB", "7DF", "7E0", "7E8", "123", "18FEF100"}, ids)
}

func TestOnlyAndMask(t *testing.T) {
	o := options(t)
	o.Only, o.Count = policy.Personal, 2
	out, c := watch(t, mixed, o)
	require.Equal(t, 2, strings.Count(out, "\n"))
	require.NotContains(t, out, "technical")
	require.EqualValues(t, 2, c.Shown)
	o = options(t)
	o.Only = policy.Technical
	out, _ = watch(t, mixed, o)
	require.Equal(t, 9, strings.Count(out, "\n"))
	require.NotContains(t, out, "personal")
	o = options(t)
	o.Mask = true
	out, _ = watch(t, mixed, o)
	require.Contains(t, out, "03 41 0D 00 00 00 00 00  personal movement", "asked for, answered, and not shown")
	require.Contains(t, out, "[2]  00 00                    personal unclassified")
	require.Contains(t, out, "03 41 05 55")
}

// Every line is one object, whatever is in the frame, and says what the text says.
func TestJSON(t *testing.T) {
	o := options(t)
	o.JSON = true
	out, _ := watch(t, mixed, o)
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	n := 0
	for {
		var x struct {
			Time                                          float64
			Bus, ID, Data, Tag, Category                  string
			Len                                           int
			Extended, Remote, FD, BRS, ESI, Error, Legacy bool
			Signals                                       []struct{}
		}
		err := dec.Decode(&x)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.Equal(t, x.Remote, x.Data == "")
		require.NotEmpty(t, x.Category)
		n++
	}
	require.Equal(t, 13, n)
	require.Contains(t, out, `{"time":0.102000,"bus":"can0","id":"7E8","len":8,"data":"03410D3200000000","tag":"personal","category":"movement"}`)
	require.Contains(t, out, `"id":"18FEF100","len":2,"extended":true,`)
}

// Values stand under their frame with tags of their own, equal to what the database's own decoder says; under a mask only
// the technical ones.
func TestDecode(t *testing.T) {
	o := options(t)
	o.Decode = true
	var log []byte
	want := 0
	technical := 0
	rules := o.Policy.With(o.DBC)
	for _, m := range o.DBC.Messages() {
		f := frame.Frame{ID: m.ID, Len: uint8(frame.PadLen(m.Length))}
		if m.Extended {
			f.Flags |= frame.Extended
		}
		if f.Len > 8 {
			f.Flags |= frame.FD
		}
		if m.ID >= 0x7DF && m.ID < 0x7F0 {
			continue
		}
		for i := range f.Len {
			f.Data[i] = 0x5A ^ i*37
		}
		log = append(canlog.Append(log, &f, "can0", time.Unix(1, 0)), '\n')
		for _, r := range m.Readings(&f) {
			want++
			if rules.TagKey(r.Key).Class == policy.Technical {
				technical++
			}
		}
	}
	require.Greater(t, want, 20)
	out, _ := watch(t, string(log), o)
	require.Equal(t, want, strings.Count(out, " = "))
	require.Greater(t, technical, 5)
	o.Mask = true
	out, _ = watch(t, string(log), o)
	require.LessOrEqual(t, strings.Count(out, " = "), technical)
	require.Greater(t, strings.Count(out, " = "), 5)
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, " = ") {
			require.Contains(t, line, "  technical ")
		}
	}
	o.JSON = true
	out, _ = watch(t, string(log), o)
	for line := range strings.Lines(out) {
		require.True(t, json.Valid([]byte(line)), line)
	}
}

// A car's broadcast frames, heard live: nothing is sent, the end of the context is a normal end, and what is held is told.
func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, v, err := sim.OpenVehicle(t.Context(), "sim:golf8?traffic=1")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var out bytes.Buffer
		o := options(t)
		o.Live, o.Every = true, time.Second
		reports := 0
		o.Report = func(c *monitor.Counts) { reports++; require.NotZero(t, c.Frames) }
		c, err := monitor.Run(ctx, l, &out, o)
		require.NoError(t, err)
		require.Greater(t, c.Frames, uint64(50))
		require.Equal(t, int(c.Frames), strings.Count(out.String(), "\n"))
		require.Zero(t, c.Dropped)
		require.InDelta(t, 3, reports, 1)
		require.Empty(t, v.Log(), "a monitor asks nothing")
		require.NoError(t, l.Close())
	})
}

// The first frame of a message that never ends is shown after a while, not at the end of the day.
func TestHeldFramesAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := memory.NewBus()
		car, ear := bus.Attach("car"), bus.Attach("ear")
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		o := options(t)
		o.Live = true
		done := make(chan error)
		go func() {
			_, err := monitor.Run(ctx, ear, w, o)
			done <- err
		}()
		require.NoError(t, car.Send(ctx, frame.New(0x7E8, 0, 0x10, 0x14, 0x49, 2, 1, 0x57, 0x56, 0x57)))
		begin := time.Now()
		b := make([]byte, 200)
		n, err := r.Read(b)
		require.NoError(t, err)
		require.Contains(t, string(b[:n]), "10 14 49 02 01 57 56 57  personal unclassified")
		require.Less(t, time.Since(begin), 3*time.Second)
		cancel()
		require.NoError(t, <-done)
	})
}

type feed func() (frame.Frame, error)

func (f feed) Recv(context.Context) (frame.Frame, error) { return f() }

func TestEndings(t *testing.T) {
	run := func(out io.Writer, errs ...error) (*monitor.Counts, error) {
		i := -1
		return monitor.Run(t.Context(), feed(func() (frame.Frame, error) {
			i = min(i+1, len(errs)-1)
			return frame.New(1, 0), errs[i]
		}), out, options(t))
	}
	_, err := run(io.Discard, nil, link.ErrGone)
	require.ErrorIs(t, err, link.ErrGone)
	_, err = run(io.Discard, link.ErrQuiet)
	require.ErrorIs(t, err, monitor.ErrNotABus)
	c, err := run(io.Discard, link.ErrGarbled, nil, link.ErrBus, io.EOF)
	require.NoError(t, err)
	require.EqualValues(t, 2, c.Faults)
	_, err = run(io.Discard, link.ErrBus)
	require.ErrorIs(t, err, link.ErrBus, "a link that reports nothing else has nothing to hear")
	_, err = run(failing{}, nil)
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// endless repeats one frame of a broadcast message and one of an unknown kind.
func endless(n int) feed {
	i := 0
	a, b := frame.New(0x7E8, 0, 3, 0x41, 5, 0x55, 0, 0, 0, 0), frame.New(0x3B4, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	return func() (frame.Frame, error) {
		if i++; i > n {
			return frame.Frame{}, io.EOF
		}
		f := a
		if i&1 == 0 {
			f = b
		}
		f.Time = time.Duration(i) * 100 * time.Microsecond
		return f, nil
	}
}

// Receiving, tagging and writing cost no memory per frame: a bus at full load for a day must not fill the machine's.
func TestNoAllocationsPerFrame(t *testing.T) {
	for _, json := range []bool{false, true} {
		o := options(t)
		o.JSON, o.Decode = json, true
		run := func(n int) float64 {
			return testing.AllocsPerRun(3, func() {
				_, err := monitor.Run(t.Context(), endless(n), io.Discard, o)
				require.NoError(t, err)
			})
		}
		few, many := run(200_000), run(400_000)
		require.Less(t, many-few, 200.0, "200,000 more frames took %v more allocations", many-few)
	}
}

func BenchmarkRun(b *testing.B) {
	for name, change := range map[string]func(*monitor.Options){
		"text": func(*monitor.Options) {}, "json": func(o *monitor.Options) { o.JSON = true },
		"decode": func(o *monitor.Options) { o.Decode = true }, "mask": func(o *monitor.Options) { o.Mask = true },
		"stats": func(o *monitor.Options) { o.Silent = true },
	} {
		b.Run(name, func(b *testing.B) {
			o := options(b)
			change(&o)
			b.ReportAllocs()
			c, err := monitor.Run(b.Context(), endless(b.N), io.Discard, o)
			require.NoError(b, err)
			require.Zero(b, c.Dropped)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mframes/s")
		})
	}
}

// Two buses watched together: every frame of both comes, with its bus, and when one ends the other goes on.
func TestSeveralBuses(t *testing.T) {
	base := options(t)
	synctest.Test(t, func(t *testing.T) {
		one, two := memory.NewBus(), memory.NewBus()
		a, b := one.Attach("a"), two.Attach("b")
		ears := monitor.Several{one.Attach("ear a"), two.Attach("ear b")}
		o := base
		o.Live, o.Count, o.JSON = true, 300, true
		ended := make(chan int, 1)
		o.Ended = func(bus int, err error) { ended <- bus }
		o.Bus = func(i uint8) string { return []string{"left", "right"}[i] }
		var out bytes.Buffer
		done := make(chan error, 1)
		var c *monitor.Counts
		go func() {
			var err error
			c, err = monitor.Run(t.Context(), ears, &out, o)
			done <- err
		}()
		for i := range 100 {
			require.NoError(t, a.Send(t.Context(), frame.New(0x100, 0, byte(i))))
			require.NoError(t, b.Send(t.Context(), frame.New(0x100, 0, byte(i))))
		}
		synctest.Wait() // what lies unread in a closed link is lost
		require.NoError(t, ears[0].(link.Link).Close())
		require.Equal(t, 0, <-ended)
		for i := range 100 {
			require.NoError(t, b.Send(t.Context(), frame.New(0x200, 0, byte(i))))
		}
		require.NoError(t, <-done)
		require.EqualValues(t, 300, c.Frames)
		require.Equal(t, 100, strings.Count(out.String(), `"left"`))
		require.Equal(t, 200, strings.Count(out.String(), `"right"`))
		require.Len(t, c.IDs(), 3)
		require.NoError(t, errors.Join(a.Close(), b.Close(), ears[1].(link.Link).Close()))
	})
}

type falling struct{}

func (falling) Recv(context.Context) (frame.Frame, error) { panic("62F190WVWZZZ") }

// A fault while receiving reaches whoever called Run, who knows how to tell of it without quoting it.
func TestAPanicOfAFeedIsTheCallers(t *testing.T) {
	defer func() {
		c, ok := recover().(*crash.Crash)
		require.True(t, ok)
		require.Contains(t, string(c.Stack), "falling.Recv")
	}()
	_, _ = monitor.Run(t.Context(), falling{}, io.Discard, options(t))
	t.Error("the fault was swallowed")
}
