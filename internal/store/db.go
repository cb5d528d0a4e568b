package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"obdgate/internal/ledger"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	busyMillis    = "10000"
	busyTimeout   = `PRAGMA busy_timeout = ` + busyMillis
	storeTable    = "store_version"
	applicationID = 0x6F626447 // "obdG", in the file's header
)

// dsn names a database file. Every connection waits 10 s for a lock, keeps a write-ahead log, syncs every commit to the
// disk, overwrites deleted content with zeros and keeps temporary tables in memory; transactions begin with BEGIN
// IMMEDIATE unless they are read-only.
func dsn(path string, maxPages int) string {
	p := filepath.ToSlash(path)
	if runtime.GOOS == "windows" && !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(" + busyMillis + ")", "foreign_keys(1)", "journal_mode(WAL)", "secure_delete(1)", "synchronous(FULL)",
		"temp_store(MEMORY)", "trusted_schema(0)",
	}}
	if maxPages > 0 {
		q.Add("_pragma", "max_page_count("+strconv.Itoa(maxPages)+")")
	}
	u := url.URL{Scheme: "file", Path: p, RawQuery: q.Encode()}
	return u.String()
}

// openDB opens the file; it is made when it is not there, by one process at a time: switching a new file to a write-ahead
// log waits for nobody.
func openDB(ctx context.Context, home string, maxPages int) (*sql.DB, error) {
	path := filepath.Join(home, dbName)
	if there, err := checkFile(home); !there || err != nil {
		if err := lockDir(ctx, home, func() error { return createDB(ctx, home, path) }); err != nil {
			return nil, err
		}
	}
	db, err := sql.Open("sqlite", dsn(path, maxPages))
	if err != nil {
		return nil, Explain(err)
	}
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(2)
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, Explain(err)
	}
	return db, nil
}

func createDB(ctx context.Context, home, path string) error {
	if there, err := checkFile(home); there || err != nil {
		return err // another process was quicker, or there is something wrong with it
	}
	db, err := sql.Open("sqlite", dsn(path, 0))
	if err != nil {
		return Explain(err)
	}
	err = errors.Join(db.PingContext(ctx), db.Close())
	if err == nil {
		err = ownOnly(path)
	}
	return Explain(err)
}

// ownOnly takes a new file away from group and others: SQLite makes files with the umask. Its side files take the mode of
// the file.
func ownOnly(path string) error { return os.Chmod(path, 0o600) }

// Migrate brings the tables of one package up to date. table keeps their version; files are goose migrations. When nothing
// is to be done it costs one query, so that every start can call it. Processes that start together take turns. A version
// above the newest in files is ErrNewer.
func Migrate(ctx context.Context, db *sql.DB, table string, files fs.FS) error {
	todo, err := pending(ctx, db, table, files)
	if err != nil || !todo {
		return err
	}
	return withLock(ctx, db, func() error {
		if todo, err := pending(ctx, db, table, files); err != nil || !todo {
			return err
		}
		return migrateLocked(ctx, db, table, files)
	})
}

func migrateLocked(ctx context.Context, db *sql.DB, table string, files fs.FS) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithTableName(table), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("store: migrations of %s: %w", table, err)
	}
	if _, err := p.Up(ctx); err != nil {
		return Explain(fmt.Errorf("store: migrations of %s: %w", table, err))
	}
	return nil
}

func pending(ctx context.Context, db *sql.DB, table string, files fs.FS) (bool, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return false, err
	}
	newest := int64(0)
	for _, n := range names {
		v, err := goose.NumericComponent(n)
		if err != nil {
			return false, err
		}
		newest = max(newest, v)
	}
	if newest == 0 {
		return false, fmt.Errorf("store: no migrations for %s", table)
	}
	var there int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE name = ?`, table).Scan(&there); err != nil {
		return false, Explain(err)
	}
	if there == 0 {
		return true, nil
	}
	var have sql.NullInt64
	q := `SELECT max(version_id) FROM "` + strings.ReplaceAll(table, `"`, `""`) + `" WHERE is_applied`
	if err := db.QueryRowContext(ctx, q).Scan(&have); err != nil {
		return false, Explain(err)
	}
	if have.Int64 > newest {
		return false, fmt.Errorf("%w: %s is at version %d, this program knows %d", ErrNewer, table, have.Int64, newest)
	}
	return have.Int64 < newest, nil
}

// withLock runs f while no other process that shares the state does the same. The lock is a transaction on an empty
// database file beside the real one: it works alike on every system and ends with the process that held it.
func withLock(ctx context.Context, db *sql.DB, f func() error) error {
	var file string
	if err := db.QueryRowContext(ctx, `SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&file); err != nil {
		return Explain(err)
	}
	if file == "" { // in memory: nobody else
		return f()
	}
	return lockDir(ctx, filepath.Dir(file), f)
}

func lockDir(ctx context.Context, dir string, f func() error) error {
	path := filepath.Join(dir, lockName)
	lock, err := sql.Open("sqlite", strings.Replace(dsn(path, 0), "journal_mode%28WAL%29", "journal_mode%28MEMORY%29", 1))
	if err != nil {
		return Explain(err)
	}
	defer lock.Close()
	tx, err := lock.BeginTx(ctx, nil)
	if err != nil {
		return Explain(err)
	}
	defer tx.Rollback()
	if err := ownOnly(path); err != nil {
		return Explain(err)
	}
	return f()
}

// setUp brings a new or old file to the present state; the common case, nothing to do, takes a handful of queries.
func setUp(ctx context.Context, db *sql.DB) error {
	var id int
	if err := db.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&id); err != nil {
		return Explain(err)
	}
	own, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if id != applicationID {
		err := withLock(ctx, db, func() error { return claim(ctx, db) })
		if err != nil {
			return err
		}
	}
	return errors.Join(Migrate(ctx, db, storeTable, own), Migrate(ctx, db, ledger.Table, ledger.Migrations()))
}

// claim marks an empty file as obdgate's and refuses one that holds something else.
func claim(ctx context.Context, db *sql.DB) error {
	var id, tables int
	err := db.QueryRowContext(ctx, `SELECT application_id, (SELECT count(*) FROM sqlite_master) FROM pragma_application_id`).Scan(&id, &tables)
	switch {
	case err != nil:
		return Explain(err)
	case id == applicationID:
		return nil
	case id != 0 || tables != 0:
		return fmt.Errorf("%w: the file belongs to another program", ErrCorrupt)
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d`, applicationID))
	return Explain(err)
}
