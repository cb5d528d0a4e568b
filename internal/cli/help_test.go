package cli

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func newProgram(t testing.TB) *program {
	t.Helper()
	t.Setenv("OBDGATE_KEYRING", "off")
	t.Setenv("OBDGATE_HOME", filepath.Join(t.TempDir(), "state"))
	t.Setenv("LANG", "C.UTF-8")
	return &program{Streams: Streams{In: strings.NewReader(""), Out: new(bytes.Buffer), Err: new(bytes.Buffer)}}
}

// run is one command as typed.
func run(t testing.TB, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(context.Background(), args, Streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func walk(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, child := range c.Commands() {
		if child.Name() != "help" && child.Name() != "completion" {
			walk(child, f)
		}
	}
}

// A technician who is stuck types --help: an example that works as it stands, and what the exit codes mean.
func TestEveryCommandHelps(t *testing.T) {
	newProgram(t)
	n := 0
	walk(newProgram(t).root(), func(c *cobra.Command) {
		n++
		t.Run(c.CommandPath(), func(t *testing.T) {
			code, help, errs := run(t, append(strings.Fields(c.CommandPath())[1:], "--help")...)
			require.Zero(t, code)
			require.Empty(t, errs)
			require.Contains(t, help, "Exit codes:")
			require.Contains(t, help, "77  blocked: no consent, or refused")
			require.NotEmpty(t, c.Short)
			require.NotContains(t, c.Short, "\n")
			flags := 0
			c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
				if f.Name != "help" {
					flags++
					require.NotEmpty(t, f.Usage, f.Name)
				}
			})
			if c.Name() != "workshop" { // a form to fill in
				require.LessOrEqual(t, flags, 6, "a command with more flags is two commands")
			}
			if c.HasSubCommands() {
				return
			}
			require.Contains(t, help, "Examples:")
			for line := range strings.Lines(c.Example) {
				example(t, c, strings.TrimSpace(line))
			}
		})
	})
	require.Greater(t, n, 20)
}

// example parses an example as a shell and the program would: it must be of the command it stands at, and be accepted.
func example(t *testing.T, of *cobra.Command, line string) {
	t.Helper()
	args := words(t, line)
	require.Equal(t, "obdgate", args[0], line)
	p := newProgram(t)
	c, rest, err := p.root().Find(args[1:])
	require.NoError(t, err, line)
	if of.Parent() != nil {
		require.Equal(t, of.CommandPath(), c.CommandPath(), line)
	}
	require.NoError(t, c.ParseFlags(rest), line)
	if c.Args != nil {
		require.NoError(t, c.Args(c, c.Flags().Args()), line)
	}
}

// words splits a line into words as a shell does, quotes and redirections included.
func words(t *testing.T, line string) []string {
	t.Helper()
	var out []string
	var word strings.Builder
	quote, open := rune(0), false
	for i, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == '"' && r == '\\', quote == '"' && r == '"' && line[i-1] == '\\':
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, open = r, true
		case r == ' ':
			if open || word.Len() > 0 {
				out = append(out, word.String())
			}
			word.Reset()
			open = false
		case r == '<' || r == '>' || r == '|':
			return out
		default:
			word.WriteRune(r)
		}
	}
	require.Zero(t, quote, "an open quote in: %s", line)
	if open || word.Len() > 0 {
		out = append(out, word.String())
	}
	return out
}

// Wrong words end with 64, say what is wrong and what to type, and touch nothing.
func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{
		{"sacn"}, {"scan", "--bogus"}, {"scan", "a", "b"}, {"scan", "sim:golf8", "--plan", "deep"}, {"visit"}, {"visit", "opne"},
		{"visit", "open", "now"}, {"visit", "open", "--customer-lang", "tlh"}, {"--lang", "xx", "visit", "list"},
		{"consent", "record"}, {"consent", "record", "--purpose", "obfcm"}, {"consent", "record", "--purpose", "gossip=yes"},
		{"consent", "record", "--purpose", "service=maybe"}, {"consent", "withdraw"}, {"consent", "withdraw", "--purpose", "gossip"},
		{"recipient", "add"}, {"recipient", "show"}, {"explain"}, {"decode", "0105"}, {"decode"}, {"upload", "now"},
		{"sim", "golf8", "--on", "smoke-signals"}, {"ledger", "verfiy"}, {"policy"}, {"doctor", "a", "b"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			newProgram(t)
			if args[0] == "consent" {
				code, _, errs := run(t, "visit", "open")
				require.Zero(t, code, errs)
			}
			code, out, errs := run(t, args...)
			require.Equal(t, exitUsage, code, errs)
			require.Empty(t, out)
			require.Regexp(t, `^obdgate: .+\n  → .+\n$`, errs)
		})
	}
}

// Every exit code that the program can end with stands in the help.
func TestExitCodesAreInTheHelp(t *testing.T) {
	for _, code := range []int{exitOK, exitUsage, exitData, exitNoInput, exitUnavailable, exitSoftware, exitCantCreate, exitIO, exitTempFail,
		exitProtocol, exitNoPerm, exitConfig, exitInterrupted} {
		require.Contains(t, exitHelp, fmt.Sprintf(" %d ", code))
	}
}
