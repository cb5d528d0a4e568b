package elm

import (
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
)

// Level is the version of genuine firmware whose command set an adapter has. Order matters: a later level has all of the
// earlier ones.
type Level int

// Levels of genuine ELM327 firmware (version table in ELM327 AT Commands, Elm Electronics).
const (
	V10 Level = iota
	V11
	V12
	V13
	V13a
	V14
	V14b
	V20
	V21
	V22
	V23
)

var levels = [...]string{"1.0", "1.1", "1.2", "1.3", "1.3a", "1.4", "1.4b", "2.0", "2.1", "2.2", "2.3"}

// UnmarshalText reads "1.4b".
func (l *Level) UnmarshalText(text []byte) error {
	i := slices.Index(levels[:], string(text))
	if i < 0 {
		return fmt.Errorf("no level %q; there are %s", text, strings.Join(levels[:], ", "))
	}
	*l = Level(i)
	return nil
}

// Personality is an adapter as data: what it calls itself, what it can do, what it does wrongly.
type Personality struct {
	Name   string   `yaml:"name"`   // "genuine-1.4b"
	Source string   `yaml:"source"` // where the behaviour was seen
	Banner string   `yaml:"banner"` // answer to ATZ and ATI
	Device string   `yaml:"device"` // answer to AT@1
	Level  Level    `yaml:"level"`
	Search Protocol `yaml:"search"` // protocols in the order an automatic search tries them

	Refuse []string `yaml:"refuse"` // command patterns of its level, or single commands, that it answers with ?
	Accept []string `yaml:"accept"` // command patterns beyond its level that it knows

	STN      string `yaml:"stn"`       // answer to STI; "" = no ST commands
	DeviceID string `yaml:"device_id"` // answer to STDI
	Maker    string `yaml:"maker"`     // answer to STMFR
	Serial   string `yaml:"serial"`    // answer to STSN
	VTI      string `yaml:"vti"`       // answer to VTI; "" = no VT commands
	Memory   int    `yaml:"memory"`    // longest request it can split, in bytes; 0 = one frame

	Baud        int           `yaml:"baud"`         // UART rate in bit/s after power-up; 0 = 38400
	NoUART      bool          `yaml:"no_uart"`      // characters cost nothing (Wi-Fi)
	Latency     time.Duration `yaml:"latency"`      // round trip of cable or radio, per command; 0 = 1 ms
	CommandTime time.Duration `yaml:"command_time"` // own time for a command; 0 = 2 ms
	ResetTime   time.Duration `yaml:"reset_time"`   // ATZ; ATWS takes a third; 0 = 900 ms
	LineChars   int           `yaml:"line_chars"`   // longest line it takes; 0 = 254
	LineFeed    bool          `yaml:"linefeed"`     // L1 after power-up
	EchoOff     bool          `yaml:"echo_off"`     // E0 after power-up

	Quirks Quirks `yaml:"quirks"`
}

// Protocol numbers in an order, one hex digit each in text.
type Protocol []byte

// UnmarshalText reads "6879".
func (p *Protocol) UnmarshalText(text []byte) error {
	for _, c := range string(text) {
		n := strings.IndexRune("123456789ABC", c)
		if n < 0 {
			return fmt.Errorf("no protocol %q", c)
		}
		*p = append(*p, byte(n+1))
	}
	return nil
}

// Octets are bytes written in hex.
type Octets []byte

// UnmarshalText reads "30000A".
func (o *Octets) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

// Quirks are deviations from the genuine chip.
type Quirks struct {
	PrintPadding   bool          `yaml:"print_padding"`    // with headers on, single frames are printed with their filler bytes
	NoChecksum     bool          `yaml:"no_checksum"`      // K-line and J1850 messages are printed without checksum
	ResetOnSP      bool          `yaml:"reset_on_sp"`      // SP and TP switch CAF, S and AL back to their defaults
	DPN            string        `yaml:"dpn"`              // constant answer to ATDPN
	IgnoreST       bool          `yaml:"ignore_st"`        // AT ST is accepted and does nothing
	IgnoreAdaptive bool          `yaml:"ignore_adaptive"`  // AT AT is accepted; every answer is waited for as long as ST says
	LFAborts       bool          `yaml:"lf_aborts"`        // a line feed counts as a character while busy
	LineFeedStuck  bool          `yaml:"linefeed_stuck"`   // L0 is accepted and does nothing
	RequestBytes   int           `yaml:"request_bytes"`    // requests are cut to so many bytes, 0 = not
	RequestLimit   int           `yaml:"request_limit"`    // requests of more bytes are answered with ?, 0 = as the chip
	DigitMax       int           `yaml:"digit_max"`        // highest count digit understood, 0 = F
	WaitsFor78     bool          `yaml:"waits_for_78"`     // after 7F xx 78 it waits for the final answer
	ResetNoise     Octets        `yaml:"reset_noise"`      // bytes in front of the banner after ATZ
	DefaultsEcho   string        `yaml:"defaults_echo"`    // what comes in place of the echo of ATD and its OK
	FlowMode2Dead  bool          `yaml:"flow_mode_2_dead"` // with FC SM 2 no flow control is sent
	FlowData       Octets        `yaml:"flow_data"`        // its own flow control in place of 30 00 00
	NoLengthLines  bool          `yaml:"no_length_lines"`  // with headers off, long answers come without length and numbers
	DropOnReset    []string      `yaml:"drop_on_reset"`    // resets, "Z" and "WS", that end the link
	Restart        time.Duration `yaml:"restart"`          // how long a dropped link takes to come back
	LocksOn        []string      `yaml:"locks_on"`         // AT commands after which it is silent until it loses power
	MuteOn         []string      `yaml:"mute_on"`          // AT commands it does not answer at all
	PlainPairs     bool          `yaml:"plain_pairs"`      // STCFCPA under extended addressing takes identifiers without address byte
	CountsLines    bool          `yaml:"counts_lines"`     // r: of STPX counts lines, not whole answers
	Locked         bool          `yaml:"locked"`           // it sends nothing to the vehicle for a program it does not know
}

// ErrUnknown: there is no personality or fault of that name; the error lists those there are.
var ErrUnknown = errors.New("no such name")

// canFirst is the search order of the simulated chips: the CAN buses of today's vehicles, then the older buses.
var canFirst = Protocol{6, 7, 8, 9, 5, 4, 3, 1, 2}

// device is what genuine chips and most copies answer to AT@1.
const device = "OBDII to RS232 Interpreter"

//go:embed personalities.yaml
var personalityFile []byte

// personalities is the embedded list. It is part of the program: one that cannot be read is a fault of the build, which a
// test keeps away, and leaves an empty list.
var personalities = sync.OnceValues(func() ([]Personality, error) {
	var all []Personality
	if err := yaml.UnmarshalWithOptions(personalityFile, &all, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("personalities.yaml: %w", err)
	}
	for i := range all {
		all[i] = all[i].withDefaults()
	}
	return all, nil
})

// DefaultPersonality is the adapter that stands in when none is named: a genuine chip of the version most clients expect.
const DefaultPersonality = "genuine-1.4b"

// Names lists the personalities.
func Names() []string {
	var names []string
	all, _ := personalities()
	for _, p := range all {
		names = append(names, p.Name)
	}
	return names
}

// ByName returns a personality; "" is DefaultPersonality.
func ByName(name string) (Personality, error) {
	if name == "" {
		name = DefaultPersonality
	}
	all, err := personalities()
	if err != nil {
		return Personality{}, err
	}
	i := slices.IndexFunc(all, func(p Personality) bool { return p.Name == name })
	if i < 0 {
		return Personality{}, fmt.Errorf("adapter %q: %w; there are %s", name, ErrUnknown, strings.Join(Names(), ", "))
	}
	return all[i], nil
}

// Reaches reports whether the adapter has a protocol of this kind at all: 11 or 29 for CAN with identifiers of so many
// bits, 0 for K-line and J1850.
func (p *Personality) Reaches(bits int) bool {
	if p.Quirks.Locked {
		return false
	}
	return slices.ContainsFunc(p.Search, func(n byte) bool {
		switch n {
		case 6, 8, 0x0B, 0x0C:
			return bits == 11
		case 7, 9:
			return bits == 29
		}
		return bits == 0
	})
}

func (p Personality) withDefaults() Personality {
	if p.Device == "" {
		p.Device = device
	}
	if p.Search == nil {
		p.Search = canFirst
	}
	if p.NoUART {
		p.Baud = 0
	} else if p.Baud == 0 {
		p.Baud = 38400
	}
	if p.Latency == 0 {
		p.Latency = time.Millisecond
	}
	if p.CommandTime == 0 {
		p.CommandTime = 2 * time.Millisecond
	}
	if p.ResetTime == 0 {
		p.ResetTime = 900 * time.Millisecond
	}
	if p.LineChars == 0 {
		p.LineChars = 254
	}
	return p
}

// knows reports whether the adapter has a command; text is what was typed.
func (p *Personality) knows(c *command, text string) bool {
	for _, r := range p.Refuse {
		if r == c.pattern || strings.ReplaceAll(r, " ", "") == text {
			return false
		}
	}
	return p.Level >= c.since || slices.Contains(p.Accept, c.pattern)
}
