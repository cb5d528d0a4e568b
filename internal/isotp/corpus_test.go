package isotp_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"obdgate/internal/isotp"
)

// Answers of real cars, frame by frame, must come out as the messages that the people who captured them published.
func TestRealAnswers(t *testing.T) {
	path := os.Getenv("OBDGATE_CORPUS")
	if path == "" {
		path = "../../../shared/facts/real_responses.json"
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("no corpus of real answers here (set OBDGATE_CORPUS to one): %v", err)
	}
	var corpus struct {
		Pairs []struct {
			ID        string
			Kind      string
			Frames    [][2]string
			Responses []struct{ ID, Payload string }
			Extended  bool `json:"extended_addressing"`
			Flags     []string
		}
	}
	require.NoError(t, json.Unmarshal(raw, &corpus))
	multi := 0
	for _, pair := range corpus.Pairs {
		if len(pair.Frames) == 0 {
			continue
		}
		t.Run(pair.ID+" "+pair.Kind, func(t *testing.T) {
			ext := pair.Extended || slices.Contains(pair.Flags, "extended_addressing")
			rx := map[string]*isotp.Receiver{}
			var got []struct{ ID, Payload string }
			for i, f := range pair.Frames {
				b, err := hex.DecodeString(f[1])
				require.NoError(t, err)
				if rx[f[0]] == nil {
					r := isotp.NewReceiver(isotp.Config{Ext: ext, Target: 0xF1}, nil)
					rx[f[0]] = &r
				}
				e := rx[f[0]].Push(b, time.Duration(i)*time.Millisecond)
				require.False(t, e.Lost, "frame %d: %v", i, e.Err)
				require.NoError(t, e.Err, "frame %d", i)
				require.Equal(t, e.Kind == isotp.First, e.Reply)
				if e.Kind == isotp.Consecutive && e.Message != nil {
					multi++
				}
				if e.Message != nil {
					got = append(got, struct{ ID, Payload string }{f[0], hexUpper(e.Message)})
				}
			}
			require.ElementsMatch(t, pair.Responses, got)
		})
	}
	require.Greater(t, multi, 90, "the corpus has more multi-frame answers than that")
	t.Logf("%d multi-frame messages", multi)
}

func hexUpper(b []byte) string {
	const digits = "0123456789ABCDEF"
	s := make([]byte, 0, 2*len(b))
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}
