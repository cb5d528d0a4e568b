package frame_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"obdgate/internal/frame"

	"github.com/stretchr/testify/require"
)

func TestValidate(t *testing.T) {
	long := frame.Frame{ID: 1, Len: 65}
	for _, c := range []struct {
		name string
		f    frame.Frame
		ok   bool
	}{
		{"standard", frame.New(0x7E8, 0, 1, 2), true},
		{"id above 0x7FF becomes extended", frame.New(0x800, 0, 1), true},
		{"standard with 12 bits", frame.Frame{ID: 0x800}, false},
		{"extended with 30 bits", frame.Frame{ID: 1 << 29, Flags: frame.Extended}, false},
		{"nine bytes in a classic frame", frame.New(1, 0, make([]byte, 9)...), false},
		{"nine bytes in FD", frame.New(1, frame.FD, make([]byte, 9)...), false},
		{"twelve bytes in FD", frame.New(1, frame.FD, make([]byte, 12)...), true},
		{"65 bytes", long, false},
		{"FD remote", frame.Frame{ID: 1, Flags: frame.FD | frame.Remote}, false},
		{"legacy header", frame.New(0x486B10, frame.Legacy, make([]byte, 11)...), true},
		{"legacy header of 4 bytes", frame.Frame{ID: 0x1000000, Flags: frame.Legacy}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.f.Validate()
			if c.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, frame.ErrInvalid)
		})
	}
}

// A frame met in a log line, an error or a panic must not show what the car said.
func TestPayloadIsNeverPrinted(t *testing.T) {
	f := frame.New(0x7E8, 0, 0xDE, 0xAD, 0xBE, 0xEF)
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("seen", "frame", f, "pointer", &f)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+"\n", f)
		fmt.Fprintf(&out, verb+"\n", struct{ F frame.Frame }{f})
	}
	for _, leak := range []string{"DEAD", "dead", "222 173", "222", "0xde", "de ad"} {
		require.NotContains(t, out.String(), leak)
	}
	_, err := json.Marshal(f)
	require.Error(t, err)
}

func TestPadLen(t *testing.T) {
	want := map[int]int{0: 0, 7: 7, 8: 8, 9: 12, 12: 12, 13: 16, 17: 20, 21: 24, 24: 24, 25: 32, 33: 48, 49: 64, 64: 64}
	for n, w := range want {
		require.Equal(t, w, frame.PadLen(n), "PadLen(%d)", n)
	}
}
