package pcapng_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"obdgate/internal/canlog/pcapng"
	"obdgate/internal/frame"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
)

// gopacket reads from our captures the packets, times, interfaces and comments that are in them.
func TestGopacketReadsOurs(t *testing.T) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(capture(t)), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	require.NoError(t, err)
	for i, c := range frames {
		data, info, options, err := r.ZeroCopyReadPacketDataWithOptions()
		require.NoError(t, err, c.name)
		require.Equal(t, origin+time.Duration(i)*(time.Millisecond+1), time.Duration(info.Timestamp.UnixNano()))
		require.Equal(t, i%2, info.InterfaceIndex)
		require.Equal(t, layers.LinkType(pcapng.LinkType), info.AncillaryData[0])
		require.Equal(t, c.f.Len, data[4])
		if c.comment != "" {
			require.Equal(t, []string{c.comment}, options.Comments)
		}
		require.Equal(t, c.f.Dir != frame.Unknown, options.Flags != nil)
	}
	_, _, err = r.ReadPacketData()
	require.True(t, errors.Is(err, io.EOF))
}

// And we read what it writes, in every resolution of time.
func TestWeReadGopackets(t *testing.T) {
	for _, resolution := range []pcapgo.NgResolution{3, 6, 9, 0x80 | 10} {
		var b bytes.Buffer
		in := pcapgo.NgInterface{Name: "can 7", LinkType: pcapng.LinkType, TimestampResolution: resolution}
		w, err := pcapgo.NewNgWriterInterface(&b, in, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "x", Comment: "a section"}})
		require.NoError(t, err)
		at := time.Unix(1690000000, 500_000_000)
		require.NoError(t, w.WritePacketWithOptions(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(good), Length: len(good)}, good,
			pcapgo.NgPacketOptions{Comments: []string{"one", "two"}, Flags: &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionOutbound}}))
		require.NoError(t, w.Flush())
		r := pcapng.NewReader(&b)
		var f frame.Frame
		require.NoError(t, r.Next(&f), "%v", r.Faults())
		require.Equal(t, time.Duration(at.UnixNano()), r.Start(), "resolution %x", byte(resolution))
		require.Equal(t, "one", r.Comment())
		require.Equal(t, []string{"can_7"}, r.Interfaces())
		require.Equal(t, []byte{0xAA, 0xBB}, f.Bytes())
		require.Equal(t, frame.Sent, f.Dir)
	}
}

// Seconds that an interface adds, units of time that no second has, packets without a time, blocks of another kind, and
// options that end nowhere.
func TestCornersOfTheFormat(t *testing.T) {
	o := binary.LittleEndian
	option := func(code uint16, value ...byte) []byte {
		b := append(o.AppendUint16(o.AppendUint16(nil, code), uint16(len(value))), value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		return b
	}
	section := file(o, 1)[:28]
	iface := func(options ...byte) []byte {
		return block(o, 1, append(o.AppendUint32(o.AppendUint16(o.AppendUint16(nil, pcapng.LinkType), 0), 0), options...)...)
	}
	packet := file(o, 1, good)[28+20:] // at 1000 units
	simple := block(o, 3, append(o.AppendUint32(nil, uint32(len(good))), good...)...)
	for name, c := range map[string]struct {
		blocks [][]byte
		start  time.Duration
	}{
		"offset":          {[][]byte{iface(option(14, 0x10, 0, 0, 0, 0, 0, 0, 0)...), packet}, 16*time.Second + time.Millisecond},
		"powers of two":   {[][]byte{iface(option(9, 0x80|10)...), packet}, 1000 * time.Second / 1024},
		"no such unit":    {[][]byte{iface(option(9, 0x7F)...), packet}, 0},
		"far away":        {[][]byte{iface(option(14, 0, 0, 0, 0, 0, 0, 0, 0x80)...), packet}, 0},
		"without a time":  {[][]byte{iface(), simple}, 0},
		"another kind":    {[][]byte{block(o, 5, 1, 2, 3, 4), iface(), block(o, 0x0BAD), packet}, time.Millisecond},
		"endless options": {[][]byte{iface(9, 0, 0xFF, 0xFF), packet}, time.Millisecond},
	} {
		r := pcapng.NewReader(bytes.NewReader(append(bytes.Clone(section), bytes.Join(c.blocks, nil)...)))
		var f frame.Frame
		require.NoError(t, r.Next(&f), "%s: %v", name, r.Faults())
		require.Equal(t, []byte{0xAA, 0xBB}, f.Bytes(), name)
		require.Equal(t, c.start, r.Start(), name)
		require.Zero(t, r.Damaged(), name)
	}
	_, r := all(t, append(bytes.Clone(section), simple...))
	require.Equal(t, 1, r.Damaged(), "a packet before any interface")
}
