package elm327

import (
	"errors"
	"fmt"
	"time"

	"obdgate/internal/frame"
	"obdgate/internal/link"
)

// outcome is what one reply to a request comes to. It is worked out without I/O.
type outcome struct {
	frames []frame.Frame // Seq is how many lines of data stood before in the reply
	lines  int           // of data, damaged ones included
	status statusSet
	bad    error    // the first damaged line, nil = none
	odd    []uint32 // identifiers of lines refused for their length alone
	flow   bool     // a long answer began and nothing of it followed
	stuck  uint32   // the ECU it came from
	short  bool     // some long answer is not whole
	alien  bool     // a frame of an identifier that was not asked
}

// expectation is what the lines of a reply should look like.
type expectation struct {
	kind kind
	ext  bool
	sums checksums
	dlc  bool // stands behind the identifier
	seen *shapes
	// accept tells the identifiers that the adapter's filter lets through, nil = any (K-line and J1850).
	accept func(id uint32) bool
}

// judge reads a reply. Frames are appended to buf. A line that is no frame and no status is damage: the adapter has
// nothing else to say to a request.
func judge(r *reply, x expectation, buf []frame.Frame) outcome {
	o := outcome{frames: buf[:0], status: r.status}
	var long lengths
	begun := 0
	bad := func(err error) {
		if o.bad == nil {
			o.bad = err
		}
	}
	if r.cut {
		bad(errLong)
	}
	bits := 11
	if x.kind == can29 {
		bits = 29
	}
	r.lines(func(line []byte, at time.Duration) {
		s, data := Classify(line)
		if len(data) == 0 {
			if s == NoStatus {
				o.lines++
				bad(errHex)
			}
			return
		}
		var f frame.Frame
		var err error
		place := uint64(o.lines)
		o.lines++
		if x.kind == legacy {
			err = ParseLegacy(data, x.sums, &f)
		} else if err = parseLine(data, bits, x.dlc, &f); err == nil {
			var ok bool
			ok, err = x.seen.expected(&f, x.accept)
			o.alien = o.alien || !ok
			if !ok && err == nil {
				o.lines--
				return
			}
			if err == nil {
				err = whole(f.Bytes(), x.ext)
			}
			if err == nil {
				err = long.check(&f, x.ext)
				if x.seen.odd[f.ID] && errors.Is(err, errOdd) {
					err = nil
				}
			}
			if err == nil {
				err = x.seen.check(&f, x.ext)
			}
		}
		if errors.Is(err, errOdd) {
			o.odd = append(o.odd, f.ID)
		}
		if err != nil {
			bad(err)
			return
		}
		if x.kind != legacy {
			i := 0
			if x.ext {
				i = 1
			}
			switch f.Data[i] >> 4 {
			case 1:
				begun++
				o.stuck = f.ID
			case 2:
				begun = 0
			}
		}
		f.Time, f.Seq = at, place
		o.frames = append(o.frames, f)
	})
	o.flow = begun > 0
	o.short = long.open()
	if o.status.has(BufferFull) {
		o.frames = o.frames[:0] // what came before may be cut anywhere
	}
	if errors.Is(o.bad, errNoChecksum) {
		o.frames = o.frames[:0]
	}
	return o
}

// clean: nothing is missing or wrong.
func (o *outcome) clean() bool { return o.bad == nil && o.status.worst() == NoStatus }

// err is the fault left after everything was tried, nil when there is none.
func (o *outcome) err() error {
	if s := o.status.worst(); s != NoStatus {
		return &statusError{s}
	}
	if errors.Is(o.bad, errNoChecksum) {
		return errChecksum
	}
	return o.bad
}

// statusError is a status that a request ended with.
type statusError struct{ status Status }

func (e *statusError) Error() string {
	return statuses[e.status].err.Error() + " (" + e.status.String() + ")"
}

// Unwrap returns the link's sentinel.
func (e *statusError) Unwrap() error { return statuses[e.status].err }

// advice is what to do about an error, for link.Error.Hint.
func advice(err error) string {
	var se *statusError
	switch {
	case errors.As(err, &se):
		return statuses[se.status].hint
	case errors.Is(err, link.ErrGone):
		return "check the adapter's plug and cable (or its Wi-Fi), plug it in again and repeat the command"
	case errors.Is(err, errSilent):
		return "is it the right port, is the adapter plugged into the vehicle (most take their power there), does another program use it?"
	case errors.Is(err, errForeign):
		return "this may be another kind of device, or the baud rate is wrong: leave ?baud= out to have it found"
	case errors.Is(err, link.ErrNoVehicle):
		return hintIgnition
	case errors.Is(err, link.ErrGarbled):
		return "characters are lost between the adapter and this computer: try another USB port or come closer"
	}
	return ""
}

// noAdapter makes a fault met while opening what it is to the caller of Open.
func noAdapter(err error) error {
	if errors.Is(err, link.ErrNoAdapter) || errors.Is(err, link.ErrUnsupported) {
		return err
	}
	return fmt.Errorf("%w: %w", link.ErrNoAdapter, err)
}
