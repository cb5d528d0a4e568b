package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// killRounds is how often the program is killed: OBDGATE_KILL_ROUNDS, 20 without it. OBDGATE_KILL_SEED repeats a run.
func killRounds(t *testing.T) (rounds int, seed uint64) {
	t.Helper()
	rounds, seed = 20, uint64(time.Now().UnixNano())
	if s := os.Getenv("OBDGATE_KILL_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		rounds = n
	}
	if s := os.Getenv("OBDGATE_KILL_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	return rounds, seed
}

// A visit is scanned and uploaded, and the program is killed (SIGKILL: no chance to tidy up) at a random moment of either,
// again and again in one state directory, against a collector that runs throughout. Then nothing may be lost and nothing
// doubled: every visit is there with every scan that was reported done, one last upload delivers what was left, the
// collector holds each envelope exactly once and none that the log does not know, and the log verifies.
func TestKilled(t *testing.T) {
	t.Parallel()
	rounds, seed := killRounds(t)
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := newShop(t)
	s.dealer()

	// How long each takes when nobody interferes: the moments are drawn from a little more than that.
	first := s.agreed()
	scan := func(id string) []string { return []string{"scan", "sim:golf8", "--visit", id, "--json"} }
	upload := func(id string) []string { return []string{"upload", "--visit", id} }
	r := s.run(scan(first)...)
	require.Zero(t, r.code, r)
	scanTakes := r.took
	r = s.run(upload(first)...)
	require.Zero(t, r.code, r)
	uploadTakes := r.took

	began := time.Now()
	visits := []string{first}
	scans := map[string]int{first: 1} // as far as they were reported done
	killed, ended := map[string]int{}, 0
	kill := func(what string, takes time.Duration, args []string) (done bool) {
		ctx, stop := context.WithTimeout(context.Background(), time.Duration(rnd.Float64()*1.3*float64(takes)))
		defer stop()
		cmd := s.command(ctx, "obdgate", args...) // ctx's end kills it
		out, err := cmd.Output()
		switch {
		case err == nil:
			ended++
			return true
		case ctx.Err() != nil:
			killed[what]++
		case what == "upload" && cmd.ProcessState.ExitCode() == 75: // one that was killed before still holds an envelope
			ended++
		default:
			require.NoError(t, err, "%v: %s", args, out)
		}
		return false
	}
	for range rounds {
		id := s.agreed()
		visits = append(visits, id)
		if kill("scan", scanTakes, scan(id)) {
			scans[id]++
		} else {
			// The technician repeats the command.
			r := s.run(scan(id)...)
			require.Zero(t, r.code, r)
			scans[id]++
		}
		// At times everything that waits, mostly this visit's.
		args := upload(id)
		if rnd.IntN(8) == 0 {
			args = []string{"upload"}
		}
		kill("upload", uploadTakes, args)
	}
	took := time.Since(began)

	all := s.must("visit", "list", "--json")
	var listed []struct {
		ID    string
		Scans int
	}
	require.NoError(t, json.Unmarshal([]byte(all), &listed))
	require.Len(t, listed, len(visits), "visits were lost")
	for _, v := range listed {
		require.GreaterOrEqual(t, v.Scans, scans[v.ID], "visit %s lost a scan", v.ID)
		require.LessOrEqual(t, v.Scans, scans[v.ID]+1, "visit %s has a scan too many", v.ID)
	}

	// The leases of those that died run out; then everything goes.
	for r := s.run("upload"); r.code != 0; r = s.run("upload") {
		require.Equal(t, 75, r.code, r)
		require.Less(t, time.Since(began), took+patience)
		time.Sleep(500 * time.Millisecond)
	}
	s.must("ledger", "verify")

	queued, acknowledged := map[string]int{}, map[string]int{}
	for line := range strings.Lines(s.must("ledger", "show", "--json")) {
		var e struct {
			Kind  string
			Facts struct{ Content string }
		}
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		switch e.Kind {
		case "queued":
			queued[e.Facts.Content]++
		case "acknowledged":
			acknowledged[e.Facts.Content]++
		}
	}
	held := map[string]int{}
	for _, line := range s.received() {
		var e struct{ ID string }
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		held[e.ID]++
	}
	require.Len(t, queued, 2*len(visits), "one envelope for the service and one for the consumption record of each visit")
	for id, n := range queued {
		require.Equal(t, 1, n, "queued twice")
		require.Equal(t, 1, acknowledged[id], "acknowledged not exactly once")
		require.Equal(t, 1, held[id], "not exactly once at the collector")
	}
	require.Len(t, held, len(queued), "the collector has what the log does not know")
	for _, id := range visits {
		if rounds > 100 && rnd.IntN(20) > 0 {
			continue // a sample of many
		}
		require.Equal(t, 2, strings.Count(s.must("visit", "show", id), "delivered"))
	}
	size := int64(0)
	files(t, s.home, func(_ string, b []byte) { size += int64(len(b)) })
	t.Logf("%d rounds in %v: %d scans and %d uploads killed, %d ended before; %d visits, %d envelopes, state %d kB",
		rounds, took.Round(time.Second), killed["scan"], killed["upload"], ended, len(visits), len(held), size>>10)
	require.NotEmpty(t, killed, "nothing was killed")
}
