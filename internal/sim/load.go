package sim

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"obdgate/fixtures"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
)

// ErrVehicle marks a vehicle description that cannot be used; the error names file, line and reason.
var ErrVehicle = errors.New("vehicle file")

// ErrUnknown: there is no built-in vehicle of that name and no such file. The error lists the built-in ones.
var ErrUnknown = errors.New("no such vehicle")

// Names lists the built-in vehicles.
func Names() []string {
	entries, err := fs.ReadDir(fixtures.Vehicles(), ".")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Load makes a vehicle from a built-in name ("golf8") or the path of a YAML file. Each call gives a vehicle of its own, just
// powered up, without broadcast traffic.
func Load(nameOrPath string) (*Vehicle, error) {
	if slices.Contains(Names(), nameOrPath) {
		data, err := fs.ReadFile(fixtures.Vehicles(), nameOrPath+".yaml")
		if err != nil {
			return nil, err
		}
		return Parse(nameOrPath+".yaml", data)
	}
	if !strings.ContainsAny(nameOrPath, `/\.`) {
		return nil, fmt.Errorf("%w as %q; built in are %s", ErrUnknown, nameOrPath, strings.Join(Names(), ", "))
	}
	data, err := os.ReadFile(nameOrPath)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return Parse(filepath.Base(nameOrPath), data)
}

// Parse makes a vehicle from the text of a YAML file; file is its name in errors. Unknown fields, values that do not fit
// and addresses that no bus has are ErrVehicle with their line.
func Parse(file string, data []byte) (*Vehicle, error) {
	var s Spec
	if err := unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%w %s: %s", ErrVehicle, file, strings.TrimSpace(yaml.FormatError(err, false, true)))
	}
	v, err := build(s)
	if err == nil {
		return v, nil
	}
	var at *placeError
	if errors.As(err, &at) {
		return nil, fmt.Errorf("%w %s:%d: %w", ErrVehicle, file, lineOf(data, at.path), err)
	}
	return nil, fmt.Errorf("%w %s: %w", ErrVehicle, file, err)
}

// placeError ties a reason to a place in the file, written as a YAML path.
type placeError struct {
	path string
	err  error
}

func (e *placeError) Error() string { return strings.TrimPrefix(e.path, "$.") + ": " + e.err.Error() }
func (e *placeError) Unwrap() error { return e.err }

func at(path string, err error) error {
	if err == nil {
		return nil
	}
	return &placeError{path, err}
}

// because joins a sentence and, where there is one, its cause.
func because(what string, err error) error {
	if err == nil {
		return errors.New(what)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// unmarshal decodes strictly. The YAML library panics on some malformed files (a tag where a list should stand); that is a
// fault of the file.
func unmarshal(data []byte, s *Spec) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the file is not well-formed YAML")
		}
	}()
	return yaml.UnmarshalWithOptions(data, s, yaml.Strict())
}

// lineOf finds the line of a YAML path, or of its nearest ancestor that is in the file.
func lineOf(data []byte, path string) int {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return 1
	}
	for path != "$" {
		if p, err := yaml.PathString(path); err == nil {
			if node, err := p.FilterFile(file); err == nil && node != nil && node.GetToken() != nil {
				return node.GetToken().Position.Line
			}
		}
		cut := max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['))
		if cut <= 0 {
			break
		}
		path = path[:cut]
	}
	return 1
}

var protocols = []string{"can", "iso9141", "iso14230-slow", "iso14230-fast", "j1850-pwm", "j1850-vpw"}

// reVIN is the alphabet and length of ISO 3779.
var reVIN = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9A-HJ-NPR-Z]{17}$`) })

func build(s Spec) (*Vehicle, error) {
	if s.Name == "" {
		return nil, at("$.name", errors.New("a vehicle needs a name"))
	}
	if !reVIN().MatchString(s.VIN) {
		return nil, at("$.vin", errors.New("17 characters of 0-9 and A-Z without I, O, Q are needed"))
	}
	if s.Bus.Protocol == "" {
		s.Bus.Protocol = "can"
	}
	if !slices.Contains(protocols, s.Bus.Protocol) {
		return nil, at("$.bus.protocol", fmt.Errorf("%q is none of %s", s.Bus.Protocol, strings.Join(protocols, ", ")))
	}
	if s.Bus.Protocol == "can" {
		if s.Bus.Rate == 0 {
			s.Bus.Rate = 500000
		}
		if s.Bus.Bits != 11 && s.Bus.Bits != 29 {
			return nil, at("$.bus.bits", errors.New("11 or 29 is needed"))
		}
	}
	if s.Voltage == "" {
		s.Voltage = "12.6"
	}
	if n, err := strconv.ParseFloat(s.Voltage, 64); err != nil || n < 0 || n > 99.9 {
		return nil, at("$.voltage", fmt.Errorf("%q is no voltage", s.Voltage))
	}
	v := &Vehicle{spec: s}
	if len(s.ECUs) == 0 {
		return nil, at("$.ecus", errors.New("a vehicle needs at least one ECU"))
	}
	for i := range s.ECUs {
		e, err := v.buildECU(&v.spec.ECUs[i], i)
		if err != nil {
			return nil, prefixed(fmt.Sprintf("$.ecus[%d]", i), err)
		}
		v.ecus = append(v.ecus, e)
	}
	for i, b := range s.Broadcast {
		p, err := buildBroadcast(b, s.VIN)
		if err != nil {
			return nil, prefixed(fmt.Sprintf("$.broadcast[%d]", i), err)
		}
		v.broadcast = append(v.broadcast, p)
	}
	for i, c := range s.Canaries {
		if b, err := literal(c.Bytes, s.VIN); err != nil || len(b) < 2 || c.Name == "" || c.Category == "" {
			return nil, at(fmt.Sprintf("$.canaries[%d]", i), errors.New("name, category and at least two bytes are needed"))
		}
	}
	return v, nil
}

// prefixed puts the place of an element in front of the place inside it.
func prefixed(path string, err error) error {
	var in *placeError
	if errors.As(err, &in) {
		return &placeError{path + strings.TrimPrefix(in.path, "$"), in.err}
	}
	return &placeError{path, err}
}

func (v *Vehicle) padding(p *string) (pad byte, short bool, err error) {
	switch {
	case p == nil:
		return 0xAA, false, nil
	case *p == "none":
		return 0, true, nil
	}
	b, err := hex.DecodeString(*p)
	if err != nil || len(b) != 1 {
		return 0, false, at("$.padding", fmt.Errorf(`%q: one byte in hex, or "none"`, *p))
	}
	return b[0], false, nil
}

func oneByte(s, def string) (byte, error) {
	if s == "" {
		s = def
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 1 {
		return 0, fmt.Errorf("%q: one byte in hex", s)
	}
	return b[0], nil
}

// code reads "P0301" as its two bytes (SAE J2012: two bits of letter, two bits of first digit, three hex digits).
func code(s string) ([]byte, error) {
	letter := -1
	if s != "" {
		letter = strings.IndexByte("PCBU", s[0])
	}
	if len(s) == 5 && letter >= 0 && s[1] >= '0' && s[1] <= '3' {
		if n, err := strconv.ParseUint(s[1:], 16, 16); err == nil {
			n |= uint64(letter) << 14
			return []byte{byte(n >> 8), byte(n)}, nil
		}
	}
	return nil, fmt.Errorf("%q is no trouble code; P0301 is one", s)
}
