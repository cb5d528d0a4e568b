package sim

import "time"

// Spec is a vehicle as its YAML file describes it. Byte values use the notation of the file format: hex digits, 'text',
// 'text'/width, {vin}, u8(n) to u32(n).
type Spec struct {
	Name    string  `yaml:"name"`
	Title   string  `yaml:"title"`
	VIN     string  `yaml:"vin"` // invented, 17 characters
	Bus     Bus     `yaml:"bus"`
	Voltage string  `yaml:"voltage"` // battery as an adapter measures it, volts with one decimal; default 12.6
	Padding *string `yaml:"padding"` // filler byte in hex for every ECU, "none" for short frames; default AA
	ECUs    []ECU   `yaml:"ecus"`

	// Broadcast is what the bus carries without being asked, when traffic is switched on.
	Broadcast []Broadcast `yaml:"broadcast"`
	// Canaries are personal values planted in answers and broadcast frames; none may be found where it must not be.
	Canaries []Canary `yaml:"canaries"`
}

// Bus says what the OBD connector carries.
type Bus struct {
	// Protocol is can, iso9141, iso14230-slow, iso14230-fast, j1850-pwm or j1850-vpw.
	Protocol string `yaml:"protocol"`
	Bits     int    `yaml:"bits"` // CAN: 11 or 29, what legislated OBD uses
	Rate     int    `yaml:"rate"` // CAN: bit/s, 500000 or 250000
}

// ECU is one control unit.
type ECU struct {
	Name      string    `yaml:"name"`
	Addresses []Address `yaml:"addresses"` // CAN
	Source    string    `yaml:"source"`    // K-line and J1850: its address byte in hex

	Latency time.Duration `yaml:"latency"` // request to first answer frame (P2); default 10ms
	Jitter  time.Duration `yaml:"jitter"`  // up to this much is added, varying from request to request
	Gap     time.Duration `yaml:"gap"`     // between consecutive frames, at least; default 300µs
	STmin   string        `yaml:"stmin"`   // STmin byte it asks of the tester in its flow control; default 00
	BS      string        `yaml:"bs"`      // block size byte it asks of the tester; default 00
	Padding *string       `yaml:"padding"` // overrides the vehicle's

	MaxPIDs int    `yaml:"max_pids"` // PIDs it takes per request, default 6
	OverMax string `yaml:"over_max"` // what it does with more: "silent" (default), "first" or a negative response code

	PIDs      map[string]string   `yaml:"pids"`      // service 01; bitmaps are computed
	Freeze    map[string]string   `yaml:"freeze"`    // service 02, frame 00; bitmaps are computed
	Monitors  map[string][]string `yaml:"monitors"`  // service 06: records after the repeated MID; bitmaps are computed
	InfoTypes map[string]string   `yaml:"infotypes"` // service 09, bytes after 49 TT; bitmaps are computed
	DTCs      *DTCs               `yaml:"dtcs"`      // services 03, 07, 0A
	DIDs      map[string]string   `yaml:"dids"`      // service 22
	MaxDIDs   int                 `yaml:"max_dids"`  // DIDs it takes per request, default 6; more is refused with 13
	UDSDTCs   *UDSDTCs            `yaml:"uds_dtcs"`  // service 19

	Answers []Rule `yaml:"answers"` // come before everything above; the first that matches decides
	Faults  Faults `yaml:"faults"`
}

// Address is a request/response pair of one ECU with the functional identifiers it listens to as well.
type Address struct {
	Request    string   `yaml:"request"`    // "7E0", "18DA10F1", extended addressing "6F1/60"
	Response   string   `yaml:"response"`   // "7E8", "18DAF110", "660/F1"
	Functional []string `yaml:"functional"` // "7DF", "18DB33F1", "6F1/DF"
	Only       []string `yaml:"only"`       // requests taken here ("22*"); empty = all
}

// DTCs are the two-byte codes of the classic services. A missing list is a service the ECU does not have.
type DTCs struct {
	Stored    []string `yaml:"stored"`
	Pending   []string `yaml:"pending"`
	Permanent []string `yaml:"permanent"`
}

// UDSDTCs are the three-byte codes of service 19.
type UDSDTCs struct {
	Availability string    `yaml:"availability"` // status availability mask, hex
	Format       string    `yaml:"format"`       // format byte of 19 01; default 01
	Codes        []UDSCode `yaml:"codes"`
}

// UDSCode is one three-byte code with what is stored about it.
type UDSCode struct {
	Code      string   `yaml:"code"`      // six hex digits
	Status    string   `yaml:"status"`    // two hex digits
	Snapshots []string `yaml:"snapshots"` // record number, number of DIDs, DID and data each
	Extended  []string `yaml:"extended"`  // record number, data
}

// Rule is an answer given by hand, or a behaviour in front of the generated one.
type Rule struct {
	Request  string         `yaml:"request"`  // hex, * at the end for any continuation
	Response string         `yaml:"response"` // one message
	Messages []string       `yaml:"messages"` // several messages (K-line, J1850)
	Negative string         `yaml:"negative"` // response code; the answer is 7F SID code, functional requests included
	Silent   bool           `yaml:"silent"`
	Pending  int            `yaml:"pending"` // 7F SID 78 this often before the answer; -1 = for ever
	Every    time.Duration  `yaml:"every"`   // between two of them; default 400ms
	Busy     int            `yaml:"busy"`    // the first n times this is asked: 7F SID 21; -1 = always
	Latency  *time.Duration `yaml:"latency"`
}

// Faults make an ECU speak wrongly. Only limits them to some requests.
type Faults struct {
	Only      []string `yaml:"only"`
	Cut       int      `yaml:"cut"`        // the message loses its last n bytes, at least service and id stay
	Extra     string   `yaml:"extra"`      // bytes added to the message
	Duplicate bool     `yaml:"duplicate"`  // every frame is sent twice
	Drop      int      `yaml:"drop"`       // this frame of a long answer is missing (1 = first consecutive frame)...
	DropTimes int      `yaml:"drop_times"` // ...the first n times the request is put; default 1
	DiesAfter int      `yaml:"dies_after"` // after n frames of a long answer the ECU is silent for ever
	Garbage   bool     `yaml:"garbage"`    // frames of the right identifier with arbitrary content
}

// Broadcast is a periodic frame.
type Broadcast struct {
	Name  string        `yaml:"name"`
	ID    string        `yaml:"id"`
	Every time.Duration `yaml:"every"`
	Data  string        `yaml:"data"`
}

// Canary is a personal value that the vehicle really sends somewhere.
type Canary struct {
	Name     string `yaml:"name"`
	Category string `yaml:"category"` // key of the category it belongs to
	Bytes    string `yaml:"bytes"`    // as it is on the bus
}
