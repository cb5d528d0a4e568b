package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"obdgate/internal/crash"

	"github.com/zalando/go-keyring"
)

const (
	keyringName  = "obdgate"
	keyringWait  = 5 * time.Second
	keyringPiece = 2000 // characters; Windows takes 2560 bytes a secret, macOS about 3000 with its names
)

// keyRing keeps the station key in the operating system's keyring under the name of the state directory: a head that says
// which generation is in force and in how many pieces it lies, and the pieces. The head is switched in one step.
type keyRing string

type ringHead struct {
	Generation int `json:"generation"`
	Pieces     int `json:"pieces"`
}

func (r keyRing) piece(generation, i int) string {
	return fmt.Sprintf("%s#%d/%d", string(r), generation, i)
}

func (r keyRing) head() (ringHead, error) {
	var h ringHead
	s, err := ringGet(string(r))
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal([]byte(s), &h); err != nil || h.Pieces < 1 {
		return h, fmt.Errorf("%w: the keyring's entry has not the form of a station key", ErrKey)
	}
	return h, nil
}

func (r keyRing) load() ([]byte, error) {
	h, err := r.head()
	if err != nil {
		return nil, err
	}
	var all strings.Builder
	for i := range h.Pieces {
		s, err := ringGet(r.piece(h.Generation, i))
		if err != nil {
			return nil, fmt.Errorf("%w: a piece of it is missing in the keyring: %w", ErrKey, err)
		}
		all.WriteString(s)
	}
	return []byte(all.String()), nil
}

func (r keyRing) save(b []byte) error {
	old, err := r.head()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	h := ringHead{Generation: old.Generation + 1}
	for rest := string(b); rest != ""; h.Pieces++ {
		n := min(keyringPiece, len(rest))
		if err := ringSet(r.piece(h.Generation, h.Pieces), rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	head, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := ringSet(string(r), string(head)); err != nil {
		return err
	}
	for i := range old.Pieces { // a key that was forgotten must not be left in an old piece
		_, err := within(func() (string, error) { return "", keyring.Delete(keyringName, r.piece(old.Generation, i)) })
		if err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return err
		}
	}
	return nil
}

func ringGet(name string) (string, error) {
	s, err := within(func() (string, error) { return keyring.Get(keyringName, name) })
	if errors.Is(err, keyring.ErrNotFound) {
		return "", fs.ErrNotExist
	}
	return s, err
}

func ringSet(name, value string) error {
	_, err := within(func() (string, error) { return "", keyring.Set(keyringName, name, value) })
	return err
}

// within gives up on a keyring that waits for somebody to unlock it.
func within(f func() (string, error)) (string, error) {
	var net crash.Net
	var s string
	var err error
	ended := net.Start(func() { s, err = f() })
	select {
	case <-ended:
		net.Raise()
		return s, err
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
