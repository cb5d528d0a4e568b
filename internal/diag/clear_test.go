package diag_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"obdgate/internal/diag"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	_ "obdgate/internal/pinned"
	"obdgate/internal/sim"
)

func TestClear(t *testing.T) {
	onCAN(t, func() *car {
		return newCar(always("7E0#0104", "7E8#0144"), always("7E0#0414FFFFFF", "7E8#037F1478", "7E8#0154"), always("7E1#0104", "7E9#037F0422"))
	}, diag.Options{}, func(t *testing.T, ctx context.Context, c *diag.Conn, v *car, _ *tapped) {
		answers, err := c.Clear(ctx, diag.Physical(ecu7E8), diag.ClearEmission)
		require.NoError(t, err)
		require.Equal(t, []string{"7E8 44"}, show(answers))
		answers, err = c.Clear(ctx, diag.Physical(ecu7E8), diag.ClearAll)
		require.NoError(t, err)
		require.Equal(t, []string{"7E8 54"}, show(answers))
		running := ecu7E8
		running.Tx, running.Rx = 0x7E1, 0x7E9
		answers, err = c.Clear(ctx, diag.Physical(running), diag.ClearEmission)
		require.NoError(t, err)
		var n *diag.Negative
		require.ErrorAs(t, answers[0].Err, &n)
		require.EqualValues(t, 0x22, n.Code, "engine running")
		sent := len(v.frames())
		for _, how := range []diag.Clearing{0, 3, 0xFF} {
			_, err = c.Clear(ctx, diag.Physical(ecu7E8), how)
			require.ErrorIs(t, err, diag.ErrForbiddenService)
		}
		require.Len(t, v.frames(), sent)
	})
}

// Whatever anybody hands to the three ways onto a bus: the services a vehicle hears are those that read, and the two
// clearings whole.
func TestNothingElseWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, v, err := sim.OpenVehicle(context.Background(), "sim:golf8")
		require.NoError(t, err)
		var sent []frame.Frame
		c := diag.New(l, diag.Options{Tap: func(f frame.Frame) {
			if f.Dir == frame.Sent {
				sent = append(sent, f)
			}
		}})
		for range rapid.IntRange(1, 6).Draw(t, "calls") {
			to := rapid.SampledFrom([]diag.Target{diag.Functional11, diag.Functional29, diag.Physical(ecu7E8), diag.Physical(ecuBMW)}).Draw(t, "to")
			switch rapid.IntRange(0, 2).Draw(t, "way") {
			case 0:
				_, err = c.Request(context.Background(), diag.Request{To: to, Payload: rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "payload"),
					Expect: rapid.IntRange(-1, 3).Draw(t, "expect")})
			case 1:
				_, err = c.Clear(context.Background(), to, diag.Clearing(rapid.Byte().Draw(t, "how")))
			case 2:
				_, err = c.Find(context.Background())
			}
			require.NotErrorIs(t, err, link.ErrClosed)
		}
		for _, r := range v.Log() {
			if len(r.Bytes) == 0 {
				continue
			}
			switch r.Bytes[0] {
			case 0x04:
				require.Equal(t, []byte{0x04}, r.Bytes)
			case 0x14:
				require.Equal(t, []byte{0x14, 0xFF, 0xFF, 0xFF}, r.Bytes)
			case 0x10:
				require.Equal(t, []byte{0x10, 0x01}, r.Bytes)
			default:
				if len(r.ECUs) > 0 {
					require.True(t, bytes.IndexByte([]byte{0x01, 0x02, 0x03, 0x06, 0x07, 0x09, 0x0A, 0x19, 0x1A, 0x21, 0x22, 0x3E}, r.Bytes[0]) >= 0, "%X", r.Bytes[0])
				}
			}
		}
		require.NoError(t, l.Close())
	})
}
