package scan

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"obdgate/dbc"
	"obdgate/internal/consent"
	"obdgate/internal/diag"
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
	"obdgate/internal/obd"
	"obdgate/internal/odometer"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/visit"
)

// Options of one scan. Policy must be set.
type Options struct {
	Plan   Plan
	Policy *policy.Policy
	DBC    *dbc.Database // broadcast signals, nil = none known
	Link   string        // the link's address as typed, kept in the result
	At     time.Time     // when the scan is made
	// Record gets every frame as a candump log with personal bytes masked; nil = no recording.
	Record io.Writer
	// Consent tells where the customer's answer to the consumption record stands at this moment. It is asked right before
	// each question of the record: a no, or an error, and no more of them is put on the bus. nil = the plan's answer holds.
	Consent func(context.Context) (consent.Answer, error)
	// Progress is told what is being read, in short; nil = nobody listens.
	Progress func(Step)
	Log      *slog.Logger // nil = silent
}

// Step is a part of a scan, for progress.
type Step string

const (
	StepBus         Step = "bus"
	StepSupport     Step = "support"
	StepIdentity    Step = "identity"
	StepCodes       Step = "codes"
	StepValues      Step = "values"
	StepSoftware    Step = "software"
	StepMonitors    Step = "monitors"
	StepEach        Step = "each"  // what only one control unit has, unit by unit
	StepUnits       Step = "units" // control units beyond the emission ones
	StepConsumption Step = "consumption"
)

// Steps are all steps of a plan, in order.
var Steps = []Step{StepBus, StepSupport, StepIdentity, StepCodes, StepValues, StepSoftware, StepMonitors, StepEach, StepUnits,
	StepConsumption}

// ErrNoPolicy: a scan without rules would tag nothing.
var ErrNoPolicy = errors.New("scan: no policy")

// Run reads the vehicle on l as the plan allows. It returns what was read even when it fails: the scan is then partial
// and names what is missing in Errors. The error is a fault of the link (it wraps link's sentinel), the end of ctx, or
// of the recording. l stays the caller's to close.
func Run(ctx context.Context, l link.Link, o Options) (visit.Scan, error) {
	if o.Policy == nil {
		return visit.Scan{}, ErrNoPolicy
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	sound := !l.Caps().Lossy
	s, err := once(ctx, l, o, sound)
	if errors.Is(err, errLossy) {
		s, err = once(ctx, l, o, false)
	}
	return s, err
}

// errLossy: the link has begun to lose characters. What it delivered before was not compared with a second answer.
var errLossy = errors.New("scan: read again")

// once reads the vehicle. With sound it breaks off with errLossy as soon as the link turns out not to be.
func once(ctx context.Context, l link.Link, o Options, sound bool) (visit.Scan, error) {
	var held bytes.Buffer // the recording, until it is known to stand
	to := o.Record
	if sound && to != nil {
		o.Record = &held
	}
	t := newTags(o)
	r := &reader{o: o, tags: t, s: visit.Scan{At: o.At, Link: o.Link, Plan: string(o.Plan.Depth())}}
	caps := l.Caps()
	r.readdressed = caps.HalfDuplex && !caps.Instant
	if sound {
		r.sound = func() bool { return !l.Caps().Lossy }
	}
	r.conn = diag.New(l, diag.Options{Logger: o.Log, Tap: func(f frame.Frame) {
		r.hear(&f)
		t.frame(f)
	}})
	err := r.run(ctx)
	if errors.Is(err, errLossy) {
		return visit.Scan{}, err
	}
	r.s.Adapter = l.Caps().Adapter
	r.finish()
	frames, tagErr := t.close()
	r.s.Frames = frames
	if tagErr == nil && held.Len() > 0 {
		_, tagErr = to.Write(held.Bytes())
	}
	return r.s, errors.Join(err, tagErr)
}

// ecu is one control unit that answered, and what it says it has.
type ecu struct {
	addr  isotp.Address
	label string
	pids  obd.Set // service 01
	types obd.Set // service 09
	alone bool    // combined requests do not work with it
	joint bool    // it has answered one

	frozen obd.Set // service 02, frame 00
	mids   obd.Set // service 06

	records obd.Set // of the consumption, that it was asked for

	oneDID    bool      // takes one data identifier at a time
	heardDIDs bool      // has answered service 22
	frankDIDs bool      // what it refused together it refused alone too
	noDIDs    bool      // does not know service 22
	noUDS     bool      // said so: then it has none of the services of ISO 14229
	noReports [256]bool // of service 19, by sub-function

	name string

	askedVIN, askedF190 bool // it was asked for the VIN, by each way

	identified bool // it was asked what it is

	known   bool // it was asked what it has
	visited bool // it was asked for what only it has
	silent  int  // questions in a row it left unanswered, though asked twice
	owed    []owed
	own     [][]byte // questions of service 01 that only it is asked
}

// reader is one scan being made. It lives for one Run and one goroutine.
type reader struct {
	conn   *diag.Conn
	o      Options
	tags   *tags
	bus    diag.Bus
	ecus   []*ecu // in the order of their addresses
	s      visit.Scan
	faults int // link faults in a row
	vins   []vinSource
	empty  []isotp.Address // where nobody answers
	used   map[string]int  // frames that carried an answer, by identifier
	heard  map[string]int  // frames by identifier of answers on the bus, understood or not
	// A question was put that the recording does not hold.
	unrecorded  bool
	newer       map[string]bool // questions that older recordings do not hold, which is no loss
	record      int             // questions for the consumption record that were put on the bus
	shown       Step
	asked       map[place]bool // where the mileage was asked for
	lane        *lane          // the job that is running beside others, nil = none is
	sameAddress bool           // one is asked on everybody's address
	readdressed bool           // the link has to be told each change of address
	faulted     bool           // a fault of the link was seen since questions were put together
	sound       func() bool    // the link has lost nothing so far; nil = it need not be asked
}

// run asks everybody first and then each control unit by itself: an adapter has to be told whenever the address changes,
// which costs as much as a question. Questions that may draw silence do not follow each other, since an adapter that has
// learned how fast the vehicle is forgets it over one.
func (r *reader) run(ctx context.Context) error {
	for _, s := range []struct {
		name Step
		do   func(context.Context) error
	}{
		{StepBus, r.findBus}, {StepSupport, r.readSupport}, {StepIdentity, r.readVIN}, {StepCodes, r.readCodes},
		{StepCodes, r.readFreezeFrames}, {StepValues, r.readValues}, {StepValues, r.readReports},
		{StepSoftware, r.readSoftware}, {StepMonitors, r.readMonitors}, {StepEach, r.readLanguage}, {StepEach, r.visitEach}, {StepUnits, r.readUnits}, {StepUnits, r.readMileage}, {StepUnits, r.readMaker},
		{StepUnits, r.visitEach}, {StepConsumption, r.readConsumption},
	} {
		if r.o.Progress != nil && s.name != r.shown {
			r.o.Progress(s.name)
		}
		r.shown = s.name
		r.o.Log.Debug("scan", "step", string(s.name))
		err := s.do(ctx)
		if r.sound != nil && ctx.Err() == nil && !r.sound() {
			return errLossy
		}
		if err != nil {
			if len(r.ecus) > 0 { // whoever reads the document must not take what is there for all there is
				r.missing("", nil, fmt.Errorf("the scan broke off (%s): %w", s.name, err), "scan again; what was read until then is kept")
			}
			return err
		}
	}
	return nil
}

// visitEach visits every control unit that was not visited yet.
func (r *reader) visitEach(ctx context.Context) error {
	var jobs []func(context.Context) error
	for _, e := range r.ecus {
		if !e.visited {
			jobs = append(jobs, func(ctx context.Context) error { return r.visit(ctx, e) })
		}
	}
	return r.abreast(ctx, jobs)
}

// visit asks a control unit by itself: what it left unanswered when everybody was asked, then what only it has.
func (r *reader) visit(ctx context.Context, e *ecu) error {
	if e.visited {
		return nil
	}
	e.visited = true
	for _, do := range []func(context.Context, *ecu) error{
		r.introduction, r.settle, r.lateVIN, r.ownValues, r.freezeFrames, r.snapshots, r.mileageOf, r.makerOf, r.ownMonitors, r.ownConsumption, r.ownSoftware,
		r.identification,
	} {
		if err := do(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// findBus asks until somebody answers.
func (r *reader) findBus(ctx context.Context) error {
	bus, err := r.conn.Find(ctx)
	if err != nil {
		return err
	}
	r.s.Protocol = bus.Protocol
	r.found(bus)
	return nil
}

// found takes what the search has told.
func (r *reader) found(bus diag.Bus) {
	r.bus = bus
	for _, a := range bus.ECUs {
		r.ecu(a)
	}
	for asked, answers := range bus.Heard {
		for _, a := range answers {
			if asked[0] == 0x22 {
				r.ecu(a.Addr).learnDIDs(a.Err)
			}
		}
	}
}

// readLanguage asks whether a vehicle of the classic services speaks the newer language as well. Who speaks that one alone is
// heard here for the first time.
func (r *reader) readLanguage(ctx context.Context) error {
	if r.onlyUDS() {
		return nil
	}
	bus, err := r.conn.Newer(ctx, r.bus)
	if err != nil {
		return err
	}
	r.found(bus)
	if err := r.welcome(ctx); err != nil {
		return err
	}
	return r.otherVIN(ctx)
}

// ecu returns the entry of an address, made on first sight.
func (r *reader) ecu(a isotp.Address) *ecu {
	for _, e := range r.ecus {
		if e.addr == a {
			return e
		}
	}
	e := &ecu{addr: a, label: a.ECU()}
	r.ecus = append(r.ecus, e)
	slices.SortStableFunc(r.ecus, func(a, b *ecu) int { return cmp.Compare(a.addr.Rx, b.addr.Rx) })
	return e
}

// hear notes who sends on the identifiers of answers (ISO 15765-4: 7E8 to 7EF, 18DAF1xx).
func (r *reader) hear(f *frame.Frame) {
	answer := f.ID >= 0x7E8 && f.ID <= 0x7EF
	if f.Is(frame.Extended) {
		answer = f.ID>>8 == 0x18DAF1
	}
	if f.Dir != frame.Received || !answer {
		return
	}
	if r.heard == nil {
		r.heard = map[string]int{}
	}
	r.heard[f.IDString()]++
}

var (
	errBabble = errors.New("sends on the bus, but nothing that answers a question")
	errFlood  = errors.New("sends without being asked, without pause; others may not have been heard because of it")
)

// flood is from how many frames on that answered nothing somebody is in the way of the others.
const flood = 500

// nameBabblers names what was heard and never understood: a control unit that is faulty must not look like one that is
// not fitted.
func (r *reader) nameBabblers() {
	if len(r.ecus) == 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(r.heard)) {
		if stray := r.heard[id] - r.used[id]; stray > flood && stray > 3*r.used[id] && !r.complained(id) {
			r.missing(id, []byte{0x01, 0x00}, errFlood, "this control unit or its wiring is faulty: unplug it or have it checked, then scan again")
			delete(r.heard, id)
		}
	}
	for _, e := range r.ecus {
		delete(r.heard, e.label)
	}
	for _, id := range slices.Sorted(maps.Keys(r.heard)) {
		r.missing(id, []byte{0x01, 0x00}, errBabble, "check this control unit and its wiring; nothing of it was read")
	}
}

// complained reports whether something about the ECU is named already; one that asks for patience for ever sends a lot.
func (r *reader) complained(ecu string) bool {
	return slices.ContainsFunc(r.s.Errors, func(e visit.ReadError) bool { return e.ECU == ecu })
}

// finish puts the result into the order that does not depend on who answered first, and weighs what was read.
func (r *reader) finish() {
	r.nameBabblers()
	for _, e := range r.ecus {
		r.s.ECUs = append(r.s.ECUs, visit.ECU{Address: e.label, Name: e.name})
	}
	order := map[string]int{}
	for i, e := range r.ecus {
		order[e.label] = i
	}
	slices.SortStableFunc(r.s.Readings, func(a, b reading.Reading) int {
		return cmp.Or(cmp.Compare(order[a.ECU], order[b.ECU]), cmp.Compare(a.Key, b.Key))
	})
	slices.SortStableFunc(r.s.Errors, func(a, b visit.ReadError) int {
		return cmp.Or(cmp.Compare(order[a.ECU], order[b.ECU]), cmp.Compare(a.Request, b.Request))
	})
	r.s.Odometer = odometer.Weigh(r.s.Readings, odometer.Context{Engine: r.engine()})
	r.judgeConsumption()
}

// engine is the label of the engine ECU: the one with the lowest address among those that have service 01 values.
func (r *reader) engine() string {
	for _, e := range r.ecus {
		if e.pids.Len() > 0 {
			return e.label
		}
	}
	return ""
}
