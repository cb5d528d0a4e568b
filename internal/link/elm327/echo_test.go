package elm327_test

import (
	"context"
	"io"
	"slices"
	"testing"

	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/elm327"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

// A character that is lost on its way to the adapter makes no order of a question, also where the adapter seems to know no
// counts, and before anything has shown that the line loses any.
func TestALostCharacterIsNoOrder(t *testing.T) {
	for pid := byte(0x40); pid < 0x50; pid++ {
		r := &result{}
		c := cell{adapter: "genuine-1.4b", car: "golf8", baud: 38400, known: true, fixed: true}
		lost := 0
		c.bench(t, r, func(ctx context.Context, dial func(int) (io.ReadWriteCloser, error), rates []int) {
			l, err := elm327.OpenOver(ctx, func(baud int) (io.ReadWriteCloser, error) {
				port, err := dial(baud)
				return losing{port, &lost}, err
			}, rates...)
			require.NoError(t, err)
			for i, p := range []byte{0, 0, pid} {
				if i > 0 { // whether it knows counts shows when it is given one
					l.(link.Hinter).SetHint(link.Hint{Frames: 2})
				}
				require.NoError(t, l.Send(ctx, frame.New(0x7DF, 0, 2, 1, p, 0, 0, 0, 0, 0)))
				for err = nil; err == nil; {
					_, err = l.Recv(ctx)
				}
				require.ErrorIs(t, err, link.ErrQuiet)
			}
			require.NoError(t, l.Close())
		})
		require.NotZero(t, lost)
		for _, q := range r.log {
			require.False(t, order(q.Bytes), "%02X: % X", pid, q.Bytes)
		}
		require.True(t, slices.ContainsFunc(r.log, func(q sim.Request) bool { return len(q.Bytes) == 2 && q.Bytes[1] == pid }), "the question itself comes through")
	}
}

// losing is a port that spoils the first question with a count, so that the adapter seems to know none, and loses the second
// character of a question for a PID from 40 on, once.
type losing struct {
	io.ReadWriteCloser
	lost *int
}

func (p losing) Write(b []byte) (int, error) {
	switch {
	case string(b) == "01005\r":
		b = []byte("01Q05\r")
	case *p.lost == 0 && len(b) >= 4 && string(b[:3]) == "014":
		*p.lost++
		b = slices.Delete(slices.Clone(b), 1, 2)
	}
	return p.ReadWriteCloser.Write(b)
}
