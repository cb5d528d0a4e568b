// Package collector is the receiving end: it checks envelopes, stores them and acknowledges each with a signed receipt;
// it exports and erases. Replicas are stateless beside the database and may run in any number on one PostgreSQL.
package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/recipient"
	"obdgate/internal/wire"
)

// Errors callers branch on.
var (
	ErrNotSetUp = errors.New("this collector has no keys yet")
	ErrSettings = errors.New("the collector's settings are incomplete")
	ErrStation  = errors.New("a station's name has 1 to 64 letters, digits, dots, dashes or underscores")
	ErrNotFound = errors.New("no such envelope")
	ErrDatabase = errors.New("the collector's database cannot be used")
)

// Options say where a collector lives and who it is. Settings given here are kept in Home; those left empty keep what
// Home has.
type Options struct {
	Home string // directory with identity.json, by default collector.db, and perhaps policy.yaml; made with mode 0700
	DSN  string // "" = SQLite in Home; postgres://… = PostgreSQL, several hosts allowed

	Name    string // the organisation that receives; goes into enrolments and, encoded, into receipts
	Country string // ISO 3166-1 alpha-2, where the data is held
	Role    string // controller (default) or processor
	URL     string // https base address stations use; its host goes into the server certificate

	MustExist bool // Open refuses with ErrNotSetUp instead of making keys
	Logger    *slog.Logger
	Now       func() time.Time // default time.Now
}

// Collector receives envelopes. It is safe for concurrent use.
type Collector struct {
	id     *identity
	db     *database
	policy *policy.Policy
	log    *slog.Logger
	now    func() time.Time
}

// Open reads or makes the keys in o.Home, opens the database and brings its schema up to date. Errors: ErrNotSetUp,
// ErrDatabase, or what the file system says.
func Open(ctx context.Context, o Options) (*Collector, error) {
	if o.Home == "" {
		return nil, fmt.Errorf("%w: a home directory is needed", ErrSettings)
	}
	var err error
	if o.Home, err = filepath.Abs(o.Home); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	id, err := openIdentity(o)
	if err != nil {
		return nil, err
	}
	p, err := rules(o.Home)
	if err != nil {
		return nil, err
	}
	db, err := openDatabase(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	return &Collector{id: id, db: db, policy: p, log: o.Logger, now: o.Now}, nil
}

// rules are those by which this collector knows a technical key: the built-in ones, with policy.yaml in home over them. A
// station whose own rules name more keys technical needs a receiving end that agreed to take them.
func rules(home string) (*policy.Policy, error) {
	b, err := os.ReadFile(filepath.Join(home, "policy.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return policy.Default()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: policy.yaml: %w", ErrSettings, err)
	}
	p, err := policy.Load(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: policy.yaml: %w", ErrSettings, err)
	}
	return p, nil
}

// Close closes the database. Serve must have returned.
func (c *Collector) Close() error { return c.db.Close() }

// Name is the organisation's name as set.
func (c *Collector) Name() string { return c.id.file.Name }

// Enroll issues a client certificate for a station and returns the bundle it needs, private key included: the collector
// keeps no copy of it. A station may be enrolled again; the older certificate stays valid until revoked. Errors:
// ErrStation, ErrSettings when name, country or URL were never given.
func (c *Collector) Enroll(ctx context.Context, station string) (recipient.Bundle, error) {
	f := c.id.file
	switch u, err := url.Parse(f.URL); {
	case !validStation(station):
		return recipient.Bundle{}, ErrStation
	case f.Name == "":
		return recipient.Bundle{}, fmt.Errorf("%w: the organisation's name is missing", ErrSettings)
	case !recipient.CountryKnown(f.Country):
		return recipient.Bundle{}, fmt.Errorf("%w: the country where the data is held is missing", ErrSettings)
	case err != nil || u.Scheme != "https" || u.Host == "":
		return recipient.Bundle{}, fmt.Errorf("%w: the https address stations use is missing", ErrSettings)
	}
	cert, key, s, err := c.id.issueClient(station, c.now())
	if err != nil {
		return recipient.Bundle{}, err
	}
	if err := c.db.addStation(ctx, s); err != nil {
		return recipient.Bundle{}, err
	}
	return recipient.Bundle{
		Station: station, Name: f.Name, Country: f.Country, Role: f.Role, URL: f.URL,
		CA: f.CACert, Cert: cert, Key: recipient.NewSecret(key), ReceiptKey: c.id.receiptPublic(),
		Purposes: []consent.Purpose{consent.Service, consent.OBFCM, consent.Quality},
	}, nil
}

// Stations lists every certificate issued, by name and time.
func (c *Collector) Stations(ctx context.Context) ([]Station, error) { return c.db.stations(ctx) }

// Revoke refuses every certificate of a station from now on and returns how many there were.
func (c *Collector) Revoke(ctx context.Context, station string) (int, error) {
	return c.db.revoke(ctx, station, c.now())
}

// Count is the number of envelopes held, erased ones left out.
func (c *Collector) Count(ctx context.Context) (int, error) { return c.db.count(ctx) }

// Envelopes calls yield with every envelope held, oldest first, exactly as it was received.
func (c *Collector) Envelopes(ctx context.Context, yield func(Held) error) error {
	return c.db.each(ctx, func(r row) error {
		body, err := c.id.open(r.hash, r.body)
		if err != nil {
			return fmt.Errorf("envelope %s: %w", r.hash, err)
		}
		return yield(Held{Hash: r.hash, Station: r.station, Received: r.received, Body: body, Receipt: r.receipt})
	})
}

// Held is one stored envelope.
type Held struct {
	Hash     string
	Station  string
	Received string // RFC 3339, UTC
	Body     []byte // canonical envelope
	Receipt  []byte // canonical receipt
}

// accept stores e under its hash, or finds it already there, and returns the receipt: the same bytes every time.
func (c *Collector) accept(ctx context.Context, e *wire.Envelope, body []byte) ([]byte, error) {
	r := wire.Receipt{Envelope: e.ID, Station: e.Station, Collector: wire.Name(c.id.file.Name)}
	r.Sign(c.id.receipt, c.now())
	sealed, err := c.id.seal(e.ID, body)
	if err != nil {
		return nil, err
	}
	return c.db.put(ctx, row{
		under: e.Receipt, hash: e.ID, station: e.Station, purpose: e.Purpose, received: r.Received, size: len(body),
		receipt: r.Append(nil), vinTag: c.id.vinTag(e.VIN), body: sealed,
	})
}

// admissible asks our own policy about every key: what it does not know as technical is refused, whatever the station's policy
// says. A copy that a customer has handed over to us by name holds personal values too.
func (c *Collector) admissible(e *wire.Envelope) bool {
	if e.Portable() {
		return e.Purpose == "portability:"+wire.Name(c.id.file.Name)
	}
	for k := range e.Keys {
		if !c.policy.TagKey(reading.Key(k)).Class.Releasable() {
			return false
		}
	}
	return true
}
