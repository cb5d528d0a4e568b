package maker_test

import (
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"obdgate/internal/isotp"
	"obdgate/internal/maker"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
)

type reply struct {
	response uint32
	bytes    []byte
	field    string
	value    string // "" = not available
}

func replies(t testing.TB) (out []reply) {
	t.Helper()
	b, err := os.ReadFile("testdata/replies.csv")
	require.NoError(t, err)
	r := csv.NewReader(strings.NewReader(string(b)))
	r.Comment = '#'
	all, err := r.ReadAll()
	require.NoError(t, err)
	for _, row := range all[1:] {
		id, err := strconv.ParseUint(row[0], 16, 32)
		require.NoError(t, err)
		raw, err := hex.DecodeString(row[1])
		require.NoError(t, err)
		out = append(out, reply{uint32(id), raw, row[2], row[3]})
	}
	return out
}

// Recorded replies of real cars give the values that were published for them; each row that says verified has one.
func TestRecordedReplies(t *testing.T) {
	shown := map[string]bool{}
	for _, c := range replies(t) {
		out, ok, err := maker.Decode(c.response, "", c.bytes)
		require.NoError(t, err)
		require.True(t, ok)
		found := false
		for _, r := range out {
			if !strings.HasSuffix(string(r.Key), "."+c.field) {
				continue
			}
			found = true
			q, isNumber := r.Value.(reading.Quantity)
			require.Equal(t, c.value != "", isNumber, "%X %s", c.bytes, c.field)
			if isNumber {
				want, err := strconv.ParseFloat(c.value, 64)
				require.NoError(t, err)
				require.InDelta(t, want, q.Float(), 0.0006, "%X %s", c.bytes, c.field)
				shown[string(r.Key)] = true
			}
		}
		require.True(t, found, "%X %s", c.bytes, c.field)
	}
	for _, r := range maker.Rows() {
		key := string(r.Key())
		twin := strings.NewReplacer("2814.tyre_fr", "2813.tyre_fl", "2815.tyre_rr", "2813.tyre_fl", "tyre_temp_fr", "tyre_temp_fl", "tyre_temp_rl", "tyre_temp_fl").Replace(key)
		require.True(t, !r.Verified || shown[key] || shown[twin], "%s is not shown by any reply", key)
	}
}

func TestRows(t *testing.T) {
	keys := map[string]bool{}
	for _, r := range maker.Rows() {
		layout := fmt.Sprint(r.Key(), " ", r.Length())
		require.False(t, keys[layout], "%s twice", layout)
		keys[layout] = true
		require.Contains(t, []string{"condition", "service", "load-profile"}, r.Category)
		require.Contains(t, []byte{0x21, 0x22}, r.Payload[0], "only reading")
		offset, width := r.Place()
		short := append([]byte{r.Payload[0] + 0x40}, r.Payload[1:]...)
		want, n := maker.ErrShort, offset+width-1
		if r.Length() > 0 {
			want, n = maker.ErrLayout, r.Length()+1
		}
		_, ok, err := maker.Decode(r.Address().Rx, r.Vehicles()[0], append(short, make([]byte, n)...))
		require.True(t, ok)
		require.ErrorIs(t, err, want)
	}
	require.Greater(t, len(keys), 30)
	require.Empty(t, maker.ForVehicle("ZAR"))
	require.Empty(t, maker.ForVehicle(""))
	for _, wmi := range []string{"WVW", "WMW", "WF0", "KNA", "JTD", "VF1", "UU1", "SJN", "JMZ", "SHH", "VF3", "SAL"} {
		require.NotEmpty(t, maker.ForVehicle(wmi), wmi)
	}
	_, ok, _ := maker.Decode(0, "", []byte{0x62, 0x05, 0x4B, 0x1B})
	require.False(t, ok, "an unknown sender")
	_, ok, _ = maker.Decode(0x7E9, "", []byte{0x62, 0x05, 0x4B, 0x1B})
	require.False(t, ok, "another control unit")
	_, ok, _ = maker.Decode(0x7E8, "", []byte{0x62, 0x20, 0x07, 0x0B, 0xEA})
	require.False(t, ok, "every make has such a control unit, and no reply confirms the place")
	_, ok, _ = maker.Decode(0x7E8, "VF1", []byte{0x62, 0x20, 0x07, 0x0B, 0xEA})
	require.True(t, ok)
	_, ok, _ = maker.Decode(0x7E8, "WF0", []byte{0x62, 0x20, 0x07, 0x0B, 0xEA})
	require.False(t, ok, "another make's")
	require.True(t, maker.Unconfirmed("maker.service.vw.22.224B.oil_thermal_wear"))
	require.False(t, maker.Unconfirmed("maker.service.ford.22.054B.oil_life"))
}

func FuzzDecode(f *testing.F) {
	for _, c := range replies(f) {
		f.Add(c.response, c.bytes)
	}
	f.Fuzz(func(t *testing.T, response uint32, resp []byte) {
		out, ok, err := maker.Decode(response, "", resp)
		require.False(t, !ok && (len(out) > 0 || err != nil))
		for _, r := range out {
			require.True(t, strings.HasPrefix(string(r.Key), "maker."))
			require.NotNil(t, r.Value)
		}
	})
}

// Who follows conversations by the addresses alone must not miss a control unit that a row asks.
func TestAddressesAreThoseOfTheRows(t *testing.T) {
	var want []isotp.Address
	for _, r := range maker.Rows() {
		if !slices.Contains(want, r.Address()) {
			want = append(want, r.Address())
		}
	}
	require.Equal(t, want, maker.Addresses())
}
