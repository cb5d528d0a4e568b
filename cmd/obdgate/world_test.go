package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds everything that is expected to end: on a busy machine too nothing here takes half as long.
const patience = 60 * time.Second

// shop is a workshop with a state directory of its own. The program runs as a process.
type shop struct {
	t    testing.TB
	dir  string // everything that is written lies below it
	home string
}

func newShop(t testing.TB) shop {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"tmp", "user"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	return shop{t, dir, filepath.Join(dir, "state")}
}

// env is all the program gets.
func (s shop) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(s.dir, "user"), "TMPDIR=" + filepath.Join(s.dir, "tmp"),
		"OBDGATE_HOME=" + s.home, "OBDGATE_KEYRING=off", "LANG=C.UTF-8", "OBDGATE_COLLECTOR_HOME=" + filepath.Join(s.dir, "collector"),
		"SystemRoot=" + os.Getenv("SystemRoot")}
}

type result struct {
	code      int
	out, errs string
	took      time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("exit %d after %v\n%s\n%s", r.code, r.took, r.out, r.errs)
}

// run runs obdgate to its end, which must come by itself.
func (s shop) run(args ...string) result {
	s.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	return s.wait(ctx, s.command(ctx, "obdgate", args...))
}

func (s shop) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir = s.env(), s.dir
	return cmd
}

func (s shop) wait(ctx context.Context, cmd *exec.Cmd) result {
	s.t.Helper()
	r, err := s.begin(cmd)()
	require.NoError(s.t, ctx.Err(), "%v hangs: %s", cmd.Args, r)
	require.NoError(s.t, err)
	return r
}

// begin starts a program and returns what waits for its end, in another goroutine if need be. The error is of the waiting.
func (s shop) begin(cmd *exec.Cmd) (end func() (result, error)) {
	s.t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	require.NoError(s.t, cmd.Start())
	return func() (result, error) {
		err := cmd.Wait()
		r := result{out: out.String(), errs: errs.String(), took: time.Since(began)}
		var status *exec.ExitError
		if errors.As(err, &status) {
			r.code, err = status.ExitCode(), nil
		}
		return r, err
	}
}

// interrupt ends a program as Ctrl-C does and requires that it ends at once.
func (s shop) interrupt(cmd *exec.Cmd, end func() (result, error)) result {
	s.t.Helper()
	began := time.Now()
	require.NoError(s.t, cmd.Process.Signal(os.Interrupt))
	alarm := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer alarm.Stop()
	r, err := end()
	require.NoError(s.t, err)
	require.Less(s.t, time.Since(began), 5*time.Second)
	return r
}

// must runs obdgate, requires that all went well and returns what it printed.
func (s shop) must(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	require.Zero(s.t, r.code, "%v: %s", args, r)
	return strings.TrimSpace(r.out)
}

// says is what a failed command owes its user: the code, a sentence, what to do next.
var says = regexp.MustCompile(`(?m)^obdgate: \S.*(\n.*)*\n  → \S`)

func (s shop) fails(code int, args ...string) result {
	s.t.Helper()
	r := s.run(args...)
	require.Equal(s.t, code, r.code, "%v: %s", args, r)
	require.Regexp(s.t, says, r.errs)
	require.NotContains(s.t, r.errs, "goroutine ")
	return r
}

// usable: whatever happened, the state works and the log verifies.
func (s shop) usable() {
	s.t.Helper()
	s.must("ledger", "verify")
	s.must("visit", "list")
	id := s.must("visit", "open")
	s.must("scan", "sim:golf8", "--plan", "quick", "--visit", id)
	s.must("visit", "close", id)
}

// child is a program in the background.
type child struct {
	*exec.Cmd
	address string
	errs    *buffer
	rest    *buffer // stdout after the address
}

// start runs a program until the test ends and waits for its "ready ADDRESS".
func (s shop) start(name string, args ...string) *child {
	t := s.t
	t.Helper()
	c := &child{Cmd: s.command(context.Background(), name, args...), errs: new(buffer), rest: new(buffer)}
	c.Stderr = c.errs
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	alarm := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer alarm.Stop()
	r := bufio.NewReader(out)
	line, err := r.ReadString('\n')
	require.NoError(t, err, "%s: %s", name, c.errs)
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	require.True(t, ok, line)
	c.address = address
	go func() { _, _ = io.Copy(c.rest, r) }()
	return c
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// dealer sets up the receiving end of a shop in its own process and enters it in the register. It returns the arguments
// that start it again at the same address.
func (s shop) dealer() (*child, []string) {
	s.t.Helper()
	serve := s.enrol()
	return s.start("obdgate-collector", serve...), serve
}

// enrol is dealer without starting it: the receiving end is down.
func (s shop) enrol() (serve []string) {
	t := s.t
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := ln.Addr().String()
	require.NoError(t, ln.Close())
	file := filepath.Join(t.TempDir(), "lane-1.json")
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	r := s.wait(ctx, s.command(ctx, "obdgate-collector", "keys", "--name", "Dealer NV", "--country", "BE", "--url", "https://"+address,
		"--station", "lane-1", "--out", file))
	require.Zero(t, r.code, r)
	s.must("recipient", "add", file, "--agreement", "DPA 2026-07")
	return []string{"serve", "--listen", address}
}

// received is what the receiving end holds, an envelope a line.
func (s shop) received() []string {
	s.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	r := s.wait(ctx, s.command(ctx, "obdgate-collector", "export"))
	require.Zero(s.t, r.code, r)
	return strings.FieldsFunc(r.out, func(c rune) bool { return c == '\n' })
}

// agreed opens a visit whose customer agreed to everything a dealer may have.
func (s shop) agreed() (visit string) {
	s.t.Helper()
	id := s.must("visit", "open")
	s.must("consent", "record", "--visit", id, "--purpose", "service=yes", "--purpose", "obfcm=yes", "--evidence", "paper form 7")
	return id
}

func parse(t testing.TB, text string) (doc map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &doc), text)
	return doc
}
