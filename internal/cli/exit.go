package cli

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"obdgate/internal/gate"
	"obdgate/internal/ledger"
	"obdgate/internal/link"
	"obdgate/internal/store"
	"obdgate/internal/uplink"
)

// Exit codes (sysexits). Meanings are fixed: scripts rely on them.
const (
	exitOK          = 0
	exitUsage       = 64
	exitData        = 65 // bad input data
	exitNoInput     = 66 // no such input
	exitUnavailable = 69 // no adapter or vehicle
	exitSoftware    = 70 // internal fault
	exitCantCreate  = 73
	exitIO          = 74
	exitTempFail    = 75 // upload deferred, try later
	exitProtocol    = 76 // vehicle answered wrongly or incompletely
	exitNoPerm      = 77 // blocked: no consent, or refused
	exitConfig      = 78
	exitInterrupted = 130
)

// Exit codes as every command's help shows them.
const exitHelp = `
Exit codes:
  0  ok                          73  cannot create a file
  64 wrong usage                 74  reading or writing failed (disk full)
  65 bad input data              75  upload deferred, try later
  66 no such input               76  vehicle answered wrongly or incompletely
  69 no adapter or no vehicle    77  blocked: no consent, or refused
  70 internal fault              78  configuration or state directory
                                 130 interrupted
`

// failure is an error with its exit code and what to do next.
type failure struct {
	code int
	err  error
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(code int, hint string, err error) error { return &failure{code: code, err: err, hint: hint} }

func usage(hint string, err error) error { return fail(exitUsage, hint, err) }

// exitOf finds the code and the hint of an error: what the failure says, for the rest the first row that matches.
func exitOf(err error) (code int, hint string) {
	if err == nil {
		return exitOK, ""
	}
	var f *failure
	if errors.As(err, &f) {
		code, hint = f.code, f.hint
	}
	var l *link.Error
	if errors.As(err, &l) && hint == "" {
		hint = l.Hint
	}
	if code != 0 && hint != "" {
		return code, hint
	}
	for _, row := range []struct {
		is   error
		code int
		hint string
	}{
		{context.Canceled, exitInterrupted, "what was done so far is kept; repeat the command to go on"},
		{link.ErrAddress, exitUsage, ""},
		{link.ErrRecording, exitData, "record with: candump -L can0 > session.log"},
		{link.ErrNoAdapter, exitUnavailable, "check the plug and the address; `obdgate doctor` lists adapters"},
		{link.ErrNoVehicle, exitUnavailable, "switch the ignition on and plug the adapter in fully"},
		{link.ErrGone, exitUnavailable, "plug the adapter in again and repeat the command; what was read is kept"},
		{link.ErrBus, exitUnavailable, "check wiring and bit rate"},
		{link.ErrGarbled, exitProtocol, "repeat the command; a lower baud rate helps with weak adapters"},
		{link.ErrUnrecorded, exitData, "record the vehicle again with this version"},
		{link.ErrUnsupported, exitUnavailable, "use another adapter; `obdgate doctor LINK` says what this one is"},
		{gate.ErrRefused, exitNoPerm, "see: obdgate consent show"},
		{gate.ErrNoConsent, exitNoPerm, "record the customer's answer: obdgate consent record --visit ID --purpose …=yes --evidence …"},
		{gate.ErrNoAgreement, exitNoPerm, "a recipient needs an agreement on record: obdgate recipient add … --agreement REF"},
		{uplink.ErrDeferred, exitTempFail, "nothing is lost; run obdgate upload again later"},
		{uplink.ErrConfig, exitConfig, "enrol again: obdgate-collector keys, then obdgate recipient add --replace"},
		{ledger.ErrTampered, exitData, "keep the state directory as it is and tell the data protection officer"},
		{store.ErrRestricted, exitNoPerm, ""},
		{store.ErrFull, exitIO, "free some disk space and repeat the command; nothing recorded so far is lost"},
		{store.ErrIO, exitIO, "check the disk and repeat the command"},
		{store.ErrBusy, exitTempFail, "wait for the other obdgate, or end it, and repeat the command"},
		{store.ErrConflict, exitTempFail, "repeat the command"},
		{store.ErrReadOnly, exitCantCreate, "check the owner of the directory, or choose another with --home"},
		{store.ErrPermission, exitConfig, "chmod 700 the directory and chmod 600 the files in it"},
		{store.ErrKey, exitConfig, "put station.key back beside the database; `obdgate doctor` checks it"},
		{store.ErrNewer, exitConfig, "install the newer version again"},
		{store.ErrCorrupt, exitConfig, "put a backup in its place, or start a new state elsewhere with --home"},
		{store.ErrClosed, exitUsage, "open a new one: obdgate visit open"},
		{store.ErrNotFound, exitNoInput, "see: obdgate visit list"},
		{syscall.ENOSPC, exitIO, "free some disk space and repeat the command"},
		{fs.ErrNotExist, exitNoInput, "check the name"},
		{fs.ErrPermission, exitCantCreate, "check who may read and write it"},
		{os.ErrDeadlineExceeded, exitUnavailable, "it took too long; repeat the command"},
		{context.DeadlineExceeded, exitUnavailable, "it took too long; repeat the command"},
	} {
		if errors.Is(err, row.is) {
			return cmp.Or(code, row.code), cmp.Or(hint, row.hint)
		}
	}
	if code != 0 {
		return code, hint
	}
	return exitSoftware, cmp.Or(hint, "please report it with what you typed")
}
