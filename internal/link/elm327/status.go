package elm327

import (
	"bytes"

	"obdgate/internal/link"
)

// Status is a word an adapter says instead of, or beside, data. The texts are those of the ELM327 and STN manuals and of
// copies; see the table below.
type Status uint8

const (
	NoStatus        Status = iota // the line is data, or nothing known
	NotUnderstood                 // "?"
	OK                            // command taken (or so a copy says)
	NoData                        // nothing, or only filtered frames, within the timeout: not a fault
	Searching                     // protocol search runs, the answer may take seconds
	BusInit                       // K-line initialisation runs or has worked
	BusInitError                  // K-line initialisation failed
	UnableToConnect               // no protocol worked
	BusError                      // line level not as driven: short or open
	BusBusy                       // no idle bus in time
	CANError                      // no acknowledgement, wrong bit rate or bus off
	FeedbackError                 // own pulse not seen back
	DataError                     // the whole message is malformed
	LineDataError                 // this line failed its check
	LineRXError                   // the controller saw a damaged frame
	BufferFull                    // the reply is incomplete from here on
	Stopped                       // a character arrived while the adapter was busy
	LowVoltageReset               // supply dip: the adapter has forgotten all settings
	Banner                        // "ELM327 v..": on a request it says that the adapter was reset
	ActivityAlert                 // it will sleep in a minute
	LowPowerAlert                 // it will sleep in two seconds
	CANFatal                      // ERR94: the controller failed and the adapter reset itself
	Internal                      // ERRxx, or an ERROR with no other word
	FlowTimeout                   // STN: no flow control from the ECU
	OutOfMemory                   // STN: message or filter too big
	Overflow                      // STN: we sent too fast
	DataPrompt                    // "DATA>": STPX wants its data; not the idle prompt
	statusCount
)

// row is what is known of one status: the words that mean it (upper case, without spaces), whether they may stand behind
// data in the same line, whether the adapter is gone back to its defaults, and the link error it comes to when repeating
// the request did not help (nil = none).
type row struct {
	words []string
	reset bool
	err   error
	hint  string
}

const (
	hintIgnition = "switch the ignition on, check that the plug sits firmly, then try again"
	hintWiring   = "check the plug, the cable and the fuse of the diagnostic socket"
	hintSupply   = "the adapter loses its supply for moments: check the plug and the vehicle's battery"
)

// statuses is searched in order, so longer words stand before those they contain.
var statuses = [statusCount]row{
	LineDataError:   {words: []string{"<DATAERROR"}, err: link.ErrGarbled},
	LineRXError:     {words: []string{"<RXERROR"}, err: link.ErrGarbled, hint: hintWiring},
	BufferFull:      {words: []string{"BUFFERFULL"}, err: link.ErrGarbled, hint: "the connection to the adapter is too slow for this answer"},
	NoData:          {words: []string{"NODATA"}},
	UnableToConnect: {words: []string{"NABLETO"}, err: link.ErrNoVehicle, hint: hintIgnition},
	BusInitError:    {words: []string{"BUSINIT:ERROR", "BUSINIT:...ERROR", "BUSINIT:..ERROR", "BUSINIT...ERROR"}, err: link.ErrNoVehicle, hint: hintIgnition},
	CANError:        {words: []string{"CANERROR"}, err: link.ErrBus, hint: hintWiring},
	BusError:        {words: []string{"BUSERROR"}, err: link.ErrBus, hint: hintWiring},
	BusBusy:         {words: []string{"BUSBUSY"}, err: link.ErrBus, hint: "another tester may be at work; unplug it, or " + hintWiring},
	FeedbackError:   {words: []string{"FBERROR"}, err: link.ErrBus, hint: hintWiring},
	DataError:       {words: []string{"DATAERROR"}, err: link.ErrGarbled},
	Stopped:         {words: []string{"STOPPED"}, err: link.ErrGarbled, hint: "another program may use the same adapter"},
	LowVoltageReset: {words: []string{"LVRESET"}, reset: true, err: link.ErrGarbled, hint: hintSupply},
	Banner:          {words: []string{"ELM327"}, reset: true, err: link.ErrGarbled, hint: hintSupply},
	ActivityAlert:   {words: []string{"ACTALERT"}},
	LowPowerAlert:   {words: []string{"LPALERT"}},
	FlowTimeout:     {words: []string{"FCRXTIMEOUT"}, err: link.ErrGarbled},
	OutOfMemory:     {words: []string{"OUTOFMEMORY"}, err: link.ErrUnsupported},
	Overflow:        {words: []string{"UARTRXOVERFLOW"}, err: link.ErrGarbled},
	CANFatal:        {words: []string{"ERR94"}, reset: true, err: link.ErrBus, hint: "unplug the adapter, wait five seconds and plug it in again"},
	Searching:       {words: []string{"SEARCHING"}},
	BusInit:         {words: []string{"BUSINIT"}},
	Internal:        {words: []string{"ERROR", "ERR"}, err: link.ErrBus, hint: "unplug the adapter, wait five seconds and plug it in again"},
}

// order is the order in which the words are looked for.
var order = [...]Status{LineDataError, LineRXError, BufferFull, NoData, UnableToConnect, BusInitError, CANError, BusError,
	BusBusy, FeedbackError, DataError, Stopped, LowVoltageReset, Banner, ActivityAlert, LowPowerAlert, FlowTimeout,
	OutOfMemory, Overflow, CANFatal, Searching, BusInit, Internal}

var names = [statusCount]string{"data", "?", "OK", "NO DATA", "SEARCHING", "BUS INIT", "BUS INIT: ERROR",
	"UNABLE TO CONNECT", "BUS ERROR", "BUS BUSY", "CAN ERROR", "FB ERROR", "DATA ERROR", "<DATA ERROR", "<RX ERROR",
	"BUFFER FULL", "STOPPED", "LV RESET", "restart", "ACT ALERT", "LP ALERT", "ERR94", "internal error", "FC RX TIMEOUT",
	"OUT OF MEMORY", "UART RX OVERFLOW", "DATA>"}

// String is the text as the adapter prints it.
func (s Status) String() string {
	if int(s) < len(names) {
		return names[s]
	}
	return "?"
}

// statusSet is a set of Status.
type statusSet uint32

func (s statusSet) has(x Status) bool     { return s>>x&1 != 0 }
func (s *statusSet) add(x Status)         { *s |= 1 << x }
func (s *statusSet) remove(x Status)      { *s &^= 1 << x }
func (s statusSet) any(xs ...Status) bool { return s&setOf(xs...) != 0 }

func setOf(xs ...Status) (s statusSet) {
	for _, x := range xs {
		s.add(x)
	}
	return s
}

// reset reports whether the adapter has gone back to its defaults.
func (s statusSet) reset() bool {
	for i := range statuses {
		if statuses[i].reset && s.has(Status(i)) {
			return true
		}
	}
	return false
}

// worst returns the first status in the set that stands for a fault, in the order of the table, and NoStatus for none.
func (s statusSet) worst() Status {
	for _, x := range order {
		if s.has(x) && statuses[x].err != nil {
			return x
		}
	}
	return NoStatus
}

// maxStatusText is how much of a line, without spaces, is looked at for a status. Data of one frame and a status behind
// it fit.
const maxStatusText = 96

// Classify says what a line is. Data (hex digits and spaces, maybe behind SEARCHING... or BUS INIT: OK) is returned as
// data, a part of line; a line that is damaged, or is about damage, has none. NoStatus without data is a line of neither
// kind: junk, or the text of an AT answer. line must be free of control characters, as Splitter delivers it. Classify
// allocates nothing.
func Classify(line []byte) (s Status, data []byte) {
	text := -1 // last character that is not data
	for i := len(line) - 1; i >= 0; i-- {
		if c := line[i]; c != ' ' && !isHex(c) {
			text = i
			break
		}
	}
	if text < 0 {
		return NoStatus, bytes.TrimSpace(line)
	}
	if len(line) == 1 && line[0] == '?' {
		return NotUnderstood, nil
	}
	var buf [maxStatusText]byte
	n := 0
	for _, c := range line {
		if c != ' ' && n < len(buf) {
			buf[n] = upper(c)
			n++
		}
	}
	squeezed := buf[:n]
	switch string(squeezed) {
	case "OK":
		return OK, nil
	case "?":
		return NotUnderstood, nil
	case "DATA":
		return DataPrompt, nil
	}
	for _, s := range order {
		for _, w := range statuses[s].words {
			if !contains(squeezed, w) {
				continue
			}
			if s == Searching || s == BusInit {
				return s, bytes.TrimSpace(line[text+1:])
			}
			if s == Internal && w == "ERR" && !isErrNumber(squeezed) {
				continue
			}
			return s, nil
		}
	}
	return NoStatus, nil
}

// contains is bytes.Contains without the conversion of w.
func contains(b []byte, w string) bool {
	for i := 0; i+len(w) <= len(b); i++ {
		if string(b[i:i+len(w)]) == w {
			return true
		}
	}
	return false
}

// isErrNumber: "ERR" and two digits.
func isErrNumber(b []byte) bool {
	return len(b) == 5 && string(b[:3]) == "ERR" && isHex(b[3]) && isHex(b[4])
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || upper(c) >= 'A' && upper(c) <= 'F' }

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}
