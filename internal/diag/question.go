package diag

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrForbiddenService: the request would change something in the vehicle, or is not known to be harmless. It was not
// sent. The error is a *Forbidden.
var ErrForbiddenService = errors.New("service not allowed on the bus")

// Forbidden is a refused request. It matches ErrForbiddenService and carries no payload but the service.
type Forbidden struct {
	Service byte // 0 when the request was empty
	Empty   bool
}

func (e *Forbidden) Error() string {
	if e.Empty {
		return "empty request: " + ErrForbiddenService.Error()
	}
	return fmt.Sprintf("service %02X: %v", e.Service, ErrForbiddenService)
}

// Is matches ErrForbiddenService.
func (e *Forbidden) Is(target error) bool { return target == ErrForbiddenService }

// question is a request that may be put on a bus. ask makes them of what callers want to read, Clear of two constants;
// Conn puts nothing but questions and flow control on the bus.
type question struct{ payload []byte }

// readOnly lists the services that only read (SAE J1979, ISO 14229-1, and 1A and 21 of ISO 14230-3). Clearing (04, 14)
// is not among them: it takes the customer's recorded request, which this layer cannot see. It has Clear.
var readOnly = [256]bool{
	0x01: true, 0x02: true, 0x03: true, 0x06: true, 0x07: true, 0x09: true, 0x0A: true,
	0x10: true, // default session only, see ask
	0x19: true, 0x1A: true, 0x21: true, 0x22: true, 0x3E: true,
}

// ask checks that a request only reads.
func ask(payload []byte) (question, error) {
	switch {
	case len(payload) == 0:
		return question{}, &Forbidden{Empty: true}
	case !readOnly[payload[0]]:
		return question{}, &Forbidden{Service: payload[0]}
	case payload[0] == 0x10 && (len(payload) != 2 || payload[1] != 0x01):
		return question{}, &Forbidden{Service: payload[0]}
	}
	return question{payload: payload}, nil
}

// verdict is what an ECU's message is to a question.
type verdict uint8

const (
	foreign  verdict = iota // answers another service: not ours
	short                   // ours as far as it goes, but ends before the echo does
	mismatch                // our service, but another PID, DID or sub-function
	match
)

// match compares a message, or the beginning of one, with the question.
//
//	7F SS NN        refusal of service SS
//	SS+40 echo ..   the echo is one of the PIDs, InfoTypes, MIDs or DIDs asked for, or the sub-function
func (q question) match(m []byte) verdict {
	service, args := q.payload[0], q.payload[1:]
	switch {
	case len(m) == 0:
		return short
	case m[0] == 0x7F && len(m) < 2:
		return short
	case m[0] == 0x7F && m[1] != service, m[0] != 0x7F && m[0] != service|0x40:
		return foreign
	case m[0] == 0x7F && len(m) < 3:
		return short
	case m[0] == 0x7F || len(args) == 0:
		return match
	}
	m = m[1:]
	switch service {
	case 0x01, 0x06, 0x09:
		return oneOf(m, args, 1, 1)
	case 0x02:
		return oneOf(m, args, 1, 2)
	case 0x22:
		return oneOf(m, args, 2, 2)
	case 0x1A, 0x21:
		return prefix(m, args[:1])
	case 0x10, 0x3E:
		return subFunction(m, args[0])
	case 0x19:
		return matchDTC(m, args)
	}
	return match
}

// subFunction: ISO 14229 echoes it without the bit that asks for no answer, ISO 14230 has no such bit.
func subFunction(m []byte, asked byte) verdict {
	switch {
	case len(m) == 0:
		return short
	case m[0] == asked, m[0] == asked&0x7F:
		return match
	}
	return mismatch
}

// matchDTC: 19 04 and 06 echo the trouble code they were asked for, 42, 55 and 56 the functional group.
func matchDTC(m, args []byte) verdict {
	if v := subFunction(m, args[0]); v != match {
		return v
	}
	echo := 0
	switch args[0] & 0x7F {
	case 0x04, 0x06:
		echo = 3
	case 0x42, 0x55, 0x56:
		echo = 1
	}
	return prefix(m[1:], args[1:min(1+echo, len(args))])
}

// oneOf looks for the first width bytes of m among the entries of list, which are stride bytes apart.
func oneOf(m, list []byte, width, stride int) verdict {
	if len(m) < width {
		return short
	}
	for len(list) >= width {
		if bytes.Equal(m[:width], list[:width]) {
			return match
		}
		list = list[min(stride, len(list)):]
	}
	return mismatch
}

func prefix(m, want []byte) verdict {
	n := min(len(m), len(want))
	switch {
	case !bytes.Equal(m[:n], want[:n]):
		return mismatch
	case n < len(want):
		return short
	}
	return match
}
