package collector_test

import (
	"os"
	"path/filepath"
	"testing"

	"obdgate/internal/collector"
	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
)

// What the receiving end takes is its own decision: a key that only the station calls technical is refused, until the
// receiving end names it too; rules weaker than the built-in ones are no rules.
func TestOwnRules(t *testing.T) {
	send := func(home string) int {
		s := serve(t, collector.Options{Home: home})
		defer s.stop()
		status, _ := post(t, client(t, enrol(t, s, "station-1"), false), s.url, envelope(t, func(e *wire.Envelope) { e.Readings[0].Key = "uds.22.D10D" }).Append(nil))
		return status
	}
	require.Equal(t, 422, send(t.TempDir()))
	rules := func(match string) string {
		home := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(home, "policy.yaml"),
			[]byte("version: dealer-1\nrules:\n  - {id: own, category: condition, match: ["+match+"], reason: {en: agreed}}\n"), 0o600))
		return home
	}
	require.Equal(t, 200, send(rules("uds.22.D10D")))
	_, err := collector.Open(t.Context(), collector.Options{Home: rules("obd.01.0D")})
	require.ErrorIs(t, err, collector.ErrSettings)
	require.ErrorContains(t, err, "vehicle-speed")
}
