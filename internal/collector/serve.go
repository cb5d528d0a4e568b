package collector

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"obdgate/internal/crash"
	"obdgate/internal/wire"
)

// Deadlines of one connection. A station sends at most wire.MaxEnvelope bytes, so that slow is broken.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10 // bytes
	shutdownGrace = 10 * time.Second
	retryAfter    = 10 * time.Second // told to stations when the database does not answer
)

// Path is where envelopes are posted, HealthPath where a load balancer asks.
const (
	Path       = "/v1/envelopes"
	HealthPath = "/healthz"
)

// Serve answers on ln with TLS 1.3 until ctx ends, then lets requests under way finish. It closes ln. nil after an orderly
// end.
func (c *Collector) Serve(ctx context.Context, ln net.Listener) error {
	conf, err := c.tls(ln.Addr())
	if err != nil {
		_ = ln.Close()
		return err
	}
	srv := &http.Server{
		Handler: c.handler(), TLSConfig: conf, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog:    slog.NewLogLogger(c.log.Handler(), slog.LevelDebug), // handshakes that strangers fail
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	var under crash.Net
	var served error
	ended := under.Start(func() { served = srv.ServeTLS(ln, "", "") })
	select {
	case <-ended:
		under.Raise()
		return served
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close()
	}
	<-ended
	under.Raise()
	if !errors.Is(served, http.ErrServerClosed) {
		return served
	}
	return nil
}

func (c *Collector) tls(listen net.Addr) (*tls.Config, error) {
	pool := x509.NewCertPool()
	pool.AddCert(c.id.ca)
	var mu sync.Mutex
	cert, err := c.id.issueServer(listen, c.now())
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientCAs:  pool,
		// A wrong certificate ends the handshake; none at all gets as far as the health page, and to 403 elsewhere.
		ClientAuth: tls.VerifyClientCertIfGiven,
		NextProtos: []string{"http/1.1"},
		Time:       c.now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			if c.now().After(cert.Leaf.NotAfter.AddDate(0, -1, 0)) {
				renewed, err := c.id.issueServer(listen, c.now())
				if err != nil {
					return nil, err
				}
				cert = renewed
			}
			return cert, nil
		},
	}, nil
}

func (c *Collector) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+HealthPath, c.health)
	mux.HandleFunc("POST "+Path, c.receive)
	mux.HandleFunc("POST "+WithdrawalPath, c.withdraw)
	return c.caught(mux)
}

// caught logs the place of a panic: net/http would log what it says, which may quote an envelope. The connection is cut, and
// the station, which has no receipt, sends again.
func (c *Collector) caught(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				fault := crash.Of(v)
				c.log.Error("fault", "kind", fmt.Sprintf("%T", fault.Value), "stack", string(fault.Stack))
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func (c *Collector) health(w http.ResponseWriter, r *http.Request) {
	if err := c.db.PingContext(r.Context()); err != nil {
		refuse(w, http.StatusServiceUnavailable, "database", "the database does not answer")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
}

// receive checks in a fixed order: size, certificate and station, document, hash, keys. Problems never repeat content.
func (c *Collector) receive(w http.ResponseWriter, r *http.Request) {
	status, hash, size := c.answer(w, r)
	c.log.Info("envelope", "status", status, "hash", hash, "bytes", size)
}

func (c *Collector) answer(w http.ResponseWriter, r *http.Request) (status int, hash string, size int) {
	stop := func(status int, kind, detail string) (int, string, int) {
		refuse(w, status, kind, detail)
		return status, hash, size
	}
	station, body, status := c.admit(w, r, wire.MaxEnvelope)
	if status != 0 {
		return status, hash, len(body)
	}
	size = len(body)
	e, err := wire.Parse(body)
	switch {
	case errors.Is(err, wire.ErrHash):
		return stop(http.StatusUnprocessableEntity, "hash", "the id is not the hash of the content")
	case err != nil:
		return stop(http.StatusUnprocessableEntity, "schema", err.Error())
	case e.Station != station:
		return stop(http.StatusForbidden, "station", "the certificate is not of the station named in the envelope")
	case !c.admissible(e):
		return stop(http.StatusUnprocessableEntity, "personal", "a key is personal or unknown here, or the copy is for somebody else: nothing was stored")
	}
	hash = e.ID
	receipt, err := c.accept(r.Context(), e, body)
	if errors.Is(err, errStopped) {
		return stop(http.StatusGone, "withdrawn", errStopped.Error())
	}
	if err != nil {
		return c.unavailable(w, err, hash, size)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(receipt)
	return http.StatusOK, hash, size
}

// admit checks size, certificate, media type and station, in this order, and reads the body. A status other than 0 was
// answered already.
func (c *Collector) admit(w http.ResponseWriter, r *http.Request, limit int64) (station string, body []byte, status int) {
	stop := func(status int, kind, detail string) (string, []byte, int) {
		refuse(w, status, kind, detail)
		return "", body, status
	}
	large := "a document has at most " + strconv.FormatInt(limit, 10) + " bytes"
	if r.ContentLength > limit {
		return stop(http.StatusRequestEntityTooLarge, "too-large", large)
	}
	if len(r.TLS.VerifiedChains) == 0 {
		return stop(http.StatusForbidden, "certificate", "a station certificate of this collector is needed")
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" || r.Header.Get("Content-Encoding") != "" {
		return stop(http.StatusUnsupportedMediaType, "media-type", "application/json without content encoding is needed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return stop(http.StatusRequestEntityTooLarge, "too-large", large)
	} else if err != nil {
		return stop(http.StatusBadRequest, "incomplete", "the document did not arrive whole")
	}
	leaf := r.TLS.VerifiedChains[0][0]
	station = leaf.Subject.CommonName
	ok, err := c.db.admitted(r.Context(), leaf.SerialNumber.Text(16), station)
	if err != nil {
		status, _, _ := c.unavailable(w, err, "", len(body))
		return "", body, status
	}
	if !ok || claims(body, station) {
		return stop(http.StatusForbidden, "station", "the certificate is not of the station named in the document, or was revoked")
	}
	return station, body, 0
}

// claims reports whether body names another station than the certificate's; what cannot be read at all is left to the
// schema.
func claims(body []byte, station string) bool {
	var peek struct {
		Station *string `json:"station"`
	}
	return json.NewDecoder(bytes.NewReader(body)).Decode(&peek) == nil && peek.Station != nil && *peek.Station != station
}

func (c *Collector) unavailable(w http.ResponseWriter, err error, hash string, size int) (int, string, int) {
	c.log.Error("database", "hash", hash, "error", err.Error())
	w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
	refuse(w, http.StatusServiceUnavailable, "database", "the envelope could not be stored; send it again later")
	return http.StatusServiceUnavailable, hash, size
}

// refuse writes a problem document (RFC 9457).
func refuse(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(wire.Problem{
		Type: wire.ProblemType + kind, Title: http.StatusText(status), Status: status, Detail: detail,
	})
}
