package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"
	"pgregory.net/rapid"
)

func newTree(t testing.TB) keyTree {
	k, err := newStationKey()
	require.NoError(t, err)
	return k.tree
}

// Forgetting some keys changes no other key, and what is left cannot make a forgotten one.
func TestForgettingTakesExactlyTheKeysNamed(t *testing.T) {
	whole := newTree(t)
	rapid.Check(t, func(t *rapid.T) {
		near := rapid.Uint32Range(0, 40)
		any := rapid.OneOf(near, rapid.Uint32(), rapid.Map(near, func(n uint32) uint32 { return ^n }))
		forgotten := map[uint32]bool{}
		tree := keyTree{}
		for n, s := range whole {
			tree[n] = s
		}
		for _, slot := range rapid.SliceOfN(any, 0, 12).Draw(t, "forget") {
			tree.forget(slot)
			forgotten[slot] = true
		}
		for _, slot := range append(rapid.SliceOfN(any, 1, 12).Draw(t, "ask"), 0, 1, 2, ^uint32(0)) {
			want, _ := whole.key(slot)
			got, ok := tree.key(slot)
			require.Equal(t, !forgotten[slot], ok, "slot %d", slot)
			if ok {
				require.Equal(t, want, got, "slot %d", slot)
			}
		}
		for slot := range forgotten { // no node on the way down to a forgotten key is left
			for d := range uint8(treeDepth + 1) {
				require.NotContains(t, tree, treeNode{d, slot & mask(d)})
			}
		}
		b, err := tree.MarshalBinary()
		require.NoError(t, err)
		back, err := parseTree(b)
		require.NoError(t, err)
		require.Equal(t, tree, back)
	})
}

// Visits that end roughly in the order they began keep the key small for ever.
func TestTheKeyStaysSmall(t *testing.T) {
	tree := newTree(t)
	for slot := range uint32(5000) {
		tree.forget(slot ^ 5) // not quite in order
	}
	b, err := tree.MarshalBinary()
	require.NoError(t, err)
	require.Less(t, len(b), 2000)
}

func FuzzParseTree(f *testing.F) {
	tree := keyTree{treeNode{}: {1, 2, 3}}
	whole, _ := tree.MarshalBinary()
	tree.forget(77)
	punctured, _ := tree.MarshalBinary()
	for _, b := range [][]byte{nil, whole, punctured, punctured[:len(punctured)-1], append(punctured[:37:37], punctured[:37]...)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := parseTree(b)
		if err != nil {
			return
		}
		out, err := tree.MarshalBinary()
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, out), "one tree, one spelling")
	})
}

func TestAKeyDoesNotPrint(t *testing.T) {
	k, err := newStationKey()
	require.NoError(t, err)
	require.Equal(t, "[station key]", k.String())
	require.Equal(t, "[station]", newStation("st-x", k).String())
}

func inKeyring(t *testing.T) string {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	t.Setenv("LOCALAPPDATA", state)
	t.Setenv("HOME", state)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	t.Setenv("OBDGATE_KEYRING", "")
	dir, err := DefaultHome()
	require.NoError(t, err)
	return dir
}

func TestTheKeyringHoldsTheKeyOfTheDefaultHome(t *testing.T) {
	keyring.MockInit()
	dir := inKeyring(t)
	s, err := Open(t.Context(), "", Options{})
	require.NoError(t, err)
	require.Equal(t, "keyring", s.KeySource())
	require.NoFileExists(t, filepath.Join(dir, keyName))
	id := s.Station().ID()
	v, err := s.OpenVisit(t.Context(), visit.Visit{})
	require.NoError(t, err)
	w, err := s.OpenVisit(t.Context(), visit.Visit{Order: "kept"})
	require.NoError(t, err)
	require.NoError(t, s.EraseVisit(t.Context(), v.ID, "customer-request"))
	require.NoError(t, s.Close())

	t.Setenv("OBDGATE_KEYRING", "off") // the choice was made and stays
	s, err = Open(t.Context(), "", Options{})
	require.NoError(t, err)
	require.Equal(t, id, s.Station().ID())
	got, err := s.Visit(t.Context(), w.ID)
	require.NoError(t, err)
	require.Equal(t, "kept", got.Order)
	require.NoError(t, s.Close())

	keyring.MockInitWithError(errors.New("locked"))
	_, err = Open(t.Context(), "", Options{})
	require.ErrorIs(t, err, ErrKey, "without its keyring the state is not opened, and no new key is made")
}

func TestWithoutAKeyringTheKeyIsAFile(t *testing.T) {
	keyring.MockInitWithError(errors.New("no keyring here"))
	dir := inKeyring(t)
	s, err := Open(t.Context(), "", Options{})
	require.NoError(t, err)
	require.Equal(t, "file", s.KeySource())
	require.FileExists(t, filepath.Join(dir, keyName))
	require.NoError(t, s.Close())
}

func TestAnotherHomeNeverTouchesTheKeyring(t *testing.T) {
	keyring.MockInit()
	inKeyring(t)
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "other"), Options{})
	require.NoError(t, err)
	require.Equal(t, "file", s.KeySource())
	require.NoError(t, s.Close())
}

func TestALongKeyLiesInPiecesAndOldPiecesGo(t *testing.T) {
	keyring.MockInit()
	r := keyRing("/home/x")
	_, err := r.load()
	require.ErrorIs(t, err, fs.ErrNotExist)
	for _, n := range []int{1, 2000, 2001, 9000, 10} {
		want := []byte(strings.Repeat("k", n))
		require.NoError(t, r.save(want))
		got, err := r.load()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = keyring.Get(keyringName, r.piece(4, 0))
	require.ErrorIs(t, err, keyring.ErrNotFound, "the piece before holds keys that may have been forgotten")
}

// stuck is a key place that cannot be written: the program ended between the transaction and the forgetting.
type stuck struct{ keyPlace }

func (stuck) save([]byte) error { return errors.New("power cut") }

func TestAnErasureThatWasInterruptedIsFinishedByTheNextStart(t *testing.T) {
	t.Setenv("OBDGATE_KEYRING", "off")
	dir := filepath.Join(t.TempDir(), "home")
	s, err := Open(t.Context(), dir, Options{})
	require.NoError(t, err)
	v, err := s.OpenVisit(t.Context(), visit.Visit{})
	require.NoError(t, err)
	var slot uint32
	require.NoError(t, s.db.QueryRow(`SELECT slot FROM store_keys WHERE visit = ? AND use = 'record'`, v.ID).Scan(&slot))
	s.place = stuck{s.place}
	require.ErrorContains(t, s.EraseVisit(t.Context(), v.ID, "customer-request"), "power cut")
	require.NoError(t, s.Close())

	keyOf := func() bool {
		b, err := os.ReadFile(filepath.Join(dir, keyName))
		require.NoError(t, err)
		k, err := parseStationKey(b)
		require.NoError(t, err)
		_, ok := k.tree.key(slot)
		return ok
	}
	require.True(t, keyOf(), "the key could still be made")
	s, err = Open(context.Background(), dir, Options{})
	require.NoError(t, err)
	require.False(t, keyOf())
	left, err := s.givenUp(t.Context())
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, s.Close())
}

func TestAKeyLeftByAnInterruptedStartIsTakenOver(t *testing.T) {
	t.Setenv("OBDGATE_KEYRING", "off")
	dir := filepath.Join(t.TempDir(), "home")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	k, err := newStationKey()
	require.NoError(t, err)
	b, err := k.encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, keyName), b, 0o600))
	s, err := Open(t.Context(), dir, Options{})
	require.NoError(t, err)
	require.Equal(t, newStation("", k).Public(), s.Station().Public())
	require.NoError(t, s.Close())
}
