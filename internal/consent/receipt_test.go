package consent_test

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"obdgate/internal/consent"

	"github.com/stretchr/testify/require"
)

type signer struct{ ed25519.PrivateKey }

func (s signer) Public() ed25519.PublicKey { return s.PrivateKey.Public().(ed25519.PublicKey) }
func (s signer) Sign(m []byte) []byte      { return ed25519.Sign(s.PrivateKey, m) }

func key(b byte) signer { return signer{ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, 32))} }

var workshop = consent.Workshop{Name: "Garage Noord", Address: "Dorpsstraat 1, 1000 AA Noord", Country: "NL", Email: "info@garage.example",
	Phone: "+31 20 0000000", URL: "https://garage.example", Contact: "dpo@garage.example"}

func receipt(t testing.TB, d consent.Decision) consent.Receipt {
	r, err := consent.NewReceipt("r1", d, consent.Issuer{Station: "st-x", Workshop: workshop},
		[]consent.ReceiptRecipient{{Name: "Dealer NV", Country: "BE", Role: "dpv:DataController", Retention: "5 years"}}, consent.LedgerPlace{Seq: 3, Commitment: strings.Repeat("0", 64)}, at)
	require.NoError(t, err)
	r, err = consent.SignReceipt(r, key(1))
	require.NoError(t, err)
	return r
}

// A receipt that says nearly nothing is no receipt: every field is filled, for every purpose, language and answer, noes
// as much as yeses.
func TestReceiptsAreComplete(t *testing.T) {
	for _, p := range []consent.Purpose{consent.Service, consent.OBFCM, consent.Quality, consent.ThirdParty("Noord Insurance")} {
		for _, lang := range consent.Languages {
			for _, a := range []consent.Answer{consent.Granted, consent.Refused, consent.Withdrawn, consent.Deferred} {
				d := granted()
				d.Purpose, d.Language, d.Answer = p, lang, a
				r := receipt(t, d)
				require.NoError(t, consent.VerifyReceipt(r, key(1).Public()))
				b, err := json.Marshal(r)
				require.NoError(t, err)
				var m map[string]any
				require.NoError(t, json.Unmarshal(b, &m))
				requireFilled(t, "receipt", m)
				for _, f := range consent.Fields27560 {
					if f.Path == "" {
						require.False(t, f.Mandatory, f.Name)
						continue
					}
					requireFilled(t, f.Name, at27560(t, m, f.Path))
				}
				require.Equal(t, a.String(), r.Event.State)
				require.NotContains(t, string(b), "{name}")
				for _, personal := range []string{"Jo", "2026-114"} {
					require.NotContains(t, string(b), `"`+personal+`"`)
				}
				back, err := consent.ParseReceipt(b)
				require.NoError(t, err)
				require.NoError(t, consent.VerifyReceipt(back, key(1).Public()))
			}
		}
	}
}

// Who obtained a yes for the workshop, and under which reference, stands on the receipt; the number of the workshop's own form and
// the name of a witness do not.
func TestAReceiptNamesWhoObtainedTheAnswer(t *testing.T) {
	d := granted()
	d.Evidence = consent.Evidence{Kind: consent.Principal, Principal: "Noord Insurance", Reference: "claim 88-1"}
	r := receipt(t, d)
	require.Equal(t, "Noord Insurance", r.Event.ObtainedBy)
	require.Equal(t, "claim 88-1", r.Event.Reference)
	require.NoError(t, consent.VerifyReceipt(r, key(1).Public()))
	r.Event.ObtainedBy = "Zuid Insurance"
	require.Error(t, consent.VerifyReceipt(r, key(1).Public()))
	for _, e := range []consent.Evidence{{Kind: consent.Paper, Reference: "2026-114"}, {Kind: consent.Verbal, Witness: "Jan Peeters"}} {
		d.Evidence = e
		require.Empty(t, receipt(t, d).Event.ObtainedBy+receipt(t, d).Event.Reference)
	}
}

// at27560 follows a path of Fields27560; what is missing fails the test.
func at27560(t *testing.T, m map[string]any, path string) any {
	var v any = m
	for name := range strings.SplitSeq(path, ".") {
		next, ok := v.(map[string]any)[name]
		require.True(t, ok, "the receipt has no %s", path)
		v = next
	}
	return v
}

// A receipt is complete before anybody entered the workshop too.
func TestReceiptOfAStationNobodySetUp(t *testing.T) {
	r, err := consent.NewReceipt("r1", granted(), consent.Issuer{Station: "st-x"}, nil, consent.LedgerPlace{Commitment: "0"}, at)
	require.NoError(t, err)
	require.Equal(t, "workshop st-x", r.Party.Name)
	require.NotEmpty(t, r.Party.Address)
	require.Equal(t, []string{"EU"}, r.Process.Storage)
	require.Equal(t, "EU", r.Authority.Country)
	b, err := json.Marshal(r)
	require.NoError(t, err)
	require.Contains(t, string(b), `"recipients":[]`, "that nobody receives is said")
}

func TestAuthorityOfEveryCountryOfTheEEA(t *testing.T) {
	for _, c := range strings.Fields("AT BE BG HR CY CZ DK EE FI FR DE GR HU IS IE IT LV LI LT LU MT NL NO PL PT RO SK SI ES SE") {
		a := consent.AuthorityOf(c)
		require.Equal(t, c, a.Country)
		require.NotEmpty(t, a.Name)
		require.True(t, strings.HasPrefix(a.URL, "https://"), c)
	}
	require.Equal(t, "EU", consent.AuthorityOf("US").Country)
}

func TestWorkshop(t *testing.T) {
	require.NoError(t, workshop.Validate())
	for name, f := range map[string]func(*consent.Workshop){
		"name": func(w *consent.Workshop) { w.Name = "" }, "address": func(w *consent.Workshop) { w.Address = "" },
		"country": func(w *consent.Workshop) { w.Country = "nl" }, "email": func(w *consent.Workshop) { w.Email = "nobody" },
		"url": func(w *consent.Workshop) { w.URL = "javascript:alert(1)" }, "control": func(w *consent.Workshop) { w.Contact = "a\nb" },
	} {
		w := workshop
		f(&w)
		require.ErrorIs(t, w.Validate(), consent.ErrInvalid, name)
	}
}

func requireFilled(t *testing.T, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		require.NotEmpty(t, v, path)
		for k, x := range v {
			requireFilled(t, path+"."+k, x)
		}
	case []any:
		require.NotEmpty(t, v, path)
		for _, x := range v {
			requireFilled(t, path, x)
		}
	case string:
		require.NotEmpty(t, v, path)
	}
}

// Changing any leaf of a receipt breaks its signature.
func TestAReceiptCannotBeChanged(t *testing.T) {
	d := granted()
	until := at.AddDate(1, 0, 0)
	d.Until, d.Recipient = until, "Dealer NV"
	good, err := json.Marshal(receipt(t, d))
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(good, &m))
	changed := 0
	walk(m, func(set func(any), old any) {
		switch o := old.(type) {
		case string:
			if strings.HasPrefix(o, "202") && strings.HasSuffix(o, "Z") {
				set("2001" + o[4:])
			} else {
				set(o + "x")
			}
		case float64:
			set(o + 1)
		case bool:
			set(!o)
		}
		b, err := json.Marshal(m)
		require.NoError(t, err)
		set(old)
		r, err := consent.ParseReceipt(b)
		if err == nil {
			err = consent.VerifyReceipt(r, key(1).Public())
		}
		require.Error(t, err, "%v", old)
		changed++
	})
	require.Greater(t, changed, 30)
	r, err := consent.ParseReceipt(good)
	require.NoError(t, err)
	require.NoError(t, consent.VerifyReceipt(r, key(1).Public()))
	require.ErrorIs(t, consent.VerifyReceipt(r, key(2).Public()), consent.ErrReceiptSignature, "another station's key")
	forged, err := consent.SignReceipt(r, key(2))
	require.NoError(t, err)
	require.ErrorIs(t, consent.VerifyReceipt(forged, key(1).Public()), consent.ErrReceiptSignature, "the key it names itself counts for nothing")
	require.ErrorIs(t, consent.VerifyReceipt(r, nil), consent.ErrReceiptForm)
}

func walk(v any, f func(set func(any), old any)) {
	visit := func(x any, set func(any)) {
		switch x.(type) {
		case map[string]any, []any:
			walk(x, f)
		default:
			f(set, x)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			visit(v[k], func(n any) { v[k] = n })
		}
	case []any:
		for i := range v {
			visit(v[i], func(n any) { v[i] = n })
		}
	}
}

func FuzzParseReceipt(f *testing.F) {
	d := granted()
	good, err := json.Marshal(receipt(f, d))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(bytes.Replace(good, []byte(`{`), []byte(`{"extra":1,`), 1))
	f.Add([]byte(`{"schema":"obdgate/consent-receipt/v1"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := consent.ParseReceipt(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			return // a year RFC 3339 cannot write
		}
		back, err := consent.ParseReceipt(again)
		require.NoError(t, err)
		require.True(t, reflect.DeepEqual(r, back), "%s", again)
	})
}

// Every promise stands in every notice, in every language, in words; and one word more is another notice.
func TestNotices(t *testing.T) {
	hashes := map[string]bool{}
	for _, p := range []consent.Purpose{consent.Service, consent.OBFCM, consent.Quality, consent.ThirdParty("Noord"), consent.Portability("Noord")} {
		for _, lang := range consent.Languages {
			n, err := consent.NoticeFor(p, lang)
			require.NoError(t, err)
			b, err := json.Marshal(n)
			require.NoError(t, err)
			var m map[string]any
			require.NoError(t, json.Unmarshal(b, &m))
			requireFilled(t, string(p)+"/"+lang, m)
			require.Len(t, n.Hash, 64)
			require.False(t, hashes[n.Hash], "two notices with one hash")
			hashes[n.Hash] = true
			require.NotContains(t, string(b), "{name}")
			if p == consent.OBFCM {
				require.Contains(t, n.Why, "2021/392")
				require.Equal(t, "eu-gdpr:A6-1-c", n.Terms.Basis, "a statutory collection with a right to refuse, not a consent")
			}
			n.Terms.Categories[0] = "changed"
			again, err := consent.NoticeFor(p, lang)
			require.NoError(t, err)
			require.NotEqual(t, "changed", again.Terms.Categories[0], "a caller cannot change the notice of others")
		}
	}
	for _, lang := range consent.Languages { // an answer names the notice that was shown: an older one is still there, word for word
		older, err := consent.NoticeVersion("2026-11", consent.Service, lang)
		require.NoError(t, err)
		require.NotContains(t, older.HowLong, "100 km")
		n, err := consent.NoticeFor(consent.Service, lang)
		require.NoError(t, err)
		require.Contains(t, n.HowLong, "100 km", "what is kept of the mileage between visits is told")
	}
	a, _ := consent.NoticeFor(consent.ThirdParty("Noord"), "en")
	require.Contains(t, a.Question, "Noord")
	for _, c := range []struct {
		version string
		p       consent.Purpose
		lang    string
	}{{"1999-01", consent.Service, "en"}, {"", "marketing", "en"}, {"", consent.Service, "it"}, {"", "third-party:", "en"}} {
		_, err := consent.NoticeVersion(c.version, c.p, c.lang)
		require.ErrorIs(t, err, consent.ErrNotice)
	}
}

// The words a notice was hashed with must never change under the same version: decisions and receipts name the hash.
func TestNoticesOfAVersionStayAsTheyWere(t *testing.T) {
	seen := map[string]bool{}
	for name, want := range noticeHashes {
		part := strings.Split(name, "/")
		n, err := consent.NoticeVersion(part[0], consent.Purpose(part[1]), part[2])
		require.NoError(t, err)
		require.Equal(t, want, n.Hash[:16], "%s: changed words need a new version, which is a new folder", name)
		seen[part[0]] = true
	}
	folders, err := os.ReadDir("notices")
	require.NoError(t, err)
	kinds := map[string]int{"2026-11": 4} // before a copy could go straight to another controller
	want := 0
	for _, f := range folders {
		want += cmp.Or(kinds[f.Name()], 5) * len(consent.Languages)
	}
	require.Len(t, noticeHashes, want, "every notice of every version")
	for _, f := range folders {
		require.True(t, seen[f.Name()])
	}
}

// The first 16 hex digits of each hash.
var noticeHashes = map[string]string{
	"2026-11/service/nl":       "d7a34113b1e9334a",
	"2026-11/service/de":       "c425ed930de7d34b",
	"2026-11/service/fr":       "eeb36ec8bbc6f61f",
	"2026-11/service/en":       "fe413fb8e107b222",
	"2026-11/obfcm/nl":         "97387f381be113db",
	"2026-11/obfcm/de":         "99ba79af176a74a7",
	"2026-11/obfcm/fr":         "378ad3364a117f95",
	"2026-11/obfcm/en":         "7da684d6d9feff38",
	"2026-11/quality/nl":       "bb465c8702621dbe",
	"2026-11/quality/de":       "b8e93d8a826bc0b1",
	"2026-11/quality/fr":       "b976972d9d61e18c",
	"2026-11/quality/en":       "e5a3798612e0cfab",
	"2026-11/third-party:x/nl": "09dd11cab4a1fdb7",
	"2026-11/third-party:x/de": "2d5feaf82576b06c",
	"2026-11/third-party:x/fr": "01dcb76afdeda033",
	"2026-11/third-party:x/en": "91362e4c68859d9a",
	"2026-12/service/nl":       "91cad1cc85c8d06c",
	"2026-12/service/de":       "f90ba7211b5d09cf",
	"2026-12/service/fr":       "e5ef1670e664092f",
	"2026-12/service/en":       "60f7d8b0be46ab01",
	"2026-12/obfcm/nl":         "c97b6bd4af8b73a4",
	"2026-12/obfcm/de":         "6ad49fd7069f205a",
	"2026-12/obfcm/fr":         "a2d67c25ed288290",
	"2026-12/obfcm/en":         "bd84ac3a25b956c7",
	"2026-12/quality/nl":       "5472e7e72d8c6268",
	"2026-12/quality/de":       "5a4cc63c849c012a",
	"2026-12/quality/fr":       "f640fc4ff3babfbe",
	"2026-12/quality/en":       "27767a8207fccc2b",
	"2026-12/third-party:x/nl": "efd19227d3dcab27",
	"2026-12/third-party:x/de": "05ef7a35ac14f338",
	"2026-12/third-party:x/fr": "95f0e7138bb16d20",
	"2026-12/third-party:x/en": "68046a42cce4f0c2",
	"2026-12/portability:x/nl": "fed5838cd0db5e1d",
	"2026-12/portability:x/de": "8298a50194ce1b4b",
	"2026-12/portability:x/fr": "d4b094074606efc3",
	"2026-12/portability:x/en": "b857972116fbbf3c",
}
