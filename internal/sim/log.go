package sim

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"obdgate/internal/frame"
)

// Request is one question that was put on the vehicle's bus.
type Request struct {
	At    time.Duration // in the vehicle's time
	ID    string        // identifier or header it was sent on, as candump prints it
	ECUs  []string      // names of the ECUs that heard it; none when nobody listens there
	Bytes []byte        // service byte first; of a longer question that nobody takes, its beginning; the whole frame when it has no readable length
}

// OBFCM reports whether the question asks for fuel and energy consumption monitoring data: service 09 InfoTypes 16..1C or
// DIDs F816..F81C (which carry the same), in any position of the request.
func (r *Request) OBFCM() bool {
	switch {
	case len(r.Bytes) < 2:
	case r.Bytes[0] == 0x09:
		return slices.ContainsFunc(r.Bytes[1:], func(b byte) bool { return b >= 0x16 && b <= 0x1C })
	case r.Bytes[0] == 0x22:
		for ids := r.Bytes[1:]; len(ids) >= 2; ids = ids[2:] {
			if ids[0] == 0xF8 && ids[1] >= 0x16 && ids[1] <= 0x1C {
				return true
			}
		}
	}
	return false
}

// String is the line of the request log: "REQ 7DF 0917".
func (r *Request) String() string { return fmt.Sprintf("REQ %s %X", r.ID, r.Bytes) }

// requestLog keeps every request; the vehicle's lock guards it.
type requestLog struct {
	list []Request
	w    io.Writer
}

func (l *requestLog) add(r Request) {
	l.list = append(l.list, r)
	if l.w != nil {
		fmt.Fprintln(l.w, r.String()) //nolint:errcheck // the log in memory is the record
	}
}

// unheard logs a frame that no ECU took: a question nobody listens to is a question on the bus all the same. Flow control
// and consecutive frames ask nothing.
func (l *requestLog) unheard(f *frame.Frame, now time.Duration) {
	b := f.Bytes()
	if len(b) == 0 || b[0]>>4 == 2 || b[0]>>4 == 3 {
		return
	}
	switch n := int(b[0]); {
	case n > 0 && n < len(b):
		b = b[1 : 1+n]
	case b[0]>>4 == 1 && len(b) > 2: // a first frame: the beginning of a longer question
		b = b[2:]
	}
	l.add(Request{At: now, ID: f.IDString(), Bytes: bytes.Clone(b)})
}

// Log returns every request that was put on the bus, in order.
func (v *Vehicle) Log() []Request {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.log.list)
}

// LogTo writes each further request to w as a line "REQ ID HEX" when it arrives; nil stops that.
func (v *Vehicle) LogTo(w io.Writer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.log.w = w
}

// OBFCMRequests counts the logged requests that ask for consumption data.
func (v *Vehicle) OBFCMRequests() int {
	n := 0
	for _, r := range v.Log() {
		if r.OBFCM() {
			n++
		}
	}
	return n
}
