package open_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"obdgate/internal/canlog"
	"obdgate/internal/canlog/open"
	"obdgate/internal/canlog/pcapng"
	"obdgate/internal/frame"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// recordings are one frame, 7E8 with 06 41, in each format.
func recordings(t testing.TB) map[open.Format][]byte {
	var b bytes.Buffer
	w, err := pcapng.NewWriter(&b)
	require.NoError(t, err)
	f := frame.New(0x7E8, 0, 6, 0x41)
	require.NoError(t, w.Write(&f, 1, ""))
	require.NoError(t, w.Flush())
	log, err := os.ReadFile("../blf/testdata/python-can.blf") // begins with 7E8 06 41 00 FF
	require.NoError(t, err)
	return map[open.Format][]byte{
		open.Candump: []byte("# from the workshop\n\n(1690000000.000000) can0 7E8#0641\n"),
		open.Long:    []byte("  can0  7E8   [2]  06 41\n"),
		open.ASC:     []byte("date Wed Apr 16 09:21:13.159 am 2014\nbase hex  timestamps absolute\n   0.003040 1  7E8 Rx   d 2 06 41\n"),
		open.PCAPNG:  b.Bytes(),
		open.BLF:     log,
	}
}

func packings(t testing.TB, plain []byte) map[string][]byte {
	var g, z bytes.Buffer
	gw := gzip.NewWriter(&g)
	zw, err := zstd.NewWriter(&z)
	require.NoError(t, err)
	for _, w := range []io.WriteCloser{gw, zw} {
		_, err := w.Write(plain)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	return map[string][]byte{"plain": plain, "gzip": g.Bytes(), "zstd": z.Bytes()}
}

func TestEveryFormatPackedOrNot(t *testing.T) {
	for format, plain := range recordings(t) {
		for packing, b := range packings(t, plain) {
			src, got, err := open.Reader(iotest.OneByteReader(bytes.NewReader(b)))
			require.NoError(t, err)
			require.Equal(t, format, got, packing)
			var f frame.Frame
			require.NoError(t, src.Next(&f), "%s %s", format, packing)
			require.Equal(t, uint32(0x7E8), f.ID)
			require.Equal(t, []byte{6, 0x41}, f.Data[:2])
			require.Zero(t, src.Damaged())
		}
	}
}

func TestNothingAndRubbish(t *testing.T) {
	var f frame.Frame
	src, format, err := open.Reader(bytes.NewReader(nil))
	require.NoError(t, err)
	require.Equal(t, open.Candump, format)
	require.ErrorIs(t, src.Next(&f), io.EOF)
	src, _, err = open.Reader(bytes.NewReader([]byte("Dear customer,\n")))
	require.NoError(t, err)
	require.ErrorIs(t, src.Next(&f), io.EOF)
	require.Equal(t, 1, src.Damaged())
	bad := errors.New("disk on fire")
	_, _, err = open.Reader(iotest.ErrReader(bad))
	require.ErrorIs(t, err, bad)
}

// A packed log that was cut off or bent gives the frames before the damage and then says so; a disk that fails is told as
// that.
func TestDamagedPacking(t *testing.T) {
	var plain []byte
	for range 20000 {
		plain = append(plain, "(1690000000.000000) can0 7E8#0641\n"...)
	}
	for packing, b := range packings(t, plain) {
		if packing == "plain" {
			continue
		}
		for _, damage := range [][]byte{b[:len(b)-10], b[:3]} {
			src, _, err := open.Reader(bytes.NewReader(damage))
			var f frame.Frame
			for err == nil {
				err = src.Next(&f)
			}
			if len(damage) > 3 || packing == "gzip" {
				require.ErrorIs(t, err, open.ErrPacked, packing)
				require.ErrorIs(t, err, canlog.ErrDamaged)
			}
		}
		bad := errors.New("disk on fire")
		src, _, err := open.Reader(io.MultiReader(bytes.NewReader(b[:len(b)-10]), iotest.ErrReader(bad)))
		var f frame.Frame
		for err == nil {
			err = src.Next(&f)
		}
		require.ErrorIs(t, err, bad, packing)
		require.NotErrorIs(t, err, open.ErrPacked)
	}
}

// Whatever the bytes, a reader is found, it ends, and what it gives is valid frames numbered from one.
func FuzzReader(f *testing.F) {
	for _, plain := range recordings(f) {
		for _, b := range packings(f, plain) {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		src, _, err := open.Reader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for n := uint64(1); n < 10000; n++ {
			var x frame.Frame
			if err := src.Next(&x); err != nil {
				if n != src.Frames()+1 {
					t.Fatalf("%d frames came, %d are counted", n-1, src.Frames())
				}
				return
			}
			if err := x.Validate(); err != nil || x.Seq != n || int(x.Bus) >= len(src.Interfaces()) {
				t.Fatalf("%v %v", x, err)
			}
		}
	})
}

// Who parses candump text himself gets the text, byte for byte, packed or not; and of everything else a Source.
func TestText(t *testing.T) {
	const log = "(1690000000.123456) can0 7E8#0641\n# note\ndamaged"
	text, other, err := open.Text(strings.NewReader(log))
	require.NoError(t, err)
	require.Nil(t, other)
	got, err := io.ReadAll(text)
	require.NoError(t, err)
	require.Equal(t, log, string(got))

	text, other, err = open.Text(strings.NewReader("date Mon Jan 1 00:00:00 2024\nbase hex  timestamps absolute\n"))
	require.NoError(t, err)
	require.Nil(t, text)
	require.NotNil(t, other)
}
