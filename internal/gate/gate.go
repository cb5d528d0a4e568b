// Package gate is the only door out of the workshop: Seal makes the bytes of one purpose out of tagged values, Release
// hands them to the uplink. Both ask for consent; neither can be gone around, because Sealed and Envelope have no other
// maker. What is withheld leaves no trace in what leaves: no values, no counts, no gaps.
package gate

import (
	"context"
	"crypto/hmac"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/obfcm"
	"obdgate/internal/policy"
	"obdgate/internal/recipient"
	"obdgate/internal/vin"
	"obdgate/internal/wire"
)

// What Seal and Release refuse with. ErrRefused is an ErrNoConsent too.
var (
	ErrNoConsent   = errors.New("the customer has not consented to this purpose")
	ErrRefused     = fmt.Errorf("%w: refused or withdrawn", ErrNoConsent)
	ErrNoAgreement = errors.New("no agreement with this recipient is on record")
	ErrUnsafe      = errors.New("the recipient is outside the EEA, without an adequacy decision or a safeguard on record")
	ErrPurpose     = errors.New("the recipient is not registered for this purpose")
	ErrNothing     = errors.New("there is nothing to send for this purpose")
	ErrTampered    = errors.New("the stored envelope is not the one that was sealed")
)

// Consent answers whether purpose stands for a visit and a recipient, with the id of the receipt of that answer. It is
// asked at sealing and again at release, and must read the ledger each time.
type Consent interface {
	Standing(ctx context.Context, visit string, p consent.Purpose, recipient string) (consent.Answer, string, error)
}

// Authenticator is the station's keyed hash (HMAC-SHA256 or better). It is safe for concurrent use.
type Authenticator interface {
	MAC(data []byte) []byte
}

// Input is one scan to be sealed for one purpose and one recipient.
type Input struct {
	Visit     string // asked about, never sealed
	VIN       vin.VIN
	Values    []policy.Tagged
	OBFCM     obfcm.Verdict
	Engine    string // label of the engine's control unit where known, for the choice among mileages
	Purpose   consent.Purpose
	Recipient recipient.Recipient
	Station   string      // this station's own id; the name the recipient enrolled it under goes before
	Day       time.Time   // only the calendar day in its own location is used
	Policy    wire.Policy // version and hash of the rules that tagged Values
}

// Gate seals and releases. It is safe for concurrent use when its Consent is.
type Gate struct {
	consent Consent
	keys    Authenticator
}

// New returns a gate that asks c and authenticates with k; both must not be nil.
func New(c Consent, k Authenticator) *Gate { return &Gate{c, k} }

// Sealed is an envelope that may wait in the outbox. The zero Sealed is nothing and is refused there.
// It holds a pointer, so that printing it shows no content.
type Sealed struct{ s *Stored }

// Stored is what the outbox keeps of a Sealed. Anyone can make one; Release finds out.
type Stored struct {
	Visit     string
	Purpose   consent.Purpose
	Recipient string
	ID        string // content hash
	Body      []byte // canonical bytes
	MAC       []byte // over all of the above
}

// Stored returns what to keep; Body is not aliased.
func (s Sealed) Stored() Stored {
	if s.s == nil {
		return Stored{}
	}
	c := *s.s
	c.Body, c.MAC = slices.Clone(c.Body), slices.Clone(c.MAC)
	return c
}

// ID is the content hash, "" for the zero Sealed.
func (s Sealed) ID() string {
	if s.s == nil {
		return ""
	}
	return s.s.ID
}

// String names it by its hash.
func (s Stored) String() string { return "envelope " + s.ID }

// GoString is String: no verb prints the content.
func (s Stored) GoString() string { return s.String() }

// Envelope is released for sending now. The zero Envelope is nothing and the uplink refuses it. Printing it shows no content.
type Envelope struct{ r *released }

type released struct {
	id, station, recipient string
	body                   []byte
}

// ID is the content hash, "" for the zero Envelope.
func (e Envelope) ID() string { return e.get().id }

// Station is the station named in the envelope.
func (e Envelope) Station() string { return e.get().station }

// Recipient is the name of who may receive it.
func (e Envelope) Recipient() string { return e.get().recipient }

// Bytes returns a copy of the bytes to send.
func (e Envelope) Bytes() []byte { return slices.Clone(e.get().body) }

func (e Envelope) get() released {
	if e.r == nil {
		return released{}
	}
	return *e.r
}

// Seal makes the envelope of in's purpose. The same technical content under the same consent always gives the same bytes.
// Errors: ErrNoConsent, ErrRefused, ErrNoAgreement, ErrPurpose, ErrUnsafe, ErrNothing, or what Consent returned.
func (g *Gate) Seal(ctx context.Context, in Input) (Sealed, error) {
	if err := admits(&in.Recipient, in.Purpose); err != nil {
		return Sealed{}, err
	}
	if in.Purpose.IsPortability() && !protected(&in) {
		return Sealed{}, ErrUnsafe
	}
	receipt, err := g.ask(ctx, in.Visit, in.Purpose, in.Recipient.Name)
	if err != nil {
		return Sealed{}, err
	}
	e, err := g.compose(in, receipt)
	if err != nil {
		return Sealed{}, err
	}
	body := e.Append(nil)
	if _, err := wire.Parse(body); err != nil {
		return Sealed{}, fmt.Errorf("gate: the sealed envelope breaks the schema: %w", err)
	}
	s := Stored{Visit: in.Visit, Purpose: in.Purpose, Recipient: in.Recipient.Name, ID: e.ID, Body: body}
	s.MAC = g.keys.MAC(s.authenticated())
	return Sealed{&s}, nil
}

// Release hands out a stored envelope for sending now: it must be the one that was sealed, and the customer must still
// agree. Errors: ErrTampered, ErrNoConsent, ErrRefused, or what Consent returned.
func (g *Gate) Release(ctx context.Context, s Stored) (Envelope, error) {
	if len(s.MAC) == 0 || !hmac.Equal(s.MAC, g.keys.MAC(s.authenticated())) {
		return Envelope{}, ErrTampered
	}
	e, err := wire.Parse(s.Body)
	if err != nil || e.ID != s.ID {
		return Envelope{}, ErrTampered
	}
	if _, err := g.ask(ctx, s.Visit, s.Purpose, s.Recipient); err != nil {
		return Envelope{}, err
	}
	return Envelope{&released{id: e.ID, station: e.Station, recipient: s.Recipient, body: slices.Clone(s.Body)}}, nil
}

// ask returns the receipt of a standing yes.
func (g *Gate) ask(ctx context.Context, visit string, p consent.Purpose, recipient string) (string, error) {
	answer, receipt, err := g.consent.Standing(ctx, visit, p, recipient)
	switch {
	case err != nil:
		return "", fmt.Errorf("gate: asking the ledger about %s: %w", p, err)
	case answer == consent.Refused || answer == consent.Withdrawn:
		return "", fmt.Errorf("%s: %w", p, ErrRefused)
	case !answer.Yes():
		return "", fmt.Errorf("%s: %w: %s", p, ErrNoConsent, answer)
	case receipt == "":
		return "", fmt.Errorf("%s: %w: the yes has no receipt", p, ErrNoConsent)
	}
	return receipt, nil
}

func admits(r *recipient.Recipient, p consent.Purpose) error {
	switch {
	case r.Name == "" || r.Agreement == "":
		return ErrNoAgreement
	case !p.Valid() || !r.For(p) || p.Named() != "" && p.Named() != r.Name:
		return fmt.Errorf("%w: %s", ErrPurpose, p)
	}
	return nil
}

// protected reports whether a recipient may have what names a vehicle or a person: inside the EEA, or where an adequacy decision
// or a safeguard stands on its record.
func protected(in *Input) bool {
	r := &in.Recipient
	return r.WholeVIN() || recipient.AreaOn(r.Country, in.Day) == recipient.Adequate || r.Safeguard != ""
}

// authenticated is the MAC's input: a context, then each field with its length.
func (s *Stored) authenticated() []byte {
	b := make([]byte, 0, len(s.Body)+256)
	for _, f := range [...]string{"obdgate/sealed/v1", s.Visit, string(s.Purpose), s.Recipient, s.ID} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return append(b, s.Body...)
}

// pseudonym replaces the receipt where nothing may lead back to the visit: only the station's key can tie it again.
func (g *Gate) pseudonym(receipt string) string {
	return "q-" + hex.EncodeToString(g.keys.MAC([]byte("obdgate/quality-receipt/v1\x00" + receipt)))[:32]
}
