package elm327

import (
	"strings"
	"testing"

	"obdgate/internal/frame"

	"github.com/stretchr/testify/require"
)

// A link that has lost a character takes an answer when two replies have it alike; one that has not asks once.
func TestNoisyLink(t *testing.T) {
	const whole, other = "7E804410C1AF8\r\r>", "7E804410C1BF8\r\r>" // a digit that became another
	const three = "7E804410C1AF8\r7E904410C1AF8\r7EA04410C1AF8\r\r>"
	everybody := frame.New(0x7DF, 0, 2, 1, 0x0C, 0, 0, 0, 0, 0)
	engine := []string{"7E8#04410C1AF8"}
	long := func(third string) string { return "7E81014490201575657\r7E8215A5A5A4344304E\r" + third + "\r\r>" }
	for _, c := range []struct {
		name    string
		ask     frame.Frame
		replies []string // to the question, the last again and again
		frames  []string
		text    string // of the error, "" = none
		sent    int
	}{
		{"alike at once", askEngine, []string{whole}, engine, "", 2},
		{"a digit changed", askEngine, []string{other, whole}, engine, "", 3},
		{"damaged again", askEngine, []string{"7E804410C1AF\r\r>", other, "7E804410C1A\r\r>", whole}, engine, "", 5},
		{"a thing that changes", askEngine, []string{other, whole, "7E804410C1CF8\r\r>"}, nil, "alike", 3},
		{"nobody", askEngine, []string{"NO DATA\r\r>"}, nil, "", 1},
		{"an answer, then none", askEngine, []string{whole, "NO DATA\r\r>", whole}, engine, "", 3},
		{"put together of two damaged ones", askVIN, []string{long("7E82257303030303031"), "7E81014490201575657\r7E8215A5A5A434430E\r7E82257303030303031\r\r>",
			"7E814490201575657\r7E8215A5A5A4344304E\r7E82257303030303031\r\r>"}, []string{"7E8#1014490201575657", "7E8#215A5A5A4344304E", "7E8#2257303030303031"}, "", 3},
		{"two lines in one where a third is damaged", everybody, []string{"7E804410C1AF\r7E904410C1AF8\r7EA04410C1AF8\r\r>", three,
			"7E804410C1AF\r7E904410C1AF87EA04410C1AF8\r\r>", three}, []string{"7E9#04410C1AF8", "7EA#04410C1AF8", "7E8#04410C1AF8"}, "", 4},
		{"never whole", askVIN, []string{"7E81014490201575657\r7E8215A5A5A434430E\r\r>"}, []string{"7E8#1014490201575657"}, "digit", noisyAttempts},
	} {
		t.Run(c.name, func(t *testing.T) {
			sent, first := 0, true
			chip := newChip(func(cmd string, nth int) (say, bool) {
				switch {
				case cmd == "0100" && nth == 1:
					return say{text: "7E8064100BE3EB81\r\r>"}, true // by this the line is caught
				case cmd == "0100":
					return say{text: support}, true
				case cmd == "010C" || cmd == "0902":
					sent++
					if first {
						return say{text: "NO DATA\r\r>"}, true
					}
					return say{text: c.replies[min(sent, len(c.replies))-1]}, true
				}
				return say{}, false
			})
			bubble(t, chip, func(t *testing.T, l *Link) {
				for range 2 {
					require.False(t, l.Caps().Lossy)
					_, errs := ask(t, l, askSupport)
					require.Empty(t, errs)
				}
				require.True(t, l.Caps().Lossy)
				sent, first = 0, false
				frames, errs := ask(t, l, c.ask)
				require.Equal(t, c.frames, ids(frames))
				require.Equal(t, c.sent, sent)
				if c.text == "" {
					require.Empty(t, errs)
				} else {
					require.Len(t, errs, 1)
					require.ErrorContains(t, errs[0], c.text)
				}
			})
		})
	}
}

// What was answered before the line was caught is one of the two replies that a line of an answer takes, once.
func TestNoisyLinkRemembers(t *testing.T) {
	const whole, other = "7E804410C1AF8\r\r>", "7E804410C1BF8\r\r>" // a digit that became another
	engine := []string{"7E8#04410C1AF8"}
	for _, c := range []struct {
		name    string
		before  string
		replies []string // after the line was caught, the last again and again
		frames  []string
		text    string // of the error, "" = none
		sent    int
	}{
		{"the same", whole, []string{whole}, engine, "", 1},
		{"it was damaged", other, []string{whole}, engine, "", 2},
		{"damaged again", other, []string{"7E804410C1CF8\r\r>", whole}, engine, "", 3},
		{"a thing that changes", other, []string{whole, "7E804410C1CF8\r\r>", "7E804410C1DF8\r\r>"}, nil, "alike", 3},
		{"nobody, then", "NO DATA\r\r>", []string{whole}, engine, "", 2},
		{"nobody, now", whole, []string{"NO DATA\r\r>", whole}, engine, "", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			sent, early := 0, true
			chip := newChip(func(cmd string, nth int) (say, bool) {
				switch {
				case cmd == "0100" && nth == 1:
					return say{text: "7E8064100BE3EB81\r\r>"}, true // by this the line is caught
				case cmd == "0100":
					return say{text: support}, true
				case strings.HasPrefix(cmd, "010C") && early:
					return say{text: c.before}, true
				case strings.HasPrefix(cmd, "010C"):
					sent++
					return say{text: c.replies[min(sent, len(c.replies))-1]}, true
				}
				return say{}, false
			})
			bubble(t, chip, func(t *testing.T, l *Link) {
				for _, q := range []frame.Frame{askSupport, askEngine, askSupport} {
					require.False(t, l.Caps().Lossy)
					_, errs := ask(t, l, q)
					require.Empty(t, errs)
				}
				require.True(t, l.Caps().Lossy)
				early = false
				for again := range 2 {
					had := sent
					frames, errs := ask(t, l, askEngine)
					require.Equal(t, c.frames, ids(frames))
					if c.text != "" {
						require.Len(t, errs, 1)
						require.ErrorContains(t, errs[0], c.text)
						require.Equal(t, c.sent, sent)
						break
					}
					require.Empty(t, errs)
					if again == 0 {
						require.Equal(t, c.sent, sent)
					} else {
						require.Equal(t, 2, sent-had, "an early reply counts once")
					}
				}
			})
		})
	}
}

// A copy that always prints a line nobody understands is not noisy: it would be asked eight times each time.
func TestSteadyNonsenseIsNoNoise(t *testing.T) {
	sent := 0
	chip := newChip(func(cmd string, _ int) (say, bool) {
		if cmd != "0100" {
			return say{}, false
		}
		sent++
		return say{text: "7E8064100BE3EB813\rFIRMWARE 1.2\r\r>"}, true
	})
	bubble(t, chip, func(t *testing.T, l *Link) {
		for range 3 {
			sent = 0
			frames, _ := ask(t, l, askSupport)
			require.Equal(t, []string{"7E8#064100BE3EB813"}, ids(frames))
			require.LessOrEqual(t, sent, attempts)
			require.False(t, l.Caps().Lossy)
		}
	})
}
