// Package blf reads BLF, the binary log of Vector's CANalyzer and CANoe. No public specification exists; the layout here
// is what the open readers and writers of the format agree on (python-can's can/io/blf.py, vblf).
//
//	file      "LOGG" size … start time          144 bytes or as long as size says
//	object    "LOBJ" header size, version, object size, type; flags, time stamp; content; padding
//	container an object of type 10: other objects, deflated or as they are, which run on in the next container
//
// All numbers are little endian. Objects that are no CAN frame (other buses, statistics, markers) are skipped.
package blf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"

	"github.com/klauspost/compress/zlib"
)

// Sizes of heads in bytes.
const (
	fileHead = 144
	baseHead = 16
	headV1   = 32
	headV2   = 40
)

// Bounds against files that lie.
const (
	maxHead   = 64 << 10  // of the file's head
	maxObject = 64 << 20  // of one object; containers have some 128 KiB
	maxBody   = 256       // what is kept of one object: a CAN FD frame has some 140
	maxPlain  = 256 << 20 // of one container's content
)

// Types of objects.
const (
	typeMessage    = 1
	typeError      = 2
	typeContainer  = 10
	typeErrorExt   = 73
	typeMessage2   = 86
	typeFD         = 100
	typeFD64       = 101
	typeFDError64  = 104
	methodNone     = 0
	methodZlib     = 2
	timeTenMicros  = 1
	timeNanosecond = 2
)

var (
	errFile      = fmt.Errorf("%w: no head of a BLF file", canlog.ErrDamaged)
	errObject    = fmt.Errorf("%w: no object where one should begin", canlog.ErrDamaged)
	errSize      = fmt.Errorf("%w: an object with an impossible size", canlog.ErrDamaged)
	errCut       = fmt.Errorf("%w: the file ends in the middle of an object", canlog.ErrDamaged)
	errEnd       = fmt.Errorf("%w: the last container ends in the middle of an object", canlog.ErrDamaged)
	errContainer = fmt.Errorf("%w: a container that cannot be unpacked", canlog.ErrDamaged)
	errMethod    = fmt.Errorf("%w: a container packed in an unknown way", canlog.ErrDamaged)
	errTime      = fmt.Errorf("%w: time out of range", canlog.ErrDamaged)
)

// Reader is the canlog.Source of a BLF log.
type Reader struct {
	canlog.Tally
	file   *bufio.Reader
	at     int64 // in the file, of the next byte
	object int64 // of the object being read, or of the container it is in
	date   time.Duration
	begun  bool
	err    error
	name   [16]byte
	head   [headV2]byte
	outer  [baseHead]byte // of the object of the file itself
	body   [maxBody]byte
	waste  [512]byte

	// The containers, one after the other, are one stream of objects.
	in    io.Reader // content of the open container, nil = none
	whole *io.LimitedReader
	zlib  io.ReadCloser
	plain int64 // bytes the open container may still yield
	lost  bool  // a piece of the stream is missing: look for the next object
}

var _ canlog.Source = (*Reader)(nil)

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{file: bufio.NewReaderSize(r, 64<<10)} }

// errSkip: an object without a CAN frame.
var errSkip = errors.New("no CAN frame")

// Next as canlog.Source says.
func (r *Reader) Next(f *frame.Frame) error {
	for r.err == nil {
		*f = frame.Frame{}
		err := r.next(f)
		switch {
		case err == nil:
			return nil
		case err == errSkip:
			r.Skip()
		case errors.Is(err, canlog.ErrDamaged), errors.Is(err, canlog.ErrSyntax):
			r.Bad(canlog.Fault{Offset: r.object, Err: err})
		default:
			r.err = err
		}
	}
	*f = frame.Frame{}
	return r.err
}

// next reads one object. After an error that wraps canlog.ErrDamaged it can be called again.
func (r *Reader) next(f *frame.Frame) error {
	if !r.begun {
		r.begun = true
		if err := r.fileHead(); err != nil {
			return err
		}
	}
	if err := r.findObject(); err != nil {
		return err
	}
	size, typ := binary.LittleEndian.Uint32(r.head[8:]), binary.LittleEndian.Uint32(r.head[12:])
	headSize, version := int(binary.LittleEndian.Uint16(r.head[4:])), binary.LittleEndian.Uint16(r.head[6:])
	if headSize < baseHead || int(size) < headSize || size > maxObject {
		r.lost = true
		return errSize
	}
	want := headV1
	if version == 2 {
		want = headV2
	}
	if version != 1 && version != 2 || !isFrame(typ) || headSize < want {
		if err := r.drop(int64(size) - baseHead); err != nil {
			return err
		}
		if isFrame(typ) {
			return errObject
		}
		return errSkip
	}
	if err := r.full(r.head[baseHead:want]); err != nil {
		return err
	}
	if err := r.drop(int64(headSize - want)); err != nil {
		return err
	}
	n := min(int(size)-headSize, maxBody)
	if err := r.full(r.body[:n]); err != nil {
		return err
	}
	if err := r.drop(int64(size) - int64(headSize+n)); err != nil {
		return err
	}
	stamp := binary.LittleEndian.Uint64(r.head[24:])
	unit := time.Duration(1)
	if binary.LittleEndian.Uint32(r.head[baseHead:]) == timeTenMicros {
		unit = 10 * time.Microsecond
	}
	if stamp > uint64(maxTime/unit) {
		return errTime
	}
	channel, err := decode(typ, r.body[:n], headSize, f)
	if err != nil {
		return err
	}
	f.Time = r.date + time.Duration(stamp)*unit
	return r.Good(f, canlog.AppendChannel(r.name[:0], channel))
}

// maxTime of a log: a hundred years.
const maxTime = 100 * 366 * 24 * time.Hour

// fileHead reads the head of the file and when the measurement began.
func (r *Reader) fileHead() error {
	b := make([]byte, fileHead)
	n, err := io.ReadFull(r.file, b)
	r.at = int64(n)
	if err != nil {
		if n == 0 && err == io.EOF {
			return io.EOF
		}
		r.err = io.EOF
		if err == io.ErrUnexpectedEOF {
			return errFile
		}
		return err
	}
	size := int64(binary.LittleEndian.Uint32(b[4:]))
	if string(b[:4]) != "LOGG" || size < fileHead || size > maxHead {
		r.err = io.EOF
		return errFile
	}
	r.date = systemTime(b[40:])
	return r.fromFile(nil, size-fileHead)
}

// systemTime reads Windows' SYSTEMTIME as time since 1970-01-01 UTC; 0 when it is no date.
func systemTime(b []byte) time.Duration {
	var v [8]int // year, month, day of week, day, hour, minute, second, millisecond
	for i := range v {
		v[i] = int(binary.LittleEndian.Uint16(b[2*i:]))
	}
	if v[0] < 1970 || v[0] > 2200 || v[1] < 1 || v[1] > 12 || v[3] < 1 || v[3] > 31 || v[4] > 23 || v[5] > 59 || v[6] > 60 || v[7] > 999 {
		return 0
	}
	at := time.Date(v[0], time.Month(v[1]), v[3], v[4], v[5], v[6], v[7]*1e6, time.UTC)
	return time.Duration(at.UnixNano())
}

// findObject reads the base head of the next object that is no container into head. Between objects up to seven bytes of
// padding may stand; how many, writers do not agree.
func (r *Reader) findObject() error {
	for {
		if r.in == nil {
			if err := r.openContainer(); err != nil {
				return err
			}
			if r.in == nil { // an object outside of any container
				copy(r.head[:], r.outer[:])
				return nil
			}
		}
		if r.plain == 0 {
			if err := r.closeContainer(); err != nil {
				return err
			}
			continue
		}
		return r.sync()
	}
}

// sync finds "LOBJ" in the stream of the containers and reads the head there.
func (r *Reader) sync() error {
	h := r.head[:4]
	if err := r.full(h); err != nil {
		return r.tail(err)
	}
	for skipped := 0; string(h) != "LOBJ"; skipped++ {
		if skipped == 7 && !r.lost {
			r.lost = true
			return errObject
		}
		copy(h, h[1:])
		if err := r.full(h[3:]); err != nil {
			return r.tail(err)
		}
	}
	r.lost = false
	return r.full(r.head[4:baseHead])
}

// tail: less than a head is left at the end of the log, which is padding.
func (r *Reader) tail(err error) error {
	if err == errEnd {
		return io.EOF
	}
	return err
}

// openContainer reads the head of the next object of the file itself into outer. r.in stays nil when that is no container.
func (r *Reader) openContainer() error {
	place := r.at
	for skipped := 0; ; {
		b, err := r.file.Peek(4)
		if len(b) < 4 {
			if err == io.EOF {
				return io.EOF // less than a signature is padding
			}
			return err
		}
		if string(b) == "LOBJ" {
			break
		}
		if err := r.fromFile(nil, 1); err != nil {
			return err
		}
		if skipped++; skipped == 8 && !r.lost {
			r.object, r.lost = place, true
			return errObject
		}
	}
	r.object = r.at
	if err := r.fromFile(r.outer[:baseHead], baseHead); err != nil {
		return err
	}
	size, typ := int64(binary.LittleEndian.Uint32(r.outer[8:])), binary.LittleEndian.Uint32(r.outer[12:])
	if typ != typeContainer {
		r.lost = false
		return nil // the caller takes the head from outer
	}
	var about [16]byte // method, six bytes, unpacked size, four bytes
	if size < baseHead+int64(len(about)) || size > maxObject {
		r.lost = true
		return errSize
	}
	if err := r.fromFile(about[:], int64(len(about))); err != nil {
		return err
	}
	packed := size - baseHead - int64(len(about))
	r.whole = &io.LimitedReader{R: r.file, N: packed}
	r.at += packed
	r.plain = int64(binary.LittleEndian.Uint32(about[8:]))
	if r.plain > maxPlain {
		return errors.Join(r.abandon(), errSize)
	}
	switch method := binary.LittleEndian.Uint16(about[:]); method {
	case methodNone:
		r.plain = packed
		r.in = r.whole
	case methodZlib:
		var err error
		if r.zlib == nil {
			r.zlib, err = zlib.NewReader(r.whole)
		} else {
			err = r.zlib.(zlib.Resetter).Reset(r.whole, nil)
		}
		if err != nil {
			return errors.Join(r.abandon(), errContainer)
		}
		r.in = r.zlib
	default:
		return errors.Join(r.abandon(), errMethod)
	}
	return nil
}

// closeContainer goes to the end of the open container, whatever was read of it.
func (r *Reader) closeContainer() error {
	r.in = nil
	if _, err := io.Copy(io.Discard, r.whole); err != nil {
		return fmt.Errorf("blf: byte %d: %w", r.at-r.whole.N, err)
	}
	if r.whole.N > 0 {
		return r.cut()
	}
	return nil
}

// abandon leaves a container whose content cannot be read; what began before it is lost.
func (r *Reader) abandon() error {
	r.lost = true
	return r.closeContainer()
}

// full fills p from the stream of objects.
func (r *Reader) full(p []byte) error {
	for len(p) > 0 {
		n, err := r.some(p)
		p = p[n:]
		if err != nil {
			return err
		}
	}
	return nil
}

// some reads the next bytes of the stream: of the open container, else of the next one, or of the file itself while an
// object outside of containers is read.
func (r *Reader) some(p []byte) (int, error) {
	if r.in == nil {
		return len(p), r.fromFile(p, int64(len(p)))
	}
	for r.plain == 0 { // the object goes on in the next container
		if err := r.closeContainer(); err != nil {
			return 0, err
		}
		start := r.object
		switch err := r.openContainer(); {
		case err == io.EOF:
			r.err = io.EOF
			return 0, errEnd
		case err != nil:
			return 0, err
		case r.in == nil: // something else follows: the object is cut off, and that one is dropped with it
			r.object, r.lost = start, true
			if err := r.fromFile(nil, int64(max(binary.LittleEndian.Uint32(r.outer[8:]), baseHead))-baseHead); err != nil {
				return 0, err
			}
			return 0, errCut
		}
	}
	n, err := r.in.Read(p[:min(int64(len(p)), r.plain)])
	r.plain -= int64(n)
	if n > 0 || err == nil {
		return n, nil
	}
	if r.whole.N > 0 && err != io.EOF || r.in == r.zlib {
		return 0, errors.Join(r.abandon(), errContainer)
	}
	return 0, r.cut()
}

// drop skips n bytes of the stream.
func (r *Reader) drop(n int64) error {
	if r.in == nil {
		return r.fromFile(nil, n)
	}
	for n > 0 {
		k, err := r.some(r.waste[:min(n, int64(len(r.waste)))])
		n -= int64(k)
		if err != nil {
			return err
		}
	}
	return nil
}

// fromFile reads n bytes of the file itself into p, or drops them when p is nil.
func (r *Reader) fromFile(p []byte, n int64) error {
	var got int64
	var err error
	if p == nil {
		var k int
		k, err = r.file.Discard(int(n))
		got = int64(k)
	} else {
		var k int
		k, err = io.ReadFull(r.file, p)
		got = int64(k)
	}
	r.at += got
	switch {
	case err == nil:
		return nil
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return r.cut()
	}
	return fmt.Errorf("blf: byte %d: %w", r.at, err)
}

// cut ends the log in the middle of something.
func (r *Reader) cut() error {
	r.in = nil
	r.err = io.EOF
	return errCut
}

func isFrame(typ uint32) bool {
	switch typ {
	case typeMessage, typeMessage2, typeError, typeErrorExt, typeFD, typeFD64, typeFDError64:
		return true
	}
	return false
}
