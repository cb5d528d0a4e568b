package store

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/zalando/go-keyring"
)

// stationKey is the station's secret: the master, from which everything that lasts is derived, and the wrapping keys of
// visit keys by epoch. The wrapping key is replaced when a visit is erased, so that an older copy of the database cannot be
// opened with the key that is left.
type stationKey struct {
	Format     string         `json:"format"`
	Protection string         `json:"protection"` // "none"; room for a passphrase (argon2id) with its parameters beside it
	Master     []byte         `json:"master"`
	Wrap       map[int][]byte `json:"wrap"` // epoch → 32 bytes
}

const (
	keyFormat    = "obdgate/station-key/v1"
	keyBytes     = 32
	keyringName  = "obdgate"
	keyringWait  = 5 * time.Second
	sourceFile   = "file"
	sourceRing   = "keyring"
	masterEpochs = 1 // the first epoch
)

func (stationKey) String() string   { return "[station key]" }
func (stationKey) GoString() string { return "[station key]" }

func newStationKey() (stationKey, error) {
	k := stationKey{Format: keyFormat, Protection: "none", Master: make([]byte, keyBytes), Wrap: map[int][]byte{}}
	if _, err := rand.Read(k.Master); err != nil {
		return k, err
	}
	return k, k.addEpoch(masterEpochs)
}

func (k *stationKey) addEpoch(epoch int) error {
	w := make([]byte, keyBytes)
	_, err := rand.Read(w)
	k.Wrap[epoch] = w
	return err
}

func (k stationKey) encode() ([]byte, error) {
	b, err := json.MarshalIndent(k, "", "  ")
	return append(b, '\n'), err
}

func parseStationKey(b []byte) (stationKey, error) {
	var k stationKey
	if err := json.Unmarshal(b, &k); err != nil || k.Format != keyFormat {
		return k, fmt.Errorf("%w: it has not the form %s", ErrKey, keyFormat)
	}
	if k.Protection != "none" {
		return k, fmt.Errorf("%w: it is protected by %q, which this program does not know", ErrNewer, k.Protection)
	}
	ok := len(k.Master) == keyBytes && len(k.Wrap) > 0
	for _, w := range k.Wrap {
		ok = ok && len(w) == keyBytes
	}
	if !ok {
		return k, fmt.Errorf("%w: it is incomplete", ErrKey)
	}
	return k, nil
}

// derive makes the 32-byte key for one use from the master.
func (k stationKey) derive(use string) []byte {
	b, err := hkdf.Key(sha256.New, k.Master, nil, "obdgate/v1/"+use, keyBytes)
	if err != nil {
		panic(err) // only for lengths HKDF cannot give
	}
	return b
}

func (k stationKey) check() string { return hex.EncodeToString(k.derive("check")[:8]) }

// keyPlace is where the station key lies.
type keyPlace interface {
	load() ([]byte, error) // fs.ErrNotExist when there is none
	save([]byte) error     // replaces, in one step
}

type keyFile string

func (f keyFile) load() ([]byte, error) {
	info, err := os.Stat(string(f))
	if err != nil {
		return nil, err
	}
	if err := private(string(f), info); err != nil {
		return nil, err
	}
	return os.ReadFile(string(f))
}

func (f keyFile) save(b []byte) error { return writeFile(string(f), b) }

// keyRing is an entry of the operating system's keyring, named by the state directory.
type keyRing string

func (r keyRing) load() ([]byte, error) {
	s, err := within(func() (string, error) { return keyring.Get(keyringName, string(r)) })
	if errors.Is(err, keyring.ErrNotFound) {
		return nil, fs.ErrNotExist
	}
	return []byte(s), err
}

func (r keyRing) save(b []byte) error {
	_, err := within(func() (string, error) { return "", keyring.Set(keyringName, string(r), string(b)) })
	return err
}

// within gives up on a keyring that waits for somebody to unlock it.
func within(f func() (string, error)) (string, error) {
	type result struct {
		s   string
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := f()
		done <- result{s, err}
	}()
	select {
	case r := <-done:
		return r.s, r.err
	case <-time.After(keyringWait):
		return "", errors.New("the keyring does not answer")
	}
}

// keyringUsable reports whether the system has a keyring worth asking: on Linux and the BSDs a session bus is needed.
func keyringUsable() bool {
	switch runtime.GOOS {
	case "windows", "darwin":
		return true
	}
	return os.Getenv("DBUS_SESSION_BUS_ADDRESS") != ""
}

func place(source, home string) (keyPlace, error) {
	switch source {
	case sourceFile:
		return keyFile(filepath.Join(home, keyName)), nil
	case sourceRing:
		return keyRing(home), nil
	}
	return nil, fmt.Errorf("%w: the state names an unknown place for it", ErrNewer)
}

// Station is this workshop station: its id and what its key can do. Safe for concurrent use.
type Station struct {
	id     string
	sign   ed25519.PrivateKey
	mac    []byte
	commit []byte
	vin    []byte
	seal   []byte
}

func newStation(id string, k stationKey) *Station {
	return &Station{
		id: id, sign: ed25519.NewKeyFromSeed(k.derive("ledger-sign")), mac: k.derive("outbox-mac"), commit: k.derive("commitment"),
		vin: k.derive("vin-lookup"), seal: k.derive("station-seal"),
	}
}

// ID is the station's own random id, "st-" and 10 characters. A recipient may know the station under another name, which
// stands in the register.
func (s *Station) ID() string { return s.id }

// Public is the key that verifies the station's signatures: ledger heads and receipts.
func (s *Station) Public() ed25519.PublicKey { return s.sign.Public().(ed25519.PublicKey) }

// Sign signs with the station's Ed25519 key.
func (s *Station) Sign(message []byte) []byte { return ed25519.Sign(s.sign, message) }

// MAC is the station's keyed hash (HMAC-SHA-256) for what it stores and must later trust. Compare with hmac.Equal.
func (s *Station) MAC(data []byte) []byte { return keyedHash(s.mac, data) }

// Commit is the keyed hash for commitments that only this station can open.
func (s *Station) Commit(data []byte) []byte { return keyedHash(s.commit, data) }

func (s *Station) vinTag(v string) []byte { return keyedHash(s.vin, []byte(v)) }

func (*Station) String() string   { return "[station]" }
func (*Station) GoString() string { return "[station]" }

func keyedHash(key, data []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(data)
	return m.Sum(nil)
}
