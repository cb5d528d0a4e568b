// Package obd is SAE J1979 / ISO 15031-5: services 01 to 0A. Bytes in, readings out. Lengths, scales and names are rows
// of the embedded tables; the code interprets one row shape per service. Nothing here does I/O or reads a clock, and
// every function is safe for concurrent use.
package obd

import (
	"errors"
	"fmt"
)

// Kinds of wrong answers, to branch on with errors.Is. Details are in *Error.
var (
	// ErrShort: fewer bytes than the field needs. What was whole is returned beside the error; it is never the
	// picture of a healthy car.
	ErrShort = errors.New("answer is too short")
	// ErrOverlong: the answer is whole and has bytes behind it that nobody asked for. The readings beside the error
	// can be used; the surplus was not interpreted.
	ErrOverlong = errors.New("answer is longer than the question allows")
	// ErrMismatch: the answer echoes another service or id than was asked: another tester's, or a stray frame.
	ErrMismatch = errors.New("answer belongs to another question")
	// ErrLength: a combined answer holds an id whose length is not known. Ask that id alone.
	ErrLength = errors.New("length of an id is not known: ask it alone")
	// ErrAmbiguous: a combined answer can be split in more than one way. Ask each id alone.
	ErrAmbiguous = errors.New("combined answer can be split in more than one way: ask each id alone")
	// ErrFormat: lengths fit but the content contradicts the standard (a count that does not match, a message out of order).
	ErrFormat = errors.New("answer contradicts the standard")
	// ErrService: the request is not one this package decodes.
	ErrService = errors.New("no question that is decoded here")
)

// Error tells which answer was wrong and by how much. It never carries bytes of the answer beyond the echoed ids.
type Error struct {
	Kind      error // one of the sentinels above
	Service   byte  // service asked (01, 22)
	ID        int   // PID, InfoType, MID or DID the error is about, -1 = the whole answer
	Want, Got int   // bytes needed and present where lengths are the matter, else 0
}

func (e *Error) Error() string {
	what := fmt.Sprintf("service %02X", e.Service)
	switch {
	case e.ID > 0xFF:
		what += fmt.Sprintf(" id %04X", e.ID)
	case e.ID >= 0:
		what += fmt.Sprintf(" id %02X", e.ID)
	}
	if e.Want != 0 || e.Got != 0 {
		return fmt.Sprintf("%s: %v: %d bytes, %d expected", what, e.Kind, e.Got, e.Want)
	}
	return fmt.Sprintf("%s: %v", what, e.Kind)
}

func (e *Error) Unwrap() error { return e.Kind }

// Negative is a negative response: 7F, the service, the code (ISO 14229-1 annex A.1). Names of the codes belong to the
// room that asks questions.
type Negative struct{ Service, Code byte }

func (n *Negative) Error() string {
	return fmt.Sprintf("service %02X: negative response %02X", n.Service, n.Code)
}

// AsNegative returns the negative response resp carries, nil when it is none. Negative responses of fewer than three
// bytes are none; bytes behind the third are ignored.
func AsNegative(resp []byte) *Negative {
	if len(resp) < 3 || resp[0] != 0x7F {
		return nil
	}
	return &Negative{Service: resp[1], Code: resp[2]}
}

// Usable reports whether readings that came with err can be trusted: nil and ErrOverlong.
func Usable(err error) bool { return err == nil || errors.Is(err, ErrOverlong) }
