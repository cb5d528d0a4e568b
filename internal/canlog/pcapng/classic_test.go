package pcapng_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/canlog/pcapng"
	"obdgate/internal/frame"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// capturedBy is a way of capturing CAN frames: the file's byte order and unit of time, and what stands in front of a frame.
type capturedBy struct {
	name  string
	order byteOrder
	nano  bool
	link  uint32
}

var captures = []capturedBy{
	{"tcpdump of one interface, little endian", binary.LittleEndian, false, 227},
	{"tcpdump of one interface, big endian", binary.BigEndian, true, 227},
	{"tcpdump of all interfaces, little endian", binary.LittleEndian, true, 113},
	{"tcpdump of all interfaces, big endian", binary.BigEndian, false, 113},
	{"all interfaces with their numbers, little endian", binary.LittleEndian, false, 276},
	{"all interfaces with their numbers, big endian", binary.BigEndian, true, 276},
}

// packet is a frame as the link type has it.
func (c capturedBy) packet(f frame.Frame) []byte {
	id, flags, size, protocol := f.ID, byte(0), 8, uint16(0x000C)
	if f.Is(frame.Extended) {
		id |= 1 << 31
	}
	if f.Is(frame.Remote) {
		id |= 1 << 30
	}
	if f.Is(frame.Error) {
		id |= 1 << 29
	}
	if f.Is(frame.FD) {
		flags, size, protocol = 4, 64, 0x000D
		if f.Is(frame.BRS) {
			flags |= 1
		}
		if f.Is(frame.ESI) {
			flags |= 2
		}
	}
	kind := byte(0)
	if f.Dir == frame.Sent {
		kind = 4
	}
	order := byteOrder(binary.BigEndian)
	var b []byte
	switch c.link {
	case 113:
		order = c.order
		b = append(b, 0, kind, 1, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, protocol)
	case 276:
		order = c.order
		b = binary.BigEndian.AppendUint16(b, protocol)
		b = append(b, 0, 0, 0, 0, 0, 3, 1, 24, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	b = order.AppendUint32(b, id)
	b = append(b, f.Len, flags, 0, 0)
	return append(b, f.Data[:size]...)
}

func (c capturedBy) magic() uint32 {
	if c.nano {
		return 0xA1B23C4D
	}
	return 0xA1B2C3D4
}

// pcap is a file of all of frames, a millisecond apart, with a packet of another protocol in between where there can be one.
func (c capturedBy) pcap() []byte {
	b := c.order.AppendUint32(nil, c.magic())
	b = c.order.AppendUint16(b, 2)
	b = c.order.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = c.order.AppendUint32(b, 65535)
	b = c.order.AppendUint32(b, c.link)
	add := func(i int, p []byte) {
		unit := 1000
		if c.nano {
			unit = 1_000_000
		}
		b = c.order.AppendUint32(b, 1690000000)
		b = c.order.AppendUint32(b, uint32(i*unit))
		b = c.order.AppendUint32(b, uint32(len(p)))
		b = c.order.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	for i, x := range frames {
		add(i, c.packet(x.f))
		if i == 2 && c.link != 227 { // an IPv4 packet longer than any frame
			p := c.packet(x.f)
			if c.link == 113 {
				p[14], p[15] = 8, 0
			} else {
				p[0], p[1] = 8, 0
			}
			add(i, append(p, make([]byte, 1400)...))
		}
	}
	return b
}

func (c capturedBy) want(f frame.Frame, i int) frame.Frame {
	switch {
	case c.link == 227:
		f.Dir = frame.Unknown // the packet does not say
	case f.Dir != frame.Sent:
		f.Dir = frame.Received
	}
	f.Time, f.Seq, f.Bus = time.Duration(i)*time.Millisecond, uint64(i+1), 0
	return f
}

func readAll(t testing.TB, s canlog.Source) (out []frame.Frame) {
	for {
		var f frame.Frame
		err := s.Next(&f)
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		out = append(out, f)
	}
}

// Every frame of a pcap capture is read, whoever captured it; packets of other protocols are skipped.
func TestClassic(t *testing.T) {
	for _, c := range captures {
		t.Run(c.name, func(t *testing.T) {
			file := c.pcap()
			require.True(t, pcapng.IsClassic(file))
			r := pcapng.NewClassic(iotest.OneByteReader(bytes.NewReader(file)))
			got := readAll(t, r)
			require.Zero(t, r.Damaged(), "%v", r.Faults())
			require.Len(t, got, len(frames))
			for i, x := range frames {
				require.Equal(t, c.want(x.f, i), got[i], x.name)
			}
			require.Equal(t, origin, r.Start())
			require.EqualValues(t, map[uint32]uint64{227: 0, 113: 1, 276: 1}[c.link], r.Skipped())
			require.Equal(t, map[uint32][]string{227: {"can0"}, 113: {"can0"}, 276: {"if3"}}[c.link], r.Interfaces())

			// Cut anywhere, what is before the cut is read and the cut is told.
			for n := 0; n < len(file); n += 5 {
				r := pcapng.NewClassic(bytes.NewReader(file[:n]))
				got := readAll(t, r)
				require.LessOrEqual(t, r.Damaged(), 1)
				require.True(t, n < 24 || r.Damaged() == 1 || len(got)+int(r.Skipped()) > 0 || n == 24, "cut at %d", n)
			}
		})
	}
}

// The same link types inside pcapng.
func TestCookedInPcapng(t *testing.T) {
	for _, c := range captures {
		t.Run(c.name, func(t *testing.T) {
			block := func(kind uint32, body []byte) []byte {
				for len(body)%4 != 0 {
					body = append(body, 0)
				}
				b := c.order.AppendUint32(nil, kind)
				b = c.order.AppendUint32(b, uint32(12+len(body)))
				b = append(b, body...)
				return c.order.AppendUint32(b, uint32(12+len(body)))
			}
			head := c.order.AppendUint32(nil, 0x1A2B3C4D)
			head = c.order.AppendUint16(head, 1)
			head = append(head, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255)
			file := block(0x0A0D0D0A, head)
			file = append(file, block(1, append(c.order.AppendUint16(nil, uint16(c.link)), make([]byte, 6)...))...)
			for i, x := range frames {
				p := c.packet(x.f)
				body := make([]byte, 4)
				us := uint64(1690000000_000000 + i*1000)
				body = c.order.AppendUint32(body, uint32(us>>32))
				body = c.order.AppendUint32(body, uint32(us))
				body = c.order.AppendUint32(body, uint32(len(p)))
				body = c.order.AppendUint32(body, uint32(len(p)))
				file = append(file, block(6, append(body, p...))...)
			}
			r := pcapng.NewReader(bytes.NewReader(file))
			got := readAll(t, r)
			require.Zero(t, r.Damaged(), "%v", r.Faults())
			require.Len(t, got, len(frames))
			for i, x := range frames {
				require.Equal(t, c.want(x.f, i), got[i], x.name)
			}
		})
	}
}

// Wireshark reads from these captures what we read.
func TestClassicAgainstWireshark(t *testing.T) {
	tshark := testtier.Require(t, testtier.TShark)
	for _, c := range []capturedBy{captures[1], captures[3], captures[4]} {
		path := filepath.Join(t.TempDir(), "a.pcap")
		require.NoError(t, os.WriteFile(path, c.pcap(), 0o600))
		out, err := exec.Command(tshark, "-r", path, "-Y", "can or canfd", "-T", "fields", "-E", "separator=|", "-e", "can.id", "-e", "can.len", "-e", "data.data").Output()
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		got := readAll(t, pcapng.NewClassic(bytes.NewReader(c.pcap())))
		require.Len(t, lines, len(got), c.name)
		for i, f := range got {
			if f.Flags&(frame.Error|frame.Remote) != 0 {
				continue
			}
			require.Equal(t, fmt.Sprintf("%d|%d|%s", f.ID, f.Len, hex.EncodeToString(f.Bytes())), lines[i], "%s, %s", c.name, frames[i].name)
		}
	}
}

// Whatever stands in a file, it ends, and a frame that was read is one that a bus can carry.
func FuzzClassic(f *testing.F) {
	for _, c := range captures {
		f.Add(c.pcap())
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r := pcapng.NewClassic(bytes.NewReader(file))
		var x frame.Frame
		for r.Next(&x) == nil {
			if err := x.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
