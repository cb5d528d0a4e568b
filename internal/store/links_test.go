package store_test

import (
	"bytes"
	"testing"
	"time"

	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

// What a customer's own page will stand on: a token that is not kept, that ends, can be taken back, and goes with the visit.
func TestALinkLeadsToOneVisitAndEnds(t *testing.T) {
	dir, now := home(t), day
	s := open(t, dir, store.Options{Now: func() time.Time { return now }})
	v, err := s.OpenVisit(t.Context(), visit.Visit{Order: "mine", Language: "nl"})
	require.NoError(t, err)
	l, token, err := s.NewLink(t.Context(), v.ID, now.AddDate(0, 0, 28))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(token), 26, "128 bits")
	require.NotContains(t, string(image(t, dir)), token, "the token is in the link only")

	found, err := s.FindLink(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, l, found)
	for _, wrong := range []string{"", token[1:], l.ID, token + "A"} {
		_, err = s.FindLink(t.Context(), wrong)
		require.ErrorIs(t, err, store.ErrLink)
	}
	now = now.AddDate(0, 0, 28)
	_, err = s.FindLink(t.Context(), token)
	require.ErrorIs(t, err, store.ErrLink, "it has ended")

	_, second, err := s.NewLink(t.Context(), v.ID, now.AddDate(0, 0, 28))
	require.NoError(t, err)
	all, err := s.Links(t.Context(), v.ID)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.NoError(t, s.RevokeLink(t.Context(), all[1].ID))
	_, err = s.FindLink(t.Context(), second)
	require.ErrorIs(t, err, store.ErrLink, "taken back")
	require.ErrorIs(t, s.RevokeLink(t.Context(), all[1].ID), store.ErrLink)

	_, third, err := s.NewLink(t.Context(), v.ID, now.AddDate(0, 0, 28))
	require.NoError(t, err)
	require.NoError(t, s.EraseVisit(t.Context(), v.ID, "customer-request"))
	_, err = s.FindLink(t.Context(), third)
	require.ErrorIs(t, err, store.ErrLink, "gone with the visit")
	_, _, err = s.NewLink(t.Context(), v.ID, now)
	require.ErrorIs(t, err, store.ErrNotFound)
}

// Nothing is sent to an address before its owner has confirmed it.
func TestAnAddressIsConfirmedByItsOwner(t *testing.T) {
	dir, now := home(t), day
	s := open(t, dir, store.Options{Now: func() time.Time { return now }})
	v, err := s.OpenVisit(t.Context(), visit.Visit{Order: "mine", Language: "nl"})
	require.NoError(t, err)
	_, err = s.Address(t.Context(), v.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	for _, bad := range []string{"", "nobody", "An <an@example.org>", "a@b\r\nBcc: c@d", "an@example.org, jo@example.org"} {
		_, err = s.AskAddress(t.Context(), v.ID, bad)
		require.ErrorIs(t, err, store.ErrAddress, bad)
	}
	token, err := s.AskAddress(t.Context(), v.ID, "canary.an@example.org")
	require.NoError(t, err)
	_, err = s.Address(t.Context(), v.ID)
	require.ErrorIs(t, err, store.ErrUnconfirmed)
	require.ErrorIs(t, s.ConfirmAddress(t.Context(), token+"A"), store.ErrLink)
	require.NoError(t, s.ConfirmAddress(t.Context(), token))
	require.NoError(t, s.ConfirmAddress(t.Context(), token), "a link is clicked twice")
	got, err := s.Address(t.Context(), v.ID)
	require.NoError(t, err)
	require.Equal(t, "canary.an@example.org", got)
	require.NotContains(t, string(image(t, dir)), "canary.an", "not readable on the disk")

	second, err := s.AskAddress(t.Context(), v.ID, "canary.jo@example.org")
	require.NoError(t, err)
	_, err = s.Address(t.Context(), v.ID)
	require.ErrorIs(t, err, store.ErrUnconfirmed, "another address is confirmed anew")
	require.ErrorIs(t, s.ConfirmAddress(t.Context(), token), store.ErrLink, "the old message confirms nothing any more")
	now = now.AddDate(0, 0, store.ConfirmDays)
	require.ErrorIs(t, s.ConfirmAddress(t.Context(), second), store.ErrLink, "too late")
	n, err := s.DropAddresses(t.Context(), now, now)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = s.Address(t.Context(), v.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestASignatureIsKeptWithItsVisit(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	v := full(t, s, "mine")
	img := append([]byte("\x89PNG\r\n\x1a\n"), bytes.Repeat([]byte("CANARY signature "), 100)...)
	name, err := s.AddSignature(t.Context(), v.ID, img)
	require.NoError(t, err)
	again, err := s.AddSignature(t.Context(), v.ID, img)
	require.NoError(t, err)
	require.Equal(t, name, again)
	all, err := s.Signatures(t.Context(), v.ID)
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{name: img}, all)
	require.NotContains(t, string(image(t, dir)), "CANARY")
	for _, bad := range [][]byte{nil, []byte("GIF89a"), append([]byte("\xff\xd8\xff"), make([]byte, store.MaxImage)...)} {
		_, err = s.AddSignature(t.Context(), v.ID, bad)
		require.ErrorIs(t, err, store.ErrImage)
	}
	require.NoError(t, s.EraseVisit(t.Context(), v.ID, "customer-request"))
	all, err = s.Signatures(t.Context(), v.ID)
	require.NoError(t, err)
	require.Empty(t, all)
}
