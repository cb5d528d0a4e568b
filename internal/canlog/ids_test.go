package canlog_test

import (
	"fmt"
	"strings"
	"testing"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"

	"github.com/stretchr/testify/require"
)

func TestParseIDs(t *testing.T) {
	for list, want := range map[string][4]bool{ // 123, 00000123, 7FF, an error report
		"123":              {true, false, false, false},
		"00000123":         {false, true, false, false},
		"not:123,7ff":      {false, true, false, true},
		"not:00000123":     {true, false, true, true},
		"7FF,00000123,123": {true, true, true, false},
	} {
		ids, err := canlog.ParseIDs(list)
		require.NoError(t, err)
		require.Equal(t, want, [4]bool{ids.Pass(0x123, 0), ids.Pass(0x123, frame.Extended), ids.Pass(0x7FF, frame.FD), ids.Pass(4, frame.Error)}, list)
	}
	var many []string
	for i := range uint32(500) {
		many = append(many, fmt.Sprintf("%08X", i*0x10001))
	}
	ids, err := canlog.ParseIDs(strings.Join(many, ","))
	require.NoError(t, err)
	for i := range uint32(501 * 0x10001) {
		if i&0xFFF < 2 || i%0x10001 == 0 {
			require.Equal(t, i%0x10001 == 0 && i < 500*0x10001, ids.Pass(i, frame.Extended), "%08X", i)
		}
	}
	for _, wrong := range []string{"", "1", "12", "0123", "800", "20000000", "123,", "123 ,7FF", "XYZ", "not:", "+12", "0x1"} {
		_, err := canlog.ParseIDs(wrong)
		require.ErrorIs(t, err, canlog.ErrIDs, wrong)
	}
}
