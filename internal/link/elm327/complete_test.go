package elm327

import (
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

// When everybody who was asked has answered whole. Too early costs an answer, so whatever is odd means "not yet".
func TestComplete(t *testing.T) {
	engine := func(id uint32) bool { return id == 0x7E8 }
	both := func(id uint32) bool { return id == 0x7E8 || id == 0x7E9 }
	for _, c := range []struct {
		name  string
		want  int
		take  func(uint32) bool
		one   bool
		lines []string
		done  bool // everybody has answered
		rest  bool // nobody is in the middle of an answer
	}{
		{"a short answer", 1, engine, true, []string{"7E804410C1AF8"}, true, true},
		{"nobody knows how many", 0, both, false, []string{"7E804410C1AF8"}, false, true},
		{"one of two", 2, both, false, []string{"7E804410C1AF8"}, false, true},
		{"one of two, twice", 2, both, false, []string{"7E804410C1AF8", "7E804410C1AF8"}, false, true},
		{"both", 2, both, false, []string{"7E804410C1AF8", "7E904410C1AF8"}, true, true},
		{"a long answer begun", 1, engine, true, []string{"7E81014490201313131", "7E82131313131313131"}, false, false},
		{"a long answer", 1, engine, true, []string{"7E81014490201313131", "7E82131313131313131", "7E82231313131313131"}, true, true},
		{"long answers interleaved", 2, both, false, []string{"7E8100A490201313131", "7E9100A490201313131", "7E82131313131", "7E92131313131"}, true, true},
		{"a piece without its beginning", 1, engine, true, []string{"7E82131313131"}, false, false},
		{"refused", 1, engine, true, []string{"7E8037F2231"}, true, true},
		{"refused by one of everybody", 1, both, false, []string{"7E8037F2231"}, false, false},
		{"patience asked for", 1, engine, true, []string{"7E8037F2278"}, false, false},
		{"patience, then the answer", 1, engine, true, []string{"7E8037F2278", "7E80462F19000"}, true, true},
		{"somebody else", 1, engine, true, []string{"7E904410C1AF8"}, false, false},
		{"a digit lost", 1, engine, true, []string{"7E804410C1AF"}, false, false},
		{"damage before", 2, both, false, []string{"7E804410C1A", "7E804410C1AF8", "7E904410C1AF8"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := tracker{want: c.want, bits: 11, one: c.one, take: c.take}
			for _, l := range c.lines {
				require.False(t, tr.complete(), "before %s", l)
				tr.line([]byte(l))
			}
			require.Equal(t, c.done, tr.complete())
			require.Equal(t, c.rest, tr.between())
		})
	}
}

// The adapter's wait for answers that cannot come is ended, where that costs less than the wait; the next command never
// meets what the ended wait leaves behind.
func TestTheWaitIsEnded(t *testing.T) {
	chip := newChip(nil)
	chip.script = func(cmd string, _ int) (say, bool) {
		switch cmd {
		case "0100":
			return say{text: support}, true
		case "010C":
			chip.send("7E804410C1AF8\r")
			return say{text: "\r>", after: 200 * time.Millisecond}, true
		case "010D":
			chip.send("7E803410D32\r")
			return say{text: "\r>", after: 200 * time.Millisecond}, true
		}
		return say{}, false
	}
	physical := func(pid byte) (frame.Frame, link.Hint) {
		return frame.New(0x7E0, 0, 2, 1, pid), link.Hint{Answers: 1, Wait: 120 * time.Millisecond, Accept: []uint32{0x7E8}, FlowTo: 0x7E0}
	}
	bubble(t, chip, func(t *testing.T, l *Link) {
		_, errs := ask(t, l, askSupport)
		require.Empty(t, errs)
		for range 3 {
			began := time.Now()
			for pid, want := range map[byte]string{0x0C: "7E8#04410C1AF8", 0x0D: "7E8#03410D32"} {
				f, h := physical(pid)
				l.SetHint(h)
				frames, errs := ask(t, l, f)
				require.Empty(t, errs)
				require.Equal(t, []string{want}, ids(frames))
			}
			require.Less(t, time.Since(began), 50*time.Millisecond)
		}
		require.Zero(t, countOf(chip.said(), "ATI"), "the place in the stream was never in doubt")
	})
}

// Who was given the time to begin and did not is not waited for once more because somebody else has answered; who has begun is
// heard to the end.
func TestNobodyElseBegins(t *testing.T) {
	const window = 57 * time.Millisecond
	type line struct {
		at   time.Duration
		text string
	}
	for _, c := range []struct {
		name   string
		lines  []line
		frames []string
		most   time.Duration
	}{
		{"one", []line{{10, "7E804410C1AF8"}}, []string{"7E8#04410C1AF8"}, 80},
		{"another in time", []line{{10, "7E804410C1AF8"}, {60, "7E904410C1AF8"}}, []string{"7E8#04410C1AF8", "7E9#04410C1AF8"}, 80},
		{"a long answer under way", []line{{50, "7E8100A410C1AF80D32"}, {120, "7E8210502060C"}}, []string{"7E8#100A410C1AF80D32", "7E8#210502060C"}, 130},
		{"patience", []line{{10, "7E8037F0178"}, {300, "7E804410C1AF8"}}, []string{"7E8#037F0178", "7E8#04410C1AF8"}, 410},
		{"nobody", nil, nil, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			chip := newChip(nil)
			chip.script = func(cmd string, _ int) (say, bool) {
				switch cmd {
				case "0100":
					return say{text: support}, true
				case "010C":
					for _, l := range c.lines {
						time.AfterFunc(l.at*time.Millisecond, func() {
							chip.mu.Lock()
							defer chip.mu.Unlock()
							chip.send(l.text + "\r")
						})
					}
					if c.lines == nil {
						return say{text: "NO DATA\r\r>", after: 400 * time.Millisecond}, true
					}
					return say{text: "\r>", after: 400 * time.Millisecond}, true
				}
				return say{}, false
			}
			bubble(t, chip, func(t *testing.T, l *Link) {
				_, errs := ask(t, l, askSupport)
				require.Empty(t, errs)
				began := time.Now()
				l.SetHint(link.Hint{Wait: window, Quick: true})
				frames, errs := ask(t, l, frame.New(0x7DF, 0, 2, 1, 0x0C))
				require.Empty(t, errs)
				require.Equal(t, c.frames, ids(frames))
				require.LessOrEqual(t, time.Since(began), c.most*time.Millisecond)
			})
		})
	}
}

func countOf(all []string, what string) (n int) {
	for _, s := range all {
		if s == what {
			n++
		}
	}
	return n
}
