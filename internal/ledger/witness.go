package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Schemas of what a second party is given and what it keeps.
const (
	StatementSchema = "obdgate/ledger-head/v1"
	KeptSchema      = "obdgate/ledger-kept/v1"
)

// Errors of a second party.
var (
	// ErrFork means that two heads of one station contradict each other: the log was rewritten, cut short or put back, or two
	// logs are shown to two parties. Both heads are signed, so that each is proof against the station.
	ErrFork = errors.New("ledger: FORK: this head contradicts one that was kept: the log was rewritten, cut short or put back. Keep both files: both are signed")
	// ErrUnproved means that a statement does not reach back to the head that was kept; it says nothing about the log.
	ErrUnproved = errors.New("ledger: the statement holds no proof from the head that was kept")
	// ErrStatement marks a file that is no statement or was not signed by the key that was kept.
	ErrStatement = errors.New("ledger: not a signed head of this station")
)

// Statement is a station's signed head with the proof that the log as it stood with From entries is its beginning. It names
// nobody and may be published.
type Statement struct {
	Schema  string   `json:"schema"`
	Station string   `json:"station"`
	Key     string   `json:"key"` // hexadecimal; a label, compare it with the one known
	Head    string   `json:"head"`
	From    uint64   `json:"from"`        // 0 = no proof
	Proof   [][]byte `json:"consistency"` // RFC 6962, section 2.1.2
}

// State returns the statement of l's present head, with the proof from an earlier size; 0 = without one. ErrNoEntry when the
// log was never that long.
func (l *Ledger) State(ctx context.Context, station string, from uint64) (Statement, error) {
	path, head, err := l.Consistency(ctx, from)
	if err != nil {
		return Statement{}, err
	}
	if path == nil {
		path = [][]byte{}
	}
	return Statement{StatementSchema, station, hex.EncodeToString(l.public), string(head.Note), from, path}, nil
}

// Kept is what a second party keeps of one station: its key, pinned at the first sight, and every head seen, oldest first.
type Kept struct {
	Schema  string     `json:"schema"`
	Station string     `json:"station"`
	Key     string     `json:"key"` // hexadecimal
	Heads   []KeptHead `json:"heads"`
}

// KeptHead is one head and when it was seen.
type KeptHead struct {
	Seen time.Time `json:"seen"`
	Size uint64    `json:"entries"`
	Head string    `json:"head"`
}

// OpenHeadOf reads a signed head of a station whose key is known, without its log.
func OpenHeadOf(signed []byte, station string, key ed25519.PublicKey) (Head, error) {
	origin := originOf(station)
	vkey, err := note.NewEd25519VerifierKey(origin, key)
	if err != nil {
		return Head{}, err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return Head{}, err
	}
	return openHead(signed, origin, note.VerifierList(v))
}

// ParseStatement reads a statement; what it says is not checked yet.
func ParseStatement(b []byte) (Statement, error) {
	var s Statement
	if err := json.Unmarshal(b, &s); err != nil || s.Schema != StatementSchema || s.Station == "" {
		return Statement{}, ErrStatement
	}
	return s, nil
}

// ParseKept reads what a second party kept.
func ParseKept(b []byte) (Kept, error) {
	var k Kept
	if err := json.Unmarshal(b, &k); err != nil || k.Schema != KeptSchema || k.Station == "" || len(k.Heads) == 0 {
		return Kept{}, errors.New("ledger: not a file of kept heads")
	}
	return k, nil
}

// Witness checks s against what was kept and returns what is to be kept from now on. A zero Kept begins with s and pins its
// key, unless key names the one that is expected. The errors are ErrStatement, ErrFork and ErrUnproved; on any of them what was
// kept stays as it was. Pure.
func Witness(k Kept, s Statement, key ed25519.PublicKey, now time.Time) (Kept, error) {
	if k.Schema == "" {
		pinned := s.Key
		if key != nil {
			pinned = hex.EncodeToString(key)
		}
		k = Kept{Schema: KeptSchema, Station: s.Station, Key: pinned}
	}
	public, err := hex.DecodeString(k.Key)
	switch {
	case err != nil || len(public) != ed25519.PublicKeySize || key != nil && !bytes.Equal(key, public):
		return k, fmt.Errorf("%w: the key is another than the one that was kept", ErrStatement)
	case s.Station != k.Station:
		return k, fmt.Errorf("%w: it is of station %s, kept are heads of %s", ErrStatement, s.Station, k.Station)
	}
	head, err := OpenHeadOf([]byte(s.Head), k.Station, public)
	if err != nil {
		return k, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if len(k.Heads) > 0 {
		if err := follows(k, head, s, public); err != nil {
			return k, err
		}
		if k.Heads[len(k.Heads)-1].Size == head.Size {
			return k, nil
		}
	}
	k.Heads = append(append([]KeptHead(nil), k.Heads...), KeptHead{now.UTC(), head.Size, s.Head})
	return k, nil
}

// follows reports whether head continues the newest of the heads kept.
func follows(k Kept, head Head, s Statement, public ed25519.PublicKey) error {
	last, err := OpenHeadOf([]byte(k.Heads[len(k.Heads)-1].Head), k.Station, public)
	switch {
	case err != nil:
		return fmt.Errorf("ledger: a kept head: %w", err)
	case head.Size < last.Size:
		return fmt.Errorf("%w (%d entries now, %d before)", ErrFork, head.Size, last.Size)
	case head.Size == last.Size && head.Root != last.Root:
		return fmt.Errorf("%w (two logs of %d entries)", ErrFork, head.Size)
	case head.Size == last.Size:
		return nil
	case s.From != last.Size:
		return fmt.Errorf("%w: ask the station for one since %d entries", ErrUnproved, last.Size)
	}
	if err := CheckConsistency(last, head, s.Proof); err != nil {
		return fmt.Errorf("%w (the first %d entries are others now; if the file may be damaged, ask for it again first)", ErrFork, last.Size)
	}
	return nil
}
