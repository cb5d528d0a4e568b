package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// The two pipelines of the README, run as they are written there: green on the recording they were made from, red on
// another car's.
func TestPipelinesOfTheREADME(t *testing.T) {
	testtier.Require(t, testtier.JQ)
	if testtier.Machine() {
		t.Skip("needs no CAN bus: it runs on the host, where building the program is faster")
	}
	bash, err := exec.LookPath("bash")
	if err != nil || runtime.GOOS == "windows" {
		t.Skip("the examples are for bash")
	}
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, text, found := strings.Cut(string(readme), "A pipeline that replays a recording")
	require.True(t, found)
	blocks := regexp.MustCompile("(?s)```(yaml|sh)\n(.*?)```").FindAllStringSubmatch(text, 2)
	require.Len(t, blocks, 2)

	// Steps of a workflow: each is a script of its own, run by bash -e, in one directory.
	var workflow []string
	for _, m := range regexp.MustCompile(`(?m)^- run: (.*)$`).FindAllStringSubmatch(blocks[0][2], -1) {
		workflow = append(workflow, m[1])
	}
	require.Len(t, workflow, 3)
	require.Contains(t, workflow[0], "go build -o . ./cmd/obdgate")
	require.Equal(t, "sh", blocks[1][1])

	bin := t.TempDir()
	build := exec.Command("go", strings.Fields(strings.Replace(workflow[0], "-o .", "-o "+bin, 1))[1:]...)
	build.Dir = ".."
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	// pipeline runs the steps on a recording in a fresh place, with this golden document, "" = none yet.
	pipeline := func(t *testing.T, steps []string, log, golden string) (dir string, err error) {
		dir = t.TempDir()
		link := func(from, to string) {
			b, err := os.ReadFile(from)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, to), b, 0o755)) //nolint:gosec // a program among them
		}
		link(filepath.Join("../fixtures/recordings", log), "car.log")
		link(filepath.Join(bin, "obdgate"), "obdgate")
		if golden != "" {
			link(golden, "golden.json")
		}
		for _, step := range steps {
			cmd := exec.Command(bash, "-e", "-c", step)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "RUNNER_TEMP="+dir, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "TMPDIR="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Logf("%s\n%s", step, out)
				return dir, err
			}
		}
		return dir, nil
	}

	t.Run("workflow", func(t *testing.T) {
		first, err := pipeline(t, workflow[1:2], "golf8.log", "") // the document that is checked in
		require.NoError(t, err)
		golden := filepath.Join(first, "scan.json")
		_, err = pipeline(t, workflow[1:], "golf8.log", golden)
		require.NoError(t, err)
		_, err = pipeline(t, workflow[1:], "tahoe.log", golden)
		require.Error(t, err, "another car passes")
	})
	t.Run("shell", func(t *testing.T) {
		steps := []string{blocks[1][2]}
		_, err := pipeline(t, steps, "golf8.log", "../fixtures/recordings/golf8.json")
		require.NoError(t, err)
		_, err = pipeline(t, steps, "tahoe.log", "../fixtures/recordings/golf8.json")
		require.Error(t, err, "another car passes")
	})
}
