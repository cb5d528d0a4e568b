package scan_test

import (
	"strings"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/policy"
	"obdgate/internal/scan"

	"github.com/stretchr/testify/require"
)

// What a maker keeps under identifiers of its own is read in a full plan, each question once, and tagged by the policy; a
// quick plan does not ask for it.
func TestMakersOwnValues(t *testing.T) {
	for _, c := range []struct {
		car, question string
		values        map[string]string
	}{
		{"diesel", "REQ 7E0 22054B", map[string]string{"maker.service.ford.22.054B.oil_life": "68 %"}},
		{"uds15", "REQ 7A0 22C00B", map[string]string{"maker.condition.hyundai_kia.22.C00B.tyre_fl": "2.454533 bar", "maker.condition.hyundai_kia.22.C00B.tyre_temp_rr": "5 degC"}},
		{"mini", "REQ 6F1 224402", map[string]string{"maker.condition.bmw_mini.22.4402.oil_temp": "98 degC"}},
	} {
		t.Run(c.car, func(t *testing.T) {
			o := options(t, scan.Full, consent.Unasked)
			l, v := car(t, c.car)
			s, err := scan.Run(t.Context(), l, o)
			require.NoError(t, err)
			asked := 0
			for _, r := range v.Log() {
				if r.String() == c.question {
					asked++
				}
			}
			require.Equal(t, 1, asked, v.Log())
			for key, want := range c.values {
				require.Equal(t, want, number(s, key, ""), key)
			}
			seen := 0
			for _, r := range s.Readings {
				if strings.HasPrefix(string(r.Key), "maker.") {
					require.Equal(t, policy.Technical, o.Policy.Tag(r).Tag().Class, r.Key)
					seen++
				}
			}
			require.Positive(t, seen)
			require.Empty(t, s.Errors)

			l, v = car(t, c.car)
			_, err = scan.Run(t.Context(), l, options(t, scan.Quick, consent.Unasked))
			require.NoError(t, err)
			for _, r := range v.Log() {
				require.NotEqual(t, c.question, r.String())
			}
		})
	}
}
