package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/recipient"
	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
)

// liar is a receiving end of our own making: a real HTTPS server with certificates of its own, which answers as told and
// keeps every byte that reached it, headers included.
type liar struct {
	answer  atomic.Pointer[http.HandlerFunc]
	receipt ed25519.PrivateKey
	file    string // enrolment
	ln      net.Listener

	mu  sync.Mutex
	raw bytes.Buffer
}

// newLiar enrols a shop at a liar. country says where it claims to be.
func newLiar(t testing.TB, country string) *liar {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, receipt, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	l := &liar{receipt: receipt, ln: ln, file: filepath.Join(t.TempDir(), "liar.json")}
	l.say(l.honest)
	ca, caKey, caPEM := certificate(t, "CA", nil, nil)
	server, serverKey, serverPEM := certificate(t, "127.0.0.1", ca, caKey)
	_, clientKey, clientPEM := certificate(t, "lane-1", ca, caKey)
	_ = server
	b, err := recipient.Bundle{
		Station: "lane-1", Name: "Dealer NV", Country: country, Role: "controller", URL: "https://" + ln.Addr().String(),
		CA: string(caPEM), Cert: string(clientPEM), Key: recipient.NewSecret(string(keyPEM(t, clientKey))),
		ReceiptKey: receipt.Public().(ed25519.PublicKey), Purposes: []consent.Purpose{consent.Service, consent.OBFCM, consent.Quality},
	}.Encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(l.file, b, 0o600))
	pair, err := tls.X509KeyPair(serverPEM, keyPEM(t, serverKey))
	require.NoError(t, err)
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*l.answer.Load())(w, r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(tapListener{tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13,
			ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"http/1.1"}}), l})
	}()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return l
}

func (l *liar) say(h http.HandlerFunc) { l.answer.Store(&h) }

// honest takes what comes and signs for it.
func (l *liar) honest(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	l.sign(w, body, func(*wire.Receipt) {})
}

// sign writes a receipt for body, bent before it is signed.
func (l *liar) sign(w http.ResponseWriter, body []byte, bend func(*wire.Receipt)) {
	e, err := wire.Parse(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	r := wire.Receipt{Envelope: e.ID, Station: e.Station, Collector: wire.Name("Dealer NV")}
	bend(&r)
	r.Sign(l.receipt, time.Now())
	_, _ = w.Write(r.Append(nil))
}

// heard is every byte that came out of TLS so far.
func (l *liar) heard() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw.String()
}

type tapListener struct {
	net.Listener
	l *liar
}

func (t tapListener) Accept() (net.Conn, error) {
	c, err := t.Listener.Accept()
	return tapConn{c, t.l}, err
}

type tapConn struct {
	net.Conn
	l *liar
}

func (c tapConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.l.mu.Lock()
	c.l.raw.Write(b[:n])
	c.l.mu.Unlock()
	return n, err
}

func keyPEM(t testing.TB, k *ecdsa.PrivateKey) []byte {
	b, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})
}

// certificate makes a certificate; without a parent it is a CA.
func certificate(t testing.TB, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(1, 0, 0), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if parent == nil {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage, c.IPAddresses = true, x509.KeyUsageCertSign, nil, nil
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
	require.NoError(t, err)
	c, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return c, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
