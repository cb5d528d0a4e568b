// Package recipient holds the register's entries: who may receive data, where, under which agreement and for which
// purposes. Pure values; the store keeps them.
package recipient

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"obdgate/internal/consent"
)

// Errors of Validate, Usable and ParseBundle.
var (
	ErrInvalid  = errors.New("recipient: not a valid entry")
	ErrUnusable = errors.New("recipient: nothing may be sent")
	ErrBundle   = errors.New("recipient: not an enrolment file of a collector")
)

// Role is what the recipient is in the sense of Regulation (EU) 2016/679.
type Role string

const (
	Controller Role = "controller" // decides itself what the data is used for
	Processor  Role = "processor"  // works on the workshop's instructions
)

// Recipient is one entry of the register.
type Recipient struct {
	Name      string            `json:"name"`
	Role      Role              `json:"role"`
	Country   string            `json:"country"`   // ISO 3166-1 alpha-2, of the place where the data is held
	Agreement string            `json:"agreement"` // reference of the contract; "" = none: nothing is sent
	Safeguard string            `json:"safeguard"` // outside the EEA: reference of standard clauses or the like; "" = none
	Purposes  []consent.Purpose `json:"purposes"`
	Retention string            `json:"retention"` // how long the recipient keeps the data, as it states it
	URL       string            `json:"url"`       // https, the collector's base address
	Station   string            `json:"station"`   // this station's name at the recipient; "" = the station's own id

	CA         string            `json:"ca"`          // PEM: what the collector's certificate must chain to
	Cert       string            `json:"cert"`        // PEM: the client certificate
	Key        Secret            `json:"-"`           // PEM: its private key
	ReceiptKey ed25519.PublicKey `json:"receipt_key"` // signs the collector's receipts

	Added time.Time `json:"added"`

	Changed bool `json:"-"` // the entry is not the one that was made: it is for no purpose and nothing is sent
}

// Secret is a text that does not print, log or marshal itself. Compare with Equal.
type Secret struct{ s *string }

// NewSecret hides s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{&s}
}

// Reveal returns the hidden text, "" for the zero value. Callers are uplink's TLS set-up and the store.
func (s Secret) Reveal() string {
	if s.s == nil {
		return ""
	}
	return *s.s
}

// IsZero reports whether nothing is hidden.
func (s Secret) IsZero() bool { return s.s == nil }

const hidden = "[secret]"

func (s Secret) String() string       { return hidden }
func (s Secret) GoString() string     { return hidden }
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText refuses: a private key is never written by accident.
func (s Secret) MarshalText() ([]byte, error) {
	return nil, errors.New("recipient: a private key is not marshalled")
}

// Names are organisations; the name stands in the ledger and in receipts.
var nameForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[\pL\pN](?:[\pL\pN .&_+-]{0,62}[\pL\pN.])?$`) })

// Validate reports what keeps r out of the register, wrapping ErrInvalid. An entry without an agreement may be added; Usable
// then says that nothing is sent.
func (r Recipient) Validate() error {
	switch {
	case !nameForm().MatchString(r.Name):
		return invalid("the name must have 1 to 64 letters, digits, spaces or . & _ + -")
	case r.Role != Controller && r.Role != Processor:
		return invalid("the role must be controller or processor")
	case !CountryKnown(r.Country):
		return invalid("the country must be an ISO code of two capital letters, such as NL")
	case len(r.Purposes) == 0:
		return invalid("at least one purpose is needed: service, obfcm, quality, third-party:NAME or portability:NAME")
	}
	seen := map[consent.Purpose]bool{}
	for _, p := range r.Purposes {
		if !p.Valid() || seen[p] {
			return invalid("a purpose is unknown or named twice: service, obfcm, quality, third-party:NAME or portability:NAME")
		}
		seen[p] = true
	}
	for _, s := range []string{r.Agreement, r.Safeguard, r.Retention, r.Station} {
		if len(s) > 200 || strings.ContainsAny(s, "\r\n\x00") {
			return invalid("agreement, safeguard, retention and station are single lines of at most 200 bytes")
		}
	}
	return r.validateTechnical()
}

func (r Recipient) validateTechnical() error {
	if r.URL != "" {
		u, err := url.Parse(r.URL)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return invalid("the address must be an https URL without user, query or fragment")
		}
	}
	if r.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(r.CA)) {
		return invalid("the CA is no PEM certificate")
	}
	if (r.Cert == "") != r.Key.IsZero() {
		return invalid("client certificate and private key belong together: one is missing")
	}
	if r.Cert != "" {
		if _, err := tls.X509KeyPair([]byte(r.Cert), []byte(r.Key.Reveal())); err != nil {
			return invalid("the client certificate and its private key do not fit together")
		}
	}
	if len(r.ReceiptKey) != 0 && len(r.ReceiptKey) != ed25519.PublicKeySize {
		return invalid("the receipt key must be an Ed25519 public key, 32 bytes in base64")
	}
	return nil
}

// Usable reports why nothing may be sent to r, wrapping ErrUnusable; nil means it may, consent permitting.
func (r Recipient) Usable() error {
	switch {
	case r.Changed:
		return unusable("the entry of " + r.Name + " was changed outside this program: enter it anew with --replace")
	case r.Agreement == "":
		return unusable(r.Name + " has no agreement on record: add it with --agreement")
	case r.URL == "":
		return unusable(r.Name + " has no address")
	case r.CA == "" || r.Cert == "" || r.Key.IsZero() || len(r.ReceiptKey) == 0:
		return unusable(r.Name + " is not enrolled: add the bundle its collector issued")
	}
	return nil
}

// Expires returns the end of the client certificate's validity; zero when there is none.
func (r Recipient) Expires() time.Time {
	b, _ := pem.Decode([]byte(r.Cert))
	if b == nil {
		return time.Time{}
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return time.Time{}
	}
	return c.NotAfter
}

// For reports whether purpose is among those r is registered for.
func (r Recipient) For(purpose consent.Purpose) bool { return slices.Contains(r.Purposes, purpose) }

// WholeVIN reports whether r may get all 17 characters: only inside the EEA. Others get the first 11.
func (r Recipient) WholeVIN() bool { return AreaOf(r.Country) == EEA }

// Clone returns a copy that shares no memory with r.
func (r Recipient) Clone() Recipient {
	r.Purposes, r.ReceiptKey = slices.Clone(r.Purposes), slices.Clone(r.ReceiptKey)
	return r
}

// MarshalJSON writes the entry for people and scripts, with its area and without the private key.
func (r Recipient) MarshalJSON() ([]byte, error) {
	type entry Recipient
	usable := ""
	if err := r.Usable(); err != nil {
		usable = err.Error()
	}
	return json.Marshal(struct {
		entry
		Area   Area   `json:"area"`
		Unable string `json:"unusable,omitempty"`
	}{entry(r), AreaOf(r.Country), usable})
}

func invalid(why string) error  { return fmt.Errorf("%w: %s", ErrInvalid, why) }
func unusable(why string) error { return fmt.Errorf("%w: %s", ErrUnusable, why) }
