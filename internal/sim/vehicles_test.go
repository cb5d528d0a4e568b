package sim_test

import (
	"testing"

	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

func TestAllLoad(t *testing.T) {
	require.GreaterOrEqual(t, len(sim.Names()), 18)
	for _, n := range sim.Names() {
		v, err := sim.Load(n)
		require.NoError(t, err)
		require.Equal(t, n, v.Name())
	}
}
