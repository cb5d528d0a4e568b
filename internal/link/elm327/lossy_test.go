package elm327_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/require"
)

// noises are the faults of single characters.
var noises = []string{"dropped", "doubled", "damaged", "flipped", "deaf", "nul", "junk"}

// noisyCells draws cells with damaged characters: any adapter, any car.
func noisyCells(n int, seed uint64) (cells []cell) {
	rnd := rand.New(rand.NewPCG(seed, 0x0BD))
	for range n {
		cells = append(cells, cell{adapter: pick(rnd, elm.Names()), car: pick(rnd, everyCar), fault: pick(rnd, noises), seed: rnd.Uint64N(1 << 40)})
	}
	return cells
}

func pick(rnd *rand.Rand, from []string) string { return from[rnd.IntN(len(from))] }

// TestNoise reads cars through lines that damage characters, and nothing wrong is told. Two things can be bounded only: a
// digit that became another before anything else on this line showed damage (flipped), and a question that was damaged on
// its way and refused, since a refusal does not say to what (deaf). No damage makes an order of a question.
// OBDGATE_NOISE=20000 looks at as many cells (5 ms each); a
// slice is always run, and so are cells that once told a wrong value.
func TestNoise(t *testing.T) {
	cells := []cell{
		{adapter: "v1.5", car: "golf8", fault: "dropped", seed: 111},
		{adapter: "stn1110", car: "golf8", fault: "dropped", seed: 117},
		{adapter: "ble-broken-fc", car: "golf8", fault: "dropped", seed: 105},
		{adapter: "ble-crlf", car: "suv29", fault: "dropped", seed: 491235636473},
		{adapter: "genuine-2.1", car: "tahoe", fault: "dropped", seed: 394859907768},
		{adapter: "stn2120", car: "phev", fault: "doubled", seed: 372957529450},
		{adapter: "stn1110", car: "diesel", fault: "damaged", seed: 953511502597},
		{adapter: "konnwei-kw902", car: "suv29", fault: "dropped", seed: 336563550734},
		{adapter: "v1.5", car: "mini", fault: "damaged", seed: 528807317098},
	}
	n, seed := 200, uint64(1)
	if s := os.Getenv("OBDGATE_NOISE"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
		seed = rand.Uint64()
		t.Logf("seed %d", seed)
	}
	cells = append(cells, noisyCells(n, seed)...)
	count, unseen := map[string]map[string]int{}, map[string]int{}
	done := rows(t, cells)
	for i := range done {
		r := &done[i]
		switch {
		case r.fault == "flipped" && (r.outcome == lies || r.outcome == silently), r.fault == "deaf" && r.outcome == silently:
			unseen[r.fault]++
			r.outcome = bounded
		}
		r.sound(t)
		if count[r.fault] == nil {
			count[r.fault] = map[string]int{}
		}
		count[r.fault][r.outcome]++
	}
	for _, f := range noises {
		all := 0
		for _, n := range count[f] {
			all += n
		}
		t.Logf("%-8s %v", f, count[f])
		require.LessOrEqual(t, unseen[f], 1+all/50, "of %d cells with characters %s", all, f)
	}
}
