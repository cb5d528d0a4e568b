package rights

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"obdgate/internal/store"
)

// Request is what a customer asks for.
type Request string

// The requests of Regulation (EU) 2016/679, Art. 15 to 21.
const (
	AccessRequest        Request = "access"
	RectificationRequest Request = "rectification"
	ErasureRequest       Request = "erasure"
	RestrictionRequest   Request = "restriction"
	PortabilityRequest   Request = "portability"
	ObjectionRequest     Request = "objection"
)

// Valid reports whether r is one of them.
func (r Request) Valid() bool {
	return slices.Contains([]Request{AccessRequest, RectificationRequest, ErasureRequest, RestrictionRequest, PortabilityRequest, ObjectionRequest}, r)
}

// How long an answer may take, and how much longer once, with a reason (Art. 12(3)).
const (
	AnswerDays = 30
	LongerDays = 60
)

// States of a ticket.
const (
	Open    = "open"
	Done    = "done"
	Refused = "refused"
)

// Errors of tickets.
var (
	ErrIdentity = errors.New("rights: who asks has not been checked: say how")
	ErrReason   = errors.New("rights: a reason is needed; the customer is told it")
	ErrSettled  = errors.New("rights: the request is settled")
	ErrLonger   = errors.New("rights: the time was extended already, or is over")
	ErrNoTicket = errors.New("rights: no such request")
)

// Ticket is one request with its clock.
type Ticket struct {
	ID      string    `json:"ticket"`
	Visit   string    `json:"visit,omitempty"` // "" once the visit is erased
	Request Request   `json:"request"`
	State   string    `json:"state"` // open, done, refused
	Opened  time.Time `json:"opened"`
	Due     time.Time `json:"due"`
	Longer  bool      `json:"extended"`
	Settled time.Time `json:"settled,omitzero"`
	Entry   uint64    `json:"entry"` // newest entry of the log about it
	Text
}

// Text is what people wrote on a ticket, and what was done; it goes with the visit.
type Text struct {
	Identity string    `json:"identity,omitempty"`         // how it was checked who asks: "passport seen by Jo"; "" = not yet
	Note     string    `json:"note,omitempty"`             // what was asked for, a statement on a disputed value
	Reason   string    `json:"reason,omitempty"`           // of a refusal
	Why      string    `json:"extension_reason,omitempty"` // of the extension
	Language string    `json:"language,omitempty"`         // the customer's
	Details  Details   `json:"details,omitzero"`
	At       time.Time `json:"at,omitzero"` // of the newest answer
	Salt     []byte    `json:"salt,omitempty"`
}

// Details are what was done at a request, as far as the customer is told it.
type Details struct {
	Recipients []string `json:"recipients,omitempty"` // told to stop or erase, or sent to
	Purposes   []string `json:"purposes,omitempty"`   // ended by an objection
	Field      string   `json:"field,omitempty"`      // corrected; "" = Value is the customer's statement
	Value      string   `json:"value,omitempty"`
	Hold       string   `json:"hold,omitempty"` // reason of a restriction
	Lifted     bool     `json:"lifted,omitempty"`
}

// DaysLeft is how many days are left to answer, a begun one counted; below 0 it is overdue. 0 once settled.
func (t Ticket) DaysLeft(now time.Time) int {
	if t.State != Open {
		return 0
	}
	left := t.Due.Sub(now)
	if left < 0 {
		return int(-((-left + day - 1) / day))
	}
	return int((left + day - 1) / day)
}

// OpenTicket records a request. identity says how it was checked who asks: ErrIdentity without it.
func OpenTicket(ctx context.Context, s *store.Store, visit string, r Request, identity, note string, now time.Time) (Ticket, error) {
	if strings.TrimSpace(identity) == "" {
		return Ticket{}, ErrIdentity
	}
	return Receive(ctx, s, visit, r, Text{Identity: identity, Note: note}, now, now)
}

// Receive records a request that came at a time, perhaps from somebody whose identity has still to be checked: its clock runs
// from then. It cannot be answered before Identify.
func Receive(ctx context.Context, s *store.Store, visit string, r Request, text Text, came, now time.Time) (Ticket, error) {
	t := Ticket{Visit: visit, Request: r, State: Open, Opened: came.UTC().Truncate(time.Millisecond), Text: text}
	t.Due = t.Opened.Add(AnswerDays * day)
	return t, t.put(ctx, s, "opened", now)
}

// Identify records how it was checked who asks.
func (t *Ticket) Identify(ctx context.Context, s *store.Store, identity string, now time.Time) error {
	switch {
	case t.State != Open:
		return ErrSettled
	case strings.TrimSpace(identity) == "":
		return ErrIdentity
	}
	t.Identity = identity
	return t.put(ctx, s, "identified", now)
}

// Tickets lists the requests, oldest first; visit "" = all.
func Tickets(ctx context.Context, s *store.Store, visit string) ([]Ticket, error) {
	rows, err := s.Tickets(ctx, visit)
	if err != nil {
		return nil, err
	}
	all := []Ticket{}
	for _, r := range rows {
		t := Ticket{ID: r.ID, Visit: r.Visit, Request: Request(r.Request), State: r.State, Opened: r.Opened, Due: r.Due, Longer: r.Longer, Settled: r.Settled, Entry: r.Entry}
		if r.Body != nil {
			if err := json.Unmarshal(r.Body, &t.Text); err != nil {
				return nil, fmt.Errorf("%w: request %s", store.ErrCorrupt, r.ID)
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// FindTicket returns one request; ErrNoTicket when there is none.
func FindTicket(ctx context.Context, s *store.Store, id string) (Ticket, error) {
	all, err := Tickets(ctx, s, "")
	for _, t := range all {
		if t.ID == id {
			return t, nil
		}
	}
	return Ticket{}, errors.Join(ErrNoTicket, err)
}

// Settle ends an open request as done; ErrIdentity when nobody checked who asks.
func (t *Ticket) Settle(ctx context.Context, s *store.Store, now time.Time) error {
	switch {
	case t.State != Open:
		return ErrSettled
	case strings.TrimSpace(t.Identity) == "" && t.Visit != "":
		return ErrIdentity
	}
	t.State, t.Settled = Done, now.UTC().Truncate(time.Millisecond)
	return t.put(ctx, s, "done", now)
}

// Refuse ends an open request with the reason the customer is told (Art. 12(4)).
func (t *Ticket) Refuse(ctx context.Context, s *store.Store, reason string, now time.Time) error {
	switch {
	case t.State != Open:
		return ErrSettled
	case strings.TrimSpace(reason) == "":
		return ErrReason
	}
	t.State, t.Settled, t.Reason = Refused, now.UTC().Truncate(time.Millisecond), reason
	return t.put(ctx, s, "refused", now)
}

// Extend gives an open request LongerDays more, once, before its time is over, with a reason.
func (t *Ticket) Extend(ctx context.Context, s *store.Store, reason string, now time.Time) error {
	switch {
	case t.State != Open:
		return ErrSettled
	case strings.TrimSpace(reason) == "":
		return ErrReason
	case t.Longer || now.After(t.Due):
		return ErrLonger
	}
	t.Longer, t.Why, t.Due = true, reason, t.Due.Add(LongerDays*day)
	return t.put(ctx, s, "extended", now)
}

// put stores the ticket with its entry in the log, which commits to what the customer is told.
func (t *Ticket) put(ctx context.Context, s *store.Store, event string, now time.Time) error {
	if t.ID == "" {
		t.ID = store.NewTicketID()
	}
	t.At = now.UTC().Truncate(time.Millisecond)
	t.Salt = make([]byte, 32)
	if _, err := rand.Read(t.Salt); err != nil {
		return err
	}
	if t.Visit == "" { // settled after its visit was erased: what names nobody stays
		t.Text = Text{Language: t.Language, Details: Details{Recipients: t.Details.Recipients}, At: t.At, Salt: t.Salt}
	}
	sum, err := t.answer(s.Station().ID()).commit(t.Salt)
	if err != nil {
		return err
	}
	body, err := json.Marshal(t.Text)
	if err != nil {
		return err
	}
	t.Entry, err = s.PutTicket(ctx, store.Ticket{ID: t.ID, Visit: t.Visit, Request: string(t.Request), State: t.State, Opened: t.Opened, Due: t.Due,
		Longer: t.Longer, Settled: t.Settled, Body: body}, string(t.Request)+"-"+event, sum)
	return err
}
