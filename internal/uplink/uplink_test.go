package uplink_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"obdgate/internal/collector"
	"obdgate/internal/consent"
	"obdgate/internal/gate"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/recipient"
	"obdgate/internal/uplink"
	"obdgate/internal/vin"
	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
)

// proxied counts connections to the proxy that the environment names in all these tests.
var proxied atomic.Int32

func TestMain(m *testing.M) {
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := proxy.Accept()
			if err != nil {
				return
			}
			proxied.Add(1)
			_ = c.Close()
		}
	}()
	os.Setenv("HTTPS_PROXY", "http://"+proxy.Addr().String()) // net/http reads it once, at the first request
	os.Exit(m.Run())
}

type always struct{}

func (always) Standing(_ context.Context, visit string, _ consent.Purpose, _ string) (consent.Answer, string, error) {
	return consent.Granted, "r-" + visit, nil
}

type key []byte

func (k key) MAC(b []byte) []byte {
	m := hmac.New(sha256.New, k)
	m.Write(b)
	return m.Sum(nil)
}

// envelope seals and releases a small scan for r; n makes it differ from others.
func envelope(t testing.TB, r recipient.Recipient, n int64) gate.Envelope {
	t.Helper()
	p, err := policy.Default()
	require.NoError(t, err)
	v, err := vin.Parse("WVWZZZCD0NW000001")
	require.NoError(t, err)
	temp, _ := reading.Scaled(n, 1, 1, 0, 1, "degC")
	g := gate.New(always{}, key("station"))
	s, err := g.Seal(t.Context(), gate.Input{
		Visit: "v1", VIN: v, Values: []policy.Tagged{p.Tag(reading.Reading{Key: "obd.01.05", ECU: "7E8", Value: temp})},
		Purpose: consent.Service, Recipient: r, Station: "station-1", Day: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC),
		Policy: wire.Policy{Version: p.Version(), Hash: p.Hash()},
	})
	require.NoError(t, err)
	e, err := g.Release(t.Context(), s.Stored())
	require.NoError(t, err)
	return e
}

// running is the real collector on loopback.
type running struct {
	*collector.Collector
	addr net.Addr
	logs *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t testing.TB, o collector.Options) running {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	logs := new(logBuffer)
	if o.Home == "" {
		o.Home = t.TempDir()
	}
	o.Name, o.Country, o.URL = "Dealer", "NL", "https://"+ln.Addr().String()
	o.Logger = slog.New(slog.NewJSONHandler(logs, nil))
	c, err := collector.Open(t.Context(), o)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		require.NoError(t, c.Close())
	})
	return running{c, ln.Addr(), logs}
}

func (c running) enrolled(t testing.TB, station string) recipient.Recipient {
	t.Helper()
	b, err := c.Enroll(t.Context(), station)
	require.NoError(t, err)
	r := b.Recipient()
	r.Agreement = "A-1"
	return r
}

func client(t testing.TB, r recipient.Recipient, o uplink.Options) *uplink.Client {
	t.Helper()
	c, err := uplink.New(r, o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func held(t testing.TB, c running) int {
	t.Helper()
	n, err := c.Count(t.Context())
	require.NoError(t, err)
	return n
}

func TestDeliveredOnceHoweverOftenSent(t *testing.T) {
	c := start(t, collector.Options{})
	r := c.enrolled(t, "station-1")
	up := client(t, r, uplink.Options{})
	e := envelope(t, r, 83)
	first, err := up.Send(t.Context(), e)
	require.NoError(t, err)
	require.NoError(t, first.Verify(r.ReceiptKey))
	require.Equal(t, e.ID(), first.Envelope)
	for range 3 {
		again, err := up.Send(t.Context(), e)
		require.NoError(t, err)
		require.Equal(t, first, again, "a repeat gets the same receipt")
	}
	require.Equal(t, 1, held(t, c))
	require.NoError(t, c.Envelopes(t.Context(), func(h collector.Held) error {
		require.Equal(t, e.Bytes(), h.Body)
		return nil
	}))
	require.NotContains(t, c.logs.String(), "WVWZZZ")
}

// TestOnlyTheEnrolledMayTalk: certificates decide, on both ends, before a byte of an envelope is sent.
func TestOnlyTheEnrolledMayTalk(t *testing.T) {
	c, other := start(t, collector.Options{}), start(t, collector.Options{})
	r, stranger := c.enrolled(t, "station-1"), other.enrolled(t, "station-1")

	wrongCA := r
	wrongCA.CA = stranger.CA
	_, err := client(t, wrongCA, uplink.Options{}).Send(t.Context(), envelope(t, r, 1))
	require.ErrorIs(t, err, uplink.ErrTrust, "a server that is not the pinned collector")
	require.ErrorIs(t, err, uplink.ErrDeferred)

	wrongClient := r
	wrongClient.Cert, wrongClient.Key = stranger.Cert, stranger.Key
	_, err = client(t, wrongClient, uplink.Options{}).Send(t.Context(), envelope(t, r, 2))
	require.ErrorIs(t, err, uplink.ErrTrust, "a certificate of another collector")

	past := start(t, collector.Options{Now: func() time.Time { return time.Now().AddDate(3, 0, 0) }})
	expired := past.enrolled(t, "station-1")
	_, err = client(t, expired, uplink.Options{}).Send(t.Context(), envelope(t, r, 3))
	require.ErrorIs(t, err, uplink.ErrTrust, "a certificate from outside its validity")

	require.Zero(t, held(t, c))
	_, err = client(t, r, uplink.Options{}).Send(t.Context(), envelope(t, r, 4))
	require.NoError(t, err)
	n, err := c.Revoke(t.Context(), "station-1")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = client(t, r, uplink.Options{}).Send(t.Context(), envelope(t, r, 5))
	rejected := (*uplink.Rejected)(nil)
	require.ErrorAs(t, err, &rejected, "a revoked station")
	require.Equal(t, http.StatusForbidden, rejected.Status)
	require.Equal(t, 1, held(t, c))
}

func TestExpiredClientCertificate(t *testing.T) {
	home := t.TempDir()
	old, err := collector.Open(t.Context(), collector.Options{Home: home, Name: "Dealer", Country: "NL", URL: "https://127.0.0.1:1",
		Now: func() time.Time { return time.Now().AddDate(-3, 0, 0) }})
	require.NoError(t, err)
	b, err := old.Enroll(t.Context(), "station-1")
	require.NoError(t, err)
	require.NoError(t, old.Close())
	c := start(t, collector.Options{Home: home})
	r := b.Recipient()
	r.Agreement, r.URL = "A-1", "https://"+c.addr.String()
	_, err = client(t, r, uplink.Options{}).Send(t.Context(), envelope(t, r, 1))
	require.ErrorIs(t, err, uplink.ErrTrust)
	require.Zero(t, held(t, c))
}

func TestOlderTLSIsRefused(t *testing.T) {
	c := start(t, collector.Options{})
	r := c.enrolled(t, "station-1")
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(r.CA)))
	_, err := tls.Dial("tcp", c.addr.String(), &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12})
	require.ErrorContains(t, err, "protocol version", "the collector")

	srv := outside(t, r, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }, func(s *tls.Config) {
		s.MinVersion, s.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	})
	_, err = client(t, srv, uplink.Options{}).Send(t.Context(), envelope(t, r, 1))
	require.ErrorIs(t, err, uplink.ErrDeferred, "the uplink")
}

// outside is a server of the world: not our collector, but with a certificate the station trusts. It returns r pointing there.
func outside(t testing.TB, r recipient.Recipient, h http.HandlerFunc, conf ...func(*tls.Config)) recipient.Recipient {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = new(tls.Config)
	for _, f := range conf {
		f(srv.TLS)
	}
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	r.URL = srv.URL
	r.CA = string(pemOf(srv.Certificate()))
	return r
}

// TestLyingCollectors: an answer that does not prove delivery is never delivery.
func TestLyingCollectors(t *testing.T) {
	c := start(t, collector.Options{})
	r := c.enrolled(t, "station-1")
	own := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	foreign := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32))
	r.ReceiptKey = own.Public().(ed25519.PublicKey)
	e, other := envelope(t, r, 83), envelope(t, r, 84)
	receipt := func(key ed25519.PrivateKey, id, station string) string {
		x := wire.Receipt{Envelope: id, Station: station, Collector: "Dealer"}
		x.Sign(key, time.Unix(1795000000, 0))
		return string(x.Append(nil))
	}
	honest := receipt(own, e.ID(), "station-1")
	for name, answer := range map[string]string{
		"nothing":                  "",
		"ok":                       "ok",
		"empty object":             "{}",
		"a page of a hotel":        "<html>please log in</html>",
		"another key":              receipt(foreign, e.ID(), "station-1"),
		"another envelope":         receipt(own, other.ID(), "station-1"),
		"another station":          receipt(own, e.ID(), "station-2"),
		"signature cut":            honest[:len(honest)-4],
		"something after":          honest + " ",
		"endless":                  honest + strings.Repeat("x", 1<<20),
		"key id of the right one":  strings.Replace(receipt(foreign, e.ID(), "station-1"), wire.KeyID(foreign.Public().(ed25519.PublicKey)), wire.KeyID(r.ReceiptKey), 1),
		"day changed after signed": strings.Replace(honest, `"received":"2026`, `"received":"2025`, 1),
	} {
		for _, status := range []int{http.StatusOK, http.StatusAccepted} {
			srv := outside(t, r, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, answer)
			})
			_, err := client(t, srv, uplink.Options{}).Send(t.Context(), e)
			require.ErrorIs(t, err, uplink.ErrLie, name)
			require.NotErrorIs(t, err, uplink.ErrDeferred, name)
		}
	}
	srv := outside(t, r, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, honest) })
	_, err := client(t, srv, uplink.Options{}).Send(t.Context(), e)
	require.NoError(t, err, "the honest answer of the same server")
}

func TestAnswersAreSorted(t *testing.T) {
	c := start(t, collector.Options{})
	r := c.enrolled(t, "station-1")
	e := envelope(t, r, 83)
	for _, tc := range []struct {
		status int
		after  string
		want   error
		wait   time.Duration
	}{
		{500, "", uplink.ErrDeferred, 0},
		{502, "", uplink.ErrDeferred, 0},
		{503, "120", uplink.ErrDeferred, 2 * time.Minute},
		{429, "7", uplink.ErrDeferred, 7 * time.Second},
		{429, "99999999", uplink.ErrDeferred, uplink.MaxAfter},
		{429, "Fri, 20 Nov 2026 12:00:00 GMT", uplink.ErrDeferred, 0},
		{429, "-5", uplink.ErrDeferred, 0},
		{408, "", uplink.ErrDeferred, 0},
		{400, "", uplink.ErrRejected, 0},
		{403, "", uplink.ErrRejected, 0},
		{404, "", uplink.ErrRejected, 0},
		{413, "", uplink.ErrRejected, 0},
		{422, "", uplink.ErrRejected, 0},
	} {
		srv := outside(t, r, func(w http.ResponseWriter, _ *http.Request) {
			if tc.after != "" {
				w.Header().Set("Retry-After", tc.after)
			}
			w.WriteHeader(tc.status)
			_, _ = io.WriteString(w, `{"detail":"a\u001b[31mb"}`)
		})
		_, err := client(t, srv, uplink.Options{}).Send(t.Context(), e)
		require.ErrorIs(t, err, tc.want, tc.status)
		if d := (*uplink.Deferred)(nil); tc.want == uplink.ErrDeferred {
			require.ErrorAs(t, err, &d)
			require.Equal(t, tc.wait, d.After, "%d %s", tc.status, tc.after)
		} else {
			require.NotContains(t, err.Error(), "\x1b", "a collector must not write to the technician's terminal")
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	c := start(t, collector.Options{})
	r := c.enrolled(t, "station-1")
	var elsewhere atomic.Int32
	target := outside(t, r, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	for _, status := range []int{301, 302, 307, 308} {
		srv := outside(t, r, func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, target.URL, status) })
		srv.CA += target.CA
		_, err := client(t, srv, uplink.Options{}).Send(t.Context(), envelope(t, r, 1))
		require.ErrorIs(t, err, uplink.ErrRejected)
	}
	require.Zero(t, elsewhere.Load())
}

// TestSlowCollectorsEnd: nobody waits longer than the stated deadline, wherever the other side stops.
func TestSlowCollectorsEnd(t *testing.T) {
	c := start(t, collector.Options{})
	r := c.enrolled(t, "station-1")
	e := envelope(t, r, 83)
	quick := uplink.Options{Dial: 100 * time.Millisecond, Handshake: 100 * time.Millisecond, Header: 100 * time.Millisecond, Total: 300 * time.Millisecond}
	release := make(chan struct{})
	silent := outside(t, r, func(_ http.ResponseWriter, req *http.Request) { <-release })
	dripping := outside(t, r, func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-release
	})
	t.Cleanup(func() { close(release) })
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts, never shakes hands
	require.NoError(t, err)
	t.Cleanup(func() { _ = mute.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	for name, to := range map[string]recipient.Recipient{
		"no answer": silent, "half an answer": dripping,
		"no handshake": at(r, mute.Addr()), "nobody there": at(r, closed.Addr()),
	} {
		begun := time.Now()
		_, err := client(t, to, quick).Send(t.Context(), e)
		require.ErrorIs(t, err, uplink.ErrDeferred, name)
		require.Less(t, time.Since(begun), 5*time.Second, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client(t, silent, uplink.Options{}).Send(ctx, e)
	require.ErrorIs(t, err, uplink.ErrDeferred)
	require.ErrorIs(t, err, context.Canceled)
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func at(r recipient.Recipient, a net.Addr) recipient.Recipient {
	r.URL = "https://" + a.String()
	return r
}

// TestRequestsLookAlike: beside the envelope's own bytes nothing differs between stations, cars or days.
func TestRequestsLookAlike(t *testing.T) {
	c := start(t, collector.Options{})
	r := c.enrolled(t, "station-1")
	var seen []http.Header
	var lengths []int
	srv := outside(t, r, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		seen = append(seen, req.Header.Clone())
		lengths = append(lengths, len(body))
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	for n := range int64(2) {
		_, err := client(t, srv, uplink.Options{}).Send(t.Context(), envelope(t, r, 80+n))
		require.ErrorIs(t, err, uplink.ErrDeferred)
	}
	require.Len(t, seen, 2)
	require.Equal(t, seen[0], seen[1])
	require.Equal(t, lengths[0], lengths[1])
	require.Equal(t, http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"obdgate"},
		"Content-Length": seen[0]["Content-Length"]}, seen[0])
}

// TestNoProxy: whatever the environment says, nobody stands between station and collector.
func TestNoProxy(t *testing.T) {
	r := start(t, collector.Options{}).enrolled(t, "station-1")
	r.URL = "https://192.0.2.1:8443" // not loopback, which proxies are never asked for; TEST-NET-1 answers nobody
	_, err := client(t, r, uplink.Options{Dial: 200 * time.Millisecond, Total: 200 * time.Millisecond}).Send(t.Context(), envelope(t, r, 1))
	require.ErrorIs(t, err, uplink.ErrDeferred)
	require.Zero(t, proxied.Load())
}

func TestNewRefusesAnIncompleteRecord(t *testing.T) {
	c := start(t, collector.Options{})
	good := c.enrolled(t, "station-1")
	for name, change := range map[string]func(*recipient.Recipient){
		"no address":     func(r *recipient.Recipient) { r.URL = "" },
		"plain HTTP":     func(r *recipient.Recipient) { r.URL = "http://127.0.0.1:1" },
		"no CA":          func(r *recipient.Recipient) { r.CA = "" },
		"no certificate": func(r *recipient.Recipient) { r.Cert = "" },
		"no key":         func(r *recipient.Recipient) { r.Key = recipient.Secret{} },
		"no receipt key": func(r *recipient.Recipient) { r.ReceiptKey = nil },
	} {
		r := good
		change(&r)
		_, err := uplink.New(r, uplink.Options{})
		require.ErrorIs(t, err, uplink.ErrConfig, name)
	}
	_, err := client(t, good, uplink.Options{}).Send(t.Context(), gate.Envelope{})
	require.ErrorIs(t, err, uplink.ErrConfig, "the zero envelope")
	elsewhere := good
	elsewhere.Name = "Insurer"
	_, err = client(t, elsewhere, uplink.Options{}).Send(t.Context(), envelope(t, good, 1))
	require.ErrorIs(t, err, uplink.ErrConfig, "an envelope for another recipient")
}

func BenchmarkSend(b *testing.B) {
	c := start(b, collector.Options{})
	r := c.enrolled(b, "station-1")
	up := client(b, r, uplink.Options{})
	e := envelope(b, r, 83)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := up.Send(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}
