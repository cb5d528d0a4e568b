package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
)

// A receiving end that is slow, wrong or lies: the envelope is not done, the user is told, and once it is honest again
// everything arrives, exactly once.
func TestDishonestCollector(t *testing.T) {
	plain := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	bent := func(l *liar, bend func(*wire.Receipt)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			l.sign(w, body, bend)
		}
	}
	for _, c := range []struct {
		name string
		say  func(*liar) http.HandlerFunc
		code int
		text string
	}{
		{"HTTP 500", func(*liar) http.HandlerFunc { return plain(500, "oops") }, 75, "nothing is lost"},
		{"HTTP 503, come back later", func(*liar) http.HandlerFunc { return plain(503, "") }, 75, "nothing is lost"},
		{"HTTP 429", func(*liar) http.HandlerFunc { return plain(429, "") }, 75, "nothing is lost"},
		{"hangs up", func(*liar) http.HandlerFunc {
			return func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		}, 75, "nothing is lost"},
		{"yes, but no receipt", func(*liar) http.HandlerFunc { return plain(200, "thanks!") }, 75, "do not trust"},
		{"no content", func(*liar) http.HandlerFunc { return plain(204, "") }, 75, "do not trust"},
		{"a receipt for something else", func(l *liar) http.HandlerFunc {
			return bent(l, func(r *wire.Receipt) { r.Envelope = strings.Repeat("0", 64) })
		}, 75, "do not trust"},
		{"a receipt for somebody else", func(l *liar) http.HandlerFunc { return bent(l, func(r *wire.Receipt) { r.Station = "lane-2" }) },
			75, "do not trust"},
		{"a receipt signed by somebody else", func(*liar) http.HandlerFunc {
			_, other, _ := ed25519.GenerateKey(rand.Reader)
			forger := &liar{receipt: other}
			return bent(forger, func(*wire.Receipt) {})
		}, 75, "do not trust"},
		{"an endless receipt", func(*liar) http.HandlerFunc { return plain(200, strings.Repeat("x", 1<<20)) }, 75, "do not trust"},
		{"sends elsewhere", func(*liar) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "https://elsewhere.example/")
				w.WriteHeader(http.StatusTemporaryRedirect)
			}
		}, 65, "will not take it"},
		{"HTTP 422", func(*liar) http.HandlerFunc {
			return plain(422, `{"title":"no","detail":"a key is \u001b[31mpersonal"}`)
		}, 65, "will not take it"},
		{"HTTP 403", func(*liar) http.HandlerFunc { return plain(403, "") }, 65, "will not take it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, l := newShop(t), newLiar(t, "BE")
			s.must("recipient", "add", l.file, "--agreement", "DPA 2026-07")
			id := s.agreed()
			s.must("scan", "sim:golf8", "--visit", id, "--plan", "quick")
			l.say(c.say(l))
			r := s.fails(c.code, "upload")
			require.Contains(t, r.errs, c.text)
			require.NotContains(t, r.errs+r.out, "\x1b", "the recipient's text reached the terminal as it came")
			require.Less(t, r.took, 10*time.Second)
			require.NotContains(t, s.must("visit", "show", id, "--json"), `"state": "done"`)
			require.NotContains(t, s.must("ledger", "show"), "acknowledged")

			// Told again until it is settled, and then settled once.
			require.Equal(t, c.code, s.run("upload").code)
			l.say(l.honest)
			args := []string{"upload"}
			if c.code == 65 {
				args = append(args, "--retry")
			}
			out := s.must(args...)
			require.Equal(t, 2, strings.Count(out, "delivered"), out)
			require.Contains(t, s.must("upload"), "nothing to send")
			require.Equal(t, 2, strings.Count(s.must("ledger", "show"), "acknowledged"))
			s.must("ledger", "verify")
		})
	}
}

// Nothing is said to a receiving end that cannot prove who it is.
func TestWrongCertificate(t *testing.T) {
	t.Parallel()
	s, real, other := newShop(t), newLiar(t, "BE"), newLiar(t, "BE")
	// The enrolment of one, the address of the other.
	b, err := os.ReadFile(real.file)
	require.NoError(t, err)
	bundle := strings.Replace(string(b), real.ln.Addr().String(), other.ln.Addr().String(), 1)
	require.NoError(t, os.WriteFile(real.file, []byte(bundle), 0o600))
	s.must("recipient", "add", real.file, "--agreement", "DPA 2026-07")
	s.must("scan", "sim:golf8", "--visit", s.agreed(), "--plan", "quick")
	r := s.fails(75, "upload")
	require.Contains(t, r.errs, "certificate")
	require.Empty(t, other.heard())
	s.usable()
}

// A receiving end that accepts and then says nothing: the time that is promised, and no longer.
func TestSilentCollector(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]time.Duration{"at the handshake": 10 * time.Second, "after the request": 25 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := newShop(t), newLiar(t, "BE")
			hold := make(chan struct{})
			t.Cleanup(func() { close(hold) })
			if name == "at the handshake" {
				silent, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				t.Cleanup(func() { _ = silent.Close() })
				b, err := os.ReadFile(l.file)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(l.file, []byte(strings.Replace(string(b), l.ln.Addr().String(), silent.Addr().String(), 1)), 0o600))
			}
			l.say(func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-hold:
				case <-r.Context().Done():
				}
			})
			s.must("recipient", "add", l.file, "--agreement", "DPA 2026-07")
			s.must("scan", "sim:golf8", "--visit", s.agreed(), "--plan", "quick")
			r := s.fails(75, "upload")
			require.Less(t, r.took, most)
			require.Contains(t, s.must("visit", "show", "--json"), `"state": "queued"`)
			s.must("ledger", "verify")
		})
	}
}

// Ctrl-C while an envelope is on the wire: the program ends at once, the envelope is sent again later and arrives once.
func TestInterruptedUpload(t *testing.T) {
	t.Parallel()
	s, l := newShop(t), newLiar(t, "BE")
	s.must("recipient", "add", l.file, "--agreement", "DPA 2026-07")
	id := s.agreed()
	s.must("scan", "sim:golf8", "--visit", id, "--plan", "quick")
	arrived := make(chan struct{}, 8)
	l.say(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	cmd := s.command(t.Context(), "obdgate", "upload")
	end := s.begin(cmd)
	<-arrived
	r := s.interrupt(cmd, end)
	require.Equal(t, 130, r.code, r)
	require.Regexp(t, says, r.errs)
	l.say(l.honest)
	require.Equal(t, 2, strings.Count(s.must("upload"), "delivered"))
	s.usable()
}

// The customer withdraws while an envelope waits, and while one is on the wire: what has not left does not leave.
func TestWithdrawnWhileQueued(t *testing.T) {
	t.Parallel()
	s, l := newShop(t), newLiar(t, "BE")
	s.must("recipient", "add", l.file, "--agreement", "DPA 2026-07")
	id := s.agreed()
	s.must("scan", "sim:golf8", "--visit", id, "--plan", "quick")
	l.say(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	s.fails(75, "upload")
	before := len(l.heard())
	s.must("consent", "withdraw", "--visit", id, "--purpose", "service", "--purpose", "obfcm")
	s.run("upload") // it tells the recipient to stop, in case something arrived
	after := l.heard()[before:]
	require.NotContains(t, after, "obdgate/envelope/v1", "an envelope was sent after the withdrawal")
	require.NotContains(t, after, `"readings"`)
	left := parse(t, s.must("visit", "show", id, "--json"))["left"].([]any)
	require.Len(t, left, 2)
	for _, x := range left {
		require.Equal(t, "destroyed", x.(map[string]any)["state"])
	}
	ledger := s.must("ledger", "show")
	require.Equal(t, 2, strings.Count(ledger, "destroyed"), ledger)
	require.NotContains(t, ledger, "acknowledged")
	s.must("ledger", "verify")
}

// The collector's keys were made anew: neither side trusts the other, and enrolling again mends it.
func TestCollectorStartsAnew(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	dealer, serve := s.dealer()
	id := s.agreed()
	s.must("scan", "sim:golf8", "--visit", id, "--plan", "quick")
	require.NoError(t, dealer.Process.Kill())
	_ = dealer.Wait()
	require.NoError(t, os.RemoveAll(s.dir+"/collector"))
	address := serve[len(serve)-1]
	ctx := t.Context()
	file := s.dir + "/again.json"
	r := s.wait(ctx, s.command(ctx, "obdgate-collector", "keys", "--name", "Dealer NV", "--country", "BE", "--url", "https://"+address,
		"--station", "lane-1", "--out", file))
	require.Zero(t, r.code, r)
	s.start("obdgate-collector", serve...)
	bad := s.fails(75, "upload")
	require.Contains(t, bad.errs, "enrol")
	require.Empty(t, s.received())
	s.must("recipient", "add", file, "--agreement", "DPA 2026-07", "--replace")
	require.Equal(t, 2, strings.Count(s.must("upload"), "delivered"))
	require.Len(t, s.received(), 2)
	s.usable()
}
