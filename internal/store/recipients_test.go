package store_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"syscall"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/recipient"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

func dealer(t *testing.T) recipient.Recipient {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "garage-7"}, NotAfter: day.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, priv)
	require.NoError(t, err)
	pk, err := x509.MarshalPKCS8PrivateKey(priv)
	require.NoError(t, err)
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return recipient.Recipient{Name: "Dealer NV", Role: recipient.Controller, Country: "BE", Agreement: "DPA 2026/3",
		Purposes: []consent.Purpose{consent.Service, consent.OBFCM}, URL: "https://dealer.example:8443", Station: "garage-7",
		CA: cert, Cert: cert, Key: recipient.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk}))),
		ReceiptKey: pub, Added: day}
}

func TestTheRegisterKeepsItsKeysToItself(t *testing.T) {
	dir := home(t)
	s := open(t, dir, store.Options{})
	want := dealer(t)
	require.NoError(t, s.AddRecipient(t.Context(), want))
	require.NoError(t, s.Close())
	block, _ := pem.Decode([]byte(want.Key.Reveal()))
	all := image(t, dir)
	require.False(t, bytes.Contains(all, []byte(base64.StdEncoding.EncodeToString(block.Bytes)[:40])), "the private key lies on the disk in the clear")
	require.False(t, bytes.Contains(all, block.Bytes[len(block.Bytes)-32:]))

	s = open(t, dir, store.Options{})
	got, err := s.Recipient(t.Context(), "dealer nv")
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, got.Usable())
	again := want
	again.Name = "DEALER NV"
	require.ErrorIs(t, s.AddRecipient(t.Context(), again), store.ErrExists, "two recipients that read alike")
	again.Name, again.Agreement = want.Name, ""
	require.NoError(t, s.ReplaceRecipient(t.Context(), again))
	list, err := s.Recipients(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.ErrorIs(t, list[0].Usable(), recipient.ErrUnusable)
	bad := want
	bad.Name, bad.Country = "Other", "Belgium"
	require.ErrorIs(t, s.AddRecipient(t.Context(), bad), recipient.ErrInvalid)

	require.NoError(t, s.RemoveRecipient(t.Context(), want.Name))
	require.ErrorIs(t, s.RemoveRecipient(t.Context(), want.Name), store.ErrNotFound)
	_, err = s.Recipient(t.Context(), want.Name)
	require.ErrorIs(t, err, store.ErrNotFound)
	es, err := s.Ledger().Entries(t.Context(), 1, 10)
	require.NoError(t, err)
	var kinds []ledger.Kind
	for _, e := range es {
		kinds = append(kinds, e.Kind)
		require.Equal(t, "Dealer NV", e.Facts.Recipient)
	}
	require.Equal(t, []ledger.Kind{ledger.RecipientAdded, ledger.RecipientAdded, ledger.RecipientRemoved}, kinds)
}

func TestAReceiptNamesWhoWouldReceive(t *testing.T) {
	s := open(t, home(t), store.Options{})
	require.NoError(t, s.AddRecipient(t.Context(), dealer(t)))
	v, err := s.OpenVisit(t.Context(), visit.Visit{})
	require.NoError(t, err)
	r, err := s.RecordDecision(t.Context(), v.ID, yes(consent.Service))
	require.NoError(t, err)
	require.Len(t, r.Parties, 1)
	require.Equal(t, "Dealer NV", r.Parties[0].Name)
	r, err = s.RecordDecision(t.Context(), v.ID, yes(consent.Quality))
	require.NoError(t, err)
	require.Empty(t, r.Parties)
	named := yes(consent.Service)
	named.Recipient = "Maker SE"
	r, err = s.RecordDecision(t.Context(), v.ID, named)
	require.NoError(t, err)
	require.Equal(t, []consent.ReceiptRecipient{{Name: "Maker SE", Role: "dpv:Recipient"}}, r.Parties)
	require.Equal(t, consent.CurrentNotice, r.Process.NoticeVersion)
}

func TestTheWorkshopStandsOnItsReceipts(t *testing.T) {
	s := open(t, home(t), store.Options{})
	v, err := s.OpenVisit(t.Context(), visit.Visit{})
	require.NoError(t, err)
	require.ErrorIs(t, s.SetWorkshop(t.Context(), consent.Workshop{Name: "Garage"}), consent.ErrInvalid)
	w := consent.Workshop{Name: "Garage Noord", Address: "Dorpsstraat 1", Country: "NL"}
	require.NoError(t, s.SetWorkshop(t.Context(), w))
	got, err := s.Workshop(t.Context())
	require.NoError(t, err)
	require.Equal(t, w, got)
	r, err := s.RecordDecision(t.Context(), v.ID, yes(consent.Service))
	require.NoError(t, err)
	require.Equal(t, w, r.Party.Workshop)
	require.Equal(t, "Autoriteit Persoonsgegevens", r.Authority.Name)
	require.Equal(t, []string{"NL"}, r.Process.Storage)
}

func TestAnAnswerThatCannotBeRecordedLeavesNothing(t *testing.T) {
	s := open(t, home(t), store.Options{})
	v, err := s.OpenVisit(t.Context(), visit.Visit{})
	require.NoError(t, err)
	before, err := s.Ledger().Head(t.Context())
	require.NoError(t, err)
	for name, f := range map[string]func(*consent.Decision){
		"no evidence":    func(d *consent.Decision) { d.Evidence = consent.Evidence{} },
		"unknown notice": func(d *consent.Decision) { d.Notice = "1999-01" },
		"no such visit":  func(d *consent.Decision) { d.Visit = "vx" },
	} {
		d := yes(consent.Service)
		d.Visit = v.ID
		f(&d)
		_, err := s.RecordDecision(t.Context(), d.Visit, d)
		require.Error(t, err, name)
	}
	after, err := s.Ledger().Head(t.Context())
	require.NoError(t, err)
	require.Equal(t, before.Size, after.Size)
	rs, err := s.Receipts(t.Context(), v.ID)
	require.NoError(t, err)
	require.Empty(t, rs)
}

func TestErrorsOfTheSystemSayWhatToDo(t *testing.T) {
	for err, want := range map[error]error{
		syscall.ENOSPC: store.ErrFull, syscall.EROFS: store.ErrReadOnly, syscall.EACCES: store.ErrReadOnly, syscall.EIO: store.ErrIO,
	} {
		got := store.Explain(fmt.Errorf("write: %w", err))
		require.ErrorIs(t, got, want)
		require.ErrorIs(t, got, err, "the cause stays")
		require.Equal(t, got, store.Explain(got), "explained once")
	}
	other := fmt.Errorf("something else")
	require.Equal(t, other, store.Explain(other))
	require.NoError(t, store.Explain(nil))
}

// Answers of a visit whose receipt was removed behind our back count for nothing: the envelope would name a receipt nobody has.
func TestAYesWithoutItsReceiptIsNo(t *testing.T) {
	s := open(t, home(t), store.Options{})
	v := full(t, s, "mine")
	_, err := s.DB().Exec(`DELETE FROM store_receipts`)
	require.NoError(t, err)
	a, _, err := s.Consent().Standing(t.Context(), v.ID, consent.Service, "")
	require.ErrorIs(t, err, ledger.ErrTampered)
	require.False(t, a.Yes())
}

// BenchmarkFirstOpen is the very first start: schema, key, first entry of the log.
func BenchmarkFirstOpen(b *testing.B) {
	b.Setenv("OBDGATE_KEYRING", "off")
	base := b.TempDir()
	n := 0
	for b.Loop() {
		n++
		s, err := store.Open(b.Context(), fmt.Sprint(base, "/", n), store.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// Whoever can write the state file but has not the station's key cannot turn a recipient into another: an entry that was changed is
// for no purpose, nothing is sent to it, and answers can be recorded all the same.
func TestAnEntryThatWasChangedReceivesNothing(t *testing.T) {
	for name, change := range map[string]string{
		"brought into the EEA":   `UPDATE store_recipients SET entry = replace(entry, '"country":"BE"', '"country":"NL"')`,
		"with another purpose":   `UPDATE store_recipients SET entry = replace(entry, '"service"', '"quality"')`,
		"with another address":   `UPDATE store_recipients SET entry = replace(entry, 'https://', 'https://x')`,
		"under another name":     `UPDATE store_recipients SET name = 'Other', entry = replace(entry, 'Dealer NV', 'Other')`,
		"with another agreement": `UPDATE store_recipients SET entry = replace(entry, '"agreement":"', '"agreement":"x')`,
		"without its seal":       `UPDATE store_recipients SET private = NULL`,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, home(t), store.Options{})
			require.NoError(t, s.AddRecipient(t.Context(), dealer(t)))
			before, err := s.Recipients(t.Context())
			require.NoError(t, err)
			require.True(t, before[0].For(consent.Service))
			res, err := s.DB().Exec(change)
			require.NoError(t, err)
			n, err := res.RowsAffected()
			require.NoError(t, err)
			require.NotZero(t, n)
			after, err := s.Recipients(t.Context())
			require.NoError(t, err)
			require.NotEqual(t, before, after)
			require.ErrorIs(t, after[0].Usable(), recipient.ErrUnusable)
			require.ErrorContains(t, after[0].Usable(), "outside this program")
			require.False(t, after[0].For(consent.Service))
			require.True(t, after[0].Key.IsZero())
			v, err := s.OpenVisit(t.Context(), visit.Visit{})
			require.NoError(t, err)
			_, err = s.RecordDecision(t.Context(), v.ID, yes(consent.Service))
			require.NoError(t, err)
			require.NoError(t, s.ReplaceRecipient(t.Context(), before[0]))
		})
	}
}
