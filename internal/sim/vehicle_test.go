package sim_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

// tester is a tester's side of ISO-TP on stepped time, as plain as can be: it sends one request, grants flow control and
// puts together what comes back, per answering identifier and address byte.
type tester struct {
	v     *sim.Vehicle
	now   time.Duration
	flow  []byte // flow control bytes, default 30 00 00
	seen  []frame.Frame
	order []string
}

type spoken struct {
	want int
	data []byte
	last byte // control byte of the last consecutive frame
}

// ask sends request (hex) to "7DF" or "6F1/60"; answers come as "7E8:4100BE..." in order of completion.
func (ts *tester) ask(t *testing.T, to, request string) []string {
	t.Helper()
	req, err := hex.DecodeString(strings.ReplaceAll(request, " ", ""))
	require.NoError(t, err)
	ts.seen, ts.order = nil, nil
	idText, ext, hasExt := strings.Cut(to, "/")
	var id uint32
	b, err := hex.DecodeString(strings.Repeat("0", len(idText)%2) + idText)
	require.NoError(t, err)
	for _, x := range b {
		id = id<<8 | uint32(x)
	}
	pack := func(id uint32, target string, bytes ...byte) frame.Frame {
		var data []byte
		if hasExt {
			tb, err := hex.DecodeString(target)
			require.NoError(t, err)
			data = tb
		}
		data = append(data, bytes...)
		for len(data) < 8 {
			data = append(data, 0)
		}
		var fl frame.Flags
		if len(idText) == 8 {
			fl = frame.Extended
		}
		return frame.New(id, fl, data...)
	}
	require.Less(t, len(req), 8)
	ts.v.Handle(pack(id, ext, append([]byte{byte(len(req))}, req...)...), ts.now)
	long := map[string]*spoken{}
	var out []string
	for {
		due, ok := ts.v.Due()
		if !ok || due > ts.now+2*time.Second {
			return out
		}
		ts.now = due
		f, ok := ts.v.Next(ts.now)
		require.True(t, ok)
		require.NoError(t, f.Validate())
		ts.seen = append(ts.seen, f)
		ts.order = append(ts.order, f.IDString())
		d := f.Bytes()
		if hasExt {
			require.Equal(t, byte(0xF1), d[0])
			d = d[1:]
		}
		name := f.IDString()
		switch d[0] >> 4 {
		case 0:
			require.LessOrEqual(t, int(d[0]), len(d)-1)
			out = append(out, name+":"+strings.ToUpper(hex.EncodeToString(d[1:1+d[0]])))
		case 1:
			long[name] = &spoken{want: int(d[0]&15)<<8 | int(d[1]), data: append([]byte(nil), d[2:]...)}
			fc := ts.flow
			if fc == nil {
				fc = []byte{0x30, 0, 0}
			}
			ts.v.Handle(pack(flowID(f.ID, id), fmt.Sprintf("%02X", byte(f.ID)), fc...), ts.now+time.Millisecond) // 6F1/12 answers on 612
		case 2:
			s := long[name]
			if s == nil || s.last == d[0] {
				require.Equal(t, "broken-duplicate", ts.v.Name(), "consecutive frame out of place")
				continue
			}
			s.last = d[0]
			s.data = append(s.data, d[1:]...)
			if len(s.data) >= s.want {
				out = append(out, name+":"+strings.ToUpper(hex.EncodeToString(s.data[:s.want])))
				delete(long, name)
			}
		}
	}
}

func flowID(rx, tx uint32) uint32 {
	switch {
	case rx >= 0x7E8 && rx <= 0x7EF:
		return rx - 8
	case rx == 0x77A || rx == 0x77E: // VW group pairs
		return rx - 0x6A
	case rx&0x1FFFFF00 == 0x18DAF100:
		return 0x18DA00F1 | rx&0xFF<<8
	}
	return tx
}

func load(t *testing.T, name string) *tester {
	t.Helper()
	v, err := sim.Load(name)
	require.NoError(t, err)
	return &tester{v: v}
}

func TestGolf8(t *testing.T) {
	ts := load(t, "golf8")
	for _, c := range []struct {
		to, request string
		want        []string
	}{
		{"7DF", "0100", []string{"7E8:4100BE3FA813", "7E9:410088180011"}},
		{"7DF", "0902", []string{"7E8:490201" + hexOf("WVWZZZCD0NW000001"), "7E9:490201" + hexOf("WVWZZZCD0NW000001")}},
		{"7DF", "0917", []string{"7E8:491701FFFFFFFF0006F944FFFFFFFF00047692"}},
		{"7DF", "03", []string{"7E8:43010301", "7E9:4300"}},
		{"7DF", "010C0D05", []string{"7E8:410C0BE80D00057B", "7E9:410C0BE40D00057B"}},
		{"7DF", "01A6", []string{"7E8:41A60006F9FD", "7E9:41A60006F9FD"}},
		{"7DF", "0105FF", []string{"7E8:41057B", "7E9:41057B"}},
		{"7DF", "017F", nil},
		{"7E0", "017F", []string{"7E8:7F0112"}},
		{"700", "22F187", []string{"7E8:62F187" + hexOf("05E906018DA "), "7E9:62F187" + hexOf("0GC300047F "),
			"77A:62F187" + hexOf("5WA907530AH"), "77E:62F187" + hexOf("5H0920320  ")}},
		{"710", "222A0A", []string{"77A:622A0A0000B299"}},
		{"7E0", "3E00", []string{"7E8:7E00"}},
		{"7E0", "3E80", nil},
		{"7E0", "1902FF", []string{"7E8:5902FF030100AF01710024"}},
		{"7E0", "190108", []string{"7E8:5901FF010001"}},
		{"7E0", "22ABCD", []string{"7E8:7F2231"}},
		{"7E0", "2701", []string{"7E8:7F2711"}},
		{"123", "0100", nil},
	} {
		t.Run(c.to+" "+c.request, func(t *testing.T) {
			require.ElementsMatch(t, c.want, ts.ask(t, c.to, c.request))
		})
	}
	require.Equal(t, 1, ts.v.OBFCMRequests())
}

func hexOf(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) }
