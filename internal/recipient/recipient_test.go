package recipient_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/recipient"

	"github.com/stretchr/testify/require"
)

type fataler interface {
	Helper()
	Fatal(...any)
}

// pair makes a self-signed certificate and its key, PEM.
func pair(t fataler) (cert, key string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Date(2027, 11, 20, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, priv)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk}))
}

func bundle(t fataler) recipient.Bundle {
	cert, key := pair(t)
	return recipient.Bundle{Station: "garage-7", Name: "Dealer NV", Country: "BE", Role: recipient.Controller, URL: "https://dealer.example:8443",
		CA: cert, Cert: cert, Key: recipient.NewSecret(key), ReceiptKey: bytes.Repeat([]byte{7}, 32), Retention: "5 years"}
}

func entry(t fataler) recipient.Recipient {
	r := bundle(t).Recipient()
	r.Purposes, r.Agreement = []consent.Purpose{consent.Service, consent.OBFCM}, "DPA 2026/3"
	return r
}

func TestNoAgreementNoUpload(t *testing.T) {
	r := entry(t)
	require.NoError(t, r.Validate())
	require.NoError(t, r.Usable())
	require.Equal(t, 2027, r.Expires().Year())
	for name, f := range map[string]func(*recipient.Recipient){
		"agreement": func(r *recipient.Recipient) { r.Agreement = "" },
		"address":   func(r *recipient.Recipient) { r.URL = "" },
		"CA":        func(r *recipient.Recipient) { r.CA = "" },
		"cert":      func(r *recipient.Recipient) { r.Cert, r.Key = "", recipient.Secret{} },
		"receipt":   func(r *recipient.Recipient) { r.ReceiptKey = nil },
	} {
		r := r.Clone()
		f(&r)
		require.NoError(t, r.Validate(), "%s: it may be in the register", name)
		require.ErrorIs(t, r.Usable(), recipient.ErrUnusable, name)
	}
	require.True(t, r.For(consent.OBFCM))
	require.False(t, r.For(consent.Quality))
}

func TestValidate(t *testing.T) {
	otherCert, otherKey := pair(t)
	for name, f := range map[string]func(*recipient.Recipient){
		"name":          func(r *recipient.Recipient) { r.Name = "" },
		"name control":  func(r *recipient.Recipient) { r.Name = "Dealer\nNV" },
		"name long":     func(r *recipient.Recipient) { r.Name = string(bytes.Repeat([]byte("x"), 65)) },
		"role":          func(r *recipient.Recipient) { r.Role = "friend" },
		"country":       func(r *recipient.Recipient) { r.Country = "Belgium" },
		"country lower": func(r *recipient.Recipient) { r.Country = "be" },
		"country group": func(r *recipient.Recipient) { r.Country = "EU" },
		"no purpose":    func(r *recipient.Recipient) { r.Purposes = nil },
		"purpose":       func(r *recipient.Recipient) { r.Purposes = []consent.Purpose{"marketing"} },
		"purpose twice": func(r *recipient.Recipient) { r.Purposes = []consent.Purpose{"obfcm", "obfcm"} },
		"http":          func(r *recipient.Recipient) { r.URL = "http://dealer.example" },
		"user":          func(r *recipient.Recipient) { r.URL = "https://a:b@dealer.example" },
		"query":         func(r *recipient.Recipient) { r.URL = "https://dealer.example/?a=b" },
		"ca":            func(r *recipient.Recipient) { r.CA = "no PEM" },
		"key missing":   func(r *recipient.Recipient) { r.Key = recipient.Secret{} },
		"foreign key":   func(r *recipient.Recipient) { r.Key = recipient.NewSecret(otherKey) },
		"foreign cert":  func(r *recipient.Recipient) { r.Cert = otherCert },
		"receipt key":   func(r *recipient.Recipient) { r.ReceiptKey = r.ReceiptKey[:31] },
		"line break":    func(r *recipient.Recipient) { r.Agreement = "a\nb" },
	} {
		r := entry(t)
		f(&r)
		err := r.Validate()
		require.ErrorIs(t, err, recipient.ErrInvalid, name)
		require.NotContains(t, err.Error(), "PRIVATE KEY")
	}
}

func TestWhereDataMayGo(t *testing.T) {
	count := map[recipient.Area]int{}
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			count[recipient.AreaOf(string(a)+string(b))]++
		}
	}
	require.Equal(t, 30, count[recipient.EEA], "27 members of the Union and Iceland, Liechtenstein, Norway")
	for code, want := range map[string]recipient.Area{"NL": recipient.EEA, "NO": recipient.EEA, "CH": recipient.Adequate, "GB": recipient.Adequate,
		"US": recipient.Conditional, "CN": recipient.Other, "RU": recipient.Other, "": recipient.Other, "nl": recipient.Other} {
		require.Equal(t, want, recipient.AreaOf(code), code)
		r := recipient.Recipient{Country: code}
		require.Equal(t, want == recipient.EEA, r.WholeVIN(), "%s: a whole VIN stays inside the EEA", code)
	}
	table, err := os.ReadFile("countries.csv")
	require.NoError(t, err)
	rows := 0
	for line := range strings.Lines(string(table)) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "code,") {
			rows++
		}
	}
	var unconfirmed []string
	for _, c := range recipient.Countries() {
		require.Contains(t, []recipient.Area{recipient.EEA, recipient.Adequate, recipient.Conditional}, c.Area, c.Code)
		require.NotEmpty(t, c.Reason, c.Code)
		require.Contains(t, string(table), "#   "+c.Source+" ", "%s: its source is explained", c.Code)
		if !c.Verified {
			unconfirmed = append(unconfirmed, c.Code)
		}
	}
	require.Len(t, recipient.Countries(), rows, "every row is read")
	require.Equal(t, []string{"KR"}, unconfirmed, "its decision is confirmed, the decision's number is not")

	last := time.Date(2031, 12, 27, 23, 0, 0, 0, time.UTC)
	require.Equal(t, recipient.Adequate, recipient.AreaOn("GB", last))
	require.Equal(t, recipient.Other, recipient.AreaOn("GB", last.Add(time.Hour)), "a decision that has ended is none")
}

func TestAPrivateKeyDoesNotPrint(t *testing.T) {
	r := entry(t)
	key := r.Key.Reveal()[30:60]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(verb, r), key)
		require.NotContains(t, fmt.Sprintf(verb, &r), key)
		require.NotContains(t, fmt.Sprintf(verb, bundle(t)), "PRIVATE KEY")
	}
	b, err := json.Marshal(r)
	require.NoError(t, err)
	require.NotContains(t, string(b), "PRIVATE KEY")
	require.Contains(t, string(b), `"area":"eea"`)
	_, err = json.Marshal(struct{ K recipient.Secret }{r.Key})
	require.Error(t, err)
}

func TestBundle(t *testing.T) {
	want := bundle(t)
	b, err := want.Encode()
	require.NoError(t, err)
	got, err := recipient.ParseBundle(b)
	require.NoError(t, err)
	require.Equal(t, want, got)
	r := got.Recipient()
	r.Purposes = []consent.Purpose{consent.Service}
	require.NoError(t, r.Validate())
	require.ErrorIs(t, r.Usable(), recipient.ErrUnusable, "the agreement is the workshop's to add")

	for name, bad := range map[string][]byte{
		"unknown field": bytes.Replace(b, []byte("{"), []byte(`{"extra":1,`), 1),
		"schema":        bytes.Replace(b, []byte("enrolment/v1"), []byte("enrolment/v9"), 1),
		"two documents": append(bytes.Clone(b), b...),
		"half":          b[:len(b)/2],
		"no station":    bytes.Replace(b, []byte("garage-7"), nil, 1),
		"http":          bytes.Replace(b, []byte("https:"), []byte("http:"), 1),
		"country":       bytes.Replace(b, []byte(`"BE"`), []byte(`"Belgium"`), 1),
		"huge":          bytes.Repeat([]byte(" "), 1<<20+1),
		"empty":         nil,
	} {
		_, err := recipient.ParseBundle(bad)
		require.ErrorIs(t, err, recipient.ErrBundle, name)
		require.NotContains(t, err.Error(), "PRIVATE")
	}
}

// What is accepted writes back to the same enrolment.
func FuzzParseBundle(f *testing.F) {
	b, err := bundle(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(bytes.Replace(b, []byte(`"controller"`), []byte(`"processor"`), 1))
	f.Add([]byte(`{"schema":"obdgate/enrolment/v1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := recipient.ParseBundle(b)
		if err != nil {
			require.ErrorIs(t, err, recipient.ErrBundle)
			return
		}
		again, err := got.Encode()
		require.NoError(t, err)
		back, err := recipient.ParseBundle(again)
		require.NoError(t, err)
		require.Equal(t, got, back)
	})
}
