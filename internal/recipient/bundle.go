package recipient

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	"obdgate/internal/consent"
)

// BundleSchema names the form of an enrolment file.
const BundleSchema = "obdgate/enrolment/v1"

const maxBundle = 1 << 20 // bytes

// Bundle is the enrolment file a collector issues for one station: how to reach it and with which certificate. It holds a
// private key: Encode is the only way it is written.
type Bundle struct {
	Station    string            // the station's name at this collector
	Name       string            // the recipient's name
	Country    string            // ISO code of where the data is held
	Role       Role              // controller or processor
	URL        string            // https base address
	CA         string            // PEM
	Cert       string            // PEM, client certificate
	Key        Secret            // PEM, its private key
	ReceiptKey ed25519.PublicKey // signs receipts
	Retention  string            // may be empty
	Purposes   []consent.Purpose // what the collector takes; may be empty
}

type bundleFile struct {
	Schema     string            `json:"schema"`
	Station    string            `json:"station"`
	Name       string            `json:"name"`
	Country    string            `json:"country"`
	Role       Role              `json:"role"`
	URL        string            `json:"url"`
	CA         string            `json:"ca"`
	Cert       string            `json:"cert"`
	Key        string            `json:"key"`
	ReceiptKey string            `json:"receipt_key"` // base64 of 32 bytes
	Retention  string            `json:"retention,omitempty"`
	Purposes   []consent.Purpose `json:"purposes,omitempty"`
}

// Encode writes b as an enrolment file, private key included: the file is a secret and wants mode 0600.
func (b Bundle) Encode() ([]byte, error) {
	out, err := json.MarshalIndent(bundleFile{
		BundleSchema, b.Station, b.Name, b.Country, b.Role, b.URL, b.CA, b.Cert, b.Key.Reveal(),
		base64.StdEncoding.EncodeToString(b.ReceiptKey), b.Retention, b.Purposes,
	}, "", "  ")
	return append(out, '\n'), err
}

// ParseBundle reads an enrolment file. Unknown fields, missing parts and keys that do not fit are ErrBundle; the error
// never carries the content.
func ParseBundle(data []byte) (Bundle, error) {
	if len(data) > maxBundle {
		return Bundle{}, fmt.Errorf("%w: larger than 1 MiB", ErrBundle)
	}
	var f bundleFile
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Bundle{}, fmt.Errorf("%w: no JSON of the form %s", ErrBundle, BundleSchema)
	}
	if _, err := d.Token(); err != io.EOF {
		return Bundle{}, fmt.Errorf("%w: something follows the document", ErrBundle)
	}
	if f.Schema != BundleSchema {
		return Bundle{}, fmt.Errorf("%w: the schema is not %s", ErrBundle, BundleSchema)
	}
	key, err := base64.StdEncoding.DecodeString(f.ReceiptKey)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return Bundle{}, fmt.Errorf("%w: receipt_key is not the base64 of 32 bytes", ErrBundle)
	}
	b := Bundle{f.Station, f.Name, f.Country, f.Role, f.URL, f.CA, f.Cert, NewSecret(f.Key), key, f.Retention, f.Purposes}
	if f.Station == "" || f.URL == "" || f.CA == "" || f.Cert == "" || f.Key == "" {
		return Bundle{}, fmt.Errorf("%w: station, url, ca, cert or key is missing", ErrBundle)
	}
	probe := b.Recipient()
	if len(probe.Purposes) == 0 {
		probe.Purposes = []consent.Purpose{consent.Service}
	}
	if err := probe.Validate(); err != nil {
		return Bundle{}, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	return b, nil
}

// Recipient makes a register entry of b. Agreement, and the purposes where the collector named none, are the workshop's
// to add.
func (b Bundle) Recipient() Recipient {
	return Recipient{
		Name: b.Name, Role: b.Role, Country: b.Country, Purposes: append([]consent.Purpose(nil), b.Purposes...),
		Retention: b.Retention, URL: b.URL, Station: b.Station, CA: b.CA, Cert: b.Cert, Key: b.Key,
		ReceiptKey: append(ed25519.PublicKey(nil), b.ReceiptKey...),
	}
}
