package obd_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"obdgate/internal/dtc"
	"obdgate/internal/obd"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
)

type vector struct {
	Request, Response string
	Expect            map[string]any
	Capture           string
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func vectors(t testing.TB) (out []vector) {
	f, err := os.Open("../../fixtures/vectors/service01.jsonl")
	require.NoError(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var v vector
		require.NoError(t, json.Unmarshal(s.Bytes(), &v))
		out = append(out, v)
	}
	require.NotEmpty(t, out)
	return out
}

// plain is a value as a number, a text, or nil.
func plain(v reading.Value) any {
	switch v := v.(type) {
	case reading.Quantity:
		return v.Float()
	case reading.Code:
		if _, err := dtc.Parse(v.Label); err == nil {
			return v.Label
		}
		return float64(v.N)
	case reading.Text:
		return string(v)
	}
	return nil
}

// A wrong row shows a technician a wrong number: each row has an answer whose value somebody else worked out.
func TestEveryRowHasAVector(t *testing.T) {
	seen := map[reading.Key]bool{}
	for _, v := range vectors(t) {
		out, err := obd.Decode(unhex(t, v.Request), unhex(t, v.Response))
		require.NoError(t, err, v.Response)
		got := map[string]any{}
		for _, r := range out {
			got[string(r.Key)] = plain(r.Value)
			require.NotEmpty(t, r.Name)
			require.Equal(t, unhex(t, v.Response), r.Raw)
		}
		for k, want := range v.Expect {
			if w, ok := want.(float64); ok {
				g, isNumber := got[k].(float64)
				require.True(t, isNumber, "%s in %s is %v", k, v.Response, got[k])
				require.LessOrEqual(t, math.Abs(g-w), 1e-6*math.Max(1, math.Abs(w)), "%s in %s", k, v.Response)
			} else {
				require.Equal(t, want, got[k], "%s in %s", k, v.Response)
			}
			seen[reading.Key(k)] = true
		}
	}
	rows := 0
	for pid := range 256 {
		fields := obd.Fields(byte(pid))
		for _, f := range fields {
			key := reading.Key(fmt.Sprintf("obd.01.%02X", pid))
			if len(fields) > 1 {
				key += reading.Key("." + f.Key)
			}
			require.True(t, seen[key], "no vector for %s", key)
			back, ok := obd.FieldOf(key)
			require.True(t, ok, key)
			require.Equal(t, f.Key, back.Key)
			rows++
		}
	}
	require.Greater(t, rows, 400, "rows of pids.csv")
}
