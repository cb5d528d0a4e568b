package outbox_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"obdgate/internal/collector"
	"obdgate/internal/consent"
	"obdgate/internal/gate"
	"obdgate/internal/ledger"
	"obdgate/internal/outbox"
	"obdgate/internal/recipient"
	"obdgate/internal/uplink"
	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
)

func TestDeliveredAndProved(t *testing.T) {
	b := newBench(t)
	id := b.put(t, 83)
	var bodies [][]byte
	require.NoError(t, b.ob.Pending(t.Context(), "", func(it outbox.Item, body []byte) error {
		require.Equal(t, id, it.ID)
		bodies = append(bodies, body)
		return nil
	}))
	res := b.drain(t)
	require.Equal(t, 1, res.Sent)
	require.Equal(t, map[string]int{id: 1}, b.held(t))
	require.NoError(t, b.col.Envelopes(t.Context(), func(h collector.Held) error {
		require.Equal(t, string(bodies[0]), string(h.Body), "the dry run shows the exact bytes")
		return nil
	}))
	it := b.item(t, id)
	require.Equal(t, outbox.Done, it.State)
	r, err := wire.ParseReceipt(it.Receipt)
	require.NoError(t, err)
	require.NoError(t, r.Verify(b.recipient(t).ReceiptKey))
	for _, kind := range []ledger.Kind{ledger.Queued, ledger.Released, ledger.Acknowledged} {
		require.Equal(t, map[string]int{id: 1}, b.log(t, kind), kind)
	}
	require.Equal(t, outbox.Result{}, b.drain(t), "nothing is left to do")
	_, waits, err := b.ob.NextDue(t.Context())
	require.NoError(t, err)
	require.False(t, waits)
}

func TestNothingReadableAtRest(t *testing.T) {
	b := newBench(t)
	id := b.put(t, 83)
	require.NoError(t, b.st.Close())
	for _, name := range []string{"obdgate.db", "obdgate.db-wal"} {
		text, err := os.ReadFile(filepath.Join(b.home, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		require.NotContains(t, string(text), "WVWZZZCD0NW000001", name)
		require.NotContains(t, string(text), "obd.01.05", name)
	}
	b.open(t)
	require.NoError(t, b.st.EraseVisit(t.Context(), b.visit, "customer-request"))
	items, err := b.ob.Items(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, items, "an erased visit leaves nothing to send")
	_, err = b.ob.Body(t.Context(), "Dealer", id)
	require.ErrorIs(t, err, outbox.ErrNotFound)
	require.Equal(t, outbox.Result{}, b.drain(t))
}

// fake answers as the test says; it stands for collectors that misbehave.
type fake struct {
	send  func(e gate.Envelope) (wire.Receipt, error)
	calls int
}

func (f *fake) Send(_ context.Context, e gate.Envelope) (wire.Receipt, error) {
	f.calls++
	return f.send(e)
}

func (f *fake) Close() {}

func (f *fake) connect(recipient.Recipient) (outbox.Sender, error) { return f, nil }

func TestWhatBecomesOfAFailure(t *testing.T) {
	foreign := ed25519.NewKeyFromSeed(make([]byte, 32))
	for name, c := range map[string]struct {
		answer func(gate.Envelope) (wire.Receipt, error)
		want   outbox.Outcome
		state  outbox.State
		wait   time.Duration
	}{
		"down":          {fails(&uplink.Deferred{Err: errors.New("no route")}), outbox.WasDeferred, outbox.Queued, 5 * time.Second},
		"asks to wait":  {fails(&uplink.Deferred{Status: 429, After: time.Minute}), outbox.WasDeferred, outbox.Queued, time.Minute},
		"asks too much": {fails(&uplink.Deferred{Status: 429, After: 99 * time.Hour}), outbox.WasDeferred, outbox.Queued, 24 * time.Hour},
		"refuses":       {fails(&uplink.Rejected{Status: 422}), outbox.WasRejected, outbox.Rejected, 0},
		"lies":          {fails(uplink.ErrLie), outbox.WasUnproved, outbox.Queued, 5 * time.Second},
		"lies past the uplink": {func(e gate.Envelope) (wire.Receipt, error) {
			r := wire.Receipt{Envelope: e.ID(), Station: e.Station(), Collector: "Dealer"}
			r.Sign(foreign, time.Unix(1795000000, 0))
			return r, nil
		}, outbox.WasUnproved, outbox.Queued, 5 * time.Second},
		"no receipt at all": {func(gate.Envelope) (wire.Receipt, error) { return wire.Receipt{}, nil }, outbox.WasUnproved, outbox.Queued, 5 * time.Second},
		"interrupted":       {fails(&uplink.Deferred{Err: context.Canceled}), outbox.WasDeferred, outbox.Queued, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			id := b.put(t, 83)
			f := &fake{send: c.answer}
			res, err := b.ob.Drain(t.Context(), f.connect, outbox.DrainOptions{})
			require.NoError(t, err)
			require.Len(t, res.Reports, 1)
			require.Equal(t, c.want, res.Reports[0].Outcome)
			it := b.item(t, id)
			require.Equal(t, c.state, it.State)
			require.Empty(t, b.log(t, ledger.Acknowledged))
			if c.state == outbox.Queued {
				require.Equal(t, b.clock.now().Add(c.wait), it.Due)
				if c.wait > 0 {
					require.Equal(t, outbox.Result{}, b.drain(t), "not before it is due")
					b.clock.step(c.wait)
				}
				require.Equal(t, 1, b.drain(t).Sent, "later the honest collector gets it")
				return
			}
			require.Equal(t, map[string]int{id: 1}, b.log(t, ledger.Rejected))
			require.Equal(t, "http-422", it.Reason)
			require.Equal(t, outbox.Result{}, b.drain(t), "never sent again by itself")
			require.NoError(t, b.ob.Retry(t.Context(), "Dealer", id))
			require.Equal(t, 1, b.drain(t).Sent, "a person may have mended the cause")
		})
	}
}

func fails(err error) func(gate.Envelope) (wire.Receipt, error) {
	return func(gate.Envelope) (wire.Receipt, error) { return wire.Receipt{}, err }
}

// TestReceiptForSomethingElse: a receipt that is genuine but not for this envelope is no proof, even from a careless sender.
func TestReceiptForSomethingElse(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	for name, change := range map[string]func(*wire.Receipt){
		"envelope": func(r *wire.Receipt) { r.Envelope = strings.Repeat("0", 64) },
		"station":  func(r *wire.Receipt) { r.Station = "station-2" },
		"right":    func(*wire.Receipt) {},
	} {
		b := newBench(t)
		r := b.recipient(t)
		r.ReceiptKey = key.Public().(ed25519.PublicKey)
		require.NoError(t, b.st.ReplaceRecipient(t.Context(), r))
		b.put(t, 83)
		f := &fake{send: func(e gate.Envelope) (wire.Receipt, error) {
			x := wire.Receipt{Envelope: e.ID(), Station: e.Station(), Collector: "Dealer"}
			change(&x)
			x.Sign(key, b.clock.now())
			return x, nil
		}}
		res, err := b.ob.Drain(t.Context(), f.connect, outbox.DrainOptions{})
		require.NoError(t, err)
		if name == "right" {
			require.Equal(t, 1, res.Sent)
			continue
		}
		require.Equal(t, 1, res.Unproved, name)
		require.ErrorIs(t, res.Reports[0].Err, wire.ErrSignature, name)
	}
}

// TestTwoSendersOneAcknowledgement: a sender whose lease ran out while it was sending finds the work done.
func TestTwoSendersOneAcknowledgement(t *testing.T) {
	b := newBench(t)
	id := b.put(t, 83)
	other := b.outbox(t, b.st)
	slow := func(r recipient.Recipient) (outbox.Sender, error) {
		s, err := connect(r)
		return &fakeThen{s, func() {
			b.clock.step(time.Minute)
			res, err := other.Drain(t.Context(), connect, outbox.DrainOptions{})
			require.NoError(t, err)
			require.Equal(t, 1, res.Sent)
		}}, err
	}
	res, err := b.ob.Drain(t.Context(), slow, outbox.DrainOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, res.Sent)
	require.Equal(t, map[string]int{id: 1}, b.held(t))
	require.Equal(t, map[string]int{id: 1}, b.log(t, ledger.Acknowledged))
}

type fakeThen struct {
	outbox.Sender
	before func()
}

func (f *fakeThen) Send(ctx context.Context, e gate.Envelope) (wire.Receipt, error) {
	f.before()
	return f.Sender.Send(ctx, e)
}

func TestADeadCollectorIsTriedOnce(t *testing.T) {
	b := newBench(t)
	for n := range int64(5) {
		b.put(t, 80+n)
	}
	f := &fake{send: fails(&uplink.Deferred{Err: errors.New("no route")})}
	res, err := b.ob.Drain(t.Context(), f.connect, outbox.DrainOptions{})
	require.NoError(t, err)
	require.Equal(t, 5, res.Deferred)
	require.Equal(t, 1, f.calls)
	res, err = b.ob.Drain(t.Context(), connect, outbox.DrainOptions{All: true})
	require.NoError(t, err)
	require.Equal(t, 5, res.Sent, "a person who asks does not wait for the back-off")
}

func TestBackOff(t *testing.T) {
	b := newBench(t)
	var d []time.Duration
	for n := range 14 {
		d = append(d, outbox.Delay(b.ob, n))
	}
	require.Equal(t, []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second}, d[:4])
	require.Equal(t, time.Hour, d[13])
	require.Equal(t, time.Hour, outbox.Delay(b.ob, 1<<30))
	jittered, err := outbox.Open(t.Context(), b.st, outbox.Options{Jitter: func() float64 { return 0.999 }})
	require.NoError(t, err)
	require.InDelta(t, float64(30*time.Minute), float64(outbox.Delay(jittered, 20)), float64(time.Minute))
}

func TestAWrongClockDoesNotKeepDataForever(t *testing.T) {
	b := newBench(t)
	b.clock.step(10 * 365 * 24 * time.Hour) // a flat battery in the laptop
	b.put(t, 83)
	f := &fake{send: fails(&uplink.Deferred{Err: errors.New("no route")})}
	_, err := b.ob.Drain(t.Context(), f.connect, outbox.DrainOptions{})
	require.NoError(t, err)
	b.clock.step(-10 * 365 * 24 * time.Hour)
	require.Equal(t, 1, b.drain(t).Sent)
}

func TestWithdrawnWhileQueued(t *testing.T) {
	for name, a := range map[string]consent.Answer{"withdrawn": consent.Withdrawn, "refused": consent.Refused, "deferred": consent.Deferred} {
		b := newBench(t)
		id := b.put(t, 83)
		b.answer(t, consent.Service, a) // and the destruction that should have come with it was lost
		require.NoError(t, b.ob.Pending(t.Context(), "", func(outbox.Item, []byte) error {
			require.Fail(t, "a dry run shows what would leave, and nothing would")
			return nil
		}))
		res := b.drain(t)
		require.Equal(t, 1, res.Blocked, name)
		require.ErrorIs(t, res.Reports[0].Err, gate.ErrNoConsent)
		require.Equal(t, outbox.Destroyed, b.item(t, id).State)
		require.Equal(t, name, b.item(t, id).Reason)
		_, err := b.ob.Body(t.Context(), "Dealer", id)
		require.ErrorIs(t, err, outbox.ErrNotFound)
		require.Empty(t, b.held(t))
		require.Empty(t, b.log(t, ledger.Released))
		require.Equal(t, map[string]int{id: 1}, b.log(t, ledger.Destroyed))
		b.answer(t, consent.Service, consent.Granted)
		require.Equal(t, outbox.Result{}, b.drain(t), "a later yes does not bring it back")
	}
}

func TestExpiredWhileQueued(t *testing.T) {
	b := newBench(t)
	d := decision(consent.Service, consent.Granted, b.clock.now())
	d.Until = b.clock.now().Add(time.Hour)
	_, err := b.st.RecordDecision(t.Context(), b.visit, d)
	require.NoError(t, err)
	b.put(t, 83)
	b.clock.step(time.Hour)
	require.Equal(t, 1, b.drain(t).Blocked)
	require.Empty(t, b.held(t))
}

// TestWithdrawalAtEveryPoint: what a withdrawal can no longer stop is at most the one record that is on the wire.
func TestWithdrawalAtEveryPoint(t *testing.T) {
	for _, point := range []string{"claimed", "sent", "settled"} {
		t.Run(point, func(t *testing.T) {
			b := newBench(t)
			ids := []string{b.put(t, 83), b.put(t, 84), b.put(t, 85)}
			once := sync.Once{}
			b.ob.OnYield(func(p string) error {
				if p == point {
					once.Do(func() {
						b.answer(t, consent.Service, consent.Withdrawn)
						_, err := b.ob.Destroy(t.Context(), b.visit, consent.Service, "", "withdrawn")
						require.NoError(t, err)
					})
				}
				return nil
			})
			res := b.drain(t)
			require.Equal(t, 1, res.Sent)
			require.Len(t, b.held(t), 1, "the one on the wire")
			acked := b.log(t, ledger.Acknowledged)
			require.Equal(t, b.held(t), acked, "what arrived is recorded, before or after the withdrawal")
			for _, id := range ids {
				it := b.item(t, id)
				if acked[id] == 1 {
					require.Equal(t, outbox.Done, it.State)
					require.NotEmpty(t, it.Receipt)
					continue
				}
				require.Equal(t, outbox.Destroyed, it.State)
				require.NotContains(t, b.log(t, ledger.Released), id)
			}
			require.Equal(t, outbox.Result{}, b.drain(t))
		})
	}
}

func TestDestroyIsNarrow(t *testing.T) {
	b := newBench(t)
	id := b.put(t, 83)
	for _, c := range []struct {
		visit, recipient string
		purpose          consent.Purpose
		want             int
	}{
		{"v000000000000", "", "", 0}, {b.visit, "Other", "", 0}, {b.visit, "", consent.OBFCM, 0}, {b.visit, "Dealer", consent.Service, 1}, {b.visit, "", "", 0},
	} {
		n, err := b.ob.Destroy(t.Context(), c.visit, c.purpose, c.recipient, "withdrawn")
		require.NoError(t, err)
		require.Equal(t, c.want, n, "%+v", c)
	}
	require.Equal(t, outbox.Destroyed, b.item(t, id).State)
}

func TestHeldWithoutAnAgreement(t *testing.T) {
	b := newBench(t)
	id := b.put(t, 83)
	r := b.recipient(t)
	r.Agreement = ""
	require.NoError(t, b.st.ReplaceRecipient(t.Context(), r))
	require.Equal(t, 1, b.drain(t).Held)
	r.Agreement, r.Purposes = "A-1", []consent.Purpose{consent.Quality}
	require.NoError(t, b.st.ReplaceRecipient(t.Context(), r))
	res := b.drain(t)
	require.Equal(t, 1, res.Held)
	require.ErrorIs(t, res.Reports[0].Err, gate.ErrPurpose)
	require.NoError(t, b.st.RemoveRecipient(t.Context(), "Dealer"))
	require.Equal(t, 1, b.drain(t).Held)
	require.Empty(t, b.held(t))
	require.Equal(t, outbox.Queued, b.item(t, id).State, "nothing is lost")
}

func TestTamperedStateDoesNotLeave(t *testing.T) {
	const last = ` WHERE id = (SELECT max(id) FROM outbox)`
	for name, c := range map[string]struct {
		statement string
		caught    int
	}{
		"body":         {`UPDATE outbox SET body = zeroblob(200)`, 2},
		"mac":          {`UPDATE outbox SET mac = zeroblob(32)`, 2},
		"purpose":      {`UPDATE outbox SET purpose = 'quality'`, 2},
		"other body":   {`UPDATE outbox SET body = (SELECT body FROM outbox ORDER BY id LIMIT 1)` + last, 1},
		"other mac":    {`UPDATE outbox SET mac = (SELECT mac FROM outbox ORDER BY id LIMIT 1)` + last, 1},
		"body and mac": {`UPDATE outbox SET (body, mac) = (SELECT body, mac FROM outbox ORDER BY id LIMIT 1)` + last, 1},
	} {
		b := newBench(t)
		b.put(t, 83)
		b.put(t, 84)
		b.answer(t, consent.Quality, consent.Granted)
		_, err := b.st.DB().ExecContext(t.Context(), c.statement)
		require.NoError(t, err)
		res := b.drain(t)
		require.Equal(t, c.caught, res.Rejected, name)
		require.Equal(t, 2-c.caught, res.Sent, name)
		for _, r := range res.Reports {
			if r.Outcome == outbox.WasRejected {
				require.ErrorIs(t, r.Err, gate.ErrTampered, name)
			}
		}
		require.Len(t, b.held(t), 2-c.caught, name)
		require.Len(t, b.log(t, ledger.Rejected), c.caught, name)
	}
}

func TestPutRefusesWhatWasNotSealed(t *testing.T) {
	b := newBench(t)
	_, err := b.ob.Put(t.Context(), gate.Sealed{})
	require.ErrorIs(t, err, outbox.ErrNothing)
}

func TestLogNamesNothing(t *testing.T) {
	b := newBench(t)
	b.put(t, 83)
	b.drain(t)
	es, err := b.st.Ledger().Entries(t.Context(), 0, 1000)
	require.NoError(t, err)
	for _, e := range es {
		for _, s := range []string{"WVWZZZ", "ORDER-77", b.visit, "degC"} {
			require.False(t, strings.Contains(string(e.Leaf()), s), "%s holds %q", e.Kind, s)
		}
	}
}

func BenchmarkDrain(b *testing.B) {
	be := newBench(b)
	f := &fake{send: fails(&uplink.Deferred{Err: context.Canceled})}
	be.put(b, 83)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := be.ob.Drain(b.Context(), f.connect, outbox.DrainOptions{All: true}); err != nil {
			b.Fatal(err)
		}
	}
}
