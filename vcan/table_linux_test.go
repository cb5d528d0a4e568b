package vcan_test

import (
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
	"obdgate/internal/isotp"
	"obdgate/internal/link"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/sim/bus"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// ours is our ISO-TP on a link: the machines, a clock and nothing else.
type ours struct {
	l    link.Link
	addr isotp.Address
	fd   bool
	pad  isotp.Padding
	bs   byte
	st   isotp.STmin

	began time.Time
	rx    isotp.Receiver
	heard int // consecutive frames of the last message received
}

func newOurs(l link.Link, a isotp.Address, fd bool, pad isotp.Padding, bs byte, st isotp.STmin) *ours {
	return &ours{l: l, addr: a, fd: fd, pad: pad, bs: bs, st: st, began: time.Now(), rx: isotp.NewReceiver(isotp.Config{
		Ext: a.Ext, Target: a.RxTarget, Max: isotp.MaxMessage, BlockSize: bs, STmin: st}, nil)}
}

func (o *ours) now() time.Duration { return time.Since(o.began) }

func (o *ours) put(ctx context.Context, data []byte) error {
	f := frame.Frame{ID: o.addr.Tx, Len: uint8(len(data))}
	if o.addr.Extended29 {
		f.Flags |= frame.Extended
	}
	if o.fd {
		f.Flags |= frame.FD | frame.BRS
	}
	copy(f.Data[:], data)
	return o.l.Send(ctx, f)
}

// recv waits for a frame of the other end until the given moment of o.now.
func (o *ours) recv(ctx context.Context, until time.Duration) (frame.Frame, error) {
	ctx, cancel := context.WithDeadline(ctx, o.began.Add(until))
	defer cancel()
	for {
		f, err := o.l.Recv(ctx)
		if err != nil || f.ID == o.addr.Rx {
			return f, err
		}
	}
}

func (o *ours) send(ctx context.Context, payload []byte) error {
	s := isotp.NewSender(isotp.SendConfig{Ext: o.addr.Ext, Target: o.addr.TxTarget, Source: o.addr.RxTarget, FD: o.fd, Pad: o.pad})
	if err := s.Start(payload); err != nil {
		return err
	}
	var buf []byte
	for s.Active() {
		for {
			out, ok := s.Next(buf[:0], o.now())
			if !ok {
				break
			}
			buf = out
			if err := o.put(ctx, out); err != nil {
				return err
			}
		}
		until, more := s.Deadline()
		if !more {
			return nil
		}
		f, err := o.recv(ctx, until)
		switch {
		case err == nil:
			if err := s.Push(f.Bytes(), o.now()); err != nil && !s.Active() {
				return err
			}
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			if err := s.Tick(o.now()); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

func (o *ours) receive(ctx context.Context) ([]byte, error) {
	o.heard = 0
	idle := o.now() + patience
	for {
		until := idle
		if d, ok := o.rx.Deadline(); ok {
			until = d
		}
		f, err := o.recv(ctx, until)
		var e isotp.Event
		switch {
		case err == nil:
			e = o.rx.Push(f.Bytes(), o.now())
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && until < idle:
			e = o.rx.Tick(o.now())
		default:
			return nil, err
		}
		if e.Kind == isotp.Consecutive {
			o.heard++
		}
		if e.Lost || e.Err != nil && !errors.Is(e.Err, isotp.ErrDuplicate) && !o.rx.Running() {
			return nil, e.Err
		}
		if e.Message != nil {
			return e.Message, nil
		}
		if e.Reply {
			out, err := isotp.Append(nil, isotp.PDU{Kind: isotp.FlowControl, Ext: o.addr.Ext, Target: o.addr.TxTarget, Flow: e.Flow})
			if err != nil {
				return nil, err
			}
			if err := o.put(ctx, o.pad.Append(out, 0)); err != nil {
				return nil, err
			}
		}
	}
}

// A pace is what a receiver asks of the sender, and the longest message that goes with it in reasonable time.
type pace struct {
	bs   byte
	st   isotp.STmin
	most int
}

func paces() []pace {
	p := []pace{{0, 0, 1 << 20}, {1, 0, 1000}, {2, 0, 1000}, {8, 0, 1 << 20}, {15, 0, 4095}, {255, 0, 1 << 20},
		{0, 1, 1000}, {8, 2, 500}, {4, 5, 256}, {0, 20, 112}, {3, 50, 62}, {0, 100, 30}, {0, 127, 21}}
	for st := isotp.STmin(0xF1); st <= 0xF9; st++ {
		p = append(p, pace{byte(st-0xF1) * 3, st, 500})
	}
	return p
}

// pads are the ways of filling frames up.
var pads = []struct {
	name string
	pad  isotp.Padding
}{{"none", isotp.Padding{Off: true}}, {"00", isotp.Padding{}}, {"55", isotp.Padding{Byte: 0x55}}, {"AA", isotp.Padding{Byte: 0xAA}}, {"CC", isotp.Padding{Byte: 0xCC}}}

// sizes are the message lengths of one row. Linux 6.1 takes 8200 bytes at most, and classic frames 4095.
func sizes(fd, all bool, row, most int) (out []int) {
	longest := 4095
	if fd {
		longest = 8200
	}
	most = min(most, longest)
	step := 9
	edges := []int{1, 5, 6, 7, 8, 12, 13, 14, 20, 21, 61, 62, 63, 64, 104, 105, 110, 111, 112, 255, 256, 500, 1000, 2047, 4094, 4095, 4096, 5000, 8199, 8200}
	for i, n := range edges {
		// A row takes some, beginning elsewhere each, so that all rows together have them all.
		if n <= most && (all || i%step == row%step) {
			out = append(out, n)
		}
	}
	if len(out) == 0 || out[len(out)-1] != most {
		out = append(out, most)
	}
	return out
}

// every is each length from 1 to the longest, the stride-th of them from first on.
func every(longest, first, stride int) (out []int) {
	for n := first; n <= longest; n += stride {
		out = append(out, n)
	}
	return out
}

// cell is one row of the table.
type cell struct {
	pair     int // in pairs
	fd       bool
	pad      int // in pads
	pace     pace
	lengths  []int
	received int
	sent     int
}

// slice are the rows of the short table: one way of addressing with every pace, the others with a third of them each; the
// paddings in turn.
func slice() (cells []*cell) {
	row := 0
	for i, pair := range pairs {
		if pair.name == "11-bit, short frames" {
			continue // padding is a column here
		}
		for _, fd := range []bool{false, true} {
			for number, p := range paces() {
				if (pair.name == "11-bit" && !fd) || number%3 == row%3 || p.most == 1<<20 {
					cells = append(cells, &cell{pair: i, fd: fd, pad: row % len(pads), pace: p, lengths: sizes(fd, false, row, p.most)})
				}
				row++
			}
		}
	}
	return cells
}

// full are the rows of the long table: every way of addressing with every pace and every padding at the edges of ISO-TP, and
// every length there is, as fast as it goes, with and without an address byte in the data. The lengths come in five strides, each with
// a padding of its own; 29 bits instead of 11 change no length, so those take one stride.
func full() (cells []*cell) {
	for i, pair := range pairs {
		if pair.name == "11-bit, short frames" {
			continue
		}
		for _, fd := range []bool{false, true} {
			for _, p := range paces() {
				for pad := range pads {
					cells = append(cells, &cell{pair: i, fd: fd, pad: pad, pace: p, lengths: sizes(fd, true, 0, p.most)})
				}
			}
		}
	}
	for i, pair := range pairs {
		if pair.name == "11-bit, short frames" {
			continue
		}
		for pad := range pads {
			if pair.ours.Extended29 && pad > 0 {
				continue
			}
			cells = append(cells, &cell{pair: i, pad: pad, lengths: every(4095, 1+pad, len(pads))},
				&cell{pair: i, fd: true, pad: pad, lengths: every(8200, 1+pad, len(pads))})
		}
	}
	return cells
}

func (c *cell) String() string {
	kind := "classic"
	if c.fd {
		kind = "FD 64"
	}
	return fmt.Sprintf("%-26s %-8s %-7s %3d %8v %9d %7d  %-12s %s\n", pairs[c.pair].name, kind, pads[c.pad].name, c.pace.bs, c.pace.st.Duration(),
		c.lengths[len(c.lengths)-1], len(c.lengths), equal(c.received, len(c.lengths)), equal(c.sent, len(c.lengths)))
}

// run exchanges the messages of one row on an interface.
func (c *cell) run(t *testing.T, on string) {
	pad, end := pads[c.pad], pairs[c.pair].end
	end.on, end.bs, end.stmin = on, c.pace.bs, byte(c.pace.st)
	end.pad, end.padByte, end.strict = !pad.pad.Off, pad.pad.Byte, pad.pad.Byte != 0 && !c.fd
	if c.fd {
		end.fd = 64
	}
	l, err := socketcan.Open(within(t), "can://"+on)
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	o := newOurs(l, pairs[c.pair].ours, c.fd, pad.pad, c.pace.bs, c.pace.st)
	c.received, c.sent = exchange(t, o, end, c.lengths)
}

// lanes are interfaces for rows that run side by side, since most rows wait most of the time. A developer's host has one.
func lanes(t *testing.T, n int) chan string {
	free := make(chan string, n)
	free <- testtier.Require(t, testtier.VCAN)
	for i := 1; i < n && testtier.Machine(); i++ {
		free <- second(t, fmt.Sprintf("vcanlane%d", i))
	}
	return free
}

// TestISOTPTable sends messages between our ISO-TP and the kernel's in both directions: addressing, classic and FD frames,
// block size, STmin, padding (which the kernel checks) and lengths. What must hold is in the table: all equal.
// OBDGATE_ISOTP_TABLE=full tries every padding with every pace at the edges of ISO-TP, and every length from 1 to 4095 and
// 8200: testdata/isotp-full.txt. Rows that wait leave room for others: -test.parallel 8 (in the machine, -test.timeout 60m).
func TestISOTPTable(t *testing.T) {
	testtier.Require(t, testtier.VCAN)
	cells, path := slice(), "testdata/isotp.txt"
	if os.Getenv("OBDGATE_ISOTP_TABLE") == "full" {
		cells, path = full(), "testdata/isotp-full.txt"
	}
	free := lanes(t, 8)
	began := time.Now()
	messages := 0
	t.Run("rows", func(t *testing.T) {
		for i, c := range cells {
			messages += 2 * len(c.lengths)
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				on := <-free
				defer func() { free <- on }()
				c.run(t, on)
			})
		}
	})
	var b strings.Builder
	fmt.Fprintf(&b, "# Our ISO-TP and the kernel's, both directions: %d rows, %d messages. Written by TestISOTPTable -update in the machine of vcan/vm.\n",
		len(cells), messages)
	fmt.Fprintf(&b, "%-26s %-8s %-7s %3s %8s %9s %7s  %-12s %s\n", "addressing", "frames", "padding", "BS", "STmin", "longest", "lengths", "we receive", "we send")
	for _, c := range cells {
		b.WriteString(c.String())
	}
	t.Logf("%d rows, %d messages in %v", len(cells), messages, time.Since(began).Round(time.Second))
	golden(t, path, b.String())
	require.NotContains(t, b.String(), "NOT")
}

func equal(n, of int) string {
	if n == of {
		return "all equal"
	}
	return fmt.Sprintf("%d NOT", of-n)
}

// exchange sends messages of these lengths from the kernel to us and from us to the kernel, and counts those that arrived
// as they were sent, no faster than was asked.
func exchange(t *testing.T, o *ours, end kernelEnd, lengths []int) (received, sent int) {
	t.Helper()
	f := end.socket(t)
	defer func() { _ = f.Close() }()
	for _, n := range lengths {
		received += tries(t, "kernel to us", n, func() (bool, string) { return fromKernel(t, o, f, noise(n, 3)) }, func() { f, o = again(t, end, f, o) })
		sent += tries(t, "us to kernel", n, func() (bool, string) { return toKernel(t, o, f, noise(n, 4)) }, func() { f, o = again(t, end, f, o) })
	}
	return received, sent
}

// tries exchanges a message up to three times. An emulated machine on a busy host stands still for longer than an end may be
// silent, and a virtual bus hands over frames that one thread sent from two processors in the order of the processors' queues
// (net/core/dev.c, netif_rx). A protocol that is got wrong fails every time.
func tries(t *testing.T, way string, n int, exchange func() (bool, string), again func()) int {
	t.Helper()
	for range 3 {
		did, why := exchange()
		if did {
			return 1
		}
		t.Logf("%s, %d bytes: %s", way, n, why)
		again()
	}
	return 0
}

// again makes both ends anew after a message that broke off.
func again(t *testing.T, end kernelEnd, f *os.File, o *ours) (*os.File, *ours) {
	t.Helper()
	require.NoError(t, f.Close())
	fresh := newOurs(o.l, o.addr, o.fd, o.pad, o.bs, o.st)
	for { // what is still on its way
		if _, err := fresh.recv(within(t), fresh.now()+100*time.Millisecond); err != nil {
			return end.socket(t), fresh
		}
	}
}

// least is the shortest time in which so many consecutive frames may come. No pause is asked for behind the last frame of a
// block.
func (o *ours) least(frames int) time.Duration {
	d := time.Duration(max(0, frames-2)) * o.st.Duration()
	if o.bs > 0 {
		d = d * time.Duration(o.bs-1) / time.Duration(o.bs)
	}
	return d
}

func fromKernel(t *testing.T, o *ours, f *os.File, want []byte) (bool, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, f.SetDeadline(time.Now().Add(patience)))
	began := time.Now()
	if _, err := f.Write(want); err != nil {
		return false, err.Error()
	}
	got, err := o.receive(ctx)
	switch took := time.Since(began); {
	case err != nil:
		return false, err.Error()
	case !bytes.Equal(want, got):
		return false, fmt.Sprintf("%d bytes, not equal", len(got))
	case took < o.least(o.heard):
		return false, fmt.Sprintf("in %v, less than %v", took, o.least(o.heard))
	}
	return true, ""
}

func toKernel(t *testing.T, o *ours, f *os.File, want []byte) (bool, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, f.SetDeadline(time.Now().Add(10*time.Second)))
	began := time.Now()
	if err := o.send(ctx, want); err != nil {
		return false, err.Error()
	}
	in := make([]byte, 9000)
	n, err := f.Read(in)
	perFrame := 7
	if o.fd {
		perFrame = 63
	}
	switch took := time.Since(began); {
	case err != nil:
		return false, err.Error()
	case !bytes.Equal(want, in[:n]):
		return false, fmt.Sprintf("%d bytes, not equal", n)
	case took < o.least((len(want)-perFrame)/perFrame):
		return false, fmt.Sprintf("in %v, less than %v", took, o.least((len(want)-perFrame)/perFrame))
	}
	return true, ""
}

// second brings a second interface up and returns its name. Only the test machine allows that.
func second(t *testing.T, name string) string {
	t.Helper()
	testtier.Require(t, testtier.VCAN)
	if !testtier.Machine() {
		t.Skip("makes network interfaces: runs in the test machine only (vcan/vm)")
	}
	for _, args := range [][]string{{"link", "add", "dev", name, "type", "vcan"}, {"link", "set", name, "mtu", "72", "up"}} {
		out, err := exec.CommandContext(within(t), "ip", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	return name
}

// TestISOTPOverAGateway puts our gateway between the kernel and us: wait frames before each flow control are borne by both,
// and of messages whose frames are lost, doubled or reordered none arrives wrong; most of the doubled ones arrive.
func TestISOTPOverAGateway(t *testing.T) {
	other := second(t, "vcan8")
	a := pairs[0].ours
	for _, c := range []struct {
		name  string
		fault string
		whole bool // every message arrives
	}{
		{"nothing wrong", "delay=0s", true},
		{"three wait frames", "wait=3", true},
		{"every consecutive frame twice", "duplicate=100%", false},
		{"10 % lost", "loss=10%", false},
		{"10 % out of order", "reorder=10%", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults := []string{c.fault}
			if !c.whole {
				faults = append(faults, "only=consecutive")
			}
			plan, err := bus.Parse(faults)
			require.NoError(t, err)
			stop := between(t, testtier.Require(t, testtier.VCAN), other, plan)
			end := pairs[0].end
			end.on, end.bs, end.stmin = other, 4, 0
			l := open(t)
			ctx := within(t)
			equal, told := [2]int{}, [2]int{}
			began := time.Now()
			for n := 20; n < 300; n += 80 {
				// A fresh socket and machine for each: what is left of a broken message must not decide about the next.
				f, o := end.socket(t), newOurs(l, a, false, isotp.Padding{}, 4, 0)
				want := noise(n, 5)
				require.NoError(t, f.SetDeadline(time.Now().Add(10*time.Second)))
				_, err := f.Write(want)
				require.NoError(t, err)
				got, err := o.receive(ctx)
				if err == nil {
					require.Equal(t, want, got, "kernel to us")
					equal[0]++
				} else {
					told[0]++
				}
				require.NoError(t, f.Close())

				f, o = end.socket(t), newOurs(l, a, false, isotp.Padding{}, 4, 0)
				require.NoError(t, f.SetDeadline(time.Now().Add(10*time.Second)))
				sendErr := o.send(ctx, want)
				in := make([]byte, 5000)
				var k int
				if err = sendErr; err == nil {
					k, err = f.Read(in)
				}
				if err == nil {
					require.Equal(t, want, in[:k], "us to kernel")
					equal[1]++
				} else {
					told[1]++
				}
				require.NoError(t, f.Close())
			}
			s := stop()
			t.Logf("%v: kernel to us %d equal, %d told; us to kernel %d equal, %d told; 0 wrong; gateway: %+v", time.Since(began).Round(time.Millisecond),
				equal[0], told[0], equal[1], told[1], s)
			require.NoError(t, l.Close())
			if c.whole { // but for a machine that stands still
				require.LessOrEqual(t, told[0]+told[1], 1)
			} else {
				require.Positive(t, s.Lost+s.Doubled+s.Reordered)
			}
			if c.name == "every consecutive frame twice" {
				require.LessOrEqual(t, told[0], 1, "a frame that comes twice does us no harm")
			}
		})
	}
}
