package socketcan

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Frames of known times, seen by the kernel after a delay that varies with the load of the machine: the controller's stamp
// must take the delay out, also when its clock runs 100 ppm fast or slow.
func TestControllerClock(t *testing.T) {
	for _, ppm := range []int64{-100, 0, 100} {
		rnd := rand.New(rand.NewPCG(1, uint64(ppm+200)))
		var c controllerClock
		var worst, kernel time.Duration
		const epoch = 1234567 * time.Second
		for i := range 20_000 {
			real := time.Duration(i) * time.Millisecond
			stamp := epoch + real + real*time.Duration(ppm)/1_000_000
			delay := 80*time.Microsecond + time.Duration(rnd.Int64N(int64(5*time.Millisecond)))
			if i%64 == 0 {
				delay = 80 * time.Microsecond // now and then the machine is idle
			}
			got := c.at(stamp, real+delay)
			require.LessOrEqual(t, got, real+delay, "later than it was seen")
			if i > 0 {
				worst = max(worst, (got - real).Abs())
				kernel = max(kernel, delay)
			}
			if i == 0 {
				require.Equal(t, real+delay, got)
			}
		}
		t.Logf("%d ppm: off by %v at most, the kernel's stamp by %v", ppm, worst, kernel)
		require.Less(t, worst, 600*time.Microsecond, "%d ppm", ppm)
	}
}

// A controller that begins anew must not put frames into the past or the future.
func TestControllerClockReset(t *testing.T) {
	var c controllerClock
	require.Equal(t, 2*time.Millisecond, c.at(time.Hour, 2*time.Millisecond))
	require.Equal(t, 3*time.Millisecond, c.at(time.Hour+time.Millisecond, 3*time.Millisecond))
	require.Equal(t, 10*time.Second, c.at(time.Microsecond, 10*time.Second), "restarted")
	require.Equal(t, 11*time.Second, c.at(2*time.Hour, 11*time.Second), "set forward")
	require.Equal(t, 11*time.Second+time.Millisecond, c.at(2*time.Hour+time.Millisecond, 11*time.Second+8*time.Millisecond))
}
