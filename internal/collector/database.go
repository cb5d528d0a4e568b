package collector

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
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	_ "modernc.org/sqlite" // database/sql driver "sqlite"
)

//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// database is SQLite or PostgreSQL behind the same statements; both know $1 and ON CONFLICT.
type database struct {
	*sql.DB
	sqlite bool
}

// Station is one certificate issued to a station.
type Station struct {
	Name    string `json:"name"`
	Serial  string `json:"serial"`
	Issued  string `json:"issued"` // RFC 3339, UTC
	Expires string `json:"expires"`
	Revoked string `json:"revoked,omitempty"`
}

type row struct {
	hash, station, purpose, received string
	under                            string // consent receipt the envelope names
	size                             int
	receipt, vinTag, body            []byte
}

// postgres is the name of the database/sql driver for PostgreSQL. The program that offers it imports it (package command), so
// that the workshop's program, which has a collector in its demonstration, starts and ships without it.
const postgres = "pgx"

func openDatabase(ctx context.Context, o Options) (*database, error) {
	driver, dsn, dialect, dir := "sqlite", "", goose.DialectSQLite3, "migrations/sqlite"
	switch {
	case strings.HasPrefix(o.DSN, "postgres://"), strings.HasPrefix(o.DSN, "postgresql://"):
		driver, dsn, dialect, dir = postgres, o.DSN, goose.DialectPostgres, "migrations/postgres"
		if !slices.Contains(sql.Drivers(), postgres) {
			return nil, errors.New("this program keeps what it receives in SQLite only; for PostgreSQL run obdgate-collector")
		}
	case o.DSN != "":
		return nil, errors.New("the database address must begin with postgres://; leave it out for SQLite")
	default:
		// A receipt promises that the envelope survives a power cut: synchronous FULL. Erasing overwrites: secure_delete.
		q := url.Values{"_txlock": {"immediate"}, "_pragma": {
			"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "secure_delete(ON)", "foreign_keys(ON)"}}
		path := filepath.Join(o.Home, "collector.db")
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would use the umask; its side files take this mode
		if err != nil {
			return nil, err
		}
		_ = f.Close()
		slashed := filepath.ToSlash(path)
		if runtime.GOOS == "windows" && !strings.HasPrefix(slashed, "/") {
			slashed = "/" + slashed
		}
		dsn = (&url.URL{Scheme: "file", Path: slashed, RawQuery: q.Encode()}).String()
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, errors.New("the database address cannot be read") // the driver's words would quote a password
	}
	d := &database{db, driver == "sqlite"}
	if err := d.migrate(ctx, dialect, dir); err != nil {
		_ = db.Close()
		return nil, err
	}
	return d, nil
}

func (d *database) migrate(ctx context.Context, dialect goose.Dialect, dir string) error {
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return err
	}
	options := []goose.ProviderOption{goose.WithTableName("collector_migrations"), goose.WithDisableGlobalRegistry(true)}
	if dialect == goose.DialectPostgres {
		locker, err := lock.NewPostgresSessionLocker() // replicas start together
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(dialect, d.DB, files, options...)
	if err != nil {
		return err
	}
	// SQLite has no session lock: of two processes that begin together one finds the table made and tries again.
	for attempt := 0; ; attempt++ {
		_, err = p.Up(ctx)
		if err == nil || dialect == goose.DialectPostgres || attempt == 3 || ctx.Err() != nil {
			return err
		}
	}
}

// put inserts r unless its hash is there, and returns the receipt the database now holds for it. An erased envelope keeps
// its receipt and stays erased.
func (d *database) put(ctx context.Context, r row) (receipt []byte, err error) {
	// The casts are for PostgreSQL, which does not see the columns' types through a SELECT.
	_, err = d.ExecContext(ctx, d.typed(`INSERT INTO envelopes (hash, station, purpose, received, size, receipt, vin_tag, body)
		SELECT $1{text}, $2{text}, $3{text}, $4{text}, $5{bigint}, $6{bytea}, $7{bytea}, $8{bytea}
		WHERE NOT EXISTS (SELECT 1 FROM stopped WHERE station = $2 AND receipt = $9) ON CONFLICT (hash) DO NOTHING`),
		r.hash, r.station, r.purpose, r.received, r.size, r.receipt, r.vinTag, r.body, r.under)
	if err != nil {
		return nil, err
	}
	err = d.QueryRowContext(ctx, `SELECT receipt FROM envelopes WHERE hash = $1`, r.hash).Scan(&receipt)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errStopped
	}
	return receipt, err
}

var types = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{([a-z]+)\}`) })

// typed writes {type} as PostgreSQL's cast, and as nothing for SQLite.
func (d *database) typed(query string) string {
	if d.sqlite {
		return types().ReplaceAllString(query, "")
	}
	return types().ReplaceAllString(query, "::$1")
}

func (d *database) count(ctx context.Context) (n int, err error) {
	err = d.QueryRowContext(ctx, `SELECT count(*) FROM envelopes WHERE body IS NOT NULL`).Scan(&n)
	return n, err
}

// each reads in pages, so that a long export holds no read transaction open.
func (d *database) each(ctx context.Context, yield func(row) error) error {
	const page = 256
	received, hash := "", ""
	for {
		rows, err := d.page(ctx, received, hash, page)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := yield(r); err != nil {
				return err
			}
			received, hash = r.received, r.hash
		}
		if len(rows) < page {
			return nil
		}
	}
}

func (d *database) page(ctx context.Context, received, hash string, limit int) (page []row, err error) {
	rows, err := d.QueryContext(ctx, `SELECT hash, station, purpose, received, size, receipt, body FROM envelopes
		WHERE body IS NOT NULL AND (received > $1 OR received = $1 AND hash > $2) ORDER BY received, hash LIMIT $3`, received, hash, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.hash, &r.station, &r.purpose, &r.received, &r.size, &r.receipt, &r.body); err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, rows.Err()
}

// find returns hash and station of the envelopes with this hash, or with this VIN tag when hash is "".
func (d *database) find(ctx context.Context, hash string, vinTag []byte) (found []row, err error) {
	query, arg := `SELECT hash, station FROM envelopes WHERE body IS NOT NULL AND hash = $1`, any(hash)
	if hash == "" {
		query, arg = `SELECT hash, station FROM envelopes WHERE body IS NOT NULL AND vin_tag = $1 ORDER BY received, hash`, vinTag
	}
	rows, err := d.QueryContext(ctx, query, arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.hash, &r.station); err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

// erase removes the content and keeps the statement, once.
func (d *database) erase(ctx context.Context, hash, erased string, statement []byte) error {
	_, err := d.ExecContext(ctx, `UPDATE envelopes SET body = NULL, vin_tag = NULL, erased = $2, statement = $3
		WHERE hash = $1 AND body IS NOT NULL`, hash, erased, statement)
	return err
}

// settle moves what SQLite still holds in its log into the file, where secure_delete has overwritten it.
func (d *database) settle(ctx context.Context) error {
	if !d.sqlite {
		return nil // PostgreSQL: its vacuum does this
	}
	_, err := d.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}

func (d *database) addStation(ctx context.Context, s Station) error {
	_, err := d.ExecContext(ctx, `INSERT INTO stations (serial, name, issued, expires) VALUES ($1, $2, $3, $4)`,
		s.Serial, s.Name, s.Issued, s.Expires)
	return err
}

func (d *database) stations(ctx context.Context) (all []Station, err error) {
	rows, err := d.QueryContext(ctx, `SELECT name, serial, issued, expires, coalesce(revoked, '') FROM stations ORDER BY name, issued, serial`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s Station
		if err := rows.Scan(&s.Name, &s.Serial, &s.Issued, &s.Expires, &s.Revoked); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

func (d *database) revoke(ctx context.Context, station string, now time.Time) (int, error) {
	r, err := d.ExecContext(ctx, `UPDATE stations SET revoked = $2 WHERE name = $1 AND revoked IS NULL`, station, stamp(now))
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	return int(n), err
}

// admitted reports whether the certificate with this serial was issued to this station and is not revoked.
func (d *database) admitted(ctx context.Context, serial, station string) (bool, error) {
	var n int
	err := d.QueryRowContext(ctx, `SELECT count(*) FROM stations WHERE serial = $1 AND name = $2 AND revoked IS NULL`, serial, station).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("asking for the station: %w", err)
	}
	return n == 1, nil
}
