// Package pcapng reads and writes pcapng, the capture format of Wireshark, and reads pcap, that of tcpdump before it, with
// frames as LINKTYPE_CAN_SOCKETCAN (227):
//
//	0  1  2  3   4    5      6  7    8 …
//	identifier   len  flags  0  0    data
//
// The identifier is big endian and carries the bits of Linux' struct can_frame: 31 extended, 30 remote, 29 error report.
// flags are those of struct canfd_frame: 1 bit rate switch, 2 error state, 4 CAN FD. A packet of 72 bytes is CAN FD also
// without the last one: recordings made before it existed.
//
// A capture of all interfaces at once has a head of Linux in front, LINKTYPE_LINUX_SLL (113) or LINKTYPE_LINUX_SLL2 (276);
// the identifier behind it is in the byte order of the machine that captured, which is the file's (libpcap, Wireshark):
//
//	113  0 packet type  2 device type  4 address length  6 address (8)                     14 protocol  16 frame
//	276  0 protocol     2 0 0          4 interface       8 device type  10 packet type     12 address  20 frame
package pcapng

import (
	"encoding/binary"
	"fmt"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
)

// LinkType is LINKTYPE_CAN_SOCKETCAN of the tcpdump group's list.
const LinkType = 227

// Heads of Linux in front of a frame.
const (
	linkCooked  = 113
	linkCooked2 = 276
	cookedSize  = 16
	cooked2Size = 20

	protocolCAN   = 0x000C // LINUX_SLL_P_CAN
	protocolCANFD = 0x000D // LINUX_SLL_P_CANFD
	outgoing      = 4      // packet type
)

const (
	headSize = 8
	fdSize   = headSize + frame.MaxData

	extendedBit = 1 << 31
	remoteBit   = 1 << 30
	errorBit    = 1 << 29

	fdBRS = 1
	fdESI = 2
	fdFDF = 4
)

var (
	errShort  = fmt.Errorf("%w: packet shorter than its frame", canlog.ErrDamaged)
	errID     = fmt.Errorf("%w: identifier out of range", canlog.ErrDamaged)
	errLength = fmt.Errorf("%w: a length no such frame can have", canlog.ErrDamaged)
)

// wraps reports whether packets of a link type may carry CAN frames.
func wraps(linkType uint16) bool {
	return linkType == LinkType || linkType == linkCooked || linkType == linkCooked2
}

// unwrap reads one packet of a link type that wraps into f, which is zero; ok is false for one that is no CAN frame. iface is
// the number of the interface it came by, where the packet says so, else 0. order is the file's.
func unwrap(linkType uint16, b []byte, order binary.ByteOrder, f *frame.Frame) (iface uint32, ok bool, err error) {
	var protocol uint16
	kind := byte(0)
	switch linkType {
	case linkCooked:
		if len(b) < cookedSize {
			return 0, false, errShort
		}
		protocol, kind, b = binary.BigEndian.Uint16(b[14:]), b[1], b[cookedSize:]
	case linkCooked2:
		if len(b) < cooked2Size {
			return 0, false, errShort
		}
		protocol, iface, kind, b = binary.BigEndian.Uint16(b), binary.BigEndian.Uint32(b[4:]), b[10], b[cooked2Size:]
	default:
		return 0, true, decode(b, binary.BigEndian, f)
	}
	if protocol != protocolCAN && protocol != protocolCANFD {
		return 0, false, nil
	}
	if err := decode(b, order, f); err != nil {
		return 0, false, err
	}
	f.Dir = frame.Received
	if kind == outgoing {
		f.Dir = frame.Sent
	}
	return iface, true, nil
}

// decode reads one frame into f, which is zero.
func decode(b []byte, order binary.ByteOrder, f *frame.Frame) error {
	if len(b) < headSize {
		return errShort
	}
	id := order.Uint32(b)
	n := int(b[4])
	if n > frame.MaxData {
		return errLength
	}
	switch {
	case id&errorBit != 0:
		f.Flags = frame.Error
		f.ID = id & frame.MaxExtendedID
	case id&extendedBit != 0:
		f.Flags = frame.Extended
		f.ID = id & frame.MaxExtendedID
	default:
		f.ID = id &^ remoteBit
		if f.ID > frame.MaxStandardID {
			return errID
		}
	}
	switch {
	case f.Is(frame.Error):
	case b[5]&fdFDF != 0 || len(b) == fdSize:
		f.Flags |= frame.FD
		if b[5]&fdBRS != 0 {
			f.Flags |= frame.BRS
		}
		if b[5]&fdESI != 0 {
			f.Flags |= frame.ESI
		}
	}
	if id&remoteBit != 0 && !f.Is(frame.Error) {
		f.Flags |= frame.Remote
	} else if len(b) < headSize+n {
		return errShort
	} else {
		copy(f.Data[:n], b[headSize:])
	}
	f.Len = uint8(n)
	if f.Validate() != nil {
		return errLength
	}
	return nil
}

// encode appends the packet of f, which is valid and not a K-line or J1850 message.
func encode(dst []byte, f *frame.Frame) []byte {
	id, flags := f.ID, byte(0)
	switch {
	case f.Is(frame.Error):
		id |= errorBit
	case f.Is(frame.Extended):
		id |= extendedBit
	}
	if f.Is(frame.Remote) {
		id |= remoteBit
	}
	if f.Is(frame.FD) {
		flags = fdFDF
		if f.Is(frame.BRS) {
			flags |= fdBRS
		}
		if f.Is(frame.ESI) {
			flags |= fdESI
		}
	}
	dst = binary.BigEndian.AppendUint32(dst, id)
	dst = append(dst, f.Len, flags, 0, 0)
	if f.Is(frame.Remote) {
		return dst
	}
	return append(dst, f.Bytes()...)
}
