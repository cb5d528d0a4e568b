package policy_test

import (
	"testing"

	"obdgate/internal/policy"

	"github.com/stretchr/testify/require"
)

func TestExplain(t *testing.T) {
	p := defaultPolicy(t)
	for _, c := range []struct{ what, subject, tag, rule string }{
		{"obd.01.0D", "obd.01.0D", "personal/movement", "vehicle-speed"},
		{"010D", "obd.01.0D", "personal/movement", "vehicle-speed"},
		{"01 0d", "obd.01.0D", "personal/movement", "vehicle-speed"},
		{"0D", "obd.01.0D", "personal/movement", "vehicle-speed"},
		{"0917", "obd.09.17", "technical/consumption", "obfcm"},
		{"F190", "uds.22.F190", "technical/vehicle-identity", "vin"},
		{"22F190", "uds.22.F190", "technical/vehicle-identity", "vin"},
		{"22 f1 90", "uds.22.F190", "technical/vehicle-identity", "vin"},
		{"D10D", "uds.22.D10D", "personal/unclassified", ""},
		{"obd.dtc.stored", "obd.dtc.stored", "technical/fault-memory", "trouble-codes"},
		{"7E8#0341057300000000", "7E8", "technical/condition", "engine-values"},
		{"7E8#03410D3200000000", "7E8", "personal/movement", "vehicle-speed"},
		{"7E8#1014490201575657", "7E8", "personal/unclassified", ""},
		{"7DF#02010D0000000000", "7DF", "technical/protocol", "question"},
		{"153#1027102700000000", "153 CHASSIS_SPEED", "personal/movement", "dbc:CHASSIS_SPEED.VehicleSpeed"},
		{"0x3E9", "0x3E9 TRIP", "personal/movement", "dbc:TRIP.AverageSpeed"},
		{"3E9", "0x3E9 TRIP", "personal/movement", "dbc:TRIP.AverageSpeed"},
		{"BRAKE_WEAR", "0x1A3 BRAKE_WEAR", "technical/condition", "dbc:BRAKE_WEAR.PadWearFrontLeft"},
		{"BRAKE_WEAR.BrakeFault", "dbc.BRAKE_WEAR.BrakeFault", "technical/fault-memory", "dbc:BRAKE_WEAR.BrakeFault"},
		{"dbc.POSITION.Latitude", "dbc.POSITION.Latitude", "personal/location", "dbc:POSITION.Latitude"},
		{"0x7AA", "7AA", "personal/unclassified", ""},
		{"7E8", "7E8", "personal/unclassified", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			x, err := p.Explain(c.what)
			require.NoError(t, err)
			require.Equal(t, []string{c.subject, c.tag, c.rule}, []string{x.Subject, x.Tag.String(), x.Rule})
			require.NotEmpty(t, x.Reason.In("en"))
			require.NotEmpty(t, x.LegalBasis)
			require.NotEmpty(t, x.Source)
			require.NotEmpty(t, x.Category)
			require.Equal(t, p.Version(), x.Policy)
		})
	}
	for _, bad := range []string{"", "nothing", "xyz.1", "obd..01", "7E8#zz", "7E8#0102030405060708090A", "0xFFFFFFFF", "123456789", "VIN WVWZZZ"} {
		_, err := p.Explain(bad)
		require.ErrorIs(t, err, policy.ErrNotUnderstood, bad)
	}
}

// A frame that mixes says so, and explains each field by itself.
func TestExplainParts(t *testing.T) {
	x, err := defaultPolicy(t).Explain("7E8#0541057 30D32 0000")
	require.NoError(t, err)
	require.Len(t, x.Parts, 2)
	require.Equal(t, "technical/condition", x.Parts[0].Tag.String())
	require.Equal(t, "personal/movement", x.Parts[1].Tag.String())
	require.Contains(t, x.Reason.In("nl"), "alleen technisch als elk veld")
	require.Equal(t, x.Reason.EN, x.Reason.In("xx"), "an unknown language reads English")

	x, err = defaultPolicy(t).Explain("SERVICE")
	require.NoError(t, err)
	require.Len(t, x.Parts, 6)
	require.Equal(t, policy.Customer, x.Category)
}
