// Package pinned gives property tests the same cases in every run: rapid draws a new seed each time, and a test that fails
// once in a hundred runs tells the wrong person. A test package that imports rapid imports this one too, for its effect
// (archtest checks it).
//
//	OBDGATE_EXPLORE=1 go test ./…     a new seed each run, as rapid has it
//	go test ./… -rapid.seed=N         this seed (or RAPID_SEED=N); -rapid.checks=N for more cases than a hundred
package pinned

import (
	"flag"
	"os"

	"pgregory.net/rapid" // registers the flag, before this package's init
)

// Seed is what property tests start from when nothing else is said.
const Seed = "20261128"

var _ = rapid.Check

func init() {
	if os.Getenv("OBDGATE_EXPLORE") != "" || os.Getenv("RAPID_SEED") != "" {
		return
	}
	if err := flag.Set("rapid.seed", Seed); err != nil {
		panic("pinned: rapid has no flag for its seed any more: " + err.Error())
	}
}
