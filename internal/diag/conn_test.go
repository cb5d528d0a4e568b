package diag_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"obdgate/internal/diag"
	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// The lane page and the scan may share a Conn: questions must take turns, answers must not be swapped.
func TestQuestionsTakeTurns(t *testing.T) {
	var rules []rule
	for pid := range 40 {
		rules = append(rules, once(fmt.Sprintf("7DF#0201%02X", pid), fmt.Sprintf("7E8#0341%02X%02X", pid, pid)))
	}
	onCAN(t, func() *car { return newCar(rules...) }, diag.Options{Gap: -1},
		func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, tap *tapped) {
			var wg sync.WaitGroup
			for pid := range 40 {
				wg.Go(func() {
					answers, err := c.Request(ctx, diag.Request{To: diag.Functional11, Payload: []byte{0x01, byte(pid)}, Expect: 1})
					if err != nil || len(answers) != 1 || answers[0].Err != nil || answers[0].Payload[2] != byte(pid) {
						t.Errorf("PID %02X: %v %v", pid, show(answers), err)
					}
				})
			}
			wg.Wait()
			for i, f := range tap.frames {
				require.EqualValues(t, i+1, f.Seq)
			}
		})
	t.Run("who is tired of waiting may go", func(t *testing.T) {
		onCAN(t, func() *car { return newCar() }, diag.Options{},
			func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, _ *tapped) {
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := c.Request(ctx, diag.Request{To: diag.Functional11, Payload: []byte{0x03}})
					if err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
				short, cancel := context.WithTimeout(ctx, 20*ms)
				defer cancel()
				_, err := c.Request(short, diag.Request{To: diag.Functional11, Payload: []byte{0x07}})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				_, err = c.Find(short)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				wg.Wait()
			})
	})
}

// held is a link whose reader was not given the processor for a while.
type held struct {
	link.Link
	once sync.Once
}

func (h *held) Recv(ctx context.Context) (frame.Frame, error) {
	h.once.Do(func() { time.Sleep(500 * ms) })
	return h.Link.Recv(ctx)
}

// A laptop that was busy must not make a healthy car silent: what came in time counts, however late it is read.
func TestAnswersReadLate(t *testing.T) {
	onCAN(t, func() *car { return newCar() }, diag.Options{}, func(t *testing.T, ctx context.Context, _ *diag.Conn, _ *car, _ *tapped) {
		h := &half{v: newCar(once("7DF#020100", "7E8#064100BE3EB813", "7E9#06410080000001"))}
		l := &held{Link: &queued{half: h}}
		answers, err := diag.New(l, diag.Options{}).Request(ctx, diag.Request{To: diag.Functional11, Payload: payload("0100")})
		require.NoError(t, err)
		require.Equal(t, []string{"7E8 4100BE3EB813", "7E9 410080000001"}, show(answers))
	})
	t.Run("the beginning of a long one", func(t *testing.T) {
		onCAN(t, func() *car { return newCar() }, diag.Options{}, func(t *testing.T, ctx context.Context, _ *diag.Conn, _ *car, _ *tapped) {
			h := &half{v: newCar(once("7DF#020902", "7E8#1008490201414141"), once("7E0#30", "7E8#214142"))}
			l := &held{Link: &queued{half: h}}
			answers, err := diag.New(l, diag.Options{}).Request(ctx, diag.Request{To: diag.Functional11, Payload: payload("0902")})
			require.NoError(t, err)
			require.Equal(t, []string{"7E8 4902014141414142"}, show(answers))
		})
	})
}

// queued is a full-duplex link that has everything at once and then waits.
type queued struct{ *half }

func (q *queued) Recv(ctx context.Context) (frame.Frame, error) {
	if err := ctx.Err(); err != nil {
		return frame.Frame{}, err
	}
	if len(q.queue) == 0 {
		<-ctx.Done()
		return frame.Frame{}, ctx.Err()
	}
	s := q.queue[0]
	q.queue = q.queue[1:]
	return parse(s.frame), nil
}

// A gateway that needs 299 ms says so in its answer to 10 01 (BMW); from then on it is given them.
func TestWaitingTimesAreTakenFromTheECU(t *testing.T) {
	onCAN(t, func() *car {
		return newCar(
			once("7E0#021001", "7E8#065001012B01F4"),
			rule{on: "7E0#0322F190", says: [][]step{{{290 * ms, "7E8#0462F19041"}}}},
		)
	}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, _ *tapped) {
		answers, err := c.Request(ctx, diag.Request{To: diag.Physical(ecu7E8), Payload: payload("1001")})
		require.NoError(t, err)
		require.Len(t, answers, 1)
		answers, err = c.Request(ctx, diag.Request{To: diag.Physical(ecu7E8), Payload: payload("22F190")})
		require.NoError(t, err)
		require.Equal(t, []string{"7E8 62F19041"}, show(answers))
	})
}

// A body ECU that cannot keep up is read with the pace that the options ask for.
func TestFlowControlAsConfigured(t *testing.T) {
	onCAN(t, func() *car {
		return newCar(
			once("7E0#0322F190", "7E8#101462F190414141"),
			once("7E0#30010A", "7E8#2141414141414141"),
			once("7E0#30010A", "7E8#2241414141414141"),
		)
	}, diag.Options{BlockSize: 1, STmin: 10}, func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, _ *tapped) {
		answers, err := c.Request(ctx, diag.Request{To: diag.Physical(ecu7E8), Payload: payload("22F190")})
		require.NoError(t, err)
		require.Equal(t, []string{"7E8 62F1904141414141414141414141414141414141"}, show(answers))
		require.Equal(t, []string{"7E0#0322F19000000000", "7E0#30010A0000000000", "7E0#30010A0000000000"}, v.frames())
	})
}

// A babbling bus with hundreds of addresses must not make the Conn grow without end, nor hide the first that answered.
func TestMoreAnswersThanECUs(t *testing.T) {
	var frames []string
	for ecu := range 256 {
		frames = append(frames, fmt.Sprintf("18DAF1%02X#03410D20", ecu))
	}
	onELM(t, link.Caps{}, func() *car { return newCar(always("18DB33F1#02010D", frames...)) },
		func(t *testing.T, c *diag.Conn, _ *half, _ *tapped) {
			for range 2 {
				answers, err := c.Request(t.Context(), diag.Request{To: diag.Functional29, Payload: payload("010D")})
				require.NoError(t, err)
				require.Len(t, answers, diag.MaxECUs)
				require.Equal(t, "18DAF100", answers[0].Addr.ECU())
			}
			// Others than those known so far take their places.
			answers, err := c.Request(t.Context(), diag.Request{To: diag.Functional11, Payload: payload("010D")})
			require.NoError(t, err)
			require.Empty(t, answers)
		})
}

// Error frames of the controller, remote frames and broadcast traffic are shown to the tap and are otherwise nothing.
func TestOtherTraffic(t *testing.T) {
	h := &half{v: newCar(), caps: link.Caps{HalfDuplex: true}}
	l := &canned{half: h}
	l.frames = []frame.Frame{
		{ID: 0x7E8, Flags: frame.Error, Len: 8, Data: [64]byte{4, 0x41, 0x0C, 1, 2}},
		{ID: 0x7E8, Flags: frame.Remote},
		{ID: 0x18DAF110, Flags: frame.Extended, Len: 5, Data: [64]byte{4, 0x41, 0x0C, 1, 2}},
		{ID: 0x280, Len: 8, Data: [64]byte{4, 0x41, 0x0C, 1, 2}},
		{ID: 0x486B10, Flags: frame.Legacy, Len: 4, Data: [64]byte{0x41, 0x0C, 1, 2}},
		{ID: 0x7E8},
		{ID: 0x7E9, Len: 5, Data: [64]byte{4, 0x41, 0x0C, 1, 2}},
	}
	n := 0
	c := diag.New(l, diag.Options{Tap: func(frame.Frame) { n++ }})
	answers, err := c.Request(context.Background(), diag.Request{To: diag.Functional11, Payload: payload("010C")})
	require.NoError(t, err)
	require.Equal(t, []string{"7E9 410C0102"}, show(answers))
	require.Equal(t, 8, n)
	require.EqualValues(t, 8, c.Stats().Frames)
}
