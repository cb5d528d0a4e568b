package rights_test

import (
	"encoding/json"
	"testing"

	"obdgate/internal/ledger"
	"obdgate/internal/rights"
	"obdgate/internal/store"

	"github.com/stretchr/testify/require"
)

// Whatever is handed in as a letter, it is genuine only when it says, to the last field, what the station logged.
func FuzzCheckLetter(f *testing.F) {
	f.Setenv("OBDGATE_KEYRING", "off")
	s, err := store.Open(f.Context(), f.TempDir()+"/home", store.Options{})
	require.NoError(f, err)
	f.Cleanup(func() { s.Close() })
	k, err := rights.Receive(f.Context(), s, "", rights.ErasureRequest, rights.Text{Language: "nl"}, closedAt, closedAt)
	require.NoError(f, err)
	true1, err := rights.LetterOf(f.Context(), s, k)
	require.NoError(f, err)
	require.NoError(f, rights.CheckLetter(true1, s.Station().Public()))
	seed, err := json.Marshal(true1)
	require.NoError(f, err)
	f.Add(seed)
	f.Add([]byte(`{"schema":"obdgate/rights-answer/v1","leaf":{"seq":0,"time":"2026-11-20T09:00:00.000Z","kind":"rights","tag":"","facts":{}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l rights.Letter
		if json.Unmarshal(b, &l) != nil {
			return
		}
		if err := rights.CheckLetter(l, s.Station().Public()); err != nil {
			require.ErrorIs(t, err, rights.ErrProof)
			return
		}
		require.Equal(t, true1.Answer, l.Answer, "another answer is taken for genuine")
	})
}

// No statement of a second party's peer breaks it, and none that is not signed is kept.
func FuzzWitness(f *testing.F) {
	f.Setenv("OBDGATE_KEYRING", "off")
	s, err := store.Open(f.Context(), f.TempDir()+"/home", store.Options{})
	require.NoError(f, err)
	f.Cleanup(func() { s.Close() })
	state, err := s.Ledger().State(f.Context(), s.Station().ID(), 0)
	require.NoError(f, err)
	kept, err := ledger.Witness(ledger.Kept{}, state, s.Station().Public(), closedAt)
	require.NoError(f, err)
	seed, err := json.Marshal(state)
	require.NoError(f, err)
	f.Add(seed)
	f.Add([]byte(`{"schema":"obdgate/ledger-head/v1","station":"st","key":"","head":"","from":18446744073709551615,"consistency":[""]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := ledger.ParseStatement(b)
		if err != nil {
			return
		}
		again, err := ledger.Witness(kept, st, nil, closedAt)
		if err == nil {
			require.Equal(t, state.Head, st.Head, "a head nobody signed")
		}
		require.Equal(t, kept, again)
	})
}
