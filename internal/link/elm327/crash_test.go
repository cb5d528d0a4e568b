package elm327

import (
	"context"
	"testing"
	"testing/synctest"

	"obdgate/internal/crash"

	"github.com/stretchr/testify/require"
)

// A fault in the worker reaches who waits for it, where what it says is kept from the terminal: nobody waits for ever, and the
// runtime does not print it.
func TestACrashReachesWhoWaits(t *testing.T) {
	for name, wait := range map[string]func(l *Link){
		"sending":   func(l *Link) { _ = l.Send(context.Background(), askEngine) },
		"receiving": func(l *Link) { _, _ = l.Recv(context.Background()) },
		"probing":   func(l *Link) { _, _ = l.Probe(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, newChip(func(string, int) (say, bool) { return say{}, false }), func(t *testing.T, l *Link) {
				l.mu.Lock()
				l.open = true // as behind a Send whose answer has not come
				l.mu.Unlock()
				fell := make(chan any)
				start := func() {
					defer func() { fell <- recover() }()
					wait(l)
				}
				if name == "receiving" {
					go start()
					synctest.Wait()
				}
				l.jobs <- &job{task: func() error { panic("7E8#0462F190WVW") }, stop: make(chan struct{}), ack: make(chan error, 1)}
				if name != "receiving" {
					go start()
				}
				c, ok := (<-fell).(*crash.Crash)
				require.True(t, ok)
				require.Equal(t, "panic in another goroutine: string", c.Error())
			})
		})
	}
}

// fallingPort is a port whose driver has a fault.
type fallingPort struct{ port }

func (fallingPort) Read([]byte) (int, error) { panic("41 0C 1A F8") }

func TestAFaultOfThePortReachesWhoListens(t *testing.T) {
	m := newPump(fallingPort{})
	_, more := <-m.rx
	require.False(t, more)
	defer func() {
		_, ok := recover().(*crash.Crash)
		require.True(t, ok)
	}()
	_ = m.lost()
	t.Error("the fault was swallowed")
}
