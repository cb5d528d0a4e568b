package policy_test

import (
	"testing"

	"obdgate/internal/policy"

	"github.com/stretchr/testify/require"
)

func TestDefaultLoadsAndLints(t *testing.T) {
	p, err := policy.Default()
	require.NoError(t, err)
	require.Empty(t, p.Lint())
	t.Log(p.Version())
	for _, k := range []string{"obd.01.05", "010D", "01 0D", "F190", "22F190", "obd.01.01.mil_on", "uds.22.F123"} {
		e, err := p.Explain(k)
		require.NoError(t, err)
		t.Log(k, e.Subject, e.Tag, e.Rule)
	}
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		_, _ = policy.Load(nil)
	}
}

func BenchmarkTagKey(b *testing.B) {
	p, err := policy.Default()
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_ = p.TagKey("obd.01.01.mil_on")
	}
}
