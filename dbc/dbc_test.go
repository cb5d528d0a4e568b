package dbc_test

import (
	"testing"

	"obdgate/dbc"

	"github.com/stretchr/testify/require"
)

func TestEmbedded(t *testing.T) {
	d, err := dbc.Embedded()
	require.NoError(t, err)
	require.Greater(t, len(d.Messages()), 40)
}
