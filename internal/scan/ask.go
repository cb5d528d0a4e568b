package scan

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"obdgate/internal/decode"
	"obdgate/internal/diag"
	"obdgate/internal/link"
	"obdgate/internal/obd"
	"obdgate/internal/obfcm"
	"obdgate/internal/reading"
	"obdgate/internal/visit"
)

// maxFaults link faults in a row end a scan: the adapter or the bus is not coming back.
const maxFaults = 3

// errRefusedQuestion guards the promise behind the plan: it is a fault of this package when it is ever seen.
var errRefusedQuestion = errors.New("scan: a consumption question outside the plan was stopped before the bus")

// answer is what one ECU said, decoded.
type answer struct {
	ecu      *ecu
	readings []reading.Reading
	err      error // why readings are missing or not whole
}

// ask puts one question and decodes every answer. Faults of a single ECU are in the answers, a fault of the link that may
// pass is named; the error ends the scan. A question that everybody leaves unanswered gives no answers.
func (r *reader) ask(ctx context.Context, q diag.Request) ([]answer, error) {
	answers, fault, err := r.question(ctx, q)
	if fault != nil {
		r.missing("", q.Payload, fault, hintOf(fault))
	}
	return answers, err
}

func (r *reader) question(ctx context.Context, q diag.Request) (answers []answer, fault, err error) {
	if obfcm.IsOBFCM(q.Payload) {
		if err := r.stillAgreed(ctx, q.Payload); err != nil {
			return nil, nil, err
		}
	}
	got, err := r.request(ctx, q)
	switch {
	case err == nil:
		r.faults = 0
	case ctx.Err() != nil, errors.Is(err, link.ErrGone), errors.Is(err, link.ErrClosed):
		return nil, nil, err
	case r.newer[string(q.Payload)] && errors.Is(err, link.ErrUnrecorded):
		return nil, nil, nil
	case errors.Is(err, link.ErrUnrecorded), errors.Is(err, link.ErrUnsupported): // of this question alone
		fault = err
		r.unrecorded = r.unrecorded || errors.Is(err, link.ErrUnrecorded)
	default:
		if r.lane == nil || !r.faulted {
			r.faults++ // one fault of the link, told to all who were asked at once
		}
		if r.faulted = true; r.faults >= maxFaults {
			return nil, nil, err
		}
		fault = err
	}
	return r.decoded(q.Payload, got), fault, nil
}

// decoded decodes every ECU's answer to a question.
func (r *reader) decoded(req []byte, got []diag.Answer) []answer {
	out := make([]answer, 0, len(got))
	for _, a := range got {
		e := r.ecu(a.Addr)
		if r.used == nil {
			r.used = map[string]int{}
		}
		r.used[a.Addr.ECU()] += len(a.From)
		one := answer{ecu: e, err: a.Err}
		if req[0] == 0x22 {
			e.learnDIDs(a.Err)
		}
		if a.Err == nil {
			one.readings, one.err = r.answerOf(req, a)
			for i := range one.readings {
				one.readings[i].ECU, one.readings[i].From = e.label, a.From
			}
		}
		out = append(out, one)
	}
	return out
}

// claim is what an ECU said about a question before it was put.
type claim int

const (
	unknown  claim = iota // it may well lack it: silence is an answer
	probable              // it should say something, were it a refusal
	certain               // it announced it: silence is named
)

// maxSilence is how often in a row an ECU may leave questions unanswered before it is not asked a second time any more.
const maxSilence = 3

// put asks q of the ECUs meant, and once more each that stays silent: one lost frame must not make a control unit look as
// if it had nothing to say.
func (r *reader) put(ctx context.Context, q diag.Request, who []*ecu, c claim) ([]answer, error) {
	q.Retried = c != unknown
	answers, err := r.ask(ctx, q)
	if err != nil || c == unknown {
		return answers, err
	}
	for _, e := range who {
		again, err := r.insist(ctx, q.Payload, e, c, spoke(answers, e))
		if err != nil {
			return answers, err
		}
		answers = append(answers, again...)
		if c == certain {
			if answers, err = r.doubt(ctx, q.Payload, e, answers); err != nil {
				return answers, err
			}
		}
	}
	return answers, nil
}

// doubt puts a question once more to an ECU that refused what it ought to have, or answered another, where a question may be
// damaged on its way: a refusal does not say to what. One of the whole service does.
func (r *reader) doubt(ctx context.Context, payload []byte, e *ecu, answers []answer) ([]answer, error) {
	code, refused := refusal(answers, e)
	if !r.readdressed || !refused && !mistaken(answers, e) || refused && (code == nrcNoService || code == nrcNoServiceHere) {
		return answers, nil
	}
	again, _, err := r.question(ctx, diag.Request{To: r.physical(e), Payload: payload, Expect: 1, Frames: mapFrames(payload)})
	if err != nil {
		return answers, err
	}
	if _, refused = refusal(again, e); refused || mistaken(again, e) || !spoke(again, e) {
		return answers, nil
	}
	answers = slices.DeleteFunc(answers, func(a answer) bool { return a.ecu == e })
	return append(answers, slices.DeleteFunc(again, func(a answer) bool { return a.ecu != e })...), nil
}

// doubtEach is doubt for each of who.
func (r *reader) doubtEach(ctx context.Context, payload []byte, who []*ecu, answers []answer) (_ []answer, err error) {
	for _, e := range who {
		if answers, err = r.doubt(ctx, payload, e, answers); err != nil {
			return answers, err
		}
	}
	return answers, nil
}

// insist puts a question once more to an ECU that has not spoken, by itself.
func (r *reader) insist(ctx context.Context, payload []byte, e *ecu, c claim, has bool) (answers []answer, err error) {
	if !has && e.silent < maxSilence {
		again, fault, err := r.question(ctx, diag.Request{To: r.physical(e), Payload: payload, Expect: 1, Frames: mapFrames(payload)})
		if err != nil {
			return nil, err
		}
		if fault != nil && !errors.Is(fault, link.ErrUnrecorded) { // an older recording does not have the second time
			r.missing("", payload, fault, hintOf(fault))
		}
		answers = slices.DeleteFunc(again, func(a answer) bool { return a.ecu != e })
		has = len(answers) > 0
	}
	if e.silent++; has {
		e.silent = 0
	} else if c == certain && !r.named(e, payload) {
		r.missing(e.label, payload, errSilent, "scan again; if it stays, the control unit or its wiring is faulty")
	}
	return answers, nil
}

// owed is a question for the visit of an ECU: it left it unanswered when everybody was asked, or it is the only one.
type owed struct {
	payload []byte
	take    func([]answer)
	asked   bool
}

// offer puts a question to those of whom it is not known whether they have something to say. Many will not, and to a
// functional question silence says so (ISO 14229-1): those who ought to have it, by what else they say, are asked again when
// they are visited.
func (r *reader) offer(ctx context.Context, payload []byte, who []*ecu, ought func(*ecu) bool, take func([]answer)) error {
	if len(who) == 0 {
		return nil
	}
	// Freeze frames, test results and reports are usually the engine's alone. Of two one would stay silent and be asked again,
	// so both are asked by themselves, and refuse at once what they do not have.
	if len(who) == 1 || len(who) == 2 && !r.bus.Functional.Legacy {
		for _, e := range who {
			e.owed = append(e.owed, owed{payload, take, false})
		}
		return nil
	}
	q := r.target(who)
	q.Payload, q.Retried = payload, true
	answers, err := r.ask(ctx, q)
	if err == nil { // what one does not have, it does not refuse when everybody is asked
		answers, err = r.doubtEach(ctx, payload, who, answers)
	}
	if err != nil {
		return err
	}
	take(answers)
	for _, e := range who {
		if spoke(answers, e) {
			e.silent = 0
			continue
		}
		if ought(e) {
			e.owed = append(e.owed, owed{payload, take, true})
		}
	}
	return nil
}

// first asks an ECU by itself. A recording may have the question to everybody in its place.
func (r *reader) first(ctx context.Context, q diag.Request, e *ecu, c claim) ([]answer, error) {
	q.Retried = true
	answers, fault, err := r.question(ctx, q)
	if errors.Is(fault, link.ErrUnrecorded) {
		q.To, q.Expect, q.Frames = r.bus.Functional, 0, 0
		answers, fault, err = r.question(ctx, q)
	}
	if err != nil {
		return nil, err
	}
	if fault != nil {
		r.missing("", q.Payload, fault, hintOf(fault))
	}
	answers = slices.DeleteFunc(answers, func(a answer) bool { return a.ecu != e })
	again, err := r.insist(ctx, q.Payload, e, c, len(answers) > 0)
	return append(answers, again...), err
}

// settle puts what e owes.
func (r *reader) settle(ctx context.Context, e *ecu) error {
	for _, o := range e.owed {
		if o.payload[0] == 0x19 && e.noUDS { // it has said so meanwhile
			continue
		}
		var answers []answer
		var err error
		if o.asked {
			answers, err = r.insist(ctx, o.payload, e, probable, false)
		} else {
			q := diag.Request{To: r.physical(e), Payload: o.payload, Expect: 1, Frames: mapFrames(o.payload)}
			answers, err = r.first(ctx, q, e, probable)
		}
		if err == nil && o.payload[0] == 0x19 && e.heardDIDs { // who knows the one service of ISO 14229 knows the other
			answers, err = r.doubt(ctx, o.payload, e, answers)
		}
		if err != nil {
			return err
		}
		o.take(answers)
	}
	e.owed = nil
	return nil
}

// answerOf decodes one ECU's answer.
func (r *reader) answerOf(req []byte, a diag.Answer) ([]reading.Reading, error) {
	return decode.Answer(req, a.Payload, decode.Source{ID: a.Addr.Rx, Vehicle: r.s.VIN.WMI(), Legacy: a.Legacy})
}

// keep stores an answer's readings and names what is wrong with it. expected says that the ECU claims to have what it
// was asked for: a refusal is then an error, otherwise it is normal.
func (r *reader) keep(req []byte, answers []answer, expected func(*ecu) bool) {
	for _, a := range answers {
		r.s.Readings = append(r.s.Readings, a.readings...)
		if a.err == nil || errors.Is(a.err, obd.ErrOverlong) && len(a.readings) > 0 {
			if a.err != nil {
				r.missing(a.ecu.label, req, a.err, "")
			}
			continue
		}
		var n *diag.Negative
		if errors.As(a.err, &n) && n.Ignorable() && !expected(a.ecu) {
			continue
		}
		r.missing(a.ecu.label, req, a.err, hintOf(a.err))
	}
}

// missing names one question that was not answered fully. It is put once per ECU and question.
func (r *reader) missing(ecu string, req []byte, err error, hint string) {
	e := visit.ReadError{ECU: ecu, Request: strings.ToUpper(hex.EncodeToString(req)), Error: err.Error(), Hint: hint}
	for _, have := range r.s.Errors {
		if have == e {
			return
		}
	}
	r.s.Errors = append(r.s.Errors, e)
}

// asNewer notes that older recordings do not hold a question, which is no loss.
func (r *reader) asNewer(payload []byte) {
	if r.newer == nil {
		r.newer = map[string]bool{}
	}
	r.newer[string(payload)] = true
}

var errSilent = errors.New("no answer, although the control unit says it has this")

func hintOf(err error) string {
	var n *diag.Negative
	var l *link.Error
	switch {
	case errors.As(err, &n):
		return n.Hint()
	case errors.As(err, &l):
		return l.Hint
	case errors.Is(err, diag.ErrTimeout), errors.Is(err, diag.ErrSequence):
		return "scan again; if it stays, check the plug and the adapter"
	}
	return ""
}

// target is the whole vehicle when several ECUs are meant, else the one.
func (r *reader) target(who []*ecu) diag.Request {
	if len(who) == 1 && !r.sameAddress {
		return diag.Request{To: diag.Physical(who[0].addr), Expect: 1}
	}
	return diag.Request{To: r.bus.Functional, Expect: len(who)}
}

// having returns the ECUs that pass.
func (r *reader) having(pass func(*ecu) bool) []*ecu {
	var out []*ecu
	for _, e := range r.ecus {
		if pass(e) {
			out = append(out, e)
		}
	}
	return out
}

// answered returns the answers' ECUs that gave usable readings.
func answered(answers []answer, e *ecu) bool {
	for _, a := range answers {
		if a.ecu == e && obd.Usable(a.err) {
			return true
		}
	}
	return false
}

func always(*ecu) bool { return true }
func never(*ecu) bool  { return false }
