package pcapng

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"obdgate/internal/frame"
)

// ErrNotCAN: a K-line or J1850 message has no place in a capture of CAN.
var ErrNotCAN = fmt.Errorf("pcapng: not a CAN frame: %w", frame.ErrInvalid)

// ErrInterface: a frame of an interface that nobody named.
var ErrInterface = fmt.Errorf("pcapng: no such interface: %w", frame.ErrInvalid)

// Writer writes a capture, little endian, in nanoseconds. Two captures of the same frames are the same bytes. Not for
// concurrent use.
type Writer struct {
	w      *bufio.Writer
	block  []byte
	data   []byte
	ifaces int
}

// le is the byte order of what is written.
var le = binary.LittleEndian

// maxComment is how many bytes of a comment are written: an option has a length of 16 bits.
const maxComment = 1<<16 - 4

// NewWriter begins a capture on w with the interfaces that frame.Frame.Bus counts, at least one. More may be added later.
func NewWriter(w io.Writer, interfaces ...string) (*Writer, error) {
	if len(interfaces) == 0 {
		interfaces = []string{"can0"}
	}
	out := &Writer{w: bufio.NewWriter(w)}
	out.begin(blockSection)
	out.block = le.AppendUint32(out.block, byteOrder)
	out.block = le.AppendUint16(le.AppendUint16(out.block, 1), 0) // version 1.0
	out.block = le.AppendUint64(out.block, ^uint64(0))            // of a length nobody knows yet
	out.option(4, "obdgate")                                      // shb_userappl
	if err := out.end(); err != nil {
		return nil, err
	}
	for _, name := range interfaces {
		if err := out.Add(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Add names the next interface: a recording may come upon one at any time.
func (w *Writer) Add(name string) error {
	w.begin(blockInterface)
	w.block = le.AppendUint16(le.AppendUint16(w.block, LinkType), 0)
	w.block = le.AppendUint32(w.block, 0) // packets are never cut
	w.option(optionName, name)
	w.option(optionResolution, "\x09")
	w.ifaces++
	return w.end()
}

// Write adds f at a time since 1970-01-01 UTC, with a comment that Wireshark shows beside it; "" = none. The frame's own
// Time is not looked at: a Source counts it from the recording's Start.
func (w *Writer) Write(f *frame.Frame, at time.Duration, comment string) error {
	if f.Is(frame.Legacy) {
		return ErrNotCAN
	}
	if err := f.Validate(); err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	if int(f.Bus) >= w.ifaces {
		return ErrInterface
	}
	w.data = encode(w.data[:0], f)
	ns, n := uint64(max(at, 0)), uint32(len(w.data))
	w.begin(blockPacket)
	w.block = le.AppendUint32(w.block, uint32(f.Bus))
	w.block = le.AppendUint32(le.AppendUint32(w.block, uint32(ns>>32)), uint32(ns))
	w.block = le.AppendUint32(le.AppendUint32(w.block, n), n)
	w.block = append(w.block, w.data...)
	w.pad()
	if comment != "" {
		w.option(optionComment, comment[:min(len(comment), maxComment)])
	}
	switch f.Dir {
	case frame.Received:
		w.option(optionFlags, "\x01\x00\x00\x00")
	case frame.Sent:
		w.option(optionFlags, "\x02\x00\x00\x00")
	}
	return w.end()
}

// begin starts a block, whose length is not yet known.
func (w *Writer) begin(typ uint32) { w.block = le.AppendUint32(le.AppendUint32(w.block[:0], typ), 0) }

func (w *Writer) pad() {
	for len(w.block)%4 != 0 {
		w.block = append(w.block, 0)
	}
}

func (w *Writer) option(code uint16, value string) {
	w.block = append(le.AppendUint16(le.AppendUint16(w.block, code), uint16(len(value))), value...)
	w.pad()
}

// end writes the block out, with its length at both ends.
func (w *Writer) end() error {
	if typ := le.Uint32(w.block); typ != blockPacket || len(w.block) > 8+20+(len(w.data)+3)&^3 {
		w.block = le.AppendUint32(w.block, optionEnd)
	}
	size := uint32(len(w.block) + 4)
	le.PutUint32(w.block[4:], size)
	w.block = le.AppendUint32(w.block, size)
	if _, err := w.w.Write(w.block); err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	return nil
}

// Flush writes out what is buffered.
func (w *Writer) Flush() error {
	if err := w.w.Flush(); err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	return nil
}
