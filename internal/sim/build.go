package sim

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"obdgate/internal/frame"
)

// ecu is an ECU ready to run: its description with every byte value read, and its state.
type ecu struct {
	spec   *ECU
	paths  []*path
	source byte
	legacy bool
	stmin  byte
	bs     byte
	pad    byte
	short  bool // frames are not padded

	pids, freeze, infotypes map[byte][]byte
	monitors                map[byte][][]byte
	dids                    map[uint16][]byte
	stored                  []byte // codes, two bytes each
	pending                 []byte
	permanent               []byte
	available, format       byte
	codes                   []udsCode
	rules                   []rule
	only                    []pattern
	extra                   []byte

	asked map[string]int // how often a request was put, for busy and drop
	dead  bool
	rnd   *rand.Rand
}

type udsCode struct {
	code      [3]byte
	status    byte
	snapshots [][]byte
	extended  [][]byte
}

type rule struct {
	*Rule
	on       pattern
	messages [][]byte
	negative byte
}

// path is one address pair of an ECU with its transport state.
type path struct {
	rx         address // physical request
	tx         address // answers
	functional []address
	only       []pattern
	in         receiver
	out        sender
}

func (v *Vehicle) buildECU(s *ECU, n int) (*ecu, error) {
	e := &ecu{spec: s, legacy: v.spec.Bus.Protocol != "can", asked: map[string]int{}, rnd: rand.New(rand.NewPCG(uint64(n), 0x5EED))}
	if s.Name == "" {
		return nil, at("$.name", errors.New("an ECU needs a name"))
	}
	if s.Latency == 0 {
		s.Latency = 10 * time.Millisecond
	}
	if s.Gap == 0 {
		s.Gap = 300 * time.Microsecond
	}
	if s.MaxPIDs == 0 {
		s.MaxPIDs = 6
	}
	if s.MaxDIDs == 0 {
		s.MaxDIDs = 6
	}
	if s.OverMax == "" {
		s.OverMax = "silent"
	}
	if e.legacy {
		s.MaxPIDs = 1
	}
	pad := s.Padding
	if pad == nil {
		pad = v.spec.Padding
	}
	var err error
	if e.pad, e.short, err = v.padding(pad); err != nil {
		return nil, err
	}
	if e.stmin, err = oneByte(s.STmin, "00"); err != nil {
		return nil, at("$.stmin", err)
	}
	if e.bs, err = oneByte(s.BS, "00"); err != nil {
		return nil, at("$.bs", err)
	}
	if _, err := oneByte(s.OverMax, ""); err != nil && s.OverMax != "silent" && s.OverMax != "first" {
		return nil, at("$.over_max", fmt.Errorf(`%q: "silent", "first" or a negative response code`, s.OverMax))
	}
	for _, step := range []func(*ecu, string) error{(*ecu).buildAddresses, (*ecu).buildTables, (*ecu).buildDTCs, (*ecu).buildRules} {
		if err := step(e, v.spec.VIN); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *ecu) buildAddresses(string) error {
	if e.legacy {
		b, err := oneByte(e.spec.Source, "")
		e.source = b
		return at("$.source", err)
	}
	if len(e.spec.Addresses) == 0 {
		return at("$.addresses", errors.New("an ECU on CAN needs a request/response pair"))
	}
	for i, a := range e.spec.Addresses {
		var p path
		place := fmt.Sprintf("$.addresses[%d]", i)
		var err error
		if p.rx, err = parseAddress(a.Request); err != nil {
			return at(place+".request", err)
		}
		if p.tx, err = parseAddress(a.Response); err != nil {
			return at(place+".response", err)
		}
		if p.rx.ext != p.tx.ext {
			return at(place, errors.New("request and response must both have an address byte, or neither"))
		}
		for j, f := range a.Functional {
			fa, err := parseAddress(f)
			if err != nil || fa.ext != p.rx.ext {
				return at(fmt.Sprintf("%s.functional[%d]", place, j), fmt.Errorf("%q does not fit the pair", f))
			}
			p.functional = append(p.functional, fa)
		}
		if p.only, err = parsePatterns(a.Only); err != nil {
			return at(place+".only", err)
		}
		e.paths = append(e.paths, &p)
	}
	return nil
}

func (e *ecu) buildTables(vin string) error {
	for _, t := range []struct {
		name string
		from map[string]string
		to   *map[byte][]byte
	}{{"pids", e.spec.PIDs, &e.pids}, {"freeze", e.spec.Freeze, &e.freeze}, {"infotypes", e.spec.InfoTypes, &e.infotypes}} {
		if t.from == nil {
			continue
		}
		*t.to = map[byte][]byte{}
		for k, s := range t.from {
			id, err := oneByte(k, "")
			if err != nil {
				return at("$."+t.name, fmt.Errorf("key %w, in quotes", err))
			}
			b, err := literal(s, vin)
			if err != nil || len(b) == 0 {
				return at("$."+t.name+"."+k, because("bytes are needed", err))
			}
			(*t.to)[id] = b
		}
	}
	if e.spec.Monitors != nil {
		e.monitors = map[byte][][]byte{}
	}
	for k, list := range e.spec.Monitors {
		id, err := oneByte(k, "")
		if err != nil {
			return at("$.monitors", fmt.Errorf("key %w, in quotes", err))
		}
		for i, s := range list {
			b, err := literal(s, vin)
			if err != nil || len(b) != 8 {
				return at(fmt.Sprintf("$.monitors.%s[%d]", k, i), errors.New("a record is TID, UASID and three two-byte numbers"))
			}
			e.monitors[id] = append(e.monitors[id], b)
		}
	}
	if e.spec.DIDs != nil {
		e.dids = map[uint16][]byte{}
	}
	for k, s := range e.spec.DIDs {
		id, err := strconv.ParseUint(k, 16, 16)
		if err != nil || len(k) != 4 {
			return at("$.dids", fmt.Errorf("key %q: four hex digits, in quotes", k))
		}
		if e.dids[uint16(id)], err = literal(s, vin); err != nil {
			return at("$.dids."+k, err)
		}
	}
	return nil
}

func (e *ecu) buildDTCs(vin string) error {
	if d := e.spec.DTCs; d != nil {
		for _, l := range []struct {
			name string
			from []string
			to   *[]byte
		}{{"stored", d.Stored, &e.stored}, {"pending", d.Pending, &e.pending}, {"permanent", d.Permanent, &e.permanent}} {
			if l.from == nil {
				continue
			}
			*l.to = []byte{}
			for i, c := range l.from {
				b, err := code(c)
				if err != nil {
					return at(fmt.Sprintf("$.dtcs.%s[%d]", l.name, i), err)
				}
				*l.to = append(*l.to, b...)
			}
		}
	}
	u := e.spec.UDSDTCs
	if u == nil {
		return nil
	}
	var err error
	if e.available, err = oneByte(u.Availability, "FF"); err != nil {
		return at("$.uds_dtcs.availability", err)
	}
	if e.format, err = oneByte(u.Format, "01"); err != nil {
		return at("$.uds_dtcs.format", err)
	}
	for i, c := range u.Codes {
		place := fmt.Sprintf("$.uds_dtcs.codes[%d]", i)
		var out udsCode
		b, err := hex.DecodeString(c.Code)
		if err != nil || len(b) != 3 {
			return at(place+".code", fmt.Errorf("%q: six hex digits", c.Code))
		}
		copy(out.code[:], b)
		if out.status, err = oneByte(c.Status, ""); err != nil {
			return at(place+".status", err)
		}
		for j, s := range slices.Concat(c.Snapshots, c.Extended) {
			b, err := literal(s, vin)
			if err != nil || len(b) < 2 {
				return at(place, because(fmt.Sprintf("record %d: a number and data", j), err))
			}
			if j < len(c.Snapshots) {
				out.snapshots = append(out.snapshots, b)
			} else {
				out.extended = append(out.extended, b)
			}
		}
		e.codes = append(e.codes, out)
	}
	return nil
}

func (e *ecu) buildRules(vin string) error {
	for i := range e.spec.Answers {
		r := &e.spec.Answers[i]
		place := fmt.Sprintf("$.answers[%d]", i)
		if r.Every == 0 {
			r.Every = 400 * time.Millisecond
		}
		out := rule{Rule: r}
		var err error
		if out.on, err = parsePattern(r.Request); err != nil || len(out.on.prefix) == 0 && !out.on.open {
			return at(place+".request", because("which request?", err))
		}
		messages := r.Messages
		if r.Response != "" {
			messages = append([]string{r.Response}, messages...)
		}
		for _, s := range messages {
			b, err := literal(s, vin)
			if err != nil || len(b) == 0 || len(b) > maxMessage {
				return at(place, because(fmt.Sprintf("a response has 1 to %d bytes", maxMessage), err))
			}
			out.messages = append(out.messages, b)
		}
		if r.Negative != "" {
			if out.negative, err = oneByte(r.Negative, ""); err != nil {
				return at(place+".negative", err)
			}
		}
		e.rules = append(e.rules, out)
	}
	f := &e.spec.Faults
	if f.Drop > 0 && f.DropTimes == 0 {
		f.DropTimes = 1
	}
	var err error
	if e.only, err = parsePatterns(f.Only); err != nil {
		return at("$.faults.only", err)
	}
	if e.extra, err = literal(f.Extra, vin); err != nil {
		return at("$.faults.extra", err)
	}
	return nil
}

// periodic is a broadcast frame ready to be sent.
type periodic struct {
	frame frame.Frame
	every time.Duration
}

func buildBroadcast(b Broadcast, vin string) (*periodic, error) {
	a, err := parseAddress(b.ID)
	if err != nil || strings.Contains(b.ID, "/") {
		return nil, at("$.id", because(fmt.Sprintf("%q is no identifier", b.ID), err))
	}
	data, err := literal(b.Data, vin)
	if err != nil || len(data) > 8 {
		return nil, at("$.data", because("up to eight bytes", err))
	}
	if b.Every < time.Millisecond {
		return nil, at("$.every", errors.New("at least 1ms"))
	}
	return &periodic{frame.New(a.id, a.flags(), data...), b.Every}, nil
}

func (a address) flags() frame.Flags {
	if a.extended {
		return frame.Extended
	}
	return 0
}
