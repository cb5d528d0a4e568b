package vcan_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/diag"
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
	"obdgate/internal/link/memory"
	"obdgate/internal/scan"
	"obdgate/internal/sim"
	"obdgate/internal/sim/bus"

	"github.com/stretchr/testify/require"
)

// bitRate is that of the buses in this file, in bit/s.
const bitRate = 500_000

// onWire puts a car on a bus whose frames take the time of their bits, and runs do with a tester's link, on modelled time. It
// returns how long do took and what the car was asked.
func onWire(t *testing.T, car string, do func(ctx context.Context, l link.Link)) (took time.Duration, log []sim.Request) {
	t.Helper()
	v, err := sim.Load(car)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), scanLimit)
		outside, inside := memory.NewBus(), memory.NewBus()
		left, right, node, l := outside.Attach("left"), inside.Attach("right"), inside.Attach("car"), outside.Attach("tester")
		var others sync.WaitGroup
		others.Go(func() { _ = v.Serve(ctx, node) })
		others.Go(func() { _, _ = bus.Serve(ctx, left, right, bus.Plan{Rate: bitRate}) })
		began := time.Now()
		do(ctx, l)
		took = time.Since(began)
		require.NoError(t, ctx.Err())
		cancel()
		others.Wait()
		for _, l := range []link.Link{left, right, node, l} {
			require.NoError(t, l.Close())
		}
	})
	return took, v.Log()
}

// needed is what wire and control units need for these questions one after the other: the bits of every frame, and what each
// ECU takes before it begins and between its frames. A question nobody answers costs the 50 ms an ECU may take (P2 of ISO
// 15765-4). Nothing else is in it: no waiting for others who might answer, no pause, no thinking.
func needed(t *testing.T, car string, log []sim.Request) (total time.Duration) {
	t.Helper()
	v, err := sim.Load(car)
	require.NoError(t, err)
	var now time.Duration
	for _, q := range log {
		if len(q.ECUs) == 0 && len(q.Bytes) > 0 && q.Bytes[0] != 0x01 && !strings.HasPrefix(q.ID, "7") && !strings.HasPrefix(q.ID, "18D") {
			continue // frames of a conversation that the log of a vehicle with address bytes shows as unheard
		}
		id, err := strconv.ParseUint(q.ID, 16, 32)
		require.NoError(t, err)
		var flags frame.Flags
		if len(q.ID) == 8 {
			flags = frame.Extended
		}
		start := now
		var pad [8]byte
		copy(pad[:], append([]byte{byte(len(q.Bytes))}, q.Bytes...))
		f := frame.New(uint32(id), flags, pad[:]...)
		now += f.Occupies(bitRate, 0)
		v.Handle(f, now)
		heard := false
		for {
			due, more := v.Due()
			if !more {
				break
			}
			f, ok := v.Next(due)
			if !ok {
				break
			}
			heard = true
			now = max(now, due) + f.Occupies(bitRate, 0)
			if f.Data[0]>>4 == 1 {
				to := f.ID &^ 8
				if f.Is(frame.Extended) {
					to = f.ID&0x1FFF0000 | f.ID&0xFF<<8 | f.ID>>8&0xFF
				}
				flow := frame.New(to, f.Flags&frame.Extended, 0x30, 0, 0, 0, 0, 0, 0, 0)
				now += flow.Occupies(bitRate, 0)
				v.Handle(flow, now)
			}
		}
		if !heard {
			now += 50 * time.Millisecond
		}
		total += now - start
	}
	return total
}

// visit are the questions of a workshop that reads two control units: identity, codes, readiness, calibration, mileage.
var visitQuestions = [][]byte{{0x09, 0x02}, {0x09, 0x04}, {0x09, 0x06}, {0x09, 0x0A}, {0x07}, {0x0A}, {0x01, 0x01}, {0x01, 0x20, 0x40, 0x60},
	{0x01, 0x05, 0x0C, 0x0D}, {0x01, 0x1C, 0x42}, {0x01, 0xA6}}

// identification are questions put to each control unit by itself.
var identification = [][]byte{{0x22, 0xF1, 0x90}, {0x22, 0xF1, 0x87, 0xF1, 0x88, 0xF1, 0x89}, {0x22, 0xF1, 0x91, 0xF1, 0x92, 0xF1, 0x93},
	{0x22, 0xF1, 0x94, 0xF1, 0x95, 0xF1, 0x97}, {0x22, 0xF1, 0x8A, 0xF1, 0x8B, 0xF1, 0x8C}, {0x22, 0xF1, 0x80, 0xF1, 0x81, 0xF1, 0x82},
	{0x22, 0xF1, 0x8F, 0xF1, 0x99, 0xF1, 0x9E}}

// TestSpeedOnCAN writes down how long reading two control units with answers after 8 to 12 ms takes on modelled time, beside
// what wire and ECUs need: testdata/speed.txt.
func TestSpeedOnCAN(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Reading over CAN at 500 kbit/s on modelled time, beside what wire and control units need for the same questions one after\n" +
		"# the other (function needed). Written by TestSpeedOnCAN -update.\n")
	fmt.Fprintf(&b, "%-6s %-28s %9s %9s %9s %6s\n", "car", "what", "questions", "took", "needed", "ratio")
	add := func(car, what string, most float64, took time.Duration, log []sim.Request) {
		least := needed(t, car, log)
		ratio := float64(took) / float64(least)
		fmt.Fprintf(&b, "%-6s %-28s | %7d %7.3f s %7.3f s %6.2f\n", car, what, len(log), took.Seconds(), least.Seconds(), ratio)
		require.LessOrEqual(t, ratio, most, "%s: %s", car, what)
	}
	for _, car := range []string{"golf8", "tahoe"} {
		to := diag.Functional11
		if car == "tahoe" {
			to = diag.Functional29
		}
		// How many answer each question is known to whoever has asked what is supported.
		inside, err := sim.Open(t.Context(), "sim:"+car)
		require.NoError(t, err)
		who := map[string]int{}
		known := diag.New(inside, diag.Options{})
		for _, q := range visitQuestions {
			answers, err := known.Request(t.Context(), diag.Request{To: to, Payload: q})
			require.NoError(t, err)
			require.NotEmpty(t, answers)
			who[string(q)] = len(answers)
		}
		require.NoError(t, inside.Close())
		took, log := onWire(t, car, func(ctx context.Context, l link.Link) {
			conn := diag.New(l, diag.Options{})
			for _, q := range visitQuestions {
				answers, err := conn.Request(ctx, diag.Request{To: to, Payload: q, Expect: who[string(q)]})
				require.NoError(t, err)
				require.Len(t, answers, who[string(q)])
			}
		})
		add(car, "11 questions to two ECUs", 1.3, took, log)

		// Identification is asked of each ECU by itself; both are asked at once.
		var two [2]isotp.Address
		for i, rx := range map[string][]uint32{"golf8": {0x7E8, 0x7E9}, "tahoe": {0x18DAF110, 0x18DAF118}}[car] {
			two[i], _ = isotp.OBDResponder(rx, car == "tahoe")
		}
		took, log = onWire(t, car, func(ctx context.Context, l link.Link) {
			conn := diag.New(l, diag.Options{})
			for _, q := range identification {
				for _, r := range conn.Together(ctx, []diag.Request{{To: diag.Physical(two[0]), Payload: q}, {To: diag.Physical(two[1]), Payload: q}}) {
					require.NoError(t, r.Err)
					require.Len(t, r.Answers, 1)
				}
			}
		})
		add(car, "7 questions to each of two", 1, took, log)
		o := options(t, scan.Quick)
		took, log = onWire(t, car, func(ctx context.Context, l link.Link) {
			_, err := scan.Run(ctx, l, o)
			require.NoError(t, err)
		})
		add(car, "quick scan", 2.6, took, log)
		o = options(t, scan.Full)
		took, log = onWire(t, car, func(ctx context.Context, l link.Link) {
			s, err := scan.Run(ctx, l, o)
			require.NoError(t, err)
			require.Empty(t, s.Errors)
		})
		add(car, "full scan", 1.6, took, log)
	}
	t.Log("\n" + b.String())
	golden(t, "testdata/speed.txt", b.String())
}
