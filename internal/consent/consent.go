// Package consent holds purposes, answers, notices and receipts as pure values. It does no I/O and reads no clock: the
// time is always passed in.
package consent

import (
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

// Valid reports whether p is one of the known purposes or a named third party.
func (p Purpose) Valid() bool {
	name, third := strings.CutPrefix(string(p), "third-party:")
	return p == Service || p == OBFCM || p == Quality || third && name != "" && strings.TrimSpace(name) == name
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
	ID       string    `json:"id"` // unique, made by the ledger when it is recorded
	Visit    string    `json:"visit"`
	Purpose  Purpose   `json:"purpose"`
	Answer   Answer    `json:"answer"` // Granted, Refused, Deferred or Withdrawn
	At       time.Time `json:"at"`
	Until    time.Time `json:"until,omitzero"` // end of the term; zero = until the purpose has ended
	Evidence Evidence  `json:"evidence"`
	Language string    `json:"language"` // of the notice that was shown: nl, de, fr, en
	TakenBy  string    `json:"taken_by"` // who asked
	Notice   string    `json:"notice"`   // version of the notice text
}

// Standing returns where purpose stands at now: the newest decision on it, Expired when its term is over, Unasked when
// there is none. ds may be in any order.
func Standing(ds []Decision, purpose Purpose, now time.Time) (Answer, Decision) {
	var last Decision
	found := false
	for _, d := range ds {
		if d.Purpose == purpose && (!found || d.At.After(last.At) || d.At.Equal(last.At) && d.ID > last.ID) {
			last, found = d, true
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
