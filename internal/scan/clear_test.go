package scan_test

import (
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/link"
	"obdgate/internal/scan"
	"obdgate/internal/sim"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

// parked is golf8 with its engine off.
func parked(t *testing.T) string {
	return altered(t, "golf8", `"0C": "0B E8"`, `"0C": "00 00"`, `"0C": "0B E4"`, `"0C": "00 00"`)
}

func opened(t *testing.T, name string) (link.Link, *sim.Vehicle) { return car(t, name) }

// writes are the questions a vehicle heard that change something.
func writes(v *sim.Vehicle) (out []string) {
	for _, r := range v.Log() {
		if r.Bytes[0] == 0x04 || r.Bytes[0] == 0x14 {
			out = append(out, r.String())
		}
	}
	return out
}

func TestClear(t *testing.T) {
	l, v := opened(t, parked(t))
	o := options(t, scan.Full, consent.Unasked)
	saved, err := scan.Run(t.Context(), l, o)
	require.NoError(t, err)
	out, err := scan.Clear(t.Context(), l, o, []visit.Scan{saved})
	require.NoError(t, err)
	require.True(t, out.Asked)
	require.True(t, out.Complete(), "%+v", out)
	require.Len(t, out.Before, 3)
	require.Len(t, out.After, 1, "the permanent code stays until the vehicle has seen the repair")
	require.True(t, out.After[0].Permanent)
	require.Equal(t, 4, out.Units())
	require.Equal(t, []string{"REQ 710 14FFFFFF", "REQ 714 14FFFFFF", "REQ 7E0 04", "REQ 7E0 14FFFFFF", "REQ 7E1 04", "REQ 7E1 14FFFFFF"}, writes(v))
}

// What must be so before anything is changed.
func TestClearRefuses(t *testing.T) {
	o := options(t, scan.Full, consent.Unasked)
	for _, c := range []struct {
		name, car string
		saved     func(visit.Scan) []visit.Scan
		want      error
	}{
		{"engine running", "golf8", func(s visit.Scan) []visit.Scan { return []visit.Scan{s} }, scan.ErrEngineRunning},
		{"nothing saved", parked(t), func(visit.Scan) []visit.Scan { return nil }, scan.ErrOtherVehicle},
		{"another car's scan", parked(t), func(visit.Scan) []visit.Scan { return []visit.Scan{run(t, "phev", o)} }, scan.ErrOtherVehicle},
		{"a code came after the scan", parked(t), func(s visit.Scan) []visit.Scan { s.Readings = nil; return []visit.Scan{s} }, scan.ErrNotSaved},
		{"a quick scan saved too little", parked(t), func(visit.Scan) []visit.Scan {
			return []visit.Scan{run(t, parked(t), options(t, scan.Quick, consent.Unasked))}
		}, scan.ErrNotSaved},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, v := opened(t, c.car)
			s, err := scan.Run(t.Context(), l, o)
			require.NoError(t, err)
			out, err := scan.Clear(t.Context(), l, o, c.saved(s))
			require.ErrorIs(t, err, c.want)
			require.False(t, out.Asked)
			require.Empty(t, writes(v))
		})
	}
}

// An engine that is started in the middle, or a control unit that will not: told, per unit, with what to do.
func TestClearRefusedByTheVehicle(t *testing.T) {
	name := altered(t, "golf8", `"0C": "0B E8"`, `"0C": "00 00"`, `"0C": "0B E4"`, `"0C": "00 00"`,
		"    stmin: \"00\"\n", "    stmin: \"00\"\n    answers: [{request: \"04\", negative: \"22\"}, {request: \"14*\", negative: \"22\"}]\n")
	l, _ := opened(t, name)
	o := options(t, scan.Full, consent.Unasked)
	saved, err := scan.Run(t.Context(), l, o)
	require.NoError(t, err)
	out, err := scan.Clear(t.Context(), l, o, []visit.Scan{saved})
	require.NoError(t, err)
	require.False(t, out.Complete())
	require.NotEmpty(t, out.Left())
	for _, r := range out.Results {
		if r.ECU == "7E8" {
			require.False(t, r.Cleared)
			require.Contains(t, r.Error, "0x22")
			require.NotEmpty(t, r.Hint)
		}
	}
}
