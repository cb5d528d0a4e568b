package pcapng_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/canlog/pcapng"
	"obdgate/internal/frame"
	_ "obdgate/internal/pinned"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// origin is a day on which nothing happened.
const origin = 1690000000 * time.Second

var frames = []struct {
	name    string
	f       frame.Frame
	comment string
}{
	{"classic", with(frame.New(0x7E8, 0, 6, 0x41, 0), frame.Received), "technical condition"},
	{"29-bit", with(frame.New(0x18DB33F1, 0, 2, 1, 0x0C), frame.Sent), ""},
	{"29-bit with a small number", frame.New(0x12, frame.Extended), "personal movement"},
	{"remote", length(frame.New(0x123, frame.Remote), 4), ""},
	{"error report", length(frame.Frame{ID: 0x24, Flags: frame.Error}, 8), "technical protocol"},
	{"FD", frame.New(0x123, frame.FD|frame.BRS, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), "personal unclassified"},
	{"short FD", frame.New(0x1ABCDEF0, frame.FD|frame.ESI, 1), ""},
	{"longest FD", length(frame.New(0x7FF, frame.FD, 0xFF), 64), "x"},
	{"empty", frame.New(0, 0), ""},
}

func with(f frame.Frame, d frame.Direction) frame.Frame { f.Dir = d; return f }
func length(f frame.Frame, n uint8) frame.Frame         { f.Len = n; return f }

// capture writes all of frames, a millisecond and a nanosecond apart, on two interfaces in turn.
func capture(t testing.TB) []byte {
	var b bytes.Buffer
	w, err := pcapng.NewWriter(&b, "can0")
	require.NoError(t, err)
	require.NoError(t, w.Add("vcan1"))
	for i, c := range frames {
		c.f.Bus = uint8(i % 2)
		require.NoError(t, w.Write(&c.f, origin+time.Duration(i)*(time.Millisecond+1), c.comment))
	}
	require.NoError(t, w.Flush())
	return b.Bytes()
}

func TestWriterAndReaderAreMirrors(t *testing.T) {
	r := pcapng.NewReader(bytes.NewReader(capture(t)))
	for i, c := range frames {
		var f frame.Frame
		require.NoError(t, r.Next(&f), c.name)
		require.Equal(t, time.Duration(i)*(time.Millisecond+1), f.Time)
		require.Equal(t, uint64(i+1), f.Seq)
		require.Equal(t, c.comment, r.Comment())
		f.Time, f.Seq, c.f.Bus = 0, 0, uint8(i%2)
		require.True(t, f == c.f, "%s: %v", c.name, f)
	}
	var f frame.Frame
	require.ErrorIs(t, r.Next(&f), io.EOF)
	require.ErrorIs(t, r.Next(&f), io.EOF)
	require.Equal(t, []string{"can0", "vcan1"}, r.Interfaces())
	require.Equal(t, time.Duration(origin), r.Start())
	require.Zero(t, r.Damaged())
	require.Equal(t, capture(t), capture(t), "the same frames are the same bytes")
}

func TestWriterRefuses(t *testing.T) {
	w, err := pcapng.NewWriter(io.Discard)
	require.NoError(t, err)
	kline := frame.New(0x486B10, frame.Legacy, 1)
	require.ErrorIs(t, w.Write(&kline, origin, ""), pcapng.ErrNotCAN)
	long := length(frame.New(1, 0), 9)
	require.ErrorIs(t, w.Write(&long, origin, ""), frame.ErrInvalid)
	other := frame.New(1, 0)
	other.Bus = 1
	require.Error(t, w.Write(&other, origin, ""), "an interface nobody named")
}

// block makes one block of a given byte order.
func block(o binary.AppendByteOrder, typ uint32, body ...byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	size := uint32(len(body) + 12)
	b := o.AppendUint32(nil, typ)
	b = o.AppendUint32(b, size)
	return o.AppendUint32(append(b, body...), size)
}

// file makes a capture by hand, from the specification: a section, an interface of a link type, packets.
func file(o binary.AppendByteOrder, link uint16, packets ...[]byte) []byte {
	head := o.AppendUint32(nil, 0x1A2B3C4D)
	head = o.AppendUint16(o.AppendUint16(head, 1), 0)
	head = append(head, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF)
	out := block(o, 0x0A0D0D0A, head...)
	out = append(out, block(o, 1, o.AppendUint32(o.AppendUint16(o.AppendUint16(nil, link), 0), 0)...)...)
	for _, p := range packets {
		b := o.AppendUint32(nil, 0)
		b = o.AppendUint32(o.AppendUint32(b, 0), 1000)
		b = o.AppendUint32(o.AppendUint32(b, uint32(len(p))), uint32(len(p)))
		out = append(out, block(o, 6, append(b, p...)...)...)
	}
	return out
}

var good = []byte{0x80, 0, 0x01, 0x23, 2, 0, 0, 0, 0xAA, 0xBB}

func all(t testing.TB, b []byte) ([]frame.Frame, *pcapng.Reader) {
	r := pcapng.NewReader(bytes.NewReader(b))
	var out []frame.Frame
	for {
		var f frame.Frame
		err := r.Next(&f)
		if errors.Is(err, io.EOF) {
			return out, r
		}
		require.NoError(t, err)
		f.Seq, f.Time = 0, 0
		out = append(out, f)
	}
}

func TestCapturesOfOthers(t *testing.T) {
	for _, o := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		got, r := all(t, file(o, pcapng.LinkType, good))
		require.Zero(t, r.Damaged(), "%v", r.Faults())
		require.Equal(t, []string{"can0"}, r.Interfaces())
		require.True(t, got[0] == frame.New(0x123, frame.Extended, 0xAA, 0xBB))
	}
	got, r := all(t, file(binary.LittleEndian, 1, good)) // Ethernet
	require.Empty(t, got)
	require.EqualValues(t, 1, r.Skipped())
	require.Zero(t, r.Damaged())
	old := make([]byte, 72) // CAN FD before there was a flag for it
	old[3], old[4] = 7, 12
	got, _ = all(t, file(binary.LittleEndian, pcapng.LinkType, old))
	require.True(t, got[0] == length(frame.New(7, frame.FD), 12))
}

func TestDamage(t *testing.T) {
	whole := file(binary.LittleEndian, pcapng.LinkType, good, good, good)
	at := int64(len(file(binary.LittleEndian, pcapng.LinkType, good)))
	for name, packet := range map[string][]byte{
		"no head":                 {0, 0, 1, 0x23},
		"shorter than it says":    {0, 0, 1, 0x23, 2, 0, 0, 0, 0xAA},
		"11-bit identifier of 12": {0, 0, 0x8, 0, 0, 0, 0, 0},
		"nine bytes, classic":     {0, 0, 1, 0, 9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
		"nine bytes, FD":          {0, 0, 1, 0, 9, 4, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
		"a length beyond any":     {0, 0, 1, 0, 65, 4, 0, 0},
		"FD asking for data":      {0x40, 0, 1, 0, 0, 4, 0, 0},
	} {
		got, r := all(t, file(binary.LittleEndian, pcapng.LinkType, good, packet, good))
		require.Len(t, got, 2, name)
		require.Equal(t, 1, r.Damaged(), name)
		require.Equal(t, at, r.Faults()[0].Offset, name)
		require.ErrorIs(t, r.Faults()[0], canlog.ErrDamaged)
	}
	for name, b := range map[string][]byte{
		"cut off":                 whole[:len(whole)-3],
		"cut off in a head":       whole[:at+5],
		"length not of fours":     change(whole, at+4, 45),
		"length of nothing":       change(whole, at+4, 0),
		"length beyond all":       change(whole, at+7, 0x7F),
		"the two lengths differ":  change(whole, at+4, 48),
		"an interface not there":  change(whole, at+8, 9),
		"packet beyond its block": change(whole, at+20, 0xFF),
	} {
		got, r := all(t, b)
		require.NotEmpty(t, got, name)
		require.Less(t, len(got), 3, name)
		require.Equal(t, 1, r.Damaged(), name)
		require.GreaterOrEqual(t, r.Faults()[0].Offset, at, name)
	}
	for name, b := range map[string][]byte{"nothing": {}, "no section": whole[28:], "no byte order": change(whole, 8, 0), "half a magic": whole[:3]} {
		got, r := all(t, b)
		require.Empty(t, got, name)
		require.Equal(t, min(len(b), 1), r.Damaged(), name)
	}
	many := file(binary.LittleEndian, pcapng.LinkType)
	for range 1000 {
		many = append(many, block(binary.LittleEndian, 1, 227, 0, 0, 0, 0, 0, 0, 0)...)
	}
	_, r := all(t, many)
	require.Equal(t, 1, r.Damaged(), "interfaces without end fill the memory")
	bad := errors.New("disk on fire")
	rd := pcapng.NewReader(io.MultiReader(bytes.NewReader(whole[:at]), iotest.ErrReader(bad)))
	var f frame.Frame
	require.NoError(t, rd.Next(&f))
	require.ErrorIs(t, rd.Next(&f), bad)
}

func change(b []byte, at int64, to byte) []byte {
	c := bytes.Clone(b)
	c[at] = to
	return c
}

func TestAnyFrames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f frame.Frame
		f.Dir = rapid.SampledFrom([]frame.Direction{frame.Unknown, frame.Received, frame.Sent}).Draw(t, "dir")
		f.ID = rapid.Uint32Range(0, frame.MaxExtendedID).Draw(t, "id")
		f.Flags = frame.Flags(rapid.Uint8Range(0, 63).Draw(t, "flags"))
		f.Len = rapid.Uint8Range(0, 64).Draw(t, "len")
		if f.Is(frame.Remote) {
			f.Len = min(f.Len, 8)
		} else {
			copy(f.Data[:f.Len], rapid.SliceOfN(rapid.Byte(), int(f.Len), int(f.Len)).Draw(t, "data"))
		}
		if f.Is(frame.Error) {
			f.Flags = frame.Error
		}
		if !f.Is(frame.FD) {
			f.Flags &^= frame.BRS | frame.ESI
		}
		if f.Validate() != nil {
			t.Skip()
		}
		at := time.Duration(rapid.Int64Range(0, 8e18).Draw(t, "at"))
		comment := rapid.StringN(0, 50, 200).Draw(t, "comment")
		var b bytes.Buffer
		w, err := pcapng.NewWriter(&b)
		if err == nil {
			err = errors.Join(w.Write(&f, at, comment), w.Flush())
		}
		if err != nil {
			t.Fatal(err)
		}
		r := pcapng.NewReader(&b)
		var got frame.Frame
		if err := r.Next(&got); err != nil || r.Start() != at || r.Comment() != comment {
			t.Fatalf("%v %v %v %q", err, r.Faults(), r.Start(), r.Comment())
		}
		got.Seq = 0
		if got != f {
			t.Fatalf("%v came back as %v", f, got)
		}
	})
}

// Whatever the bytes, what is read is valid frames, and writing those and reading them again gives the same.
func FuzzReader(f *testing.F) {
	f.Add(capture(f))
	f.Add(file(binary.BigEndian, pcapng.LinkType, good))
	f.Add(file(binary.LittleEndian, pcapng.LinkType, good, []byte{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, r := all(t, b)
		var out bytes.Buffer
		w, err := pcapng.NewWriter(&out, append(r.Interfaces(), "x")...)
		require.NoError(t, err)
		for i := range got {
			if err := got[i].Validate(); err != nil {
				t.Fatal(err)
			}
			require.NoError(t, w.Write(&got[i], 0, ""))
		}
		require.NoError(t, w.Flush())
		again, _ := all(t, out.Bytes())
		require.Len(t, again, len(got))
		for i := range got {
			// Interfaces count from the first frame of each; their order may differ only if some had none.
			if again[i] != got[i] {
				t.Fatalf("%v came back as %v", got[i], again[i])
			}
		}
	})
}

func BenchmarkNext(b *testing.B) {
	one := frame.New(0x7E8, 0, 6, 0x41, 0, 1, 2, 3, 4, 5)
	var buf bytes.Buffer
	w, err := pcapng.NewWriter(&buf)
	require.NoError(b, err)
	for range 10000 {
		require.NoError(b, w.Write(&one, origin, ""))
	}
	require.NoError(b, w.Flush())
	data := buf.Bytes()
	src := bytes.NewReader(data)
	r := pcapng.NewReader(src)
	var f frame.Frame
	b.ReportAllocs()
	for b.Loop() {
		if r.Next(&f) != nil {
			src.Reset(data)
			r = pcapng.NewReader(src)
		}
	}
}
