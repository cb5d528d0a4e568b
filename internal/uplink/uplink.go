// Package uplink sends released envelopes to one recipient's collector over HTTPS and believes nothing but a receipt that
// verifies. TLS 1.3 only, the collector's CA pinned from the recipient's record, a client certificate, no redirects.
// Proxies are never used: neither HTTPS_PROXY nor the system's setting is read, because the connection must be this
// station's own from end to end. Requests have fixed headers and no compression, so that nothing but the envelope's own
// bytes differs between two of them.
package uplink

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"obdgate/internal/gate"
	"obdgate/internal/recipient"
	"obdgate/internal/wire"
)

// What Send fails with, to branch on. ErrDeferred: nothing is wrong with the envelope, try later (errors.As *Deferred says
// when). ErrRejected: the collector will never take it (errors.As *Rejected says why). ErrLie: the collector answered as if
// it had it and cannot prove it; the envelope is not delivered. ErrTrust is an ErrDeferred: station and collector do not
// accept each other's certificates. ErrConfig: the recipient's record cannot be used to connect.
var (
	ErrDeferred = errors.New("the collector cannot take the envelope now; it stays queued")
	ErrRejected = errors.New("the collector refuses the envelope")
	ErrLie      = errors.New("the collector's receipt does not prove delivery; the envelope stays queued")
	ErrTrust    = fmt.Errorf("%w: the certificates do not fit; enrol the station again", ErrDeferred)
	ErrConfig   = errors.New("the recipient's record cannot be used to connect")
)

// Deferred is a failure that time may cure.
type Deferred struct {
	After  time.Duration // what the collector asked for, 0 when it did not say; at most MaxAfter
	Status int           // HTTP status, 0 when there was no answer
	Err    error         // cause; ErrTrust among them
}

func (d *Deferred) Error() string {
	if d.Status != 0 {
		return fmt.Sprintf("%v (HTTP %d)", ErrDeferred, d.Status)
	}
	if errors.Is(d.Err, ErrDeferred) {
		return d.Err.Error()
	}
	return fmt.Sprintf("%v: %v", ErrDeferred, d.Err)
}

// Unwrap makes errors.Is(err, ErrDeferred) true.
func (d *Deferred) Unwrap() []error { return []error{ErrDeferred, d.Err} }

// RetryAfter is After; the outbox knows a failure that time may cure by this method.
func (d *Deferred) RetryAfter() time.Duration { return d.After }

// Rejected is a refusal that repeating does not cure. Problem's texts are cut to printable ASCII: they come from outside.
type Rejected struct {
	Status  int
	Problem wire.Problem
}

func (r *Rejected) Error() string {
	if r.Problem.Detail != "" {
		return fmt.Sprintf("%v (HTTP %d): %s", ErrRejected, r.Status, r.Problem.Detail)
	}
	return fmt.Sprintf("%v (HTTP %d)", ErrRejected, r.Status)
}

// Unwrap makes errors.Is(err, ErrRejected) true.
func (r *Rejected) Unwrap() error { return ErrRejected }

// HTTPStatus is Status; the outbox knows a permanent refusal by this method.
func (r *Rejected) HTTPStatus() int { return r.Status }

// MaxAfter bounds how long a collector may ask a station to wait.
const MaxAfter = 24 * time.Hour

// Options bound every step; zero fields take the defaults in brackets.
type Options struct {
	Dial      time.Duration // TCP connection [5 s]
	Handshake time.Duration // TLS [5 s]
	Header    time.Duration // from the request's end to the first byte of the answer's header [15 s]
	Total     time.Duration // the whole of one Send [30 s]
	Now       func() time.Time
}

func (o *Options) defaults() {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&o.Dial, 5*time.Second)
	set(&o.Handshake, 5*time.Second)
	set(&o.Header, 15*time.Second)
	set(&o.Total, 30*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Client sends to one recipient. It is safe for concurrent use.
type Client struct {
	name        string
	url         string // of envelopes
	withdrawals string
	receipt     ed25519.PublicKey
	http        *http.Client
	total       time.Duration
}

// New prepares a client for r; it does not connect. ErrConfig when r's record is incomplete or its certificates unreadable.
func New(r recipient.Recipient, o Options) (*Client, error) {
	o.defaults()
	u, err := url.Parse(r.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%w: %s has no https address", ErrConfig, r.Name)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(r.CA)) {
		return nil, fmt.Errorf("%w: %s has no CA certificate", ErrConfig, r.Name)
	}
	cert, err := tls.X509KeyPair([]byte(r.Cert), []byte(r.Key.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("%w: the client certificate for %s cannot be used", ErrConfig, r.Name)
	}
	if len(r.ReceiptKey) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: %s has no receipt key", ErrConfig, r.Name)
	}
	transport := &http.Transport{
		Proxy:       nil,
		DialContext: (&net.Dialer{Timeout: o.Dial}).DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}, Time: o.Now,
		},
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1
		TLSHandshakeTimeout:    o.Handshake,
		ResponseHeaderTimeout:  o.Header,
		MaxResponseHeaderBytes: 16 << 10,
		DisableCompression:     true,
		MaxIdleConns:           1,
		IdleConnTimeout:        30 * time.Second,
	}
	return &Client{
		name: r.Name, url: u.JoinPath("v1", "envelopes").String(), withdrawals: u.JoinPath("v1", "withdrawals").String(), receipt: r.ReceiptKey, total: o.Total,
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Send posts e and returns the verified receipt: signed by the recipient's receipt key, for e's content hash and station.
// Sending the same envelope again is harmless and gives the same receipt. It returns within Options.Total or when ctx ends;
// then the error is a *Deferred, and whether the collector has the envelope is unknown.
func (c *Client) Send(ctx context.Context, e gate.Envelope) (wire.Receipt, error) {
	if e.ID() == "" || e.Recipient() != c.name {
		return wire.Receipt{}, fmt.Errorf("%w: the envelope is not for %s", ErrConfig, c.name)
	}
	text, err := c.post(ctx, c.url, e.Bytes(), wire.MaxSigned)
	if err != nil {
		return wire.Receipt{}, err
	}
	return c.verify(text, e)
}

// Tell posts a notice that a customer's yes has ended and returns the verified statement: signed by the recipient's
// receipt key, and about this notice. Errors are those of Send; telling again is harmless.
func (c *Client) Tell(ctx context.Context, n gate.Notice) (wire.Statement, error) {
	w, err := wire.ParseWithdrawal(n.Bytes())
	if err != nil || n.Recipient() != c.name {
		return wire.Statement{}, fmt.Errorf("%w: the notice is not for %s", ErrConfig, c.name)
	}
	text, err := c.post(ctx, c.withdrawals, n.Bytes(), wire.MaxStatement)
	if err != nil {
		return wire.Statement{}, err
	}
	s, err := wire.ParseStatement(text)
	switch {
	case err != nil:
		return wire.Statement{}, fmt.Errorf("%w: it is no statement", ErrLie)
	case s.Verify(c.receipt) != nil:
		return wire.Statement{}, fmt.Errorf("%w: it is not signed with the key on record", ErrLie)
	case !s.Answers(w):
		return wire.Statement{}, fmt.Errorf("%w: it does not answer the withdrawal", ErrLie)
	}
	return s, nil
}

// post sends body and returns the answer of a 2xx, at most limit bytes and one more.
func (c *Client) post(ctx context.Context, to string, body []byte, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.total)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"obdgate"}}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		text, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
		if err != nil {
			return nil, &Deferred{Err: fmt.Errorf("the answer broke off: %w", err)}
		}
		return text, nil
	case res.StatusCode >= 500, res.StatusCode == http.StatusTooManyRequests,
		res.StatusCode == http.StatusRequestTimeout, res.StatusCode == http.StatusTooEarly:
		return nil, &Deferred{After: retryAfter(res.Header.Get("Retry-After")), Status: res.StatusCode}
	}
	return nil, &Rejected{res.StatusCode, problem(res.Body)}
}

func (c *Client) verify(text []byte, e gate.Envelope) (wire.Receipt, error) {
	r, err := wire.ParseReceipt(text)
	switch {
	case err != nil:
		return wire.Receipt{}, fmt.Errorf("%w: it is no receipt", ErrLie)
	case r.Verify(c.receipt) != nil:
		return wire.Receipt{}, fmt.Errorf("%w: it is not signed with the key on record", ErrLie)
	case r.Envelope != e.ID():
		return wire.Receipt{}, fmt.Errorf("%w: it is for another envelope", ErrLie)
	case r.Station != e.Station():
		return wire.Receipt{}, fmt.Errorf("%w: it is for another station", ErrLie)
	}
	return r, nil
}

// unreachable sorts failures to connect. The address in *url.Error is the recipient's, not vehicle data, but repeats what
// the user configured: only the cause is kept.
func unreachable(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	if errors.As(err, &verify) || errors.As(err, &alert) || tlsRefused(err) {
		return &Deferred{Err: fmt.Errorf("%w: %w", ErrTrust, err)}
	}
	return &Deferred{Err: err}
}

// tlsRefused sees the alerts of a peer: crypto/tls wraps them in a net.OpError "remote error" of its own unexported type.
func tlsRefused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// retryAfter reads whole seconds; dates and nonsense count as not said.
func retryAfter(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, MaxAfter)
}

func problem(body io.Reader) (p wire.Problem) {
	text, _ := io.ReadAll(io.LimitReader(body, wire.MaxProblem))
	if json.Unmarshal(text, &p) != nil {
		return wire.Problem{}
	}
	p.Type, p.Title, p.Detail = wire.Printable(p.Type), wire.Printable(p.Title), wire.Printable(p.Detail)
	return p
}
