// Package consent holds purposes, answers, notices and receipts as pure values. It does no I/O and reads no clock: the
// time is always passed in.
package consent

import (
	"errors"
	"strings"
	"time"
)

// Purpose is one thing a customer is asked for. Every purpose is asked on its own; none is bundled with another.
type Purpose string

const (
	Service Purpose = "service" // technical data to the manufacturer or dealer platform, linked to the VIN
	OBFCM   Purpose = "obfcm"   // consumption record: Reg. (EU) 2021/392, may be refused before the read
	Quality Purpose = "quality" // anonymised quality and research use
)

// ThirdParty is the purpose of passing data to a named third party at the customer's request (insurer, leasing company).
func ThirdParty(name string) Purpose { return Purpose("third-party:" + name) }

// Portability is the purpose of handing everything the vehicle said, personal values too, straight to another controller at the
// customer's request (Regulation (EU) 2016/679, Art. 20(2)). It is never asked for: it comes from a request whose sender was
// identified.
func Portability(name string) Purpose { return Purpose("portability:" + name) }

// IsPortability reports whether p is Portability of somebody.
func (p Purpose) IsPortability() bool { return strings.HasPrefix(string(p), "portability:") }

// Named returns who a purpose names: the third party or the other controller, "" for a purpose that names nobody.
func (p Purpose) Named() string {
	_, name, _ := strings.Cut(string(p), ":")
	return name
}

// Valid reports whether p is one of the known purposes, or a kind that names somebody with a name.
func (p Purpose) Valid() bool {
	name := p.Named()
	switch p {
	case Service, OBFCM, Quality:
		return true
	case ThirdParty(name), Portability(name):
		return name != "" && strings.TrimSpace(name) == name
	}
	return false
}

// Answer is where a purpose stands. The zero value is Unasked, and unasked is no.
type Answer uint8

const (
	Unasked Answer = iota
	Deferred
	Granted
	Refused
	Withdrawn
	Expired
)

var answerNames = [...]string{"unasked", "deferred", "granted", "refused", "withdrawn", "expired"}

func (a Answer) String() string { return answerNames[min(a, Expired)] }

// ParseAnswer is the mirror of String; the words yes and no stand for granted and refused.
func ParseAnswer(s string) (Answer, error) {
	switch s {
	case "yes":
		return Granted, nil
	case "no":
		return Refused, nil
	}
	for i, n := range answerNames {
		if n == s {
			return Answer(i), nil
		}
	}
	return Unasked, errAnswer
}

// MarshalText writes the name of the answer.
func (a Answer) MarshalText() ([]byte, error) {
	if a > Expired {
		return nil, errAnswer
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (a *Answer) UnmarshalText(b []byte) (err error) {
	*a, err = ParseAnswer(string(b))
	return err
}

var errAnswer = errors.New("consent: no such answer: want yes, no, deferred, withdrawn")

// Yes reports whether the answer allows anything. Only Granted does.
func (a Answer) Yes() bool { return a == Granted }

// EvidenceKind says how an answer was given.
type EvidenceKind string

const (
	Paper        EvidenceKind = "paper"         // signed form; Reference is its number
	Signature    EvidenceKind = "signature"     // signature taken on screen; Reference is its hash
	Verbal       EvidenceKind = "verbal"        // spoken, heard by Witness
	Principal    EvidenceKind = "principal"     // obtained by an insurer, leasing company…; Principal names it, Reference is theirs
	CustomerPage EvidenceKind = "customer-page" // the customer's own page; Reference is its link id
)

// Evidence is the proof behind an answer. A technician cannot answer for a customer without it.
type Evidence struct {
	Kind      EvidenceKind `json:"kind"`
	Reference string       `json:"reference,omitempty"`
	Witness   string       `json:"witness,omitempty"`
	Principal string       `json:"principal,omitempty"`
}

// Decision is one recorded answer to one purpose in one visit. Decisions are never changed; a later one supersedes.
type Decision struct {
	ID        string    `json:"id"` // unique, made when it is recorded
	Visit     string    `json:"visit"`
	Purpose   Purpose   `json:"purpose"`
	Recipient string    `json:"recipient,omitempty"` // "" = every recipient of the purpose; else this one only
	Answer    Answer    `json:"answer"`              // Granted, Refused, Deferred or Withdrawn
	At        time.Time `json:"at"`
	Until     time.Time `json:"until,omitzero"` // end of the term; zero = until the purpose has ended
	Evidence  Evidence  `json:"evidence"`
	Language  string    `json:"language"` // of the notice that was shown: nl, de, fr, en
	TakenBy   string    `json:"taken_by"` // who asked
	Notice    string    `json:"notice"`   // version of the notice text
	Seq       uint64    `json:"-"`        // place in the ledger plus one; 0 = not recorded. It decides which decision is newest
}

// Standing returns where purpose stands at now for all recipients together: the newest decision that names none. See
// StandingFor.
func Standing(ds []Decision, purpose Purpose, now time.Time) (Answer, Decision) {
	return StandingFor(ds, purpose, "", now)
}

// StandingFor returns where purpose stands at now towards one recipient: Unasked when there is no decision, Expired when
// the term of a grant is over. ds may be in any order: the place in the ledger (Seq) decides which decision is newest, the
// wall clock only among decisions that have no place. A decision that names the recipient counts for that recipient alone
// and is only overruled by a newer one that names it too, or by a newer no to all: a customer who stopped one recipient is
// not signed up again by a yes to the purpose in general.
func StandingFor(ds []Decision, purpose Purpose, recipient string, now time.Time) (Answer, Decision) {
	last, found := newest(ds, purpose, "")
	if named, ok := newest(ds, purpose, recipient); ok && recipient != "" {
		stopped := named.Answer == Refused || named.Answer == Withdrawn
		if !found || newer(named, last) || stopped && last.Answer.Yes() {
			last, found = named, true
		}
	}
	switch {
	case !found:
		return Unasked, Decision{}
	case last.Answer == Granted && !last.Until.IsZero() && !now.Before(last.Until):
		return Expired, last
	}
	return last.Answer, last
}

func newest(ds []Decision, purpose Purpose, recipient string) (last Decision, found bool) {
	for _, d := range ds {
		if d.Purpose == purpose && d.Recipient == recipient && (!found || newer(d, last)) {
			last, found = d, true
		}
	}
	return last, found
}

func newer(d, o Decision) bool {
	if d.Seq != o.Seq {
		return d.Seq > o.Seq
	}
	return d.At.After(o.At) || d.At.Equal(o.At) && d.ID > o.ID
}
