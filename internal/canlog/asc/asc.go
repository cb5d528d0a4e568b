// Package asc reads ASC, the text log of Vector's CANalyzer and CANoe, also written by many loggers.
//
//	date Wed Apr 16 09:21:13.159 am 2014
//	base hex  timestamps absolute
//	Begin Triggerblock Wed Apr 16 09:21:13.159 am 2014
//	   0.003040 1  123             Rx   d 2 01 02  Length = 768000 BitCount = 67 ID = 291
//	   0.004040 1  18DB33F1x       Tx   d 3 02 01 0C
//	   0.005040 1  123             Rx   r 4
//	   0.006040 2  ErrorFrame      ECC: 10100010
//	   0.007040 CANFD   1 Rx        123  EngineData    1 0 9 12 11 22 … CC   130000  130     3000 0 0 0 0 0
//	End TriggerBlock
//
// base says how identifiers and data are written; the length of the data of a CANFD line is always decimal and its flags
// are always hexadecimal (10 remote, 1000 FD, 2000 bit rate switch, 4000 error state). timestamps relative counts from the
// event of the line before, whatever that was. Everything else in such a log (statistics, status, other buses) is skipped.
package asc

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
)

// maxLine in bytes: a CANFD line with 64 data bytes and a long symbolic name is about 400.
const maxLine = 4096

var (
	errTime      = fmt.Errorf("%w: no time at its beginning", canlog.ErrSyntax)
	errID        = fmt.Errorf("%w: identifier is no number in range (a symbolic name cannot be resolved)", canlog.ErrSyntax)
	errDirection = fmt.Errorf("%w: neither Rx nor Tx", canlog.ErrSyntax)
	errKind      = fmt.Errorf("%w: neither a data nor a remote frame", canlog.ErrSyntax)
	errLength    = fmt.Errorf("%w: a length no such frame can have", canlog.ErrSyntax)
	errData      = fmt.Errorf("%w: a data byte is missing or no number", canlog.ErrSyntax)
	errFlags     = fmt.Errorf("%w: unreadable CAN FD fields", canlog.ErrSyntax)
	errChannel   = fmt.Errorf("%w: no channel number", canlog.ErrSyntax)
)

// Reader is the canlog.Source of an ASC log.
type Reader struct {
	canlog.Tally
	lines    *canlog.Lines
	date     time.Duration // of the measurement's start, 0 = not told or not readable
	block    time.Duration // of the begin of the block of events being read, 0 = none or not readable
	clock    time.Duration // of the event before, since date
	dec      bool
	relative bool
	name     [16]byte
	err      error
}

var _ canlog.Source = (*Reader)(nil)

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{lines: canlog.NewLines(r, maxLine)} }

// Next as canlog.Source says.
func (r *Reader) Next(f *frame.Frame) error {
	for r.err == nil {
		line, err := r.lines.Next()
		if err != nil {
			r.err = err
			break
		}
		if len(line) == 0 || r.header(line) {
			continue
		}
		*f = frame.Frame{}
		w := words{rest: line}
		channel, ok, err := r.event(&w, f)
		if err == nil && ok {
			f.Time = r.date + r.clock
			err = f.Validate()
			if err != nil {
				err = errLength
			} else {
				err = r.Good(f, canlog.AppendChannel(r.name[:0], channel))
			}
		}
		switch {
		case err != nil:
			r.Bad(canlog.Fault{Line: r.lines.Number(), Err: err})
		case ok:
			return nil
		default:
			r.Skip()
		}
	}
	*f = frame.Frame{}
	return r.err
}

// header takes the lines that are about the log itself.
func (r *Reader) header(line []byte) bool {
	if bytes.HasPrefix(line, []byte("//")) || line[0] == '#' {
		return true
	}
	if line[0] >= '0' && line[0] <= '9' || line[0] == '-' {
		return false
	}
	w := words{rest: line}
	first := w.next()
	switch {
	case same(first, "date"):
		r.date = parseDate(w.rest)
	case same(first, "base"):
		r.dec = same(w.next(), "dec")
		if same(w.next(), "timestamps") {
			r.relative = same(w.next(), "relative")
		}
	case same(first, "begin"):
		w.next()                                      // "Triggerblock"
		if r.block = parseDate(w.rest); r.date == 0 { // the measurement's own date is the better one
			r.date = r.block
		}
	case same(first, "internal"), same(first, "end"), same(first, "no") && same(w.next(), "internal"):
	default:
		return false
	}
	return true
}

// event reads one line with a time. ok is false for whole lines that are no CAN frame.
func (r *Reader) event(w *words, f *frame.Frame) (channel uint16, ok bool, err error) {
	at, ok := parseSeconds(w.next())
	if !ok {
		return 0, false, errTime
	}
	if r.relative {
		at += r.clock
	}
	r.clock = at
	second := w.next()
	if same(second, "CANFD") {
		return r.fd(w, f)
	}
	if same(second, "Start") && r.block != 0 && r.Frames() == 0 && at == 0 {
		// The measurement starts with this block: a program that writes a recording down later has its own date in the head
		// (python-can), and the measurement's here.
		r.date = r.block
	}
	n, ok := number(second, false)
	if !ok || n > 0xFFFF {
		return 0, false, nil // "Start of measurement", "CAN 1 Status:…", "SV: …" and many more
	}
	channel = uint16(n)
	third := w.next()
	switch {
	case same(third, "ErrorFrame"):
		errorFrame(f)
		return channel, true, nil
	case len(third) == 0, bytes.HasSuffix(third, []byte(":")), same(third, "J1939TP"), same(third, "OverloadFrame"):
		return 0, false, nil
	}
	dir := w.next()
	if same(dir, "TxRq") {
		return 0, false, nil // wanted, not yet sent
	}
	if !direction(dir, f) {
		return 0, false, errDirection
	}
	if err := r.id(third, f); err != nil {
		return 0, false, err
	}
	return channel, true, r.body(w, f)
}

// body reads "d 2 01 02" or "r 4" of a classic frame; what follows is for people.
func (r *Reader) body(w *words, f *frame.Frame) error {
	switch kind := w.next(); {
	case same(kind, "r"):
		f.Flags |= frame.Remote
		if n, ok := number(w.next(), r.dec); ok && n <= 15 { // left out by older tools
			f.Len = uint8(min(n, 8))
		}
		return nil
	case !same(kind, "d"):
		return errKind
	}
	n, ok := number(w.next(), r.dec)
	if !ok || n > 15 {
		return errLength
	}
	return r.data(w, f, int(min(n, 8))) // length codes above 8 mean eight bytes (ISO 11898-1)
}

// fd reads what follows "CANFD": channel, direction, identifier, perhaps a name, BRS, ESI, DLC, length, data, duration,
// bits, flags.
func (r *Reader) fd(w *words, f *frame.Frame) (channel uint16, ok bool, err error) {
	n, ok := number(w.next(), true)
	if !ok || n > 0xFFFF {
		return 0, false, errChannel
	}
	dir := w.next()
	if same(dir, "TxRq") {
		return 0, false, nil
	}
	if !direction(dir, f) {
		return 0, false, errDirection
	}
	id := w.next()
	if same(id, "ErrorFrame") {
		errorFrame(f)
		return uint16(n), true, nil
	}
	if err := r.id(id, f); err != nil {
		return 0, false, err
	}
	brs := w.next()
	if !flag(brs) {
		brs = w.next() // that was a symbolic name
	}
	esi := w.next()
	if !flag(brs) || !flag(esi) {
		return 0, false, errFlags
	}
	dlc, ok := number(w.next(), false)
	length, ok2 := number(w.next(), true)
	if !ok || !ok2 || dlc > 15 || length > frame.MaxData {
		return 0, false, errLength
	}
	if err := r.data(w, f, int(length)); err != nil {
		return 0, false, err
	}
	w.next() // duration
	w.next() // bits
	flags, ok := number(w.next(), false)
	if !ok {
		flags = 0x1000 // a CANFD line of a tool that leaves the rest out
	}
	f.Dir = dirOf(dir)
	return uint16(n), true, fdFlags(f, flags, uint8(dlc), brs[0] == '1', esi[0] == '1')
}

// fdFlags settles what kind of frame a CANFD line is: FD, or a classic frame on a channel that can FD.
func fdFlags(f *frame.Frame, flags uint32, dlc uint8, brs, esi bool) error {
	switch {
	case flags&0x10 != 0 && flags&0x1000 == 0:
		if f.Len != 0 {
			return errLength // a remote frame asks for data, it carries none
		}
		f.Flags |= frame.Remote
		f.Len = min(dlc, 8)
		return nil
	case flags&0x1000 != 0, f.Len > 8:
		f.Flags |= frame.FD
		if brs {
			f.Flags |= frame.BRS
		}
		if esi {
			f.Flags |= frame.ESI
		}
	}
	if want := canlog.DataLength(dlc, f.Is(frame.FD)); int(f.Len) != want {
		return errLength
	}
	return nil
}

func (r *Reader) id(b []byte, f *frame.Frame) error {
	limit := uint32(frame.MaxStandardID)
	if n := len(b); n > 1 && (b[n-1] == 'x' || b[n-1] == 'X') {
		f.Flags |= frame.Extended
		limit, b = frame.MaxExtendedID, b[:n-1]
	}
	id, ok := number(b, r.dec)
	if !ok || id > limit {
		return errID
	}
	f.ID = id
	return nil
}

func (r *Reader) data(w *words, f *frame.Frame, n int) error {
	for i := range n {
		v, ok := number(w.next(), r.dec)
		if !ok || v > 0xFF {
			return errData
		}
		f.Data[i] = byte(v)
	}
	f.Len = uint8(n)
	return nil
}

// errorFrame is what SocketCAN reports for an error frame of which nothing is known: a bus error.
func errorFrame(f *frame.Frame) {
	*f = frame.Frame{ID: canlog.BusError, Flags: frame.Error, Len: 8}
}

func direction(b []byte, f *frame.Frame) bool {
	f.Dir = dirOf(b)
	return f.Dir != frame.Unknown
}

func dirOf(b []byte) frame.Direction {
	switch {
	case same(b, "Rx"):
		return frame.Received
	case same(b, "Tx"):
		return frame.Sent
	}
	return frame.Unknown
}

func flag(b []byte) bool { return len(b) == 1 && (b[0] == '0' || b[0] == '1') }
