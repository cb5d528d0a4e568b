package crash_test

import (
	"bytes"
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

// A stack says what functions were called with, and a speed is a number among others.
//
//go:noinline
func fallAt(speed uint64, plate string) { panic(plate[speed:]) }

func TestAReportHasThePlaceAndNoNumber(t *testing.T) {
	var out bytes.Buffer
	func() {
		defer func() { crash.Of(recover()).Report(&out, "obdgate") }()
		fallAt(0xBEE5, "WVWZZZ")
	}()
	require.Regexp(t, `^obdgate: internal fault \(runtime\.\w+\); please report it`, out.String())
	require.Contains(t, out.String(), "crash_test.fallAt(…)\n\t")
	require.Contains(t, out.String(), "crash_test.go:")
	require.NotContains(t, out.String(), "WVW")
	require.NotRegexp(t, `(?i)bee5|48869`, out.String())

	var net crash.Net
	<-net.Start(fall)
	require.Panics(t, net.Raise)
	<-new(crash.Net).Start(func() {})
}
