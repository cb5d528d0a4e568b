package socketcan

import (
	"slices"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"golang.org/x/sys/unix"
)

// diagnostic are the identifiers on which vehicles answer a tester: 11-bit 600..7FF (ISO 15765-4 and the makers' own;
// BMW and MINI answer on 6xx), and the 29-bit identifiers of normal fixed addressing that are meant for the tester
// (target F1, ISO 15765-2; any priority).
var diagnostic = []unix.CanFilter{
	filter(0x600, 0x600, false),
	filter(0x18DAF100, 0x03FFFF00, true),
}

// filter accepts data frames with id in the bits of mask, of one identifier length.
func filter(id, mask uint32, extended bool) unix.CanFilter {
	f := unix.CanFilter{Id: id, Mask: mask | unix.CAN_EFF_FLAG | unix.CAN_RTR_FLAG}
	if extended {
		f.Id |= unix.CAN_EFF_FLAG
	}
	return f
}

// SetHint tells that a tester uses this link. From the first call on the kernel hands over diagnostic identifiers only,
// and those the hints name: the traffic of the vehicle, the customer's habits in it, does not enter this process. A
// link without hints, a monitor's, hears everything. Filters only ever grow, so a late answer is not cut off.
func (l *Link) SetHint(h link.Hint) {
	want := l.accepted
	if want == nil {
		want = slices.Clone(diagnostic)
	}
	for _, id := range h.Accept {
		if !covered(want, id) {
			extended := id > frame.MaxStandardID
			mask := uint32(unix.CAN_SFF_MASK)
			if extended {
				mask = unix.CAN_EFF_MASK
			}
			want = append(want, filter(id, mask, extended))
		}
	}
	if len(want) == len(l.accepted) || len(want) > unix.CAN_RAW_FILTER_MAX {
		return
	}
	// A filter that cannot be set costs time, not correctness: the link hears more than it needs.
	if err := l.raw.Control(func(fd uintptr) {
		if unix.SetsockoptCanRawFilter(int(fd), unix.SOL_CAN_RAW, unix.CAN_RAW_FILTER, want) == nil {
			l.accepted = want
		}
	}); err != nil {
		return
	}
}

// covered reports whether a filter lets id pass.
func covered(filters []unix.CanFilter, id uint32) bool {
	if id > frame.MaxStandardID {
		id |= unix.CAN_EFF_FLAG
	}
	return slices.ContainsFunc(filters, func(f unix.CanFilter) bool { return id&f.Mask == f.Id&f.Mask })
}
