package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

const childHome = "OBDGATE_TEST_CHILD_HOME"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childHome); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// child works on a shared state until it is killed, and says on stdout what was accepted.
func child(dir string) {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	s, err := store.Open(ctx, dir, store.Options{})
	fail(err)
	for n := 0; ; n++ {
		v, err := s.OpenVisit(ctx, visit.Visit{})
		fail(err)
		fmt.Println("opened", v.ID)
		_, err = s.AppendScan(ctx, v.ID, visit.Scan{At: day, Link: "sim:golf8"})
		fail(err)
		fmt.Println("scanned", v.ID)
		_, err = s.RecordDecision(ctx, v.ID, yes(consent.Service))
		fail(err)
		fmt.Println("granted", v.ID)
		if n%2 == 0 {
			fail(s.EraseVisit(ctx, v.ID, "customer-request"))
			fmt.Println("erased", v.ID)
		}
	}
}

// Two programs at work on one state are killed at random moments, again and again: whatever either was told to be recorded
// is recorded, whatever was erased stays erased, and the log verifies.
func TestKilledProgramsLoseNothing(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "home")
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	said := map[string]string{}
	for round := range rounds {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 2 {
			cmd := exec.CommandContext(t.Context(), exe)
			cmd.Env = append(os.Environ(), childHome+"="+dir, "OBDGATE_KEYRING=off")
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			stop := 3 + rand.IntN(25) // lines, so that the moment does not depend on the machine's speed
			wg.Go(func() {
				lines := bufio.NewScanner(out)
				for n := 0; lines.Scan(); n++ {
					what, id, _ := strings.Cut(lines.Text(), " ")
					mu.Lock()
					said[id] = what
					mu.Unlock()
					if n == stop {
						_ = cmd.Process.Kill()
					}
				}
				_ = cmd.Wait()
			})
		}
		wg.Wait()
		for id, what := range said {
			require.NotEqual(t, "error", what, id)
		}

		s := open(t, dir, store.Options{})
		for id, what := range said {
			v, err := s.Visit(t.Context(), id)
			if what == "erased" {
				require.ErrorIs(t, err, store.ErrNotFound, "round %d: %s came back", round, id)
				continue
			}
			if what == "granted" && err != nil { // its erasure may have been on the way
				require.ErrorIs(t, err, store.ErrNotFound)
				continue
			}
			require.NoError(t, err, "round %d: %s was lost", round, id)
			if what != "opened" {
				require.Len(t, v.Scans, 1)
			}
			if what == "granted" {
				a, _, err := s.Consent().Standing(t.Context(), id, consent.Service, "")
				require.NoError(t, err)
				require.Equal(t, consent.Granted, a)
			}
		}
		r, err := s.Ledger().Verify(t.Context())
		require.NoError(t, err)
		require.True(t, r.OK(), "round %d: %+v", round, r.Problems)
		require.NoError(t, s.Check(t.Context()))
		require.NoError(t, s.Close())
	}
	require.Greater(t, len(said), rounds)
}
