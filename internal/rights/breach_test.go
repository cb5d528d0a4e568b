package rights_test

import (
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/rights"

	"github.com/stretchr/testify/require"
)

func TestABreachNamesWhoseDataWasWhere(t *testing.T) {
	s := open(t)
	sent, stayed, gone := stored(t, s), stored(t, s), stored(t, s)
	_, err := s.Ledger().Record(t.Context(), ledger.Event{Kind: ledger.Released, Visit: sent.ID, At: closedAt, Facts: ledger.Facts{
		Purpose: string(consent.Service), Recipient: "Dealer", Content: "00000000000000000000000000000000000000000000000000000000000000ab"}})
	require.NoError(t, err)
	_, err = rights.Access(t.Context(), s, stayed.ID, closedAt, nil)
	require.NoError(t, err)
	require.NoError(t, rights.Erase(t.Context(), s, gone.ID))

	b, err := rights.Affects(t.Context(), s, closedAt.Add(-time.Hour), closedAt.Add(time.Hour), true)
	require.NoError(t, err)
	require.Equal(t, closedAt.Add(49*time.Hour), b.Deadline)
	require.Equal(t, 1, b.Gone, "erased since: nobody can tell whose it was, but it was there")
	require.Len(t, b.Affected, 2)
	for _, a := range b.Affected {
		require.Equal(t, "nl", a.Language)
		require.NotEmpty(t, a.Order)
		if a.Visit == sent.ID {
			require.Len(t, a.Where, 1)
			require.Equal(t, "Dealer", a.Where[0].Recipient)
			require.Empty(t, a.Read)
		} else {
			require.Equal(t, stayed.ID, a.Visit)
			require.Empty(t, a.Where)
			require.Len(t, a.Read, 1)
		}
	}
	es, err := s.Ledger().Entries(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Equal(t, "breach-drill", es[len(es)-1].Facts.Reason)
}

// What was erased when is provable, and the proof keeps nothing of what it was.
func TestDestructionsAreProvable(t *testing.T) {
	s := open(t)
	v := stored(t, s)
	_, err := s.CloseVisit(t.Context(), v.ID, closedAt, nil)
	require.NoError(t, err)
	for _, at := range []time.Time{closedAt.Add(time.Minute), closedAt.AddDate(0, 0, 28), closedAt.AddDate(0, 0, rights.RecordsDays)} {
		_, err := rights.Sweep(t.Context(), s, rules(t), at)
		require.NoError(t, err)
	}
	gone, err := rights.Destructions(t.Context(), s)
	require.NoError(t, err)
	var kinds []ledger.Kind
	for _, g := range gone {
		kinds = append(kinds, g.Kind)
		require.Equal(t, "retention", g.Reason)
		require.False(t, g.At.IsZero())
	}
	require.Equal(t, []ledger.Kind{ledger.Shredded, ledger.Shredded, ledger.Erased}, kinds)
}
