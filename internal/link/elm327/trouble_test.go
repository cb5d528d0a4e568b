package elm327

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

// What goes wrong between requests: the next request must find the adapter's settings as it needs them, or say why not.
func TestTroubleWithSettings(t *testing.T) {
	const engine = "7E804410C1AF8\r\r>"
	once := func(cmd, text string, after time.Duration) func(string, int) (say, bool) {
		return func(got string, nth int) (say, bool) {
			switch {
			case got == cmd && nth == 0:
				return say{text, after}, true
			case got == "0100":
				return say{text: support}, true
			case got == "010C":
				return say{text: engine}, true
			}
			return say{}, false
		}
	}
	for _, c := range []struct {
		name   string
		script func(string, int) (say, bool)
		said   []string // the end of what the engine's question took
	}{
		{"nothing", once("", "", 0), []string{"ATSH7E0", "010C"}},
		{"noise", once("ATSH7E0", "?\r\r>", 0), []string{"ATSH7E0", "ATSH7E0", "ATE1", "010C", "010C"}}, // a lost character: twice alike
		{"an answer out of step", once("ATSH7E0", support, 0), []string{"ATI", "ATSH7E0", "010C"}},
		{"a lost prompt", once("ATSH7E0", "OK\r", 0), []string{"ATSH7E0", "ATI", "010C"}},
		{"half an answer", once("ATSH7E0", "O", 0), []string{"ATSH7E0", "ATI", "ATSH7E0", "010C"}},
		{"prompt after prompt lost", func(cmd string, nth int) (say, bool) {
			switch {
			case cmd == "ATSH7E0":
				return say{text: "OK\r"}, true
			case cmd == "ATI" && nth == 1: // the first was while opening
				return say{text: "ELM327 v1.4b\r"}, true
			case cmd == "010C":
				return say{text: engine}, true
			}
			return say{text: support}, cmd == "0100"
		}, []string{"ATSH7E0", "ATI", "010C"}},
		{"a lost answer", once("ATSH7E0", "", 0), []string{"ATSH7E0", "ATI", "ATSH7E0", "010C"}},
		{"a late answer", once("ATSH7E0", "OK\r\r>", 1100*time.Millisecond), []string{"ATI", "ATSH7E0", "010C"}},
		{"a question made of it, after a puzzle", func(cmd string, nth int) (say, bool) {
			switch {
			case cmd == "ATSH7E0" && nth == 0:
				return say{text: "?\r\r>"}, true
			case cmd == "ATSH7E0" && nth == 1:
				return say{text: "7E8037FA511\r\r>"}, true
			case cmd == "010C":
				return say{text: engine}, true
			}
			return say{text: support}, cmd == "0100"
		}, []string{"ATTP6", "ATCAF1", "ATSH7E0", "010C"}},
		{"a supply dip", once("ATSH7E0", "LV RESET\r\r>", 0), []string{"ATTP6", "ATCAF1", "ATSH7E0", "010C"}},
		{"hung until it is reset", func(cmd string, nth int) (say, bool) {
			switch {
			case cmd == "ATSH7E0" && nth == 0:
				return say{text: "\x00\x00O"}, true
			case cmd == "ATI" && nth == 1: // the first was while opening
				return say{text: "garbage\r"}, true
			case cmd == "010C":
				return say{text: engine}, true
			}
			return say{text: support}, cmd == "0100"
		}, []string{"ATTP6", "ATCAF1", "ATSH7E0", "010C"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			chip := newChip(c.script)
			bubble(t, chip, func(t *testing.T, l *Link) {
				_, errs := ask(t, l, askSupport)
				require.Empty(t, errs)
				chip.said()
				began := time.Now()
				frames, errs := ask(t, l, askEngine)
				require.Empty(t, errs)
				require.Equal(t, []string{"7E8#04410C1AF8"}, ids(frames))
				require.Less(t, time.Since(began), 6*time.Second)
				said := chip.said()
				require.GreaterOrEqual(t, len(said), len(c.said), said)
				require.Equal(t, c.said, said[len(said)-len(c.said):], said)
			})
		})
	}
}

// An adapter left without automatic formatting by another program, or set so by its owner, sends what it is given as it is, PCI and
// all: no question but the one that is none then goes out before it is known not to be one of those.
func TestFormattingIsShownOrSet(t *testing.T) {
	first := frame.New(0x7DF, 0, 2, 1, 0x04)
	for _, c := range []struct {
		name string
		raw  bool // it formats only when told to
		asks []frame.Frame
		said []string
	}{
		{"as by default", false, []frame.Frame{askSupport, first}, []string{"ATTP6", "0100", "ATE1", "0104"}},
		{"not by default", true, []frame.Frame{askSupport, first}, []string{"ATTP6", "0100", "ATCAF1", "0100", "ATE1", "0104"}},
		{"another question first", true, []frame.Frame{first, askSupport}, []string{"ATTP6", "ATCAF1", "ATE1", "0104", "0100"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := c.raw
			chip := newChip(func(cmd string, _ int) (say, bool) {
				switch {
				case cmd == "ATCAF1":
					raw = false
				case cmd == "0100" && !raw:
					return say{text: support}, true
				case strings.HasPrefix(cmd, "0104"):
					require.False(t, raw, "an order to clear the fault memory")
					return say{text: "7E80341044E\r\r>"}, true
				}
				return say{}, false
			})
			bubble(t, chip, func(t *testing.T, l *Link) {
				for _, q := range c.asks {
					frames, errs := ask(t, l, q)
					require.Empty(t, errs)
					require.NotEmpty(t, frames)
				}
				var said []string
				for _, s := range chip.said() {
					if !strings.HasPrefix(s, "ATST") {
						said = append(said, s[:min(len(s), 6)])
					}
				}
				for i, s := range said {
					if s[0] == '0' {
						said[i] = s[:4] // without a count
					}
				}
				require.Equal(t, c.said, said)
			})
		})
	}
}

// A supply dip while nobody asks anything.
func TestResetWhileIdle(t *testing.T) {
	chip := newChip(on(map[string]string{"0100": support}))
	bubble(t, chip, func(t *testing.T, l *Link) {
		_, errs := ask(t, l, askSupport)
		require.Empty(t, errs)
		chip.said()
		chip.mu.Lock()
		chip.echo = true
		chip.send("\r\rLV RESET\r\r>")
		chip.mu.Unlock()
		time.Sleep(time.Second) // of the bubble
		frames, errs := ask(t, l, askSupport)
		require.Empty(t, errs)
		require.Len(t, frames, 2)
		said := chip.said()
		require.Equal(t, "ATD", said[0])
		require.Contains(t, said, "ATE0")
		require.Contains(t, said, "ATTP6")
	})
}

// Commands a copy lacks are learned once and gone round.
func TestRefusedCommands(t *testing.T) {
	chip := newChip(on(map[string]string{"0100": support, "ATTP6": "?\r\r>", "ATTP7": "?\r\r>", "STI": "STN1110 v4.2.0\r\r>", "STCFCPA714,77E": "?\r\r>",
		"222240": "77E046222400A\r\r>"}))
	bubble(t, chip, func(t *testing.T, l *Link) {
		_, errs := ask(t, l, askSupport)
		require.Empty(t, errs)
		require.Equal(t, []string{"ATTP6", "ATTP6", "ATSP6", "ATST0E", "STPXH:7DF,D:0100", "STPXH:7DF,D:0100", "0100"}, chip.said())
		l.SetHint(link.Hint{Accept: []uint32{0x77E}, FlowTo: 0x714})
		frames, errs := ask(t, l, frame.New(0x714, 0, 3, 0x22, 0x22, 0x40))
		require.Empty(t, errs)
		require.Len(t, frames, 1)
		require.Equal(t, []string{"ATST32", "ATSH714", "ATCF700", "ATCM700", "STCFCPA714,77E", "STCFCPA714,77E", "ATFCSH714", "ATFCSD300000", "ATFCSM1", "222240"}, chip.said())
	})
	// Neither TP nor SP: no request can be sent, and that is told.
	chip = newChip(on(map[string]string{"ATTP6": "?\r\r>", "ATSP6": "?\r\r>", "ATTP8": "?\r\r>", "ATSP8": "?\r\r>"}))
	bubble(t, chip, func(t *testing.T, l *Link) {
		_, errs := ask(t, l, askSupport)
		require.Len(t, errs, 1)
		require.ErrorIs(t, errs[0], link.ErrUnsupported)
		require.ErrorContains(t, errs[0], "refuses ATSP")
	})
}

// Learning that STPX is not there costs the question none of its attempts: one fault behind it, and the vehicle is found.
func TestRefusedSTPXCostsNoAttempt(t *testing.T) {
	for _, fault := range []string{"UNABLE TO CONNECT\r\r>", "NO DATA\r\r>", "NO DATA\r\r"} {
		proto := ""
		chip := newChip(func(cmd string, nth int) (say, bool) {
			switch {
			case strings.HasPrefix(cmd, "ATTP"):
				proto = cmd
			case cmd == "STI":
				return say{text: "STN1110 v4.2.0\r\r>"}, true
			case cmd == "0100" && nth == 0:
				return say{text: fault}, true
			case cmd == "0100" && proto == "ATTP6":
				return say{text: support}, true
			}
			return say{}, false
		})
		bubble(t, chip, func(t *testing.T, l *Link) {
			frames, errs := ask(t, l, askSupport)
			require.Empty(t, errs, fault)
			require.Len(t, frames, 2, fault)
		})
	}
}

// Looking for the prompt ends when nobody wants it any more, in each of its two waits; where it is is not known then.
func TestLookingForThePromptIsStopped(t *testing.T) {
	for _, after := range []time.Duration{10 * time.Millisecond, breakLimit + 10*time.Millisecond} {
		chip := newChip(func(string, int) (say, bool) { return say{}, true }) // it says nothing
		chip.echo = false
		synctest.Test(t, func(t *testing.T) {
			p, err := chip.open(t.Context(), 38400)
			require.NoError(t, err)
			began, stop := time.Now(), make(chan struct{})
			a := newAdapter(p, began)
			a.stop = stop
			time.AfterFunc(after, func() { close(stop) })
			heard, err := a.prompt()
			require.ErrorIs(t, err, errStopped)
			require.False(t, heard)
			require.True(t, a.dirty)
			require.Equal(t, after, time.Since(began))
			require.NoError(t, a.pump.close())
		})
	}
}

// An adapter that never stops talking is left after a stated time.
func TestBabble(t *testing.T) {
	chip := newChip(on(map[string]string{"0100": support}))
	bubble(t, chip, func(t *testing.T, l *Link) {
		_, errs := ask(t, l, askSupport)
		require.Empty(t, errs)
		stop := make(chan struct{})
		chip.mu.Lock()
		chip.script = func(cmd string, nth int) (say, bool) {
			if cmd == "0100" && nth == 1 {
				go func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(200 * time.Millisecond):
						}
						chip.mu.Lock()
						chip.send("7E8064100BE3EB813\r")
						chip.mu.Unlock()
					}
				}()
			}
			return say{}, cmd == "0100"
		}
		chip.mu.Unlock()
		began := time.Now()
		_, errs = ask(t, l, askSupport)
		require.NotEmpty(t, errs)
		require.ErrorIs(t, errs[0], link.ErrGarbled)
		require.LessOrEqual(t, time.Since(began), 22*time.Second)
		close(stop)
	})
}

// A search that finds the bus and waits for no answer heard "010" for "0100", which asks for none: there is a vehicle.
func TestASearchThatHeardAnotherQuestion(t *testing.T) {
	for _, c := range []struct {
		first string
		asked int
	}{{"SEARCHING...\rBUS INIT: ...OK\r\r>", 2}, {"SEARCHING...\r\r>", 2}, {"SEARCHING...\rNO DATA\r\r>", 1}} {
		asked := 0
		chip := newChip(func(cmd string, _ int) (say, bool) {
			if cmd != "0100" {
				return say{}, false
			}
			if asked++; asked == 1 {
				return say{text: c.first}, true
			}
			return say{text: "486B104100BE3EB811C9\r\r>"}, true
		})
		bubble(t, chip, func(t *testing.T, l *Link) {
			frames, errs := ask(t, l, askLegacy)
			require.Equal(t, c.asked, asked, c.first)
			require.Len(t, frames, c.asked-1)
			require.Len(t, errs, 2-c.asked)
		})
	}
}

// The dots of a search come one by one, and its line ends with it: it is waited for, however long it takes within its
// bound.
func TestLongSearch(t *testing.T) {
	for _, dots := range []string{"SEARCHING...", "BUS INIT: ...", "SEARCHING...\rBUS INIT: ..."} {
		asked := 0
		var chip *chip
		chip = newChip(func(cmd string, _ int) (say, bool) {
			if cmd != "0100" {
				return say{}, false
			}
			asked++
			time.AfterFunc(10*time.Second, func() {
				chip.mu.Lock()
				defer chip.mu.Unlock()
				chip.send("OK\r486B104100BE3EB811C9\r\r>")
			})
			return say{text: dots}, true
		})
		bubble(t, chip, func(t *testing.T, l *Link) {
			began := time.Now()
			frames, errs := ask(t, l, askLegacy)
			require.Empty(t, errs)
			require.Len(t, frames, 1)
			require.Less(t, time.Since(began), 11*time.Second)
			require.Equal(t, 1, asked)
		})
	}
}
