// Package visit holds one workshop visit as pure values: the order, the customer's answers, what each scan read. A visit
// is the unit that is opened, stored under its own key, shown, and erased.
package visit

import (
	"time"

	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	"obdgate/internal/reading"
	"obdgate/internal/vin"
)

// Visit is one car in the workshop.
type Visit struct {
	ID       string    // "v" and 12 lower-case letters or digits, random
	Opened   time.Time // UTC
	Closed   time.Time // zero while open
	Order    string    // the workshop's order number or note: customer data, never leaves
	Language string    // the customer's: nl, de, fr, en
	VIN      vin.VIN   // zero until read
	Scans    []Scan    // in the order made
	Rev      int64     // of the stored copy this value was read from, 0 = not stored yet; kept by the store
}

// Scan is one reading of the vehicle from start to end.
type Scan struct {
	At       time.Time
	Link     string // the link's URI as typed
	Adapter  string // what the adapter calls itself
	Plan     string // quick, full
	Protocol string // "ISO 15765-4 CAN 11/500"
	VIN      vin.VIN
	ECUs     []ECU
	Readings []reading.Reading // everything that was decoded, trouble codes (obd.dtc.*) and obfcm.* included
	OBFCM    obfcm.Verdict
	Odometer odometer.Verdict
	Frames   Frames
	Errors   []ReadError
}

// ECU is one control unit that answered.
type ECU struct {
	Address string `json:"address"`        // "7E8"
	Name    string `json:"name,omitempty"` // 09 0A, "ECM-EngineControl"
}

// Frames counts the frames of a scan by tag, both directions.
type Frames struct {
	Total     int `json:"total"`
	Technical int `json:"technical"`
	Personal  int `json:"personal"`
}

// ReadError is one question that was not answered fully.
type ReadError struct {
	ECU     string `json:"ecu,omitempty"`
	Request string `json:"request"` // hex of the request: never vehicle data
	Error   string `json:"error"`
	Hint    string `json:"hint,omitempty"`
}

// Complete reports whether every question that was put got a whole answer.
func (s *Scan) Complete() bool { return len(s.Errors) == 0 }
