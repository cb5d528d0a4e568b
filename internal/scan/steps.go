package scan

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"obdgate/internal/diag"
	"obdgate/internal/dtc"
	"obdgate/internal/obd"
	"obdgate/internal/reading"
)

// readSupport asks what each ECU has. What Find already heard is not asked again.
func (r *reader) readSupport(ctx context.Context) error {
	if r.onlyUDS() {
		return r.readDIDSupport(ctx)
	}
	for _, sid := range []byte{0x01, 0x09} {
		if err := r.support(ctx, sid); err != nil {
			return err
		}
	}
	return r.welcome(ctx)
}

// welcome asks what those have who were first heard after the bus was found: their answer then has been lost.
func (r *reader) welcome(ctx context.Context) error {
	late := r.having(func(e *ecu) bool { return !e.known })
	for _, e := range late {
		e.known = true
		for _, sid := range []byte{0x01, 0x09} {
			if r.have(e, sid, 0x00) {
				continue
			}
			q := diag.Request{To: r.physical(e), Payload: []byte{sid, 0x00}, Expect: 1}
			answers, err := r.put(ctx, q, []*ecu{e}, probable)
			if err != nil {
				return err
			}
			r.takeSupport(sid, q.Payload, slices.DeleteFunc(answers, func(a answer) bool { return a.ecu != e }))
		}
	}
	if len(late) == 0 {
		return nil
	}
	return r.furtherBitmaps(ctx)
}

// support asks a service's bitmaps: the first of everyone, the others of those that announce them.
func (r *reader) support(ctx context.Context, sid byte) error {
	if sid == 0x09 {
		return r.typeSupport(ctx)
	}
	first := []byte{sid, 0x00}
	found, heard := r.bus.Heard[string(first)]
	answers := r.decoded(first, found)
	if !heard {
		var err error
		if answers, err = r.put(ctx, diag.Request{To: r.bus.Functional, Payload: first, Expect: len(r.ecus)}, r.ecus, probable); err != nil {
			return err
		}
	}
	for _, a := range answers {
		a.ecu.known = true
	}
	r.takeSupport(sid, first, answers)
	return r.furtherBitmaps(ctx)
}

// typeSupport asks everybody for the bitmap of service 09, and no further one: types past 20 are all consumption, 09 20 itself
// would be such a question. Who stays silent is asked again when it is visited, at once only where nobody has a VIN to give.
func (r *reader) typeSupport(ctx context.Context) error {
	payload := []byte{0x09, 0x00}
	take := func(answers []answer) { r.takeSupport(0x09, payload, answers) }
	answers, err := r.ask(ctx, diag.Request{To: r.bus.Functional, Payload: payload, Expect: len(r.ecus), Retried: true})
	if err != nil {
		return err
	}
	take(answers)
	later := len(r.having(func(e *ecu) bool { return e.types.Has(0x02) })) > 0
	for _, e := range slices.Clone(r.ecus) {
		if spoke(answers, e) {
			e.silent = 0
			continue
		}
		e.owed = append(e.owed, owed{payload, take, true})
		if later {
			continue
		}
		if err := r.settle(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// furtherBitmaps asks service 01's other bitmaps, several in one question where the bus allows it (J1979).
func (r *reader) furtherBitmaps(ctx context.Context) error {
	if !r.bus.Functional.Legacy {
		if err := r.moreBitmaps(ctx, []byte{0x20, 0x40, 0x60, 0x80, 0xA0, 0xC0}); err != nil {
			return err
		}
	}
	for base := 0x20; base <= 0xE0; base += 0x20 {
		if err := r.moreBitmaps(ctx, []byte{byte(base)}); err != nil {
			return err
		}
	}
	return nil
}

// moreBitmaps asks bitmaps of the ECUs that announce the first of them and have not answered it yet.
func (r *reader) moreBitmaps(ctx context.Context, bases []byte) error {
	combined := len(bases) > 1
	who := r.having(func(e *ecu) bool {
		return e.pids.Has(bases[0]) && !r.have(e, 0x01, bases[0]) && !(combined && e.alone)
	})
	if len(who) == 0 {
		return nil
	}
	q := r.target(who)
	q.Payload = append([]byte{0x01}, bases...)
	c := certain
	if combined { // a refusal of the combination is no loss: each is asked alone next
		c = unknown
	}
	answers, err := r.put(ctx, q, who, c)
	if err != nil {
		return err
	}
	if combined {
		for _, e := range who {
			e.joint = answered(answers, e)
			e.alone = !e.joint
		}
		answers = slices.DeleteFunc(answers, func(a answer) bool { return !obd.Usable(a.err) })
	}
	r.takeSupport(0x01, q.Payload, answers)
	return nil
}

func (r *reader) takeSupport(sid byte, req []byte, answers []answer) {
	r.keep(req, answers, never)
	for _, a := range answers {
		set := &a.ecu.pids
		if sid == 0x09 {
			set = &a.ecu.types
		}
		*set = set.Union(obd.Supported(sid, a.readings))
	}
}

// have reports whether an ECU already gave service sid's id.
func (r *reader) have(e *ecu, sid, id byte) bool {
	return slices.ContainsFunc(r.s.Readings, func(v reading.Reading) bool {
		return v.ECU == e.label && len(v.Raw) > 1 && v.Raw[0] == sid|0x40 && v.Raw[1] == id
	})
}

// readCodes asks stored, pending and permanent trouble codes of everyone. Permanent ones are not required outside the
// US: silence there is normal.
func (r *reader) readCodes(ctx context.Context) error {
	if r.onlyUDS() {
		return r.readUDSCodes(ctx)
	}
	who := r.having(func(e *ecu) bool { return e.pids.Len() > 0 })
	for _, sid := range []byte{0x03, 0x07, 0x0A} {
		c := certain
		if sid == 0x0A || sid == 0x07 && r.bus.Functional.Legacy {
			c = probable
		}
		q := diag.Request{To: r.bus.Functional, Payload: []byte{sid}, Expect: len(r.ecus)}
		if sid == 0x03 {
			q.Expect = 0 // the second chance to be heard: everybody answers this, and gets the whole window
		} else if r.fewCodes() {
			q.Frames = len(r.ecus)
		}
		answers, err := r.put(ctx, q, who, c)
		if err != nil {
			return err
		}
		r.keep(q.Payload, answers, func(*ecu) bool { return sid == 0x03 })
	}
	return r.welcome(ctx)
}

// fewCodes: no ECU has more stored codes than fit one frame, two (SAE J1979). Pending and permanent ones are then rarely more;
// where they are, the question is put twice.
func (r *reader) fewCodes() bool {
	n := map[string]int{}
	for _, v := range r.s.Readings {
		if v.Key == dtc.KeyStored {
			if n[v.ECU]++; n[v.ECU] > 2 {
				return false
			}
		}
	}
	return !r.bus.Functional.Legacy
}

func spoke(answers []answer, e *ecu) bool {
	return slices.ContainsFunc(answers, func(a answer) bool { return a.ecu == e })
}

// quickPIDs are what a quick plan asks of service 01: readiness, standard, run time, distances, supply voltage, fuel type,
// odometer.
var quickPIDs = []byte{0x01, 0x1C, 0x1F, 0x21, 0x31, 0x41, 0x42, 0x4D, 0x4E, 0x51, 0xA6}

// readValues asks the PIDs of everybody, up to six in one question on CAN. An ECU that does not answer a combination
// whole is asked one by one for what is missing. What only one ECU has waits for its visit.
func (r *reader) readValues(ctx context.Context) error {
	if r.onlyUDS() {
		return nil
	}
	var all obd.Set
	for _, e := range r.ecus {
		all = all.Union(e.pids)
	}
	var want obd.Set
	for _, id := range all.IDs() {
		if !obd.IsBitmap(id) && (r.o.Plan.Depth() == Full || slices.Contains(quickPIDs, id)) {
			want.Add(id)
		}
	}
	for _, payload := range obd.Plan(want, r.together()) {
		who := r.having(func(e *ecu) bool { return hasAny(e.pids, payload[1:]) })
		if len(who) == 1 && !r.bus.Functional.Legacy {
			who[0].own = append(who[0].own, payload)
			continue
		}
		if err := r.batch(ctx, payload); err != nil {
			return err
		}
	}
	return nil
}

// together is how many PIDs one question may hold (SAE J1979: six on CAN, one on K-line and J1850).
func (r *reader) together() int {
	if r.bus.Functional.Legacy {
		return 1
	}
	return 6
}

// ownValues asks the PIDs that only e has.
func (r *reader) ownValues(ctx context.Context, e *ecu) error {
	if r.onlyUDS() {
		return r.ownDIDValues(ctx, e)
	}
	for _, payload := range e.own {
		if err := r.batch(ctx, payload); err != nil {
			return err
		}
	}
	return r.countCodes(ctx, e)
}

// countCodes compares the stored codes of e with the number it gives in 01 01. A K-line answer has no length: one lost
// message is a few codes less and looks whole.
func (r *reader) countCodes(ctx context.Context, e *ecu) error {
	stored := func(v reading.Reading) bool { return v.ECU == e.label && v.Key == dtc.KeyStored }
	count := 0
	for _, v := range r.s.Readings {
		if c, ok := v.Value.(reading.Quantity); ok && v.ECU == e.label && v.Key == "obd.01.01.dtc_count" {
			count, _ = strconv.Atoi(c.Round(0))
		}
	}
	have := number(r.s.Readings, stored)
	req := []byte{0x03}
	if have >= count || r.named(e, req) {
		return nil
	}
	answers, err := r.put(ctx, diag.Request{To: r.physical(e), Payload: req, Expect: 1}, []*ecu{e}, certain)
	if err != nil {
		return err
	}
	answers = slices.DeleteFunc(answers, func(a answer) bool { return a.ecu != e })
	if n := number(readingsOf(answers), stored); n > have {
		r.s.Readings = slices.DeleteFunc(r.s.Readings, stored)
		r.keep(req, answers, always)
		have = n
	}
	if have < count && !r.named(e, req) {
		r.missing(e.label, req, fmt.Errorf("%d trouble codes were read, the control unit counts %d", have, count), "scan again")
	}
	return nil
}

func number(rs []reading.Reading, is func(reading.Reading) bool) (n int) {
	for _, v := range rs {
		if is(v) {
			n++
		}
	}
	return n
}

// batch asks one combination of everyone who has some of it, then what is missing one by one.
func (r *reader) batch(ctx context.Context, payload []byte) error {
	combined := len(payload) > 2
	who := r.having(func(e *ecu) bool { return hasAny(e.pids, payload[1:]) && !(combined && e.alone) })
	refused := map[*ecu]bool{} // that single PID: asking again would not help
	if len(who) > 0 {
		q := r.target(who)
		q.Payload, q.Frames, q.Retried = payload, expectedFrames(who, payload), true
		answers, err := r.ask(ctx, q)
		if err != nil {
			return err
		}
		if combined {
			for _, e := range who {
				if e.joint && !spoke(answers, e) { // it can, so this one was lost
					again, err := r.insist(ctx, payload, e, probable, false)
					if err != nil {
						return err
					}
					answers = append(answers, again...)
				}
				e.joint = e.joint || answered(answers, e)
				e.alone = !answered(answers, e)
			}
			answers = slices.DeleteFunc(answers, func(a answer) bool { return !obd.Usable(a.err) })
		} else if answers, err = r.doubtEach(ctx, payload, who, answers); err != nil {
			return err
		}
		r.keep(payload, answers, func(e *ecu) bool { return hasAny(e.pids, payload[1:]) })
		for _, e := range who {
			refused[e] = !combined && spoke(answers, e)
		}
	}
	for _, e := range r.ecus {
		for _, id := range payload[1:] {
			if !e.pids.Has(id) || r.have(e, 0x01, id) || refused[e] {
				continue
			}
			if err := r.single(ctx, e, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// single asks one PID of one ECU.
func (r *reader) single(ctx context.Context, e *ecu, id byte) error {
	req := []byte{0x01, id}
	answers, err := r.ask(ctx, diag.Request{To: r.physical(e), Payload: req, Expect: 1})
	if err == nil {
		answers, err = r.doubt(ctx, req, e, answers)
	}
	if err != nil {
		return err
	}
	answers = slices.DeleteFunc(answers, func(a answer) bool { return a.ecu != e }) // K-line and J1850 ask everybody
	r.keep(req, answers, always)
	if len(answers) == 0 && !r.named(e, req) {
		r.missing(e.label, req, errSilent, "")
	}
	return nil
}

// physical is one ECU as a target; legacy buses are asked functionally, as J1979 does there.
func (r *reader) physical(e *ecu) diag.Target {
	if r.bus.Functional.Legacy {
		return r.bus.Functional
	}
	return diag.Physical(e.addr)
}

// named reports whether a failed question of an ECU, or of the whole link, stands in the errors already.
func (r *reader) named(e *ecu, req []byte) bool {
	for _, m := range r.s.Errors {
		if (m.ECU == e.label || m.ECU == "") && strings.EqualFold(m.Request, hex.EncodeToString(req)) {
			return true
		}
	}
	return false
}

func hasAny(s obd.Set, ids []byte) bool { return slices.ContainsFunc(ids, s.Has) }

// expectedFrames is how many CAN frames the answers to a service 01 question take, 0 when lengths that are not fixed make a
// difference.
func expectedFrames(who []*ecu, payload []byte) int {
	total := 0
	for _, e := range who {
		short, long := 1, 1
		for _, id := range payload[1:] {
			if !e.pids.Has(id) {
				continue
			}
			least, most, known := obd.Lengths(id)
			if !known {
				return 0
			}
			short, long = short+1+least, long+1+most
		}
		if framesOf(short) != framesOf(long) {
			return 0
		}
		total += framesOf(long)
	}
	return total
}

// mapFrames is how many frames one ECU's answer takes where it is a support map, else 0.
func mapFrames(payload []byte) int {
	switch {
	case len(payload) == 2 && (payload[0] == 0x01 || payload[0] == 0x06 || payload[0] == 0x09) && obd.IsBitmap(payload[1]),
		len(payload) == 3 && payload[0] == 0x02 && obd.IsBitmap(payload[1]):
		return 1
	}
	return 0
}

// framesOf is how many CAN frames a message of n bytes takes (ISO 15765-2: 7 bytes in a single frame, 6 in a first, 7 in each
// further one).
func framesOf(n int) int {
	if n > 7 {
		return 1 + (n-6+6)/7
	}
	return 1
}

// infoFrames is how many frames the answers to a question for an InfoType take, where SAE J1979 fixes their length, else 0:
// the VIN has 17 characters, the name of an ECU 20.
func (r *reader) infoFrames(id byte, who []*ecu) int {
	n := map[byte]int{0x02: 3 + 17, 0x0A: 3 + 20}[id]
	if n == 0 || r.bus.Functional.Legacy {
		return 0
	}
	return len(who) * framesOf(n)
}

// readSoftware asks calibration ids, their verification numbers, names and the other identification that several ECUs
// announce. Message counts (odd types up to 09, K-line only) carry nothing.
func (r *reader) readSoftware(ctx context.Context) error {
	if r.onlyUDS() {
		return nil
	}
	for _, id := range r.softwareTypes() {
		who := r.having(func(e *ecu) bool { return e.types.Has(id) })
		if len(who) < 2 && !r.bus.Functional.Legacy {
			continue
		}
		if err := r.software(ctx, id, who); err != nil {
			return err
		}
	}
	return nil
}

// ownSoftware asks what e announces and has not been asked for.
func (r *reader) ownSoftware(ctx context.Context, e *ecu) error {
	if r.onlyUDS() {
		return r.ownDIDSoftware(ctx, e)
	}
	for _, id := range r.softwareTypes() {
		if !e.types.Has(id) || r.have(e, 0x09, id) || r.named(e, []byte{0x09, id}) || r.bus.Functional.Legacy {
			continue
		}
		if err := r.software(ctx, id, []*ecu{e}); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) softwareTypes() []byte {
	var want obd.Set
	for _, e := range r.ecus {
		want = want.Union(e.types)
	}
	return slices.DeleteFunc(want.IDs(), func(id byte) bool {
		return obd.IsBitmap(id) || id == 0x02 || id < 0x0A && id%2 == 1 || obd.Elsewhere(id) || r.o.Plan.Depth() == Quick && id != 0x0A
	})
}

func (r *reader) software(ctx context.Context, id byte, who []*ecu) error {
	q := r.target(who)
	q.Payload, q.Frames = []byte{0x09, id}, r.infoFrames(id, who)
	answers, err := r.put(ctx, q, who, certain)
	if err != nil {
		return err
	}
	r.keep(q.Payload, answers, always)
	if id == 0x0A {
		takeNames(answers)
	}
	return nil
}

// takeNames gives the ECUs the names they answered with.
func takeNames(answers []answer) {
	for _, a := range answers {
		if len(a.readings) == 0 {
			continue
		}
		if name, ok := a.readings[0].Value.(reading.Text); ok {
			a.ecu.name = string(name)
		}
	}
}
