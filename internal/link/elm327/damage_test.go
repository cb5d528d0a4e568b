package elm327

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

// Frames of padding ECUs, as an adapter that prints whole frames shows them.
var damagedReply = []frame.Frame{
	frame.New(0x7E8, 0, 6, 0x41, 0x00, 0xBE, 0x3E, 0xB8, 0x13, 0x55),
	frame.New(0x7E9, 0, 4, 0x41, 0x0C, 0x1A, 0xF8, 0xAA, 0xAA, 0xAA),
	frame.New(0x7EA, 0, 0x10, 0x0D, 0x49, 0x04, 0x01, 0x31, 0x32, 0x33),
	frame.New(0x7EA, 0, 0x21, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A),
}

// Characters lost between adapter and computer never make a value: whatever is accepted was sent by the car.
func FuzzLostCharacters(f *testing.F) {
	f.Add(uint64(1)<<9 | 1<<10)
	f.Add(uint64(3) << 20)
	f.Add(uint64(0x00300000_00000030))
	var text strings.Builder
	for i := range damagedReply {
		text.WriteString(printLine(&damagedReply[i], false) + "\r")
	}
	whole := text.String()
	f.Fuzz(func(t *testing.T, lost uint64) {
		// lost: up to 8 positions, a byte each, 0 = none
		var seen shapes
		seen.learn(damagedReply, false) // the ECUs have been heard before
		gone := map[int]bool{}
		for i := range 8 {
			if p := int(lost >> (8 * i) & 0xFF); p > 0 {
				gone[(p-1)%len(whole)] = true
			}
		}
		var cut []byte
		for i, c := range []byte(whole) {
			if !gone[i] {
				cut = append(cut, c)
			}
		}
		var r reply
		r.begin("0100")
		if !r.feed(append(cut, "\r>"...), 0) {
			t.Fatal("no prompt")
		}
		o := judge(&r, expectation{kind: can11, seen: &seen, accept: accepted(&askSupport, link.Hint{})}, nil)
		if len(gone) > 0 && o.bad == nil && !lineEndsOnly(gone, whole) {
			t.Fatalf("the loss was not noticed: %q", cut)
		}
	next:
		for _, got := range o.frames {
			for _, want := range damagedReply {
				if got.ID == want.ID && got.Len == want.Len && got.Data == want.Data {
					continue next
				}
			}
			t.Fatalf("%q was accepted as a frame that no car sent", cut)
		}
	})
}

// lineEndsOnly: a lost carriage return joins two lines, which are refused; with nothing else lost at a place where a line
// ends anyway, nothing is missing.
func lineEndsOnly(gone map[int]bool, whole string) bool {
	for i := range gone {
		if i != len(whole)-1 {
			return false
		}
	}
	return true
}

// An ECU whose frames have lengths of their own is believed when it says the same twice, and asked once from then on.
func TestUnusualLengths(t *testing.T) {
	sent := 0
	chip := newChip(func(cmd string, _ int) (say, bool) {
		if cmd != "0100" {
			return say{}, false
		}
		sent++
		return say{text: "7E803410D3255\r\r>"}, true // five bytes: neither whole nor cut at its PCI
	})
	bubble(t, chip, func(t *testing.T, l *Link) {
		for i, want := range []int{2, 1, 1} {
			sent = 0
			frames, errs := ask(t, l, askSupport)
			require.Empty(t, errs)
			require.Equal(t, []string{"7E8#03410D3255"}, ids(frames))
			require.Equal(t, want, sent, "asking %d", i+1)
		}
	})
	// Two digits lost once: the second answer is taken.
	n := 0
	chip = newChip(func(cmd string, _ int) (say, bool) {
		if cmd != "0100" {
			return say{}, false
		}
		if n++; n == 2 {
			return say{text: "7E80341D3255AAAA\r\r>"}, true
		}
		return say{text: "7E803410D32AAAAAAAA\r\r>"}, true
	})
	bubble(t, chip, func(t *testing.T, l *Link) {
		for range 2 {
			frames, errs := ask(t, l, askSupport)
			require.Empty(t, errs)
			require.Equal(t, []string{"7E8#03410D32AAAAAAAA"}, ids(frames))
		}
		require.Equal(t, 4, n) // and twice alike
	})
}

// A copy without working filters lets the car's own traffic through: taken for damage once, then known.
func TestUnfilteredTraffic(t *testing.T) {
	sent := 0
	chip := newChip(func(cmd string, _ int) (say, bool) {
		if cmd != "0100" {
			return say{}, false
		}
		sent++
		return say{text: fmt.Sprintf("3B4%02X22334455667788\r7E8064100BE3EB813\r1F0FFFF\r\r>", sent)}, true
	})
	bubble(t, chip, func(t *testing.T, l *Link) {
		for i, want := range []int{2, 1, 1} {
			sent = 0
			frames, errs := ask(t, l, askSupport)
			require.Empty(t, errs)
			require.Equal(t, []string{"7E8#064100BE3EB813"}, ids(frames))
			require.Equal(t, want, sent, "asking %d", i+1)
		}
	})
}

// An adapter that says anything at any time: every call ends within its bound, with a known error, and Close too.
func FuzzSession(f *testing.F) {
	f.Add([]byte("OK\r\r>|ELM327 v1.5\r\r>|?\r\r>"), uint16(10))
	f.Add([]byte("7E8064100BE3EB813\r\r>|STOPPED\r\r>|LV RESET\r\r>|ELM327 v1.5\r\r>"), uint16(300))
	f.Add([]byte("SEARCHING...\r|7F0178\r|BUFFER FULL\r\r>|>"), uint16(900))
	f.Add([]byte(""), uint16(0))
	f.Fuzz(func(t *testing.T, script []byte, delay uint16) {
		if len(script) > 4096 {
			return
		}
		parts := strings.Split(string(script), "|")
		n := 0
		chip := newChip(func(cmd string, nth int) (say, bool) {
			if cmd == "ATE0" || strings.Contains(cmd, "\x7F") || cmd == "ATWS" && nth == 0 || cmd == "ATI" && n == 0 {
				return say{}, false // let it open
			}
			n++
			return say{text: parts[n%len(parts)], after: time.Duration(int(delay)*n%3000) * time.Millisecond}, true
		})
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			l, err := start(t.Context(), address{uri: "elm:test"}, chip.open, []int{38400}, Options{}, Record{})
			within(t, began, 14*time.Second, "Open")
			if err != nil {
				known(t, err)
				return
			}
			for _, fr := range []frame.Frame{askSupport, askEngine, ask29, askLegacy, askSupport} {
				began = time.Now()
				limit := 22 * time.Second
				if fr.Is(frame.Legacy) {
					limit = 32 * time.Second
				}
				limit = 2*limit + reopenLimit // the link was lost, came back, and the request was put again
				if err := l.Send(t.Context(), fr); err != nil {
					known(t, err)
				} else {
					for i := 0; ; i++ {
						got, err := l.Recv(t.Context())
						if err == nil {
							if err := got.Validate(); err != nil {
								t.Fatal(err)
							}
							continue
						}
						known(t, err)
						if errors.Is(err, link.ErrQuiet) || errors.Is(err, link.ErrGone) {
							break
						}
						if i > maxReply {
							t.Fatal("Recv never becomes quiet")
						}
					}
				}
				within(t, began, limit, fmt.Sprint("request ", fr.IDString()))
			}
			began = time.Now()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			within(t, began, 4*time.Second, "Close")
		})
	})
}

func within(t *testing.T, began time.Time, limit time.Duration, what string) {
	t.Helper()
	if d := time.Since(began); d > limit {
		t.Fatalf("%s took %v, stated are %v", what, d, limit)
	}
}

func known(t *testing.T, err error) {
	t.Helper()
	for _, is := range []error{link.ErrQuiet, link.ErrGone, link.ErrNoAdapter, link.ErrNoVehicle, link.ErrBus, link.ErrGarbled,
		link.ErrUnsupported, context.DeadlineExceeded} {
		if errors.Is(err, is) {
			var le *link.Error
			if !errors.As(err, &le) {
				t.Fatalf("not a link.Error: %v", err)
			}
			return
		}
	}
	t.Fatalf("an error of no known kind: %v", err)
}
