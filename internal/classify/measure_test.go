//go:build linux

package classify

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/classify/loggen"
	"obdgate/internal/frame"

	"github.com/stretchr/testify/require"
)

// cost is the least of several runs of one program.
type cost struct {
	wall, cpu time.Duration
	most, own int64 // kB resident at most: all, and without the pages of the program's file
}

func none() cost { return cost{wall: math.MaxInt64, cpu: math.MaxInt64} }

// bench measures programs on one recording.
type bench struct {
	t      *testing.T
	dir    string // in memory, so that no disk is measured
	frames int
	costs  map[string]*cost
}

// program is what is measured, without a shell around it, which would take longer to start than it.
type program struct {
	name string
	args []string
	in   string // "" = nothing
	out  string // "" = /dev/zero, which takes everything
	one  bool   // on one processor
}

// command is the program ready to run, and what closes its files.
func (b *bench) command(p program) (*exec.Cmd, func()) {
	name := p.args[0]
	if own, ok := strings.CutPrefix(name, "./"); ok {
		name = filepath.Join(b.dir, own)
	}
	cmd := exec.Command(name, p.args[1:]...)
	cmd.Dir, cmd.Env = b.dir, append(os.Environ(), "LC_ALL=C", "OBDGATE_HOME="+filepath.Join(b.dir, "home"))
	if p.one {
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	}
	out := "/dev/zero"
	if p.out != "" {
		out = filepath.Join(b.dir, p.out)
	}
	to, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	require.NoError(b.t, err)
	cmd.Stdout = to
	if p.in == "" {
		return cmd, func() { _ = to.Close() }
	}
	from, err := os.Open(filepath.Join(b.dir, p.in))
	require.NoError(b.t, err)
	cmd.Stdin = from
	return cmd, func() { _, _ = to.Close(), from.Close() }
}

// spend runs a program once and keeps the least.
func (b *bench) spend(p program) {
	c := b.costs[p.name]
	if c == nil {
		n := none()
		c = &n
		b.costs[p.name] = c
	}
	cmd, done := b.command(p)
	defer done()
	var trouble strings.Builder
	cmd.Stderr = &trouble
	from := time.Now()
	require.NoError(b.t, cmd.Run(), "%s: %s", p.name, &trouble)
	c.wall = min(c.wall, time.Since(from))
	c.cpu = min(c.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
}

// memory runs a program once more and looks again and again at how much of it is resident. (What wait tells of it holds the
// memory of whoever started it too.)
func (b *bench) memory(p program) {
	cmd, done := b.command(p)
	defer done()
	require.NoError(b.t, cmd.Start())
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			require.NoError(b.t, err)
			return
		case <-time.After(time.Millisecond):
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
			for line := range strings.Lines(string(status)) {
				fields := strings.Fields(line)
				if len(fields) < 2 {
					continue
				}
				kB, _ := strconv.ParseInt(fields[1], 10, 64)
				switch c := b.costs[p.name]; fields[0] {
				case "VmHWM:":
					c.most = max(c.most, kB)
				case "RssAnon:":
					c.own = max(c.own, kB)
				}
			}
		}
	}
}

func (b *bench) put(name string, d time.Duration) {
	if c := b.costs[name]; c != nil {
		d = min(d, c.wall)
	}
	b.costs[name] = &cost{wall: d, cpu: d}
}

// rate is million frames per second of processor time, and of wall time.
func (b *bench) rate(name string) string {
	c := b.costs[name]
	if c == nil {
		return fmt.Sprintf("  %-34s not here", name)
	}
	of := func(d time.Duration) float64 { return float64(b.frames) / d.Seconds() / 1e6 }
	s := fmt.Sprintf("  %-34s %7.2f M/s (processor) %7.2f M/s (wall)", name, of(c.cpu), of(c.wall))
	if c.most > 0 {
		s += fmt.Sprintf(" %6.1f MiB, %.1f of them not the program", float64(c.most)/1024, float64(c.own)/1024)
	}
	return s
}

func (b *bench) ratio(ours, theirs, least, stretch string) string {
	o, t := b.costs[ours], b.costs[theirs]
	if o == nil || t == nil {
		return fmt.Sprintf("  %-34s / %-26s not here", ours, theirs)
	}
	return fmt.Sprintf("  %-34s / %-26s %6.2f (processor) %6.2f (wall)   at least %-5s stretch %s", ours, theirs,
		float64(t.cpu)/float64(o.cpu), float64(t.wall)/float64(o.wall), least, stretch)
}

// Not a test but the table of what obdgate needs beside what others need, on one recording in one run, the programs taking
// turns: ratios of the least of OBDGATE_MEASURE rounds (skipped without it; 5 is a good number). OBDGATE_MEASURE_FRAMES is
// the length of the recording (default 5,000,000). Yardsticks that are not installed are left out; OBDGATE_CANTOOLS names
// the Python that has cantools.
func TestMeasure(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv("OBDGATE_MEASURE"))
	if rounds == 0 {
		t.Skip("OBDGATE_MEASURE is not set")
	}
	b := &bench{t: t, dir: workDir(t), frames: 5_000_000, costs: map[string]*cost{}}
	if s := os.Getenv("OBDGATE_MEASURE_FRAMES"); s != "" {
		var err error
		b.frames, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	b.prepare()
	programs := b.programs()
	for range rounds {
		for _, p := range programs {
			b.spend(p)
		}
		b.inProcess()
	}
	for _, p := range programs {
		if p.args[0] == "./obdgate" && p.args[1] == "classify" {
			b.memory(p)
		}
	}
	for _, p := range programs[:2] {
		p.out = p.name
		b.spend(p)
	}
	cmp, done := b.command(program{args: []string{"cmp", programs[0].name, programs[1].name}})
	defer done()
	require.NoError(t, cmp.Run(), "what is left after dropping is not what grep leaves")
	if c := b.costs["cantools decode"]; c != nil { // as if it had decoded them all
		c.cpu, c.wall = c.cpu*time.Duration(b.frames)/cantoolsFrames, c.wall*time.Duration(b.frames)/cantoolsFrames
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%d frames, least of %d rounds, %d processors\n", b.frames, rounds, runtime.NumCPU())
	for _, p := range programs {
		out.WriteString(b.rate(p.name) + "\n")
	}
	for _, name := range []string{"parse", "can-go parse", "parse and decode", "can-go parse and decode", "generated C, parse and decode", "find lines"} {
		out.WriteString(b.rate(name) + "\n")
	}
	for _, r := range []string{
		b.ratio("drop ids", "grep -vF", "3", ""), b.ratio("drop ids, two processors", "grep -vF", "3", ""), b.ratio("mask", "grep -vF", "0.9", "1.5"),
		b.ratio("mask, two processors", "grep -vF", "0.9", "1.5"), b.ratio("mask, two processors", "mask", "1.3", "1.6 (wall)"),
		b.ratio("parse", "can-go parse", "6", "8"), b.ratio("parse", "log2asc", "35", ""),
		b.ratio("parse and decode", "generated C, parse and decode", "1.0", ""), b.ratio("parse and decode", "can-go parse and decode", "4.5", ""),
		b.ratio("JSON lines", "cantools decode", "70", "100"), b.ratio("JSON lines, two processors", "cantools decode", "70", "100"),
	} {
		out.WriteString(r + "\n")
	}
	start, help, nothing := b.costs["start"], b.costs["--help"], b.costs["a Go program that does nothing"]
	fmt.Fprintf(&out, "  start with the database: %.1f ms (processor) %.1f ms (wall), at least 15, stretch 6; --help: %.1f ms (wall); a Go program that does nothing: %.1f ms\n",
		start.cpu.Seconds()*1e3, start.wall.Seconds()*1e3, help.wall.Seconds()*1e3, nothing.wall.Seconds()*1e3)
	t.Log("\n" + out.String())
}

// cantoolsFrames is how many frames cantools decodes: all would take a minute a round.
const cantoolsFrames = 50_000

// workDir is in memory where the system has such a place.
func workDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "measure")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (b *bench) prepare() {
	t := b.t
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(b.dir, "obdgate"), "obdgate/cmd/obdgate")
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr // as it is shipped
	require.NoError(t, build.Run())
	nothing := filepath.Join(b.dir, "nothing.go")
	require.NoError(t, os.WriteFile(nothing, []byte("package main\n\nfunc main() {}\n"), 0o600))
	build = exec.Command("go", "build", "-o", filepath.Join(b.dir, "nothing"), nothing)
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	require.NoError(t, build.Run())
	for _, f := range []struct {
		name string
		n    int
	}{{"log", b.frames}, {"some.log", cantoolsFrames}, {"empty.log", 1}} {
		out, err := os.Create(filepath.Join(b.dir, f.name))
		require.NoError(t, err)
		require.NoError(t, loggen.Classic.Log(out, f.n, 1))
		require.NoError(t, out.Close())
	}
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "gen.dbc"), loggen.Classic.DBC(), 0o600))
}

// programs are those that are measured, what drops identifiers first and grep's way of it next. What they write goes to
// /dev/zero: a file in memory costs more than all else (see "cat into memory"), a pipe needs a processor of its own, and grep
// stops early when it sees /dev/null.
func (b *bench) programs() []program {
	dropped := []string{"0A0", "0B1", "0C2", "0D3", "0E4", "0F5", "106", "117"}
	grep := []string{"grep", "-vF"}
	for _, id := range dropped {
		grep = append(grep, "-e", " "+id+"#")
	}
	ours := func(args ...string) []string { return append([]string{"./obdgate", "classify"}, args...) }
	drop := ours("--to", "candump", "--ids", "not:"+strings.Join(dropped, ","), "log")
	mask := func(log string) []string {
		return ours("--dbc", "gen.dbc", "--to", "candump", "--mask", "personal", log)
	}
	jsonl := ours("--dbc", "gen.dbc", "--to", "jsonl", "log")
	all := []program{
		{name: "drop ids", args: drop, one: true},
		{name: "grep -vF", args: append(grep, "log")},
		{name: "drop ids, two processors", args: drop},
		{name: "tag only", args: ours("--dbc", "gen.dbc", "log"), one: true},
		{name: "mask", args: mask("log"), one: true},
		{name: "mask, two processors", args: mask("log")},
		{name: "only technical", args: ours("--dbc", "gen.dbc", "--to", "candump", "--only", "technical", "log"), one: true},
		{name: "JSON lines", args: jsonl, one: true},
		{name: "JSON lines, two processors", args: jsonl},
		{name: "start", args: mask("empty.log")},
		{name: "--help", args: []string{"./obdgate", "--help"}},
		{name: "a Go program that does nothing", args: []string{"./nothing"}},
		{name: "wc -l", args: []string{"wc", "-l", "log"}},
		{name: "cat", args: []string{"cat", "log"}},
		{name: "cat into memory", args: []string{"cat", "log"}, out: "out"},
		{name: "grep -vE", args: []string{"grep", "-vE", " (" + strings.Join(dropped, "|") + ")#", "log"}},
	}
	if _, err := exec.LookPath("mawk"); err == nil {
		all = append(all, program{name: "mawk", args: []string{"mawk", `{split($3, a, "#"); n[a[1]]++} END {for (i in n) print i, n[i]}`, "log"}})
	}
	if _, err := exec.LookPath("log2asc"); err == nil {
		all = append(all, program{name: "log2asc", args: []string{"log2asc", "-I", "log", "-O", "/dev/zero", "can0"}})
	}
	if python := peerPython(); python != "" {
		all = append(all, program{name: "cantools decode", args: []string{python, "-m", "cantools", "decode", "-s", "--no-strict", "gen.dbc"}, in: "some.log"})
		b.generatedC(python)
	}
	return all
}

// inProcess measures what is a library on both sides, on a text no larger than what a program reads at a time.
func (b *bench) inProcess() {
	var log bytes.Buffer
	require.NoError(b.t, loggen.Classic.Log(&log, benchFrames, 1))
	n := log.Len()
	text := append(log.Bytes(), make([]byte, canlog.Reach)...)
	log.Reset()
	for range 20 {
		b.timed("parse", func() { parseAll(b.t, text[:n]) })
		b.timed("can-go parse", func() { canGoParse(b.t, text[:n]) })
		b.timed("parse and decode", decodeAll(b.t, text[:n]))
		b.timed("can-go parse and decode", canGoDecode(b.t, text[:n]))
		b.timed("find lines", func() {
			for at := 0; at < n; {
				at += bytes.IndexByte(text[at:], '\n') + 1
			}
		})
	}
	if program := filepath.Join(b.dir, "decode"); exists(program) {
		out, err := exec.Command(program, filepath.Join(b.dir, "some.log")).Output()
		require.NoError(b.t, err)
		ns, err := strconv.ParseFloat(strings.Fields(string(out))[0], 64)
		require.NoError(b.t, err)
		b.put("generated C, parse and decode", time.Duration(ns*float64(b.frames)))
	}
}

func exists(name string) bool { _, err := os.Stat(name); return err == nil }

// timed keeps the least time, as that of the whole recording.
func (b *bench) timed(name string, do func()) {
	from := time.Now()
	do()
	b.put(name, time.Since(from)*time.Duration(b.frames/benchFrames))
}

// parseAll reads every field of every line; lines of another form would be read by Parse, damaged ones told.
func parseAll(t testing.TB, text []byte) {
	var q canlog.Quick
	var f frame.Frame
	whole := text[:cap(text)]
	for at := 0; at < len(text); {
		s, ok := q.Parse(whole[at:], &f)
		if !ok {
			if s, ok = slowly(text[at:], &f); !ok {
				t.Fatal("damaged")
			}
		}
		at += s.Next
	}
}

// decodeAll reads every line, looks its message up and decodes every active signal.
func decodeAll(t testing.TB, text []byte) func() {
	o := Options{Policy: rules(t), DB: buses(t), To: JSONL}
	tb := newTable(&o)
	values, scratch := make([]float64, 64), newPen(tb).scratch
	return func() {
		var q canlog.Quick
		var f frame.Frame
		whole, sum := text[:cap(text)], 0.0
		for at := 0; at < len(text); {
			s, ok := q.Parse(whole[at:], &f)
			if !ok {
				t.Fatal("not a common line")
			}
			at += s.Next
			if v := tb.find(f.ID, f.Flags); v != nil && v.plan != nil {
				_, values = v.plan.Floats(&f, values, scratch)
				sum += values[0]
			}
		}
	}
}

// generatedC makes a program of the C that cantools generates, with a plain parser of lines in front of it. It prints the
// nanoseconds per frame of the best of many rounds.
func (b *bench) generatedC(python string) {
	gen := exec.Command(python, "-m", "cantools", "generate_c_source", "--no-strict", "--database-name", "gen", "gen.dbc")
	gen.Dir = b.dir
	if out, err := gen.CombinedOutput(); err != nil {
		b.t.Logf("no C: %s", out)
		return
	}
	require.NoError(b.t, os.WriteFile(filepath.Join(b.dir, "decode.c"), []byte(cProgram(b.t)), 0o600))
	cc := exec.Command("gcc", "-O2", "-o", "decode", "decode.c", "gen.c")
	cc.Dir = b.dir
	if out, err := cc.CombinedOutput(); err != nil {
		b.t.Logf("no C: %v %s", err, out)
	}
}

// cProgram is main: a case for every message, with the signals that the values of its switches select.
func cProgram(t testing.TB) string {
	var c strings.Builder
	for _, m := range buses(t).Messages() {
		if !strings.HasPrefix(m.Name, "MSG") {
			continue
		}
		name, id := strings.ToLower(m.Name), m.ID
		if m.Extended {
			id |= 1 << 31
		}
		fmt.Fprintf(&c, "case 0x%XU: { struct gen_%s_t m; if (gen_%s_unpack(&m, data, len)) break;\n", id, name, name)
		for _, s := range m.Signals {
			when := ""
			for at := s; at.Under != nil; at = at.Under {
				when += fmt.Sprintf("m.%s == %d && ", strings.ToLower(at.Under.Name), at.When[0].From)
			}
			s := strings.ToLower(s.Name)
			fmt.Fprintf(&c, " if (%s1) sum += gen_%s_%s_decode(m.%s);\n", when, name, s, s)
		}
		c.WriteString(" break; }\n")
	}
	return cHead + c.String() + cTail
}

const cHead = `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "gen.h"
static unsigned char hex[256];
static double sum;
static void decode(uint32_t id, const uint8_t *data, size_t len) { switch (id) {
`

const cTail = `} }
int main(int argc, char **argv) {
	FILE *f = fopen(argv[1], "rb"); fseek(f, 0, SEEK_END); long n = ftell(f); rewind(f);
	char *text = malloc(n); if (fread(text, 1, n, f) != (size_t)n) return 1;
	memset(hex, 255, sizeof hex);
	for (int i = 0; i < 10; i++) hex['0' + i] = i;
	for (int i = 0; i < 6; i++) hex['A' + i] = hex['a' + i] = 10 + i;
	double best = 1e99;
	for (int round = 0; round < 30; round++) {
		struct timespec a, b; clock_gettime(CLOCK_MONOTONIC, &a);
		long frames = 0; const char *p = text, *end = text + n;
		while (p < end) {
			uint64_t at = 0; p++;
			for (; *p != ')'; p++) if (*p != '.') at = at * 10 + (*p - '0');
			for (p += 2; *p != ' '; p++);
			uint32_t id = 0; const char *from = ++p;
			for (; *p != '#'; p++) id = id << 4 | hex[(unsigned char)*p];
			if (p - from == 8) id |= 1u << 31;
			uint8_t data[8]; size_t len = 0;
			for (p++; *p != '\n'; p += 2) {
				unsigned char h = hex[(unsigned char)p[0]], l = hex[(unsigned char)p[1]];
				if ((h | l) > 15 || len == 8) return 2;
				data[len++] = h << 4 | l;
			}
			p++; sum += at; frames++;
			decode(id, data, len);
		}
		clock_gettime(CLOCK_MONOTONIC, &b);
		double ns = ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / frames;
		if (ns < best) best = ns;
	}
	printf("%f %g\n", best, sum);
	return 0;
}
`
