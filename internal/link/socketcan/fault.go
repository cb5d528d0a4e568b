package socketcan

import (
	"fmt"
	"strings"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	cango "go.einride.tech/can/pkg/socketcan"
)

// Fault is what a CAN controller can report (linux/can/error.h), several at once.
type Fault uint16

// Faults, the gravest first.
const (
	BusOff      Fault = 1 << iota // too many errors in sending: the controller has left the bus
	NoAck                         // nobody acknowledged what was sent
	TxTimeout                     // the driver gave up sending
	Transceiver                   // a wire is broken or short-circuited
	TxPassive                     // over 127 send errors: what we send is not taken
	RxPassive                     // over 127 receive errors: what we hear makes no sense
	Overflow                      // the controller's own buffer was full, frames are lost
	Protocol                      // a frame on the bus was malformed
	Arbitration                   // a more urgent frame went first; normal
	Warning                       // over 95 errors
	Restarted                     // the controller is back on the bus
	Active                        // the error counters have recovered
	Unknown                       // nothing of the above
)

// grave are the faults after which the vehicle cannot be expected to answer.
const grave = BusOff | NoAck | TxTimeout | Transceiver | TxPassive | RxPassive

var faultWords = []string{"bus off", "no acknowledgement", "transmit timeout", "transceiver fault", "send error passive",
	"receive error passive", "controller overflow", "protocol violation", "lost arbitration", "error warning", "restarted",
	"error active", "unknown report"}

// String lists the faults in words.
func (f Fault) String() string {
	var words []string
	for i, word := range faultWords {
		if f&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, ", ")
}

// BusError is a report of the CAN controller. It wraps link.ErrBus.
type BusError struct {
	Fault    Fault
	TxErrors uint8 // the controller's counters where the driver gives them, else 0
	RxErrors uint8
}

func (e *BusError) Error() string {
	s := fmt.Sprintf("%v: %v", link.ErrBus, e.Fault)
	if e.TxErrors|e.RxErrors != 0 {
		s += fmt.Sprintf(" (error counters: %d sending, %d receiving)", e.TxErrors, e.RxErrors)
	}
	return s
}

// Unwrap returns link.ErrBus.
func (e *BusError) Unwrap() error { return link.ErrBus }

// classes maps the report's class bits; controller and transceiver have details of their own.
var classes = []struct {
	class cango.ErrorClass
	fault Fault
}{
	{cango.ErrorClassTxTimeout, TxTimeout},
	{cango.ErrorClassLostArbitration, Arbitration},
	{cango.ErrorClassProtocolViolation, Protocol},
	{cango.ErrorClassTransceiver, Transceiver},
	{cango.ErrorClassNoAck, NoAck},
	{cango.ErrorClassBusOff, BusOff},
	{cango.ErrorClassBusError, Protocol},
	{cango.ErrorClassRestarted, Restarted},
}

// controller maps the details of a controller problem (data byte 1).
var controller = []struct {
	bit   cango.ControllerError
	fault Fault
}{
	{cango.ControllerErrorRxBufferOverflow, Overflow},
	{cango.ControllerErrorTxBufferOverflow, Overflow},
	{cango.ControllerErrorRxWarning, Warning},
	{cango.ControllerErrorTxWarning, Warning},
	{cango.ControllerErrorRxPassive, RxPassive},
	{cango.ControllerErrorTxPassive, TxPassive},
	{cango.ControllerErrorActive, Active},
}

// classCounters says that data bytes 6 and 7 are the error counters (CAN_ERR_CNT, Linux 6.0). Older drivers fill them
// without saying so for controller problems; those are not read.
const classCounters cango.ErrorClass = 0x200

// report reads a frame with frame.Error set.
func report(f *frame.Frame) *BusError {
	var b [fdSize]byte
	encode(b[:], f)
	var raw cango.Frame
	raw.UnmarshalBinary(b[:classicSize])
	r := raw.DecodeErrorFrame()
	e := &BusError{}
	for _, c := range classes {
		if r.ErrorClass&c.class != 0 {
			e.Fault |= c.fault
		}
	}
	if r.ErrorClass&cango.ErrorClassController != 0 {
		for _, c := range controller {
			if r.ControllerError&c.bit != 0 {
				e.Fault |= c.fault
			}
		}
	}
	if r.ErrorClass&classCounters != 0 {
		e.TxErrors, e.RxErrors = r.ControllerSpecificInformation[1], r.ControllerSpecificInformation[2]
	}
	if e.Fault == 0 {
		e.Fault = Unknown
	}
	return e
}

// hint says what to do about a fault on interface name.
func (e *BusError) hint(name string, bitrate uint32) string {
	speed := "check the bit rate (most cars: 500 kbit/s, some 250): " + upCommand(name)
	if bitrate != 0 {
		speed = fmt.Sprintf("%s runs at %s; most cars need 500 kbit/s, some 250: %s", name, rate(bitrate), upCommand(name))
	}
	switch {
	case e.Fault&BusOff != 0:
		return "the interface has left the bus; check plug and wiring, then restart it: sudo ip link set " + name +
			" down && " + upCommand(name) + "; " + speed
	case e.Fault&(NoAck|TxPassive|TxTimeout) != 0:
		return "nobody on the bus takes what is sent; is the ignition on and the plug fully in? If so, " + speed
	case e.Fault&Transceiver != 0:
		return "the adapter reports a broken or short-circuited wire; check cable and plug"
	case e.Fault&RxPassive != 0:
		return "what is heard makes no sense; " + speed
	}
	return ""
}
