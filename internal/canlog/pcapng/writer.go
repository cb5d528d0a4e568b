package pcapng

import (
	"fmt"
	"io"
	"time"

	"obdgate/internal/frame"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
)

// ErrNotCAN: a K-line or J1850 message has no place in a capture of CAN.
var ErrNotCAN = fmt.Errorf("pcapng: not a CAN frame: %w", frame.ErrInvalid)

// Writer writes a capture. Two captures of the same frames are the same bytes. Not for concurrent use.
type Writer struct {
	ng   *pcapgo.NgWriter
	data []byte
	one  [1]string
}

// NewWriter begins a capture on w with the interfaces that frame.Frame.Bus counts, at least one. More may be added later.
func NewWriter(w io.Writer, interfaces ...string) (*Writer, error) {
	if len(interfaces) == 0 {
		interfaces = []string{"can0"}
	}
	options := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "obdgate"}}
	ng, err := pcapgo.NewNgWriterInterface(w, iface(interfaces[0]), options)
	if err != nil {
		return nil, fmt.Errorf("pcapng: %w", err)
	}
	out := &Writer{ng: ng}
	for _, name := range interfaces[1:] {
		if err := out.Add(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Add names the next interface: a recording may come upon one at any time.
func (w *Writer) Add(name string) error {
	if _, err := w.ng.AddInterface(iface(name)); err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	return nil
}

func iface(name string) pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: name, LinkType: LinkType, TimestampResolution: 9}
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
	w.data = encode(w.data[:0], f)
	info := gopacket.CaptureInfo{Timestamp: time.Unix(0, int64(max(at, 0))), CaptureLength: len(w.data), Length: len(w.data), InterfaceIndex: int(f.Bus)}
	var options pcapgo.NgPacketOptions
	switch f.Dir {
	case frame.Received:
		options.Flags = &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	case frame.Sent:
		options.Flags = &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionOutbound}
	}
	if comment != "" {
		w.one[0] = comment
		options.Comments = w.one[:]
	}
	if err := w.ng.WritePacketWithOptions(info, w.data, options); err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	return nil
}

// Flush writes out what is buffered.
func (w *Writer) Flush() error {
	if err := w.ng.Flush(); err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	return nil
}
