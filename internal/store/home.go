package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const (
	dbName   = "obdgate.db"
	lockName = "obdgate.lock"
	keyName  = "station.key"
)

// DefaultHome is where the state lies when nothing else is said: $XDG_STATE_HOME/obdgate, else ~/.local/state/obdgate; on
// Windows %LOCALAPPDATA%\obdgate.
func DefaultHome() (string, error) {
	if runtime.GOOS == "windows" {
		if d := os.Getenv("LOCALAPPDATA"); d != "" {
			return filepath.Join(d, "obdgate"), nil
		}
	} else if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "obdgate"), nil
	}
	d, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("%w: no home directory is known: name one with --home or OBDGATE_HOME", ErrReadOnly)
	}
	if runtime.GOOS == "windows" {
		return filepath.Join(d, "AppData", "Local", "obdgate"), nil
	}
	return filepath.Join(d, ".local", "state", "obdgate"), nil
}

// prepareHome makes the directory when it is not there (0700) and checks that it belongs to its user alone.
func prepareHome(home string) error {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return Explain(err)
	}
	info, err := os.Stat(home)
	if err != nil {
		return Explain(err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is no directory", ErrReadOnly, home)
	}
	return private(home, info)
}

// private refuses a path that group or others may read or write. Windows keeps its profile directories private itself.
func private(path string, info fs.FileInfo) error {
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o", ErrPermission, path, info.Mode().Perm())
	}
	return nil
}

// checkFile looks at the state file without opening it: closing it again would take away the locks that SQLite holds on it
// for this whole process. It reports whether a file with content is there; one that others can read, that is no file, or
// that was cut to nothing although the station has a key is an error.
func checkFile(home string) (bool, error) {
	path := filepath.Join(home, dbName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, Explain(err)
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%w: %s is no file", ErrCorrupt, path)
	}
	if info.Size() == 0 {
		if _, err := os.Stat(filepath.Join(home, keyName)); err == nil {
			return false, fmt.Errorf("%w: %s is empty", ErrCorrupt, path)
		}
		return false, nil
	}
	return true, private(path, info)
}

// writeFile replaces path by data in one step: 0600, on the disk before it returns. One writer at a time: what an interrupted
// one left behind is overwritten by the next.
func writeFile(path string, data []byte) error {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return Explain(err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return Explain(errors.Join(err, os.Remove(next)))
	}
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		_ = d.Sync() // not possible on every system; the rename itself has happened
		d.Close()
	}
	return nil
}
