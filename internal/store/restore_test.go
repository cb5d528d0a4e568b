package store_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

// A database that is put back from before a withdrawal does not bring the yes back, with the key as it is now: in that visit no yes
// counts until it is given anew, one purpose at a time. Other visits are as they were.
func TestAnOlderCopyDoesNotBringAYesBack(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	grant := func(s *store.Store, id string, p consent.Purpose, a consent.Answer) {
		d := yes(p)
		d.Answer = a
		_, err := s.RecordDecision(t.Context(), id, d)
		require.NoError(t, err)
	}
	stands := func(s *store.Store, id string, p consent.Purpose) consent.Answer {
		a, _, _, err := s.Standing(t.Context(), id, p, "", time.Now())
		require.NoError(t, err)
		return a
	}
	v, err := s.OpenVisit(t.Context(), visit.Visit{})
	require.NoError(t, err)
	other, err := s.OpenVisit(t.Context(), visit.Visit{})
	require.NoError(t, err)
	for _, id := range []string{v.ID, other.ID} {
		grant(s, id, consent.Service, consent.Granted)
		grant(s, id, consent.OBFCM, consent.Granted)
	}
	older := copyHome(t, dir)
	grant(s, v.ID, consent.Service, consent.Withdrawn)
	require.Equal(t, consent.Withdrawn, stands(s, v.ID, consent.Service))
	require.Equal(t, consent.Granted, stands(s, v.ID, consent.OBFCM))
	require.NoError(t, s.Close())

	s = openWithKey(t, older, dir)
	lost, err := s.AnswersLost(t.Context(), s.DB(), v.ID)
	require.NoError(t, err)
	require.True(t, lost)
	require.Equal(t, consent.Unasked, stands(s, v.ID, consent.Service))
	require.Equal(t, consent.Unasked, stands(s, v.ID, consent.OBFCM), "which of them was withdrawn nobody knows any more")
	require.Equal(t, consent.Granted, stands(s, other.ID, consent.Service))
	rs, err := s.Receipts(t.Context(), v.ID)
	require.NoError(t, err)
	require.Len(t, rs, 2, "what was answered can still be read")

	grant(s, v.ID, consent.OBFCM, consent.Granted)
	require.Equal(t, consent.Granted, stands(s, v.ID, consent.OBFCM))
	require.Equal(t, consent.Deferred, stands(s, v.ID, consent.Service), "a new yes does not wake the others")
	lost, err = s.AnswersLost(t.Context(), s.DB(), v.ID)
	require.NoError(t, err)
	require.False(t, lost)
	grant(s, v.ID, consent.Service, consent.Granted)
	require.Equal(t, consent.Granted, stands(s, v.ID, consent.Service))
	r, err := s.Ledger().Verify(t.Context())
	require.NoError(t, err)
	require.True(t, r.OK(), r.Problems)
	require.NoError(t, s.Close())
}

// A program that ends between a withdrawal and the forgetting of its key is made good for by the next start.
func TestAWithdrawalThatWasInterruptedIsFinished(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	v, err := s.OpenVisit(t.Context(), visit.Visit{})
	require.NoError(t, err)
	_, err = s.RecordDecision(t.Context(), v.ID, yes(consent.Service))
	require.NoError(t, err)
	older := copyHome(t, dir)
	require.NoError(t, s.Tx(t.Context(), func(tx *sql.Tx) error { // and then the power goes
		d := yes(consent.Service)
		d.Answer = consent.Withdrawn
		_, err := s.RecordDecisionTx(t.Context(), tx, v.ID, d)
		return err
	}))
	require.NoError(t, s.Close())
	s = open(t, dir, store.Options{})
	a, _, _, err := s.Standing(t.Context(), v.ID, consent.Service, "", time.Now())
	require.NoError(t, err)
	require.Equal(t, consent.Withdrawn, a)
	require.NoError(t, s.Close())
	s = openWithKey(t, older, dir)
	lost, err := s.AnswersLost(t.Context(), s.DB(), v.ID)
	require.NoError(t, err)
	require.True(t, lost)
	require.NoError(t, s.Close())
}

// openWithKey opens an older copy of a home whose key is the newer one's, as after a restore of the database alone.
func openWithKey(t *testing.T, older, newer string) *store.Store {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(newer, "station.key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(older, "station.key"), key, 0o600))
	return open(t, older, store.Options{})
}
