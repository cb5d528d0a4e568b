package cli

import (
	"context"
	"flag"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"obdgate/internal/i18n"
	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"

	"github.com/stretchr/testify/require"
)

// What doctor says of a genuine adapter, a good copy, a poor copy and one that drops characters, as a technician reads it.
func TestDoctorOfAdapters(t *testing.T) {
	const file = "testdata/doctor.txt"
	c := newCounter(t)
	changing := regexp.MustCompile(`127\.0\.0\.1:\d+|\d+ ms`)
	var all strings.Builder
	for _, a := range []struct{ title, adapter, fault string }{
		{"a genuine chip", "stn1110", ""}, {"a good copy", "v1.5", ""}, {"a poor copy", "v2.1-two-bytes", ""}, {"a line that loses characters", "v2.1-decent", "damaged"},
	} {
		for _, lang := range i18n.Languages {
			address, stop := adapterOn(t, a.adapter, a.fault)
			_, out, _ := c.run("--lang", lang, "doctor", address)
			stop()
			all.WriteString("# " + a.title + ", " + lang + "\n")
			ended := false
			for _, l := range strings.Split(out, "\n") { // the adapter's part
				ended = ended || strings.Contains(l, c.home)
				if strings.Contains(l, address) && a.fault == "" || strings.HasPrefix(l, "   !") && a.fault == "" || strings.HasPrefix(l, "  !!") || strings.Contains(l, "→") {
					all.WriteString(squeeze.ReplaceAllString(changing.ReplaceAllString(l, "…"), "  ") + "\n")
				}
			}
			require.True(t, ended, out)
			all.WriteString("\n")
		}
	}
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(all.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run this test with -update")
	require.Equal(t, string(want), all.String())
}

// squeeze: the width of columns follows the address.
var squeeze = regexp.MustCompile(`  +`)

// adapterOn serves golf8 behind an adapter on loopback.
func adapterOn(t *testing.T, adapter, fault string) (address string, stop func()) {
	t.Helper()
	v, err := sim.Load("golf8")
	require.NoError(t, err)
	p, err := elm.ByName(adapter)
	require.NoError(t, err)
	o := elm.Options{Seed: 6}
	if fault != "" {
		o.Faults, err = elm.Faults(fault)
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = elm.ServeTCP(ctx, ln, v, p, o) })
	return "elm+tcp://" + ln.Addr().String(), func() { cancel(); wg.Wait() }
}
