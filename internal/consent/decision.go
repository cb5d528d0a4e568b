package consent

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrInvalid marks a decision or evidence that must not be recorded; the message says what is missing.
var ErrInvalid = errors.New("consent: not a valid decision")

// Languages are those every notice exists in.
var Languages = []string{"nl", "de", "fr", "en"}

const maxText = 200 // characters in any field a person types

// Validate reports what keeps d from being recorded, wrapping ErrInvalid. A grant needs evidence: nobody answers yes for
// the customer. A no, a withdrawal or a deferral needs none, so that no is at least as easy as yes.
func (d Decision) Validate() error {
	switch {
	case d.Visit == "":
		return invalid("the visit is missing")
	case !d.Purpose.Valid():
		return invalid("unknown purpose: service, obfcm, quality, third-party:NAME or portability:NAME")
	case d.Answer != Granted && d.Answer != Refused && d.Answer != Deferred && d.Answer != Withdrawn:
		return invalid("the answer must be granted, refused, deferred or withdrawn")
	case d.At.IsZero():
		return invalid("the time of the answer is missing")
	case !d.Until.IsZero() && !d.Until.After(d.At):
		return invalid("the term ends before it begins")
	case d.Language != "" && !slices.Contains(Languages, d.Language):
		return invalid("the language must be nl, de, fr or en")
	case d.TakenBy == "":
		return invalid("who took the answer is missing")
	}
	for _, s := range []string{string(d.Purpose), d.Recipient, d.TakenBy, d.Notice, d.ID, d.Visit} {
		if !plain(s) {
			return invalid("a field holds control characters or more than 200 characters")
		}
	}
	if d.Answer == Granted {
		if d.Language == "" {
			return invalid("the language of the notice the customer was shown is missing")
		}
		if d.Evidence == (Evidence{}) {
			return invalid("a yes needs evidence: paper, signature, verbal, principal or customer-page")
		}
	}
	if d.Evidence != (Evidence{}) {
		return d.Evidence.Validate(d.Answer)
	}
	return nil
}

// Validate reports what is missing in e as proof of answer, wrapping ErrInvalid. For anything but a yes only the kind has
// to be known.
func (e Evidence) Validate(answer Answer) error {
	for _, s := range []string{e.Reference, e.Witness, e.Principal} {
		if !plain(s) {
			return invalid("the evidence holds control characters or more than 200 characters")
		}
	}
	missing := ""
	switch e.Kind {
	case Paper:
		if e.Reference == "" {
			missing = "the number of the paper form"
		}
	case Signature:
		if b, err := hex.DecodeString(e.Reference); err != nil || len(b) != sha256.Size {
			missing = "the SHA-256 of the signature image, 64 hex digits"
		}
	case Verbal:
		if e.Witness == "" {
			missing = "the name of the witness"
		}
	case Principal:
		if e.Principal == "" || e.Reference == "" {
			missing = "the name of the principal and its reference"
		}
	case CustomerPage:
		if e.Reference == "" {
			missing = "the id of the customer's link"
		}
	default:
		return invalid("unknown kind of evidence: paper, signature, verbal, principal or customer-page")
	}
	if missing != "" && answer == Granted {
		return invalid("evidence of kind " + string(e.Kind) + " needs " + missing)
	}
	return nil
}

// ParseEvidence reads evidence as a technician types it: the kind, then its reference.
//
//	paper form 2026-114          signature 5f70…        verbal Jan Peeters
//	principal "Noord Insurance" claim 88-1              customer-page k3v9
//
// A principal whose name has several words is put in double quotes. Format is the mirror.
func ParseEvidence(s string) (Evidence, error) {
	if !utf8.ValidString(s) {
		return Evidence{}, invalid("the evidence is not readable text")
	}
	kind, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	rest = strings.TrimSpace(rest)
	e := Evidence{Kind: EvidenceKind(strings.TrimSuffix(kind, ":"))}
	switch e.Kind {
	case Verbal:
		e.Witness = strings.TrimSpace(strings.TrimPrefix(rest, "witness "))
	case Principal:
		if after, quoted := strings.CutPrefix(rest, `"`); quoted {
			name, ref, closed := strings.Cut(after, `"`)
			if !closed {
				return Evidence{}, invalid("the principal's name has no closing quote")
			}
			e.Principal, e.Reference = strings.TrimSpace(name), strings.TrimSpace(ref)
			break
		}
		name, ref, _ := strings.Cut(rest, " ")
		e.Principal, e.Reference = name, strings.TrimSpace(ref)
	case Signature:
		e.Reference = strings.ToLower(rest)
	default:
		e.Reference = rest
	}
	if err := e.Validate(Granted); err != nil {
		return Evidence{}, err
	}
	return e, nil
}

// Format writes e the way ParseEvidence reads it.
func (e Evidence) Format() string {
	switch e.Kind {
	case Verbal:
		return string(e.Kind) + " " + e.Witness
	case Principal:
		return fmt.Sprintf("%s \"%s\" %s", e.Kind, e.Principal, e.Reference)
	}
	return strings.TrimSpace(string(e.Kind) + " " + e.Reference)
}

// Canonical returns the bytes that commitments and receipts are made over: UTC times in whole milliseconds, fixed field
// order, no place in the ledger.
func (d Decision) Canonical() ([]byte, error) {
	d = d.Normal()
	return json.Marshal(d)
}

// Normal returns d with its times in UTC, cut to milliseconds, as it is recorded.
func (d Decision) Normal() Decision {
	d.At = d.At.UTC().Truncate(time.Millisecond)
	if !d.Until.IsZero() {
		d.Until = d.Until.UTC().Truncate(time.Millisecond)
	}
	return d
}

// Commit returns the salted commitment of d: HMAC-SHA-256 keyed with salt. Who has the decision and the salt can check
// it; without the salt it says nothing, not even that two decisions are the same.
func (d Decision) Commit(salt [32]byte) ([32]byte, error) {
	b, err := d.Canonical()
	if err != nil {
		return [32]byte{}, err
	}
	m := hmac.New(sha256.New, salt[:])
	m.Write([]byte("obdgate/decision/v1\x00"))
	m.Write(b)
	return [32]byte(m.Sum(nil)), nil
}

func plain(s string) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxText && !strings.ContainsFunc(s, unicode.IsControl)
}

func invalid(why string) error { return fmt.Errorf("%w: %s", ErrInvalid, why) }
