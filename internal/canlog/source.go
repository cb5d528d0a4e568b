package canlog

import (
	"errors"
	"fmt"
	"time"

	"obdgate/internal/frame"
)

// Source is a recording being read, whatever its format. Damaged records are skipped, counted and told; nothing is
// guessed from them. A Source is not safe for concurrent use and its memory does not grow with the recording.
type Source interface {
	// Next reads the next frame into f: Seq counts the good frames from 1, Time is the time since the first one (negative
	// where the recording clock was set back), Bus the index of its interface in Interfaces. It returns io.EOF at the end,
	// else the read error with its place, for good; f is then zero.
	Next(f *frame.Frame) error
	// Interfaces lists the interface names in the order of their first frame.
	Interfaces() []string
	// Start is the time of the first frame since 1970-01-01 UTC, or since whatever the recording counts from; zero before
	// it. Formats that write local time without a zone (ASC, BLF) are read as if it were UTC.
	Start() time.Duration
	// Frames is the number of good frames so far.
	Frames() uint64
	// Damaged is the number of records so far that were no frame.
	Damaged() int
	// Faults are the first 20 damaged records.
	Faults() []Fault
	// Skipped is the number of whole records so far that are no CAN frames and not damaged: statistics, other buses.
	Skipped() uint64
}

// ErrDamaged marks a damaged record of a binary recording; ErrSyntax marks a line.
var ErrDamaged = errors.New("damaged record")

// maxFaults is how many damaged records a Tally remembers by place; it counts them all.
const maxFaults = 20

// maxBuses is how many interfaces one recording may name: frame.Frame.Bus is one byte, and a recording of garbage must not
// grow a list without end.
const maxBuses = 64

// ErrBuses: a record names one interface more than a recording can have. It wraps ErrSyntax.
var ErrBuses = fmt.Errorf("%w: more than %d interfaces in one log", ErrSyntax, maxBuses)

// Fault is one damaged record: its place and why it is no frame (wraps ErrSyntax or ErrDamaged). The place is the line
// number from 1 in a text, else (Line 0) the byte at which the record begins, after decompression.
type Fault struct {
	Line   int
	Err    error
	Offset int64
}

func (f Fault) Error() string {
	if f.Line > 0 {
		return fmt.Sprintf("line %d: %v", f.Line, f.Err)
	}
	return fmt.Sprintf("byte %d: %v", f.Offset, f.Err)
}

// Unwrap returns the reason.
func (f Fault) Unwrap() error { return f.Err }

// Tally is the half of a Source that every format has in common. A reader embeds it and tells it of every record. The
// zero value is ready.
type Tally struct {
	frames  uint64
	skipped uint64
	damaged int
	faults  []Fault
	buses   []string
	start   time.Duration
}

// Good takes a frame whose Time is still the recording's own: it sets Seq, Bus and Time as Source promises. The error is
// ErrBuses; the frame then counts as nothing and the caller reports it to Bad.
func (t *Tally) Good(f *frame.Frame, iface []byte) error {
	bus, err := t.bus(iface)
	if err != nil {
		return err
	}
	if t.frames == 0 {
		t.start = f.Time
	}
	t.frames++
	f.Bus, f.Seq = bus, t.frames
	f.Time -= t.start
	return nil
}

// Bad takes a damaged record.
func (t *Tally) Bad(x Fault) {
	t.damaged++
	if len(t.faults) < maxFaults {
		t.faults = append(t.faults, x)
	}
}

// Skip takes a record that is whole but no CAN frame.
func (t *Tally) Skip() { t.skipped++ }

func (t *Tally) bus(iface []byte) (uint8, error) {
	for i, b := range t.buses {
		if b == string(iface) {
			return uint8(i), nil
		}
	}
	if len(t.buses) == maxBuses {
		return 0, ErrBuses
	}
	t.buses = append(t.buses, string(iface))
	return uint8(len(t.buses) - 1), nil
}

// Interfaces as Source says.
func (t *Tally) Interfaces() []string { return t.buses }

// Start as Source says.
func (t *Tally) Start() time.Duration { return t.start }

// Frames as Source says.
func (t *Tally) Frames() uint64 { return t.frames }

// Damaged as Source says.
func (t *Tally) Damaged() int { return t.damaged }

// Faults as Source says.
func (t *Tally) Faults() []Fault { return t.faults }

// Skipped as Source says.
func (t *Tally) Skipped() uint64 { return t.skipped }

// AppendChannel appends the interface name of a numbered channel: channel 1 of Vector's tools is can0, as in can-utils;
// channel 0, which some writers use, is can0 too.
func AppendChannel(dst []byte, channel uint16) []byte {
	if channel > 0 {
		channel--
	}
	return appendDecimal(append(dst, "can"...), int64(channel), 1)
}

// BusError is the class SocketCAN gives an error frame of which nothing more is known (CAN_ERR_BUSERROR, linux/can/error.h).
const BusError = 0x80

// DataLength is the number of data bytes a length code (0..15) stands for: above 8, eight in a classic frame and 12 to 64
// in CAN FD (ISO 11898-1).
func DataLength(dlc uint8, fd bool) int {
	switch {
	case dlc <= 8:
		return int(dlc)
	case !fd:
		return 8
	}
	return [7]int{12, 16, 20, 24, 32, 48, 64}[min(dlc, 15)-9]
}
