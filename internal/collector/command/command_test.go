package command

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"obdgate-collector": func() {
		os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}})
}

func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true})
}

func TestExitCodes(t *testing.T) {
	home := t.TempDir()
	taken := filepath.Join(home, "taken")
	require.NoError(t, os.WriteFile(taken, nil, 0o600))
	set := []string{"--name", "D", "--country", "NL", "--url", "https://localhost:8443"}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"keys", "--home", home}, 0},
		{[]string{"bogus"}, 64},
		{[]string{"serve", "--bogus"}, 64},
		{[]string{"keys", "--home", home, "--station", "s"}, 64},
		{[]string{"keys", "--home", home, "--role", "boss"}, 64},
		{append([]string{"keys", "--home", home, "--station", "a b", "--out", filepath.Join(home, "x")}, set...), 64},
		{[]string{"export", "--home", home, "--format", "xml"}, 64},
		{[]string{"erase", "--home", home}, 64},
		{[]string{"erase", "--home", home, "--vin", "-"}, 64},
		{[]string{"keys", "revoke", "--home", home}, 64},
		{[]string{"keys", "revoke", "--home", home, "nobody"}, 66},
		{[]string{"erase", "--home", home, "--envelope", strings.Repeat("0", 64)}, 66},
		{[]string{"keys", "--home", home, "--station", "s", "--out", taken}, 73},
		{[]string{"keys", "--home", home, "--station", "s", "--out", filepath.Join(home, "no", "dir")}, 73},
		{[]string{"keys", "--home", filepath.Join(taken, "below")}, 74},
		{[]string{"serve", "--home", filepath.Join(home, "none")}, 78},
		{[]string{"serve", "--home", home, "--listen", "203.0.113.1:1"}, 78},
		{[]string{"serve", "--home", home, "--db", "mysql://x"}, 78},
		{[]string{"--help"}, 0},
	} {
		var out, errs bytes.Buffer
		code := Main(t.Context(), c.args, strings.NewReader(""), &out, &errs)
		require.Equal(t, c.want, code, "%v: %s", c.args, errs.String())
		if code != 0 {
			require.Empty(t, out.String(), "%v: errors go to stderr", c.args)
			require.Contains(t, errs.String(), "obdgate-collector: ", c.args)
		}
	}
}

// TestServe: the line scripts wait for, a health page, and an orderly end.
func TestServe(t *testing.T) {
	home := t.TempDir()
	var out, errs bytes.Buffer
	require.Zero(t, Main(t.Context(), []string{"keys", "--home", home, "--name", "D", "--country", "NL", "--url", "https://localhost:1",
		"--station", "s", "--out", "-"}, nil, &out, &errs), errs.String())
	var bundle struct{ CA string }
	require.NoError(t, json.Unmarshal(out.Bytes(), &bundle))

	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- Main(ctx, []string{"serve", "--home", home, "--listen", "127.0.0.1:0"}, nil, w, io.Discard)
		w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	require.NoError(t, err)
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	require.True(t, ok, line)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(bundle.CA)))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}}
	res, err := client.Get(url + "/healthz")
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 200, res.StatusCode)
	client.CloseIdleConnections()
	stop()
	require.Zero(t, <-done)
}

// full is a terminal with a fault of its own.
type full struct{}

func (full) Write([]byte) (int, error) { panic("WVWZZZCD0NW000001") }

// A fault in the program is told by its place: what it says may quote an envelope.
func TestAFaultIsToldWithoutWhatItQuotes(t *testing.T) {
	var told bytes.Buffer
	require.Equal(t, exitFault, Main(t.Context(), []string{"--help"}, strings.NewReader(""), full{}, &told))
	require.Contains(t, told.String(), "obdgate-collector: internal fault (string)")
	require.NotContains(t, told.String(), "WVW")
}
