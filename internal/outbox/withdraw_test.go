package outbox_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/gate"
	"obdgate/internal/ledger"
	"obdgate/internal/outbox"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/recipient"
	"obdgate/internal/uplink"
	"obdgate/internal/vin"
	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
)

func (b *bench) withdraw(t testing.TB) outbox.Answered {
	t.Helper()
	a, err := b.ob.Answer(t.Context(), b.visit, decision(consent.Service, consent.Withdrawn, b.clock.now()))
	require.NoError(t, err)
	return a
}

func (b *bench) notices(t testing.TB) []outbox.Notice {
	t.Helper()
	all, err := b.ob.Notices(t.Context(), "")
	require.NoError(t, err)
	return all
}

// What was delivered is not undone; the recipient is told, says so under its signature, and takes nothing more.
func TestWithdrawalIsPassedOnAndAnswered(t *testing.T) {
	b := newBench(t)
	sent, waits := b.put(t, 83), ""
	require.Equal(t, 1, b.drain(t).Sent)
	waits = b.put(t, 84)
	body, err := b.ob.Body(t.Context(), "Dealer", waits)
	require.NoError(t, err)

	a := b.withdraw(t)
	require.Equal(t, 1, a.Destroyed)
	require.Equal(t, 1, a.Notices)
	res := b.drain(t)
	require.Equal(t, 0, res.Sent)
	require.Len(t, res.Told, 1)
	require.NoError(t, res.Told[0].Err)

	n := b.notices(t)[0]
	require.Equal(t, outbox.Done, n.State)
	require.Equal(t, a.Receipt.ID, n.Answer, "kept with the receipt of the withdrawal")
	s, err := wire.ParseStatement(n.Statement)
	require.NoError(t, err)
	require.NoError(t, s.Verify(b.recipient(t).ReceiptKey))
	require.Equal(t, []string{sent}, s.Held)
	require.Equal(t, map[string]int{sent: 1}, b.held(t))
	require.NotContains(t, string(n.Body), "WVWZZZ")
	require.NotContains(t, string(n.Body), b.visit)
	require.Len(t, b.log(t, ledger.NoticeQueued), 1)
	require.Len(t, b.log(t, ledger.NoticeAnswered), 1)

	// Whoever posts the destroyed bytes all the same is turned away.
	c, err := uplink.New(b.recipient(t), uplink.Options{})
	require.NoError(t, err)
	defer c.Close()
	e, err := wire.Parse(body)
	require.NoError(t, err)
	sealed := gate.Stored{Visit: "other", Purpose: consent.Service, Recipient: "Dealer", ID: e.ID, Body: body}
	yes := gate.New(always{}, b.st.Station())
	again, err := yes.Seal(t.Context(), scanOf(t, b, 84, e.Receipt))
	require.NoError(t, err)
	require.Equal(t, sealed.ID, again.ID())
	env, err := yes.Release(t.Context(), again.Stored())
	require.NoError(t, err)
	_, err = c.Send(t.Context(), env)
	var refused *uplink.Rejected
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 410, refused.Status)

	// A new yes is a new receipt, under which the same content goes again.
	b.answer(t, consent.Service, consent.Granted)
	b.put(t, 84)
	require.Equal(t, 1, b.drain(t).Sent)
}

// always says yes under one receipt: what a station would do that ignores its customers.
type always struct{}

func (always) Standing(context.Context, string, consent.Purpose, string) (consent.Answer, string, error) {
	return consent.Granted, current, nil
}

var current string

func scanOf(t testing.TB, b *bench, n int64, receipt string) gate.Input {
	t.Helper()
	current = receipt
	p, err := policy.Default()
	require.NoError(t, err)
	v, err := vin.Parse("WVWZZZCD0NW000001")
	require.NoError(t, err)
	temp, _ := reading.Scaled(n, 1, 1, 0, 1, "degC")
	return gate.Input{Visit: b.visit, VIN: v, Values: []policy.Tagged{p.Tag(reading.Reading{Key: "obd.01.05", ECU: "7E8", Value: temp})},
		Purpose: consent.Service, Recipient: b.recipient(t), Station: b.st.Station().ID(), Day: b.clock.now(),
		Policy: wire.Policy{Version: "2026-11/site+" + p.Hash()[:8], Hash: p.Hash()}}
}

// Who got nothing is told nothing: a notice would say that somebody refused.
func TestNobodyIsToldOfARefusal(t *testing.T) {
	b := newBench(t)
	b.put(t, 83)
	a := b.withdraw(t)
	require.Equal(t, 1, a.Destroyed)
	require.Zero(t, a.Notices)
	require.Empty(t, b.notices(t))
	require.Equal(t, outbox.Result{}, b.drain(t))
}

func TestErasureIsPassedOnAndOutlivesTheVisit(t *testing.T) {
	b := newBench(t)
	id := b.put(t, 83)
	b.drain(t)
	n, err := b.ob.Erase(t.Context(), b.visit)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, b.st.EraseVisit(t.Context(), b.visit, "customer-request"))
	require.Empty(t, b.notices(t)[0].Visit)
	res := b.drain(t)
	require.Len(t, res.Told, 1)
	require.NoError(t, res.Told[0].Err)
	s, err := wire.ParseStatement(b.notices(t)[0].Statement)
	require.NoError(t, err)
	require.Equal(t, []string{id}, s.Erased)
	require.Empty(t, b.held(t), "the recipient holds it no more")
	require.Len(t, b.log(t, ledger.NoticeAnswered), 1)
}

func TestANoticeThatCannotBeDeliveredWaits(t *testing.T) {
	b := newBench(t)
	b.put(t, 83)
	b.drain(t)
	b.withdraw(t)
	down := func(recipient.Recipient) (outbox.Sender, error) {
		return deaf{&uplink.Deferred{Status: 503, After: time.Minute}}, nil
	}
	told, err := b.ob.Tell(t.Context(), down, "", false)
	require.NoError(t, err)
	require.Error(t, told[0].Err)
	require.Equal(t, b.clock.now().Add(time.Minute), b.notices(t)[0].Due)
	told, err = b.ob.Tell(t.Context(), connect, "", false)
	require.NoError(t, err)
	require.Empty(t, told, "not before it is due")
	liar := func(recipient.Recipient) (outbox.Sender, error) { return deaf{}, nil }
	told, err = b.ob.Tell(t.Context(), liar, "", true)
	require.NoError(t, err)
	require.Error(t, told[0].Err, "an answer that proves nothing does not end it")
	require.Equal(t, outbox.Queued, b.notices(t)[0].State)
	told, err = b.ob.Tell(t.Context(), connect, "", true)
	require.NoError(t, err)
	require.NoError(t, told[0].Err)
	require.Equal(t, outbox.Done, b.notices(t)[0].State)
}

type deaf struct{ err error }

func (deaf) Send(context.Context, gate.Envelope) (wire.Receipt, error) {
	return wire.Receipt{}, errors.New("deaf")
}
func (d deaf) Tell(context.Context, gate.Notice) (wire.Statement, error) {
	return wire.Statement{}, d.err
}
func (deaf) Close() {}

// onWire counts the bytes handed to the network and lets a test act just before and just after.
type onWire struct {
	*uplink.Client
	before, after func()
	mu            *sync.Mutex
	clock         func() int
	order         *[]int
}

func (w onWire) Send(ctx context.Context, e gate.Envelope) (wire.Receipt, error) {
	w.before()
	w.mu.Lock()
	*w.order = append(*w.order, w.clock()*len(e.Bytes()))
	w.mu.Unlock()
	r, err := w.Client.Send(ctx, e)
	w.after()
	return r, err
}

var update = flag.Bool("update", false, "write the golden files")

// The bound of a withdrawal, at every point a record passes from the scan to its acknowledgement: what is on the wire at
// that moment may complete, nothing else is sent after it.
func TestWithdrawalFromScanToAcknowledgement(t *testing.T) {
	points := []string{"scanned", "sealed", "queued", "claiming", "claimed", "on the wire", "answered", "sent", "settling", "settled"}
	hit := map[string]bool{}
	var table strings.Builder
	fmt.Fprintln(&table, "# A withdrawal recorded at every point that four waiting records pass: what had been handed to the network before it, and after.\n# Written by TestWithdrawalFromScanToAcknowledgement -update.\n# point          records before   records after   bytes after        bound")
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			b := newBench(t)
			// The withdrawal comes from another program, as it would from the counter or the customer's page.
			other := b.outbox(t, b.st)
			var mu sync.Mutex
			var sends []int // for each Send: its bytes when it began after the withdrawal was recorded, else 0
			withdrawn := make(chan struct{})
			var once sync.Once
			var wg sync.WaitGroup
			withdraw := func() {
				once.Do(func() {
					hit[point] = true
					wg.Go(func() {
						_, err := other.Answer(context.WithoutCancel(t.Context()), b.visit, decision(consent.Service, consent.Withdrawn, b.clock.now()))
						if err != nil {
							t.Errorf("withdrawing: %v", err)
						}
						close(withdrawn)
					})
					if point == "claiming" || point == "settling" {
						return // within a transaction of the sender: the withdrawal waits for its end
					}
					<-withdrawn
				})
			}
			at := func(p string) {
				if p == point {
					withdraw()
				}
			}
			b.ob.OnYield(func(p string) error { at(p); return nil })
			late := func() int {
				select {
				case <-withdrawn:
					return 1
				default:
					return 0
				}
			}
			for n := range int64(4) {
				in := scanOf(t, b, 60+n, "")
				at("scanned")
				s, err := gate.New(b.st.Consent(), b.st.Station()).Seal(t.Context(), in)
				if errors.Is(err, gate.ErrNoConsent) {
					continue
				}
				require.NoError(t, err)
				at("sealed")
				_, err = b.ob.Put(t.Context(), s)
				require.NoError(t, err)
				at("queued")
			}
			via := func(r recipient.Recipient) (outbox.Sender, error) {
				c, err := uplink.New(r, uplink.Options{})
				return onWire{Client: c, before: func() { at("on the wire") }, after: func() { at("answered") }, mu: &mu, clock: late, order: &sends}, err
			}
			_, err := b.ob.Drain(t.Context(), via, outbox.DrainOptions{All: true})
			require.NoError(t, err)
			wg.Wait()
			b.ob.OnYield(nil)
			mu.Lock()
			n := len(sends)
			mu.Unlock()
			_, err = b.ob.Drain(t.Context(), via, outbox.DrainOptions{All: true})
			require.NoError(t, err)
			require.Len(t, sends, n, "nothing is sent after the withdrawal")

			after, bytesAfter := 0, 0
			for _, s := range sends {
				bytesAfter += s
				if s > 0 {
					after++
				}
			}
			require.LessOrEqual(t, after, 1, "at most the one record that was on the wire")
			switch point {
			case "claiming", "settling":
				fmt.Fprintf(&table, "%-18s %12s %15s %13s   at most 1 record\n", point, "either", "0 or 1", "either")
			default:
				size := "0"
				if bytesAfter > 0 {
					size = "one record"
				}
				fmt.Fprintf(&table, "%-18s %12d %15d %13s   at most 1 record\n", point, len(sends)-after, after, size)
			}
			switch point {
			case "scanned", "sealed", "queued":
				require.Zero(t, n, "nothing had left")
				require.Empty(t, b.held(t))
			case "claiming", "settling": // the withdrawal waits for the database, and is recorded when it gets it
			default:
				require.Equal(t, 1, n)
			}
			// The recipient was told if anything was sent, and afterwards nothing is open.
			items, err := b.ob.Items(t.Context(), b.visit)
			require.NoError(t, err)
			for _, it := range items {
				require.True(t, slices.Contains([]outbox.State{outbox.Done, outbox.Destroyed}, it.State), it.State)
			}
			if n > 0 {
				require.Len(t, b.notices(t), 1)
				require.Equal(t, outbox.Done, b.notices(t)[0].State)
			}
			statements := 0
			require.NoError(t, b.col.Withdrawals(t.Context(), func(wire.Statement) error { statements++; return nil }))
			require.Equal(t, len(b.notices(t)), statements)
		})
	}
	for _, p := range points {
		require.True(t, hit[p], "%s was never passed", p)
	}
	const file = "testdata/withdrawal.txt"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(table.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), table.String())
}
