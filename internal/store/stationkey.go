package store

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// stationKey is the station's secret: the master, from which everything that lasts is derived, and the tree of the keys
// that wrap the visits' data keys.
type stationKey struct {
	master []byte
	tree   keyTree
	next   [ranges]uint32 // per range: above every slot that was forgotten
}

// keyJSON is the form in which it is kept.
type keyJSON struct {
	Format     string         `json:"format"`
	Protection string         `json:"protection"` // "none"; room for a passphrase (argon2id) with its parameters beside it
	Master     []byte         `json:"master"`
	Tree       []byte         `json:"tree"`
	Next       [ranges]uint32 `json:"next"`
}

const (
	keyFormat  = "obdgate/station-key/v1"
	keyBytes   = 32
	sourceFile = "file"
	sourceRing = "keyring"
)

// Slots are handed out in ranges of a like lifetime; the top two bits say which.
const (
	rangeOpen   = iota // bodies of open visits: until the visit is closed
	rangeClosed        // bodies of closed visits: until retention or erasure
	rangeRecord        // answers and receipts: until erasure
	ranges
)

func (stationKey) String() string   { return "[station key]" }
func (stationKey) GoString() string { return "[station key]" }

func newStationKey() (stationKey, error) {
	k := stationKey{master: make([]byte, keyBytes)}
	var root [keyBytes]byte
	if _, err := rand.Read(k.master); err != nil {
		return k, err
	}
	if _, err := rand.Read(root[:]); err != nil {
		return k, err
	}
	k.tree = keyTree{treeNode{}: root}
	return k, nil
}

// forget makes the key of a slot impossible to make again.
func (k *stationKey) forget(slot uint32) {
	k.tree.forget(slot)
	r := slot >> 30
	if r < ranges {
		k.next[r] = max(k.next[r], slot&^(3<<30)+1)
	}
}

func (k stationKey) encode() ([]byte, error) {
	tree, err := k.tree.MarshalBinary()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(keyJSON{keyFormat, "none", k.master, tree, k.next})
	return append(b, '\n'), err
}

func parseStationKey(b []byte) (stationKey, error) {
	var j keyJSON
	if err := json.Unmarshal(b, &j); err != nil || j.Format != keyFormat {
		return stationKey{}, fmt.Errorf("%w: it has not the form %s", ErrKey, keyFormat)
	}
	if j.Protection != "none" {
		return stationKey{}, fmt.Errorf("%w: it is protected by %q, which this program does not know", ErrNewer, j.Protection)
	}
	tree, err := parseTree(j.Tree)
	if err != nil || len(j.Master) != keyBytes {
		return stationKey{}, fmt.Errorf("%w: it is incomplete", ErrKey)
	}
	return stationKey{j.Master, tree, j.Next}, nil
}

// derive makes the 32-byte key for one use from the master.
func (k stationKey) derive(use string) []byte {
	b, err := hkdf.Key(sha256.New, k.master, nil, "obdgate/v1/"+use, keyBytes)
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
