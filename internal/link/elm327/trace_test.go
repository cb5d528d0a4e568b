package elm327_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTrace prints each command of a scan with the modelled time until the next, for whoever looks for what costs time:
//
//	OBDGATE_TRACE=golf8,genuine-2.2,115200[,fault] go test ./internal/link/elm327 -run TestTrace -v
func TestTrace(t *testing.T) {
	what := strings.Split(os.Getenv("OBDGATE_TRACE"), ",")
	if len(what) < 3 {
		t.Skip("OBDGATE_TRACE names no car, adapter and rate")
	}
	baud, err := strconv.Atoi(what[2])
	require.NoError(t, err)
	c := cell{car: what[0], adapter: what[1], baud: baud, seed: 1}
	if len(what) > 3 {
		c.fault = what[3]
	}
	names := [kinds]string{unanswered: "nobody answered", uncounted: "not counted"}
	c.trace = func(command string, took time.Duration, kind int) {
		t.Logf("%8.2f ms  %-40s %s", took.Seconds()*1000, command, names[kind])
	}
	r := c.read(t)
	t.Logf("%.2f s, %d requests, %v", r.took.Seconds(), r.requests, r.err)
}
