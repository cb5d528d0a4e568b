package elm327

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

// A plug pulled and put back, also between two questions: the question is answered as if nothing had been, with all
// settings sent anew.
func TestReplugged(t *testing.T) {
	for _, c := range []struct {
		name   string
		absent time.Duration
		idle   bool
		is     error
		within time.Duration
	}{
		{"at once", 0, false, nil, time.Second},
		{"after a second", time.Second, false, nil, 2 * time.Second},
		{"between two questions", time.Second, true, nil, 2 * time.Second},
		{"after less than a second", 300 * time.Millisecond, false, nil, 1300 * time.Millisecond},
		{"after a while", 2500 * time.Millisecond, false, nil, 3500 * time.Millisecond},
		{"after a long while", 6 * time.Second, false, nil, 7 * time.Second},
		{"never", time.Hour, false, link.ErrGone, 9 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			pulled := 0
			var chip *chip
			chip = newChip(func(cmd string, _ int) (say, bool) {
				switch {
				case cmd == "0100":
					return say{text: support}, true
				case cmd == "010C" && !c.idle && pulled == 0:
					pulled++
					chip.send("7E80441")
					chip.unplug()
					return say{}, true
				case cmd == "010C":
					return say{text: "7E804410C1AF8\r\r>"}, true
				}
				return say{}, false
			})
			chip.absent = c.absent
			bubble(t, chip, func(t *testing.T, l *Link) {
				_, errs := ask(t, l, askSupport)
				require.Empty(t, errs)
				if c.idle {
					chip.mu.Lock()
					chip.unplug()
					chip.mu.Unlock()
					synctest.Wait()
				}
				chip.said()
				began := time.Now()
				frames, errs := ask(t, l, askEngine)
				require.LessOrEqual(t, time.Since(began), c.within)
				if c.is != nil {
					require.NotEmpty(t, errs)
					require.ErrorIs(t, errs[0], c.is)
					_, errs = ask(t, l, askEngine)
					require.ErrorIs(t, errs[0], c.is, "once is enough")
					require.LessOrEqual(t, time.Since(began), c.within)
					return
				}
				require.Empty(t, errs)
				require.Equal(t, []string{"7E8#04410C1AF8"}, ids(frames))
				said := chip.said()
				require.Equal(t, []string{"ATTP6", "ATCAF1", "ATSH7E0", "010C"}, said[len(said)-4:])
			})
		})
	}
}

// What comes back must be what went away, and nobody is kept waiting who does not want to wait.
func TestReopeningEnds(t *testing.T) {
	chip := newChip(on(map[string]string{"0100": support}))
	bubble(t, chip, func(t *testing.T, l *Link) {
		_, errs := ask(t, l, askSupport)
		require.Empty(t, errs)
		chip.mu.Lock()
		chip.script = on(map[string]string{"ATI": "ELM327 v2.1\r\r>"})
		chip.unplug()
		chip.mu.Unlock()
		_, errs = ask(t, l, askSupport)
		require.NotEmpty(t, errs)
		require.ErrorIs(t, errs[0], link.ErrGone)
		require.ErrorContains(t, errs[0], "another adapter")
	})
	chip = newChip(on(map[string]string{"0100": support}))
	bubble(t, chip, func(t *testing.T, l *Link) {
		_, errs := ask(t, l, askSupport)
		require.Empty(t, errs)
		chip.mu.Lock()
		chip.absent = 3 * time.Second
		chip.unplug()
		chip.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		require.ErrorIs(t, l.Send(ctx, askSupport), context.DeadlineExceeded)
		require.LessOrEqual(t, time.Since(began), time.Second)
		time.Sleep(3 * time.Second) // of the bubble
		frames, errs := ask(t, l, askSupport)
		require.Empty(t, errs, "a cancelled wait does not end the link")
		require.Len(t, frames, 2)
	})
	chip = newChip(on(map[string]string{"0100": support}))
	bubble(t, chip, func(t *testing.T, l *Link) {
		_, errs := ask(t, l, askSupport)
		require.Empty(t, errs)
		chip.mu.Lock()
		chip.absent = time.Hour
		chip.unplug()
		chip.mu.Unlock()
		failed := make(chan error, 1)
		go func() { failed <- l.Send(context.Background(), askSupport) }()
		time.Sleep(time.Second) // of the bubble
		began := time.Now()
		require.NoError(t, l.Close())
		require.LessOrEqual(t, time.Since(began), time.Second)
		require.ErrorIs(t, <-failed, link.ErrClosed)
	})
}

// Nobody sits before a screen that says nothing: within two seconds of a question it is told that the adapter is waited for,
// whether it was pulled out or says nothing any more, and later that it is back.
func TestAWaitIsTold(t *testing.T) {
	for _, c := range []struct {
		name   string
		absent time.Duration
		mute   time.Duration
		back   bool
	}{
		{"pulled out and put back", 3 * time.Second, 0, true},
		{"pulled out", time.Hour, 0, false},
		{"silent for a while", 0, 5 * time.Second, true},
		{"silent for good", 0, time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var silent bool
			chip := newChip(func(cmd string, _ int) (say, bool) {
				if silent {
					return say{}, true
				}
				return say{text: support}, cmd == "0100"
			})
			chip.absent = c.absent
			bubble(t, chip, func(t *testing.T, l *Link) {
				var began time.Time
				var waits []time.Duration
				l.options.Lost = func(wait time.Duration) {
					if len(waits) == 0 {
						require.LessOrEqual(t, time.Since(began), 2*time.Second)
					}
					waits = append(waits, wait)
				}
				_, errs := ask(t, l, askSupport)
				require.Empty(t, errs)
				chip.mu.Lock()
				if c.mute > 0 {
					silent, chip.echo = true, false
					time.AfterFunc(c.mute, func() {
						chip.mu.Lock()
						defer chip.mu.Unlock()
						silent = false
					})
				} else {
					chip.unplug()
				}
				chip.mu.Unlock()
				began = time.Now()
				_, errs = ask(t, l, askSupport)
				if c.back {
					require.Empty(t, errs)
					require.Equal(t, []time.Duration{reopenLimit, 0}, waits)
				} else {
					require.ErrorIs(t, errs[0], link.ErrGone)
					require.Equal(t, []time.Duration{reopenLimit}, waits)
				}
			})
		})
	}
}
