package gate

import (
	"context"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"obdgate/internal/consent"
	"obdgate/internal/recipient"
	"obdgate/internal/wire"
)

// ErrStands means that nobody may be told of a withdrawal: the customer's yes stands.
var ErrStands = errors.New("the customer's yes stands")

// Ended is a yes that has ended, towards one recipient that has got something under it.
type Ended struct {
	Visit     string // asked about, never sealed
	Purpose   consent.Purpose
	Recipient recipient.Recipient
	Station   string   // this station's own id
	Receipts  []string // of every yes there was to the purpose
	Envelopes []string // content hashes of what the recipient may have
	Erase     bool     // ask for erasure too
}

// Notice tells a recipient that a yes has ended. It holds receipts and hashes the recipient has already, and no values. The
// zero Notice is nothing and the uplink refuses it.
type Notice struct{ n *StoredNotice }

// StoredNotice is what the outbox keeps of a Notice. Anyone can make one; ReleaseNotice finds out.
type StoredNotice struct {
	Recipient string
	ID        string // content hash
	Body      []byte // canonical wire.Withdrawal
	MAC       []byte
}

// Stored returns what to keep.
func (n Notice) Stored() StoredNotice {
	if n.n == nil {
		return StoredNotice{}
	}
	s := *n.n
	s.Body, s.MAC = slices.Clone(s.Body), slices.Clone(s.MAC)
	return s
}

// Bytes returns a copy of the bytes to send.
func (n Notice) Bytes() []byte { return n.Stored().Body }

// ID is the content hash, "" for the zero Notice.
func (n Notice) ID() string { return n.Stored().ID }

// Recipient is the name of who is told.
func (n Notice) Recipient() string { return n.Stored().Recipient }

// Notify makes the notice of a yes that has ended. The ledger is asked: ErrStands while the purpose stands and no erasure is
// asked for. A notice needs an agreement no less than an envelope does.
func (g *Gate) Notify(ctx context.Context, in Ended) (Notice, error) {
	if in.Recipient.Name == "" || in.Recipient.Agreement == "" {
		return Notice{}, ErrNoAgreement
	}
	if !in.Erase {
		answer, _, err := g.consent.Standing(ctx, in.Visit, in.Purpose, in.Recipient.Name)
		if err != nil {
			return Notice{}, fmt.Errorf("gate: asking the ledger about %s: %w", in.Purpose, err)
		}
		if answer.Yes() {
			return Notice{}, ErrStands
		}
	}
	w := wire.Withdrawal{Station: in.Recipient.Station, Action: wire.ActionStop, Envelopes: in.Envelopes}
	if w.Station == "" {
		w.Station = in.Station
	}
	if in.Erase {
		w.Action = wire.ActionErase
	}
	for _, r := range in.Receipts {
		if in.Purpose == consent.Quality {
			r = g.pseudonym(r)
		}
		w.Receipts = append(w.Receipts, r)
	}
	w.Canonicalise()
	s := StoredNotice{Recipient: in.Recipient.Name, ID: w.ID, Body: w.Append(nil)}
	if _, err := wire.ParseWithdrawal(s.Body); err != nil {
		return Notice{}, fmt.Errorf("gate: the notice breaks the schema: %w", err)
	}
	s.MAC = g.keys.MAC(s.authenticated())
	return Notice{&s}, nil
}

// ReleaseNotice hands out a stored notice for sending: it must be the one that was made.
func (g *Gate) ReleaseNotice(s StoredNotice) (Notice, error) {
	if len(s.MAC) == 0 || !hmac.Equal(s.MAC, g.keys.MAC(s.authenticated())) {
		return Notice{}, ErrTampered
	}
	w, err := wire.ParseWithdrawal(s.Body)
	if err != nil || w.ID != s.ID {
		return Notice{}, ErrTampered
	}
	s.Body = slices.Clone(s.Body)
	return Notice{&s}, nil
}

func (s *StoredNotice) authenticated() []byte {
	var b []byte
	for _, f := range [...]string{"obdgate/notice/v1", s.Recipient, s.ID} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return append(b, s.Body...)
}
