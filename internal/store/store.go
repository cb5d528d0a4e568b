// Package store keeps a station's state at rest in one directory: visits each under keys of their own, answers and their
// receipts, the recipients register, and the station key that everything hangs on. Several processes may use the same
// directory at once.
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"obdgate/internal/ledger"
)

// Options change how a state directory is opened. The zero value is what the program uses.
type Options struct {
	MaxPages int              // most pages the database may have, 4096 bytes each; 0 = no limit. For tests of a full disk
	Now      func() time.Time // nil = time.Now
}

// Store is an open state directory. Safe for concurrent use.
type Store struct {
	home    string
	db      *sql.DB
	place   keyPlace
	station *Station
	log     *ledger.Ledger
	now     func() time.Time

	mu   sync.Mutex
	tree keyTree // as last loaded; another process can only have forgotten more
}

// Names in store_meta.
const (
	metaStation = "station"
	metaSource  = "key-source"
	metaCheck   = "key-check"
	metaNext    = "key-next-" // and the range: the next free slot
	metaScrub   = "scrub"     // there when the write-ahead log still has to be emptied after a destruction
)

// Open opens the state in home, or in DefaultHome when home is empty, and makes it when there is none. The station key is
// kept in the operating system's keyring when the default home is used and a keyring answers, unless OBDGATE_KEYRING is
// "off"; otherwise in a file beside the database. Where it went is recorded once and stays. Errors are those of this
// package's list; nothing is ever deleted or replaced to get past one.
func Open(ctx context.Context, home string, o Options) (*Store, error) {
	standard, err := DefaultHome()
	if home == "" {
		if err != nil {
			return nil, err
		}
		home = standard
	}
	if home, err = filepath.Abs(home); err != nil {
		return nil, err
	}
	if err := prepareHome(home); err != nil {
		return nil, err
	}
	db, err := openDB(ctx, home, o.MaxPages)
	if err != nil {
		return nil, err
	}
	s := &Store{home: home, db: db, now: o.Now}
	if s.now == nil {
		s.now = time.Now
	}
	ring := home == standard && os.Getenv("OBDGATE_KEYRING") != "off" && keyringUsable()
	if err := s.open(ctx, ring); err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, ring bool) error {
	if err := setUp(ctx, s.db); err != nil {
		return err
	}
	meta, err := s.meta(ctx)
	if err != nil {
		return err
	}
	if meta[metaStation] == "" {
		if err := withLock(ctx, s.db, func() error { return s.found(ctx, ring) }); err != nil {
			return err
		}
		if meta, err = s.meta(ctx); err != nil {
			return err
		}
	}
	if s.place, err = place(meta[metaSource], s.home); err != nil {
		return err
	}
	k, err := s.loadKey()
	if err != nil {
		return err
	}
	if k.check() != meta[metaCheck] {
		return fmt.Errorf("%w: it is the key of another station", ErrKey)
	}
	s.tree = k.tree
	s.station = newStation(meta[metaStation], k)
	if s.log, err = ledger.New(s.db, s.station.id, s.station, vault{s}); err != nil {
		return err
	}
	s.log.Explain = Explain
	if err := s.skipForgotten(ctx, meta, k); err != nil {
		return err
	}
	slots, err := s.givenUp(ctx)
	switch {
	case err != nil:
		return err
	case len(slots) > 0 || meta[metaScrub] != "": // a destruction was interrupted
		return s.destroyed(ctx)
	}
	return nil
}

// skipForgotten moves the next free slots above all that were ever forgotten: an older copy of the database may count lower.
func (s *Store) skipForgotten(ctx context.Context, meta map[string]string, k stationKey) error {
	for r, next := range k.next {
		name := metaNext + strconv.Itoa(r)
		if n, err := strconv.Atoi(meta[name]); err != nil {
			return fmt.Errorf("%w: %s is no number", ErrCorrupt, name)
		} else if n >= int(next) {
			continue
		}
		if _, err := s.db.ExecContext(ctx, `UPDATE store_meta SET value = ? WHERE name = ? AND CAST(value AS INTEGER) < ?`,
			strconv.Itoa(int(next)), name, int(next)); err != nil {
			return Explain(err)
		}
	}
	return nil
}

// found makes the station: its id, its key, the first entry of its log. A key that lies there already, left by a founding
// that was interrupted or by a state that was moved aside, is taken over and never replaced.
func (s *Store) found(ctx context.Context, ring bool) error {
	if meta, err := s.meta(ctx); err != nil || meta[metaStation] != "" {
		return err // another process was quicker
	}
	source := sourceFile
	if _, err := os.Stat(filepath.Join(s.home, keyName)); errors.Is(err, fs.ErrNotExist) && ring {
		source = sourceRing
	}
	k, err := s.foundKey(source)
	if err != nil && source == sourceRing { // no keyring after all
		source = sourceFile
		k, err = s.foundKey(source)
	}
	if err != nil {
		return err
	}
	id := "st-" + randomID(10)
	station := newStation(id, k)
	log, err := ledger.New(s.db, id, station, vault{s})
	if err != nil {
		return err
	}
	meta := map[string]string{metaStation: id, metaSource: source, metaCheck: k.check()}
	for r, next := range k.next {
		meta[metaNext+strconv.Itoa(r)] = strconv.Itoa(int(next))
	}
	return s.Tx(ctx, func(tx *sql.Tx) error {
		for name, value := range meta {
			if _, err := tx.ExecContext(ctx, `INSERT INTO store_meta (name, value) VALUES (?, ?)`, name, value); err != nil {
				return err
			}
		}
		return log.Begin(ctx, tx, s.now())
	})
}

func (s *Store) foundKey(source string) (stationKey, error) {
	p, err := place(source, s.home)
	if err != nil {
		return stationKey{}, err
	}
	b, err := p.load()
	if err == nil {
		return parseStationKey(b)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return stationKey{}, Explain(err)
	}
	k, err := newStationKey()
	if err != nil {
		return k, err
	}
	if b, err = k.encode(); err != nil {
		return k, err
	}
	return k, p.save(b)
}

func (s *Store) loadKey() (stationKey, error) {
	b, err := s.place.load()
	if err != nil {
		if known(err) {
			return stationKey{}, err
		}
		return stationKey{}, fmt.Errorf("%w (%w)", ErrKey, err)
	}
	return parseStationKey(b)
}

// forgetGivenUp forgets the keys of the slots that were given up. Interrupted at any point it is finished by the next Open.
func (s *Store) forgetGivenUp(ctx context.Context) error {
	return withLock(ctx, s.db, func() error {
		slots, err := s.givenUp(ctx)
		if err != nil || len(slots) == 0 {
			return err
		}
		k, err := s.loadKey()
		if err != nil {
			return err
		}
		for _, slot := range slots {
			k.forget(slot)
		}
		b, err := k.encode()
		if err != nil {
			return err
		}
		if err := s.place.save(b); err != nil {
			return Explain(err)
		}
		s.mu.Lock()
		s.tree = k.tree
		s.mu.Unlock()
		return s.Tx(ctx, func(tx *sql.Tx) error {
			for _, slot := range slots {
				if _, err := tx.ExecContext(ctx, `DELETE FROM store_forget WHERE slot = ?`, slot); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func (s *Store) givenUp(ctx context.Context) ([]uint32, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT slot FROM store_forget`)
	if err != nil {
		return nil, Explain(err)
	}
	defer rows.Close()
	var slots []uint32
	for rows.Next() {
		var slot uint32
		if err := rows.Scan(&slot); err != nil {
			return nil, Explain(err)
		}
		slots = append(slots, slot)
	}
	return slots, Explain(rows.Err())
}

// destroyed makes a committed destruction final: the keys cannot be made any more, from no copy of the database, and
// nothing of them lies in the write-ahead log.
func (s *Store) destroyed(ctx context.Context) error {
	return errors.Join(s.forgetGivenUp(ctx), s.scrub(ctx))
}

// FinishDestruction makes final what a committed transaction has given up: see destroyed. Nothing is done when there is nothing.
func (s *Store) FinishDestruction(ctx context.Context) error {
	slots, err := s.givenUp(ctx)
	if err != nil || len(slots) == 0 {
		return err
	}
	return s.destroyed(ctx)
}

// Close closes the database. What was committed is on the disk already.
func (s *Store) Close() error { return Explain(s.db.Close()) }

// DB is the database, for rooms that keep tables of their own in it (see Migrate). Its transactions begin with BEGIN
// IMMEDIATE unless they are read-only.
func (s *Store) DB() *sql.DB { return s.db }

// Home is the state directory.
func (s *Store) Home() string { return s.home }

// KeySource says where the station key lies: "file" or "keyring".
func (s *Store) KeySource() string {
	if _, ok := s.place.(keyRing); ok {
		return sourceRing
	}
	return sourceFile
}

// Station is this station's identity and keys.
func (s *Store) Station() *Station { return s.station }

// Ledger is the log of decisions and egress.
func (s *Store) Ledger() *ledger.Ledger { return s.log }

// Tx runs f in a write transaction and commits when it returns nil. Within f everything must go through tx.
func (s *Store) Tx(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return Explain(err)
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return Explain(err)
	}
	return Explain(tx.Commit())
}

// Check reads the whole file and compares every page and index: for doctor. A damaged file is ErrCorrupt.
func (s *Store) Check(ctx context.Context) error {
	var first string
	if err := s.db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&first); err != nil {
		return Explain(err)
	}
	if first != "ok" {
		return ErrCorrupt
	}
	return nil
}

func (s *Store) meta(ctx context.Context) (map[string]string, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT name, value FROM store_meta`)
	if err != nil {
		return nil, Explain(err)
	}
	defer rows.Close()
	m := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, Explain(err)
		}
		m[name] = value
	}
	return m, Explain(rows.Err())
}

func metaInt(ctx context.Context, tx ledger.DBTX, name string) (int, error) {
	var text string
	if err := tx.QueryRowContext(ctx, `SELECT value FROM store_meta WHERE name = ?`, name).Scan(&text); err != nil {
		return 0, Explain(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is no number", ErrCorrupt, name)
	}
	return n, nil
}

// How long scrub waits for other readers and writers.
const scrubFor, scrubEvery = time.Second, 25 * time.Millisecond

// scrub empties the write-ahead log into the file, whose freed pages are zeroed, and cuts it to nothing, so that no destroyed
// key or body is left in it. Another process at work can hold it up. It then waits a while and otherwise leaves a note
// for the next start: until then what lies in the log is sealed under keys that nobody can make any more.
func (s *Store) scrub(ctx context.Context) error {
	for end := time.Now().Add(scrubFor); ; {
		busy, err := s.truncate(ctx)
		if err != nil {
			return Explain(err)
		}
		if !busy {
			_, err := s.db.ExecContext(ctx, `DELETE FROM store_meta WHERE name = ?`, metaScrub)
			return Explain(err)
		}
		if time.Now().After(end) {
			_, err := s.db.ExecContext(ctx, `INSERT OR REPLACE INTO store_meta (name, value) VALUES (?, 'due')`, metaScrub)
			return Explain(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(scrubEvery):
		}
	}
}

// truncate tries once, on a connection that does not wait: the waiting is the caller's.
func (s *Store) truncate(ctx context.Context) (bool, error) {
	c, err := s.db.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	if _, err := c.ExecContext(ctx, `PRAGMA busy_timeout = 0`); err != nil {
		return false, err
	}
	var busy, logged, moved int
	err = c.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &logged, &moved)
	_, rerr := c.ExecContext(context.WithoutCancel(ctx), busyTimeout)
	return busy != 0, errors.Join(err, rerr)
}

// randomID returns n random characters of a-z and 2-7.
func randomID(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err) // crypto/rand does not fail
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))[:n]
}
