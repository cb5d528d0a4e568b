package collector_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"obdgate/internal/collector"
	"obdgate/internal/policy"
	"obdgate/internal/recipient"
	"obdgate/internal/testtier"
	"obdgate/internal/wire"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

const theVIN = "WVWZZZCD0NW000001"

// onEach runs f on SQLite and, where one is given, on PostgreSQL.
func onEach(t *testing.T, f func(t *testing.T, o collector.Options)) {
	t.Run("sqlite", func(t *testing.T) { f(t, collector.Options{Home: t.TempDir()}) })
	t.Run("postgres", func(t *testing.T) {
		f(t, collector.Options{Home: t.TempDir(), DSN: postgres(t)})
	})
}

// postgres gives a fresh schema.
func postgres(t *testing.T) string {
	t.Helper()
	dsn := testtier.Require(t, testtier.Postgres)
	db, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	defer db.Close()
	schema := fmt.Sprintf("t%d", time.Now().UnixNano())
	_, err = db.ExecContext(t.Context(), `CREATE SCHEMA `+schema)
	require.NoError(t, err)
	t.Cleanup(func() {
		db, err := sql.Open("pgx", dsn)
		require.NoError(t, err)
		defer db.Close()
		_, err = db.ExecContext(context.Background(), `DROP SCHEMA `+schema+` CASCADE`)
		require.NoError(t, err)
	})
	sep := "?"
	if strings.Contains(dsn, "?") {
		sep = "&"
	}
	return dsn + sep + "search_path=" + schema
}

type server struct {
	*collector.Collector
	url  string
	logs *logs
	stop func()
}

type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func serve(t testing.TB, o collector.Options) server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := server{url: "https://" + ln.Addr().String(), logs: new(logs)}
	if o.Home == "" {
		o.Home = t.TempDir()
	}
	o.Name, o.Country, o.URL, o.Logger = "Dealer é", "NL", s.url, newLogger(s.logs)
	s.Collector, err = collector.Open(t.Context(), o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, s.Close())
	})
	t.Cleanup(s.stop)
	return s
}

func enrol(t testing.TB, s server, station string) recipient.Bundle {
	t.Helper()
	b, err := s.Enroll(t.Context(), station)
	require.NoError(t, err)
	return b
}

// client is a station's HTTP client; without a bundle's certificate when bare.
func client(t testing.TB, b recipient.Bundle, bare bool) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(b.CA)))
	conf := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	if !bare {
		cert, err := tls.X509KeyPair([]byte(b.Cert), []byte(b.Key.Reveal()))
		require.NoError(t, err)
		conf.Certificates = []tls.Certificate{cert}
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func post(t testing.TB, c *http.Client, url string, body []byte, header ...string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+collector.Path, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	if res.StatusCode != http.StatusOK {
		require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
	}
	return res.StatusCode, string(text)
}

func num(t testing.TB, d string) wire.Value {
	v, ok := wire.Number(d)
	require.True(t, ok)
	return v
}

func envelope(t testing.TB, change ...func(*wire.Envelope)) *wire.Envelope {
	t.Helper()
	p, err := policy.Default()
	require.NoError(t, err)
	e := &wire.Envelope{
		Station: "station-1", Day: "2026-11-20", VIN: theVIN, Purpose: "service", Receipt: "r-1",
		Policy:   wire.Policy{Version: p.Version(), Hash: p.Hash()},
		Readings: []wire.Reading{{Key: "obd.01.05", Value: num(t, "83"), Unit: "degC", ECU: "7E8"}},
	}
	for _, f := range change {
		f(e)
	}
	e.Canonicalise()
	return e
}

func count(t testing.TB, s server) int {
	t.Helper()
	n, err := s.Count(t.Context())
	require.NoError(t, err)
	return n
}

func newLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
