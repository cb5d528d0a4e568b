// Package leaks_test asks whether the tests would notice a leak. Each mutant is one change to this program that makes it
// leak something: a check forgotten, a mask one byte off, a refusal not heard. The change is laid over the source, and the
// test that must object is run. A mutant nobody objects to is a leak nobody would see.
//
//	go test ./leaks                                      every mutant still fits the source, and its killer exists
//	OBDGATE_MUTANTS=1 go test -v -timeout 20m ./leaks    runs them and prints the table (.ci/run mutants)
//	OBDGATE_MUTANTS=gate …                               only those killed by that package, or with that word in the name
package leaks_test

import (
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mutant is one change that leaks.
type mutant struct {
	name string // what was forgotten
	leak string // what gets out
	file string // from the module's root
	old  string // stands exactly once in file
	new  string // and this in its place
	pkg  string // directory of the test that must object
	test string // its name, with subtests as go test -run has them
}

// root is the module's directory.
const root = ".."

// builtIn is how a rule of the policy begins in the form that is built in.
func builtIn(id, category string, match ...string) string {
	return fmt.Sprintf("\"id\": %q,\n   \"match\": [\n    \"%s\"\n   ],\n   \"category\": %q", id, strings.Join(match, "\",\n    \""), category)
}

func (m *mutant) mutate() (string, error) {
	b, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return "", err
	}
	source := string(b)
	if n := strings.Count(source, m.old); n != 1 {
		return "", fmt.Errorf("its text stands %d times in %s, not once: follow the source, or the leak is not tried any more", n, m.file)
	}
	if m.old == m.new {
		return "", fmt.Errorf("it changes nothing")
	}
	return strings.Replace(source, m.old, m.new, 1), nil
}

// A refactoring that moves what a mutant changes must move the mutant.
func TestMutantsFitTheSource(t *testing.T) {
	require.GreaterOrEqual(t, len(mutants), 30)
	names := map[string]bool{}
	for i := range mutants {
		m := &mutants[i]
		t.Run(m.name, func(t *testing.T) {
			require.False(t, names[m.name], "two mutants of this name")
			names[m.name] = true
			source, err := m.mutate()
			require.NoError(t, err)
			if strings.HasSuffix(m.file, ".go") {
				_, err = parser.ParseFile(token.NewFileSet(), m.file, source, 0)
				require.NoError(t, err, "the mutant is no Go")
			}
			top, _, _ := strings.Cut(m.test, "/")
			tests, err := filepath.Glob(filepath.Join(root, m.pkg, "*_test.go"))
			require.NoError(t, err)
			found := false
			for _, file := range tests {
				b, err := os.ReadFile(file)
				require.NoError(t, err)
				found = found || regexp.MustCompile(`(?m)^func `+top+`\(`).Match(b)
			}
			require.True(t, found, "there is no %s in %s", top, m.pkg)
			require.NotEmpty(t, m.leak)
		})
	}
}

func TestMutantsAreKilled(t *testing.T) {
	which := os.Getenv("OBDGATE_MUTANTS")
	if which == "" {
		t.Skip("OBDGATE_MUTANTS=1 runs them")
	}
	var chosen []*mutant
	healthy := map[string][]string{} // killers by package
	for i := range mutants {
		if m := &mutants[i]; which == "1" || strings.Contains(m.name, which) || strings.HasSuffix(m.pkg, which) {
			chosen = append(chosen, m)
			if !slices.Contains(healthy[m.pkg], m.test) {
				healthy[m.pkg] = append(healthy[m.pkg], m.test)
			}
		}
	}
	require.NotEmpty(t, chosen, "no mutant is called %q", which)
	dir := t.TempDir()
	began := time.Now()
	type outcome struct {
		killed bool
		why    string
		took   time.Duration
	}
	results := make([]outcome, len(chosen))
	// The tests object to nothing in the source as it stands: else they would kill anything.
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, runtime.NumCPU())
	for pkg, tests := range healthy {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if out, err := run(pkg, "", tests...); err != nil {
				mu.Lock()
				defer mu.Unlock()
				t.Errorf("%s fails without any mutant: %v\n%s", pkg, err, tail(out))
			}
		})
	}
	wg.Wait()
	for i, m := range chosen {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			began := time.Now()
			results[i].killed, results[i].why = m.try(filepath.Join(dir, fmt.Sprint(i)))
			results[i].took = time.Since(began)
		})
	}
	wg.Wait()
	var table strings.Builder
	killed := 0
	for i, m := range chosen {
		word := "ALIVE"
		if results[i].killed {
			word = "killed"
			killed++
		} else {
			t.Errorf("%s: %s", m.name, results[i].why)
		}
		fmt.Fprintf(&table, "%-6s %5.1f s  %-52s %-58s %s\n", word, results[i].took.Seconds(), m.name, m.leak, strings.TrimPrefix(m.pkg, "internal/")+"."+m.test)
	}
	t.Logf("%d of %d mutants killed in %.0f s\n%s", killed, len(chosen), time.Since(began).Seconds(), &table)
}

// try lays the mutant over the source and runs its killer.
func (m *mutant) try(dir string) (killed bool, why string) {
	source, err := m.mutate()
	if err != nil {
		return false, err.Error()
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return false, err.Error()
	}
	changed := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(changed, []byte(source), 0o600); err != nil {
		return false, err.Error()
	}
	original, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		return false, err.Error()
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return false, err.Error()
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return false, err.Error()
	}
	out, err := run(m.pkg, file, m.test)
	switch {
	case err == nil:
		return false, m.test + " has no objection"
	case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
		return false, "the mutant does not compile: it says nothing about the tests\n" + tail(out)
	case !strings.Contains(out, "--- FAIL: ") && !strings.Contains(out, "panic: "):
		return false, "the test did not run to an objection\n" + tail(out)
	}
	return true, ""
}

// run runs tests of a package, with an overlay or none. A story of the program runs it as a child: it is the test's own
// program again, so the overlay is in it.
func run(pkg, overlay string, tests ...string) (string, error) {
	var tops, subs []string
	for _, test := range tests {
		top, sub, _ := strings.Cut(test, "/")
		tops = append(tops, top)
		if sub != "" {
			subs = append(subs, sub)
		}
	}
	pattern := "^(" + strings.Join(tops, "|") + ")$"
	if len(subs) == len(tests) {
		pattern += "/^(" + strings.Join(subs, "|") + ")$"
	}
	args := []string{"test", "-count=1", "-vet=off", "-timeout=5m", "-run", pattern}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.Command("go", append(args, "./"+pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "OBDGATE_MUTANTS=", "RAPID_NOFAILFILE=true") // what fails here is meant to
	out, err := cmd.CombinedOutput()
	if err == nil && strings.Contains(string(out), "no tests to run") {
		return string(out), fmt.Errorf("no test is called %s", pattern)
	}
	return string(out), err
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
