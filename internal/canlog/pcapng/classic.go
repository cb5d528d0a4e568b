package pcapng

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
)

// Classic is the canlog.Source of a pcap capture: one link type, one clock, packet after packet.
type Classic struct {
	canlog.Tally
	src   io.Reader
	at    int64 // in the file, of the next byte
	begun bool
	order binary.ByteOrder
	unit  time.Duration // of the second half of a time
	link  uint16
	body  [maxPacket]byte
	name  []byte
	err   error
}

var _ canlog.Source = (*Classic)(nil)

// Sizes in bytes of pcap (draft-ietf-opsawg-pcap).
const (
	classicHead   = 24
	classicPacket = 16
	maxPacket     = 256     // what is kept of one: a head of Linux and a CAN FD frame have 92
	maxCaptured   = 1 << 18 // what a packet may have: the largest that tcpdump writes
)

var (
	errPcap    = fmt.Errorf("%w: no head of a pcap file", canlog.ErrDamaged)
	errPacked  = fmt.Errorf("%w: a packet with an impossible length", canlog.ErrDamaged)
	errPcapCut = fmt.Errorf("%w: the file ends in the middle of a packet", canlog.ErrDamaged)
)

// IsClassic reports whether a file that begins so is pcap: its magic number says byte order and unit of time.
func IsClassic(head []byte) bool {
	_, _, ok := magic(head)
	return ok
}

func magic(b []byte) (binary.ByteOrder, time.Duration, bool) {
	if len(b) < 4 {
		return nil, 0, false
	}
	for _, o := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch o.Uint32(b) {
		case 0xA1B2C3D4:
			return o, time.Microsecond, true
		case 0xA1B23C4D:
			return o, time.Nanosecond, true
		}
	}
	return nil, 0, false
}

// NewClassic reads from r.
func NewClassic(r io.Reader) *Classic { return &Classic{src: r} }

// Next as canlog.Source says.
func (r *Classic) Next(f *frame.Frame) error {
	for r.err == nil {
		start := r.at
		switch ok, err := r.packet(f); {
		case ok:
			return nil
		case errors.Is(err, canlog.ErrDamaged), errors.Is(err, canlog.ErrSyntax):
			r.Bad(canlog.Fault{Offset: start, Err: err})
		case err != nil:
			r.err = err
		}
	}
	*f = frame.Frame{}
	return r.err
}

// packet reads one packet. After damage behind which nothing can be found again, r.err is io.EOF.
func (r *Classic) packet(f *frame.Frame) (ok bool, err error) {
	if !r.begun {
		r.begun = true
		if err := r.full(r.body[:classicHead], errPcap); err != nil {
			return false, err
		}
		if r.order, r.unit, ok = magic(r.body[:]); !ok {
			r.err = io.EOF
			return false, errPcap
		}
		r.link = uint16(r.order.Uint32(r.body[20:])) // the upper half is about checksums
	}
	if n, err := io.ReadFull(r.src, r.body[:classicPacket]); err != nil {
		if r.at += int64(n); err == io.EOF {
			return false, io.EOF
		}
		return false, r.ended(err, errPcapCut)
	}
	r.at += classicPacket
	sec, fraction, n := r.order.Uint32(r.body[0:]), r.order.Uint32(r.body[4:]), r.order.Uint32(r.body[8:])
	if n > maxCaptured {
		r.err = io.EOF
		return false, errPacked
	}
	keep := min(n, maxPacket)
	if err := r.full(r.body[:keep], errPcapCut); err != nil {
		return false, err
	}
	if n > keep {
		k, err := io.CopyN(io.Discard, r.src, int64(n-keep))
		if r.at += k; err != nil {
			return false, r.ended(err, errPcapCut)
		}
	}
	*f = frame.Frame{}
	if !wraps(r.link) {
		r.Skip()
		return false, nil
	}
	number, ok, err := unwrap(r.link, r.body[:keep], r.order, f)
	if err != nil || !ok {
		if err == nil {
			r.Skip()
		}
		return false, err
	}
	f.Time = time.Duration(sec)*time.Second + min(time.Duration(fraction)*r.unit, time.Second-1)
	r.name = numbered(r.name[:0], number)
	if err := r.Good(f, r.name); err != nil {
		return false, err
	}
	return true, nil
}

// full fills p; cut is the damage when the file ends before.
func (r *Classic) full(p []byte, cut error) error {
	n, err := io.ReadFull(r.src, p)
	if r.at += int64(n); err != nil {
		return r.ended(err, cut)
	}
	return nil
}

func (r *Classic) ended(err, cut error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		r.err = io.EOF
		return cut
	}
	return fmt.Errorf("pcap: byte %d: %w", r.at, err)
}

// numbered is the name of an interface of which only the number is known; 0 is the one there is.
func numbered(dst []byte, number uint32) []byte {
	if number == 0 {
		return append(dst, "can0"...)
	}
	return strconv.AppendUint(append(dst, "if"...), uint64(number), 10)
}
