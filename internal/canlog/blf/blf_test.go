package blf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/canlog/blf"
	"obdgate/internal/frame"
	_ "obdgate/internal/pinned"

	"github.com/klauspost/compress/zlib"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var le = binary.LittleEndian

// began is when the generated logs begin.
var began = time.Date(2023, 7, 22, 4, 26, 40, 250e6, time.UTC)

// logHead is the head of a file, with began in it.
func logHead() []byte {
	b := make([]byte, 144)
	copy(b, "LOGG")
	le.PutUint32(b[4:], 144)
	for i, v := range []int{2023, 7, 6, 22, 4, 26, 40, 250} {
		le.PutUint16(b[40+2*i:], uint16(v))
	}
	return b
}

// object puts a head in front of a content: version 1 with nanoseconds, version 2 with ten microseconds.
func object(typ uint32, version int, at time.Duration, body []byte) []byte {
	size := 32
	if version == 2 {
		size = 40
	}
	b := append([]byte("LOBJ"), make([]byte, size-4)...)
	le.PutUint16(b[4:], uint16(size))
	le.PutUint16(b[6:], uint16(version))
	le.PutUint32(b[8:], uint32(size+len(body)))
	le.PutUint32(b[12:], typ)
	le.PutUint32(b[16:], 2)
	le.PutUint64(b[24:], uint64(at))
	if version == 2 {
		le.PutUint32(b[16:], 1)
		le.PutUint64(b[24:], uint64(at/(10*time.Microsecond)))
	}
	b = append(b, body...)
	return append(b, make([]byte, (size+len(body))%4)...)
}

// container packs a piece of the stream of objects.
func container(method uint16, plain []byte) []byte {
	packed := plain
	if method == 2 {
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		w.Write(plain) //nolint:errcheck // into memory
		w.Close()      //nolint:errcheck // into memory
		packed = z.Bytes()
	}
	b := append([]byte("LOBJ"), make([]byte, 28)...)
	le.PutUint16(b[4:], 16)
	le.PutUint16(b[6:], 1)
	le.PutUint32(b[8:], uint32(32+len(packed)))
	le.PutUint32(b[12:], 10)
	le.PutUint16(b[16:], method)
	le.PutUint32(b[24:], uint32(len(plain)))
	b = append(b, packed...)
	return append(b, make([]byte, (32+len(packed))%4)...)
}

// kind is one of the ways a frame can be written down.
type kind int

const (
	message kind = iota
	message2
	fdMessage
	fdMessage64
	errorShort
	errorExt
	errorFD64
	kinds
)

// appendFrame writes a frame as the layout in the package's comment says. Frames that kind cannot hold are nil.
func appendFrame(k kind, f *frame.Frame, version int, at time.Duration) []byte {
	id := f.ID
	if f.Is(frame.Extended) {
		id |= 1 << 31
	}
	dlc := byte(0)
	for canlog.DataLength(dlc, f.Is(frame.FD)) != int(f.Len) {
		dlc++
	}
	flags, dir := byte(0), byte(0)
	if f.Dir == frame.Sent {
		flags, dir = 1, 1
	}
	if f.Is(frame.Remote) {
		flags |= 0x80
	}
	channel := []byte{f.Bus + 1, 0}
	switch {
	case f.Is(frame.Error) != (k >= errorShort), f.Is(frame.FD) && k != fdMessage && k != fdMessage64:
		return nil
	case k == errorShort:
		return object(2, version, at, append(channel, 0, 0))
	case k == errorExt:
		return object(73, version, at, append(channel, make([]byte, 30)...))
	case k == errorFD64:
		return object(104, version, at, append(channel[:1], make([]byte, 47)...))
	case k == message, k == message2:
		b := append(channel, flags, dlc)
		b = append(le.AppendUint32(b, id), f.Data[:8]...)
		if k == message2 {
			return object(86, version, at, append(b, make([]byte, 8)...))
		}
		return object(1, version, at, b)
	case k == fdMessage:
		b := le.AppendUint32(append(channel, flags, dlc), id)
		b = append(b, make([]byte, 12)...)
		for i, x := range []frame.Flags{frame.FD, frame.BRS, frame.ESI} {
			if f.Is(x) {
				b[13] |= 1 << i
			}
		}
		b[14] = f.Len
		return object(100, version, at, append(b, f.Data[:]...))
	}
	b := append(make([]byte, 0, 128), f.Bus+1, dlc, f.Len, 0)
	b = append(le.AppendUint32(b, id), make([]byte, 32)...)
	word := uint32(0)
	for i, x := range []frame.Flags{frame.FD, frame.BRS, frame.ESI} {
		if f.Is(x) {
			word |= 0x1000 << i
		}
	}
	if f.Is(frame.Remote) {
		word |= 0x10
	}
	le.PutUint32(b[12:], word)
	b[34] = dir
	data := bytes.TrimRight(f.Bytes(), "\x00") // writers leave trailing zeros out
	if f.Is(frame.Remote) {
		data = nil
	}
	b = append(b, data...)
	if version == 1 && len(data) > 0 { // something of a later version behind the data
		b[35] = byte(32 + len(b))
		b = append(b, 0xEE, 0xEE, 0xEE, 0xEE)
	}
	return object(101, version, at, b)
}

func all(t testing.TB, b []byte) ([]frame.Frame, *blf.Reader) {
	t.Helper()
	r := blf.NewReader(bytes.NewReader(b))
	var out []frame.Frame
	for {
		var f frame.Frame
		err := r.Next(&f)
		if errors.Is(err, io.EOF) {
			return out, r
		}
		require.NoError(t, err)
		f.Seq = 0
		out = append(out, f)
	}
}

func length(f frame.Frame, n uint8) frame.Frame { f.Len = n; return f }

// samples are a frame of every sort.
var samples = []frame.Frame{
	frame.New(0x7E8, 0, 6, 0x41, 0, 0xFF), frame.New(0x18DB33F1, 0, 2, 1, 0x0C), frame.New(0x12, frame.Extended), frame.New(0, 0),
	length(frame.New(0x123, frame.Remote), 4), frame.New(0x123, frame.FD|frame.BRS, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
	length(frame.New(0x1ABCDEF0, frame.FD|frame.ESI, 0xFF), 64), length(frame.Frame{ID: 0x80, Flags: frame.Error}, 8),
}

// sample is a log of all samples in all kinds, and the frames in it.
func sample(version int) (stream []byte, want []frame.Frame) {
	for k := range kinds {
		for i, f := range samples {
			f.Dir = frame.Received + frame.Direction(i%2)
			if f.Is(frame.Error) {
				f.Dir = frame.Unknown
			}
			b := appendFrame(k, &f, version, time.Duration(len(want))*10*time.Millisecond)
			if b == nil {
				continue
			}
			f.Time = time.Duration(len(want)) * 10 * time.Millisecond
			stream = append(stream, b...)
			want = append(want, f)
		}
	}
	return stream, want
}

func TestEveryKindOfFrame(t *testing.T) {
	for version := 1; version <= 2; version++ {
		stream, want := sample(version)
		stream = append(stream, object(96, version, 0, make([]byte, 45))...) // a marker
		for method := uint16(0); method <= 2; method += 2 {
			for _, piece := range []int{1 << 20, 100, 33, 5} { // containers of any size: objects run on in the next
				log := logHead()
				for rest := stream; len(rest) > 0; {
					n := min(piece, len(rest))
					log = append(log, container(method, rest[:n])...)
					rest = rest[n:]
				}
				got, r := all(t, log)
				require.Zero(t, r.Damaged(), "%v", r.Faults())
				require.Len(t, got, len(want))
				for i := range got {
					require.True(t, got[i] == want[i], "%d: %v, wrote %v", i, got[i], want[i])
				}
				require.EqualValues(t, 1, r.Skipped())
				require.Equal(t, began, time.Unix(0, int64(r.Start())).UTC())
			}
		}
		got, r := all(t, append(logHead(), stream...)) // no containers at all
		require.Zero(t, r.Damaged(), "%v", r.Faults())
		require.Len(t, got, len(want))
	}
}

func TestDamage(t *testing.T) {
	f := frame.New(0x7E8, 0, 1, 2)
	one := appendFrame(message, &f, 1, time.Second)
	good := container(2, one)
	edit := func(b []byte, at int, to ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], to)
		return b
	}
	join := func(parts ...[]byte) []byte { return append(logHead(), bytes.Join(parts, nil)...) }
	half := join(container(2, one[:20]))
	first := int64(144 + len(good))
	// Where the object in a container is whole and its own, it counts, whatever is wrong around it.
	for name, c := range map[string]struct {
		log         []byte
		good, wrong int
		at          int64
	}{
		"not packed as said":        {join(good, edit(good, 34, 0xFF, 0xFF, 0xFF), good), 2, 1, first},
		"packed in another way":     {join(good, edit(good, 16, 7), good), 2, 1, first},
		"less than it says":         {join(good, edit(good, 24, 0xFF), good), 3, 1, first},
		"container of nothing":      {join(good, edit(good, 8, 3, 0), good), 3, 1, first},
		"container beyond all":      {join(good, edit(good, 11, 0xFF), good), 3, 1, first},
		"plain size beyond all":     {join(good, edit(good, 27, 0xFF), good), 2, 1, first},
		"no object":                 {join(good, container(2, bytes.Repeat([]byte("x"), 60)), good), 2, 1, first},
		"object of nothing":         {join(good, container(2, edit(one, 8, 3)), good), 2, 1, first},
		"object beyond all":         {join(good, container(2, edit(one, 11, 0xFF)), good), 2, 1, first},
		"version 9":                 {join(good, container(2, edit(one, 6, 9)), good), 2, 1, first},
		"time beyond all":           {join(good, container(2, edit(one, 31, 0x7F)), good), 2, 1, first},
		"length code 16":            {join(good, container(2, edit(one, 35, 16)), good), 2, 1, first},
		"11-bit identifier of 12":   {join(good, container(2, edit(one, 37, 0xFF)), good), 2, 1, first},
		"object cut by the file":    {append(join(good), half[144:]...), 1, 1, first},
		"container cut by the file": {join(good, good[:len(good)-6]), 2, 1, first},
		"head cut by the file":      {join(good, good[:9]), 1, 1, first},
		"rubbish between":           {join(good, bytes.Repeat([]byte("z"), 50), good), 2, 1, 144 + int64(le.Uint32(good[8:]))},
		"not a log":                 {[]byte("LOGX"), 0, 1, 0},
		"head of nothing":           {edit(logHead(), 4, 9), 0, 1, 0},
		"nothing":                   {nil, 0, 0, 0},
		"nothing but a head":        {logHead(), 0, 0, 0},
		"padding at the end":        {append(join(good), 0, 0, 0), 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, r := all(t, c.log)
			require.Len(t, got, c.good)
			require.Equal(t, c.wrong, r.Damaged(), "%v", r.Faults())
			if c.wrong > 0 {
				require.ErrorIs(t, r.Faults()[0], canlog.ErrDamaged)
				require.Equal(t, c.at, r.Faults()[0].Offset)
			}
		})
	}
	wanted := edit(one, 34, 2) // sent is what counts, not the wish to send
	got, r := all(t, join(container(2, wanted)))
	require.Empty(t, got)
	require.EqualValues(t, 1, r.Skipped())
	short := object(101, 1, 0, append([]byte{1, 15, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10}, make([]byte, 30)...))
	_, r = all(t, join(container(2, short)))
	require.Equal(t, 1, r.Damaged(), "64 bytes by its length code, 8 by its count")
	bad := errors.New("disk on fire")
	rd := blf.NewReader(io.MultiReader(bytes.NewReader(join(good)), iotest.ErrReader(bad)))
	require.NoError(t, rd.Next(&f))
	require.ErrorIs(t, rd.Next(&f), bad)
}

// A log that python-can wrote (4.1.0, from the frames below) is read as what it was given.
func TestLogOfPythonCan(t *testing.T) {
	b, err := os.ReadFile("testdata/python-can.blf")
	require.NoError(t, err)
	got, r := all(t, b)
	require.Zero(t, r.Damaged(), "%v", r.Faults())
	require.Len(t, got, len(samples))
	for i, f := range samples {
		f.Dir, f.Time = frame.Received, time.Duration(i)*125*time.Millisecond
		if i == 1 {
			f.Dir = frame.Sent
		}
		if f.Is(frame.Error) {
			f.Dir = frame.Unknown
		}
		require.True(t, f == got[i], "%v, want %v", got[i], f)
	}
	require.Equal(t, 1690000000*time.Second, r.Start())
}

func TestAnyStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream, want := sample(rapid.IntRange(1, 2).Draw(t, "version"))
		log := logHead()
		for rest := stream; len(rest) > 0; {
			n := min(rapid.IntRange(1, 2000).Draw(t, "piece"), len(rest))
			log = append(log, container(rapid.SampledFrom([]uint16{0, 2}).Draw(t, "method"), rest[:n])...)
			rest = rest[n:]
		}
		r := blf.NewReader(iotest.HalfReader(bytes.NewReader(log)))
		for i := range want {
			var f frame.Frame
			err := r.Next(&f)
			f.Seq = 0
			if err != nil || f != want[i] {
				t.Fatalf("%d: %v %v %v", i, f, err, r.Faults())
			}
		}
	})
}

// Whatever the bytes, what is read is valid frames, and writing those and reading them again gives the same.
func FuzzReader(f *testing.F) {
	for version := 1; version <= 2; version++ {
		stream, _ := sample(version)
		f.Add(append(logHead(), container(2, stream)...))
		f.Add(append(logHead(), container(0, stream)...))
		f.Add(append(logHead(), stream...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _ := all(t, b)
		log := logHead()
		for i := range got {
			if err := got[i].Validate(); err != nil {
				t.Fatal(err)
			}
			got[i].Bus, got[i].Time = 0, 0
			k := message
			switch {
			case got[i].Is(frame.Error):
				k = errorShort
			case got[i].Is(frame.FD):
				k = fdMessage
			}
			if got[i].Is(frame.Remote) {
				got[i].Data = [64]byte{}
			}
			log = append(log, appendFrame(k, &got[i], 1, 0)...)
		}
		again, r := all(t, log)
		require.Len(t, again, len(got), "%v", r.Faults())
		for i := range got {
			if again[i] != got[i] {
				t.Fatalf("%v came back as %v", got[i], again[i])
			}
		}
	})
}

func BenchmarkNext(b *testing.B) {
	one := frame.New(0x7E8, 0, 6, 0x41, 0, 1, 2, 3, 4, 5)
	var stream []byte
	for i := range 2500 {
		stream = append(stream, appendFrame(message, &one, 1, time.Duration(i)*time.Millisecond)...)
	}
	log := logHead()
	for range 8 {
		log = append(log, container(2, stream)...)
	}
	src := bytes.NewReader(log)
	r := blf.NewReader(src)
	var f frame.Frame
	b.ReportAllocs()
	for b.Loop() {
		if r.Next(&f) != nil {
			src.Reset(log)
			r = blf.NewReader(src)
		}
	}
}
