package elm327_test

import (
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"obdgate/fixtures"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

// derived are cars of the other buses and of long answers, each a known car with something changed.
var derived = map[string]struct {
	from    string
	replace []string // old and new text in turn; the old must be there
}{
	"can-250":    {"golf8", []string{"bits: 11, rate: 500000", "bits: 11, rate: 250000"}},
	"can29-250":  {"tahoe", []string{"bits: 29, rate: 500000", "bits: 29, rate: 250000"}},
	"iso9141":    {"legacy", []string{"iso14230-fast", "iso9141"}},
	"kwp-slow":   {"legacy", []string{"iso14230-fast", "iso14230-slow"}},
	"pwm":        {"legacy", []string{"iso14230-fast", "j1850-pwm"}},
	"vpw":        {"legacy", []string{"iso14230-fast", "j1850-vpw"}},
	"codes":      {"golf8", []string{"stored: [P0301]", "stored: [" + manyCodes(124) + "]", "\"030100\"", "\"030100\"", udsCode, udsCode + udsCodes(110)}},
	"vpw-codes":  {"legacy", []string{"iso14230-fast", "j1850-vpw", "stored: [P0420, P0171, P0300, P0456, U0121]", "stored: [" + manyCodes(43) + "]"}},
	"9141-codes": {"legacy", []string{"iso14230-fast", "iso9141", "stored: [P0420, P0171, P0300, P0456, U0121]", "stored: [" + manyCodes(43) + "]"}},
}

const udsCode = "        - {code: \"017100\", status: \"24\"}\n"

func manyCodes(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("P%04d", 100+i))
	}
	return strings.Join(all, ", ")
}

func udsCodes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "        - {code: \"%04X11\", status: \"2F\"}\n", 0x1200+i)
	}
	return b.String()
}

// car makes a vehicle by its name: a built-in one, one of derived, or a file.
func car(t *testing.T, name string) *sim.Vehicle {
	t.Helper()
	text, ok := carText(t, name)
	if !ok {
		v, err := sim.Load(name)
		require.NoError(t, err)
		return v
	}
	v, err := sim.Parse(name, []byte(text))
	require.NoError(t, err)
	return v
}

var carTexts sync.Map

func carText(t *testing.T, name string) (string, bool) {
	t.Helper()
	d, ok := derived[name]
	if !ok {
		return "", false
	}
	if text, ok := carTexts.Load(name); ok {
		return text.(string), true
	}
	data, err := fs.ReadFile(fixtures.Vehicles(), d.from+".yaml")
	require.NoError(t, err)
	text := string(data)
	for i := 0; i < len(d.replace); i += 2 {
		require.Contains(t, text, d.replace[i])
		text = strings.Replace(text, d.replace[i], d.replace[i+1], 1)
	}
	carTexts.Store(name, text)
	return text, true
}

// The long lists are there, in the reference as well.
func TestDerivedCars(t *testing.T) {
	for name, least := range map[string]int{"codes": 124 + 110, "vpw-codes": 43, "9141-codes": 43, "iso9141": 5, "kwp-slow": 5, "pwm": 5, "vpw": 5, "can-250": 1, "can29-250": 0} {
		n := 0
		for _, r := range truth(t, name).scan.Readings {
			if r.Key == "obd.dtc.stored" || r.Key == "uds.19.02.dtc" {
				n++
			}
		}
		require.GreaterOrEqual(t, n, least, name)
		require.False(t, truth(t, name).scan.VIN.IsZero(), name)
	}
}
