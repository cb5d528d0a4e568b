package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// Errors a caller can branch on. Their texts say what to do next.
var (
	ErrCorrupt    = errors.New("the state file is damaged or not obdgate's: nothing was changed. Put a backup in its place, or move the file aside and start anew (open visits are then lost)")
	ErrNewer      = errors.New("the state was written by a newer obdgate: install that version again; nothing was changed")
	ErrFull       = errors.New("the disk is full: free some space and try again; what was recorded before is safe")
	ErrReadOnly   = errors.New("the state directory cannot be written: check its owner and permissions, or choose another with --home")
	ErrBusy       = errors.New("the state file is in use by another obdgate for too long: wait for it or end it, then try again")
	ErrIO         = errors.New("the state file cannot be read or written: check the disk")
	ErrPermission = errors.New("the state directory or the station key can be read by other users: run chmod 700 on the directory and chmod 600 on the files in it")
	ErrKey        = errors.New("the station key is missing or does not belong to this state: put station.key back from where it was kept, or log in so that the keyring opens; without it visits cannot be read")
	ErrNotFound   = errors.New("not found")
	ErrExists     = errors.New("exists already")
	ErrConflict   = errors.New("the visit was changed by someone else in the meantime: load it again")
	ErrClosed     = errors.New("the visit is closed")
)

// Explain adds the sentinel that fits to an error of the database or the file system, so that a caller can branch with
// errors.Is and a person reads what to do. Errors it does not know, and nil, come back as they are.
func Explain(err error) error {
	if err == nil || known(err) {
		return err
	}
	var kind error
	var e *sqlite.Error
	switch {
	case errors.As(err, &e):
		kind = sqliteKind(e.Code())
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		kind = ErrFull
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR):
		kind = ErrReadOnly
	case errors.Is(err, syscall.EIO):
		kind = ErrIO
	}
	if kind == nil {
		return err
	}
	return fmt.Errorf("%w (%w)", kind, err)
}

func known(err error) bool {
	for _, k := range []error{ErrCorrupt, ErrNewer, ErrFull, ErrReadOnly, ErrBusy, ErrIO, ErrPermission, ErrKey, ErrNotFound, ErrExists,
		ErrConflict, ErrClosed, ErrRestricted, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

func sqliteKind(code int) error {
	switch code & 0xff {
	case lib.SQLITE_FULL:
		return ErrFull
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return ErrCorrupt
	case lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM:
		return ErrReadOnly
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return ErrBusy
	case lib.SQLITE_IOERR:
		return ErrIO
	}
	return nil
}
