package socketcan_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/linktest"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// patience bounds every wait of these tests; the machine they run in is emulated and shares the host.
const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func open(t testing.TB, uri string) *socketcan.Link {
	t.Helper()
	l, err := socketcan.Open(within(t), uri)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l.(*socketcan.Link)
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(within(t), name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
}

// own makes an interface for one test, which may then take it down. Only the test machine allows that.
func own(t testing.TB, name string, mtu int) {
	t.Helper()
	testtier.Require(t, testtier.VCAN)
	if !testtier.Machine() {
		t.Skip("changes network interfaces: runs in the test machine only (vcan/vm)")
	}
	run(t, "ip", "link", "add", "dev", name, "type", "vcan")
	run(t, "ip", "link", "set", name, "mtu", fmt.Sprint(mtu), "up")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
}

// every kind of frame a bus carries.
func kinds() []frame.Frame {
	long := make([]byte, 64)
	for i := range long {
		long[i] = byte(i)
	}
	return []frame.Frame{
		frame.New(0x7DF, 0, 2, 1, 0, 0, 0, 0, 0, 0),
		frame.New(0, 0),
		frame.New(0x7FF, 0, 0xFF),
		frame.New(0x123, frame.Extended, 1, 2, 3),
		frame.New(0x18DB33F1, 0, 2, 1, 0),
		frame.New(0x1FFFFFFF, 0, 9),
		{ID: 0x321, Flags: frame.Remote, Len: 3},
		frame.New(0x7E0, frame.FD, long[:12]...),
		frame.New(0x7E8, frame.FD|frame.BRS, long...),
		frame.New(0x18DAF110, frame.FD|frame.BRS|frame.ESI, long[:48]...),
	}
}

func same(t testing.TB, want, got frame.Frame) {
	t.Helper()
	require.Equal(t, want.IDString(), got.IDString())
	require.Equal(t, want.Flags, got.Flags)
	require.Equal(t, want.Bytes(), got.Bytes())
}

func TestConformance(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	ask := frame.New(0x7DF, 0, 2, 1, 0)
	replies := []frame.Frame{frame.New(0x7E8, 0, 6, 0x41, 0, 1, 2, 3, 4), frame.New(0x18DAF110, 0, 1, 2)}
	linktest.Run(t, func(t *testing.T) linktest.Fixture {
		car, err := socketcan.Open(t.Context(), "can://"+name)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				f, err := car.Recv(ctx)
				if err != nil {
					return
				}
				if f.ID != ask.ID {
					continue
				}
				for _, r := range replies {
					if car.Send(ctx, r) != nil {
						return
					}
				}
			}
		}()
		t.Cleanup(func() { cancel(); <-done; _ = car.Close() })
		l, err := socketcan.Open(t.Context(), "can://"+name)
		require.NoError(t, err)
		return linktest.Fixture{Link: l, Ask: ask, Answers: replies, Mute: frame.New(0x700, 0, 1)}
	})
}

func TestEveryKindOfFrameArrives(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	a, b := open(t, "can://"+name+"?fd=1"), open(t, "can://"+name)
	require.True(t, b.Caps().FD)
	ctx := within(t)
	for _, f := range kinds() {
		require.NoError(t, a.Send(ctx, f))
		got, err := b.Recv(ctx)
		require.NoError(t, err)
		same(t, f, got)
	}
	// What a sent does not come back to a: the first thing it hears is b.
	require.NoError(t, b.Send(ctx, frame.New(0x7E8, 0, 1)))
	got, err := a.Recv(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 0x7E8, got.ID)
	require.Equal(t, uint64(len(kinds())), a.Stats().Sent)
}

// candump, which shares no code with us, sees what we send.
func TestCandumpHearsUs(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	long := make([]byte, 64)
	for i := range long {
		long[i] = byte(i)
	}
	want := []string{"7DF#0201000000000000", "000#", "7FF#FF", "00000123#010203", "18DB33F1#020100", "1FFFFFFF#09", "321#R3",
		fmt.Sprintf("7E0##0%X", long[:12]), fmt.Sprintf("7E8##1%X", long), fmt.Sprintf("18DAF110##3%X", long[:48])}
	before := sockets(t)
	dump := exec.CommandContext(within(t), "candump", "-L", "-n", fmt.Sprint(len(want)), name)
	out, err := dump.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, dump.Start())
	require.Eventually(t, func() bool { return sockets(t) > before }, patience, time.Millisecond, "candump does not listen")
	l := open(t, "can://"+name)
	for _, f := range kinds() {
		require.NoError(t, l.Send(within(t), f))
	}
	lines := bufio.NewScanner(out)
	for i, w := range want {
		require.True(t, lines.Scan(), "candump ended after %d frames", i)
		_, text, _ := strings.Cut(strings.TrimSpace(lines.Text()), name+" ")
		// Newer kernels mark every FD frame with a third flag (CANFD_FDF), which candump prints.
		if id, rest, fd := strings.Cut(text, "##"); fd {
			text = fmt.Sprintf("%s##%d%s", id, (rest[0]-'0')&3, rest[1:])
		}
		require.Equal(t, w, text)
	}
	require.NoError(t, dump.Wait())
}

// sockets counts the kernel's receive list entries, so that a test knows when a peer listens.
func sockets(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/proc/net/can/rcvlist_all")
	require.NoError(t, err)
	return bytes.Count(text, []byte("\n"))
}

// cansend, which shares no code with us, is heard by us.
func TestWeHearCansend(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	l := open(t, "can://"+name)
	for text, want := range map[string]frame.Frame{
		"7E8#0641000102030400":                   frame.New(0x7E8, 0, 6, 0x41, 0, 1, 2, 3, 4, 0),
		"18DAF110#03410C1F":                      frame.New(0x18DAF110, 0, 3, 0x41, 0x0C, 0x1F),
		"00000123#":                              frame.New(0x123, frame.Extended),
		"123#R":                                  {ID: 0x123, Flags: frame.Remote},
		"7E8##0" + "0102030405060708090A0B0C":    frame.New(0x7E8, frame.FD, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
		"18DAF110##1" + strings.Repeat("AB", 64): frame.New(0x18DAF110, frame.FD|frame.BRS, bytes.Repeat([]byte{0xAB}, 64)...),
	} {
		run(t, "cansend", name, text)
		got, err := l.Recv(within(t))
		require.NoError(t, err)
		same(t, want, got)
	}
}

// A busy bus must not cost a frame: a lost consecutive frame is a lost answer.
func TestTwentyThousandFramesNoneLost(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	const n = 20000
	a, b := open(t, "can://"+name), open(t, "can://"+name)
	ctx := within(t)
	sent := make(chan error, 1)
	start := time.Now()
	go func() {
		for i := range n {
			if err := a.Send(ctx, frame.New(0x100, 0, byte(i), byte(i>>8))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range n {
		f, err := b.Recv(ctx)
		require.NoError(t, err)
		require.Equal(t, i&0xFFFF, int(f.Data[0])|int(f.Data[1])<<8, "frame %d", i)
	}
	require.NoError(t, <-sent)
	require.Equal(t, socketcan.Stats{Received: n}, b.Stats())
	t.Logf("%d frames in %v: %.0f frames/s", n, time.Since(start), n/time.Since(start).Seconds())
}

// Frames that no reader fetched in time are lost, but never in silence.
func TestLostFramesAreCounted(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	const n = 60000
	a, b := open(t, "can://"+name), open(t, "can://"+name)
	ctx := within(t)
	for i := range n {
		require.NoError(t, a.Send(ctx, frame.New(0x100, 0, byte(i))))
	}
	got := 0
	recv := func() (id uint32) {
		f, err := b.Recv(ctx)
		require.NoError(t, err)
		got++
		return f.ID
	}
	recv() // room for one more; the kernel tells the loss with the next frame it queues
	require.NoError(t, a.Send(ctx, frame.New(0x101, 0)))
	for recv() != 0x101 {
	}
	require.Positive(t, b.Stats().Lost)
	require.Equal(t, n+1, got+int(b.Stats().Lost))
}

// A frame's time is when it was on the bus, not when somebody came to fetch it, and times never run backwards.
func TestTimesAreTheKernels(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	before := time.Now()
	a, b := open(t, "can://"+name), open(t, "can://"+name)
	ctx := within(t)
	require.NoError(t, a.Send(ctx, frame.New(0x100, 0)))
	after := time.Since(before)
	<-time.After(100 * time.Millisecond) // the frame waits in the kernel
	f, err := b.Recv(ctx)
	require.NoError(t, err)
	require.Positive(t, f.Time)
	require.LessOrEqual(t, f.Time, after+time.Millisecond)
	last := f.Time
	for range 100 {
		require.NoError(t, a.Send(ctx, frame.New(0x100, 0)))
		f, err := b.Recv(ctx)
		require.NoError(t, err)
		require.GreaterOrEqual(t, f.Time, last)
		last = f.Time
	}
}

// A controller's cry for help is not data, and says what to do.
func TestErrorReports(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	l, monitor := open(t, "can://"+name), open(t, "can://"+name+"?errors=frames")
	ctx := within(t)
	for _, c := range []struct {
		text  string
		fault socketcan.Fault
		hint  string
	}{
		{"20000040#0000000000000000", socketcan.BusOff, "restart it"},
		{"20000020#0000000000000000", socketcan.NoAck, "is the ignition on"},
		{"20000004#0020000000000000", socketcan.TxPassive, "is the ignition on"},
	} {
		run(t, "cansend", name, c.text)
		_, err := l.Recv(ctx)
		require.ErrorIs(t, err, link.ErrBus)
		var fault *socketcan.BusError
		require.True(t, errors.As(err, &fault))
		require.Equal(t, c.fault, fault.Fault)
		var e *link.Error
		require.True(t, errors.As(err, &e))
		require.Contains(t, e.Hint, c.hint)

		f, err := monitor.Recv(ctx)
		require.NoError(t, err)
		require.True(t, f.Is(frame.Error))
	}
	// Lost arbitration is normal on a busy bus: counted, not told; the answer after it arrives.
	run(t, "cansend", name, "20000002#0500000000000000")
	run(t, "cansend", name, "7E8#01")
	f, err := l.Recv(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 0x7E8, f.ID)
	require.EqualValues(t, 4, l.Stats().Reports)
}

func TestFilters(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	car, tester, monitor := open(t, "can://"+name), open(t, "can://"+name), open(t, "can://"+name)
	ctx := within(t)
	var all = []frame.Frame{frame.New(0x3B3, 0, 1), frame.New(0x18FEF100, 0, 1), frame.New(0x7E8, 0, 1), frame.New(0x612, 0, 1),
		frame.New(0x18DAF110, 0, 1), frame.New(0x14DAF1A5, 0, 1), frame.New(0x17FE0076, 0, 1), frame.New(0x5C0, 0, 1)}
	play := func() {
		for _, f := range all {
			require.NoError(t, car.Send(ctx, f))
		}
	}
	hear := func(l link.Link, ids ...uint32) {
		t.Helper()
		for _, id := range ids {
			f, err := l.Recv(ctx)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%X", id), fmt.Sprintf("%X", f.ID))
		}
	}
	play()
	hear(tester, 0x3B3, 0x18FEF100, 0x7E8, 0x612, 0x18DAF110, 0x14DAF1A5, 0x17FE0076, 0x5C0)
	tester.SetHint(link.Hint{})
	play()
	hear(tester, 0x7E8, 0x612, 0x18DAF110, 0x14DAF1A5)
	tester.SetHint(link.Hint{Accept: []uint32{0x17FE0076, 0x5C0, 0x7E8}})
	play()
	hear(tester, 0x7E8, 0x612, 0x18DAF110, 0x14DAF1A5, 0x17FE0076, 0x5C0)
	tester.SetHint(link.Hint{Accept: []uint32{0x7E8}}) // a late answer of the others is still heard
	play()
	hear(tester, 0x7E8, 0x612, 0x18DAF110, 0x14DAF1A5, 0x17FE0076, 0x5C0)
	for range 4 {
		hear(monitor, 0x3B3, 0x18FEF100, 0x7E8, 0x612, 0x18DAF110, 0x14DAF1A5, 0x17FE0076, 0x5C0)
	}
}

func TestFramesTheInterfaceCannotCarry(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	classic := open(t, "can://"+name+"?fd=0")
	require.False(t, classic.Caps().FD)
	for _, f := range []frame.Frame{
		frame.New(0x7E0, frame.FD, make([]byte, 12)...),
		frame.New(0x486B10, frame.Legacy, 1),
		{ID: 0x40, Flags: frame.Error, Len: 8},
		{ID: 0x7E0, Len: 15},
	} {
		require.ErrorIs(t, classic.Send(within(t), f), link.ErrUnsupported)
	}
	require.Zero(t, classic.Stats().Sent)
}

func TestContextsOfWaitsDoNotMix(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	a, b := open(t, "can://"+name), open(t, "can://"+name)
	for range 200 {
		short, cancel := context.WithTimeout(context.Background(), 200*time.Microsecond)
		_, err := b.Recv(short)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		cancel()
		// The end of one wait must not end the next.
		require.NoError(t, a.Send(within(t), frame.New(0x7E8, 0)))
		_, err = b.Recv(within(t))
		require.NoError(t, err)
	}
}

func gone(t *testing.T, err error, hint string) {
	t.Helper()
	require.ErrorIs(t, err, link.ErrGone)
	var e *link.Error
	require.True(t, errors.As(err, &e))
	require.Contains(t, e.Hint, hint)
}

func TestInterfaceSwitchedOffWhileReading(t *testing.T) {
	own(t, "vcan7", 72)
	l := open(t, "can://vcan7")
	got := make(chan error, 1)
	go func() {
		_, err := l.Recv(within(t))
		got <- err
	}()
	run(t, "ip", "link", "set", "vcan7", "down")
	gone(t, <-got, "sudo ip link set vcan7 mtu 72 up")
	gone(t, l.Send(within(t), frame.New(0x7DF, 0)), "sudo ip link set vcan7 mtu 72 up")
	run(t, "ip", "link", "set", "vcan7", "up")
	_, err := l.Recv(within(t))
	gone(t, err, "vcan7") // a link that missed frames does not pretend it did not
	again := open(t, "can://vcan7")
	require.NoError(t, again.Send(within(t), frame.New(0x7DF, 0)))
}

// Whoever hears of it first, Send or Recv, both must end.
func TestInterfaceRemovedWhileSendingAndReading(t *testing.T) {
	own(t, "vcan7", 72)
	l := open(t, "can://vcan7")
	received, sent := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := l.Recv(within(t))
		received <- err
	}()
	go func() {
		for {
			if err := l.Send(within(t), frame.New(0x7DF, 0)); err != nil {
				sent <- err
				return
			}
		}
	}()
	run(t, "ip", "link", "del", "vcan7")
	require.ErrorIs(t, <-received, link.ErrGone)
	require.ErrorIs(t, <-sent, link.ErrGone)
}

// A queue that does not drain is what an adapter looks like when nobody acknowledges.
func TestFullQueue(t *testing.T) {
	own(t, "vcan7", 72)
	run(t, "ip", "link", "set", "vcan7", "txqueuelen", "10")
	run(t, "tc", "qdisc", "add", "dev", "vcan7", "root", "tbf", "rate", "8bit", "burst", "100", "limit", "1000")
	l := open(t, "can://vcan7")
	fill := func(ctx context.Context) (n int, err error) {
		for ; err == nil; n++ {
			err = l.Send(ctx, frame.New(0x7DF, 0, 1, 2, 3, 4, 5, 6, 7, 8))
		}
		return n, err
	}
	n, err := fill(within(t))
	require.ErrorIs(t, err, link.ErrBus)
	var e *link.Error
	require.True(t, errors.As(err, &e))
	require.Contains(t, e.Hint, "is the ignition on")
	require.Greater(t, n, 3)
	require.Positive(t, l.Stats().Waits)

	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, l.Send(short, frame.New(0x7DF, 0)), context.DeadlineExceeded)

	time.AfterFunc(20*time.Millisecond, func() { _ = l.Close() })
	require.ErrorIs(t, l.Send(within(t), frame.New(0x7DF, 0)), link.ErrClosed)
}

// A queue that is full for a moment costs time, not the request.
func TestQueueFullForAMoment(t *testing.T) {
	own(t, "vcan7", 72)
	run(t, "tc", "qdisc", "add", "dev", "vcan7", "root", "tbf", "rate", "200kbit", "burst", "100", "limit", "200")
	a, b := open(t, "can://vcan7"), open(t, "can://vcan7")
	for i := range 100 {
		require.NoError(t, a.Send(within(t), frame.New(0x7DF, 0, byte(i))))
	}
	for i := range 100 {
		f, err := b.Recv(within(t))
		require.NoError(t, err)
		require.Equal(t, byte(i), f.Data[0])
	}
	require.Positive(t, a.Stats().Waits, "the queue was never full: nothing was tested")
}

func TestOpenSaysWhatToType(t *testing.T) {
	own(t, "vcan7", 16)
	refused := func(uri, why, hint string) {
		t.Helper()
		_, err := socketcan.Open(within(t), uri)
		require.ErrorIs(t, err, link.ErrNoAdapter)
		var e *link.Error
		require.True(t, errors.As(err, &e))
		require.Contains(t, e.Error(), why)
		require.Contains(t, e.Hint, hint)
	}
	refused("can://can9", "no interface can9", "vcan7")
	refused("can://lo", "not a CAN interface", "ip -br link show type can")
	refused("can://vcan7?fd=1", "CAN FD switched off", "mtu 72 up")
	require.False(t, open(t, "can://vcan7").Caps().FD)
	run(t, "ip", "link", "set", "vcan7", "down")
	refused("can://vcan7", "is down", "sudo ip link set vcan7 mtu 72 up")

	all, err := socketcan.Interfaces()
	require.NoError(t, err)
	require.Contains(t, all, socketcan.Interface{Name: "vcan7", Virtual: true, MTU: 16})
}

// Where the kernel has no CAN, the user is told so and not sent looking for cables.
func TestKernelWithoutCAN(t *testing.T) {
	if fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW, unix.CAN_RAW); err == nil {
		_ = unix.Close(fd)
		t.Skip("this kernel has CAN")
	}
	_, err := socketcan.Open(within(t), "can://can0")
	require.ErrorIs(t, err, link.ErrNoAdapter)
	var e *link.Error
	require.True(t, errors.As(err, &e))
	require.Contains(t, e.Hint, "sudo modprobe can_raw")
	all, err := socketcan.Interfaces()
	require.NoError(t, err)
	require.Empty(t, all)
}

// Nothing is allocated per frame, so the collector of garbage never stands between the bus and the reader.
func TestNoAllocationPerFrame(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	a, b := open(t, "can://"+name), open(t, "can://"+name)
	ctx := within(t)
	f := frame.New(0x7E8, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	require.Zero(t, testing.AllocsPerRun(2000, func() {
		if a.Send(ctx, f) != nil {
			panic("send")
		}
		if _, err := b.Recv(ctx); err != nil {
			panic(err)
		}
	}))
}

// A batch is what has come, in order, with a report or a closed link told by the next call; and it costs no memory either.
func TestBatch(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	a := open(t, "can://"+name)
	l, err := socketcan.Open(within(t), "can://"+name)
	require.NoError(t, err)
	b := l.(*socketcan.Link)
	ctx := within(t)
	into := make([]frame.Frame, 16)
	for i := range 40 {
		require.NoError(t, a.Send(ctx, frame.New(uint32(i), 0, byte(i))))
	}
	var last time.Duration
	for got := 0; got < 40; {
		n, err := b.RecvBatch(ctx, into)
		require.NoError(t, err)
		require.Positive(t, n)
		for i := range into[:n] {
			require.EqualValues(t, got, into[i].ID)
			require.GreaterOrEqual(t, into[i].Time, last)
			last = into[i].Time
			got++
		}
	}
	f := frame.New(0x7E8, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		for range 8 {
			if a.Send(ctx, f) != nil {
				panic("send")
			}
		}
		for got := 0; got < 8; {
			n, err := b.RecvBatch(ctx, into)
			if err != nil {
				panic(err)
			}
			got += n
		}
	}))
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err = b.RecvBatch(short, into)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, a.Send(ctx, f))
	n, err := b.RecvBatch(ctx, into)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, l.Close())
	_, err = b.RecvBatch(ctx, into)
	require.ErrorIs(t, err, link.ErrClosed)
}

func BenchmarkSendRecv(bm *testing.B) {
	name := testtier.Require(bm, testtier.VCAN)
	for _, c := range []struct {
		name string
		f    frame.Frame
	}{{"classic", frame.New(0x7E8, 0, make([]byte, 8)...)}, {"FD64", frame.New(0x7E8, frame.FD|frame.BRS, make([]byte, 64)...)}} {
		bm.Run(c.name, func(bm *testing.B) {
			a, b := open(bm, "can://"+name), open(bm, "can://"+name)
			ctx := context.Background()
			bm.ReportAllocs()
			for bm.Loop() {
				if err := a.Send(ctx, c.f); err != nil {
					bm.Fatal(err)
				}
				if _, err := b.Recv(ctx); err != nil {
					bm.Fatal(err)
				}
			}
		})
	}
}
