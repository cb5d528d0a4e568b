package elm327

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/linktest"

	"github.com/stretchr/testify/require"
)

func ids(frames []frame.Frame) (s []string) {
	for _, f := range frames {
		s = append(s, fmt.Sprintf("%s#%X", f.IDString(), f.Bytes()))
	}
	return s
}

func TestConformance(t *testing.T) {
	linktest.Run(t, func(t *testing.T) linktest.Fixture {
		c := newChip(on(map[string]string{"0100": support, "017F": "NO DATA\r\r>"}))
		return linktest.Fixture{
			Link: c.begin(t),
			Ask:  askSupport,
			Answers: []frame.Frame{
				frame.New(0x7E8, 0, 6, 0x41, 0, 0xBE, 0x3E, 0xB8, 0x13),
				frame.New(0x7E9, 0, 6, 0x41, 0, 0x98, 0x18, 0x80, 0x11),
			},
			Mute: frame.New(0x7DF, 0, 2, 1, 0x7F, 0, 0, 0, 0, 0),
		}
	})
}

// What a reply comes to: frames, what Recv says behind them, and how often the request went out.
func TestReplies(t *testing.T) {
	good := []string{"7E8#064100BE3EB813"}
	for _, c := range []struct {
		name    string
		replies []string // to the first, second, .. sending
		frames  []string
		is      error
		text    string
		sent    int
	}{
		{"two ECUs", []string{support}, []string{"7E8#064100BE3EB813", "7E9#06410098188011"}, nil, "", 1},
		{"spaces although S0", []string{"7E8 06 41 00 BE 3E B8 13 \r\r>"}, good, nil, "", 1},
		{"padding printed", []string{"7E8064100BE3EB81355\r\r>"}, []string{"7E8#064100BE3EB81355"}, nil, "", 1},
		{"line feeds", []string{"7E8064100BE3EB813\r\n\r\n>"}, good, nil, "", 1},
		{"NULs and junk", []string{"\x00\x007E8\x00064100BE\xFC3EB813\r\r>"}, good, nil, "", 1},
		{"lower case", []string{"7e8064100be3eb813\r\r>"}, good, nil, "", 1},
		{"echo that cannot be switched off", []string{"0100\r7E8064100BE3EB813\r\r>"}, good, nil, "", 1},
		{"searching before data", []string{"SEARCHING...\r7E8064100BE3EB813\r\r>"}, good, nil, "", 1},
		{"searching in front of data", []string{"SEARCHING...7E8 06 41 00 BE 3E B8 13\r\r>"}, good, nil, "", 1},
		{"Bluetooth module talking", []string{"+CONNECTING<<00:1D\r7E8064100BE3EB813\r\r>"}, good, nil, "", 1},
		{"prompt doubled by the command before", []string{">7E8064100BE3EB813\r\r>"}, good, nil, "", 1},
		{"alerts", []string{"ACT ALERT\r7E8064100BE3EB813\r\r>"}, good, nil, "", 1},
		{"nothing", []string{"NO DATA\r\r>"}, nil, nil, "", 1},
		{"a digit lost, then whole", []string{"7E8064100BE3EB81\r\r>", "7E8064100BE3EB813\r\r>"}, good, nil, "", 3}, // and twice alike
		{"a byte lost, then whole", []string{"7E8064100BE3EB8\r\r>", "7E8064100BE3EB813\r\r>"}, good, nil, "", 3},
		{"a space in between, then whole", []string{"7E80641 0BE3EB813\r\r>", "7E8064100BE3EB813\r\r>"}, good, nil, "", 3},
		{"a byte lost twice", []string{"7E8064100BE3EB8\r\r>", "7E8064100BE3EB8\r7E906410098188011\r\r>"},
			[]string{"7E9#06410098188011"}, link.ErrGarbled, "shorter than it says", 2},
		{"a line that fails its check", []string{"7E8064100BE3EB813 <DATA ERROR\r7E906410098188011\r\r>"},
			[]string{"7E9#06410098188011"}, link.ErrGarbled, "<DATA ERROR", 2},
		{"buffer full", []string{"7E8064100BE3EB813\r7E906410098 BUFFER FULL\r\r>", "7E8064100BE3EB813\r\r>"}, good, nil, "", 2},
		{"buffer full twice", []string{"7E8064100BE3EB813\rBUFFER FULL\r\r>"}, nil, link.ErrGarbled, "BUFFER FULL", 2},
		{"stopped, then whole", []string{"STOPPED\r\r>", "7E8064100BE3EB813\r\r>"}, good, nil, "", 2},
		{"stopped for good", []string{"STOPPED\r\r>"}, nil, link.ErrGarbled, "STOPPED", 2},
		{"noise", []string{"?\r\r>", "7E8064100BE3EB813\r\r>"}, good, nil, "", 3}, // a lost character of ours: twice alike
		{"not understood", []string{"?\r\r>"}, nil, link.ErrUnsupported, "understand", 2},
		{"bus fault, then whole", []string{"CAN ERROR\r\r>", "7E8064100BE3EB813\r\r>"}, good, nil, "", 2},
		{"bus fault", []string{"CAN ERROR\r\r>"}, nil, link.ErrBus, "CAN ERROR", 2},
		{"bus busy", []string{"BUS BUSY\r\r>"}, nil, link.ErrBus, "BUS BUSY", 2},
		{"wiring", []string{"BUS ERROR\r\r>"}, nil, link.ErrBus, "BUS ERROR", 2},
		{"unable, as a copy prints it", []string{"\xD5NABLETO CONNECT\r\r>"}, nil, link.ErrNoVehicle, "UNABLE TO CONNECT", 2},
		{"ERR94", []string{"ERR94\r\r>", "7E8064100BE3EB813\r\r>"}, good, nil, "", 2},
		{"supply dip, then whole", []string{"LV RESET\r\r>", "7E8064100BE3EB813\r\r>"}, good, nil, "", 2},
		{"restart in the middle", []string{"7E80641\r\rELM327 v1.4b\r\r>", "7E8064100BE3EB813\r\r>"}, good, nil, "", 2},
		{"endless restarts", []string{"LV RESET\r\r>"}, nil, link.ErrGarbled, "LV RESET", 2},
		{"garbage", []string{"Z!~\xB2hello\r\r>"}, nil, link.ErrGarbled, "no digit", 2},
		{"a line without end", []string{strings.Repeat("7E8", 300) + "\r\r>"}, nil, link.ErrGarbled, "longer", 2},
		{"no prompt, then whole", []string{"7E8064100BE3EB813\r", "7E8064100BE3EB813\r\r>"}, good, nil, "", 2},
		{"29-bit line on an 11-bit bus", []string{"18DAF110064100BE3EB813\r\r>"}, nil, link.ErrGarbled, "digit", 2},
		{"long answer with a piece cut short", []string{"7E8100A490201414243\r7E82144\r\r>", "7E8100A490201414243\r7E82144454647\r\r>"},
			[]string{"7E8#100A490201414243", "7E8#2144454647"}, nil, "", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			sent := -1 // the first asking opens the protocol
			chip := newChip(func(cmd string, _ int) (say, bool) {
				if cmd != "0100" {
					return say{}, false
				}
				if sent++; sent == 0 {
					return say{text: support}, true
				}
				return say{text: c.replies[min(sent, len(c.replies))-1]}, true
			})
			bubble(t, chip, func(t *testing.T, l *Link) {
				_, errs := ask(t, l, askSupport)
				require.Empty(t, errs)
				frames, errs := ask(t, l, askSupport)
				require.Equal(t, c.frames, ids(frames))
				require.Equal(t, c.sent, sent)
				if c.is == nil {
					require.Empty(t, errs)
				} else {
					require.Len(t, errs, 1)
					require.ErrorIs(t, errs[0], c.is)
					require.ErrorContains(t, errs[0], c.text)
				}
				sent = 0
				c.replies = []string{support}
				frames, errs = ask(t, l, askSupport)
				require.Empty(t, errs, "the link is not usable any more")
				require.Len(t, frames, 2)
			})
		})
	}
}

// The bus is looked for with the first frame of a kind, on the protocols of that kind only.
func TestProtocols(t *testing.T) {
	for _, c := range []struct {
		name   string
		ask    frame.Frame
		answer map[string]string // by protocol command
		want   string
		caps   string
		bits   int
		tried  []string
	}{
		{"11 bit, 500k", askSupport, map[string]string{"ATTP6": support}, "7E8#064100BE3EB813", "ISO 15765-4 CAN 11/500", 11, []string{"ATTP6"}},
		{"11 bit, 250k", askSupport, map[string]string{"ATTP6": "CAN ERROR\r\r>", "ATTP8": support}, "7E8#064100BE3EB813", "ISO 15765-4 CAN 11/250", 11, []string{"ATTP6", "ATTP8"}},
		{"29 bit, 500k", ask29, map[string]string{"ATTP7": "18DAF110064100BE3EB813\r\r>"}, "18DAF110#064100BE3EB813", "ISO 15765-4 CAN 29/500", 29, []string{"ATTP7"}},
		{"29 bit, 250k", ask29, map[string]string{"ATTP9": "18 DA F1 10 06 41 00 BE 3E B8 13 \r\r>"}, "18DAF110#064100BE3EB813", "ISO 15765-4 CAN 29/250", 29, []string{"ATTP7", "ATTP9"}},
		{"ISO 9141-2", askLegacy, map[string]string{"ATSP0": "SEARCHING...\rBUS INIT: ...OK\r486B104100BE3EB811C9\r\r>", "ATDPN": "A3\r\r>"},
			"486B10#4100BE3EB811", "ISO 9141-2", 0, []string{"ATSP0"}},
		{"KWP fast", askLegacy, map[string]string{"ATSP0": "SEARCHING...\r86F1104100BE3EB8118D\r\r>", "ATDPN": "A5\r\r>"},
			"86F110#4100BE3EB811", "ISO 14230-4 KWP FAST", 0, []string{"ATSP0"}},
		{"J1850 PWM, DPN not to be trusted", askLegacy, map[string]string{"ATSP0": "416B104100BE3EB81190\r\r>", "ATDPN": "A6\r\r>"},
			"416B10#4100BE3EB811", "SAE J1850 PWM", 0, []string{"ATSP0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			proto := ""
			var tried []string
			chip := newChip(func(cmd string, _ int) (say, bool) {
				switch {
				case strings.HasPrefix(cmd, "ATTP"), strings.HasPrefix(cmd, "ATSP"):
					proto = cmd
					tried = append(tried, cmd)
				case cmd == "ATDPN":
					return say{text: c.answer[cmd]}, true
				case cmd == "0100":
					if s := c.answer[proto]; s != "" {
						return say{text: s, after: 50 * time.Millisecond}, true
					}
				}
				return say{}, false
			})
			bubble(t, chip, func(t *testing.T, l *Link) {
				frames, errs := ask(t, l, c.ask)
				require.Empty(t, errs)
				require.NotEmpty(t, frames)
				require.Equal(t, c.want, ids(frames)[0])
				require.Equal(t, c.caps, l.Caps().Protocol)
				require.Equal(t, c.bits, l.Caps().IDBits)
				require.Equal(t, c.ask.Is(frame.Legacy), l.Caps().Legacy)
				frames, errs = ask(t, l, c.ask)
				require.Empty(t, errs)
				require.NotEmpty(t, frames)
				require.Equal(t, c.tried, tried, "a protocol that answered is not looked for again")
			})
		})
	}
}

// A car that does not answer: told with what to do, and the next kind of frame gets its chance.
func TestNoVehicle(t *testing.T) {
	for _, reply := range []string{"NO DATA\r\r>", "CAN ERROR\r\r>", "UNABLE TO CONNECT\r\r>"} {
		chip := newChip(on(map[string]string{"0100": reply}))
		bubble(t, chip, func(t *testing.T, l *Link) {
			for _, f := range []frame.Frame{askSupport, ask29, askLegacy} {
				frames, errs := ask(t, l, f)
				require.Empty(t, frames)
				require.Len(t, errs, 1, reply)
				require.ErrorIs(t, errs[0], link.ErrNoVehicle)
				require.ErrorContains(t, errs[0], "12.6 V")
				var le *link.Error
				require.ErrorAs(t, errs[0], &le)
				require.Contains(t, le.Hint, "ignition")
			}
			chip.mu.Lock()
			chip.script = on(map[string]string{"0100": support}) // ignition on
			chip.mu.Unlock()
			frames, errs := ask(t, l, askSupport)
			require.Empty(t, errs)
			require.Len(t, frames, 2)
		})
	}
}

// A protocol on which the question or its answer was lost between adapter and computer is not one on which nobody answers:
// that is told, so that the caller asks again, and not that there is no vehicle. It makes no difference which protocol that
// was, and what the other one came to.
func TestLossInASearchIsNoSilence(t *testing.T) {
	const lost = "NO DA" // and nothing more
	for _, c := range []struct {
		name    string
		replies map[string]string // by protocol command, or of a command by itself
	}{
		{"the answer on the first", map[string]string{"ATTP6": lost}},
		{"the answer on the second", map[string]string{"ATTP8": lost}},
		{"the answer on the second, the bus of the first at fault", map[string]string{"ATTP6": "CAN ERROR\r\r>", "ATTP8": lost}},
		{"the answer on the first, the second not to be had", map[string]string{"ATTP6": lost, "TP8": "?\r\r>"}},
		{"a setting of the first", map[string]string{"ATST0E": "O"}},
		{"a setting of the first, the bus of the second at fault", map[string]string{"ATST0E": "O", "ATTP8": "CAN ERROR\r\r>"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			proto, healed := "", false
			chip := newChip(func(cmd string, nth int) (say, bool) {
				text, ok := "", false
				switch {
				case healed:
					return say{text: support}, cmd == "0100"
				case cmd == "ATTP8", cmd == "ATSP8":
					proto = "ATTP8"
					text, ok = c.replies["TP8"]
				case strings.HasPrefix(cmd, "ATTP"):
					proto = cmd
				case cmd == "ATST0E" && nth < 4:
					text, ok = c.replies[cmd]
				case cmd == "0100":
					text, ok = c.replies[proto]
				}
				return say{text: text}, ok
			})
			bubble(t, chip, func(t *testing.T, l *Link) {
				frames, errs := ask(t, l, askSupport)
				require.Empty(t, frames)
				require.Len(t, errs, 1)
				require.ErrorIs(t, errs[0], link.ErrGarbled)
				require.NotErrorIs(t, errs[0], link.ErrNoVehicle)
				chip.mu.Lock()
				healed = true
				chip.mu.Unlock()
				frames, errs = ask(t, l, askSupport)
				require.Empty(t, errs)
				require.Len(t, frames, 2)
			})
		})
	}
}

// An answer that comes when nobody waits any more must not answer the next question.
func TestLateAnswersAreDropped(t *testing.T) {
	chip := newChip(func(cmd string, nth int) (say, bool) {
		switch {
		case cmd == "0100":
			return say{text: support}, true
		case cmd == "010C" && nth < 2:
			return say{text: "7E804410C1AF8\r\r>", after: 3 * time.Second}, true
		case cmd == "010C":
			return say{text: "7E804410C0000\r\r>"}, true
		case cmd == "010D":
			return say{text: "7E803410D32\r\r>"}, true
		}
		return say{}, false
	})
	bubble(t, chip, func(t *testing.T, l *Link) {
		_, errs := ask(t, l, askSupport)
		require.Empty(t, errs)
		// Given up by the caller, who asks something else at once.
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		require.NoError(t, l.Send(ctx, frame.New(0x7DF, 0, 2, 1, 0x0C)))
		_, err := l.Recv(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		cancel()
		frames, errs := ask(t, l, frame.New(0x7DF, 0, 2, 1, 0x0D))
		require.Empty(t, errs)
		require.Equal(t, []string{"7E8#03410D32"}, ids(frames))
		// Given up by the link: the adapter is slower than its own timeout allows.
		began := time.Now()
		frames, errs = ask(t, l, frame.New(0x7DF, 0, 2, 1, 0x0C))
		require.Less(t, time.Since(began), 4*time.Second)
		require.Empty(t, errs)
		require.Equal(t, []string{"7E8#04410C0000"}, ids(frames), "the second asking was answered in time")
		frames, errs = ask(t, l, frame.New(0x7DF, 0, 2, 1, 0x0D))
		require.Empty(t, errs)
		require.Equal(t, []string{"7E8#03410D32"}, ids(frames))
	})
}

// Response pending: the adapter waits for the final answer, and so does the link.
func TestPendingIsWaitedFor(t *testing.T) {
	chip := newChip(on(map[string]string{"0100": support}))
	bubble(t, chip, func(t *testing.T, l *Link) {
		_, errs := ask(t, l, askSupport)
		require.Empty(t, errs)
		chip.mu.Lock()
		chip.script = func(cmd string, _ int) (say, bool) {
			if cmd != "22F190" {
				return say{}, false
			}
			chip.send("7E8037F2278\r")
			return say{text: "7E8100A62F190414243\r7E82144454647\r\r>", after: 4 * time.Second}, true
		}
		chip.mu.Unlock()
		frames, errs := ask(t, l, frame.New(0x7DF, 0, 3, 0x22, 0xF1, 0x90))
		require.Empty(t, errs)
		require.Len(t, frames, 3)
	})
}

func TestASilentAdapterIsNoticedInTwoSeconds(t *testing.T) {
	for _, what := range []string{"0100", "ATSH7E0"} {
		chip := newChip(on(map[string]string{"0100": support}))
		bubble(t, chip, func(t *testing.T, l *Link) {
			l.options.Reopen = -1
			_, errs := ask(t, l, askSupport)
			require.Empty(t, errs)
			dead := false
			chip.mu.Lock()
			chip.script = func(cmd string, _ int) (say, bool) {
				dead = dead || cmd == what
				return say{}, dead
			}
			chip.mu.Unlock()
			f := askSupport
			if what != "0100" {
				f = askEngine
			}
			began := time.Now()
			_, errs = ask(t, l, f)
			require.NotEmpty(t, errs)
			require.ErrorIs(t, errs[0], link.ErrGone)
			require.LessOrEqual(t, time.Since(began), 2*time.Second)
			_, errs = ask(t, l, f)
			require.ErrorIs(t, errs[0], link.ErrGone)
			began = time.Now()
			require.NoError(t, l.Close())
			require.LessOrEqual(t, time.Since(began), time.Second)
		})
	}
}

func TestUnplugged(t *testing.T) {
	for _, idle := range []bool{false, true} {
		chip := newChip(on(map[string]string{"0100": support}))
		bubble(t, chip, func(t *testing.T, l *Link) {
			_, errs := ask(t, l, askSupport)
			require.Empty(t, errs)
			chip.mu.Lock()
			if idle {
				chip.unplug()
			}
			chip.script = func(cmd string, _ int) (say, bool) {
				if cmd == "0100" {
					chip.unplug()
				}
				return say{}, cmd == "0100"
			}
			chip.absent = time.Hour
			chip.mu.Unlock()
			l.options.Reopen = 500 * time.Millisecond
			began := time.Now()
			_, errs = ask(t, l, askSupport)
			require.ErrorIs(t, errs[0], link.ErrGone)
			require.Less(t, time.Since(began), time.Second)
			var le *link.Error
			require.ErrorAs(t, errs[0], &le)
			require.NotEmpty(t, le.Hint)
		})
	}
}

// Only what fits one single frame can be carried; the rest is told before anything is sent.
func TestWhatCannotBeCarried(t *testing.T) {
	chip := newChip(on(nil))
	bubble(t, chip, func(t *testing.T, l *Link) {
		for name, f := range map[string]frame.Frame{
			"first frame":  frame.New(0x7E0, 0, 0x10, 0x0A, 0x22, 1, 2, 3, 4, 5),
			"remote frame": frame.New(0x7E0, frame.Remote),
			"FD":           frame.New(0x7E0, frame.FD, 2, 1, 0),
			"empty":        frame.New(0x7E0, 0),
			"length 0":     frame.New(0x7E0, 0, 0),
			"cut":          frame.New(0x7E0, 0, 3, 0x22),
			"legacy of 8":  frame.New(link.LegacyFunctional, frame.Legacy, 1, 2, 3, 4, 5, 6, 7, 8),
		} {
			require.ErrorIs(t, l.Send(t.Context(), f), link.ErrUnsupported, name)
			_, err := l.Recv(t.Context())
			require.ErrorIs(t, err, link.ErrQuiet)
		}
		require.NoError(t, l.Send(t.Context(), frame.New(0x7E0, 0, 0x30, 0, 0)), "flow control is the adapter's")
		require.Empty(t, chip.said())
	})
}

// The adapter is left at its prompt with its defaults, also in the middle of an answer.
func TestCloseLeavesTheAdapterUsable(t *testing.T) {
	for _, running := range []bool{false, true} {
		chip := newChip(func(cmd string, nth int) (say, bool) {
			if cmd == "0100" && nth > 0 {
				return say{text: support, after: 10 * time.Second}, true
			}
			return say{text: support}, cmd == "0100"
		})
		bubble(t, chip, func(t *testing.T, l *Link) {
			_, errs := ask(t, l, askSupport)
			require.Empty(t, errs)
			if running {
				require.NoError(t, l.Send(t.Context(), askSupport))
			}
			began := time.Now()
			require.NoError(t, l.Close())
			require.Less(t, time.Since(began), 2*time.Second)
			said := chip.said()
			require.Equal(t, []string{"ATPC", "ATD"}, said[len(said)-2:])
			chip.mu.Lock()
			defer chip.mu.Unlock()
			require.Nil(t, chip.busy)
			require.Empty(t, chip.line)
		})
	}
}

// Checksums are verified where the adapter prints them; a copy that leaves them out is found out by asking twice.
func TestLegacyChecksums(t *testing.T) {
	run := func(t *testing.T, script func(nth int) string) ([]string, []error) {
		var frames []frame.Frame
		var errs []error
		chip := newChip(func(cmd string, nth int) (say, bool) { return say{text: script(nth)}, cmd == "0100" })
		bubble(t, chip, func(t *testing.T, l *Link) { frames, errs = ask(t, l, askLegacy) })
		return ids(frames), errs
	}
	const whole, without, broken = "486B104100BE3EB811C9\r\r>", "486B104100BE3EB811\r\r>", "486B104100BE3FB811C9\r\r>"
	got, errs := run(t, func(int) string { return without })
	require.Empty(t, errs)
	require.Equal(t, []string{"486B10#4100BE3EB811"}, got)
	got, errs = run(t, func(n int) string {
		if n == 0 {
			return broken
		}
		return whole
	})
	require.Empty(t, errs)
	require.Equal(t, []string{"486B10#4100BE3EB811"}, got)
}
