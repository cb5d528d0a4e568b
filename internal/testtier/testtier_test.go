package testtier_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// outcome records how a Require ended. It embeds a nil testing.TB: any method not given here would panic.
type outcome struct {
	testing.TB
	fatal, skip string
}

func (o *outcome) Helper()                        {}
func (o *outcome) Name() string                   { return "TestOther" }
func (o *outcome) Fatalf(format string, a ...any) { o.fatal = format; runtime.Goexit() }
func (o *outcome) Skipf(format string, a ...any)  { o.skip = format; runtime.Goexit() }

func try(tier testtier.Tier) (o *outcome, offer string) {
	o = &outcome{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		offer = testtier.Require(o, tier)
	}()
	<-done
	return o, offer
}

// A run that was told to have a tier must not end green because everything in it was skipped.
func TestRequiredTierThatIsMissingFails(t *testing.T) {
	t.Setenv("OBDGATE_TEST_POSTGRES", "")
	t.Setenv("OBDGATE_REQUIRE", "")
	o, _ := try(testtier.Postgres)
	require.NotEmpty(t, o.skip)
	require.Empty(t, o.fatal)

	t.Setenv("OBDGATE_REQUIRE", "vcan, postgres")
	o, _ = try(testtier.Postgres)
	require.NotEmpty(t, o.fatal)
	require.Empty(t, o.skip)

	t.Setenv("OBDGATE_REQUIRE", "postgresql")
	o, _ = try(testtier.Postgres)
	require.NotEmpty(t, o.skip, "another word must not count")
}

func TestPresentTierIsOfferedAndLogged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tiers")
	t.Setenv("OBDGATE_TIER_LOG", file)
	t.Setenv("OBDGATE_TEST_POSTGRES", "postgres://localhost/x")
	for range 2 {
		o, offer := try(testtier.Postgres)
		require.Empty(t, o.skip+o.fatal)
		require.Equal(t, "postgres://localhost/x", offer)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("postgres TestOther\n", 2), string(text))
}
