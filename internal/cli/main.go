// Package cli is what people type: one file per command, each New/options/run. Data goes to stdout, progress, hints and
// errors to stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"obdgate/internal/crash"
	"obdgate/internal/i18n"
	"obdgate/internal/link"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

// Streams are the program's ends. Every command writes through them, never through package os.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// program is what all commands share: the streams, the clock and the global flags. It lives for one command.
type program struct {
	Streams
	now     func() time.Time
	state   store.Options
	wires   func(link.Registry) link.Registry // nil = the links as they are. For tests that stand on the wire behind every one of them
	home    string
	json    bool
	lang    string
	verbose bool
	words   *i18n.Catalog
	log     *slog.Logger
	notices *notices // of this run
}

// Main runs obdgate with args (program name left out) until it is done or ctx ends, and returns the exit code.
func Main(ctx context.Context, args []string, s Streams) (code int) {
	p := &program{Streams: s, now: time.Now}
	return p.run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) (code int) {
	defer func() {
		// A panic message may quote what the vehicle said; only its place is told.
		if r := recover(); r != nil {
			crash.Of(r).Report(p.Err, "obdgate")
			code = exitSoftware
		}
	}()
	p.notices = new(notices)
	root := p.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return p.report(err)
}

// inBackground runs f beside what follows; what it returns waits for f and returns its error.
func inBackground(f func() error) (wait func() error) {
	var net crash.Net
	var err error
	ended := net.Start(func() { err = f() })
	return func() error {
		<-ended
		net.Raise()
		return err
	}
}

// report prints an error with what to do next and returns its exit code.
func (p *program) report(err error) int {
	code, hint := exitOf(err)
	if code == exitOK {
		return code
	}
	fmt.Fprintln(p.Err, "obdgate:", err)
	if hint != "" {
		fmt.Fprintln(p.Err, "  →", hint)
	}
	return code
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "obdgate",
		Short: "Reads a vehicle, tags what is personal, sends only what the customer agreed to",
		Long: `obdgate reads trouble codes, values, mileage and the consumption record through SocketCAN or an
ELM327 adapter, tags every frame and value technical or personal, and uploads only technical data,
only where the customer has agreed.` + "\n",
		Example: `  obdgate demo
  obdgate scan elm:///dev/ttyUSB0
  obdgate consent record --visit v… --purpose service=yes --purpose obfcm=no --evidence "paper form 2026-114"`,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return unknownCommand(c, args[0])
		},
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if err := p.start(); err != nil {
				return err
			}
			return p.permit(c)
		},
	}
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	f := root.PersistentFlags()
	f.StringVar(&p.home, "home", os.Getenv("OBDGATE_HOME"), "state directory (OBDGATE_HOME; otherwise the user's own)")
	f.BoolVar(&p.json, "json", false, "one JSON document (JSON lines for streams) on stdout")
	f.StringVar(&p.lang, "lang", "", "language of what you read: nl, de, fr, en")
	f.BoolVarP(&p.verbose, "verbose", "v", false, "tell what is being done, on stderr")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("see: "+c.CommandPath()+" --help", err)
	})
	root.AddCommand(p.demo(), p.scan(), p.consent(), p.visit(), p.upload(), p.recipient(), p.explain(), p.policy(), p.decode(),
		p.classify(),
		p.ledger(), p.rights(), p.workshop(), p.clear(), p.sim(), p.monitor(),
		p.replay(), p.doctor())
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetUsageTemplate(root.UsageTemplate() + exitHelp)
	return root
}

// start settles what the global flags say.
func (p *program) start() error {
	lang := p.lang
	if lang == "" {
		lang = i18n.FromEnv()
	}
	words, err := i18n.Load(lang)
	if err != nil {
		return usage("--lang nl, de, fr or en", err)
	}
	p.words = words
	level := slog.LevelWarn
	if p.verbose {
		level = slog.LevelDebug
	}
	p.log = slog.New(slog.NewTextHandler(p.Err, &slog.HandlerOptions{Level: level}))
	return nil
}

// exactArgs is cobra's, with our exit code and the command's own usage line.
func exactArgs(n int) cobra.PositionalArgs { return argsBetween(n, n) }

func argsBetween(lo, hi int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= lo && len(args) <= hi {
			return nil
		}
		return usage("usage: "+c.UseLine(), fmt.Errorf("%d arguments given", len(args)))
	}
}

// group is a command that only holds others; a wrong or missing word is told, not answered with silence.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("see: "+c.CommandPath()+" --help", errors.New("which one?"))
		}
		return unknownCommand(c, args[0])
	}}
	c.AddCommand(children...)
	return c
}

// unknownCommand tells of a word that is no command of c, with those it may have meant.
func unknownCommand(c *cobra.Command, word string) error {
	hint := "see: " + c.CommandPath() + " --help"
	c.SuggestionsMinimumDistance = 2
	if close := c.SuggestionsFor(word); len(close) > 0 {
		hint = "did you mean: " + c.CommandPath() + " " + strings.Join(close, ", ")
	}
	return usage(hint, fmt.Errorf("there is no %q", c.CommandPath()+" "+word))
}
