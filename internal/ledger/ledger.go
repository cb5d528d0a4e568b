// Package ledger is the append-only, tamper-evident log of every decision and every egress: a Merkle tree (RFC 6962) over
// the entries, its head signed by the station key, all in the station's database. Order in the log decides what is newest;
// the wall clock is only noted.
//
// An entry names a visit by a tag derived from the visit's own key and the entry's number within the visit. While the key
// lives the visit's entries can be found; once it is destroyed nobody can tell which visit an entry was about, nor that two
// entries were about the same one, and the tree still verifies.
package ledger

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Errors of this package.
var (
	ErrEvent     = errors.New("ledger: not an event the log may hold")
	ErrTampered  = errors.New("ledger: the log does not fit its signed head: run `obdgate ledger verify`, and keep the state directory as it is")
	ErrForgotten = errors.New("ledger: no such visit, or its key was destroyed")
	ErrNoEntry   = errors.New("ledger: no such entry")
)

// Table is where the version of the log's tables is kept; Migrations returns their history.
const Table = "ledger_version"

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the log's migrations.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// DBTX is a *sql.DB, *sql.Conn or *sql.Tx.
type DBTX interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Vault seals small bodies under a visit's key and derives secrets from it; the store is one. Every method returns an
// error wrapping ErrForgotten when the visit has no key. use separates one use of the key from another.
type Vault interface {
	Seal(ctx context.Context, tx DBTX, visit, use string, plain []byte) ([]byte, error)
	Open(ctx context.Context, tx DBTX, visit, use string, sealed []byte) ([]byte, error)
	Derive(ctx context.Context, tx DBTX, visit, use string) ([]byte, error)
	// Visits lists the visits that have a key.
	Visits(ctx context.Context, tx DBTX) ([]string, error)
}

// Signer is the station's signing key.
type Signer interface {
	Public() ed25519.PublicKey
	Sign(message []byte) []byte
}

// Ledger is safe for concurrent use, by several processes too: appends happen in write transactions, which SQLite
// serialises.
type Ledger struct {
	db     *sql.DB
	vault  Vault
	origin string
	signer note.Signer
	verif  note.Verifiers
	public ed25519.PublicKey

	// Explain, when set before first use, is applied to errors of the log's own transactions.
	Explain func(error) error
}

// New returns the log of a station in db, whose tables exist. db must begin write transactions with BEGIN IMMEDIATE.
func New(db *sql.DB, station string, key Signer, vault Vault) (*Ledger, error) {
	l := &Ledger{db: db, vault: vault, origin: originOf(station), public: key.Public()}
	vkey, err := note.NewEd25519VerifierKey(l.origin, l.public)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	l.signer = headSigner{key, v}
	l.verif = note.VerifierList(v)
	return l, nil
}

func originOf(station string) string { return "obdgate/ledger/" + station }

// headSigner signs notes with a key that stays with its owner.
type headSigner struct {
	key Signer
	v   note.Verifier
}

func (s headSigner) Name() string                    { return s.v.Name() }
func (s headSigner) KeyHash() uint32                 { return s.v.KeyHash() }
func (s headSigner) Sign(msg []byte) ([]byte, error) { return s.key.Sign(msg), nil }

// Entry is one line of the log.
type Entry struct {
	Seq   uint64    `json:"seq"` // from 0
	Time  time.Time `json:"time"`
	Kind  Kind      `json:"kind"`
	Tag   string    `json:"tag,omitempty"` // hex; meaningless without the visit's key
	Facts Facts     `json:"facts"`
	Hash  [32]byte  `json:"-"` // of the leaf
	leaf  []byte
}

// Leaf returns the bytes the tree is built over.
func (e Entry) Leaf() []byte { return append([]byte(nil), e.leaf...) }

const timeForm = "2006-01-02T15:04:05.000Z"

type leafJSON struct {
	Seq   uint64          `json:"seq"`
	Time  string          `json:"time"`
	Kind  Kind            `json:"kind"`
	Tag   string          `json:"tag"`
	Facts json.RawMessage `json:"facts"`
}

// ParseLeaf reads the bytes of an entry; ErrTampered when they are none. Pure.
func ParseLeaf(leaf []byte) (Entry, error) {
	var j leafJSON
	if err := json.Unmarshal(leaf, &j); err != nil {
		return Entry{}, ErrTampered
	}
	e := Entry{Seq: j.Seq, Kind: j.Kind, Tag: j.Tag, Hash: hashLeaf(leaf), leaf: leaf}
	var err error
	if e.Time, err = time.Parse(timeForm, j.Time); err != nil {
		return Entry{}, ErrTampered
	}
	if err := json.Unmarshal(j.Facts, &e.Facts); err != nil {
		return Entry{}, ErrTampered
	}
	return e, nil
}

// Record appends e in a transaction of its own.
func (l *Ledger) Record(ctx context.Context, e Event) (Entry, error) {
	var out Entry
	err := l.tx(ctx, func(tx *sql.Tx) (err error) {
		out, err = l.AppendTx(ctx, tx, e)
		return err
	})
	return out, err
}

func (l *Ledger) tx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return l.explain(err)
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return l.explain(err)
	}
	return l.explain(tx.Commit())
}

// AppendTx appends e within tx, so that the entry and what it tells of happen together or not at all. tx must be a write
// transaction from its beginning. The head is signed with every append: a signature costs some 20 µs beside a commit that
// waits for the disk, and there is never a moment at which the log is longer than its head.
func (l *Ledger) AppendTx(ctx context.Context, tx DBTX, e Event) (Entry, error) {
	if e.Kind == Answer {
		return Entry{}, fmt.Errorf("%w: answers are recorded with their decision", ErrEvent)
	}
	return l.append(ctx, tx, e)
}

func (l *Ledger) append(ctx context.Context, tx DBTX, e Event) (Entry, error) {
	facts, err := e.check()
	if err != nil {
		return Entry{}, err
	}
	t, err := l.loadTip(ctx, tx)
	if err != nil {
		return Entry{}, err
	}
	if t.head.Size == 0 && e.Kind != KeyEvent {
		return Entry{}, fmt.Errorf("%w: it has no beginning", ErrTampered)
	}
	var tag []byte
	if e.Visit != "" {
		if tag, err = l.nextTag(ctx, tx, e.Visit); err != nil {
			return Entry{}, err
		}
	}
	leaf, err := json.Marshal(leafJSON{t.head.Size, e.At.UTC().Format(timeForm), e.Kind, hex.EncodeToString(tag), facts})
	if err != nil {
		return Entry{}, err
	}
	nodes, err := t.push(hashLeaf(leaf))
	if err != nil {
		return Entry{}, err
	}
	seq := t.head.Size
	if _, err := tx.ExecContext(ctx, `INSERT INTO ledger_entries (seq, tag, leaf, nodes) VALUES (?, ?, ?, ?)`,
		int64(seq), tag, leaf, nodes); err != nil {
		return Entry{}, err
	}
	if err := l.saveTip(ctx, tx, t); err != nil {
		return Entry{}, err
	}
	return ParseLeaf(leaf)
}

// Begin writes the log's first entry, naming the key that signs it. It does nothing when the log has begun.
func (l *Ledger) Begin(ctx context.Context, tx DBTX, at time.Time) error {
	t, err := l.loadTip(ctx, tx)
	if err != nil || t.head.Size > 0 {
		return err
	}
	_, err = l.append(ctx, tx, Event{Kind: KeyEvent, At: at, Facts: Facts{Reason: "created", Key: hex.EncodeToString(l.public)}})
	return err
}

// tags returns a function from the number of an entry within the visit (from 1) to its tag.
func (l *Ledger) tags(ctx context.Context, tx DBTX, visit string) (func(n uint64) []byte, error) {
	secret, err := l.vault.Derive(ctx, tx, visit, tagUse)
	if err != nil {
		return nil, err
	}
	return func(n uint64) []byte { return Tag(secret, visit, n) }, nil
}

// nextTag finds the visit's first unused tag in O(log n) look-ups: numbers are used without gaps.
func (l *Ledger) nextTag(ctx context.Context, tx DBTX, visit string) ([]byte, error) {
	tag, err := l.tags(ctx, tx, visit)
	if err != nil {
		return nil, err
	}
	used := func(n uint64) (bool, error) {
		var one int
		err := tx.QueryRowContext(ctx, `SELECT 1 FROM ledger_entries WHERE tag = ?`, tag(n)).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		}
		return err == nil, err
	}
	lo, hi := uint64(0), uint64(1) // lo is used (0 stands for none), hi is to be tried
	for {
		ok, err := used(hi)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		lo, hi = hi, hi*2
	}
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		ok, err := used(mid)
		if err != nil {
			return nil, err
		}
		if ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return tag(hi), nil
}

// VisitEntries returns the entries of a visit that still has its key, in order.
func (l *Ledger) VisitEntries(ctx context.Context, visit string) ([]Entry, error) {
	return l.visitEntries(ctx, l.db, visit)
}

func (l *Ledger) visitEntries(ctx context.Context, tx DBTX, visit string) ([]Entry, error) {
	tag, err := l.tags(ctx, tx, visit)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for n := uint64(1); ; n++ {
		var seq int64
		var leaf []byte
		err := tx.QueryRowContext(ctx, `SELECT seq, leaf FROM ledger_entries WHERE tag = ?`, tag(n)).Scan(&seq, &leaf)
		if errors.Is(err, sql.ErrNoRows) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		e, err := ParseLeaf(leaf)
		if err != nil || e.Seq != uint64(seq) || e.Tag != hex.EncodeToString(tag(n)) {
			return nil, fmt.Errorf("%w: entry %d", ErrTampered, seq)
		}
		out = append(out, e)
	}
}

// Entries returns up to limit entries from seq on, in order.
func (l *Ledger) Entries(ctx context.Context, seq uint64, limit int) ([]Entry, error) {
	rows, err := l.db.QueryContext(ctx, `SELECT leaf FROM ledger_entries WHERE seq >= ? ORDER BY seq LIMIT ?`, int64(seq), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Entry
	for rows.Next() {
		var leaf []byte
		if err := rows.Scan(&leaf); err != nil {
			return nil, err
		}
		e, err := ParseLeaf(leaf)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, rows.Err()
}
