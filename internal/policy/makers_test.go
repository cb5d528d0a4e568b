package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/policy"

	"github.com/stretchr/testify/require"
)

// twoMakers know of Volkswagens and Hyundais: 77E answers in the one and asks in the other.
var twoMakers = policy.Makers{
	All: []isotp.Address{{Tx: 0x714, Rx: 0x77E}, {Tx: 0x77E, Rx: 0x786}, {Tx: 0x17FC0076, Rx: 0x17FE0076, Extended29: true}, {Tx: 0x7E0, Rx: 0x7E8}},
	Of: func(wmi string) (m policy.Maker) {
		switch wmi {
		case "WVW":
			m.Pairs = []isotp.Address{{Tx: 0x17FC0076, Rx: 0x17FE0076, Extended29: true}}
			m.Places = []policy.Place{
				{Addr: isotp.Address{Tx: 0x714, Rx: 0x77E}, Question: []byte{0x22, 0x22, 0x03}, Width: 3, Key: "odometer.22.2203"},
				{Addr: isotp.Address{Tx: 0x7E0, Rx: 0x7E8}, Question: []byte{0x21, 0x28}, Width: 3, Key: "odometer.21.28"},
			}
		case "KMH":
			m.Pairs = []isotp.Address{{Tx: 0x77E, Rx: 0x786}}
		}
		return m
	},
}

// asksVIN is the question and the answer with a VIN of that maker, from the ECU at 7E8+n.
func asksVIN(n int, wmi string) string {
	return fmt.Sprintf("%03X#0209020000000000\n%03X#1014490201%X\n%03X#215A5A5A43443057\n%03X#2230303030303031\n", 0x7E0+n, 0x7E8+n, wmi, 0x7E8+n, 0x7E8+n)
}

// Behind the arrow stands what the frame shows; frames without one are not looked at.
func TestVINTellsTheMaker(t *testing.T) {
	const asks, odometer, part = "714#0322220300000000", "77E#0662220301020355", "77E#0762F18741424344"
	for _, c := range []struct{ name, log string }{
		{"before a VIN nothing of a maker is known", asks + " => 0000000000000000\n" + odometer + " => 0000000000000000"},
		{"behind it the question and the place are technical, the padding is not", asksVIN(0, "WVW") + asks + " => 0322220300000000\n" + odometer + " => 0662220301020300"},
		{"the place alone, not what stands behind it", asksVIN(0, "WVW") + "7E0#0221280000000000\n7E8#0661280102030400 => 0661280102030000"},
		{"a place of an emission ECU is unknown without a VIN", "7E0#0221280000000000\n7E8#0661280102030400 => 0600000000000000"},
		{"by 29-bit identifiers", asksVIN(0, "WVW") + "17FC0076#0322F18700000000\n17FE0076#0762F18741424344 => 0762F18741424344"},
		{"nobody asked: it may be broadcast", asksVIN(0, "WVW") + part + " => 0000000000000000"},
		{"asked before the VIN is not asked", asks + "\n" + asksVIN(0, "WVW") + odometer + " => 0000000000000000"},
		{"another make", asksVIN(0, "WMW") + asks + " => 0000000000000000\n" + odometer + " => 0000000000000000"},
		{"a VIN by data identifier", "7E0#0322F19000000000\n7E8#101462F190575657\n7E8#215A5A5A43443057\n7E8#2230303030303031\n" + asks + " => 0322220300000000"},
		{"a VIN nobody asked for", strings.SplitN(asksVIN(0, "WVW"), "\n", 2)[1] + asks + " => 0000000000000000"},
		{"a VIN cut short", strings.Replace(asksVIN(0, "WVW"), "1014", "1013", 1) + asks + " => 0000000000000000"},
		{"no VIN: other characters", asksVIN(0, "wvw") + asks + " => 0000000000000000"},
		{"the next vehicle: another maker behind the same identifier", asksVIN(0, "WVW") + asks + "\n" + asksVIN(0, "KMH") + odometer + " => 0600000000000000\n" +
			"77E#0322F18700000000 => 0322F18700000000\n786#0762F18741424344 => 0762F18741424344\n" + asksVIN(0, "WVW") + odometer + " => 0000000000000000"},
		{"the vehicle before was asked, not this one", asksVIN(0, "WVW") + asks + "\n" + asksVIN(0, "WMW") + asksVIN(0, "WVW") + odometer + " => 0000000000000000"},
		{"an ECU of another vehicle, told later", asksVIN(0, "WVW") + asksVIN(1, "KMH") + asks + " => 0322220300000000"},
		{"an ECU of another vehicle, told first", asksVIN(1, "KMH") + asksVIN(0, "WVW") + asks + " => 0322220300000000"},
		{"a message under way when the vehicle changes", asksVIN(0, "WVW") + asks + "\n77E#100A622203010203 => 100A000000000000\n" + asksVIN(0, "KMH") + "77E#2104050607080900 => 2100000000000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var frames []frame.Frame
			var want []string
			for l := range strings.Lines(c.log) {
				f, shows, _ := strings.Cut(strings.TrimSpace(l), " => ")
				frames, want = append(frames, parseFrame(t, f)), append(want, shows)
			}
			tg := policy.NewTagger(defaultPolicy(t), nil, policy.WithMakers(twoMakers))
			for range 2 { // behind Flush nothing is left of the stream before
				for i, g := range run(tg, number(frames)) {
					if m := g.masked(); want[i] != "" {
						require.Equal(t, want[i], fmt.Sprintf("%X", m.Bytes()), "frame %d", i+1)
					}
				}
			}
		})
	}
}

// A vehicle on one bus says nothing of another.
func TestMakerIsThatOfTheBus(t *testing.T) {
	var frames []frame.Frame
	for l := range strings.Lines(asksVIN(0, "WVW") + "714#0322220300000000\n77E#0662220301020355") {
		frames = append(frames, parseFrame(t, strings.TrimSpace(l)))
	}
	for _, bus := range []uint8{0, 1, 255} {
		frames[4].Bus, frames[5].Bus = bus, bus
		got := run(policy.NewTagger(defaultPolicy(t), nil, policy.WithMakers(twoMakers)), number(frames))
		require.Equal(t, bus == 0, got[4].ft.Class == policy.Technical, "bus %d", bus)
		require.Equal(t, bus == 0, got[5].ft.Class == policy.Technical, "bus %d", bus)
	}
}

// What some maker has a use for must be pushed: whoever decides alone does not know whose vehicle it is.
func TestAloneLeavesMakersPairs(t *testing.T) {
	tg := policy.NewTagger(defaultPolicy(t), nil, policy.WithMakers(twoMakers))
	for id, alone := range map[string]bool{"714#01": false, "786#01": false, "17FE0076#01": false, "715#01": true, "17FE0077#01": true} {
		f := parseFrame(t, id)
		_, ok := tg.Alone(&f)
		require.Equal(t, alone, ok, id)
	}
}

// Following a maker's pairs costs no memory per frame, a VIN read again neither.
func TestMakersAllocateNothing(t *testing.T) {
	var frames []frame.Frame
	for l := range strings.Lines(asksVIN(0, "WVW") + "714#0322220300000000\n77E#0662220301020355\n123#0102030405060708") {
		frames = append(frames, parseFrame(t, strings.TrimSpace(l)))
	}
	tg := policy.NewTagger(defaultPolicy(t), nil, policy.WithMakers(twoMakers))
	emit := func(*frame.Frame, policy.FrameTag) {}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for i := range frames {
			tg.Push(&frames[i], emit)
		}
	}))
}
