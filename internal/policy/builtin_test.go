package policy

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write policy.json from policy.yaml")

// What is built in is what people read and change: the same document, and so the same policy under the same hash.
func TestPolicyJSON(t *testing.T) {
	text, err := os.ReadFile("policy.yaml")
	require.NoError(t, err)
	written, err := parse(text)
	require.NoError(t, err)
	want, err := json.MarshalIndent(written, "", " ")
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("policy.json", append(want, '\n'), 0o644)) //nolint:gosec // a public file
		return
	}
	require.Equal(t, string(want)+"\n", string(embedded), "policy.yaml was changed: go test ./internal/policy -run TestPolicyJSON -update")
	read, err := embeddedDocument()
	require.NoError(t, err)
	require.Equal(t, written, read)
	a, err := compile(written)
	require.NoError(t, err)
	b, err := Default()
	require.NoError(t, err)
	require.Equal(t, a.Hash(), b.Hash())
	require.Equal(t, a.Rules(), b.Rules())
	require.Equal(t, a.Categories(), b.Categories())
}

func BenchmarkDefault(b *testing.B) {
	for range b.N {
		d, err := builtIn()
		if err != nil {
			b.Fatal(err)
		}
		if _, err = compile(d); err != nil {
			b.Fatal(err)
		}
	}
}
