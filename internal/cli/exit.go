package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"obdgate/internal/gate"
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
  70 internal fault              78  configuration or state directory`

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

// exitOf finds the code and the hint of an error. The first row that matches decides.
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
	if code != 0 {
		return code, hint
	}
	for _, row := range []struct {
		is   error
		code int
		hint string
	}{
		{context.Canceled, exitInterrupted, ""},
		{link.ErrNoAdapter, exitUnavailable, "check the plug and the address; `obdgate doctor` lists adapters"},
		{link.ErrNoVehicle, exitUnavailable, "switch the ignition on and plug the adapter in fully"},
		{link.ErrGone, exitUnavailable, "plug the adapter in again and repeat the command; what was read is kept"},
		{link.ErrBus, exitUnavailable, "check wiring and bit rate"},
		{link.ErrGarbled, exitProtocol, "repeat the command; a lower baud rate helps with weak adapters"},
		{link.ErrUnrecorded, exitData, "record the vehicle again with this version"},
		{gate.ErrRefused, exitNoPerm, ""},
		{gate.ErrNoConsent, exitNoPerm, "record the customer's answer: obdgate consent record --visit ID --purpose …=yes --evidence …"},
		{gate.ErrNoAgreement, exitNoPerm, "a recipient needs an agreement on record: obdgate recipient add … --agreement REF"},
		{uplink.ErrDeferred, exitTempFail, "nothing is lost; run obdgate upload again later"},
		{store.ErrFull, exitIO, "free some disk space and repeat the command; nothing recorded so far is lost"},
		{store.ErrCorrupt, exitConfig, ""},
		{syscall.ENOSPC, exitIO, "free some disk space and repeat the command"},
		{fs.ErrNotExist, exitNoInput, ""},
		{fs.ErrPermission, exitCantCreate, ""},
		{os.ErrDeadlineExceeded, exitUnavailable, ""},
		{context.DeadlineExceeded, exitUnavailable, ""},
	} {
		if errors.Is(err, row.is) {
			if hint == "" {
				hint = row.hint
			}
			return row.code, hint
		}
	}
	return exitSoftware, hint
}
