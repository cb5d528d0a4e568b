package diag_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"obdgate/internal/diag"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

func TestFind(t *testing.T) {
	e8, e9 := ecu7E8, isotp.Address{Tx: 0x7E1, Rx: 0x7E9}
	e29 := isotp.Address{Tx: 0x18DA10F1, Rx: 0x18DAF110, Extended29: true}
	for _, tc := range []struct {
		name  string
		rules []rule
		want  diag.Bus
		asked []string
		most  time.Duration
	}{{
		name:  "classic, 11 bit, two ECUs",
		rules: []rule{always("7DF#020100", "7E9#06410080000001", "7E8#064100BE3EB813")},
		want:  diag.Bus{Protocol: "ISO 15765-4 CAN 11/500", Functional: diag.Functional11, ECUs: []isotp.Address{e9, e8}, Kind: diag.Classic},
		asked: []string{"7DF#0201000000000000", "7E0#0522F400F8100000"},
		most:  260 * ms,
	}, {
		name:  "classic, 29 bit; the UDS question is refused at once",
		rules: []rule{always("18DB33F1#020100", "18DAF110#064100BE3EB813"), always("18DA10F1#05", "18DAF110#037F2211")},
		want: diag.Bus{Protocol: "ISO 15765-4 CAN 29/500", Functional: diag.Functional29, ECUs: []isotp.Address{e29},
			Kind: diag.Classic},
		asked: []string{"7DF#0201000000000000", "18DB33F1#0201000000000000", "18DA10F1#0522F400F8100000"},
		most:  260 * ms,
	}, {
		name: "both languages; the second ECU speaks only the newer one",
		rules: []rule{always("7DF#020100", "7E8#064100BE3EB813"), always("7E0#0522F400F810", "7E8#0462F81002"),
			always("7DF#0322F810", "7E8#0462F81002", "7E9#0462F81002")},
		want:  diag.Bus{Protocol: "ISO 15765-4 CAN 11/500", Functional: diag.Functional11, ECUs: []isotp.Address{e8, e9}, Kind: diag.Dual},
		asked: []string{"7DF#0201000000000000", "7E0#0522F400F8100000", "7DF#0322F81000000000"},
		most:  300 * ms,
	}, {
		name: "both languages, one identifier at a time",
		rules: []rule{always("7DF#020100", "7E8#064100BE3EB813"), always("7E0#0522F400F810", "7E8#037F2213"),
			always("7E0#0322F810", "7E8#0462F81002"), always("7DF#0322F810", "7E8#0462F81002")},
		want:  diag.Bus{Protocol: "ISO 15765-4 CAN 11/500", Functional: diag.Functional11, ECUs: []isotp.Address{e8}, Kind: diag.Dual},
		asked: []string{"7DF#0201000000000000", "7E0#0522F400F8100000", "7E0#0322F81000000000", "7DF#0322F81000000000"},
		most:  400 * ms,
	}, {
		name:  "OBDonUDS only: 01 is refused, 22 F810 unknown, 22 F400 answered",
		rules: []rule{always("7DF#020100", "7E8#037F0111"), always("7DF#0322F810", "7E8#037F2231"), always("7DF#0322F400", "7E8#0762F400BE3EB813")},
		want:  diag.Bus{Protocol: "ISO 15765-4 CAN 11/500", Functional: diag.Functional11, ECUs: []isotp.Address{e8}, Kind: diag.OBDonUDS},
		asked: []string{"7DF#0201000000000000", "7DF#0322F81000000000", "7DF#0322F40000000000"},
		most:  400 * ms,
	}, {
		name:  "an electric car that answers nothing but its VIN, 29 bit",
		rules: []rule{always("18DB33F1#0322F190", "18DAF110#101462F190414141"), always("18DA10F1#30", "18DAF110#2141414141414141", "18DAF110#2241414141414141")},
		want:  diag.Bus{Protocol: "ISO 15765-4 CAN 29/500", Functional: diag.Functional29, ECUs: []isotp.Address{e29}, Kind: diag.UDSOnly},
		asked: []string{"7DF#0201000000000000", "18DB33F1#0201000000000000", "7DF#0322F81000000000", "7DF#0322F40000000000",
			"7DF#0322F19000000000", "18DB33F1#0322F81000000000", "18DB33F1#0322F40000000000", "18DB33F1#0322F19000000000",
			"18DA10F1#3000000000000000", "18DB33F1#0201000000000000", "18DB33F1#0201000000000000"},
		most: 1400 * ms,
	}, {
		name: "the first question was lost",
		rules: []rule{{on: "7DF#020100", says: [][]step{nil, say("7E8#0641000102030400")}}, always("7DF#0322F190", "7E8#0562F190414141"),
			always("7E0#0522F400F810", "7E8#037F2231")},
		want: diag.Bus{Protocol: "ISO 15765-4 CAN 11/500", Functional: diag.Functional11, ECUs: []isotp.Address{e8}, Kind: diag.Classic},
		asked: []string{"7DF#0201000000000000", "18DB33F1#0201000000000000", "7DF#0322F81000000000", "7DF#0322F40000000000",
			"7DF#0322F19000000000", "7DF#0201000000000000", "7E0#0522F400F8100000"},
		most: 1100 * ms,
	}} {
		t.Run(tc.name, func(t *testing.T) {
			onCAN(t, func() *car { return newCar(tc.rules...) }, diag.Options{},
				func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, _ *tapped) {
					begin := time.Now()
					bus, err := c.Find(ctx)
					require.NoError(t, err)
					bus, err = c.Newer(ctx, bus)
					require.NoError(t, err)
					require.NotEmpty(t, bus.Heard)
					for question, answers := range bus.Heard {
						require.NotEmpty(t, answers)
						require.Contains(t, strings.Join(v.frames(), " "), fmt.Sprintf("%X", question), "heard, but never asked")
					}
					bus.Heard = nil
					require.Equal(t, tc.want, bus)
					require.Equal(t, tc.asked, v.frames())
					require.LessOrEqual(t, time.Since(begin), tc.most)
				})
		})
	}

	t.Run("silence", func(t *testing.T) {
		onCAN(t, func() *car { return newCar() }, diag.Options{},
			func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, _ *tapped) {
				begin := time.Now()
				_, err := c.Find(ctx)
				require.ErrorIs(t, err, link.ErrNoVehicle)
				var e *link.Error
				require.ErrorAs(t, err, &e)
				require.Contains(t, e.Hint, "ignition")
				require.Less(t, time.Since(begin), 2*time.Second)
				require.Len(t, v.frames(), 14, "the first question is put again")
			})
	})
	t.Run("the first question and the first answer are lost", func(t *testing.T) {
		onCAN(t, func() *car {
			return newCar(rule{on: "7DF#020100", says: [][]step{nil, nil, say("7E8#0641000102030400")}, always: true})
		}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, _ *tapped) {
			bus, err := c.Find(ctx)
			require.NoError(t, err)
			require.Len(t, bus.ECUs, 1)
		})
	})
	t.Run("the adapter's own search finds nothing on CAN, but K-line answers", func(t *testing.T) {
		onELM(t, link.Caps{LegacyBus: true}, func() *car {
			return newCar(always("~686AF1#0100", "~86F110#4100BE1FB810"))
		}, func(t *testing.T, c *diag.Conn, h *half, _ *tapped) {
			h.fails = map[string]error{"7DF": link.ErrNoVehicle, "18DB33F1": link.ErrBus}
			bus, err := c.Find(t.Context())
			require.NoError(t, err)
			require.Equal(t, []string{"10 4100BE1FB810"}, show(bus.Heard["\x01\x00"]))
			bus.Heard = nil
			require.Equal(t, diag.Bus{Protocol: "K-line or J1850", Functional: diag.FunctionalLegacy, Kind: diag.Classic,
				ECUs: []isotp.Address{{Tx: 0x686AF1, Rx: 0x80F110, Legacy: true}}}, bus)
		})
	})
	t.Run("a fault of the bus is told apart from silence", func(t *testing.T) {
		onELM(t, link.Caps{Adapter: "ELM327 v1.5"}, func() *car { return newCar() },
			func(t *testing.T, c *diag.Conn, h *half, _ *tapped) {
				h.fails = map[string]error{"7DF": link.ErrNoVehicle, "18DB33F1": link.ErrBus}
				_, err := c.Find(t.Context())
				require.ErrorIs(t, err, link.ErrBus)
				require.NotErrorIs(t, err, link.ErrNoVehicle)
				var e *link.Error
				require.ErrorAs(t, err, &e)
				require.NotEmpty(t, e.Hint)
			})
	})
	t.Run("unplugged", func(t *testing.T) {
		onELM(t, link.Caps{}, func() *car { return newCar() }, func(t *testing.T, c *diag.Conn, h *half, _ *tapped) {
			h.fails = map[string]error{"7DF": link.ErrGone}
			_, err := c.Find(t.Context())
			require.ErrorIs(t, err, link.ErrGone)
			require.Len(t, h.v.frames(), 1, "a dead adapter is not asked eight more times")
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		onCAN(t, func() *car { return newCar() }, diag.Options{},
			func(t *testing.T, ctx context.Context, c *diag.Conn, _ *car, _ *tapped) {
				ctx, cancel := context.WithTimeout(ctx, 150*ms)
				defer cancel()
				begin := time.Now()
				_, err := c.Find(ctx)
				require.True(t, errors.Is(err, context.DeadlineExceeded), "%v", err)
				require.Equal(t, 150*ms, time.Since(begin))
			})
	})
	t.Run("the adapter chose 29 bits by itself", func(t *testing.T) {
		onELM(t, link.Caps{Protocol: "ISO 15765-4 CAN 29/250"}, func() *car {
			return newCar(always("7DF#020100", "18DAF110#064100BE3EB813"))
		}, func(t *testing.T, c *diag.Conn, _ *half, _ *tapped) {
			bus, err := c.Find(t.Context())
			require.NoError(t, err)
			bus.Heard = nil
			require.Equal(t, diag.Bus{Protocol: "ISO 15765-4 CAN 29/250", Functional: diag.Functional29,
				ECUs: []isotp.Address{e29}, Kind: diag.Classic}, bus)
		})
	})
}
