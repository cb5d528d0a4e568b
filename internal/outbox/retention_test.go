package outbox_test

import (
	"testing"
	"time"

	"obdgate/internal/ledger"

	"github.com/stretchr/testify/require"
)

// A notice that was answered is kept a year and goes; one that waits to be told stays however long it takes.
func TestAnsweredNoticesEnd(t *testing.T) {
	b := newBench(t)
	b.put(t, 83)
	b.drain(t)
	b.withdraw(t)
	year := b.clock.now().AddDate(1, 0, 0)
	n, err := b.ob.DropNotices(t.Context(), year)
	require.NoError(t, err)
	require.Zero(t, n, "it has not been told yet")
	b.drain(t)
	settled := b.notices(t)[0].Settled
	n, err = b.ob.DropNotices(t.Context(), settled.Add(-time.Millisecond))
	require.NoError(t, err)
	require.Zero(t, n)

	require.NoError(t, b.st.Restrict(t.Context(), b.visit, "legal-hold"))
	n, err = b.ob.DropNotices(t.Context(), year)
	require.NoError(t, err)
	require.Zero(t, n, "a hold keeps it")
	_, err = b.st.LiftRestriction(t.Context(), b.visit)
	require.NoError(t, err)
	n, err = b.ob.DropNotices(t.Context(), year)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Empty(t, b.notices(t))
	es, err := b.st.Ledger().Entries(t.Context(), 0, 1000)
	require.NoError(t, err)
	last := es[len(es)-1]
	require.Equal(t, ledger.Dropped, last.Kind)
	require.Equal(t, 1, last.Facts.Count)
	r, err := b.st.Ledger().Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK(), "%+v", r.Problems)
}
