package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every command works with the rules in force. One that took the built-in ones would send what the workshop's own rules
// keep back. The demo has no workshop.
func TestEveryCommandAsksForTheRulesInForce(t *testing.T) {
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var found []string
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		if !strings.HasSuffix(name, "_test.go") && strings.Contains(string(b), "policy.Default"+"()") {
			found = append(found, name)
		}
	}
	require.Equal(t, []string{"demo.go", "policy.go"}, found)
}
