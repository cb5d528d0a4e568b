package report_test

import (
	"strings"
	"testing"
	"time"

	"obdgate/dbc"
	"obdgate/internal/consent"
	"obdgate/internal/i18n"
	"obdgate/internal/policy"
	"obdgate/internal/report"
	"obdgate/internal/scan"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

// document scans a virtual vehicle with everything asked.
func document(t *testing.T, name, lang string, answer consent.Answer) report.Document {
	t.Helper()
	rules, err := policy.Default()
	require.NoError(t, err)
	signals, err := dbc.Embedded()
	require.NoError(t, err)
	l, err := sim.Open(t.Context(), "sim:"+name)
	require.NoError(t, err)
	s, err := scan.Run(t.Context(), l, scan.Options{Plan: scan.NewPlan(scan.Full, answer), Policy: rules, DBC: signals,
		Link: "sim:" + name, At: time.Unix(1_790_000_000, 0).UTC()})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return report.New("vgolden", s, rules, lang)
}

// The moment of a fault stands under its code, with speed and running time marked as the driver's.
func TestFreezeFrameUnderItsCode(t *testing.T) {
	d := document(t, "golf8", "en", consent.Unasked)
	require.Len(t, d.FreezeFrames, 1)
	f := d.FreezeFrames[0]
	require.Equal(t, "P0301", f.Code)
	personal := 0
	for _, v := range f.Values {
		if v.Tag == "personal" {
			personal++
			require.Contains(t, []string{"obd.02.0D", "obd.02.1F"}, v.Key)
		}
	}
	require.Equal(t, 2, personal)
	words, err := i18n.Load("en")
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, report.NewText(&b, words).Scan(d))
	first, second := strings.Index(b.String(), "P0301"), strings.Index(b.String(), "P0171")
	rpm := strings.Index(b.String(), "2375 rpm")
	require.True(t, first < rpm && rpm < second, "not under its code")
}

// Test results, ratios and software are grouped as a technician reads them.
func TestGroups(t *testing.T) {
	d := document(t, "golf8", "en", consent.Unasked)
	require.Len(t, d.MonitorResults, 6)
	for _, m := range d.MonitorResults {
		require.Equal(t, "passed", m.Result)
		require.NotEmpty(t, m.Name)
		require.NotNil(t, m.Value)
	}
	for _, p := range d.Performance {
		if p.Monitor == "cat1" {
			require.Equal(t, "280", p.Completed.String())
			require.Equal(t, "305", p.Conditions.String())
			require.Equal(t, "0.918033", p.Ratio.String())
		}
	}
	require.NotEmpty(t, d.Performance)
	require.Equal(t, "05E906018DA 3421", d.Software[2].Calibrations[0].ID)
	require.Equal(t, "5C1A90E7", d.Software[2].Calibrations[0].CVN)
	require.Equal(t, "unasked", d.OBFCM.Outcome)
}
