package dbc_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	candbc "go.einride.tech/can/pkg/dbc"
)

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return b
}

// errOf turns can-go's error interface, which is never a plain nil error, into one.
func errOf(e candbc.Error) error {
	if e == nil {
		return nil
	}
	return e
}
