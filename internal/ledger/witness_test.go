package ledger_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"

	"github.com/stretchr/testify/require"
)

func state(t *testing.T, l *ledger.Ledger, from uint64) ledger.Statement {
	s, err := l.State(t.Context(), "st-test", from)
	require.NoError(t, err)
	b, err := json.Marshal(s)
	require.NoError(t, err)
	s, err = ledger.ParseStatement(b)
	require.NoError(t, err)
	return s
}

// newest is the size to ask the next proof from.
func newest(k ledger.Kept) uint64 { return k.Heads[len(k.Heads)-1].Size }

func TestASecondPartyKeepsHeadsAndSeesAFork(t *testing.T) {
	l := newLog(t, "va", "vb")
	var kept ledger.Kept
	for i := range 9 {
		from := uint64(0)
		if i > 0 {
			from = newest(kept)
		}
		var err error
		kept, err = ledger.Witness(kept, state(t, l.Ledger, from), l.key.Public(), at)
		require.NoError(t, err)
		for range i {
			l.record(t, ledger.Event{Kind: ledger.Accessed, Visit: "va", At: at, Facts: ledger.Facts{Reason: "report-shown"}})
		}
	}
	require.Len(t, kept.Heads, 8, "a head seen twice is kept once")
	b, err := json.Marshal(kept)
	require.NoError(t, err)
	again, err := ledger.ParseKept(b)
	require.NoError(t, err)
	require.Equal(t, kept, again)

	// A copy taken now goes its own way: two logs with one key, as a station that shows two faces would have.
	path := filepath.Join(t.TempDir(), "fork.db")
	_, err = l.db.Exec(`VACUUM INTO ?`, path)
	require.NoError(t, err)
	fork, err := ledger.New(openDB(t, path), "st-test", l.key, l.keys)
	require.NoError(t, err)
	l.decide(t, "va", consent.Service, consent.Withdrawn)
	before := kept
	kept, err = ledger.Witness(kept, state(t, l.Ledger, newest(kept)), nil, at)
	require.NoError(t, err)

	_, err = ledger.Witness(kept, state(t, fork, 0), nil, at)
	require.ErrorIs(t, err, ledger.ErrFork, "shorter")
	require.Contains(t, err.Error(), "37 entries now, 38 before")
	_, err = fork.Record(t.Context(), ledger.Event{Kind: ledger.Accessed, Visit: "va", At: at})
	require.NoError(t, err)
	_, err = ledger.Witness(kept, state(t, fork, 0), nil, at)
	require.ErrorIs(t, err, ledger.ErrFork, "as long, another content")
	_, err = fork.Record(t.Context(), ledger.Event{Kind: ledger.Accessed, Visit: "va", At: at})
	require.NoError(t, err)
	_, err = ledger.Witness(kept, state(t, fork, newest(kept)), nil, at)
	require.ErrorIs(t, err, ledger.ErrFork, "longer, with the best proof it can make")
	_, err = ledger.Witness(kept, state(t, fork, newest(before)), nil, at)
	require.ErrorIs(t, err, ledger.ErrUnproved, "a proof that begins elsewhere says nothing")
	_, err = ledger.Witness(before, state(t, fork, newest(before)), nil, at)
	require.NoError(t, err, "who never saw the other branch cannot know")

	// Nobody else's head is taken for the station's.
	l.record(t, ledger.Event{Kind: ledger.Accessed, Visit: "vb", At: at})
	good := state(t, l.Ledger, newest(kept))
	for name, s := range map[string]ledger.Statement{
		"another station":      {Schema: good.Schema, Station: "st-other", Key: good.Key, Head: good.Head, From: good.From, Proof: good.Proof},
		"another key's":        state(t, newLog(t).Ledger, 0),
		"head altered":         {Schema: good.Schema, Station: good.Station, Key: good.Key, Head: good.Head[:20] + "7" + good.Head[21:], From: good.From, Proof: good.Proof},
		"nothing in its place": {Schema: good.Schema, Station: good.Station},
	} {
		_, err := ledger.Witness(kept, s, nil, at)
		require.ErrorIs(t, err, ledger.ErrStatement, name)
	}
	_, err = ledger.Witness(kept, good, newSigner().Public(), at)
	require.ErrorIs(t, err, ledger.ErrStatement, "another key was expected")
	_, err = ledger.Witness(kept, good, nil, at)
	require.NoError(t, err)
}

func leaves(t *testing.T, es []ledger.Entry) (out [][]byte) {
	for _, e := range es {
		out = append(out, e.Leaf())
	}
	return out
}

// The customer's list of what happened is the whole of it: no entry of the visit can be left out, and none of another slipped in.
func TestNothingIsLeftOutOfAVisitsEntries(t *testing.T) {
	l := newLog(t, "va", "vb", "vc")
	fill(t, l)
	entries, head, _, err := l.ProvedEntries(t.Context(), "vb")
	require.NoError(t, err)
	key, err := l.TagKey(t.Context(), "vb")
	require.NoError(t, err)
	l.record(t, ledger.Event{Kind: ledger.Accessed, Visit: "vb", At: at}) // after the head: not asked for
	all, err := l.Entries(t.Context(), 0, 1000)
	require.NoError(t, err)
	require.NoError(t, ledger.CheckNumbers(key, "vb", leaves(t, entries)))

	check := func(listed int, log [][]byte) error {
		c := ledger.NewCompleteness()
		c.Expect(key, "vb", listed, head)
		for _, leaf := range log {
			if err := c.Add(leaf); err != nil {
				return err
			}
		}
		return c.Done()
	}
	log := leaves(t, all)
	require.NoError(t, check(len(entries), log))
	require.NoError(t, check(len(entries), log[:head.Size]))
	require.ErrorIs(t, check(len(entries), log[:head.Size-1]), ledger.ErrIncomplete, "a log that ends too early")
	require.ErrorIs(t, check(len(entries)-1, log), ledger.ErrIncomplete, "the last entry left out of the list")
	for i := range entries {
		short := append(append([]ledger.Entry(nil), entries[:i]...), entries[i+1:]...)
		numbers := ledger.CheckNumbers(key, "vb", leaves(t, short))
		if i < len(entries)-1 {
			require.ErrorIs(t, numbers, ledger.ErrIncomplete, "entry %d left out of the list", i)
		}
		// Left out of the log as well: the log is not the one under the head.
		cut := append(append([][]byte(nil), log[:entries[i].Seq]...), log[entries[i].Seq+1:]...)
		require.Error(t, check(len(short), cut))
	}
	other, err := l.VisitEntries(t.Context(), "vc")
	require.NoError(t, err)
	require.ErrorIs(t, ledger.CheckNumbers(key, "vb", leaves(t, append(entries, other[0]))), ledger.ErrIncomplete, "another visit's entry")

	// With the visit the secret goes: what was written down before is all there is.
	delete(l.keys, "vb")
	_, err = l.TagKey(t.Context(), "vb")
	require.ErrorIs(t, err, ledger.ErrForgotten)
}
