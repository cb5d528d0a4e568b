// Package command is what the operator of the receiving end types: one file per command of obdgate-collector.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"obdgate/internal/collector"
	"obdgate/internal/crash"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx"
	"github.com/spf13/cobra"
)

// Exit codes, as sysexits has them.
const (
	exitUsage   = 64
	exitNoInput = 66
	exitFault   = 70
	exitCreate  = 73
	exitIO      = 74
	exitNoPerm  = 77 // blocked: not anonymous
	exitConfig  = 78
)

// failure is an error with the exit code it stands for and what to do next.
type failure struct {
	code int
	err  error
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(format string, a ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, a...), "see obdgate-collector --help"}
}

// global are the flags every command has.
type global struct {
	home, db string
	verbose  bool
	stdin    io.Reader
}

// Main runs obdgate-collector with args (program name left out) until it is done or ctx ends, and returns the exit code.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() {
		// A panic message may quote an envelope; only its place is told.
		if r := recover(); r != nil {
			crash.Of(r).Report(stderr, "obdgate-collector")
			code = exitFault
		}
	}()
	g := &global{stdin: stdin}
	root := &cobra.Command{
		Use:   "obdgate-collector",
		Short: "Receives what obdgate stations send, and proves it",
		Long: `Receives envelopes from enrolled stations over HTTPS with client certificates, stores them encrypted, and
acknowledges each with a signed receipt.

Exit codes: 0 ok, 64 usage, 66 no such envelope or station, 70 internal fault, 73 cannot create a file, 74 I/O,
78 configuration.`,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&g.home, "home", os.Getenv("OBDGATE_COLLECTOR_HOME"), "directory with keys and database (OBDGATE_COLLECTOR_HOME)")
	root.PersistentFlags().StringVar(&g.db, "db", os.Getenv("OBDGATE_COLLECTOR_DB"), "postgres://… instead of SQLite in --home (OBDGATE_COLLECTOR_DB)")
	root.PersistentFlags().BoolVarP(&g.verbose, "verbose", "v", false, "log more")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(newServe(g), newKeys(g), newExport(g), newErase(g))
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	f := classify(err)
	fmt.Fprintf(stderr, "obdgate-collector: %v\n", f.err)
	if f.hint != "" {
		fmt.Fprintf(stderr, "  %s\n", f.hint)
	}
	return f.code
}

func classify(err error) *failure {
	if f := (*failure)(nil); errors.As(err, &f) {
		return f
	}
	switch {
	case errors.Is(err, collector.ErrNotSetUp):
		return &failure{exitConfig, err, "make them: obdgate-collector keys --name 'My company' --country NL --url https://HOST:8443 --station NAME --out FILE"}
	case errors.Is(err, collector.ErrSettings):
		return &failure{exitConfig, err, "give them once, they are kept: keys --name 'My company' --country NL --url https://HOST:8443"}
	case errors.Is(err, collector.ErrDatabase):
		return &failure{exitConfig, err, "check --db, or that --home can be written"}
	case errors.Is(err, collector.ErrStation):
		return &failure{exitUsage, err, ""}
	case errors.Is(err, collector.ErrTooFew):
		return &failure{exitNoPerm, err, "wait until more vehicles have been read"}
	case errors.Is(err, collector.ErrNotFound):
		return &failure{exitNoInput, err, ""}
	case errors.Is(err, fs.ErrExist):
		return &failure{exitCreate, err, "name another file, or remove it first"}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		return &failure{exitCreate, err, ""}
	}
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return &failure{exitIO, err, ""}
	}
	if cobraUsage(err) {
		return &failure{exitUsage, err, "see obdgate-collector --help"}
	}
	return &failure{exitFault, err, ""}
}

// cobraUsage knows cobra's complaint about a command it does not have, the one error it gives no type.
func cobraUsage(err error) bool {
	return len(err.Error()) > 15 && err.Error()[:15] == "unknown command"
}

// open opens the collector; settings in o are kept.
func (g *global) open(ctx context.Context, o collector.Options, log io.Writer) (*collector.Collector, error) {
	level := slog.LevelInfo
	if g.verbose {
		level = slog.LevelDebug
	}
	home, err := g.dir()
	if err != nil {
		return nil, err
	}
	o.Home, o.DSN, o.Logger = home, g.db, slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level}))
	return collector.Open(ctx, o)
}

func (g *global) dir() (string, error) {
	if g.home != "" {
		return g.home, nil
	}
	if d := os.Getenv("XDG_STATE_HOME"); d != "" && runtime.GOOS != "windows" {
		return filepath.Join(d, "obdgate-collector"), nil
	}
	if d := os.Getenv("LOCALAPPDATA"); d != "" && runtime.GOOS == "windows" {
		return filepath.Join(d, "obdgate-collector"), nil
	}
	d, err := os.UserHomeDir()
	if err != nil {
		return "", usage("no home directory is known: give --home DIR")
	}
	return filepath.Join(d, ".local", "state", "obdgate-collector"), nil
}
