package rights

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/store"
)

// LetterSchema names the form of Letter.
const LetterSchema = "obdgate/rights-answer/v1"

// Errors of letters and copies.
var (
	ErrWritten = errors.New("rights: what was written on the request went with its visit: the letter had to be made before")
	ErrProof   = errors.New("rights: it is not what was logged: changed, or from another station")
)

// Outcomes a customer is told.
const (
	Received = "received"
	Extended = "extended"
)

// Answer is what the customer is told about a request.
type Answer struct {
	Station  string    `json:"station"`
	Ticket   string    `json:"ticket"`
	Request  Request   `json:"request"`
	Outcome  string    `json:"outcome"` // received, extended, done, refused
	Received time.Time `json:"received"`
	Due      time.Time `json:"due"`
	At       time.Time `json:"at"`
	Reason   string    `json:"reason,omitempty"` // of a refusal or an extension
	Details  Details   `json:"details,omitzero"`
}

// Letter is an answer with its proof: the entry of the log that commits to it, under a signed head. It can be checked without a
// network and without the station.
type Letter struct {
	Schema string `json:"schema"`
	Answer
	Salt []byte          `json:"salt"`
	Leaf json.RawMessage `json:"leaf"` // the bytes that were logged
	Path [][]byte        `json:"path"` // proof that they stand under the head
	Head string          `json:"head"`
	Key  string          `json:"key"` // the station's, hexadecimal; a label
}

func (t Ticket) answer(station string) Answer {
	a := Answer{Station: station, Ticket: t.ID, Request: t.Request, Outcome: Received, Received: t.Opened, Due: t.Due, At: t.At, Details: t.Details}
	switch {
	case t.State == Done || t.State == Refused:
		a.Outcome, a.Reason = t.State, t.Reason
	case t.Longer:
		a.Outcome, a.Reason = Extended, t.Why
	}
	return a
}

func (a Answer) commit(salt []byte) (string, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	m := hmac.New(sha256.New, salt)
	m.Write([]byte(LetterSchema + "\x00"))
	m.Write(b)
	return hex.EncodeToString(m.Sum(nil)), nil
}

// LetterOf returns the answer a request has come to, with its proof. ErrWritten when it was settled before its visit was erased.
func LetterOf(ctx context.Context, s *store.Store, t Ticket) (Letter, error) {
	if t.Salt == nil {
		return Letter{}, ErrWritten
	}
	es, err := s.Ledger().Entries(ctx, t.Entry, 1)
	if err != nil || len(es) == 0 {
		return Letter{}, errors.Join(ledger.ErrNoEntry, store.Explain(err))
	}
	path, head, err := s.Ledger().Inclusion(ctx, t.Entry)
	if err != nil {
		return Letter{}, store.Explain(err)
	}
	return Letter{LetterSchema, t.answer(s.Station().ID()), t.Salt, es[0].Leaf(), path, string(head.Note), hex.EncodeToString(s.Station().Public())}, nil
}

// CheckLetter reports whether l is what the station logged: nil, or an error wrapping ErrProof. key is the station's and must
// come from elsewhere. Pure.
func CheckLetter(l Letter, key ed25519.PublicKey) error {
	if l.Schema != LetterSchema {
		return fmt.Errorf("%w: not a letter", ErrProof)
	}
	head, err := ledger.OpenHeadOf([]byte(l.Head), l.Station, key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	leaf, e, err := logged(l.Leaf)
	if err != nil {
		return fmt.Errorf("%w: no entry of the log", ErrProof)
	}
	if err := ledger.CheckInclusion(leaf, e.Seq, l.Path, head); err != nil {
		return fmt.Errorf("%w: the entry is not under the signed head", ErrProof)
	}
	sum, err := l.commit(l.Salt)
	if err != nil || e.Kind != ledger.Rights || e.Facts.Commitment != sum || !strings.HasPrefix(e.Facts.Reason, string(l.Request)+"-") {
		return fmt.Errorf("%w: the words are not those the log commits to", ErrProof)
	}
	return nil
}

// Checked is what was proved of a copy.
type Checked struct {
	Visit    string    `json:"visit"`
	Entries  int       `json:"entries"`  // each under the signed head
	Log      uint64    `json:"log_size"` // of the log at that head
	Receipts int       `json:"receipts"` // signed by the station
	Complete bool      `json:"complete"` // whether the whole log was there to prove that no entry is missing
	Made     time.Time `json:"made"`
}

// CheckCopies reports what copies prove about themselves: that every entry stands under the signed head and in the order of the
// visit, without a gap. next, when not nil, gives the lines of the whole log one after the other, nil at its end: then it is
// proved as well that no entry about the visits was left out. An error wraps ErrProof. key is the station's and must come from
// elsewhere; verify checks a receipt with it.
func CheckCopies(copies []Copy, key ed25519.PublicKey, next func() ([]byte, error)) ([]Checked, error) {
	whole := ledger.NewCompleteness()
	var out []Checked
	for _, c := range copies {
		one, head, err := checkCopy(c, key)
		if err != nil {
			return nil, fmt.Errorf("%w: visit %s: %w", ErrProof, one.Visit, err)
		}
		whole.Expect(c.TagKey, one.Visit, len(c.Log), head)
		out = append(out, one)
	}
	if next == nil {
		return out, nil
	}
	for {
		leaf, err := next()
		if err != nil {
			return nil, err
		}
		if leaf == nil {
			break
		}
		if err := whole.Add(leaf); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProof, err)
		}
	}
	if err := whole.Done(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	for i := range out {
		out[i].Complete = true
	}
	return out, nil
}

func checkCopy(c Copy, key ed25519.PublicKey) (Checked, ledger.Head, error) {
	var v struct {
		ID string `json:"id"`
	}
	if c.Schema != AccessSchema || json.Unmarshal(c.Visit, &v) != nil || v.ID == "" {
		return Checked{}, ledger.Head{}, errors.New("not a copy")
	}
	out := Checked{Visit: v.ID, Entries: len(c.Log), Receipts: len(c.Receipts), Made: c.Made}
	head, err := ledger.OpenHeadOf([]byte(c.Head), c.Station, key)
	if err != nil {
		return out, head, err
	}
	out.Log = head.Size
	var leaves [][]byte
	commitments := map[uint64]string{} // of answers, by entry
	for _, listed := range c.Log {
		leaf, e, err := logged(listed.Leaf)
		if err != nil {
			return out, head, err
		}
		if err := ledger.CheckInclusion(leaf, e.Seq, listed.Path, head); err != nil {
			return out, head, fmt.Errorf("entry %d is not under the signed head", e.Seq)
		}
		leaves = append(leaves, leaf)
		if e.Kind == ledger.Answer {
			commitments[e.Seq] = e.Facts.Commitment
		}
	}
	if err := ledger.CheckNumbers(c.TagKey, v.ID, leaves); err != nil {
		return out, head, err
	}
	if n := len(commitments); n != len(c.Receipts) || n != len(c.Answers) {
		return out, head, fmt.Errorf("%d answers are logged, the copy has %d with %d receipts", n, len(c.Answers), len(c.Receipts))
	}
	for _, r := range c.Receipts {
		if err := consent.VerifyReceipt(r, key); err != nil {
			return out, head, err
		}
		if sum := commitments[r.Ledger.Seq]; sum == "" || sum != r.Ledger.Commitment {
			return out, head, fmt.Errorf("receipt %s is not of an entry of the log", r.ID)
		}
		delete(commitments, r.Ledger.Seq) // each answer has one receipt
	}
	return out, head, nil
}

// logged gives back the bytes that were logged: documents may have been indented on their way.
func logged(leaf json.RawMessage) ([]byte, ledger.Entry, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, leaf); err != nil {
		return nil, ledger.Entry{}, err
	}
	e, err := ledger.ParseLeaf(b.Bytes())
	return b.Bytes(), e, err
}
