package pcapng

import (
	"errors"
	"fmt"
	"io"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Reader is the canlog.Source of a pcapng capture. Packets of other link types are skipped. Comment gives what stands
// beside the last packet.
type Reader struct {
	canlog.Tally
	fence   fence
	ng      *pcapgo.NgReader
	comment string
	name    []byte
	err     error
}

var _ canlog.Source = (*Reader)(nil)

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{fence: fence{src: r}} }

// Next as canlog.Source says.
func (r *Reader) Next(f *frame.Frame) error {
	for r.err == nil {
		*f = frame.Frame{}
		data, info, options, err := r.packet()
		if err != nil {
			r.end(err)
			break
		}
		if link, _ := info.AncillaryData[0].(layers.LinkType); link != LinkType {
			r.Skip()
			continue
		}
		if err = decode(data, f); err == nil {
			f.Time = sinceEpoch(info.Timestamp)
			f.Dir = direction(options.Flags)
			if len(options.Comments) > 0 {
				r.comment = options.Comments[0]
			} else {
				r.comment = ""
			}
			err = r.Good(f, r.iface(info.InterfaceIndex))
		}
		if err == nil {
			return nil
		}
		r.Bad(canlog.Fault{Offset: r.fence.start, Err: err})
	}
	*f = frame.Frame{}
	return r.err
}

// packet is the next one of any kind.
func (r *Reader) packet() (data []byte, info gopacket.CaptureInfo, options pcapgo.NgPacketOptions, err error) {
	if r.ng == nil {
		r.ng, err = pcapgo.NewNgReader(&r.fence, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
		if err != nil {
			return nil, info, options, err
		}
	}
	return r.ng.ZeroCopyReadPacketDataWithOptions()
}

// end settles why there is no next packet: the end, a source that cannot be read, or damage after which nothing can be
// found again.
func (r *Reader) end(err error) {
	cause := r.fence.err
	switch {
	case errors.Is(cause, canlog.ErrDamaged):
		r.Bad(canlog.Fault{Offset: r.fence.start, Err: cause})
		r.err = io.EOF
	case cause != nil && cause != io.EOF:
		r.err = fmt.Errorf("pcapng: byte %d: %w", r.fence.next, cause)
	case err == io.EOF:
		r.err = io.EOF
	default: // pcapgo names no bytes, but it may name things that a file made up
		r.Bad(canlog.Fault{Offset: r.fence.start, Err: fmt.Errorf("%w: its block is not put together as it should be", canlog.ErrDamaged)})
		r.err = io.EOF
	}
}

func (r *Reader) iface(i int) []byte {
	info, err := r.ng.Interface(i)
	r.name = r.name[:0]
	if err == nil {
		for _, c := range []byte(info.Name) {
			if c <= ' ' || c >= 0x7F {
				c = '_'
			}
			r.name = append(r.name, c)
		}
	}
	if len(r.name) == 0 {
		return canlog.AppendChannel(r.name, uint16(i)+1)
	}
	return r.name[:min(len(r.name), 15)]
}

// Comment is the first comment of the last packet, "" when it has none.
func (r *Reader) Comment() string { return r.comment }

// sinceEpoch is 0 for times that no capture of a CAN bus can have.
func sinceEpoch(t time.Time) time.Duration {
	if sec := t.Unix(); t.IsZero() || sec < 0 || sec > 9_000_000_000 {
		return 0
	}
	return time.Duration(t.UnixNano())
}

func direction(flags *pcapgo.NgEpbFlags) frame.Direction {
	switch {
	case flags == nil:
	case flags.Direction == pcapgo.NgEpbFlagDirectionInbound:
		return frame.Received
	case flags.Direction == pcapgo.NgEpbFlagDirectionOutbound:
		return frame.Sent
	}
	return frame.Unknown
}
