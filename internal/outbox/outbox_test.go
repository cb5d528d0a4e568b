package outbox_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
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
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/recipient"
	"obdgate/internal/store"
	"obdgate/internal/uplink"
	"obdgate/internal/vin"
	"obdgate/internal/visit"
	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	os.Setenv("OBDGATE_KEYRING", "off")
	os.Exit(m.Run())
}

// clock is stepped by the tests.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// bench is a station with one visit, its state directory and a real collector.
type bench struct {
	home  string
	clock *clock
	col   *collector.Collector
	visit string
	st    *store.Store
	ob    *outbox.Outbox
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{home: filepath.Join(t.TempDir(), "home"), clock: newClock()}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b.col, err = collector.Open(t.Context(), collector.Options{Home: t.TempDir(), Name: "Dealer", Country: "NL", URL: "https://" + ln.Addr().String()})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.col.Serve(ctx, ln) }()
	b.open(t)
	t.Cleanup(func() {
		_ = b.st.Close()
		stop()
		require.NoError(t, <-done)
		require.NoError(t, b.col.Close())
	})
	bundle, err := b.col.Enroll(t.Context(), "station-1")
	require.NoError(t, err)
	r := bundle.Recipient()
	r.Agreement = "A-1"
	require.NoError(t, b.st.AddRecipient(t.Context(), r))
	v, err := b.st.OpenVisit(t.Context(), visit.Visit{Order: "ORDER-77", Language: "nl"})
	require.NoError(t, err)
	b.visit = v.ID
	b.answer(t, consent.Service, consent.Granted)
	return b
}

// open opens the state as a fresh process would.
func (b *bench) open(t testing.TB) {
	t.Helper()
	var err error
	b.st, err = store.Open(t.Context(), b.home, store.Options{Now: b.clock.now})
	require.NoError(t, err)
	b.ob = b.outbox(t, b.st)
}

func (b *bench) outbox(t testing.TB, st *store.Store) *outbox.Outbox {
	t.Helper()
	o, err := outbox.Open(t.Context(), st, outbox.Options{Now: b.clock.now, Jitter: func() float64 { return 0 }})
	require.NoError(t, err)
	return o
}

func decision(p consent.Purpose, a consent.Answer, at time.Time) consent.Decision {
	d := consent.Decision{Purpose: p, Answer: a, At: at, Language: "nl", TakenBy: "Jan", Notice: consent.CurrentNotice}
	if a == consent.Granted {
		d.Evidence = consent.Evidence{Kind: consent.Paper, Reference: "2026-114"}
	}
	return d
}

func (b *bench) answer(t testing.TB, p consent.Purpose, a consent.Answer) {
	t.Helper()
	_, err := b.st.RecordDecision(t.Context(), b.visit, decision(p, a, b.clock.now()))
	require.NoError(t, err)
}

func (b *bench) recipient(t testing.TB) recipient.Recipient {
	t.Helper()
	r, err := b.st.Recipient(t.Context(), "Dealer")
	require.NoError(t, err)
	return r
}

// put seals and queues an envelope; n makes it differ from others.
func (b *bench) put(t testing.TB, n int64) string {
	t.Helper()
	p, err := policy.Default()
	require.NoError(t, err)
	v, err := vin.Parse("WVWZZZCD0NW000001")
	require.NoError(t, err)
	temp, _ := reading.Scaled(n, 1, 1, 0, 1, "degC")
	s, err := gate.New(b.st.Consent(), b.st.Station()).Seal(t.Context(), gate.Input{
		Visit: b.visit, VIN: v, Values: []policy.Tagged{p.Tag(reading.Reading{Key: "obd.01.05", ECU: "7E8", Value: temp})},
		Purpose: consent.Service, Recipient: b.recipient(t), Station: b.st.Station().ID(), Day: b.clock.now(),
		Policy: wire.Policy{Version: "2026-11/site+" + p.Hash()[:8], Hash: p.Hash()}, // as with a site's own overlay
	})
	require.NoError(t, err)
	added, err := b.ob.Put(t.Context(), s)
	require.NoError(t, err)
	require.True(t, added)
	again, err := b.ob.Put(t.Context(), s)
	require.NoError(t, err)
	require.False(t, again, "the same content is queued once")
	return s.ID()
}

func connect(r recipient.Recipient) (outbox.Sender, error) { return uplink.New(r, uplink.Options{}) }

func (b *bench) drain(t testing.TB) outbox.Result {
	t.Helper()
	res, err := b.ob.Drain(t.Context(), connect, outbox.DrainOptions{})
	require.NoError(t, err)
	return res
}

func (b *bench) item(t testing.TB, id string) outbox.Item {
	t.Helper()
	items, err := b.ob.Items(t.Context(), b.visit)
	require.NoError(t, err)
	for _, it := range items {
		if it.ID == id {
			return it
		}
	}
	require.Fail(t, "no such item")
	return outbox.Item{}
}

func (b *bench) held(t testing.TB) map[string]int {
	t.Helper()
	n := map[string]int{}
	require.NoError(t, b.col.Envelopes(t.Context(), func(h collector.Held) error { n[h.Hash]++; return nil }))
	return n
}

// log counts the ledger's entries of a kind by content.
func (b *bench) log(t testing.TB, kind ledger.Kind) map[string]int {
	t.Helper()
	n := map[string]int{}
	es, err := b.st.Ledger().Entries(t.Context(), 0, 10000)
	require.NoError(t, err)
	for _, e := range es {
		if e.Kind == kind {
			n[e.Facts.Content]++
		}
	}
	rep, err := b.st.Ledger().Verify(t.Context())
	require.NoError(t, err)
	require.True(t, rep.OK(), "%+v", rep.Problems)
	return n
}

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
