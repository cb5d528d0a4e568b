package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every promise has its row, and every test a row names exists: a renamed test must not leave a promise unproved.
func TestPromisesAreTested(t *testing.T) {
	b, err := os.ReadFile("../../docs/promises.md")
	require.NoError(t, err)
	rows := regexp.MustCompile(`(?m)^\| ([UR]\d+) \|.*\| ([^|]+) \|$`).FindAllStringSubmatch(string(b), -1)
	named := map[string]string{}
	for _, r := range rows {
		require.Empty(t, named[r[1]], "two rows for %s", r[1])
		named[r[1]] = r[2]
	}
	var want []string
	for i := range 13 {
		want = append(want, fmt.Sprintf("U%d", i+1))
	}
	for i := range 8 {
		want = append(want, fmt.Sprintf("R%d", i+1))
	}
	require.Len(t, named, len(want))
	for _, id := range want {
		if id == "U7" || id == "U13" { // they come with the customer's page
			continue
		}
		for one := range strings.SplitSeq(named[id], ", ") {
			dir, name, ok := strings.Cut(one, " ")
			require.True(t, ok, "%s names %q: directory and test", id, one)
			require.True(t, exists(t, dir, name), "%s: there is no %s in %s", id, name, dir)
		}
	}
	require.False(t, exists(t, "internal/consent", "TestThatNobodyWrote"))
}

func exists(t *testing.T, dir, name string) bool {
	t.Helper()
	if strings.HasSuffix(name, ".txtar") {
		_, err := os.Stat(filepath.Join("../..", dir, name))
		return err == nil
	}
	files, err := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
	require.NoError(t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		if strings.Contains(string(b), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}
