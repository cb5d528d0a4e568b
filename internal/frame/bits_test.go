package frame_test

import (
	"bytes"
	"testing"
	"time"

	"obdgate/internal/frame"

	"github.com/stretchr/testify/require"
)

// Lengths known from elsewhere: without stuff bits a frame has 44+8n bits (11-bit) or 64+8n (29-bit) and three of
// interframe space (ISO 11898-1; Davis et al., "Controller Area Network (CAN) schedulability analysis", 2007, give
// 55+10n and 80+10n for the worst stuffing).
func TestBits(t *testing.T) {
	for n := 0; n <= 8; n++ {
		for _, fill := range []byte{0x00, 0x55, 0xAA, 0xFF, 0x3C} {
			data := bytes.Repeat([]byte{fill}, n)
			std, ext := frame.New(0x555, 0, data...), frame.New(0x15555555, 0, data...)
			bits, fast := std.Bits()
			require.Zero(t, fast)
			require.GreaterOrEqual(t, bits, 47+8*n)
			require.LessOrEqual(t, bits, 55+10*n)
			bits, _ = ext.Bits()
			require.GreaterOrEqual(t, bits, 67+8*n)
			require.LessOrEqual(t, bits, 80+10*n)
		}
	}
	for _, c := range []struct {
		name          string
		f             frame.Frame
		nominal, data int
	}{
		// SOF, ID, RTR, IDE, r0, DLC and their checksum are 0: 34 bits alike, one stuffed after every five.
		{"all dominant", frame.New(0, 0), 34 + 6 + 13, 0},
		{"error report", frame.Frame{ID: 4, Flags: frame.Error, Len: 8}, 0, 0},
		{"K-line", frame.New(0x686AF1, frame.Legacy, 1), 0, 0},
	} {
		nominal, data := c.f.Bits()
		require.Equal(t, c.nominal, nominal, c.name)
		require.Equal(t, c.data, data, c.name)
	}
}

// An FD frame with 64 bytes that need no stuffing: data phase ESI, DLC, 512 bits, stuff count 4, CRC 21, 7 fixed stuff bits.
func TestBitsFD(t *testing.T) {
	long := frame.New(0x555, frame.FD|frame.BRS, bytes.Repeat([]byte{0x55}, 64)...)
	nominal, data := long.Bits()
	require.Equal(t, 1+11+5+13, nominal)
	require.InDelta(t, 1+4+512+4+21+7, data, 1) // the DLC is 1111, one stuff bit may follow
	short := frame.New(0x555, frame.FD|frame.BRS, bytes.Repeat([]byte{0x55}, 8)...)
	_, data = short.Bits()
	require.InDelta(t, 1+4+64+4+17+6, data, 1)
	slow := frame.New(0x555, frame.FD, bytes.Repeat([]byte{0x55}, 8)...)
	nominal, data = slow.Bits()
	require.Zero(t, data)
	require.InDelta(t, 30+1+4+64+4+17+6, nominal, 1)
	// 64 bytes at 1 and 5 Mbit/s: some 140 µs.
	require.InDelta(t, 140*time.Microsecond, long.Occupies(1_000_000, 5_000_000), float64(2*time.Microsecond))
	for n := 0; n <= 64; n++ {
		f := frame.New(0x7FF, frame.FD|frame.BRS|frame.ESI, make([]byte, frame.PadLen(n))...)
		_, data := f.Bits()
		require.GreaterOrEqual(t, data, 8*frame.PadLen(n))
	}
}

func BenchmarkBits(b *testing.B) {
	f := frame.New(0x7E8, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	b.ReportAllocs()
	for b.Loop() {
		f.Bits()
	}
}
