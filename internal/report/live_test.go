package report_test

import (
	"bytes"
	"strings"
	"testing"

	"obdgate/internal/i18n"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/report"

	"github.com/stretchr/testify/require"
)

// terminal understands what Screen sends: it is what a person sees.
func terminal(t *testing.T, sent string, height int) string {
	t.Helper()
	lines, row := make([]string, height), 0
	for sent != "" {
		if rest, ok := strings.CutPrefix(sent, "\x1b["); ok {
			n, end := 0, strings.IndexFunc(rest, func(r rune) bool { return r >= '@' })
			for _, d := range rest[:end] {
				n = n*10 + int(d-'0')
			}
			switch rest[end] {
			case 'F':
				row -= n
			case 'K': // what was behind the cursor; every line is written whole here
			case 'J':
				for i := row; i < height; i++ {
					lines[i] = ""
				}
			default:
				t.Fatalf("control sequence %q", rest[:end+1])
			}
			sent = rest[end+1:]
			continue
		}
		end := strings.IndexAny(sent, "\x1b\n")
		if end < 0 {
			end = len(sent)
		}
		if end > 0 {
			lines[row] = strings.TrimRight(sent[:end], " ")
		}
		if sent = sent[end:]; strings.HasPrefix(sent, "\n") {
			row++
			require.Less(t, row, height, "the terminal scrolls: the first line cannot be found again")
			sent = sent[1:]
		}
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

func TestScreen(t *testing.T) {
	words, err := i18n.Load("en")
	require.NoError(t, err)
	rules, err := policy.Default()
	require.NoError(t, err)
	moment := func(seconds float64, rpm, speed int64) report.Moment {
		return report.NewMoment(seconds, []reading.Reading{
			{Key: "obd.01.0C", Name: "Engine speed", ECU: "7E8", Value: reading.Quantity{Num: rpm, Den: 1, Unit: "rpm"}, Raw: []byte{0x41, 0x0C, 0, 0}},
			{Key: "obd.01.0D", Name: "Vehicle speed", ECU: "7E8", Value: reading.Quantity{Num: speed, Den: 1, Unit: "km/h"}},
		}, nil, rules)
	}
	var sent bytes.Buffer
	width, height := 70, 10
	s := report.NewScreen(&sent, words, func() (int, int) { return width, height }, "sim:golf8")
	for i, rpm := range []int64{800, 2400, 760} {
		require.NoError(t, s.Show(moment(float64(i), rpm, int64(i)*10)))
	}
	require.Equal(t, strings.TrimPrefix(`
sim:golf8
  unit  value                   least  most
  7E8   Engine speed   760 rpm  760    2400
  7E8   Vehicle speed  20 km/h  0      20    personal
2 s. Nothing of this is stored. Ctrl-C ends it.`, "\n"), terminal(t, sent.String(), height))
	width, height = 20, 4
	require.NoError(t, s.Show(moment(3, 700, 30)))
	require.Equal(t, "sim:golf8\n  unit  value\n3 s. Nothing of this", terminal(t, sent.String(), 10), "what does not fit is left out")
}

func TestMomentLines(t *testing.T) {
	rules, err := policy.Default()
	require.NoError(t, err)
	m := report.NewMoment(1.25, []reading.Reading{{Key: "obd.01.0D", Name: "Vehicle speed", ECU: "7E8", Value: reading.Quantity{Num: 20, Den: 1, Unit: "km/h"}, Raw: []byte{0x41, 0x0D, 0x14}}}, nil, rules)
	var out bytes.Buffer
	require.NoError(t, report.WriteMoment(&out, m))
	require.Equal(t, `{"seconds":1.25,"readings":[{"key":"obd.01.0D","name":"Vehicle speed","value":20,"unit":"km/h","ecu":"7E8","tag":"personal","category":"movement"}],"errors":[]}`+"\n", out.String())
	out.Reset()
	words, err := i18n.Load("en")
	require.NoError(t, err)
	require.NoError(t, report.NewText(&out, words).Moment(m))
	require.Equal(t, "1.2\t7E8\tVehicle speed\t20 km/h\tpersonal\n", out.String())
}
