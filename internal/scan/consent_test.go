package scan_test

import (
	"context"
	"errors"
	"testing"

	"obdgate/internal/consent"
	"obdgate/internal/obfcm"
	"obdgate/internal/scan"

	"github.com/stretchr/testify/require"
)

// The customer says no while the vehicle is being read: from that moment no question for the consumption record is put on
// the bus, and everything else is read as if nothing had been said.
func TestARefusalDuringTheScan(t *testing.T) {
	yes := options(t, scan.Full, consent.Granted)
	l, v := car(t, "phev")
	whole, err := scan.Run(t.Context(), l, yes)
	require.NoError(t, err)
	questions := v.OBFCMRequests()
	require.Greater(t, questions, 1, "this car cannot show that a refusal comes in between")
	for _, c := range []struct {
		name    string
		after   int // questions that are agreed to
		answer  consent.Answer
		err     error
		asked   bool
		outcome obfcm.Outcome
	}{
		{"before the first question", 0, consent.Refused, nil, false, obfcm.Refused},
		{"withdrawn before the first question", 0, consent.Withdrawn, nil, false, obfcm.Refused},
		{"expired before the first question", 0, consent.Expired, nil, false, obfcm.Unasked},
		{"nobody can say", 0, consent.Granted, errors.New("the log is not to be read"), false, obfcm.Unasked},
		{"after the first question", 1, consent.Refused, nil, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, v := car(t, "phev")
			o := yes
			put := 0
			o.Consent = func(context.Context) (consent.Answer, error) {
				if put++; put <= c.after {
					return consent.Granted, nil
				}
				return c.answer, c.err
			}
			s, err := scan.Run(t.Context(), l, o)
			require.NoError(t, err)
			require.Equal(t, c.after, v.OBFCMRequests())
			require.Equal(t, c.asked, s.OBFCM.Outcome.Asked())
			if !c.asked {
				require.Equal(t, c.outcome, s.OBFCM.Outcome)
				require.Equal(t, without(whole.Readings, "obfcm."), without(s.Readings, "obfcm."))
			}
			require.Equal(t, c.err != nil, len(s.Errors) > 0)
		})
	}
}
