package vcan_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"obdgate/internal/frame"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// program is the program itself as a process, with a state of its own.
func program(t *testing.T, args string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(within(t), self)
	cmd.Env = append(os.Environ(), childArgs+"=--home "+t.TempDir()+"/state --lang en "+args)
	return cmd
}

// A car on a bus with faults, and a tester that is another process.
func TestTheProgramReadsACarOnADisturbedBus(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	car := program(t, "sim golf8 --on can://"+name+" --fault duplicate=100%,delay=1ms")
	out, err := car.StdoutPipe()
	require.NoError(t, err)
	var told bytes.Buffer
	car.Stderr = &told
	require.NoError(t, car.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready can://"+name+"\n", line)
	scan := program(t, "scan can://"+name+" --plan quick --json")
	var errs bytes.Buffer
	scan.Stderr = &errs
	b, err := scan.Output()
	require.NoError(t, err, errs.String())
	var doc struct {
		VIN    string
		Errors []any
	}
	require.NoError(t, json.Unmarshal(b, &doc))
	require.Equal(t, "WVWZZZCD0NW000001", doc.VIN)
	require.Empty(t, doc.Errors)
	require.NoError(t, car.Process.Signal(os.Interrupt))
	require.NoError(t, car.Wait())
	require.Contains(t, told.String(), "frames carried")
}

// Chosen values as they change, over the kernel's bus: one round after the other, questions that read, and no state.
func TestTheProgramWatchesValues(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	log := t.TempDir() + "/asked.log"
	car := program(t, "sim golf8 --on can://"+name+" --log "+log)
	out, err := car.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, car.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready can://"+name+"\n", line)
	home := t.TempDir() + "/state"
	watch := program(t, "scan can://"+name+" --plan live --pid 0C,05 --count 5 --every 0 --json --home "+home)
	var errs bytes.Buffer
	watch.Stderr = &errs
	b, err := watch.Output()
	require.NoError(t, err, errs.String())
	rounds := strings.Split(strings.TrimSpace(string(b)), "\n")
	require.Len(t, rounds, 5)
	for _, round := range rounds {
		require.Contains(t, round, `"obd.01.0C"`)
		require.Contains(t, round, `"obd.01.05"`)
		require.NotContains(t, round, `"errors":[{`)
	}
	require.NoDirExists(t, home, "nothing of it is stored")
	require.NoError(t, car.Process.Signal(os.Interrupt))
	require.NoError(t, car.Wait())
	asked, err := os.ReadFile(log)
	require.NoError(t, err)
	require.GreaterOrEqual(t, strings.Count(string(asked), "01050C"), 5, "both in one question: %s", asked)
	require.NotRegexp(t, `(?m)\b(04|14FFFFFF|2[EF]|31)\b`, string(asked))
}

// A piece of a recording, chosen by identifier and time, played twice.
func TestTheProgramReplaysAPieceInLoops(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	log := t.TempDir() + "/drive.log"
	require.NoError(t, os.WriteFile(log, []byte("(10.000000) can0 100#01\n(10.100000) can0 7E8#02\n(10.200000) can0 100#03\n(10.300000) can0 18DAF110#04\n(10.400000) can0 7E8#05\n"), 0o600))
	l, err := socketcan.Open(within(t), "can://"+name)
	require.NoError(t, err)
	b, err := program(t, "replay "+log+" --on "+name+" --id 7E8,18DA0000-18DAFFFF --seconds 0.05-0.35 --speed 100 --loop 2").CombinedOutput()
	require.NoError(t, err, "%s", b)
	var got []byte
	for range 4 {
		f, err := l.Recv(within(t))
		require.NoError(t, err)
		got = append(got, f.Data[0])
	}
	require.Equal(t, []byte{2, 4, 2, 4}, got)
	require.NoError(t, l.Close())
}

// Two interfaces watched together, one of them taken away: what the other carries is still shown.
func TestTheProgramWatchesTwoInterfaces(t *testing.T) {
	name := testtier.Require(t, testtier.VCAN)
	other := second(t, "vcan6")
	before := listeners(t)
	watch := program(t, "monitor can://"+name+" can://"+other+" --count 3")
	var out, told bytes.Buffer
	watch.Stdout, watch.Stderr = &out, &told
	require.NoError(t, watch.Start())
	require.Eventually(t, func() bool { return listeners(t) >= before+2 }, patience, patience/1000, "it does not listen")
	send := func(on string, id uint32) {
		l, err := socketcan.Open(within(t), "can://"+on)
		require.NoError(t, err)
		require.NoError(t, l.Send(within(t), frame.New(id, 0, 1)))
		require.NoError(t, l.Close())
	}
	send(name, 0x101)
	send(other, 0x102)
	ip(t, "link", "del", other)
	send(name, 0x103)
	require.NoError(t, watch.Wait(), told.String())
	for _, want := range []string{name + " 101", other + " 102", name + " 103"} {
		words := strings.Fields(want)
		require.Regexp(t, words[0]+` +`+words[1], out.String())
	}
	require.Contains(t, told.String(), other+" is not heard any more")
}

// An interface that is taken away under the monitor, in each way: it says what happened and what to type, ends with the exit
// code of a missing adapter, and shows what it heard before.
func TestTheProgramIsToldThatItsInterfaceIsGone(t *testing.T) {
	again := func(t *testing.T, name string) {
		ip(t, "link", "add", "dev", name, "type", "vcan")
		ip(t, "link", "set", name, "mtu", "72", "up")
	}
	for _, c := range []struct {
		what, name, says string
		do               func(t *testing.T, name string)
	}{
		{"switched off", "vcan20", "vcan20 was switched off", func(t *testing.T, name string) { ip(t, "link", "set", name, "down") }},
		{"switched off and on", "vcan21", "vcan21 was switched off", func(t *testing.T, name string) {
			ip(t, "link", "set", name, "down")
			ip(t, "link", "set", name, "up")
		}},
		{"removed", "vcan22", "vcan22 was ", func(t *testing.T, name string) { ip(t, "link", "del", name) }},
		{"removed and made anew", "vcan23", "vcan23 was ", func(t *testing.T, name string) {
			ip(t, "link", "del", name)
			again(t, name)
		}},
		{"renamed", "vcan24", "vcan24 was ", func(t *testing.T, name string) {
			// Kernels before 6.2 rename only what is down.
			if exec.CommandContext(within(t), "ip", "link", "set", name, "name", "vcan34").Run() == nil {
				t.Log("renamed while up")
				ip(t, "link", "set", "vcan34", "down")
			} else {
				ip(t, "link", "set", name, "down")
				ip(t, "link", "set", name, "name", "vcan34")
				ip(t, "link", "set", "vcan34", "up")
			}
			t.Cleanup(func() { ip(t, "link", "del", "vcan34") })
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			name := second(t, c.name)
			before := listeners(t)
			watch := program(t, "monitor can://"+name)
			var out, told bytes.Buffer
			watch.Stdout, watch.Stderr = &out, &told
			require.NoError(t, watch.Start())
			require.Eventually(t, func() bool { return listeners(t) > before }, patience, patience/1000, "it does not listen")
			l, err := socketcan.Open(within(t), "can://"+name)
			require.NoError(t, err)
			require.NoError(t, l.Send(within(t), frame.New(0x101, 0, 1)))
			require.NoError(t, l.Close())
			c.do(t, name)
			err = watch.Wait()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, told.String())
			require.Equal(t, 69, exit.ExitCode(), told.String())
			require.Contains(t, told.String(), c.says)
			require.Contains(t, told.String(), "ip link set "+name)
			require.Regexp(t, name+` +101`, out.String())
			t.Log(told.String())
		})
	}
}
