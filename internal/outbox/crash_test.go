package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"obdgate/internal/gate"
	"obdgate/internal/ledger"
	"obdgate/internal/outbox"
	"obdgate/internal/recipient"
	"obdgate/internal/store"
	"obdgate/internal/uplink"
	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
)

// TestTwoProcesses drain the same state at once: no item is on the wire twice at the same moment, each arrives once.
func TestTwoProcesses(t *testing.T) {
	b := newBench(t)
	for n := range int64(12) {
		b.put(t, 80+n)
	}
	other, err := store.Open(t.Context(), b.home, store.Options{Now: b.clock.now})
	require.NoError(t, err)
	defer other.Close()
	var mu sync.Mutex
	wire := map[string]int{}
	sends := 0
	spy := func(r recipient.Recipient) (outbox.Sender, error) {
		s, err := connect(r)
		return &watched{s, func(id string, d int) {
			mu.Lock()
			defer mu.Unlock()
			wire[id] += d
			if d > 0 {
				sends++
			}
			if wire[id] > 1 {
				t.Errorf("%s is on the wire twice", id)
			}
		}}, err
	}
	var wg sync.WaitGroup
	for _, o := range []*outbox.Outbox{b.ob, b.outbox(t, other)} {
		wg.Go(func() {
			for range 3 {
				if _, err := o.Drain(t.Context(), spy, outbox.DrainOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, 12, sends)
	require.Len(t, b.held(t), 12)
	for id, n := range b.log(t, ledger.Acknowledged) {
		require.Equal(t, 1, n, id)
	}
}

type watched struct {
	outbox.Sender
	onWire func(id string, d int)
}

func (w *watched) Send(ctx context.Context, e gate.Envelope) (wire.Receipt, error) {
	w.onWire(e.ID(), 1)
	defer w.onWire(e.ID(), -1)
	return w.Sender.Send(ctx, e)
}

// TestLease: while one sends, another finds the item busy; when the one has died, the other takes over after the lease.
func TestLease(t *testing.T) {
	b := newBench(t)
	id := b.put(t, 83)
	died := errors.New("power cut")
	b.ob.OnYield(func(p string) error {
		if p == "claimed" {
			return died
		}
		return nil
	})
	_, err := b.ob.Drain(t.Context(), connect, outbox.DrainOptions{})
	require.ErrorIs(t, err, died)
	other := b.outbox(t, b.st)
	res, err := other.Drain(t.Context(), connect, outbox.DrainOptions{All: true})
	require.NoError(t, err)
	require.Equal(t, 1, res.Busy)
	at, waits, err := other.NextDue(t.Context())
	require.NoError(t, err)
	require.True(t, waits)
	require.Equal(t, b.clock.now().Add(12*time.Second), at)
	b.clock.step(12 * time.Second)
	res, err = other.Drain(t.Context(), connect, outbox.DrainOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, res.Sent)
	require.Equal(t, map[string]int{id: 1}, b.held(t))
}

// TestLeaseIsRenewed: a slow collector does not make a second process send the same item.
func TestLeaseIsRenewed(t *testing.T) {
	b := newBench(t)
	b.put(t, 83)
	o, err := outbox.Open(t.Context(), b.st, outbox.Options{Now: b.clock.now, Lease: 30 * time.Millisecond})
	require.NoError(t, err)
	lease := func() (ms int64) {
		require.NoError(t, b.st.DB().QueryRowContext(t.Context(), `SELECT lease FROM outbox`).Scan(&ms))
		return ms
	}
	f := &fake{send: func(gate.Envelope) (wire.Receipt, error) {
		first := lease()
		b.clock.step(25 * time.Millisecond)
		for lease() == first { // until the renewal has been seen
			if t.Context().Err() != nil {
				break
			}
		}
		b.clock.step(25 * time.Millisecond) // the first lease is over by now
		res, err := b.ob.Drain(t.Context(), connect, outbox.DrainOptions{All: true})
		require.NoError(t, err)
		require.Equal(t, 1, res.Busy)
		return wire.Receipt{}, &uplink.Deferred{Err: errors.New("slow")}
	}}
	_, err = o.Drain(t.Context(), f.connect, outbox.DrainOptions{})
	require.NoError(t, err)
}

// TestCrashAtEveryPoint: whatever moment the process dies at, in whatever item, every envelope is at the collector exactly
// once afterwards, acknowledged once, and the log verifies.
func TestCrashAtEveryPoint(t *testing.T) {
	for _, point := range []string{"claiming", "claimed", "sent", "settling", "settled"} {
		for nth := 1; nth <= 3; nth++ {
			t.Run(fmt.Sprint(point, " ", nth), func(t *testing.T) {
				b := newBench(t)
				ids := map[string]int{}
				for n := range int64(3) {
					ids[b.put(t, 80+n)] = 1
				}
				died, seen := errors.New("killed"), 0
				b.ob.OnYield(func(p string) error {
					if p == point {
						if seen++; seen == nth {
							return died
						}
					}
					return nil
				})
				_, err := b.ob.Drain(t.Context(), connect, outbox.DrainOptions{})
				require.ErrorIs(t, err, died)
				require.NoError(t, b.st.Close())

				b.open(t)
				for range 3 {
					b.drain(t)
					b.clock.step(time.Minute)
				}
				require.Equal(t, ids, b.held(t))
				require.Equal(t, ids, b.log(t, ledger.Acknowledged))
				for id := range ids {
					require.Equal(t, outbox.Done, b.item(t, id).State)
				}
			})
		}
	}
}

func TestErasedWhileOnTheWire(t *testing.T) {
	b := newBench(t)
	b.put(t, 83)
	b.put(t, 84)
	once := sync.Once{}
	b.ob.OnYield(func(p string) error {
		if p == "claimed" {
			once.Do(func() { require.NoError(t, b.st.EraseVisit(t.Context(), b.visit, "customer-request")) })
		}
		return nil
	})
	res := b.drain(t)
	require.Equal(t, 1, res.Sent)
	require.Len(t, b.held(t), 1)
	items, err := b.ob.Items(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, items)
}
