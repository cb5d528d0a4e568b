package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"obdgate/internal/collector/command"

	"github.com/rogpeppe/go-internal/testscript"
)

// Both programs run as processes of their own in the stories. Most of a story's time is waiting, for a plug that does not
// come back or a collector that says nothing, so that more of them go on at once than there are processors; -parallel
// still decides where it is given.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", strconv.Itoa(4*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){
		"obdgate": main,
		"obdgate-collector": func() {
			os.Exit(command.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// TestStories runs testdata/*.txtar: what technicians, customers and data protection officers do, as they would type it.
// Beyond testscript's own commands there are
//
//	exits CODE PROGRAM ARGS...    run and require this exit code, what is wrong, and what to do next
//	start NAME PROGRAM ARGS...    run in the background until it says "ready ADDRESS"; $NAME is the address
//	stop NAME                     end it as Ctrl-C does, and require that it ends well
//	keep NAME                     $NAME is what the last command printed
//	freeport NAME                 $NAME is a TCP port on which nobody listens
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("OBDGATE_HOME", e.WorkDir+"/state")
			e.Setenv("OBDGATE_KEYRING", "off")
			e.Setenv("OBDGATE_COLLECTOR_HOME", e.WorkDir+"/collector")
			e.Setenv("LANG", "C.UTF-8")
			e.Setenv("NO_COLOR", "1")
			e.Values[running{}] = map[string]*exec.Cmd{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "start": start, "stop": stop, "keep": keep, "freeport": freePort,
		},
	})
}

type running struct{}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var status *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &status):
		got = status.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
	errs := ts.ReadFile("stderr")
	if got != 0 && !strings.Contains(errs, args[1]+": ") {
		ts.Fatalf("stderr does not say what is wrong")
	}
	if got != 0 && args[1] == "obdgate" && !strings.Contains(errs, "\n  → ") {
		ts.Fatalf("stderr does not say what to do next")
	}
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARGS...")
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "OBDGATE_HOME", "OBDGATE_KEYRING", "OBDGATE_COLLECTOR_HOME", "TMPDIR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	errs, err := os.Create(ts.MkAbs(args[0] + ".stderr"))
	ts.Check(err)
	cmd.Stderr = errs
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Check(errs.Close())
	ts.Defer(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	ts.Value(running{}).(map[string]*exec.Cmd)[args[0]] = cmd
	alarm := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	alarm.Stop()
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ok {
		ts.Fatalf("%s is not ready: %q %v\n%s", args[1], line, err, ts.ReadFile(args[0]+".stderr"))
	}
	ts.Setenv(args[0], address)
}

func stop(ts *testscript.TestScript, neg bool, args []string) {
	all := ts.Value(running{}).(map[string]*exec.Cmd)
	if neg || len(args) != 1 || all[args[0]] == nil {
		ts.Fatalf("usage: stop NAME, after start NAME")
	}
	cmd := all[args[0]]
	delete(all, args[0])
	ts.Check(cmd.Process.Signal(os.Interrupt))
	alarm := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer alarm.Stop()
	if err := cmd.Wait(); err != nil {
		ts.Fatalf("%s: %v\n%s", args[0], err, ts.ReadFile(args[0]+".stderr"))
	}
}

func keep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: keep NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport NAME")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, err := net.SplitHostPort(ln.Addr().String())
	ts.Check(errors.Join(err, ln.Close()))
	ts.Setenv(args[0], port)
}
