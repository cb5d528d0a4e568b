package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Names and limits of the signed documents.
const (
	ReceiptSchema = "obdgate/receipt/v1"
	ErasureSchema = "obdgate/erasure/v1"
	MaxSigned     = 4 << 10 // bytes of one receipt or statement
)

// ErrSignature marks a signed document whose signature does not verify under the key it should.
var ErrSignature = errors.New("the signature does not verify")

// Receipt is the collector's signed statement that it holds one envelope. The same envelope always gets the same receipt.
type Receipt struct {
	Schema    string `json:"schema" jsonschema:"enum=obdgate/receipt/v1"`
	Envelope  string `json:"envelope" jsonschema:"pattern=^[0-9a-f]{64}$"`
	Station   string `json:"station" jsonschema:"maxLength=64,pattern=^[A-Za-z0-9][A-Za-z0-9._-]*$"`
	Collector string `json:"collector" jsonschema:"maxLength=256,pattern=^[!-~]+$"`                                  // as Name spells it
	Received  string `json:"received" jsonschema:"pattern=^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"` // UTC, whole seconds
	Key       string `json:"key" jsonschema:"pattern=^[0-9a-f]{16}$"`                                                // KeyID of the signing key
	Signature string `json:"signature" jsonschema:"pattern=^[A-Za-z0-9_-]{86}$"`                                     // Ed25519, base64url without padding
}

// Erasure is the collector's signed statement that the content of one envelope was erased. It carries no values.
type Erasure struct {
	Schema    string `json:"schema" jsonschema:"enum=obdgate/erasure/v1"`
	Envelope  string `json:"envelope" jsonschema:"pattern=^[0-9a-f]{64}$"`
	Station   string `json:"station" jsonschema:"maxLength=64,pattern=^[A-Za-z0-9][A-Za-z0-9._-]*$"`
	Collector string `json:"collector" jsonschema:"maxLength=256,pattern=^[!-~]+$"`                                // as Name spells it
	Erased    string `json:"erased" jsonschema:"pattern=^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"` // UTC, whole seconds
	Key       string `json:"key" jsonschema:"pattern=^[0-9a-f]{16}$"`
	Signature string `json:"signature" jsonschema:"pattern=^[A-Za-z0-9_-]{86}$"`
}

// KeyID names a signing key: the first 16 hex characters of the SHA-256 of the public key.
func KeyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return hex.EncodeToString(sum[:8])
}

// Sign fills Schema, Key and Signature. at is cut to whole seconds, UTC.
func (r *Receipt) Sign(key ed25519.PrivateKey, at time.Time) {
	r.Schema, r.Received, r.Key = ReceiptSchema, at.UTC().Format(time.RFC3339), KeyID(key.Public().(ed25519.PublicKey))
	r.Signature = sign(key, r.append(nil, false))
}

// Verify checks the signature under pub; ErrSignature when it, or the key's id, is wrong.
func (r *Receipt) Verify(pub ed25519.PublicKey) error {
	return verify(pub, r.Key, r.Signature, r.append(nil, false))
}

// Append adds the canonical form of r to dst.
func (r *Receipt) Append(dst []byte) []byte { return r.append(dst, true) }

func (r *Receipt) append(dst []byte, signed bool) []byte {
	return appendSigned(dst, r.Schema, r.Envelope, r.Station, r.Collector, "received", r.Received, r.Key, r.Signature, signed)
}

// ParseReceipt reads a receipt in canonical form. The signature is not checked: call Verify.
func ParseReceipt(body []byte) (Receipt, error) {
	var r Receipt
	if err := parse(body, MaxSigned, receiptSchema, &r); err != nil {
		return Receipt{}, err
	}
	if string(r.Append(nil)) != string(body) {
		return Receipt{}, fmt.Errorf("%w: not in canonical form", ErrInvalid)
	}
	return r, nil
}

// Sign fills Schema, Key and Signature. at is cut to whole seconds, UTC.
func (s *Erasure) Sign(key ed25519.PrivateKey, at time.Time) {
	s.Schema, s.Erased, s.Key = ErasureSchema, at.UTC().Format(time.RFC3339), KeyID(key.Public().(ed25519.PublicKey))
	s.Signature = sign(key, s.append(nil, false))
}

// Verify checks the signature under pub; ErrSignature when it, or the key's id, is wrong.
func (s *Erasure) Verify(pub ed25519.PublicKey) error {
	return verify(pub, s.Key, s.Signature, s.append(nil, false))
}

// Append adds the canonical form of s to dst.
func (s *Erasure) Append(dst []byte) []byte { return s.append(dst, true) }

func (s *Erasure) append(dst []byte, signed bool) []byte {
	return appendSigned(dst, s.Schema, s.Envelope, s.Station, s.Collector, "erased", s.Erased, s.Key, s.Signature, signed)
}

// ParseErasure reads an erasure statement in canonical form. The signature is not checked: call Verify.
func ParseErasure(body []byte) (Erasure, error) {
	var s Erasure
	if err := parse(body, MaxSigned, erasureSchema, &s); err != nil {
		return Erasure{}, err
	}
	if string(s.Append(nil)) != string(body) {
		return Erasure{}, fmt.Errorf("%w: not in canonical form", ErrInvalid)
	}
	return s, nil
}

func appendSigned(dst []byte, schema, envelope, station, collector, when, at, key, signature string, signed bool) []byte {
	dst = appendMember(append(dst, '{'), "schema", schema, false)
	dst = appendMember(dst, "envelope", envelope, false)
	dst = appendMember(dst, "station", station, false)
	dst = appendMember(dst, "collector", collector, false)
	dst = appendMember(dst, when, at, false)
	dst = appendMember(dst, "key", key, false)
	if signed {
		dst = appendMember(dst, "signature", signature, false)
	}
	return append(dst, '}')
}

// The signed bytes are the canonical form without "signature"; the schema name in them keeps the kinds apart.
func sign(key ed25519.PrivateKey, body []byte) string {
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, body))
}

func verify(pub ed25519.PublicKey, id, signature string, body []byte) error {
	sig, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	if err != nil || len(pub) != ed25519.PublicKeySize || id != KeyID(pub) || !ed25519.Verify(pub, body, sig) {
		return ErrSignature
	}
	return nil
}
