package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Names and limits of a withdrawal and of its answer.
const (
	WithdrawalSchema = "obdgate/withdrawal/v1"
	StatementSchema  = "obdgate/statement/v1"
	MaxStatement     = 64 << 10 // bytes of one withdrawal or of one statement
	MaxNamed         = 512      // receipts, envelopes, each
)

// What a withdrawal asks for.
const (
	ActionStop  = "stop"  // take nothing more under these receipts; what is there stays (Art. 7(3): the past is not undone)
	ActionErase = "erase" // that, and erase the named envelopes (Art. 17, 19)
)

// Withdrawal tells a recipient that a customer's yes has ended. It names receipts and envelopes the recipient has got
// already, and nothing else.
type Withdrawal struct {
	Schema    string   `json:"schema" jsonschema:"enum=obdgate/withdrawal/v1"`
	ID        string   `json:"id" jsonschema:"pattern=^[0-9a-f]{64}$"` // SHA-256 of the canonical form without this member
	Station   string   `json:"station" jsonschema:"maxLength=64,pattern=^[A-Za-z0-9][A-Za-z0-9._-]*$"`
	Action    string   `json:"action" jsonschema:"enum=stop,enum=erase"`
	Receipts  []string `json:"receipts" jsonschema:"minItems=1,maxItems=512,pattern=^[A-Za-z0-9][A-Za-z0-9._:-]*$"`
	Envelopes []string `json:"envelopes" jsonschema:"maxItems=512,pattern=^[0-9a-f]{64}$"`
}

// Statement is the recipient's signed answer to a withdrawal: since when it takes nothing more under the receipts, and what
// became of each envelope named. The same withdrawal always gets the same statement.
type Statement struct {
	Schema     string   `json:"schema" jsonschema:"enum=obdgate/statement/v1"`
	Withdrawal string   `json:"withdrawal" jsonschema:"pattern=^[0-9a-f]{64}$"`
	Station    string   `json:"station" jsonschema:"maxLength=64,pattern=^[A-Za-z0-9][A-Za-z0-9._-]*$"`
	Collector  string   `json:"collector" jsonschema:"maxLength=256,pattern=^[!-~]+$"` // as Name spells it
	Action     string   `json:"action" jsonschema:"enum=stop,enum=erase"`
	At         string   `json:"at" jsonschema:"pattern=^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"` // UTC, whole seconds
	Receipts   []string `json:"receipts" jsonschema:"minItems=1,maxItems=512,pattern=^[A-Za-z0-9][A-Za-z0-9._:-]*$"`
	Held       []string `json:"held" jsonschema:"maxItems=512,pattern=^[0-9a-f]{64}$"`   // named envelopes that are still there
	Erased     []string `json:"erased" jsonschema:"maxItems=512,pattern=^[0-9a-f]{64}$"` // named envelopes that are erased
	Absent     []string `json:"absent" jsonschema:"maxItems=512,pattern=^[0-9a-f]{64}$"` // named envelopes that never arrived
	Key        string   `json:"key" jsonschema:"pattern=^[0-9a-f]{16}$"`                 // KeyID of the signing key
	Signature  string   `json:"signature" jsonschema:"pattern=^[A-Za-z0-9_-]{86}$"`
}

// Canonicalise sorts the lists, removes duplicates and fills Schema and ID.
func (w *Withdrawal) Canonicalise() {
	w.Schema, w.Receipts, w.Envelopes = WithdrawalSchema, distinct(w.Receipts), distinct(w.Envelopes)
	w.ID = w.Hash()
}

// Hash is the hex SHA-256 of the canonical form without the id.
func (w *Withdrawal) Hash() string {
	sum := sha256.Sum256(w.append(nil, false))
	return hex.EncodeToString(sum[:])
}

// Append adds the canonical form of w to dst. The result is valid only after Canonicalise.
func (w *Withdrawal) Append(dst []byte) []byte { return w.append(dst, true) }

func (w *Withdrawal) append(dst []byte, withID bool) []byte {
	dst = appendMember(append(dst, '{'), "schema", w.Schema, false)
	if withID {
		dst = appendMember(dst, "id", w.ID, false)
	}
	dst = appendMember(dst, "station", w.Station, false)
	dst = appendMember(dst, "action", w.Action, false)
	dst = appendStrings(dst, "receipts", w.Receipts)
	return append(appendStrings(dst, "envelopes", w.Envelopes), '}')
}

// ParseWithdrawal reads a withdrawal in canonical form. Errors wrap ErrInvalid or ErrHash.
func ParseWithdrawal(body []byte) (*Withdrawal, error) {
	w := new(Withdrawal)
	if err := parse(body, MaxStatement, withdrawalSchema, w); err != nil {
		return nil, err
	}
	if !rising(w.Receipts, 96) || !rising(w.Envelopes, 64) || string(w.Append(nil)) != string(body) {
		return nil, fmt.Errorf("%w: not in canonical form", ErrInvalid)
	}
	if w.Hash() != w.ID {
		return nil, ErrHash
	}
	return w, nil
}

// Sign sorts the lists and fills Schema, At, Key and Signature. at is cut to whole seconds, UTC.
func (s *Statement) Sign(key ed25519.PrivateKey, at time.Time) {
	s.Schema, s.At, s.Key = StatementSchema, at.UTC().Format(time.RFC3339), KeyID(key.Public().(ed25519.PublicKey))
	s.Receipts, s.Held, s.Erased, s.Absent = distinct(s.Receipts), distinct(s.Held), distinct(s.Erased), distinct(s.Absent)
	s.Signature = sign(key, s.append(nil, false))
}

// Verify checks the signature under pub; ErrSignature when it, or the key's id, is wrong.
func (s *Statement) Verify(pub ed25519.PublicKey) error {
	return verify(pub, s.Key, s.Signature, s.append(nil, false))
}

// Answers reports whether s is the answer to w: the same action, receipts and station, every envelope accounted for, and
// none held that was to be erased.
func (s *Statement) Answers(w *Withdrawal) bool {
	all := distinct(slices.Concat(s.Held, s.Erased, s.Absent))
	return s.Withdrawal == w.ID && s.Station == w.Station && s.Action == w.Action && slices.Equal(s.Receipts, w.Receipts) &&
		slices.Equal(all, w.Envelopes) && len(all) == len(s.Held)+len(s.Erased)+len(s.Absent) && (w.Action == ActionStop || len(s.Held) == 0)
}

// Append adds the canonical form of s to dst.
func (s *Statement) Append(dst []byte) []byte { return s.append(dst, true) }

func (s *Statement) append(dst []byte, signed bool) []byte {
	dst = appendMember(append(dst, '{'), "schema", s.Schema, false)
	dst = appendMember(dst, "withdrawal", s.Withdrawal, false)
	dst = appendMember(dst, "station", s.Station, false)
	dst = appendMember(dst, "collector", s.Collector, false)
	dst = appendMember(dst, "action", s.Action, false)
	dst = appendMember(dst, "at", s.At, false)
	for _, l := range []struct {
		name string
		list []string
	}{{"receipts", s.Receipts}, {"held", s.Held}, {"erased", s.Erased}, {"absent", s.Absent}} {
		dst = appendStrings(dst, l.name, l.list)
	}
	dst = appendMember(dst, "key", s.Key, false)
	if signed {
		dst = appendMember(dst, "signature", s.Signature, false)
	}
	return append(dst, '}')
}

// ParseStatement reads a statement in canonical form. The signature is not checked: call Verify.
func ParseStatement(body []byte) (Statement, error) {
	var s Statement
	if err := parse(body, MaxStatement, statementSchema, &s); err != nil {
		return Statement{}, err
	}
	if string(s.Append(nil)) != string(body) {
		return Statement{}, fmt.Errorf("%w: not in canonical form", ErrInvalid)
	}
	return s, nil
}

func appendStrings(dst []byte, name string, s []string) []byte {
	return appendList(dst, name, s, func(d []byte, s *string) []byte { return appendString(d, *s) })
}

func distinct(s []string) []string {
	s = slices.Sorted(slices.Values(s))
	s = slices.Compact(s)
	if s == nil {
		s = []string{}
	}
	return s
}

func rising(s []string, most int) bool {
	return ascending(s, strings.Compare) && !slices.ContainsFunc(s, func(x string) bool { return len(x) > most })
}
