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

// spend runs a shell line once and keeps the least.
func (b *bench) spend(name, line string) {
	c := b.costs[name]
	if c == nil {
		n := none()
		c = &n
		b.costs[name] = c
	}
	cmd := exec.Command("bash", "-c", "exec "+line)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "OBDGATE_HOME="+filepath.Join(b.dir, "home"))
	var trouble strings.Builder
	cmd.Stderr = &trouble
	from := time.Now()
	require.NoError(b.t, cmd.Run(), "%s: %s", name, trouble.String())
	c.wall = min(c.wall, time.Since(from))
	c.cpu = min(c.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
}

// memory runs a shell line once more and looks again and again at how much of it is resident. (What wait tells of it holds the
// memory of whoever started it too.)
func (b *bench) memory(name, line string) {
	cmd := exec.Command("bash", "-c", "exec "+line)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "OBDGATE_HOME="+filepath.Join(b.dir, "home"))
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
				switch c := b.costs[name]; fields[0] {
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
			b.spend(p[0], p[1])
		}
		b.inProcess()
	}
	for _, p := range programs {
		if strings.Contains(p[1], "obdgate classify") {
			b.memory(p[0], p[1])
		}
	}
	_, ours, theirs := dropIDs()
	same := exec.Command("bash", "-c", "cmp <("+ours+") <("+theirs+")")
	same.Dir, same.Env = b.dir, append(os.Environ(), "LC_ALL=C", "OBDGATE_HOME="+filepath.Join(b.dir, "home"))
	told, err := same.CombinedOutput()
	require.NoError(t, err, "what is left after dropping is not what grep leaves: %s", told)
	if c := b.costs["cantools decode"]; c != nil { // as if it had decoded them all
		c.cpu, c.wall = c.cpu*time.Duration(b.frames)/cantoolsFrames, c.wall*time.Duration(b.frames)/cantoolsFrames
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%d frames, least of %d rounds, %d processors\n", b.frames, rounds, runtime.NumCPU())
	for _, p := range programs {
		out.WriteString(b.rate(p[0]) + "\n")
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
	start, help := b.costs["start"], b.costs["--help"]
	fmt.Fprintf(&out, "  start with the database: %.1f ms (processor) %.1f ms (wall), at least 15, stretch 6; --help: %.1f ms (wall)\n",
		start.cpu.Seconds()*1e3, start.wall.Seconds()*1e3, help.wall.Seconds()*1e3)
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
	build := exec.Command("go", "build", "-o", filepath.Join(b.dir, "obdgate"), "obdgate/cmd/obdgate")
	build.Stderr = os.Stderr
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

// dropIDs are eight identifiers and what leaves out their frames, ours and grep's.
func dropIDs() (list []string, ours, theirs string) {
	list = []string{"0A0", "0B1", "0C2", "0D3", "0E4", "0F5", "106", "117"}
	return list, "./obdgate classify --to candump --ids not:" + strings.Join(list, ",") + " log", "grep -vF -e ' " + strings.Join(list, "#' -e ' ") + "#' log"
}

// programs are name and shell line of each. What they write goes to /dev/zero, which takes everything: a file in memory costs
// more than all else (see "cat into memory"), a pipe needs a processor of its own, and grep stops early when it sees
// /dev/null.
func (b *bench) programs() [][2]string {
	list, ours, theirs := dropIDs()
	one, classify := "env GOMAXPROCS=1 ", "./obdgate classify --dbc gen.dbc "
	all := [][2]string{
		{"drop ids", one + ours + " > /dev/zero"},
		{"grep -vF", theirs + " > /dev/zero"},
		{"drop ids, two processors", ours + " > /dev/zero"},
		{"tag only", one + classify + "log > /dev/zero"},
		{"mask", one + classify + "--to candump --mask personal log > /dev/zero"},
		{"mask, two processors", classify + "--to candump --mask personal log > /dev/zero"},
		{"only technical", one + classify + "--to candump --only technical log > /dev/zero"},
		{"JSON lines", one + classify + "--to jsonl log > /dev/zero"},
		{"JSON lines, two processors", classify + "--to jsonl log > /dev/zero"},
		{"start", classify + "--to candump --mask personal empty.log > /dev/zero"},
		{"--help", "./obdgate --help > /dev/zero"},
		{"wc -l", "wc -l log > /dev/zero"},
		{"cat", "cat log > /dev/zero"},
		{"cat into memory", "cat log > out"},
		{"grep -vE", "grep -vE ' (" + strings.Join(list, "|") + ")#' log > /dev/zero"},
	}
	if _, err := exec.LookPath("mawk"); err == nil {
		all = append(all, [2]string{"mawk", "mawk '{split($3, a, \"#\"); n[a[1]]++} END {for (i in n) print i, n[i]}' log > /dev/zero"})
	}
	if _, err := exec.LookPath("log2asc"); err == nil {
		all = append(all, [2]string{"log2asc", "log2asc -I log -O /dev/zero can0"})
	}
	if python := peerPython(); python != "" {
		all = append(all, [2]string{"cantools decode", python + " -m cantools decode -s --no-strict gen.dbc < some.log > /dev/zero"})
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
