package isotp_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"obdgate/internal/isotp"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// pdus feeds decode, encode and fuzz. Bytes are from the tables of ISO 15765-2 and from captured cars.
var pdus = []struct {
	name  string
	frame string
	ext   bool
	want  isotp.PDU
	err   error
}{
	{"single of one", "01 60", false, isotp.PDU{Kind: isotp.Single, Length: 1, Data: unhex("60")}, nil},
	{"single, padded with AA", "04 49 04 01 00 AA AA AA", false, isotp.PDU{Kind: isotp.Single, Length: 4, Data: unhex("49040100")}, nil},
	{"single of seven", "07 41 01 81 04 00 00 00", false, isotp.PDU{Kind: isotp.Single, Length: 7, Data: unhex("41018104000000")}, nil},
	{"single, extended", "F1 05 62 44 02 00 71", true, isotp.PDU{Kind: isotp.Single, Ext: true, Target: 0xF1, Length: 5, Data: unhex("6244020071")}, nil},
	{"single, FD", "00 08 01 02 03 04 05 06 07 08 CC CC", false, isotp.PDU{Kind: isotp.Single, Length: 8, Data: unhex("0102030405060708")}, nil},
	{"single, FD, 12", "00 0A 01 02 03 04 05 06 07 08 09 0A", false,
		isotp.PDU{Kind: isotp.Single, Length: 10, Data: unhex("0102030405060708090A")}, nil},
	{"single, FD, extended, 7", "F1 00 07 01 02 03 04 05 06 07 00 00", true,
		isotp.PDU{Kind: isotp.Single, Ext: true, Target: 0xF1, Length: 7, Data: unhex("01020304050607")}, nil},
	{"first", "10 13 49 04 01 45 4F 53", false, isotp.PDU{Kind: isotp.First, Length: 0x13, Data: unhex("490401454F53")}, nil},
	{"first of 4095", "1F FF 49 04 01 45 4F 53", false, isotp.PDU{Kind: isotp.First, Length: 4095, Data: unhex("490401454F53")}, nil},
	{"first, extended, 7 bytes", "F1 10 07 62 DA 23 1F FF", true,
		isotp.PDU{Kind: isotp.First, Ext: true, Target: 0xF1, Length: 7, Data: unhex("62DA231FFF")}, nil},
	{"first, 32-bit length", "10 00 00 00 10 00 62 F1", false, isotp.PDU{Kind: isotp.First, Length: 4096, Data: unhex("62F1")}, nil},
	{"consecutive", "21 45 4B 35 4C 2D 4F 53", false, isotp.PDU{Kind: isotp.Consecutive, Seq: 1, Data: unhex("454B354C2D4F53")}, nil},
	{"consecutive, short last", "2F 45", false, isotp.PDU{Kind: isotp.Consecutive, Seq: 15, Data: unhex("45")}, nil},
	{"flow control", "30 00 00", false, isotp.PDU{Kind: isotp.FlowControl}, nil},
	{"flow control, padded", "30 08 05 AA AA AA AA AA", false, isotp.PDU{Kind: isotp.FlowControl, Flow: isotp.Flow{BlockSize: 8, STmin: 5}}, nil},
	{"flow control, extended", "60 30 00 00", true, isotp.PDU{Kind: isotp.FlowControl, Ext: true, Target: 0x60}, nil},
	{"wait", "31 00 00", false, isotp.PDU{Kind: isotp.FlowControl, Flow: isotp.Flow{Status: isotp.Wait}}, nil},
	{"overflow", "32 00 00", false, isotp.PDU{Kind: isotp.FlowControl, Flow: isotp.Flow{Status: isotp.Overflow}}, nil},

	{"nothing", "", false, isotp.PDU{}, isotp.ErrEmpty},
	{"address and nothing", "F1", true, isotp.PDU{Ext: true, Target: 0xF1}, isotp.ErrEmpty},
	{"single of none", "00 00 00", false, isotp.PDU{Kind: isotp.Single}, isotp.ErrLength},
	{"single longer than its frame", "05 41 0C 1A", false, isotp.PDU{Kind: isotp.Single}, isotp.ErrLength},
	{"single of eight", "08 41 0C 1A F8 00 00 00", false, isotp.PDU{Kind: isotp.Single}, isotp.ErrLength},
	{"single of seven, extended", "F1 07 41 0C 1A F8 00 00", true, isotp.PDU{Kind: isotp.Single, Ext: true, Target: 0xF1}, isotp.ErrLength},
	{"single, FD, short coded in a long frame", "03 41 0C 1A 00 00 00 00 00 00 00 00", false, isotp.PDU{Kind: isotp.Single}, isotp.ErrLength},
	{"single, FD, beyond the frame", "00 0B 01 02 03 04 05 06 07 08 09 0A", false, isotp.PDU{Kind: isotp.Single}, isotp.ErrLength},
	{"first without second length byte", "10", false, isotp.PDU{Kind: isotp.First}, isotp.ErrLength},
	{"first, not full", "10 13 49 04 01 45 4F", false, isotp.PDU{Kind: isotp.First}, isotp.ErrLength},
	{"first that fits a single", "10 07 49 04 01 45 4F 53", false, isotp.PDU{Kind: isotp.First, Length: 7}, isotp.ErrLength},
	{"first, 32-bit length below 4096", "10 00 00 00 0F FF 62 F1", false, isotp.PDU{Kind: isotp.First}, isotp.ErrLength},
	{"consecutive of none", "21", false, isotp.PDU{Kind: isotp.Consecutive}, isotp.ErrLength},
	{"flow control cut off", "30 00", false, isotp.PDU{Kind: isotp.FlowControl}, isotp.ErrLength},
	{"flow status 3", "33 00 00", false, isotp.PDU{Kind: isotp.FlowControl, Flow: isotp.Flow{Status: 3}}, isotp.ErrReserved},
	{"type 4", "40 00 00", false, isotp.PDU{}, isotp.ErrReserved},
	{"more than a frame", strings.Repeat("22", 65), false, isotp.PDU{}, isotp.ErrLength},
}

func TestDecode(t *testing.T) {
	for _, tc := range pdus {
		t.Run(tc.name, func(t *testing.T) {
			b := unhex(tc.frame)
			p, err := isotp.Decode(b, tc.ext)
			require.Equal(t, tc.err, err)
			if err != nil {
				require.Equal(t, tc.want.Kind, p.Kind, "the kind must be known for an error to be laid at the right door")
				return
			}
			require.Equal(t, tc.want, p)
			out, err := isotp.Append([]byte{0xEE}, p)
			require.NoError(t, err)
			require.Equal(t, byte(0xEE), out[0])
			require.True(t, bytes.HasPrefix(b, out[1:]), "%X is not how %X begins", out[1:], b)
		})
	}
}

func TestAppendRefusesWhatDecodeRefuses(t *testing.T) {
	for _, p := range []isotp.PDU{
		{},
		{Kind: isotp.Single},
		{Kind: isotp.Single, Length: 2, Data: []byte{1}},
		{Kind: isotp.Single, Length: 63, Data: make([]byte, 63)},
		{Kind: isotp.Single, Ext: true, Length: 62, Data: make([]byte, 62)},
		{Kind: isotp.First, Length: 7, Data: make([]byte, 6)},
		{Kind: isotp.First, Length: 20, Data: make([]byte, 5)},
		{Kind: isotp.First, Length: 20, Data: make([]byte, 8)},
		{Kind: isotp.First, Length: 200, Data: make([]byte, 63)},
		{Kind: isotp.Consecutive},
		{Kind: isotp.Consecutive, Seq: 16, Data: []byte{1}},
		{Kind: isotp.Consecutive, Ext: true, Data: make([]byte, 63)},
		{Kind: isotp.FlowControl, Flow: isotp.Flow{Status: 3}},
	} {
		out, err := isotp.Append([]byte{1, 2}, p)
		require.Error(t, err, "%+v", p)
		require.Equal(t, []byte{1, 2}, out)
	}
}

func TestSTmin(t *testing.T) {
	for code, want := range map[isotp.STmin]time.Duration{
		0: 0, 1: time.Millisecond, 0x7F: 127 * time.Millisecond,
		0xF1: 100 * time.Microsecond, 0xF9: 900 * time.Microsecond,
	} {
		require.Equal(t, want, code.Duration())
		require.Equal(t, code, isotp.STminOf(want))
	}
	for _, reserved := range []isotp.STmin{0x80, 0xF0, 0xFA, 0xFF} {
		require.Equal(t, 127*time.Millisecond, reserved.Duration(), "%X", byte(reserved))
	}
	// Never less than asked for, and the shortest that is not.
	for d := -time.Millisecond; d < 130*time.Millisecond; d += 37 * time.Microsecond {
		got := isotp.STminOf(d).Duration()
		require.GreaterOrEqual(t, got, min(d, 127*time.Millisecond))
		require.Less(t, got-max(d, 0), time.Millisecond)
	}
}

func FuzzDecode(f *testing.F) {
	for _, tc := range pdus {
		f.Add(unhex(tc.frame), tc.ext)
	}
	f.Fuzz(func(t *testing.T, b []byte, ext bool) {
		p, err := isotp.Decode(b, ext)
		if err != nil {
			return
		}
		out, err := isotp.Append(nil, p)
		if err != nil {
			t.Fatalf("%X decodes, but its content is refused: %v", b, err)
		}
		if !bytes.HasPrefix(b, out) {
			t.Fatalf("%X comes back as %X", b, out)
		}
		again, err := isotp.Decode(isotp.Padding{}.Append(out, 0), ext)
		if p.Kind == isotp.Consecutive {
			p.Data, again.Data = nil, nil // padding is told from data only by the message's length
		}
		if err != nil || again.Kind != p.Kind || again.Length != p.Length || again.Seq != p.Seq || again.Flow != p.Flow ||
			again.Target != p.Target || !bytes.Equal(again.Data, p.Data) {
			t.Fatalf("%X padded decodes differently: %v", b, err)
		}
	})
}
