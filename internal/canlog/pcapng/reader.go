package pcapng

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
)

// Reader is the canlog.Source of a pcapng capture. Packets of other link types are skipped. Comment gives what stands
// beside the last packet.
type Reader struct {
	canlog.Tally
	fence   fence
	ifaces  []source
	comment []byte
	name    []byte
	err     error
}

var _ canlog.Source = (*Reader)(nil)

// source is an interface of the section.
type source struct {
	link   uint16
	name   []byte
	second uint64 // ticks in a second
	offset int64  // seconds to add
}

// packet is what a block has of one packet.
type packet struct {
	data    []byte
	iface   int
	ticks   uint64
	options []byte
}

// Options (pcapng specification, sections 3.5, 4.2 and 4.3).
const (
	optionEnd        = 0
	optionComment    = 1
	optionName       = 2  // of an interface
	optionFlags      = 2  // of a packet
	optionResolution = 9  // of an interface: power of ten, or of two with bit 7
	optionOffset     = 14 // of an interface, in seconds

	inbound, outbound = 1, 2 // the lowest two bits of flags
)

var errPacket = fmt.Errorf("%w: its block is not put together as it should be", canlog.ErrDamaged)

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{fence: fence{src: r}} }

// Next as canlog.Source says.
func (r *Reader) Next(f *frame.Frame) error {
	for r.err == nil {
		block, err := r.fence.read()
		if err != nil {
			r.end(err)
			break
		}
		if ok, err := r.block(block, f); err != nil {
			r.Bad(canlog.Fault{Offset: r.fence.start, Err: err})
		} else if ok {
			return nil
		}
	}
	*f = frame.Frame{}
	return r.err
}

// end settles why there is no next block: the end, a source that cannot be read, or damage after which nothing can be found
// again.
func (r *Reader) end(err error) {
	switch {
	case errors.Is(err, canlog.ErrDamaged):
		r.Bad(canlog.Fault{Offset: r.fence.start, Err: err})
		r.err = io.EOF
	case err == io.EOF:
		r.err = io.EOF
	default:
		r.err = fmt.Errorf("pcapng: byte %d: %w", r.fence.next, err)
	}
}

// block reads one block; ok when it is a frame.
func (r *Reader) block(b []byte, f *frame.Frame) (ok bool, err error) {
	o, body := r.fence.order, b[8:len(b)-4]
	var p packet
	switch o.Uint32(b) {
	case blockSection:
		r.ifaces = r.ifaces[:0]
		return false, nil
	case blockInterface:
		return false, r.iface(o, body)
	case blockSimple: // of the first interface, without a time
		if len(body) < 4 || len(r.ifaces) == 0 {
			return false, errPacket
		}
		p.data = body[4:][:min(int64(o.Uint32(body)), int64(len(body)-4))]
	case blockPacket, blockOld:
		if len(body) < 20 {
			return false, errPacket
		}
		p.iface, p.ticks = int(o.Uint32(body)), uint64(o.Uint32(body[4:]))<<32|uint64(o.Uint32(body[8:]))
		if o.Uint32(b) == blockOld { // the upper half is a count of lost packets
			p.iface = int(o.Uint16(body))
		}
		n := int64(o.Uint32(body[12:]))
		padded := (n + 3) &^ 3
		if p.iface >= len(r.ifaces) || padded > int64(len(body)-20) {
			return false, errPacket
		}
		p.data, p.options = body[20:][:n], body[20+padded:]
	default:
		return false, nil
	}
	return r.packet(&p, f)
}

// iface reads the description of an interface.
func (r *Reader) iface(o binary.ByteOrder, body []byte) error {
	if len(body) < 8 {
		r.ifaces = append(r.ifaces, source{second: 1e6})
		return errPacket
	}
	s := source{link: o.Uint16(body), second: 1e6}
	each(o, body[8:], func(code uint16, value []byte) {
		switch {
		case code == optionName:
			for _, c := range value[:min(len(value), 15)] {
				if c <= ' ' || c >= 0x7F {
					c = '_'
				}
				s.name = append(s.name, c)
			}
		case code == optionResolution && len(value) == 1:
			s.second = ticks(value[0])
		case code == optionOffset && len(value) == 8:
			s.offset = int64(o.Uint64(value))
		}
	})
	if len(s.name) == 0 {
		s.name = canlog.AppendChannel(nil, uint16(len(r.ifaces))+1)
	}
	r.ifaces = append(r.ifaces, s)
	return nil
}

// ticks is how many of an interface's units of time a second has; 0 when no second can be counted in them.
func ticks(resolution byte) uint64 {
	n := resolution & 0x7F
	switch {
	case resolution&0x80 != 0 && n < 64:
		return 1 << n
	case resolution&0x80 != 0 || n > 19:
		return 0
	}
	second := uint64(1)
	for range n {
		second *= 10
	}
	return second
}

// packet reads one packet; ok when it is a frame.
func (r *Reader) packet(p *packet, f *frame.Frame) (ok bool, err error) {
	s := &r.ifaces[p.iface]
	if !wraps(s.link) {
		r.Skip()
		return false, nil
	}
	*f = frame.Frame{}
	number, ok, err := unwrap(s.link, p.data, r.fence.order, f)
	if err != nil {
		return false, err
	}
	if !ok {
		r.Skip()
		return false, nil
	}
	f.Time = s.sinceEpoch(p.ticks)
	r.comment = r.comment[:0]
	commented := false
	o := r.fence.order
	each(o, p.options, func(code uint16, value []byte) {
		switch {
		case code == optionComment && !commented:
			r.comment, commented = append(r.comment, value...), true
		case code == optionFlags && len(value) == 4:
			switch o.Uint32(value) & 3 {
			case inbound:
				f.Dir = frame.Received
			case outbound:
				f.Dir = frame.Sent
			}
		}
	})
	name := s.name
	if number != 0 {
		r.name = numbered(r.name[:0], number)
		name = r.name
	}
	if err := r.Good(f, name); err != nil {
		return false, err
	}
	return true, nil
}

// each calls do with every option; what is not put together as it should be ends them.
func each(o binary.ByteOrder, b []byte, do func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, n := o.Uint16(b), int(o.Uint16(b[2:]))
		if code == optionEnd || n > len(b)-4 {
			return
		}
		do(code, b[4:4+n])
		b = b[min(len(b), 4+(n+3)&^3):]
	}
}

// Comment is the first comment of the last packet, "" when it has none.
func (r *Reader) Comment() string { return string(r.comment) }

// sinceEpoch is 0 for times that no capture of a CAN bus can have.
func (s *source) sinceEpoch(at uint64) time.Duration {
	if s.second == 0 {
		return 0
	}
	sec, rest := at/s.second, at%s.second
	if sec > maxSeconds {
		return 0
	}
	total := int64(sec) + s.offset
	if s.offset > maxSeconds || s.offset < -maxSeconds || total < 0 || total > maxSeconds {
		return 0
	}
	hi, lo := bits.Mul64(rest, 1e9)
	ns, _ := bits.Div64(hi, lo, s.second) // rest is less than a second
	return time.Duration(total)*time.Second + time.Duration(ns)
}

// maxSeconds keeps a time of day inside a time.Duration.
const maxSeconds = 9_000_000_000
