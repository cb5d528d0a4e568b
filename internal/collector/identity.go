package collector

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"obdgate/internal/recipient"
)

const (
	identityFile   = "identity.json"
	identitySchema = "obdgate/collector-identity/v1"
	authorityYears = 20
	clientYears    = 2
	serverDays     = 90 // made anew at every start and a month before its end
	clockSlack     = time.Hour
)

var stationForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`) })

func validStation(s string) bool { return stationForm().MatchString(s) }

// identityDoc is the one secret file of a collector; replicas share a copy.
type identityDoc struct {
	Schema     string         `json:"schema"`
	Name       string         `json:"name"`
	Country    string         `json:"country"`
	Role       recipient.Role `json:"role"`
	URL        string         `json:"url"`
	CACert     string         `json:"ca_cert"`      // PEM
	CAKey      string         `json:"ca_key"`       // PEM, PKCS #8
	ReceiptKey []byte         `json:"receipt_seed"` // Ed25519 seed
	DataKey    []byte         `json:"data_key"`     // 32 bytes; encrypts bodies and keys the VIN tags
}

type identity struct {
	file    identityDoc
	ca      *x509.Certificate
	caKey   *ecdsa.PrivateKey
	receipt ed25519.PrivateKey
	aead    cipher.AEAD
	tagKey  []byte
}

func openIdentity(o Options) (*identity, error) {
	path := filepath.Join(o.Home, identityFile)
	doc, err := readIdentity(path)
	if errors.Is(err, fs.ErrNotExist) {
		if o.MustExist {
			return nil, fmt.Errorf("%w: no %s in %s", ErrNotSetUp, identityFile, o.Home)
		}
		doc, err = createIdentity(path, o)
	}
	if err != nil {
		return nil, err
	}
	want := doc
	want.Name, want.Country = cmp.Or(o.Name, doc.Name), cmp.Or(o.Country, doc.Country)
	want.Role, want.URL = cmp.Or(recipient.Role(o.Role), doc.Role, recipient.Controller), cmp.Or(o.URL, doc.URL)
	if want.Name != doc.Name || want.Country != doc.Country || want.Role != doc.Role || want.URL != doc.URL {
		if err := writeFile(path, want, os.Rename); err != nil {
			return nil, err
		}
	}
	return newIdentity(want)
}

func readIdentity(path string) (doc identityDoc, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return doc, err
	}
	if json.Unmarshal(text, &doc) != nil || doc.Schema != identitySchema {
		return doc, fmt.Errorf("%s is damaged: it is not a collector's identity; restore it from a backup", path)
	}
	return doc, nil
}

// createIdentity makes the keys. Of two processes that do so at once, one wins and both use its file.
func createIdentity(path string, o Options) (identityDoc, error) {
	now := o.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identityDoc{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "obdgate collector CA"},
		NotBefore: now.Add(-clockSlack), NotAfter: now.AddDate(authorityYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return identityDoc{}, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return identityDoc{}, err
	}
	doc := identityDoc{Schema: identitySchema, CACert: encodeCert(der), CAKey: keyPEM, ReceiptKey: random(ed25519.SeedSize), DataKey: random(32)}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return identityDoc{}, err
	}
	if err := writeFile(path, doc, os.Link); err != nil && !errors.Is(err, fs.ErrExist) {
		return identityDoc{}, err
	}
	return readIdentity(path)
}

// writeFile puts doc in place whole or not at all; place is os.Rename (replace) or os.Link (only if there is none).
func writeFile(path string, doc identityDoc, place func(from, to string) error) error {
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), identityFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return place(f.Name(), path)
}

func newIdentity(doc identityDoc) (*identity, error) {
	id := &identity{file: doc}
	damaged := func(what string) error { return fmt.Errorf("%s is damaged: %s", identityFile, what) }
	block, _ := pem.Decode([]byte(doc.CACert))
	keyBlock, _ := pem.Decode([]byte(doc.CAKey))
	if block == nil || keyBlock == nil || len(doc.ReceiptKey) != ed25519.SeedSize || len(doc.DataKey) != 32 {
		return nil, damaged("a key is missing")
	}
	var err error
	if id.ca, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, damaged("the CA certificate cannot be read")
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	var ok bool
	if id.caKey, ok = key.(*ecdsa.PrivateKey); err != nil || !ok {
		return nil, damaged("the CA key cannot be read")
	}
	id.receipt = ed25519.NewKeyFromSeed(doc.ReceiptKey)
	bodyKey, err := hkdf.Key(sha256.New, doc.DataKey, nil, "obdgate/collector/body/v1", 32)
	if err != nil {
		return nil, err
	}
	if id.tagKey, err = hkdf.Key(sha256.New, doc.DataKey, nil, "obdgate/collector/vin-tag/v1", 32); err != nil {
		return nil, err
	}
	cb, err := aes.NewCipher(bodyKey)
	if err != nil {
		return nil, err
	}
	id.aead, err = cipher.NewGCMWithRandomNonce(cb)
	return id, err
}

func (id *identity) receiptPublic() ed25519.PublicKey { return id.receipt.Public().(ed25519.PublicKey) }

// seal encrypts a body for the database; the hash it is stored under is authenticated with it.
func (id *identity) seal(hash string, body []byte) ([]byte, error) {
	return id.aead.Seal(nil, nil, body, []byte(hash)), nil
}

func (id *identity) open(hash string, sealed []byte) ([]byte, error) {
	body, err := id.aead.Open(nil, nil, sealed, []byte(hash))
	if err != nil {
		return nil, errors.New("the stored content cannot be decrypted: damaged, or another identity.json")
	}
	return body, nil
}

// vinTag is the keyed hash a VIN is found by, nil without one.
func (id *identity) vinTag(vin string) []byte {
	if vin == "" {
		return nil
	}
	m := hmac.New(sha256.New, id.tagKey)
	m.Write([]byte(vin))
	return m.Sum(nil)
}

// issueClient makes a key and a certificate whose common name is the station.
func (id *identity) issueClient(station string, now time.Time) (cert, key string, s Station, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", s, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: station},
		NotBefore: now.Add(-clockSlack), NotAfter: now.AddDate(clientYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, id.ca, k.Public(), id.caKey)
	if err != nil {
		return "", "", s, err
	}
	if key, err = encodeKey(k); err != nil {
		return "", "", s, err
	}
	s = Station{Serial: tmpl.SerialNumber.Text(16), Name: station, Issued: stamp(now), Expires: stamp(tmpl.NotAfter)}
	return encodeCert(der), key, s, nil
}

// issueServer makes the server's certificate for the host of the URL, the address it listens on, and the loopback.
func (id *identity) issueServer(listen net.Addr, now time.Time) (*tls.Certificate, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "obdgate collector"},
		NotBefore: now.Add(-clockSlack), NotAfter: now.AddDate(0, 0, serverDays),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	names := []string{"localhost", "127.0.0.1", "::1"}
	if u, err := url.Parse(id.file.URL); err == nil && u.Hostname() != "" {
		names = append(names, u.Hostname())
	}
	if a, ok := listen.(*net.TCPAddr); ok && !a.IP.IsUnspecified() {
		names = append(names, a.IP.String())
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, id.ca, k.Public(), id.caKey)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der, id.ca.Raw}, PrivateKey: k, Leaf: leaf}, err
}

func encodeCert(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func encodeKey(k *ecdsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), err
}

// serial is 127 random bits: positive, and never seen twice.
func serial() *big.Int { return new(big.Int).Rsh(new(big.Int).SetBytes(random(16)), 1) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return b
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
