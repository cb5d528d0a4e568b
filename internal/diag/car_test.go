package diag_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/diag"
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
	"obdgate/internal/link/memory"
)

// A scripted vehicle: literal frames in, literal frames out, so that no codec of ours can cancel its own bugs out.
// Frames are written as "7E8#0641..", with '~' in front a legacy header, '#' doubled for CAN FD.

// step is one frame that the vehicle sends, so long after the step before it.
type step struct {
	after time.Duration
	frame string
}

// rule is what the vehicle does when a frame that begins with on is received: says[n] at the n-th time, then nothing;
// with always the last one for ever.
type rule struct {
	on     string
	says   [][]step
	always bool
}

func say(frames ...string) []step {
	var s []step
	for _, f := range frames {
		s = append(s, step{time.Millisecond, f})
	}
	return s
}

// once: the vehicle answers on with these frames, 1 ms apart, the first time only.
func once(on string, frames ...string) rule { return rule{on: on, says: [][]step{say(frames...)}} }

// always: the same every time.
func always(on string, frames ...string) rule {
	return rule{on: on, says: [][]step{say(frames...)}, always: true}
}

func parse(s string) frame.Frame {
	var flags frame.Flags
	if strings.HasPrefix(s, "~") {
		flags, s = frame.Legacy, s[1:]
	}
	id, data, ok := strings.Cut(s, "#")
	if !ok {
		panic("frame without #: " + s)
	}
	if strings.HasPrefix(data, "#") {
		flags |= frame.FD
		data = data[1:]
	}
	n, err := strconv.ParseUint(id, 16, 32)
	if err != nil {
		panic(err)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(data, " ", ""))
	if err != nil {
		panic(err)
	}
	if len(id) == 8 {
		flags |= frame.Extended
	}
	f := frame.New(uint32(n), flags, b...)
	if err := f.Validate(); err != nil {
		panic(s + ": " + err.Error())
	}
	return f
}

func text(f frame.Frame) string {
	s := f.IDString() + "#"
	if f.Is(frame.Legacy) {
		s = "~" + s
	}
	if f.Is(frame.FD) {
		s += "#"
	}
	return s + strings.ToUpper(hex.EncodeToString(f.Bytes()))
}

// heard is what the vehicle has received, and when.
type heard struct {
	at    time.Duration
	frame string
}

type car struct {
	mu    sync.Mutex
	rules []rule
	count []int
	log   []heard
	start time.Time
}

func newCar(rules ...rule) *car {
	for i := range rules {
		rules[i].on = strings.ReplaceAll(rules[i].on, " ", "")
	}
	return &car{rules: rules, count: make([]int, len(rules)), start: time.Now()}
}

// take notes a frame and returns what the vehicle says to it.
func (v *car) take(f frame.Frame) []step {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := text(f)
	v.log = append(v.log, heard{time.Since(v.start), s})
	for i, r := range v.rules {
		if !strings.HasPrefix(s, r.on) {
			continue
		}
		n := v.count[i]
		if n >= len(r.says) {
			if !r.always {
				continue
			}
			n = len(r.says) - 1
		}
		v.count[i]++
		return r.says[n]
	}
	return nil
}

func (v *car) heard() []heard {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]heard(nil), v.log...)
}

// frames are the frames heard, without times.
func (v *car) frames() []string {
	var out []string
	for _, h := range v.heard() {
		out = append(out, h.frame)
	}
	return out
}

// drive runs the vehicle on a link until it is closed.
func (v *car) drive(ctx context.Context, l link.Link) {
	for {
		f, err := l.Recv(ctx)
		if err != nil {
			return
		}
		if steps := v.take(f); len(steps) > 0 {
			go func() {
				for _, s := range steps {
					time.Sleep(s.after)
					if l.Send(ctx, parse(s.frame)) != nil {
						return
					}
				}
			}()
		}
	}
}

// tapped collects what the tap saw.
type tapped struct{ frames []frame.Frame }

func (t *tapped) tap(f frame.Frame) { t.frames = append(t.frames, f) }

// at returns the frames with these sequence numbers as text.
func (t *tapped) at(seqs []uint64) []string {
	var out []string
	for _, s := range seqs {
		out = append(out, text(t.frames[s-1]))
	}
	return out
}

// onCAN runs a test in a bubble of its own time, with a Conn on one side of a CAN bus and the vehicle on the other.
func onCAN(t *testing.T, v func() *car, o diag.Options, test func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, tap *tapped)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		bus := memory.NewBus()
		tester, vehicle := bus.Attach("tester"), bus.Attach("car")
		the := v()
		go the.drive(ctx, vehicle)
		var tap tapped
		o.Tap = tap.tap
		test(t, ctx, diag.New(tester, o), the, &tap)
		cancel()
		_ = tester.Close()
		_ = vehicle.Close()
		time.Sleep(time.Minute) // the vehicle's last words
		synctest.Wait()
	})
}

// show writes answers as "7E8 410C1AF8" or "7E8 !error".
func show(answers []diag.Answer) []string {
	var out []string
	for _, a := range answers {
		s := a.Addr.ECU() + " "
		if a.Err != nil {
			s += "!" + a.Err.Error()
		} else {
			s += strings.ToUpper(hex.EncodeToString(a.Payload))
		}
		out = append(out, s)
	}
	return out
}

func payload(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// half is a half-duplex link in front of a scripted vehicle: every Send opens a window with the frames the vehicle says,
// then it is quiet. A step whose frame is "garbled" stands for link.ErrGarbled.
type half struct {
	v     *car
	caps  link.Caps
	queue []step
	hints []link.Hint
	fails map[string]error // Recv's error instead of quiet, by prefix of the frame sent
	fail  error
}

func (h *half) SetHint(hint link.Hint) { h.hints = append(h.hints, hint) }

func (h *half) Send(ctx context.Context, f frame.Frame) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h.queue, h.fail = h.v.take(f), nil
	for prefix, err := range h.fails {
		if strings.HasPrefix(text(f), prefix) {
			h.fail = err
		}
	}
	return nil
}

func (h *half) Recv(ctx context.Context) (frame.Frame, error) {
	if err := ctx.Err(); err != nil {
		return frame.Frame{}, err
	}
	if len(h.queue) == 0 {
		if h.fail != nil {
			return frame.Frame{}, fmt.Errorf("receive: %w", h.fail)
		}
		return frame.Frame{}, fmt.Errorf("receive: %w", link.ErrQuiet)
	}
	s := h.queue[0]
	h.queue = h.queue[1:]
	time.Sleep(s.after)
	if s.frame == "garbled" {
		return frame.Frame{}, fmt.Errorf("receive: %w", link.ErrGarbled)
	}
	return parse(s.frame), nil
}

func (h *half) Caps() link.Caps { return h.caps }
func (h *half) Close() error    { return nil }

// onELM runs a test on a half-duplex link.
func onELM(t *testing.T, caps link.Caps, v func() *car, test func(t *testing.T, c *diag.Conn, h *half, tap *tapped)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		caps.HalfDuplex = true
		h := &half{v: v(), caps: caps}
		var tap tapped
		test(t, diag.New(h, diag.Options{Tap: tap.tap}), h, &tap)
	})
}

var (
	ecu7E8 = isotp.Address{Tx: 0x7E0, Rx: 0x7E8}
	ecuBMW = isotp.Address{Tx: 0x6F1, Rx: 0x660, Ext: true, TxTarget: 0x60, RxTarget: 0xF1}
)
