package isotp_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"obdgate/internal/isotp"
)

// pushed is one frame and all that it must lead to.
type pushed struct {
	at    time.Duration
	frame string // empty: Tick
	want  isotp.Event
}

func flow(bs byte, st isotp.STmin) isotp.Flow { return isotp.Flow{BlockSize: bs, STmin: st} }

func TestReceiver(t *testing.T) {
	const s = time.Second
	first := func(got, want int) isotp.Event {
		return isotp.Event{Kind: isotp.First, Began: true, Used: true, Reply: true, Got: got, Want: want}
	}
	cf := func(got, want int) isotp.Event {
		return isotp.Event{Kind: isotp.Consecutive, Used: true, Got: got, Want: want}
	}
	done := func(msg string, kind isotp.Kind) isotp.Event {
		m := unhex(msg)
		return isotp.Event{Kind: kind, Used: true, Message: m, Got: len(m), Want: len(m)}
	}
	with := func(e isotp.Event, change func(*isotp.Event)) isotp.Event { change(&e); return e }
	lost := func(kind isotp.Kind, err error, got, want int) isotp.Event {
		return isotp.Event{Kind: kind, Lost: true, Err: err, Got: got, Want: want}
	}
	for _, tc := range []struct {
		name string
		cfg  isotp.Config
		seq  []pushed
	}{
		{"padding of the last frame is no data", isotp.Config{}, []pushed{
			{0, "10 08 41 0D 00 0C 1A F8", first(6, 8)},
			{0, "21 05 3C AA AA AA AA AA", done("410D000C1AF8053C", isotp.Consecutive)},
		}},
		{"blocks", isotp.Config{BlockSize: 1, STmin: 5}, []pushed{
			{0, "10 10 41 4C 0C 0C 0C 0C", with(first(6, 16), func(e *isotp.Event) { e.Flow = flow(1, 5) })},
			{0, "21 0C 0C 0C 0C 0C 0C 0C", with(cf(13, 16), func(e *isotp.Event) { e.Reply, e.Flow = true, flow(1, 5) })},
			{0, "22 0C 0C 0C", done("414C0C0C0C0C0C0C0C0C0C0C0C0C0C0C", isotp.Consecutive)},
		}},
		{"listening only", isotp.Config{Passive: true, BlockSize: 1}, []pushed{
			{0, "10 08 41 0D 00 0C 1A F8", with(first(6, 8), func(e *isotp.Event) { e.Reply, e.Flow = false, flow(1, 0) })},
			{0, "21 05 3C", done("410D000C1AF8053C", isotp.Consecutive)},
		}},
		{"a frame is missing", isotp.Config{}, []pushed{
			{0, "10 14 49 02 01 57 42 41", first(6, 20)},
			{0, "22 30 30 30 30 30 30 30", lost(isotp.Consecutive, isotp.ErrSequence, 6, 20)},
			{0, "23 30 30 30 30 30 30 30", isotp.Event{Kind: isotp.Consecutive, Err: isotp.ErrUnexpected}},
		}},
		{"the same frame twice", isotp.Config{}, []pushed{
			{0, "10 14 49 02 01 57 42 41", first(6, 20)},
			{0, "10 14 49 02 01 57 42 41", with(first(6, 20), func(e *isotp.Event) { e.Err = isotp.ErrDuplicate })},
			{0, "21 31 32 33 34 35 36 37", cf(13, 20)},
			{0, "21 31 32 33 34 35 36 37", isotp.Event{Kind: isotp.Consecutive, Err: isotp.ErrDuplicate, Got: 13, Want: 20}},
			{0, "22 31 32 33 34 35 36 37", done("4902015742413132333435363731323334353637", isotp.Consecutive)},
			{0, "22 31 32 33 34 35 36 37", isotp.Event{Kind: isotp.Consecutive, Err: isotp.ErrDuplicate}},
		}},
		{"the same number with other bytes is no duplicate", isotp.Config{}, []pushed{
			{0, "10 14 49 02 01 57 42 41", first(6, 20)},
			{0, "21 31 32 33 34 35 36 37", cf(13, 20)},
			{0, "21 31 32 33 34 35 36 38", lost(isotp.Consecutive, isotp.ErrSequence, 13, 20)},
		}},
		{"a new message in the middle of another", isotp.Config{}, []pushed{
			{0, "10 14 49 02 01 57 42 41", first(6, 20)},
			{0, "10 08 41 0D 00 0C 1A F8", with(lost(isotp.First, isotp.ErrUnexpected, 6, 20), func(e *isotp.Event) {
				e.Began, e.Used, e.Reply = true, true, true
			})},
			{0, "03 7F 09 31", with(done("7F0931", isotp.Single), func(e *isotp.Event) { e.Lost, e.Err = true, isotp.ErrUnexpected })},
		}},
		{"the rest does not come", isotp.Config{}, []pushed{
			{0, "10 14 49 02 01 57 42 41", first(6, 20)},
			{s - 1, "", isotp.Event{}},
			{s - 1, "21 31 32 33 34 35 36 37", cf(13, 20)},
			{2*s - 2, "", isotp.Event{}},
			{2*s - 1, "", lost(isotp.NoPDU, isotp.ErrTimeoutCr, 13, 20)},
			{2*s - 1, "", isotp.Event{}},
		}},
		{"too late is too late, also without a Tick", isotp.Config{Timeout: 150 * time.Millisecond}, []pushed{
			{0, "10 14 49 02 01 57 42 41", first(6, 20)},
			{s, "21 31 32 33 34 35 36 37", lost(isotp.Consecutive, isotp.ErrTimeoutCr, 6, 20)},
			{s, "02 41 00", done("4100", isotp.Single)},
		}},
		{"announced beyond the limit", isotp.Config{Max: 64}, []pushed{
			{0, "10 41 49 02 01 57 42 41", isotp.Event{Kind: isotp.First, Err: isotp.ErrTooLong, Want: 65, Reply: true,
				Flow: isotp.Flow{Status: isotp.Overflow}}},
			{0, "21 31 32 33 34 35 36 37", isotp.Event{Kind: isotp.Consecutive, Err: isotp.ErrUnexpected}},
		}},
		{"classic frames never carry more than 4095, whatever the limit", isotp.Config{Max: 1 << 16}, []pushed{
			{0, "10 00 00 00 10 00 62 F1", isotp.Event{Kind: isotp.First, Err: isotp.ErrTooLong, Want: 4096, Reply: true,
				Flow: isotp.Flow{Status: isotp.Overflow}}},
		}},
		{"a short frame before the last", isotp.Config{}, []pushed{
			{0, "10 14 49 02 01 57 42 41", first(6, 20)},
			{0, "21 31 32 33", lost(isotp.Consecutive, isotp.ErrLength, 6, 20)},
		}},
		{"a last frame without all of the rest", isotp.Config{}, []pushed{
			{0, "10 0C 49 02 01 57 42 41", first(6, 12)},
			{0, "21 31 32 33", lost(isotp.Consecutive, isotp.ErrLength, 6, 12)},
		}},
		{"frames for somebody else change nothing", isotp.Config{Ext: true, Target: 0xF1}, []pushed{
			{0, "F1 10 0B 62 D1 0D 00 02", first(5, 11)},
			{0, "F2 21 00 00 00 00 00 00", isotp.Event{Err: isotp.ErrAddress}},
			{0, "F1 21 86 B3 00 02 86 B3", done("62D10D000286B3000286B3", isotp.Consecutive)},
		}},
		{"unknown kinds and flow control change nothing", isotp.Config{}, []pushed{
			{0, "10 08 41 0D 00 0C 1A F8", first(6, 8)},
			{0, "50 08", isotp.Event{Err: isotp.ErrReserved}},
			{0, "", isotp.Event{}},
			{0, "30 00 00", isotp.Event{Kind: isotp.FlowControl}},
			{0, "21 05 3C", done("410D000C1AF8053C", isotp.Consecutive)},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := isotp.NewReceiver(tc.cfg, nil)
			for i, p := range tc.seq {
				if p.frame == "" {
					require.Equal(t, p.want, r.Tick(p.at), "step %d", i)
					continue
				}
				got := r.Push(unhex(p.frame), p.at)
				require.Equal(t, p.want, got, "step %d: %s", i, p.frame)
				running := got.Got != got.Want && !got.Lost || got.Began
				_, deadline := r.Deadline()
				require.Equal(t, r.Running(), deadline)
				if running && got.Err == nil {
					require.True(t, r.Running())
					g, w := r.Progress()
					require.Equal(t, []int{got.Got, got.Want}, []int{g, w})
					require.Len(t, r.Partial(), g)
				}
			}
		})
	}
}

// A first frame that announces a megabyte must not reserve one.
func TestReceiverMemoryFollowsWhatArrives(t *testing.T) {
	buf := make([]byte, 0, 128)
	r := isotp.NewReceiver(isotp.Config{Max: isotp.MaxMessage}, buf)
	e := r.Push(append(unhex("10 00 00 0F 00 00"), make([]byte, 58)...), 0)
	require.NoError(t, e.Err)
	require.Equal(t, 0xF0000, e.Want)
	require.LessOrEqual(t, cap(r.Partial()), 128)
}

func TestSender(t *testing.T) {
	const s = time.Second
	long := unhex("22 F1 90 F1 87 F1 8C F1 89 F1 95 F1 97 F1 98 F1 99 F1 9A F1 9B F1 9C")
	start := func(t *testing.T, cfg isotp.SendConfig) (isotp.Sender, time.Duration) {
		snd := isotp.NewSender(cfg)
		require.NoError(t, snd.Start(long))
		require.ErrorIs(t, snd.Start(long), isotp.ErrBusy)
		f, ok := snd.Next(nil, 5)
		require.True(t, ok)
		require.Equal(t, unhex("10 17 22 F1 90 F1 87 F1"), f)
		_, ok = snd.Next(nil, 5)
		require.False(t, ok, "nothing before the flow control")
		d, ok := snd.Deadline()
		require.True(t, ok)
		return snd, d
	}
	t.Run("no flow control", func(t *testing.T) {
		snd, d := start(t, isotp.SendConfig{})
		require.Equal(t, 5+s, d)
		require.NoError(t, snd.Tick(d-1))
		require.ErrorIs(t, snd.Tick(d), isotp.ErrTimeoutBs)
		require.False(t, snd.Active())
	})
	t.Run("overflow", func(t *testing.T) {
		snd, _ := start(t, isotp.SendConfig{})
		require.ErrorIs(t, snd.Push(unhex("32 00 00"), 6), isotp.ErrOverflow)
		require.False(t, snd.Active())
	})
	t.Run("reserved status", func(t *testing.T) {
		snd, _ := start(t, isotp.SendConfig{})
		require.ErrorIs(t, snd.Push(unhex("34 00 00"), 6), isotp.ErrReserved)
		require.False(t, snd.Active())
	})
	t.Run("waits put the deadline off, but not for ever", func(t *testing.T) {
		snd, _ := start(t, isotp.SendConfig{MaxWait: 2})
		require.NoError(t, snd.Push(unhex("31 00 00"), s/2))
		d, _ := snd.Deadline()
		require.Equal(t, s/2+s, d)
		require.NoError(t, snd.Push(unhex("31 00 00"), s))
		require.ErrorIs(t, snd.Push(unhex("31 00 00"), s+1), isotp.ErrWaitLimit)
		require.False(t, snd.Active())
	})
	t.Run("block of one, 20 ms apart", func(t *testing.T) {
		snd, _ := start(t, isotp.SendConfig{})
		require.NoError(t, snd.Push(unhex("30 02 14"), 10))
		f, ok := snd.Next(nil, 10)
		require.True(t, ok)
		require.Equal(t, unhex("21 8C F1 89 F1 95 F1 97"), f)
		require.ErrorIs(t, snd.Push(unhex("32 00 00"), 11), isotp.ErrUnexpected, "out of turn: ignored")
		_, ok = snd.Next(nil, 10+20*time.Millisecond-1)
		require.False(t, ok)
		f, ok = snd.Next([]byte{0xEE}, 10+20*time.Millisecond)
		require.True(t, ok)
		require.Equal(t, unhex("EE 22 F1 98 F1 99 F1 9A F1"), f)
		_, ok = snd.Next(nil, s)
		require.False(t, ok, "the block is over")
		require.ErrorIs(t, snd.Push(unhex("03 7F 22 31"), s), isotp.ErrUnexpected)
		require.NoError(t, snd.Push(unhex("30 00 00"), s))
		f, ok = snd.Next(nil, s)
		require.True(t, ok)
		require.Equal(t, unhex("23 9B F1 9C 00 00 00 00"), f)
		require.False(t, snd.Active())
		require.ErrorIs(t, snd.Push(unhex("30 00 00"), s), isotp.ErrUnexpected)
	})
	t.Run("another ECU's flow control", func(t *testing.T) {
		snd := isotp.NewSender(isotp.SendConfig{Ext: true, Target: 0x60, Source: 0xF1})
		require.NoError(t, snd.Start(long))
		f, _ := snd.Next(nil, 0)
		require.Equal(t, unhex("60 10 17 22 F1 90 F1 87"), f)
		require.ErrorIs(t, snd.Push(unhex("F2 32 00 00"), 0), isotp.ErrAddress)
		require.NoError(t, snd.Push(unhex("F1 30 00 00"), 0))
	})
	t.Run("what cannot be sent", func(t *testing.T) {
		snd := isotp.NewSender(isotp.SendConfig{})
		require.ErrorIs(t, snd.Start(nil), isotp.ErrEmpty)
		require.ErrorIs(t, snd.Start(make([]byte, 4096)), isotp.ErrTooLong)
		snd = isotp.NewSender(isotp.SendConfig{FD: true})
		require.ErrorIs(t, snd.Start(make([]byte, isotp.MaxMessage+1)), isotp.ErrTooLong)
		require.True(t, snd.Fits(62))
		require.False(t, snd.Fits(63))
	})
}
