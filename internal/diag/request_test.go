package diag_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"obdgate/internal/diag"
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

// One question and the whole result of it, for cases that need no more than that.
type exchange struct {
	name   string
	to     diag.Target
	ask    string
	expect int
	rules  []rule
	want   []string // ECU and payload or !error, in the order they began
	heard  []string // all that the vehicle heard
	took   [2]time.Duration
}

const ms = time.Millisecond

func exchanges() []exchange {
	return []exchange{{
		name: "interleaved answers of several ECUs (Kona, facts 15.1)",
		to:   diag.Functional11, ask: "0904",
		rules: []rule{
			once("7DF#020904", "7EB#0449040100000000", "7ED#1013490401454F53", "7EC#10134904014F5345", "7EA#0449040100000000"),
			once("7E5#300000", "7ED#21454B354C2D4F53", "7ED#222D443030300000"),
			once("7E4#300000", "7EC#2156423638323252", "7EC#22000000000000AA"),
		},
		want: []string{"7EB 49040100", "7ED 490401454F53454B354C2D4F532D4430303000", "7EC 4904014F534556423638323252000000000000",
			"7EA 49040100"},
		heard: []string{"7DF#0209040000000000", "7E5#3000000000000000", "7E4#3000000000000000"},
		took:  [2]time.Duration{65 * ms, 73 * ms},
	}, {
		name: "extended addressing (BMW, facts 15.2)",
		to:   diag.Physical(ecuBMW), ask: "22D10D",
		rules: []rule{
			once("6F1#600322D10D", "640#F1037F2231", "660#F1100B62D10D0002"),
			once("6F1#60300000", "660#F12186B3000286B3"),
		},
		want:  []string{"660 62D10D000286B3000286B3"},
		heard: []string{"6F1#600322D10D000000", "6F1#6030000000000000"},
		took:  [2]time.Duration{3 * ms, 3 * ms},
	}, {
		name: "extended addressing, everybody",
		to: diag.Target{ID: 0x6F1, Ext: true, ExtTarget: 0xDF, Pairs: []isotp.Address{ecuBMW,
			{Tx: 0x6F1, Rx: 0x612, Ext: true, TxTarget: 0x12, RxTarget: 0xF1}}}, ask: "22D10D", expect: 2,
		rules: []rule{
			once("6F1#DF0322D10D", "7E8#0562D10D0000", "612#F10462D10D01", "660#F1100B62D10D0002", "618#F10462D10D02"),
			once("6F1#60300000", "660#F12186B3000286B3"),
		},
		want:  []string{"612 62D10D01", "660 62D10D000286B3000286B3"},
		heard: []string{"6F1#DF0322D10D000000", "6F1#6030000000000000"},
		took:  [2]time.Duration{4 * ms, 4 * ms},
	}, {
		name: "29 bit, four ECUs known: no idle time (Golf 2025, facts 15.3)",
		to:   diag.Functional29, ask: "0101", expect: 4,
		rules: []rule{once("18DB33F1#020101", "18DAF103#06410181040000", "18DAF101#0641010007E500", "18DAF104#06410100040000",
			"18DAF102#06410100040000")},
		want:  []string{"18DAF103 410181040000", "18DAF101 41010007E500", "18DAF104 410100040000", "18DAF102 410100040000"},
		heard: []string{"18DB33F1#0201010000000000"},
		took:  [2]time.Duration{4 * ms, 4 * ms},
	}, {
		name: "nobody answers",
		to:   diag.Functional11, ask: "090B",
		heard: []string{"7DF#02090B0000000000"},
		took:  [2]time.Duration{120 * ms, 125 * ms},
	}, {
		name: "response pending, then a long answer (FCA, facts 15.4)",
		to:   diag.Physical(isotp.Address{Tx: 0x18DA10F1, Rx: 0x18DAF110, Extended29: true}), ask: "19020D",
		rules: []rule{
			{on: "18DA10F1#0319020D", says: [][]step{{{5 * ms, "18DAF110#037F1978"}, {680 * ms, "18DAF110#100B5902CF019111"}}}},
			once("18DA10F1#300000", "18DAF110#2108C4058108"),
		},
		want:  []string{"18DAF110 5902CF01911108C4058108"},
		heard: []string{"18DA10F1#0319020D00000000", "18DA10F1#3000000000000000"},
		took:  [2]time.Duration{686 * ms, 686 * ms},
	}, {
		name: "response pending for ever",
		to:   diag.Physical(ecu7E8), ask: "221234",
		rules: []rule{{on: "7E0#03221234", says: [][]step{repeatStep(30, 2500*ms, "7E8#037F2278")}}},
		want:  []string{"7E8 !answer not finished: asked for patience and did not answer"},
		heard: []string{"7E0#0322123400000000"},
		took:  [2]time.Duration{20 * time.Second, 62 * time.Second},
	}, {
		name: "response pending, then silence; another ECU's answer is kept",
		to:   diag.Functional11, ask: "22F190",
		rules: []rule{once("7DF#0322F190", "7E9#037F2278", "7E8#0462F19041")},
		want:  []string{"7E9 !answer not finished: asked for patience and did not answer", "7E8 62F19041"},
		heard: []string{"7DF#0322F19000000000"},
		took:  [2]time.Duration{5 * time.Second, 5100 * ms},
	}, {
		name: "busy twice: the one ECU is asked again, the other is not",
		to:   diag.Functional11, ask: "0101",
		rules: []rule{
			once("7DF#020101", "7E9#037F0121", "7E8#06410100040000"),
			{on: "7E1#020101", says: [][]step{say("7E9#037F0121"), say("7E9#06410181040000")}},
		},
		want:  []string{"7E9 410181040000", "7E8 410100040000"},
		heard: []string{"7DF#0201010000000000", "7E1#0201010000000000", "7E1#0201010000000000"},
		took:  [2]time.Duration{85 * ms, 93 * ms},
	}, {
		name: "busy for ever: six repetitions",
		to:   diag.Physical(ecu7E8), ask: "0101",
		rules: []rule{always("7E0#020101", "7E8#037F0121")},
		want:  []string{"7E8 !service 01 refused: busy, repeat request (NRC 0x21)"},
		heard: []string{"7E0#0201010000000000", "7E0#0201010000000000", "7E0#0201010000000000", "7E0#0201010000000000",
			"7E0#0201010000000000", "7E0#0201010000000000", "7E0#0201010000000000"},
		took: [2]time.Duration{67 * ms, 67 * ms},
	}, {
		name: "busy, then silence: still busy",
		to:   diag.Functional11, ask: "0101",
		rules: []rule{once("7DF#020101", "7E8#037F0121")},
		want:  []string{"7E8 !service 01 refused: busy, repeat request (NRC 0x21)"},
		heard: []string{"7DF#0201010000000000", "7E0#0201010000000000"},
		took:  [2]time.Duration{134 * ms, 142 * ms},
	}, {
		name: "a lost frame: only this ECU is asked again",
		to:   diag.Functional11, ask: "0904",
		rules: []rule{
			once("7DF#020904", "7E9#0449040100", "7E8#10134904014A4D42"),
			{on: "7E0#300000", says: [][]step{say("7E8#222A393438383531"), say("7E8#212A333637363130", "7E8#2230300000000000")}},
			once("7E0#020904", "7E8#10134904014A4D42"),
		},
		want:  []string{"7E9 49040100", "7E8 4904014A4D422A333637363130303000000000"},
		heard: []string{"7DF#0209040000000000", "7E0#3000000000000000", "7E0#0209040000000000", "7E0#3000000000000000"},
		took:  [2]time.Duration{66 * ms, 74 * ms},
	}, {
		name: "first frame, then nothing, twice: never a short payload",
		to:   diag.Functional11, ask: "0902",
		rules: []rule{
			once("7DF#020902", "7E8#1014490201574241"),
			once("7E0#020902", "7E8#1014490201574241"),
		},
		want:  []string{"7E8 !answer not finished: isotp: no consecutive frame in time"},
		heard: []string{"7DF#0209020000000000", "7E0#3000000000000000", "7E0#0209020000000000", "7E0#3000000000000000"},
		took:  [2]time.Duration{2 * time.Second, 2100 * ms},
	}, {
		name: "another tester's answer (Civic): told apart, the right one is kept",
		to:   diag.Functional29, ask: "0113",
		rules: []rule{once("18DB33F1#020113", "18DAF106#0341111E", "18DAF110#03411303")},
		want:  []string{"18DAF106 !answer to another question", "18DAF110 411303"},
		heard: []string{"18DB33F1#0201130000000000"},
		took:  [2]time.Duration{63 * ms, 71 * ms},
	}, {
		name: "a long answer to another question is not asked for",
		to:   diag.Functional11, ask: "22F190",
		rules: []rule{once("7DF#0322F190", "7E8#101462F187414141", "7E9#0462F19041")},
		want:  []string{"7E8 !answer to another question", "7E9 62F19041"},
		heard: []string{"7DF#0322F19000000000"},
		took:  [2]time.Duration{63 * ms, 71 * ms},
	}, {
		name: "answers of other services are not ours",
		to:   diag.Functional11, ask: "010C",
		rules: []rule{once("7DF#02010C", "7E8#037F2231", "7E9#0462F19041", "7EA#04410C1AF8")},
		want:  []string{"7EA 410C1AF8"},
		heard: []string{"7DF#02010C0000000000"},
		took:  [2]time.Duration{64 * ms, 72 * ms},
	}, {
		name: "twice the same answer counts once, two different ones are no answer",
		to:   diag.Functional11, ask: "010C",
		rules: []rule{once("7DF#02010C", "7E8#04410C1AF8", "7E8#04410C1AF8", "7E9#04410C1AF8", "7E9#04410C0000")},
		want:  []string{"7E8 410C1AF8", "7E9 !two different answers to one question"},
		heard: []string{"7DF#02010C0000000000"},
		took:  [2]time.Duration{65 * ms, 73 * ms},
	}, {
		name: "a refusal that should have been silence does not end the wait for the one that has it",
		to:   diag.Functional11, ask: "22F190", expect: 1,
		rules: []rule{{on: "7DF#0322F190", says: [][]step{{{1 * ms, "7EA#037F2231"}, {40 * ms, "7E8#0462F19041"}}}}},
		want:  []string{"7EA !service 22 refused: request out of range (NRC 0x31)", "7E8 62F19041"},
		heard: []string{"7DF#0322F19000000000"},
		took:  [2]time.Duration{41 * ms, 41 * ms},
	}, {
		name: "an unknown code",
		to:   diag.Physical(ecu7E8), ask: "2101",
		rules: []rule{once("7E0#022101", "7E8#037F2100")},
		want:  []string{"7E8 !service 21 refused: NRC 0x00"},
		heard: []string{"7E0#0221010000000000"},
		took:  [2]time.Duration{1 * ms, 1 * ms},
	}, {
		name: "answers that end before they say what they answer",
		to:   diag.Functional11, ask: "22F190",
		rules: []rule{once("7DF#0322F190", "7E8#0162", "7E9#027F22", "7EA#0262F1")},
		want:  []string{"7E8 !answer too short", "7E9 !answer too short", "7EA !answer too short"},
		heard: []string{"7DF#0322F19000000000", "7E0#0322F19000000000", "7E1#0322F19000000000", "7E2#0322F19000000000"},
		took:  [2]time.Duration{480 * ms, 500 * ms},
	}, {
		name: "a length that its frame cannot hold",
		to:   diag.Functional11, ask: "010C",
		rules: []rule{once("7DF#02010C", "7E8#05410C1A")},
		want:  []string{"7E8 !answer damaged on the way: isotp: length does not fit the frame"},
		heard: []string{"7DF#02010C0000000000", "7E0#02010C0000000000"},
		took:  [2]time.Duration{240 * ms, 250 * ms},
	}, {
		name: "a length beyond reason is refused at once",
		to:   diag.Physical(ecu7E8), ask: "22F190",
		rules: []rule{once("7E0#0322F190", "7E8#1000FFFFFFFF62F1")},
		want:  []string{"7E8 !answer too long: isotp: message too long"},
		heard: []string{"7E0#0322F19000000000", "7E0#3200000000000000"},
		took:  [2]time.Duration{120 * ms, 125 * ms},
	}, {
		name: "an answer above the limit, CAN FD",
		to:   diag.Physical(ecu7E8), ask: "22F190",
		rules: []rule{once("7E0#0322F190", "7E8##10000000100062F190414141")},
		want:  []string{"7E8 !answer too long: isotp: message too long"},
		heard: []string{"7E0#0322F19000000000", "7E0##3200000000000000"},
		took:  [2]time.Duration{120 * ms, 125 * ms},
	}, {
		name: "a question of several frames goes out as the ECU allows",
		to:   diag.Physical(ecu7E8), ask: "22F190F187F18CF189F195",
		rules: []rule{
			once("7E0#100B22F190F187F1", "7E8#310000", "7E8#300105"),
			once("7E0#218CF189F195", "7E8#0462F19041"),
		},
		want:  []string{"7E8 62F19041"},
		heard: []string{"7E0#100B22F190F187F1", "7E0#218CF189F1950000"},
		took:  [2]time.Duration{3 * ms, 3 * ms},
	}, {
		name: "a question of several frames that the ECU does not take",
		to:   diag.Physical(ecu7E8), ask: "22F190F187F18CF189F195",
		rules: []rule{once("7E0#100B22F190F187F1", "7E8#320000")},
		want:  []string{"7E8 !answer not finished: question not taken: isotp: receiver refused the length"},
		heard: []string{"7E0#100B22F190F187F1"},
		took:  [2]time.Duration{120 * ms, 125 * ms},
	}, {
		name: "combined question, answers in another order and from two ECUs",
		to:   diag.Functional11, ask: "010C0D05",
		rules: []rule{
			once("7DF#04010C0D05", "7E8#1008410D000C1AF8", "7E9#0341053C"),
			once("7E0#300000", "7E8#21053C"),
		},
		want:  []string{"7E8 410D000C1AF8053C", "7E9 41053C"},
		heard: []string{"7DF#04010C0D05000000", "7E0#3000000000000000"},
		took:  [2]time.Duration{63 * ms, 71 * ms},
	}, {
		name: "the odd ECU beyond ISO 15765-4 (VW cluster 714/77E), given as a pair",
		to:   diag.Target{ID: 0x7DF, Pairs: []isotp.Address{{Tx: 0x714, Rx: 0x77E}}}, ask: "22F187",
		rules: []rule{
			once("7DF#0322F187", "77E#100E62F187354730", "77D#0462F18741"),
			once("714#300000", "77E#2139323035313020", "77E#2241"),
		},
		want:  []string{"77E 62F1873547303932303531302041"},
		heard: []string{"7DF#0322F18700000000", "714#3000000000000000"},
		took:  [2]time.Duration{62 * ms, 70 * ms},
	}}
}

func repeatStep(n int, after time.Duration, f string) []step {
	var s []step
	for range n {
		s = append(s, step{after, f})
	}
	s[0].after = ms
	return s
}

func TestRequest(t *testing.T) {
	for _, tc := range exchanges() {
		t.Run(tc.name, func(t *testing.T) {
			onCAN(t, func() *car { return newCar(tc.rules...) }, diag.Options{},
				func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, tap *tapped) {
					begin := time.Now()
					answers, err := c.Request(ctx, diag.Request{To: tc.to, Payload: payload(tc.ask), Expect: tc.expect})
					took := time.Since(begin)
					require.NoError(t, err)
					require.Equal(t, tc.want, show(answers))
					require.Equal(t, tc.heard, v.frames())
					require.GreaterOrEqual(t, took, tc.took[0])
					require.LessOrEqual(t, took, tc.took[1], "%v", v.heard())
					for _, a := range answers {
						require.True(t, (a.Err == nil) == (a.Payload != nil), "a payload beside an error is taken for an answer")
						require.NotEmpty(t, a.Asked)
						require.Equal(t, c.Asked(), a.Asked)
						for _, s := range a.From {
							require.Equal(t, a.Addr.Rx, tap.frames[s-1].ID, "From names another ECU's frame")
						}
					}
					for i, f := range tap.frames {
						require.EqualValues(t, i+1, f.Seq)
						require.Equal(t, f.Dir == frame.Received, f.ID != tc.to.ID && f.ID != 0x6F1 && !isRequestID(f.ID))
					}
				})
		})
	}
}

func isRequestID(id uint32) bool {
	return id >= 0x7E0 && id < 0x7E8 || id == 0x714 || id&0x1FFF00FF == 0x18DA00F1
}

func TestAnswerNamesItsFrames(t *testing.T) {
	onCAN(t, func() *car {
		return newCar(
			once("7DF#020904", "7EB#0449040100000000", "7ED#1013490401454F53", "7EC#10134904014F5345"),
			once("7E5#300000", "7ED#21454B354C2D4F53", "7ED#222D443030300000"),
			once("7E4#300000", "7EC#2156423638323252", "7EC#22000000000000AA"))
	}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, tap *tapped) {
		answers, err := c.Request(ctx, diag.Request{To: diag.Functional11, Payload: payload("0904"), Expect: 3})
		require.NoError(t, err)
		require.Len(t, answers, 3)
		require.Equal(t, []string{"7EB#0449040100000000"}, tap.at(answers[0].From))
		require.Equal(t, []string{"7ED#1013490401454F53", "7ED#21454B354C2D4F53", "7ED#222D443030300000"}, tap.at(answers[1].From))
		require.Equal(t, []string{"7EC#10134904014F5345", "7EC#2156423638323252", "7EC#22000000000000AA"}, tap.at(answers[2].From))
		require.Equal(t, []string{"7DF#0209040000000000"}, tap.at(answers[1].Asked))
		var last time.Duration
		for _, f := range tap.frames {
			require.GreaterOrEqual(t, f.Time, last)
			last = f.Time
		}
		require.Equal(t, 5*time.Millisecond, last)
	})
}

// An ECU that only ever promises (Kona 7A8) must not cost a minute at every question; one that keeps its word is waited for.
func TestPatienceIsLearned(t *testing.T) {
	onCAN(t, func() *car {
		return newCar(
			rule{on: "7DF#0322F190", says: [][]step{repeatStep(30, 2500*ms, "7E8#037F2278")}},
			rule{on: "7DF#0322F187", says: [][]step{repeatStep(30, 2500*ms, "7E8#037F2278")}},
			rule{on: "7DF#0322F18C", says: [][]step{{{ms, "7E8#037F2278"}, {4 * time.Second, "7E8#0462F18C41"}}}},
			rule{on: "7DF#0322F195", says: [][]step{append(repeatStep(3, 4*time.Second, "7E8#037F2278"), step{time.Second, "7E8#0462F19541"})}},
		)
	}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, _ *tapped) {
		for _, q := range []struct {
			ask  string
			want string
			took time.Duration
		}{
			{"22F190", "7E8 !answer not finished: asked for patience and did not answer", 51 * time.Second},
			{"22F187", "7E8 !answer not finished: asked for patience and did not answer", 6 * time.Second},
			{"22F18C", "7E8 62F18C41", 5 * time.Second},
			{"22F195", "7E8 62F19541", 10 * time.Second},
		} {
			time.Sleep(30 * time.Second)
			begin := time.Now()
			answers, err := c.Request(ctx, diag.Request{To: diag.Functional11, Payload: payload(q.ask)})
			require.NoError(t, err)
			require.Equal(t, []string{q.want}, show(answers))
			require.LessOrEqual(t, time.Since(begin), q.took)
		}
	})
}

func TestRefusesLongFunctionalRequest(t *testing.T) {
	onCAN(t, func() *car { return newCar() }, diag.Options{},
		func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, _ *tapped) {
			_, err := c.Request(ctx, diag.Request{To: diag.Functional11, Payload: payload("22F190F187F18CF189")})
			require.ErrorIs(t, err, link.ErrUnsupported)
			require.Empty(t, v.frames())
		})
}
