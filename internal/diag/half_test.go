package diag_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"obdgate/internal/diag"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

// What a half-duplex adapter does to a question: windows end by its word, and it may stop listening too early.
func TestHalfDuplex(t *testing.T) {
	pending := say("7E8#037F2278")
	for _, tc := range []struct {
		name  string
		caps  link.Caps
		to    diag.Target
		ask   string
		exp   int
		rules []rule
		fails map[string]error
		want  []string
		err   error
		heard []string
		took  [2]time.Duration
	}{{
		name: "the adapter's word ends the window, not the clock",
		to:   diag.Functional11, ask: "0100",
		rules: []rule{{on: "7DF#020100", says: [][]step{{{300 * ms, "7E8#06410088188000"}, {900 * ms, "7E9#06410088188000"}}}}},
		want:  []string{"7E8 410088188000", "7E9 410088188000"},
		heard: []string{"7DF#0201000000000000"},
		took:  [2]time.Duration{1200 * ms, 1200 * ms},
	}, {
		name: "an adapter that answers first frames itself is left to do so",
		caps: link.Caps{FlowControl: true},
		to:   diag.Functional11, ask: "0904",
		rules: []rule{once("7DF#020904", "7E8#1008490401454F53", "7E8#21454B0000000000")},
		want:  []string{"7E8 490401454F53454B"},
		heard: []string{"7DF#0209040000000000"},
		took:  [2]time.Duration{2 * ms, 2 * ms},
	}, {
		name: "the adapter stopped listening to a pending answer: asked again, physically",
		caps: link.Caps{FlowControl: true},
		to:   diag.Functional11, ask: "22F190",
		rules: []rule{
			once("7DF#0322F190", "7E9#0462F19041", "7E8#037F2278"),
			{on: "7E0#0322F190", says: [][]step{pending, pending, say("7E8#037F2278", "7E8#0462F19042")}},
		},
		want:  []string{"7E9 62F19041", "7E8 62F19042"},
		heard: []string{"7DF#0322F19000000000", "7E0#0322F19000000000", "7E0#0322F19000000000", "7E0#0322F19000000000"},
		took:  [2]time.Duration{700 * ms, 720 * ms},
	}, {
		name: "pending for ever: bounded",
		to:   diag.Physical(ecu7E8), ask: "221234",
		rules: []rule{{on: "7E0#03221234", says: [][]step{pending}, always: true}},
		want:  []string{"7E8 !answer not finished: asked for patience and did not answer"},
		heard: nil,
		took:  [2]time.Duration{15 * time.Second, 20 * time.Second},
	}, {
		name: "half an answer: only that ECU is asked again",
		caps: link.Caps{FlowControl: true},
		to:   diag.Functional11, ask: "0904",
		rules: []rule{
			once("7DF#020904", "7E8#1008490401454F53", "7E9#0449040100"),
			once("7E0#020904", "7E8#1008490401454F53", "7E8#21454B0000000000"),
		},
		want:  []string{"7E8 490401454F53454B", "7E9 49040100"},
		heard: []string{"7DF#0209040000000000", "7E0#0209040000000000"},
		took:  [2]time.Duration{4 * ms, 4 * ms},
	}, {
		name: "the beginning was dropped",
		caps: link.Caps{FlowControl: true},
		to:   diag.Functional11, ask: "0904",
		rules: []rule{once("7DF#020904", "7E8#21454B0000000000")},
		want:  []string{"7E8 !answer damaged on the way: isotp: unexpected frame"},
		heard: []string{"7DF#0209040000000000", "7E0#0209040000000000"},
		took:  [2]time.Duration{1 * ms, 1 * ms},
	}, {
		name: "damage on the way: asked once more, then all is well",
		to:   diag.Functional11, ask: "0100",
		rules: []rule{{on: "7DF#020100", says: [][]step{say("7E8#06410088188000", "garbled"),
			say("7E8#06410088188000", "7E9#06410080000001")}}},
		want:  []string{"7E8 410088188000", "7E9 410080000001"},
		heard: []string{"7DF#0201000000000000", "7DF#0201000000000000"},
		took:  [2]time.Duration{4 * ms, 4 * ms},
	}, {
		name: "damage that stays is told beside what came whole",
		to:   diag.Functional11, ask: "0100",
		rules: []rule{always("7DF#020100", "7E8#06410088188000", "garbled")},
		want:  []string{"7E8 410088188000"},
		err:   link.ErrGarbled,
		heard: []string{"7DF#0201000000000000", "7DF#0201000000000000"},
		took:  [2]time.Duration{4 * ms, 4 * ms},
	}, {
		name: "damage does not matter once everybody has answered",
		to:   diag.Functional11, ask: "0100", exp: 1,
		rules: []rule{always("7DF#020100", "garbled", "7E8#06410088188000")},
		want:  []string{"7E8 410088188000"},
		heard: []string{"7DF#0201000000000000"},
		took:  [2]time.Duration{2 * ms, 2 * ms},
	}, {
		name: "the adapter finds no vehicle",
		to:   diag.Functional11, ask: "0100",
		fails: map[string]error{"7DF": link.ErrNoVehicle},
		err:   link.ErrNoVehicle,
		heard: []string{"7DF#0201000000000000"},
	}, {
		name: "unplugged in the middle: what was whole is kept",
		caps: link.Caps{FlowControl: true},
		to:   diag.Functional11, ask: "0100",
		rules: []rule{once("7DF#020100", "7E8#06410088188000", "7E9#1008410001454F53")},
		fails: map[string]error{"7DF": link.ErrGone},
		want:  []string{"7E8 410088188000", "7E9 !answer not finished: isotp: no consecutive frame in time"},
		err:   link.ErrGone,
		heard: []string{"7DF#0201000000000000"},
		took:  [2]time.Duration{2 * ms, 2 * ms},
	}, {
		name: "a recording that has the question once",
		caps: link.Caps{Instant: true, FlowControl: true},
		to:   diag.Functional11, ask: "0904",
		rules: []rule{once("7DF#020904", "7E8#1008490401454F53", "7E9#037F0978")},
		fails: map[string]error{"7E0": link.ErrUnrecorded, "7E1": link.ErrUnrecorded},
		want:  []string{"7E8 !answer not finished: isotp: no consecutive frame in time", "7E9 !answer not finished: asked for patience and did not answer"},
		heard: []string{"7DF#0209040000000000", "7E0#0209040000000000", "7E1#0209040000000000"},
		took:  [2]time.Duration{2 * ms, 2 * ms},
	}, {
		name: "a long question on an adapter that cannot",
		caps: link.Caps{SingleFrameOnly: true},
		to:   diag.Physical(ecu7E8), ask: "22F190F187F18CF189",
		err: link.ErrUnsupported,
	}, {
		name: "a long question whose flow control the adapter did not hear",
		to:   diag.Physical(ecu7E8), ask: "22F190F187F18CF189",
		want:  []string{"7E8 !answer not finished: question not taken: isotp: no flow control in time"},
		heard: []string{"7E0#100922F190F187F1"},
	}} {
		t.Run(tc.name, func(t *testing.T) {
			onELM(t, tc.caps, func() *car { return newCar(tc.rules...) }, func(t *testing.T, c *diag.Conn, h *half, _ *tapped) {
				h.fails = tc.fails
				begin := time.Now()
				answers, err := c.Request(t.Context(), diag.Request{To: tc.to, Payload: payload(tc.ask), Expect: tc.exp})
				took := time.Since(begin)
				require.ErrorIs(t, err, tc.err)
				require.Equal(t, tc.want, show(answers))
				if tc.heard != nil || tc.want == nil {
					require.Equal(t, tc.heard, h.v.frames())
				}
				require.LessOrEqual(t, tc.took[0], took)
				require.GreaterOrEqual(t, tc.took[1], took)
			})
		})
	}
}

// An adapter needs to be told what only the asker knows.
func TestHints(t *testing.T) {
	onELM(t, link.Caps{Protocol: "ISO 15765-4 CAN 11/500"}, func() *car {
		return newCar(once("6F1#600322D10D", "660#F1037F2278"), once("6F1#600322D10D", "660#F10462D10D01"))
	}, func(t *testing.T, c *diag.Conn, h *half, _ *tapped) {
		answers, err := c.Request(t.Context(), diag.Request{To: diag.Physical(ecuBMW), Payload: payload("22D10D"), Frames: 2})
		require.NoError(t, err)
		require.Equal(t, []string{"660 62D10D01"}, show(answers))
		target := byte(0x60)
		require.Equal(t, []link.Hint{
			{Frames: 2, Answers: 1, Wait: diag.DefaultP2, Accept: []uint32{0x660}, FlowTo: 0x6F1, Ext: &target},
			{Answers: 1, Wait: diag.DefaultP2Star, Accept: []uint32{0x660}, FlowTo: 0x6F1, Ext: &target},
		}, h.hints, "the repetition must wait longer and must not count on the frames of an unpatient answer")

		h.hints = nil
		_, err = c.Request(t.Context(), diag.Request{To: diag.Target{ID: 0x7DF, Pairs: []isotp.Address{{Tx: 0x714, Rx: 0x77E}}},
			Payload: payload("22F187")})
		require.NoError(t, err)
		require.Equal(t, []uint32{0x7E8, 0x7E9, 0x7EA, 0x7EB, 0x7EC, 0x7ED, 0x7EE, 0x7EF, 0x77E}, h.hints[0].Accept)
	})
}

func TestLegacy(t *testing.T) {
	const ask = "~686AF1#"
	for _, tc := range []struct {
		name string
		req  string
		says [][]step
		want []string
	}{{
		name: "a VIN in five numbered messages, out of order and one twice", req: "0902",
		says: [][]step{say("~87F110#49020100000031", "~87F110#49020331414141", "~87F110#49020244344750", "~87F110#49020244344750",
			"~87F110#49020442414243", "~87F110#49020530303031")},
		want: []string{"10 4902010000003144344750314141414241424330303031"},
	}, {
		name: "one of the five is missing, asked again", req: "0902",
		says: [][]step{
			say("~486B10#49020100000031", "~486B10#49020244344750", "~486B10#49020442414243", "~486B10#49020530303031"),
			say("~486B10#49020100000031", "~486B10#49020244344750", "~486B10#49020331414141", "~486B10#49020442414243",
				"~486B10#49020530303031")},
		want: []string{"10 4902010000003144344750314141414241424330303031"},
	}, {
		name: "the last of the five is missing twice: no VIN", req: "0902",
		says: [][]step{say("~486B10#49020100000031", "~486B10#49020244344750"), say("~486B10#49020100000031")},
		want: []string{"10 !answer damaged on the way: a numbered message is missing: 1 came"},
	}, {
		name: "number two of a list that is not a VIN is missing", req: "0906",
		says: [][]step{say("~486B10#49060100000031", "~486B10#49060344344750"), nil},
		want: []string{"10 !answer damaged on the way: a numbered message is missing: number 2"},
	}, {
		name: "one number with two contents", req: "0906",
		says: [][]step{say("~486B10#49060100000031", "~486B10#49060100000032"), nil},
		want: []string{"10 !answer damaged on the way: two different answers to one question"},
	}, {
		name: "a count of messages is not numbered", req: "0901",
		says: [][]step{say("~83F110#490105")},
		want: []string{"10 490105"},
	}, {
		name: "trouble codes of two ECUs, three to a message", req: "03",
		says: [][]step{say("~486B10#43010211201220", "~486B18#43000000000000", "~486B10#43151415150000")},
		want: []string{"10 43010211201220151415150000", "18 43000000000000"},
	}, {
		name: "the same answer twice", req: "010C",
		says: [][]step{say("~416B10#410C1AF8", "~416B10#410C1AF8")},
		want: []string{"10 410C1AF8"},
	}, {
		name: "K-line ECUs refuse instead of keeping silent", req: "0908",
		says: [][]step{say("~83F110#7F0912")},
		want: []string{"10 !service 09 refused: sub-function not supported (NRC 0x12)"},
	}, {
		name: "pending, then the answer in the same window", req: "03",
		says: [][]step{say("~83F110#7F0378", "~87F110#43010200000000")},
		want: []string{"10 43010200000000"},
	}, {
		name: "our own echo, other testers and other answers do not count", req: "010C",
		says: [][]step{say("~686AF1#010C", "~C233F1#010C", "~486B10#410D00", "~486B10#410C1AF8", "~48AA10#410C0000")},
		want: []string{"10 410C1AF8"},
	}} {
		t.Run(tc.name, func(t *testing.T) {
			onELM(t, link.Caps{Legacy: true}, func() *car { return newCar(rule{on: ask, says: tc.says}) },
				func(t *testing.T, c *diag.Conn, h *half, tap *tapped) {
					answers, err := c.Request(t.Context(), diag.Request{To: diag.FunctionalLegacy, Payload: payload(tc.req)})
					require.NoError(t, err)
					require.Equal(t, tc.want, show(answers))
					for _, a := range answers {
						require.True(t, a.Legacy)
						require.NotEmpty(t, a.From)
					}
					require.Equal(t, ask+tc.req, h.v.frames()[0])
				})
		})
	}
	t.Run("damaged: a list that may lack a message is no list", func(t *testing.T) {
		onELM(t, link.Caps{Legacy: true}, func() *car {
			return newCar(always(ask, "~486B10#43010211201220", "garbled"))
		}, func(t *testing.T, c *diag.Conn, h *half, _ *tapped) {
			answers, err := c.Request(t.Context(), diag.Request{To: diag.FunctionalLegacy, Payload: payload("03")})
			require.ErrorIs(t, err, link.ErrGarbled)
			require.Len(t, answers, 1)
			require.ErrorIs(t, answers[0].Err, diag.ErrSequence)
			require.Len(t, h.v.frames(), 3)
		})
	})
	t.Run("one ECU alone", func(t *testing.T) {
		onELM(t, link.Caps{Legacy: true}, func() *car {
			return newCar(always(ask, "~87F110#43010200000000", "~87F118#43000000000000"))
		}, func(t *testing.T, c *diag.Conn, _ *half, _ *tapped) {
			all, err := c.Request(t.Context(), diag.Request{To: diag.FunctionalLegacy, Payload: payload("03")})
			require.NoError(t, err)
			require.Len(t, all, 2)
			one, err := c.Request(t.Context(), diag.Request{To: diag.Physical(all[1].Addr), Payload: payload("03")})
			require.NoError(t, err)
			require.Equal(t, []string{"18 43000000000000"}, show(one))
		})
	})
	t.Run("too long for such a bus", func(t *testing.T) {
		onELM(t, link.Caps{Legacy: true}, func() *car { return newCar() }, func(t *testing.T, c *diag.Conn, h *half, _ *tapped) {
			_, err := c.Request(context.Background(), diag.Request{To: diag.FunctionalLegacy, Payload: payload("0100010203040506")})
			require.ErrorIs(t, err, link.ErrUnsupported)
			require.Empty(t, h.v.frames())
		})
	})
}
