package diag

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		ask, answer string
		want        verdict
	}{
		{"010C", "410C1AF8", match},
		{"010C", "410D20", mismatch},
		{"010C", "41", short},
		{"010C", "", short},
		{"010C", "420C001AF8", foreign},
		{"010C0D05", "41053C0D00", match},
		{"010C0D05", "41113C", mismatch},
		{"020C00", "420C001AF8", match},
		{"020C000D01", "420D0120", match},
		{"020C000D01", "42000000", mismatch}, // a frame number is no PID
		{"03", "4300", match},
		{"03", "43", match}, // the decoder says that it is short
		{"03", "4700", foreign},
		{"06A2", "46A20B0B0010", match},
		{"0902", "490201", match},
		{"0902", "490401", mismatch},
		{"1001", "5001003201F4", match},
		{"1001", "5003", mismatch},
		{"3E80", "7E00", match},
		{"3E", "7E", match},
		{"1A90", "5A9057", match},
		{"1A90", "5A9157", mismatch},
		{"2101", "6101FF", match},
		{"22F190", "62F19041", match},
		{"22F190", "62F1", short},
		{"22F190", "62F18741", mismatch},
		{"22F190F187", "62F18741", match},
		{"22F190F187", "6290F141", mismatch}, // bytes of two neighbours
		{"19020D", "5902CF", match},
		{"19020D", "5903CF", mismatch},
		{"1902", "59", short},
		{"1904011910FF", "590401191024", match},
		{"1904011910FF", "590402191024", mismatch},
		{"1904011910FF", "59040119", short},
		{"1942330D1E", "594233FF1E04", match},
		{"1942330D1E", "594234FF1E04", mismatch},
		{"22F190", "7F2231", match},
		{"22F190", "7F22", short},
		{"22F190", "7F", short},
		{"22F190", "7F1931", foreign},
		{"010C", "C10C", foreign},
	} {
		ask, answer := unhex(tc.ask), unhex(tc.answer)
		require.Equal(t, tc.want, question{payload: ask}.match(answer), "%s asked, %s answered", tc.ask, tc.answer)
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// Every answer that a real car gave to a question must be known as an answer to it, and as one to no other question.
func TestRealAnswersMatchTheirQuestions(t *testing.T) {
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
			ID, Kind  string
			Request   struct{ Payload string }
			Responses []struct{ ID, Payload string }
		}
	}
	require.NoError(t, json.Unmarshal(raw, &corpus))
	n := 0
	for _, pair := range corpus.Pairs {
		if pair.Request.Payload == "" {
			continue
		}
		for _, r := range pair.Responses {
			want := match
			if pair.Kind == "quirk_stray_frame" && r.ID == "18DAF106" {
				want = mismatch
			}
			require.Equal(t, want, question{payload: unhex(pair.Request.Payload)}.match(unhex(r.Payload)),
				"%s: %s asked, %s answered", pair.ID, pair.Request.Payload, r.Payload)
			n++
		}
	}
	require.Greater(t, n, 400)
	t.Logf("%d answers", n)
}

func FuzzMatch(f *testing.F) {
	f.Add(unhex("22F190F187"), unhex("62F18741"))
	f.Add(unhex("1904011910FF"), unhex("590401191024"))
	f.Add(unhex("010C0D05"), unhex("41053C0D00"))
	f.Add(unhex("22F190"), unhex("7F2231"))
	f.Fuzz(func(t *testing.T, asked, answer []byte) {
		q, err := ask(asked)
		if err != nil {
			return
		}
		// What the beginning of an answer says must not be taken back by the rest.
		whole := q.match(answer)
		for i := range answer {
			if part := q.match(answer[:i]); part != short && part != whole {
				t.Fatalf("%X: %d bytes say %d, all say %d", asked, i, part, whole)
			}
		}
	})
}
