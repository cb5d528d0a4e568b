package outbox_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
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
