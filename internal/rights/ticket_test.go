package rights_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/reading"
	"obdgate/internal/rights"
	"obdgate/internal/store"

	"github.com/stretchr/testify/require"
)

func TestTheClockOfARequest(t *testing.T) {
	s := open(t)
	v := stored(t, s)
	_, err := rights.OpenTicket(t.Context(), s, v.ID, rights.AccessRequest, " ", "", closedAt)
	require.ErrorIs(t, err, rights.ErrIdentity, "nobody is answered unchecked")
	k, err := rights.OpenTicket(t.Context(), s, v.ID, rights.AccessRequest, "passport seen by Jo", "everything, please", closedAt)
	require.NoError(t, err)
	days := func(after time.Duration) int { return k.DaysLeft(closedAt.Add(after)) }
	const day = 24 * time.Hour
	require.Equal(t, 30, days(0))
	require.Equal(t, 1, days(30*day-time.Second))
	require.Equal(t, -1, days(30*day+time.Second))
	require.ErrorIs(t, k.Extend(t.Context(), s, "", closedAt), rights.ErrReason)
	require.ErrorIs(t, k.Extend(t.Context(), s, "three workshops", closedAt.Add(31*day)), rights.ErrLonger, "too late")
	require.NoError(t, k.Extend(t.Context(), s, "three workshops", closedAt.Add(29*day)))
	require.Equal(t, 90, days(0))
	require.ErrorIs(t, k.Extend(t.Context(), s, "again", closedAt), rights.ErrLonger, "once")
	require.ErrorIs(t, k.Refuse(t.Context(), s, "", closedAt), rights.ErrReason)
	require.NoError(t, k.Refuse(t.Context(), s, "asked the third time this month", closedAt.Add(day)))
	require.ErrorIs(t, k.Settle(t.Context(), s, closedAt), rights.ErrSettled)
	back, err := rights.FindTicket(t.Context(), s, k.ID)
	require.NoError(t, err)
	require.Equal(t, k, back)
	_, err = rights.FindTicket(t.Context(), s, "t0")
	require.ErrorIs(t, err, rights.ErrNoTicket)

	var events []string
	es, err := s.Ledger().VisitEntries(t.Context(), v.ID)
	require.NoError(t, err)
	for _, e := range es {
		if e.Kind == ledger.Rights {
			events = append(events, e.Facts.Reason)
		}
	}
	require.Equal(t, []string{"access-opened", "access-extended", "access-refused"}, events)
}

// After an erasure it stays provable that there was a request and what came of it; what people wrote is gone.
func TestATicketOutlivesItsVisitWithoutItsText(t *testing.T) {
	s := open(t)
	v := stored(t, s)
	k, err := rights.OpenTicket(t.Context(), s, v.ID, rights.ErasureRequest, "CANARY passport", "CANARY note", closedAt)
	require.NoError(t, err)
	require.NoError(t, rights.Erase(t.Context(), s, v.ID))
	k.Visit = ""
	require.NoError(t, k.Settle(t.Context(), s, closedAt))
	back, err := rights.FindTicket(t.Context(), s, k.ID)
	require.NoError(t, err)
	require.Equal(t, rights.Done, back.State)
	require.Empty(t, back.Identity)
	require.Empty(t, back.Note)
	require.Empty(t, back.Visit)
	for _, name := range []string{"obdgate.db", "obdgate.db-wal"} {
		b, err := os.ReadFile(filepath.Join(s.Home(), name))
		require.NoError(t, err)
		require.NotContains(t, string(b), "CANARY", name)
	}
	r, err := s.Ledger().Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK(), "%+v", r.Problems)
}

// A legal hold keeps everything where it is: not erased, not swept, not sent, and not destroyed by mistake.
func TestARestrictedVisitIsKeptAndNotUsed(t *testing.T) {
	s := open(t)
	v := stored(t, s)
	_, err := s.CloseVisit(t.Context(), v.ID, closedAt, nil)
	require.NoError(t, err)
	_, err = s.RecordDecision(t.Context(), v.ID, consent.Decision{Purpose: consent.Service, Answer: consent.Granted, At: closedAt, TakenBy: "Jo",
		Language: "nl", Evidence: consent.Evidence{Kind: consent.Paper, Reference: "7"}})
	require.NoError(t, err)
	standing := func() error {
		_, _, err := s.Consent().Standing(t.Context(), v.ID, consent.Service, "Dealer")
		return err
	}
	require.NoError(t, standing())
	require.NoError(t, s.Restrict(t.Context(), v.ID, "legal-hold"))
	reason, err := s.Restriction(t.Context(), v.ID)
	require.NoError(t, err)
	require.Equal(t, "legal-hold", reason)

	require.ErrorIs(t, standing(), store.ErrRestricted, "nothing is sent")
	require.ErrorIs(t, rights.Erase(t.Context(), s, v.ID), store.ErrRestricted)
	_, err = s.Shred(t.Context(), v.ID, "retention", func(reading.Key) bool { return true })
	require.ErrorIs(t, err, store.ErrRestricted)
	out, err := rights.Sweep(t.Context(), s, rules(t), closedAt.AddDate(5, 0, 0))
	require.NoError(t, err)
	require.Equal(t, rights.Swept{}, out)
	_, err = rights.Access(t.Context(), s, v.ID, closedAt, map[string]json.RawMessage{})
	require.NoError(t, err, "its customer may see it all the same")

	_, err = s.LiftRestriction(t.Context(), v.ID)
	require.NoError(t, err)
	require.NoError(t, standing())
	out, err = rights.Sweep(t.Context(), s, rules(t), closedAt.AddDate(5, 0, 0))
	require.NoError(t, err)
	require.Equal(t, 1, out.Erased, "what became due meanwhile goes at once")
	require.ErrorIs(t, s.Restrict(t.Context(), v.ID, "legal-hold"), store.ErrNotFound)
}

func TestRectification(t *testing.T) {
	s := open(t)
	v := stored(t, s)
	require.NoError(t, s.Rectify(t.Context(), v.ID, "order", "order 8"))
	require.NoError(t, s.Rectify(t.Context(), v.ID, "language", "fr"))
	require.ErrorIs(t, s.Rectify(t.Context(), v.ID, "vin", "X"), store.ErrNotFound, "what the vehicle said is not rewritten")
	got, err := s.Visit(t.Context(), v.ID)
	require.NoError(t, err)
	require.Equal(t, "order 8", got.Order)
	require.Equal(t, "fr", got.Language)
}

// A settled request is kept a year, then only the log says that there was one; an open one stays.
func TestSettledRequestsEnd(t *testing.T) {
	s := open(t)
	v, held := stored(t, s), stored(t, s)
	require.NoError(t, s.Restrict(t.Context(), held.ID, "legal-hold"))
	ask := func(visit string) rights.Ticket {
		k, err := rights.OpenTicket(t.Context(), s, visit, rights.AccessRequest, "passport", "", closedAt)
		require.NoError(t, err)
		return k
	}
	done, waits, kept := ask(v.ID), ask(v.ID), ask(held.ID)
	require.NoError(t, done.Settle(t.Context(), s, closedAt))
	require.NoError(t, kept.Settle(t.Context(), s, closedAt))
	out, err := rights.Sweep(t.Context(), s, rules(t), closedAt.AddDate(0, 0, 364))
	require.NoError(t, err)
	require.Zero(t, out.Requests)
	out, err = rights.Sweep(t.Context(), s, rules(t), closedAt.AddDate(0, 0, 365))
	require.NoError(t, err)
	require.Equal(t, 1, out.Requests)
	_, err = rights.FindTicket(t.Context(), s, done.ID)
	require.ErrorIs(t, err, rights.ErrNoTicket)
	for _, k := range []rights.Ticket{waits, kept} {
		_, err = rights.FindTicket(t.Context(), s, k.ID)
		require.NoError(t, err)
	}
	gone, err := rights.Destructions(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, ledger.Dropped, gone[len(gone)-1].Kind)
}

// What came in by letter runs from then, and is not answered before it is known who asks.
func TestARequestFromSomebodyUnknown(t *testing.T) {
	s := open(t)
	v := stored(t, s)
	k, err := rights.Receive(t.Context(), s, v.ID, rights.ErasureRequest, rights.Text{Language: "nl"}, closedAt.AddDate(0, 0, -10), closedAt)
	require.NoError(t, err)
	require.Equal(t, 20, k.DaysLeft(closedAt))
	require.ErrorIs(t, k.Settle(t.Context(), s, closedAt), rights.ErrIdentity)
	require.ErrorIs(t, k.Identify(t.Context(), s, " ", closedAt), rights.ErrIdentity)
	require.NoError(t, k.Identify(t.Context(), s, "passport", closedAt))
	l, err := rights.LetterOf(t.Context(), s, k)
	require.NoError(t, err)
	require.Equal(t, rights.Received, l.Outcome)
	require.NoError(t, rights.CheckLetter(l, s.Station().Public()))
	require.NoError(t, k.Settle(t.Context(), s, closedAt))

	// Once the visit is erased, what was written is gone with it, and so are the letters not made before.
	require.NoError(t, rights.Erase(t.Context(), s, v.ID))
	back, err := rights.FindTicket(t.Context(), s, k.ID)
	require.NoError(t, err)
	require.Empty(t, back.Identity)
	_, err = rights.LetterOf(t.Context(), s, back)
	require.ErrorIs(t, err, rights.ErrWritten)
}
