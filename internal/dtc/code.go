// Package dtc holds trouble codes: their formats, status, text in four languages, and the joining of what several
// services say of one fault. Pure: no I/O beyond the embedded tables, no clock; safe for concurrent use.
package dtc

import (
	"errors"
	"fmt"
	"strings"

	"obdgate/internal/reading"
)

// Format says how the bytes of a code are read. The zero value is no format.
type Format uint8

const (
	J2012    Format = 1 + iota // two bytes, SAE J2012 / ISO 15031-6: P0301
	J2012FTB                   // three bytes, the third is the failure type (ISO 14229, J2012-DA): P0301-11
	Hex                        // three bytes numbered freely by the maker (BMW, MINI): CD9628
)

// String is the name in documents: "J2012", "J2012-FTB", "hex".
func (f Format) String() string {
	return [...]string{"", "J2012", "J2012-FTB", "hex"}[min(f, Hex)]
}

// Code is one trouble code. N holds the bytes as sent: 16 bits for J2012, 24 for the others. The zero value is no code.
// Code is comparable: the same fault in two ECUs has the same Code.
type Code struct {
	N      uint32
	Format Format
}

// ErrCode marks text that is no trouble code.
var ErrCode = errors.New("not a trouble code: P0301, P0301-11 or six hexadecimal digits")

// New2 is the two-byte code of services 02, 03, 07, 0A.
func New2(hi, lo byte) Code { return Code{uint32(hi)<<8 | uint32(lo), J2012} }

// New3 is the three-byte code of services 19 and 18, read with a failure type byte.
func New3(hi, mid, lo byte) Code {
	return Code{uint32(hi)<<16 | uint32(mid)<<8 | uint32(lo), J2012FTB}
}

// AsHex returns the code as makers with their own numbering show it; two-byte codes stay what they are.
func (c Code) AsHex() Code {
	if c.Format == J2012FTB {
		c.Format = Hex
	}
	return c
}

// base is the two-byte part that J2012 describes.
func (c Code) base() uint16 {
	if c.Format == J2012 {
		return uint16(c.N)
	}
	return uint16(c.N >> 8)
}

// FailureType is the third byte of a three-byte code; ok is false for other formats.
func (c Code) FailureType() (b byte, ok bool) { return byte(c.N), c.Format == J2012FTB }

// Base is the code without its failure type: "P0301"; "" for Hex and the zero Code.
func (c Code) Base() string {
	if c.Format != J2012 && c.Format != J2012FTB {
		return ""
	}
	b := c.base()
	return fmt.Sprintf("%c%d%03X", "PCBU"[b>>14], b>>12&3, b&0xFFF)
}

// String is the text people know: "P0301", "C1678-9A", "CD9628"; "" for the zero Code.
func (c Code) String() string {
	switch c.Format {
	case J2012:
		return c.Base()
	case J2012FTB:
		return fmt.Sprintf("%s-%02X", c.Base(), byte(c.N))
	case Hex:
		return fmt.Sprintf("%06X", c.N&0xFFFFFF)
	}
	return ""
}

// Parse is the mirror of String. Lower case is accepted. Other text is ErrCode.
func Parse(s string) (Code, error) {
	s = strings.ToUpper(strings.TrimSpace(s))
	if len(s) == 6 && strings.IndexByte("0123456789ABCDEF", s[0]) >= 0 {
		n, ok := hexDigits(s)
		if !ok {
			return Code{}, ErrCode
		}
		return Code{n, Hex}, nil
	}
	if len(s) != 5 && (len(s) != 8 || s[5] != '-') {
		return Code{}, ErrCode
	}
	letter := strings.IndexByte("PCBU", s[0])
	if letter < 0 || s[1] < '0' || s[1] > '3' {
		return Code{}, ErrCode
	}
	n, ok := hexDigits(s[1:5])
	if !ok {
		return Code{}, ErrCode
	}
	c := Code{uint32(letter)<<14 | n, J2012}
	if len(s) == 8 {
		ftb, ok := hexDigits(s[6:])
		if !ok {
			return Code{}, ErrCode
		}
		c = Code{c.N<<8 | ftb, J2012FTB}
	}
	return c, nil
}

func hexDigits(s string) (n uint32, ok bool) {
	for i := range len(s) {
		d := strings.IndexByte("0123456789ABCDEF", s[i])
		if d < 0 {
			return 0, false
		}
		n = n<<4 | uint32(d)
	}
	return n, true
}

// Generic reports whether the standard, not the maker, gives this code its meaning: P0, P2, P34..P3F, U0, U3, B0, B3,
// C0, C3.
func (c Code) Generic() bool {
	b := c.base()
	if c.Format != J2012 && c.Format != J2012FTB {
		return false
	}
	digit := b >> 12 & 3
	if b>>14 == 0 { // P
		return digit == 0 || digit == 2 || digit == 3 && b>>8&0xF >= 4
	}
	return digit == 0 || digit == 3
}

// Status is the ISO 14229-1 status byte of a code (annex D.2).
type Status byte

const (
	TestFailed             Status = 1 << iota // failing now
	TestFailedThisCycle                       // failed in this operation cycle
	Pending                                   // failed in this or the last cycle
	Confirmed                                 // stored
	NotCompletedSinceClear                    // test not run since the memory was cleared
	FailedSinceClear                          // failed at least once since then
	NotCompletedThisCycle                     // test not run in this cycle
	WarningRequested                          // asks for the lamp
)

var statusNames = [8]string{"test failed", "test failed this cycle", "pending", "confirmed", "not completed since clear", "failed since clear", "not completed this cycle", "warning indicator requested"}

// Names lists the bits that are set, in English, from bit 0 up.
func (s Status) Names() []string {
	var out []string
	for i, n := range statusNames {
		if s>>i&1 == 1 {
			out = append(out, n)
		}
	}
	return out
}

// Severity is the severity byte of a code in 19 42 (ISO 14229-1 annex D.3): what to do in the upper three bits, the class of
// the world harmonised OBD (GTR 5) in the lower five.
type Severity byte

// What a severity asks for; several may be set, the most urgent counts.
const (
	MaintenanceOnly  Severity = 0x20
	CheckAtNextHalt  Severity = 0x40
	CheckImmediately Severity = 0x80
)

// Urgency is what is asked for in one word: "check-immediately", "check-at-next-halt", "maintenance", "" for nothing said.
func (s Severity) Urgency() string {
	switch {
	case s&CheckImmediately != 0:
		return "check-immediately"
	case s&CheckAtNextHalt != 0:
		return "check-at-next-halt"
	case s&MaintenanceOnly != 0:
		return "maintenance"
	}
	return ""
}

// Class is the class of GTR 5: "A", "B1", "B2", "C", "" for none or no class.
func (s Severity) Class() string {
	for i, name := range []string{"A", "B1", "B2", "C"} {
		if s>>(i+1)&1 == 1 {
			return name
		}
	}
	return ""
}

// Keys of the readings that carry codes.
const (
	KeyStored    reading.Key = "obd.dtc.stored"
	KeyPending   reading.Key = "obd.dtc.pending"
	KeyPermanent reading.Key = "obd.dtc.permanent"
	KeyKWP       reading.Key = "kwp.18.dtc" // Code.N is the two bytes and the status byte
)

// KeyUDS is the key of a code that report sub of service 19 gave ("uds.19.02.dtc"); its Code.N is the three bytes and the
// status byte.
func KeyUDS(sub byte) reading.Key { return reading.Key(fmt.Sprintf("uds.19.%02X.dtc", sub)) }

// Reading2 is the reading of a two-byte code under one of the obd.dtc keys. raw is copied.
func Reading2(key reading.Key, c Code, raw ...byte) reading.Reading {
	return reading.Reading{Key: key, Name: "Trouble code, " + strings.TrimPrefix(string(key), "obd.dtc."),
		Value: reading.Code{N: uint64(c.N), Label: c.String()}, Raw: append([]byte(nil), raw...)}
}

// Reading3 is the reading of a code with its status byte. raw is copied.
func Reading3(key reading.Key, c Code, s Status, raw ...byte) reading.Reading {
	return reading.Reading{Key: key, Name: "Trouble code with status",
		Value: reading.Code{N: uint64(c.N)<<8 | uint64(s), Label: c.String()}, Raw: append([]byte(nil), raw...)}
}
