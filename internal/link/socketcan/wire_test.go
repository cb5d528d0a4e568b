package socketcan

import (
	"encoding/binary"
	"testing"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
	"go.einride.tech/can"
	cango "go.einride.tech/can/pkg/socketcan"
)

// raw builds a structure by hand: id, length byte, FD flags, data, padded to size.
func raw(size int, id uint32, length, flags byte, data ...byte) []byte {
	b := make([]byte, size)
	binary.NativeEndian.PutUint32(b, id)
	b[4], b[5] = length, flags
	copy(b[8:], data)
	return b
}

var wireCases = []struct {
	name string
	raw  []byte
	f    frame.Frame
}{
	{"11-bit", raw(16, 0x7E8, 3, 0, 2, 1, 0), frame.New(0x7E8, 0, 2, 1, 0)},
	{"29-bit", raw(16, 0x98DAF110, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8), frame.New(0x18DAF110, 0, 1, 2, 3, 4, 5, 6, 7, 8)},
	{"29-bit with a small number", raw(16, 0x80000123, 1, 0, 9), frame.New(0x123, frame.Extended, 9)},
	{"no data", raw(16, 0x7DF, 0, 0), frame.New(0x7DF, 0)},
	{"remote", raw(16, 0x40000123, 4, 0), frame.Frame{ID: 0x123, Flags: frame.Remote, Len: 4}},
	{"FD of 8", raw(72, 0x7E8, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8), frame.New(0x7E8, frame.FD, 1, 2, 3, 4, 5, 6, 7, 8)},
	{"FD of 64, fast", raw(72, 0x7E8, 64, 1, make([]byte, 64)...), frame.New(0x7E8, frame.FD|frame.BRS, make([]byte, 64)...)},
	{"FD of 12, 29-bit, error passive", raw(72, 0x98DAF110, 12, 2, 1), frame.New(0x18DAF110, frame.FD|frame.ESI, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
	{"bus off", raw(16, 0x20000040, 8, 0), frame.Frame{ID: 0x40, Flags: frame.Error, Len: 8}},
}

func TestWire(t *testing.T) {
	for _, c := range wireCases {
		t.Run(c.name, func(t *testing.T) {
			want := c.f
			want.Dir = frame.Received
			var got frame.Frame
			require.NoError(t, decode(c.raw, &got))
			require.True(t, got == want, "decoded %v", got)

			var b [fdSize]byte
			n := encode(b[:], &c.f)
			require.Equal(t, c.raw, b[:n])
		})
	}
}

// What a kernel, a driver or another program may deliver but no bus can carry must not become a frame.
func TestWireRefusesImpossibleFrames(t *testing.T) {
	for name, b := range map[string][]byte{
		"classic length 15":         raw(16, 0x7E8, 15, 0),
		"classic length 9":          raw(16, 0x7E8, 9, 0),
		"FD length 65":              raw(72, 0x7E8, 65, 0),
		"FD length 9 has no code":   raw(72, 0x7E8, 9, 0),
		"11-bit id of 12 bits":      raw(16, 0x800, 1, 0, 1),
		"FD remote":                 raw(72, 0x40000123, 8, 0),
		"truncated":                 raw(16, 0x7E8, 8, 0)[:15],
		"longer than any structure": raw(73, 0x7E8, 8, 0),
		"nothing":                   {},
	} {
		var f frame.Frame
		require.ErrorIs(t, decode(b, &f), link.ErrGarbled, name)
	}
}

// An independent codec reads what we write.
func TestWireAgreesWithCanGo(t *testing.T) {
	for _, c := range wireCases {
		if c.f.Is(frame.FD) || c.f.Is(frame.Error) {
			continue
		}
		var b [fdSize]byte
		n := encode(b[:], &c.f)
		var r cango.Frame
		r.UnmarshalBinary(b[:n])
		want := can.Frame{ID: c.f.ID, Length: c.f.Len, IsExtended: c.f.Is(frame.Extended), IsRemote: c.f.Is(frame.Remote)}
		copy(want.Data[:], c.f.Bytes())
		require.Equal(t, want, r.DecodeFrame(), c.name)
	}
}

func FuzzWire(f *testing.F) {
	for _, c := range wireCases {
		f.Add(c.raw)
	}
	f.Add(raw(16, 0x7E8, 15, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got frame.Frame
		if decode(b, &got) != nil {
			return
		}
		if err := got.Validate(); err != nil {
			t.Fatalf("invalid frame delivered: %v", err)
		}
		var out [fdSize]byte
		n := encode(out[:], &got)
		var again frame.Frame
		if err := decode(out[:n], &again); err != nil || again != got || n != len(b) {
			t.Fatalf("%v came back as %v: %v", got, again, err)
		}
	})
}
