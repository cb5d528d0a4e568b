package report_test

import (
	"encoding/json"
	"regexp"
	"testing"

	_ "obdgate/internal/pinned"
	"obdgate/internal/policy"
	"obdgate/internal/report"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What is not one of our words does not come through, whatever it looks like.
func TestPlain(t *testing.T) {
	for _, s := range []string{"service", "elm+tcp", "good copy", "22", "BE", "flow-control"} {
		require.NotEqual(t, "other", report.Plain(s), s)
	}
	for _, s := range []string{"WVWZZZCD0NW000001", "Vermeulen", "1-XKJ-904", "P0301", "410D32", "192.168.0.10:35000", "", "/home/els/state", "recipient Dealer NV"} {
		require.Equal(t, "other", report.Plain(s), s)
	}
	for _, s := range []string{"ELM327 v1.5", "STN2120 v5.6.19", "2.2", ""} {
		require.Equal(t, s, report.PlainChip(s))
	}
	for _, s := range []string{"ELM327 v1.5 WVWZZZCD0NW000001", "OBDII of Els", "ELM327 v15", "1-XKJ-904"} {
		require.Equal(t, "other", report.PlainChip(s))
	}
	word := regexp.MustCompile(`^[a-z0-9+-]{2,13}$|^[0-9A-F]{2}$|^[A-Z]{2}$`)
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		require.Regexp(t, word, report.Plain(s))
	})
}

func TestNewSupport(t *testing.T) {
	p, err := policy.Default()
	require.NoError(t, err)
	b, err := json.Marshal(report.NewSupport(p))
	require.NoError(t, err)
	require.Contains(t, string(b), p.Hash())
	require.NotContains(t, string(b), "null", "a list without entries is empty")
	s := report.NewSupport(nil)
	require.Empty(t, s.Policy.Hash, "rules that cannot be loaded have no hash")
	require.Equal(t, p.Version(), s.Policy.BuiltIn)
}
