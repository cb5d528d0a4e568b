package diag

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

// Kind is how a vehicle wants to be asked (SAE J1979, J1979-2).
type Kind string

const (
	Classic  Kind = "classic"  // services 01..0A
	OBDonUDS Kind = "obdonuds" // 22 F4xx, F8xx and 19 instead
	Dual     Kind = "dual"     // both; classic is used
	UDSOnly  Kind = "uds-only" // answers UDS, but has no emission ECU, or a gateway hides it
)

// Bus is a vehicle that was found.
type Bus struct {
	// Protocol for people. Where the link does not know the bit rate it is the usual one.
	Protocol   string
	Functional Target          // asks everybody
	ECUs       []isotp.Address // that answered, in the order they did
	Kind       Kind
	Heard      map[string][]Answer // answers to the questions of the search, by payload: they need not be asked again
}

var (
	askPIDs     = []byte{0x01, 0x00}
	askProtocol = []byte{0x22, 0xF8, 0x10}
	askUDSPIDs  = []byte{0x22, 0xF4, 0x00}
	askVIN      = []byte{0x22, 0xF1, 0x90}

	// Of the other order, which older recordings have, two characters lost on the way to an adapter leave an order of service 2F.
	askBoth      = []byte{0x22, 0xF4, 0x00, 0xF8, 0x10}
	askBothOlder = []byte{0x22, 0xF8, 0x10, 0xF4, 0x00}
)

// Find looks for the vehicle: 01 00 with 11-bit identifiers, then with 29-bit ones; the UDS questions that only newer
// vehicles answer on both; at last the buses before CAN, if the link has them. Any answer, a refusal included, proves a
// bus; on it Find learns the kind, where a vehicle speaks the classic services not yet whether it speaks the newer one as
// well: see Newer. Silence everywhere is link.ErrNoVehicle, a fault of the bus link.ErrBus; both are in a *link.Error with a
// hint. Other errors of the link end the search.
func (c *Conn) Find(ctx context.Context) (Bus, error) {
	if err := c.lock(ctx); err != nil {
		return Bus{}, err
	}
	defer func() { c.turn <- struct{}{} }()
	s := search{conn: c, heard: map[string][]Answer{}, asked: map[probed]bool{}}
	can := []Target{Functional11, Functional29}
	if caps := c.link.Caps(); caps.IDBits == 29 && !caps.Instant { // found before
		slices.Reverse(can)
	}
	for _, to := range can {
		if found, err := s.probe(ctx, to, askPIDs); err != nil || found {
			return s.bus(ctx, err)
		}
	}
	for _, to := range can {
		for _, payload := range [][]byte{askProtocol, askUDSPIDs, askVIN} {
			if found, err := s.probe(ctx, to, payload); err != nil || found {
				return s.bus(ctx, err)
			}
		}
	}
	for _, to := range legacyTargets(c.link.Caps()) {
		if found, err := s.probe(ctx, to, askPIDs); err != nil || found {
			return s.bus(ctx, err)
		}
	}
	if caps := c.link.Caps(); !caps.HalfDuplex && !caps.Instant && s.fault == nil {
		// A bare bus repeats nothing by itself: that one frame was lost must not mean that there is no vehicle.
		for range findAgain {
			for _, to := range can {
				if found, err := s.probe(ctx, to, askPIDs); err != nil || found {
					return s.bus(ctx, err)
				}
			}
		}
	}
	return Bus{}, s.nobody()
}

// findAgain is how often the first question is put again on a bus on which nobody answers.
const findAgain = 3

// legacyTargets are the headers to try. An adapter that looks for the bus puts the right one in by itself.
func legacyTargets(caps link.Caps) []Target {
	switch {
	case caps.LegacyBus:
		return []Target{FunctionalLegacy}
	case caps.Legacy:
		return []Target{FunctionalLegacy, FunctionalKWP, FunctionalPWM}
	}
	return nil
}

type probed struct {
	id      uint32
	payload string
}

// search is one run of Find.
type search struct {
	conn    *Conn
	target  Target
	ecus    []isotp.Address
	classic bool // 41 was heard
	uds     bool // 62 to an OBDonUDS question was heard
	heard   map[string][]Answer
	asked   map[probed]bool
	fault   error
}

// Something was said, but damaged on the way: that bus is the right one, and it is asked again before another is tried.
const (
	damageAgain = 3               // times
	damageLimit = 5 * time.Second // and no longer than this: what never ends is no answer
)

// probe asks one question. Silence, a bus that does not work and a frame that the link cannot send are no errors here.
func (s *search) probe(ctx context.Context, to Target, payload []byte) (bool, error) {
	began := s.conn.now()
	for again := 0; ; again++ {
		found, err := s.once(ctx, to, payload)
		if found || !errors.Is(err, link.ErrGarbled) {
			return found, err
		}
		if again == damageAgain || s.conn.now()-began > damageLimit {
			s.fault = err
			return false, nil
		}
	}
}

// once is probe without the second chance; only what was damaged is an error of link.ErrGarbled.
func (s *search) once(ctx context.Context, to Target, payload []byte) (bool, error) {
	q, err := ask(payload)
	if err != nil {
		return false, err
	}
	s.asked[probed{to.ID, string(payload)}] = true
	frames := 0
	if to.IsPhysical {
		frames = 1 // a refusal, in nearly all cars; more is asked for again
	}
	answers, err := s.conn.request(ctx, q, Request{To: to, Payload: payload, Frames: frames}, true)
	for _, a := range answers {
		s.hear(a, to, payload)
	}
	if len(answers) > 0 {
		s.heard[string(payload)] = answers
	}
	switch {
	case len(answers) > 0 && (err == nil || errors.Is(err, link.ErrGarbled)):
		return true, nil
	case errors.Is(err, link.ErrBus):
		s.fault = err
		return false, nil
	case errors.Is(err, link.ErrNoVehicle), errors.Is(err, link.ErrUnsupported), errors.Is(err, link.ErrUnrecorded):
		return false, nil
	}
	return false, err
}

// hear learns from an answer who is there and what he speaks.
func (s *search) hear(a Answer, to Target, payload []byte) {
	if len(s.ecus) == 0 {
		s.target = to
		if !a.Addr.Legacy && a.Addr.Extended29 != to.Extended {
			s.target = Functional11 // the adapter chose the identifiers
			if a.Addr.Extended29 {
				s.target = Functional29
			}
		}
	}
	known := false
	for _, e := range s.ecus {
		known = known || e == a.Addr
	}
	if !known {
		s.ecus = append(s.ecus, a.Addr)
	}
	if a.Err == nil {
		s.classic = s.classic || payload[0] == 0x01
		s.uds = s.uds || payload[0] == 0x22 && payload[1] != 0xF1
	}
}

// bus completes what is known once somebody has answered.
func (s *search) bus(ctx context.Context, err error) (Bus, error) {
	if err != nil {
		return Bus{}, err
	}
	if err := s.second(ctx); err != nil {
		return Bus{}, err
	}
	b := Bus{Protocol: s.conn.link.Caps().Protocol, Functional: s.target, ECUs: s.ecus, Heard: s.heard}
	switch {
	case s.classic && s.uds:
		b.Kind = Dual
	case s.uds:
		b.Kind = OBDonUDS
	case s.classic, s.target.Legacy:
		b.Kind = Classic
	default:
		b.Kind = UDSOnly
	}
	if b.Protocol == "" {
		b.Protocol = protocol(s.target)
	}
	s.conn.log.Debug("vehicle found", "protocol", b.Protocol, "kind", string(b.Kind), "ecus", len(b.ECUs))
	return b, nil
}

// second asks for the newer language on a bus where nobody has spoken the classic one.
//
// A vehicle that was found by another question than the first may have lost that one or its answers. Taken for one that
// does not speak the classic language, it would never be asked in it; so it gets that question again.
func (s *search) second(ctx context.Context) error {
	if caps := s.conn.link.Caps(); !s.target.Legacy && !caps.HalfDuplex && !caps.Instant {
		for tries := 0; !s.classic && (tries == 0 || tries == 1 && !s.uds); tries++ {
			if _, refused := s.heard[string(askPIDs)]; refused {
				break
			}
			if _, err := s.probe(ctx, s.target, askPIDs); err != nil {
				return err
			}
		}
	}
	if s.target.Legacy || s.uds || s.classic {
		return nil
	}
	return s.everybody(ctx)
}

// everybody asks all for the newer language, in each way that was not tried on this bus.
func (s *search) everybody(ctx context.Context) error {
	for _, payload := range [][]byte{askProtocol, askUDSPIDs} {
		if s.asked[probed{s.target.ID, string(payload)}] {
			continue
		}
		if found, err := s.probe(ctx, s.target, payload); err != nil || found && s.uds {
			return err
		}
	}
	return nil
}

// Newer asks a vehicle that Find found to speak the classic services whether it speaks the newer language as well, and
// returns b with what that told. Of any other vehicle it is known already.
//
// One ECU is asked, by itself: a vehicle speaks one language on all its emission ECUs (SAE J1979-2), so one of them can say
// which, and a physical question is refused at once where a functional one would draw silence from every classic car (ISO
// 14229-1: no negative answers to functional questions) and cost two windows of waiting. Only if it speaks both, everybody is
// asked: others may speak the newer one alone.
func (c *Conn) Newer(ctx context.Context, b Bus) (Bus, error) {
	if b.Kind != Classic || b.Functional.Legacy {
		return b, nil
	}
	if err := c.lock(ctx); err != nil {
		return b, err
	}
	defer func() { c.turn <- struct{}{} }()
	s := search{conn: c, target: b.Functional, ecus: slices.Clone(b.ECUs), classic: true, heard: maps.Clone(b.Heard), asked: map[probed]bool{}}
	classic := slices.DeleteFunc(slices.Clone(b.Heard[string(askPIDs)]), func(a Answer) bool { return a.Err != nil })
	if len(classic) == 0 {
		return b, nil
	}
	one := Physical(slices.MinFunc(classic, func(x, y Answer) int { return cmp.Compare(x.Addr.Rx, y.Addr.Rx) }).Addr)
	both := askBoth
	found, err := s.probe(ctx, one, both)
	if !found && err == nil && c.link.Caps().Instant {
		both = askBothOlder
		found, err = s.probe(ctx, one, both)
	}
	if refusal := (*Negative)(nil); found && errors.As(s.heard[string(both)][0].Err, &refusal) && refusal.Code == nrcLength {
		_, err = s.probe(ctx, one, askProtocol) // takes one identifier at a time
	}
	if err == nil && s.uds {
		err = s.everybody(ctx)
	}
	b.ECUs, b.Heard = s.ecus, s.heard
	if s.uds {
		b.Kind = Dual
	}
	return b, err
}

func protocol(t Target) string {
	switch {
	case t.Legacy:
		return "K-line or J1850"
	case t.Extended:
		return "ISO 15765-4 CAN 29/500"
	}
	return "ISO 15765-4 CAN 11/500"
}

// nobody is the error when no question was answered.
func (s *search) nobody() error {
	where := s.conn.link.Caps().Adapter
	if where == "" {
		where = "the diagnostic socket"
	}
	if s.fault != nil {
		return &link.Error{Op: "find", URI: where, Err: s.fault,
			Hint: "check that the plug sits firmly and that no other tester is connected, then try again"}
	}
	return &link.Error{Op: "find", URI: where, Err: fmt.Errorf("%w on any bus", link.ErrNoVehicle),
		Hint: "switch the ignition on (engine may be off), check that the plug sits firmly, and try again"}
}
