// Package reading holds what was read from a vehicle: a value with its key, the ECU it came from and the frames that
// carried it. Values form a closed set; "not available" is a value of its own and never a number.
package reading

import "slices"

// Key names a field once and for all. Grammar, lower-case names, upper-case hex:
//
//	obd.SS.PP            service SS, PID/InfoType PP with one field      obd.01.05
//	obd.SS.PP.field      … with several fields                          obd.01.01.mil_on
//	obd.dtc.STATUS       a trouble code; STATUS stored|pending|permanent
//	uds.22.DDDD[.field]  data identifier DDDD                            uds.22.F190
//	uds.19.SS.…          report SS of trouble codes: dtc, availability, raw
//	kwp.SS.II            KWP2000 service SS, identifier II
//	obfcm.field          consumption record                              obfcm.lifetime_fuel
//	odometer             the mileage verdict's chosen value
//	odometer.SS.ID       mileage in a maker's own identifier             odometer.22.D10D
//	dbc.MESSAGE.SIGNAL   broadcast signal
type Key string

// Reading is one value as one ECU gave it.
type Reading struct {
	Key   Key
	Name  string   // English name for people, from the tables
	ECU   string   // label of the answering ECU: "7E8"
	Value Value    // never nil
	Raw   []byte   // the bytes of the answer that carry the field, service and id echo included; not aliased
	From  []uint64 // frame.Frame.Seq of the frames that carried it, ascending
}

// Clone returns a copy that shares no memory with r.
func (r Reading) Clone() Reading {
	r.Raw, r.From = slices.Clone(r.Raw), slices.Clone(r.From)
	return r
}

// Value is one of Quantity, Code, Text, Identity, Absent.
type Value interface{ value() }

// Why says why a value is absent. The zero value is NotAvailable.
type Why uint8

const (
	NotAvailable Why = iota // the ECU answered "not available" (all ones, support bit off)
	NotSupported            // the ECU does not know the question
	NoAnswer                // silence
	Refused                 // negative response other than "not supported"
	Damaged                 // an answer came and could not be trusted
)

func (w Why) String() string {
	return [...]string{"not available", "not supported", "no answer", "refused", "damaged"}[min(w, Damaged)]
}

// Absent is the value of a field that has none.
type Absent struct{ Why Why }

// Code is an enumerated value, a bit or a bitmap: the number as sent and its meaning where the tables know it.
type Code struct {
	N     uint64
	Label string // English; empty when unknown
	Bool  bool   // N is a truth value: show true/false
}

// Text is free text from the vehicle (ECU name, calibration id), trimmed of padding.
type Text string

// Identity is a value that names the vehicle (VIN). It prints as its kind only; Reveal is for the rooms that may.
type Identity struct{ s *string }

// NewIdentity hides s.
func NewIdentity(s string) Identity { return Identity{&s} }

// Reveal returns the hidden text. Callers are limited to gate, store and report (archtest).
func (i Identity) Reveal() string {
	if i.s == nil {
		return ""
	}
	return *i.s
}

func (i Identity) String() string   { return "[identity]" }
func (i Identity) GoString() string { return "[identity]" }

func (Absent) value()   {}
func (Code) value()     {}
func (Text) value()     {}
func (Identity) value() {}
func (Quantity) value() {}
