package elm327

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

func ext(b byte) *byte { return &b }

// Which commands lead from one request's settings to the next one's. Round trips are what makes a scan slow, so what is
// not needed must not be sent.
func TestPlan(t *testing.T) {
	fn := func(id uint32, data ...byte) frame.Frame { return frame.New(id, 0, data...) }
	type step struct {
		f    frame.Frame
		h    link.Hint
		want string
	}
	first6 := "ATTP6 ATH1 ATS0 ATCAF1"
	for _, c := range []struct {
		name  string
		p     protocol
		can   adapterCan
		ecus  []uint32
		steps []step
	}{
		{"functional needs no header", 6, adapterCan{}, nil, []step{
			{fn(0x7DF), link.Hint{}, first6},
			{fn(0x7DF), link.Hint{}, ""},
		}},
		{"one ECU and back", 6, adapterCan{}, nil, []step{
			{fn(0x7DF), link.Hint{}, first6},
			{fn(0x7E0), link.Hint{Accept: []uint32{0x7E8}, FlowTo: 0x7E0}, "ATSH7E0"},
			{fn(0x7E0), link.Hint{Accept: []uint32{0x7E8}, FlowTo: 0x7E0}, ""},
			{fn(0x7DF), link.Hint{}, "ATSH7DF"},
			{fn(0x7DF), link.Hint{}, ""},
		}},
		{"waiting time", 6, adapterCan{}, nil, []step{
			{fn(0x7DF), link.Hint{}, first6},
			{fn(0x7DF), link.Hint{Wait: 120 * time.Millisecond}, "ATST1E"},
			{fn(0x7DF), link.Hint{Wait: 120 * time.Millisecond}, ""},
			{fn(0x7DF), link.Hint{Wait: 5 * time.Second}, "ATSTFF"},
			{fn(0x7DF), link.Hint{}, "ATST32"},
		}},
		{"another maker's pair and back", 6, adapterCan{}, nil, []step{
			{fn(0x714), link.Hint{Accept: []uint32{0x77E}, FlowTo: 0x714}, first6 + " ATSH714 ATCF700 ATCM700 ATFCSH714 ATFCSD300000 ATFCSM1"},
			{fn(0x710), link.Hint{Accept: []uint32{0x77A}, FlowTo: 0x710}, "ATSH710 ATFCSH710"},
			{fn(0x7E0), link.Hint{Accept: []uint32{0x7E8}, FlowTo: 0x7E0}, "ATSH7E0 ATFCSH7E0"},
			{fn(0x7DF), link.Hint{}, "ATSH7DF ATFCSM0"},
			{fn(0x714), link.Hint{Accept: []uint32{0x77E}, FlowTo: 0x714}, "ATSH714 ATFCSH714 ATFCSM1"},
		}},
		{"one filter for all lets others through", 6, adapterCan{noWide: true}, nil, []step{
			{fn(0x714), link.Hint{Accept: []uint32{0x77E}, FlowTo: 0x714}, first6 + " ATSH714 ATCRA77E ATFCSH714 ATFCSD300000 ATFCSM1"},
			{fn(0x710), link.Hint{Accept: []uint32{0x77A}, FlowTo: 0x710}, "ATSH710 ATCRA77A ATFCSH710"},
			{fn(0x7E0), link.Hint{Accept: []uint32{0x7E8}, FlowTo: 0x7E0}, "ATSH7E0 ATAR ATFCSM0"},
		}},
		{"flow control in force only when all of it is sent", 6, adapterCan{noWide: true, flowFull: true}, nil, []step{
			{fn(0x714), link.Hint{Accept: []uint32{0x77E}, FlowTo: 0x714}, first6 + " ATSH714 ATCRA77E ATFCSH714 ATFCSD300000 ATFCSM1"},
			{fn(0x710), link.Hint{Accept: []uint32{0x77A}, FlowTo: 0x710}, "ATSH710 ATCRA77A ATFCSH710 ATFCSD300000 ATFCSM1"},
		}},
		{"several may answer", 6, adapterCan{}, nil, []step{
			{fn(0x7DF), link.Hint{Accept: []uint32{0x7E8, 0x7E9, 0x77E}}, first6 + " ATCF700 ATCM700"},
		}},
		{"BMW's addressing", 6, adapterCan{}, nil, []step{
			{fn(0x6F1), link.Hint{Accept: []uint32{0x612}, FlowTo: 0x6F1, Ext: ext(0x12)},
				first6 + " ATCEA12 ATSH6F1 ATCRA612 ATFCSH6F1 ATFCSD12300000 ATFCSM1"},
			{fn(0x6F1), link.Hint{Accept: []uint32{0x660}, FlowTo: 0x6F1, Ext: ext(0x60)},
				"ATCEA60 ATCRA660 ATFCSD60300000"},
			{fn(0x7DF), link.Hint{}, "ATCEA ATSH7DF ATAR ATFCSM0"},
		}},
		{"29 bit", 7, adapterCan{}, nil, []step{
			{fn(0x18DB33F1), link.Hint{}, "ATTP7 ATH1 ATS0 ATCAF1"},
			{fn(0x18DA10F1), link.Hint{Accept: []uint32{0x18DAF110}, FlowTo: 0x18DA10F1}, "ATSHDA10F1"},
			{fn(0x17FC0076), link.Hint{Accept: []uint32{0x17FE0076}, FlowTo: 0x17FC0076},
				"ATCP17 ATSHFC0076 ATCRA17FE0076 ATFCSH17FC0076 ATFCSD300000 ATFCSM1"},
			{fn(0x18DB33F1), link.Hint{}, "ATCP18 ATSHDB33F1 ATAR ATFCSM0"},
		}},
		{"a filter that cannot be taken away", 6, adapterCan{noWide: true, noAuto: true}, nil, []step{
			{fn(0x714), link.Hint{Accept: []uint32{0x77E}}, first6 + " ATSH714 ATCRA77E"},
			{fn(0x7DF), link.Hint{}, "ATSH7DF ATCF7E8 ATCM7F8"},
		}},
		{"a filter that cannot be taken away, 29 bit", 7, adapterCan{noAuto: true}, nil, []step{
			{fn(0x17FC0076), link.Hint{Accept: []uint32{0x17FE0076}}, "ATTP7 ATH1 ATS0 ATCAF1 ATCP17 ATSHFC0076 ATCRA17FE0076"},
			{fn(0x18DB33F1), link.Hint{}, "ATCP18 ATSHDB33F1 ATCF18DAF100 ATCM1FFFFF00"},
		}},
		{"K-line", autoProtocol, adapterCan{}, nil, []step{
			{askLegacy, link.Hint{}, "ATSP0 ATAL ATH1 ATS0 ATCAF1"},
			{frame.New(0x8210F1, frame.Legacy, 1, 0), link.Hint{}, "ATSH8210F1"},
		}},
		{"STN chip", 6, adapterCan{stn: true, noPX: true}, []uint32{0x7E8, 0x7E9}, []step{
			{fn(0x714), link.Hint{Accept: []uint32{0x77E}, FlowTo: 0x714}, first6 + " ATSH714 ATCF700 ATCM700 STCFCPA714,77E"},
			{fn(0x710), link.Hint{Accept: []uint32{0x77A}, FlowTo: 0x710}, "ATSH710 STCFCPA710,77A"},
			{fn(0x714), link.Hint{Accept: []uint32{0x77E}, FlowTo: 0x714}, "ATSH714"},
			{fn(0x7E0), link.Hint{Accept: []uint32{0x7E8}, FlowTo: 0x7E0}, "ATSH7E0 STCFCPA7E0,7E8"},
			{fn(0x7DF), link.Hint{}, "ATSH7DF STCFCPA7E1,7E9"},
			{fn(0x6F1), link.Hint{Accept: []uint32{0x612}, FlowTo: 0x6F1, Ext: ext(0x12)}, "ATCEA12 ATSH6F1 ATCRA612 STCFCPA6F112,612F1"},
			{fn(0x7DF), link.Hint{}, "ATCEA ATSH7DF ATAR STCFCPC"},
		}},
		{"STN chip with STPX names no header", 6, adapterCan{stn: true}, nil, []step{
			{fn(0x7DF), link.Hint{}, first6},
			{fn(0x7E0), link.Hint{Accept: []uint32{0x7E8}, FlowTo: 0x7E0}, ""},
			{fn(0x714), link.Hint{Accept: []uint32{0x77E}, FlowTo: 0x714}, "ATCF700 ATCM700 STCFCPA714,77E"},
		}},
		{"STN chip without pairs", 6, adapterCan{stn: true, noPair: true, noPX: true}, nil, []step{
			{fn(0x714), link.Hint{Accept: []uint32{0x77E}, FlowTo: 0x714}, first6 + " ATSH714 ATCF700 ATCM700 ATFCSH714 ATFCSD300000 ATFCSM1"},
		}},
		{"a copy that has little", 6, adapterCan{noTP: true, noFlow: true, noFilter: true, noST: true, noMask: true, noWide: true}, nil, []step{
			{fn(0x714), link.Hint{Wait: time.Second, Accept: []uint32{0x77E}, FlowTo: 0x714}, "ATSP6 ATH1 ATS0 ATCAF1 ATSH714"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			have := settings{proto: noProtocol}
			for i, s := range c.steps {
				w := want(&s.f, s.h, c.p, c.can, have, c.ecus, strings.Contains(c.name, "STPX"))
				var said []string
				for _, cmd := range plan(have, w, c.can) {
					said = append(said, cmd.text)
				}
				require.Equal(t, s.want, strings.Join(said, " "), "step %d", i+1)
				have = w
			}
		})
	}
}

// A change of protocol closes the open one and makes the header right for the new one.
func TestPlanChangesProtocol(t *testing.T) {
	engine := want(&askEngine, link.Hint{}, 6, adapterCan{}, settings{proto: noProtocol}, nil, false)
	var said []string
	for _, cmd := range plan(engine, want(&ask29, link.Hint{}, 7, adapterCan{}, engine, nil, false), adapterCan{}) {
		said = append(said, cmd.text)
	}
	require.Equal(t, "ATPC ATTP7 ATSHDB33F1", strings.Join(said, " "))
}

func TestRequestText(t *testing.T) {
	for _, c := range []struct {
		f      frame.Frame
		ext    bool
		expect int
		want   string
	}{
		{askSupport, false, 0, "0100"},
		{askSupport, false, 2, "01005"},
		{askSupport, false, 10, "0100"},
		{frame.New(0x7E0, 0, 7, 1, 2, 3, 4, 5, 6, 7), false, 0, "01020304050607"},
		{frame.New(0x6F1, 0, 0x12, 3, 0x22, 0xF1, 0x90), true, 1, "22F1901"},
		{askLegacy, false, 0, "0100"},
	} {
		got, err := request(&c.f, c.ext, c.expect, false, true)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
}

// One character of a question lost on the way to the adapter makes no order of it that changes the vehicle: what is left of a
// question of service 01, or with a count that can be another, is never one, alone or with a count behind it. "01002" without
// its first is the programming session, "01101" the hard reset, "0142" the clearing of the fault memory.
func TestNoQuestionIsOneCharacterFromAnOrder(t *testing.T) {
	orders := map[string]bool{"04": true, "1002": true, "1003": true, "1004": true, "1101": true, "1102": true, "1103": true, "1104": true, "1105": true}
	look := func(f frame.Frame) {
		for expect := range 12 {
			text, err := request(&f, false, expect, false, true)
			require.NoError(t, err)
			for i := range text {
				left := text[:i] + text[i+1:]
				bad := orders[left] || len(left)%2 == 1 && orders[left[:len(left)-1]]
				guarded := !harmless(text)
				require.False(t, bad && !guarded, "%s of %s", left, text)
				require.False(t, guarded && f.Data[1] == 1, "%s needs its echo", text)
			}
		}
	}
	for service := range 0x100 {
		if service == 0x04 { // the order itself
			continue
		}
		look(frame.New(0x7DF, 0, 1, byte(service)))
		for id := range 0x100 {
			look(frame.New(0x7DF, 0, 2, byte(service), byte(id), 0, 0, 0, 0, 0))
		}
	}
}

// Nor does one bit of a character changed, but for those that go out by their echo. It is looked at as well where STPX says more.
func TestNoQuestionIsOneBitFromAnOrder(t *testing.T) {
	var by []string
	look := func(f frame.Frame) {
		for _, in := range []bool{false, true} {
			text, err := request(&f, false, 1, in, true)
			require.NoError(t, err)
			guarded := !in && !harmless(text) || turned(digitsOf(text))
			bare := digitsOf(text)
			bad := false
			for i := range bare {
				for bit := range 8 {
					b := []byte(bare)
					b[i] ^= 1 << bit
					m, err := hex.DecodeString(string(b[:len(b)&^1]))
					bad = bad || err == nil && obeyed(m)
				}
			}
			require.True(t, guarded || !bad, text)
			if turned(bare) && in {
				by = append(by, bare)
			}
		}
	}
	for _, service := range []byte{0x01, 0x03, 0x06, 0x07, 0x09, 0x0A} {
		look(frame.New(0x7DF, 0, 1, service))
		for id := range 0x100 {
			look(frame.New(0x7DF, 0, 2, service, byte(id), 0, 0, 0, 0, 0))
			look(frame.New(0x7DF, 0, 3, service, byte(id), 0, 0, 0, 0, 0))
		}
	}
	for id := range 0x10000 {
		look(frame.New(0x7E0, 0, 3, 0x22, byte(id>>8), byte(id), 0, 0, 0, 0))
	}
	for sub := range 0x100 {
		look(frame.New(0x7E0, 0, 3, 0x19, byte(sub), 0x0D, 0, 0, 0, 0))
	}
	require.Equal(t, []string{"0101", "0102", "0103", "0104", "0105", "0181", "0182", "0183", "0184", "0185",
		"06", "0701", "0702", "0781", "0782"}, by)
}

// What the settings do on the wire: hints, refusals, and that a request says how many lines it expects.
func TestHints(t *testing.T) {
	refuse := map[string]bool{}
	chip := newChip(func(cmd string, _ int) (say, bool) {
		switch {
		case refuse[cmd]:
			return say{text: "?\r\r>"}, true
		case cmd == "0100", cmd == "01002":
			return say{text: support}, true
		case cmd == "222240":
			return say{text: "77E046222400A\r\r>"}, true
		case cmd == "22F190":
			return say{text: "77E100A62F190414243\r\r>"}, true
		}
		return say{}, false
	})
	bubble(t, chip, func(t *testing.T, l *Link) {
		_, errs := ask(t, l, askSupport)
		require.Empty(t, errs)
		require.Equal(t, []string{"ATTP6", "ATST0E", "0100"}, chip.said())
		l.SetHint(link.Hint{Frames: 2})
		_, errs = ask(t, l, askSupport)
		require.Empty(t, errs)
		require.Equal(t, []string{"ATST32", "01005"}, chip.said())
		_, errs = ask(t, l, askSupport)
		require.Empty(t, errs)
		require.Equal(t, []string{"0100"}, chip.said(), "a hint holds for one Send")

		// The digit refused: asked again without it, and never used again.
		refuse["01005"] = true
		for range 2 {
			l.SetHint(link.Hint{Frames: 2})
			frames, errs := ask(t, l, askSupport)
			require.Empty(t, errs)
			require.Len(t, frames, 2)
		}
		require.Equal(t, []string{"01005", "0100", "0100"}, chip.said())

		// A copy without user flow control still reads short answers of such an ECU, and says why long ones stop.
		pair := link.Hint{Accept: []uint32{0x77E}, FlowTo: 0x714}
		refuse["ATFCSH714"], refuse["ATFCSM1"] = true, true
		l.SetHint(pair)
		frames, errs := ask(t, l, frame.New(0x714, 0, 3, 0x22, 0x22, 0x40))
		require.Empty(t, errs)
		require.Equal(t, []string{"77E#046222400A"}, ids(frames))
		l.SetHint(pair)
		frames, errs = ask(t, l, frame.New(0x714, 0, 3, 0x22, 0xF1, 0x90))
		require.Len(t, frames, 1)
		require.Len(t, errs, 1)
		require.ErrorIs(t, errs[0], link.ErrUnsupported)
		require.ErrorContains(t, errs[0], "long answer")

		// A header that is refused cannot be asked through.
		refuse["ATSH7E5"] = true
		_, errs = ask(t, l, frame.New(0x7E5, 0, 2, 1, 0))
		require.ErrorIs(t, errs[0], link.ErrUnsupported)
		require.ErrorContains(t, errs[0], "ATSH7E5")
		_, errs = ask(t, l, askSupport)
		require.Empty(t, errs, "after a refused header the link goes on")
	})
}
