package collector

import (
	"bytes"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// What an envelope says must not get into a log because a fault in the program quotes it.
func TestAFaultIsToldWithoutWhatItQuotes(t *testing.T) {
	var ours, theirs bytes.Buffer
	c := &Collector{log: slog.New(slog.NewJSONHandler(&ours, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	srv := httptest.NewUnstartedServer(c.caught(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("WVWZZZCD0NW000001") })))
	srv.Config.ErrorLog = log.New(&theirs, "", 0)
	srv.Start()
	_, err := http.Get(srv.URL)
	require.Error(t, err, "nothing is promised")
	srv.Close()
	require.NotContains(t, ours.String()+theirs.String(), "WVW")
	require.Contains(t, ours.String(), `"kind":"string"`)
	require.Contains(t, ours.String(), "fault_test.go", "the place is told")
}
