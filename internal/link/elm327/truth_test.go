package elm327

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/diag"
	"obdgate/internal/isotp"
)

// What the car of FuzzTruth says, by question: the lines of a genuine chip with headers on. Frames are padded.
var carSays = map[string]string{
	"0100":   "7E8064100BE3EB81355\r7E906410098188011AA\r",
	"010C":   "7E804410C1AF8555555\r",
	"010D":   "7E803410D3255555555\r",
	"0902":   "7E81014490201575657\r7E91014490201313233\r7E8215A5A5A4344304E\r7E92134353637383930\r7E82257303030303031\r7E92241424344454647\r",
	"22F190": "77E100A62F190414243\r77E2144454647AAAAAA\r",
}

// carMeans are the messages in them, by question and ECU.
var carMeans = map[string]map[uint32]string{
	"0100":   {0x7E8: "\x41\x00\xBE\x3E\xB8\x13", 0x7E9: "\x41\x00\x98\x18\x80\x11"},
	"010C":   {0x7E8: "\x41\x0C\x1A\xF8"},
	"010D":   {0x7E8: "\x41\x0D\x32"},
	"0902":   {0x7E8: "\x49\x02\x01WVWZZZCD0NW000001", 0x7E9: "\x49\x02\x011234567890ABCDEFG"},
	"22F190": {0x77E: "\x62\xF1\x90ABCDEFG"},
}

// harm spoils one reply as two bytes of a fuzz input say. A digit that becomes another is not among it: the lines of CAN
// frames carry no check, and nobody could notice.
func harm(reply, before string, what, where byte) say {
	at := int(where) % max(1, len(reply))
	s := say{text: reply}
	switch what % 16 {
	case 1:
		s.text = reply[:at] + reply[min(at+1, len(reply)):]
	case 2:
		s.text = reply[:at] + reply[at:min(at+1, len(reply))] + reply[at:]
	case 3:
		s.text = strings.TrimSuffix(reply, ">")
	case 4:
		s.after = time.Duration(where) * 20 * time.Millisecond
	case 5:
		s.text = before + reply // what nobody waited for any more
	case 6:
		s.text = "STOPPED\r\r>"
	case 7:
		s.text = "\rLV RESET\r\r>"
	case 8:
		s.text = reply[:at] + "BUFFER FULL\r\r>"
	case 9:
		s.text = reply[:at] + "\x00\xFC" + reply[at:]
	case 10:
		s.text = reply + ">"
	case 11:
		s.text = "NO DATA\r\r>"
	case 12:
		s.text = reply[:at] + "<DATA ERROR\r\r>"
	case 13:
		s.text = "?\r\r>"
	case 14:
		s.text = "+CONNECTING<<00:1D\r" + reply
	case 15:
		s.text = ""
	}
	return s
}

// An adapter that spoils whatever it says, in any order: a value that is accepted was said by this car, by this ECU, to
// this question. Nothing else matters as much.
func FuzzTruth(f *testing.F) {
	f.Add([]byte{}, byte(0))
	f.Add([]byte{5, 0, 5, 0, 5, 0, 5, 0, 4, 200, 5, 1}, byte(40))
	f.Add([]byte{3, 0, 1, 7, 2, 9, 4, 255, 15, 0, 7, 0, 8, 30}, byte(24))
	f.Add([]byte{0, 0, 13, 0, 13, 0, 10, 0, 12, 20, 11, 0, 6, 0, 6, 0}, byte(16))
	f.Add(bytes.Repeat([]byte{1, 33}, 40), byte(30))
	f.Fuzz(func(t *testing.T, faults []byte, from byte) {
		if len(faults) > 512 {
			return
		}
		before, n := "", 0
		var c *chip
		c = newChip(func(cmd string, nth int) (say, bool) {
			reply, asked := carSays[cmd]
			if !asked && len(cmd)%2 == 1 {
				reply, asked = carSays[cmd[:len(cmd)-1]]
			}
			if !asked {
				reply = c.builtin(cmd)
			} else {
				reply += "\r>"
			}
			n++
			i := 2 * (n - int(from))
			if i < 0 || i+1 >= len(faults) {
				before = reply
				return say{text: reply}, true
			}
			s := harm(reply, before, faults[i], faults[i+1])
			before = reply
			return s, true
		})
		synctest.Test(t, func(t *testing.T) {
			l, err := start(t.Context(), address{uri: "elm:test"}, c.open, []int{38400}, Options{}, Record{})
			if err != nil {
				return
			}
			defer l.Close() //nolint:errcheck // the property has been checked
			conn := diag.New(l, diag.Options{})
			for range 2 {
				for _, q := range []struct {
					text   string
					to     diag.Target
					expect int
				}{{"0100", diag.Functional11, 2}, {"010C", physical(0x7E8), 1}, {"0902", diag.Functional11, 2},
					{"22F190", diag.Physical(isotp.Address{Tx: 0x714, Rx: 0x77E}), 1}, {"010D", physical(0x7E8), 1}} {
					answers, _ := conn.Request(t.Context(), diag.Request{To: q.to, Payload: unhex(q.text), Expect: q.expect})
					for _, a := range answers {
						if a.Err == nil && string(a.Payload) != carMeans[q.text][a.Addr.Rx] {
							t.Fatalf("%s of %X: the car did not say %X", q.text, a.Addr.Rx, a.Payload)
						}
					}
				}
			}
		})
	})
}

func physical(rx uint32) diag.Target { return diag.Physical(isotp.Address{Tx: rx - 8, Rx: rx}) }

func unhex(s string) []byte {
	var b [8]byte
	n, err := hexBytes(b[:], []byte(s))
	if err != nil {
		panic(err)
	}
	return slices.Clone(b[:n/2])
}
