package elm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
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

// Personality is an adapter as data: what it calls itself, what it can do, what it does wrongly.
type Personality struct {
	Name   string // "genuine-1.4b"
	Banner string // answer to ATZ and ATI
	Device string // answer to AT@1
	Level  Level
	Search []byte // protocols in the order an automatic search tries them

	Refuse []string // command patterns of its level that it answers with ?
	Accept []string // command patterns beyond its level that it knows

	Baud        int           // UART rate in bit/s after power-up; 0 = not bound by a UART (Wi-Fi)
	Latency     time.Duration // round trip of cable or radio, per command
	CommandTime time.Duration // own time for a command
	ResetTime   time.Duration // ATZ; ATWS takes a third
	LineChars   int           // longest line it takes

	Quirks Quirks
}

// Quirks are deviations from the genuine chip.
type Quirks struct {
	PrintPadding bool   // with headers on, single frames are printed with their filler bytes
	NoChecksum   bool   // K-line and J1850 messages are printed without checksum
	ResetOnSP    bool   // SP and TP switch CAF, S and AL back to their defaults
	DPN          string // constant answer to ATDPN
	IgnoreST     bool   // AT ST is accepted and does nothing
	LFAborts     bool   // a line feed counts as a character while busy
	RequestBytes int    // requests are cut to so many bytes, 0 = not
	WaitsFor78   bool   // after 7F xx 78 it waits for the final answer
	ResetNoise   string // bytes in front of the banner after ATZ
}

// ErrUnknown: there is no personality of that name; the error lists those there are.
var ErrUnknown = errors.New("no such adapter personality")

// canFirst is the search order of the simulated chips: the CAN buses of today's vehicles, then the older buses.
var canFirst = []byte{6, 7, 8, 9, 5, 4, 3, 1, 2}

// device is what genuine chips and most copies answer to AT@1.
const device = "OBDII to RS232 Interpreter"

var personalities = []Personality{
	{Name: "genuine-1.3a", Banner: "ELM327 v1.3a", Level: V13a},
	{Name: "genuine-1.4b", Banner: "ELM327 v1.4b", Level: V14b},
	{Name: "genuine-2.1", Banner: "ELM327 v2.1", Level: V21},
	{Name: "genuine-2.2", Banner: "ELM327 v2.2", Level: V22},
	// A good copy: the commands of 1.4, another name.
	{Name: "v1.5", Banner: "ELM327 v1.5", Level: V14, Refuse: []string{"CER hh"}, Quirks: Quirks{PrintPadding: true}},
	// A stripped copy: no user flow control, no 29-bit priority, no long filters; the newest name of all.
	{Name: "v2.1-stripped", Banner: "ELM327 v2.1", Level: V14,
		Refuse: []string{"SP 00", "NL", "RA hh", "SR hh", "BD", "CEA", "CEA hh", "CF hhhhhhhh", "CM hhhhhhhh", "CP hh", "CRA", "CS", "CV dddd",
			"FC SD *", "FC SH hhh", "FC SH hhhhhhhh", "FC SM d", "FE"},
		Quirks: Quirks{PrintPadding: true, ResetNoise: "\xFC"}},
	// An adapter on Wi-Fi: no UART in the way, a radio instead.
	{Name: "wifi-v1.5", Banner: "ELM327 v1.5", Level: V14, Latency: 10 * time.Millisecond, Quirks: Quirks{PrintPadding: true}},
}

// DefaultPersonality is the adapter that stands in when none is named: a genuine chip of the version most clients expect.
const DefaultPersonality = "genuine-1.4b"

// Names lists the personalities.
func Names() []string {
	var names []string
	for _, p := range personalities {
		names = append(names, p.Name)
	}
	return names
}

// ByName returns a personality; "" is DefaultPersonality.
func ByName(name string) (Personality, error) {
	if name == "" {
		name = DefaultPersonality
	}
	i := slices.IndexFunc(personalities, func(p Personality) bool { return p.Name == name })
	if i < 0 {
		return Personality{}, fmt.Errorf("%w as %q; there are %s", ErrUnknown, name, strings.Join(Names(), ", "))
	}
	return personalities[i].withDefaults(), nil
}

func (p Personality) withDefaults() Personality {
	if p.Device == "" {
		p.Device = device
	}
	if p.Search == nil {
		p.Search = canFirst
	}
	if p.Baud == 0 && p.Latency == 0 {
		p.Baud, p.Latency = 38400, time.Millisecond
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

// knows reports whether the adapter has a command.
func (p *Personality) knows(c *command) bool {
	if slices.Contains(p.Refuse, c.pattern) {
		return false
	}
	return p.Level >= c.since || slices.Contains(p.Accept, c.pattern)
}
