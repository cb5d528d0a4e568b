// Package dbc reads .dbc files and decodes broadcast frames with them, exactly: no clamping, no rounding, floats as
// floats, big and little endian, signed, multiplexed (extended multiplexing included), 29-bit identifiers, CAN FD.
//
// Privacy is an attribute of a signal, in the file itself:
//
//	BA_DEF_ SG_ "PrivacyClass" ENUM "personal","technical";   what nobody marked is personal, whatever the default says
//	BA_DEF_ SG_ "PrivacyCategory" STRING;                     category of the policy: condition, movement, location …
//	BA_DEF_ SG_ "PrivacyBasis" STRING;                        the reason, for people
//	BA_DEF_ SG_ "VssPath" STRING;                             the same quantity in the COVESA Vehicle Signal Specification
//
// The parser is our own: the one of go.einride.tech/can drops the line after an unknown section, rejects extended
// multiplexing (m0M), attributes that no BA_DEF_ declares and units that are not UTF-8 ("°C" in Latin-1), all of which
// real files have. It serves as a second opinion in the tests.
package dbc

import (
	"embed"
	"fmt"
	"sync"
)

// Database holds messages by identifier. It is read-only once built and safe for concurrent use.
type Database struct {
	Version  string
	messages []*Message
	std      [2048]*Message
	ext      map[uint32]*Message
	names    map[string]*Message
	Unknown  []Attribute // attributes of other tools, kept as written
}

// Attribute is a BA_ line this package has no use for.
type Attribute struct {
	Name, Object, Value string // Object is "", or the object as written: "SG_ 1001 Speed"
}

// Message is one frame of a bus.
type Message struct {
	ID       uint32
	Extended bool
	Name     string
	Length   int // bytes
	Sender   string
	Comment  string
	Signals  []*Signal

	muxed bool
}

// FloatKind says whether a signal's bits are an IEEE 754 number (SIG_VALTYPE_).
type FloatKind uint8

const (
	Integer FloatKind = iota
	Float32
	Float64
)

// Privacy is what a file says about a signal.
type Privacy struct {
	Technical bool   // PrivacyClass technical; false is personal
	Explicit  bool   // the file has a PrivacyClass line for this signal
	Category  string // PrivacyCategory, "" when the file gives none
	Basis     string // PrivacyBasis
}

// Signal is one value inside a message.
type Signal struct {
	Name      string
	Unit      string
	Start     int // as written: least significant bit, or most significant with BigEndian
	Size      int // bits, 1..64
	BigEndian bool
	Signed    bool
	Float     FloatKind
	Factor    string // as written
	Offset    string
	Min, Max  string // as written; never applied to a value
	Comment   string
	Values    map[int64]string // VAL_
	Privacy   Privacy
	VSS       string // VssPath, "" when the file gives none
	Message   *Message

	Switch bool      // its value selects other signals
	Under  *Signal   // the switch that selects it, nil = always present
	When   []Range   // values of Under that select it
	Lost   bool      // multiplexed by a switch the file does not name: never decoded, personal
	first  int       // position of the most significant bit, counted from the first byte's most significant bit (big endian)
	scale  scale     // factor and offset as integers
	bytes  [2]int    // first and last byte it touches
	bits   [64]uint8 // which bits of which byte
}

// Range is a closed interval of switch values.
type Range struct{ From, To uint64 }

// Messages returns all messages in the order of the files. The slice is the database's: do not change it.
func (d *Database) Messages() []*Message { return d.messages }

// Lookup returns the message with an identifier, nil when there is none. It does not allocate.
func (d *Database) Lookup(id uint32, extended bool) *Message {
	if extended {
		return d.ext[id]
	}
	if id < uint32(len(d.std)) {
		return d.std[id]
	}
	return nil
}

// Named returns the message with a name, nil when there is none.
func (d *Database) Named(name string) *Message { return d.names[name] }

// Signal returns a signal of the message by name, nil when there is none.
func (m *Message) Signal(name string) *Signal {
	for _, s := range m.Signals {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Multiplexed reports whether which signals are present depends on the content.
func (m *Message) Multiplexed() bool { return m.muxed }

// Bits returns which bits of byte i belong to the signal.
func (s *Signal) Bits(i int) uint8 {
	if i < 0 || i >= len(s.bits) {
		return 0
	}
	return s.bits[i]
}

// Bytes returns the first and last byte the signal touches.
func (s *Signal) Bytes() (first, last int) { return s.bytes[0], s.bytes[1] }

// Key is the reading key of the signal: dbc.MESSAGE.SIGNAL.
func (s *Signal) Key() string { return "dbc." + s.Message.Name + "." + s.Name }

// Merge puts databases together; two messages with one identifier, or one name, are an error.
func Merge(dbs ...*Database) (*Database, error) {
	out := &Database{ext: map[uint32]*Message{}, names: map[string]*Message{}}
	for _, d := range dbs {
		for _, m := range d.messages {
			if err := out.add(m); err != nil {
				return nil, fmt.Errorf("dbc: %w", err)
			}
		}
		out.Unknown = append(out.Unknown, d.Unknown...)
		if out.Version == "" {
			out.Version = d.Version
		}
	}
	return out, nil
}

func (d *Database) add(m *Message) error {
	if o := d.Lookup(m.ID, m.Extended); o != nil {
		return fmt.Errorf("messages %s and %s have the same identifier %X", o.Name, m.Name, m.ID)
	}
	if d.names[m.Name] != nil {
		return fmt.Errorf("two messages are called %s", m.Name)
	}
	if m.Extended {
		d.ext[m.ID] = m
	} else {
		d.std[m.ID] = m
	}
	d.names[m.Name] = m
	d.messages = append(d.messages, m)
	return nil
}

//go:embed *.dbc
var files embed.FS

var embedded = sync.OnceValues(func() (*Database, error) {
	var dbs []*Database
	for _, name := range []string{"obd2.dbc", "broadcast.dbc"} {
		b, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("dbc: %w", err)
		}
		d, err := Parse(name, b)
		if err != nil {
			return nil, err
		}
		dbs = append(dbs, d)
	}
	return Merge(dbs...)
})

// Embedded returns the database that ships with the program: the OBD-II identifiers and a broadcast database of an
// invented maker. The error is a fault of the build.
func Embedded() (*Database, error) { return embedded() }
