package crash_test

import (
	"sync"
	"testing"

	"obdgate/internal/crash"

	"github.com/stretchr/testify/require"
)

func fall() { panic("7E8#62F190WVWZZZ") }

func TestAPanicReachesWhoWaits(t *testing.T) {
	var net crash.Net
	var done sync.WaitGroup
	for range 3 {
		done.Go(func() {
			defer net.Catch()
			fall()
		})
	}
	done.Wait()
	defer func() {
		c, ok := recover().(*crash.Crash)
		require.True(t, ok)
		require.Equal(t, "7E8#62F190WVWZZZ", c.Value)
		require.Contains(t, string(c.Stack), "crash_test.fall", "the place it happened in")
		require.Equal(t, "panic in another goroutine: string", c.Error())
		var outer crash.Net
		func() {
			defer outer.Catch()
			net.Raise()
		}()
		require.PanicsWithValue(t, c, outer.Raise, "twice removed it is the same")
	}()
	net.Raise()
	t.Error("nothing was raised")
}

func TestNothingToRaise(t *testing.T) {
	var net crash.Net
	func() { defer net.Catch() }()
	require.NotPanics(t, net.Raise)
}
