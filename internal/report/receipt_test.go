package report_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/i18n"
	"obdgate/internal/report"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

type signer struct{ ed25519.PrivateKey }

func (s signer) Public() ed25519.PublicKey { return s.PrivateKey.Public().(ed25519.PublicKey) }
func (s signer) Sign(m []byte) []byte      { return ed25519.Sign(s.PrivateKey, m) }

var station = signer{ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))}

func signedReceipt(t *testing.T, p consent.Purpose, a consent.Answer, lang string) consent.Receipt {
	t.Helper()
	at := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	d := consent.Decision{ID: "d1", Visit: "v3k9abcdefgh", Purpose: p, Answer: a, At: at, Language: lang, TakenBy: "Jo",
		Evidence: consent.Evidence{Kind: consent.Paper, Reference: "2026-114"}}
	// Names with characters that HTML, JSON and script treat in ways of their own.
	w := consent.Workshop{Name: "Garage </script><b>Noord & Zn", Address: "Dorpsstraat 1, 1000 AA Noord", Country: "NL", Contact: "dpo@garage.example"}
	r, err := consent.NewReceipt("rabcdefghij0123456789", d, consent.Issuer{Station: "st-abcdefghij", Workshop: w},
		[]consent.ReceiptRecipient{{Name: "Dealer é NV", Country: "BE", Role: "dpv:DataController", Retention: "5 years"}},
		consent.LedgerPlace{Seq: 41, Commitment: strings.Repeat("ab", 32)}, at)
	require.NoError(t, err)
	r, err = consent.SignReceipt(r, station)
	require.NoError(t, err)
	return r
}

// The page a customer takes home says everything in the customer's language, for a no as for a yes, loads nothing, and
// holds the receipt itself unchanged.
func TestReceiptPage(t *testing.T) {
	for _, lang := range consent.Languages {
		for _, p := range []consent.Purpose{consent.Service, consent.OBFCM, consent.Quality, consent.ThirdParty("Dealer é NV")} {
			for _, a := range []consent.Answer{consent.Granted, consent.Refused, consent.Withdrawn} {
				r := signedReceipt(t, p, a, lang)
				words, err := i18n.Load(lang)
				require.NoError(t, err)
				var b bytes.Buffer
				require.NoError(t, report.Receipt(&b, words, r))
				page := b.String()
				n, err := consent.NoticeFor(p, lang)
				require.NoError(t, err)
				for _, s := range []string{words.T("receipt.title"), words.T("answer." + a.String()), r.ID, "Autoriteit Persoonsgegevens",
					n.Hash, "data:image/png;base64,", `lang="` + lang + `"`, "Dealer é NV"} {
					require.Contains(t, page, s)
				}
				require.NotRegexp(t, `[>" ](receipt|category|role|answer)\.[a-z-]+[< ]`, page, "a key without words")
				require.NotContains(t, page, "<b>Noord", "a name is text")
				require.NotContains(t, page, "ZgotmplZ")
				require.NotRegexp(t, `(src|href)="(?:https?:)?//`, page, "the page loads nothing")
				back, err := consent.ParseReceipt(report.ReceiptJSON(b.Bytes()))
				require.NoError(t, err)
				require.NoError(t, consent.VerifyReceipt(back, station.Public()))
			}
		}
	}
}

// The browser's own signature check comes to the same verdict as ours, for a genuine receipt, a changed one and a foreign key.
func TestVerifierPageInABrowser(t *testing.T) {
	browser := testtier.Require(t, testtier.Chromium)
	good := signedReceipt(t, consent.Service, consent.Granted, "nl")
	bad := good
	bad.Event.State = "refused"
	key := hex.EncodeToString(station.Public())
	for name, c := range map[string]struct {
		r    consent.Receipt
		key  string
		want string
	}{
		"genuine": {good, key, "good"},
		"changed": {bad, key, "bad"},
		"foreign": {good, strings.Repeat("00", 31) + "01", "bad"},
		"no key":  {good, "abc", "no-key"},
	} {
		t.Run(name, func(t *testing.T) {
			var page bytes.Buffer
			lang := "en"
			if name == "changed" {
				lang = "nl"
			}
			words, err := i18n.Load(lang)
			require.NoError(t, err)
			require.NoError(t, report.Verifier(&page, lang, c.key))
			file := filepath.Join(t.TempDir(), "check.html")
			require.NoError(t, os.WriteFile(file, page.Bytes(), 0o600))
			text, err := json.MarshalIndent(c.r, "", "  ")
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
				"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+t.TempDir(),
				"--virtual-time-budget=2000", "--dump-dom", "file://"+file+"#"+base64.RawURLEncoding.EncodeToString(text)).Output()
			require.NoError(t, err)
			require.Contains(t, string(out), ">"+words.T("verifier."+c.want)+"<")
			require.Equal(t, c.want == "good", strings.Contains(string(out), `class="good"`))
			require.Equal(t, c.want == "good", strings.Contains(string(out), "<td>"+words.T("answer.granted")+"</td>"), "what it says, in words")
		})
	}
}
