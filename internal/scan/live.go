package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"

	"obdgate/dbc"
	"obdgate/internal/diag"
	"obdgate/internal/link"
	"obdgate/internal/obd"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/visit"
)

// Watched are the PIDs of service 01 that Live shows when none are named, the first Most of them that the vehicle has:
// engine speed, temperatures, load, mixture, pressures, supply and battery, and how fast it drives.
var Watched = []byte{0x0C, 0x05, 0x04, 0x0D, 0x42, 0x5C, 0x0B, 0x10, 0x06, 0x07, 0x0F, 0x11, 0x23, 0x2F, 0x5B, 0x9A, 0x46, 0x5E, 0x0E, 0x3C}

// Most is how many PIDs Live shows when none are named: two questions a round.
const Most = 12

// ErrNotFitted: the vehicle has none of the PIDs that were named.
var ErrNotFitted = errors.New("the vehicle does not have what was asked for")

// LiveOptions of one watching. Policy must be set.
type LiveOptions struct {
	Policy *policy.Policy
	DBC    *dbc.Database // broadcast signals, nil = none known
	PIDs   []byte        // of service 01, in the order they are shown; nil = Watched
	// Record gets every frame as a candump log with personal bytes masked; nil = no recording.
	Record io.Writer
	Log    *slog.Logger // nil = silent
}

// Round is one reading of all PIDs that are watched.
type Round struct {
	Protocol string
	Values   []reading.Reading // in the order of the PIDs, then of the ECUs
	Lacking  []byte            // PIDs that were named and that no ECU has
	Errors   []visit.ReadError // of this round
}

// Live reads the same PIDs again and again, up to six in one question, for as long as the caller goes on; its pace is the
// caller's. Nothing is kept: a round is the caller's and forgotten here. An error ends the sequence: of the link, as Run's,
// or ErrNotFitted. When ctx ends, the sequence ends without one. The consumption record is never asked for. l stays the
// caller's to close.
func Live(ctx context.Context, l link.Link, o LiveOptions) iter.Seq2[Round, error] {
	return func(yield func(Round, error) bool) {
		if o.Policy == nil {
			yield(Round{}, ErrNoPolicy)
			return
		}
		if o.Log == nil {
			o.Log = slog.New(slog.DiscardHandler)
		}
		all := Options{Plan: Plan{depth: Full}, Policy: o.Policy, DBC: o.DBC, Record: o.Record, Log: o.Log}
		t := newTags(all)
		r := &reader{o: all, tags: t}
		r.conn = diag.New(l, diag.Options{Logger: o.Log, Tap: t.frame})
		w := &watch{reader: r, wanted: o.PIDs, caps: l.Caps}
		err := w.run(ctx, yield)
		_, tagErr := t.close()
		if ctx.Err() != nil {
			err = nil
		}
		if err = errors.Join(err, tagErr); err != nil && !w.left {
			yield(Round{}, err)
		}
	}
}

// watch is one watching being made.
type watch struct {
	*reader
	wanted  []byte // as named, nil = Watched
	pids    []byte // those that are read
	lacking []byte
	from    map[byte]*ecu    // whose value is shown; nil = everybody's
	has     map[*ecu]obd.Set // what each said it has
	wide    bool             // ask what a full scan asks: a recording has no other questions
	left    bool             // the caller has gone
	caps    func() link.Caps
}

func (w *watch) run(ctx context.Context, yield func(Round, error) bool) error {
	if err := w.findBus(ctx); err != nil {
		return err
	}
	if err := w.whatThereIs(ctx); err != nil {
		return err
	}
	if err := w.choose(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		one, err := w.round(ctx)
		if err == nil && w.unrecorded && !w.wide {
			w.wide = true
			for _, e := range w.ecus {
				e.alone, e.pids = false, w.has[e]
			}
			one, err = w.round(ctx)
		}
		if err != nil {
			return err
		}
		if !yield(one, nil) {
			w.left = true
			return nil
		}
		if w.tags.err != nil {
			return nil // the recording cannot be written: told by its close
		}
	}
	return nil
}

// whatThereIs asks for the bitmaps of service 01 alone: identity and software are nobody's business here.
func (w *watch) whatThereIs(ctx context.Context) error {
	if w.onlyUDS() {
		return w.readDIDSupport(ctx)
	}
	return w.support(ctx, 0x01)
}

// choose settles which PIDs are read, and of whom: what was named of everybody, otherwise of the first who has it.
func (w *watch) choose() error {
	var has obd.Set
	w.has = map[*ecu]obd.Set{}
	for _, e := range w.ecus {
		has = has.Union(e.pids)
		w.has[e] = e.pids
	}
	named := w.wanted
	if named == nil {
		named = Watched
	}
	for _, id := range named {
		switch {
		case !has.Has(id) || obd.IsBitmap(id):
			w.lacking = append(w.lacking, id)
		case w.wanted == nil && len(w.pids) == Most:
		default:
			w.pids = append(w.pids, id)
		}
	}
	if w.wanted == nil {
		w.lacking, w.from = nil, map[byte]*ecu{}
		for _, e := range w.ecus {
			for _, id := range w.pids {
				if first := w.from[id]; first == nil && e.pids.Has(id) {
					w.from[id] = e
				} else if first != nil {
					e.pids.Remove(id)
				}
			}
		}
	}
	if len(w.pids) == 0 {
		return fmt.Errorf("%w: % X", ErrNotFitted, named)
	}
	return nil
}

// round reads all once.
func (w *watch) round(ctx context.Context) (Round, error) {
	w.s.Readings, w.s.Errors, w.unrecorded = nil, nil, false
	read := w.rounds
	if w.onlyUDS() {
		read = w.roundDIDs
	}
	if err := read(ctx); err != nil {
		return Round{}, err
	}
	one := Round{Protocol: w.bus.Protocol, Lacking: w.lacking, Errors: w.s.Errors}
	place := func(v reading.Reading) int { return slices.Index(w.pids, pidOf(v)) }
	for _, v := range w.s.Readings {
		_, absent := v.Value.(reading.Absent)
		if place(v) >= 0 && (w.from == nil || w.from[pidOf(v)].label == v.ECU && !absent) {
			one.Values = append(one.Values, v)
		}
	}
	order := map[string]int{}
	for i, e := range w.ecus {
		order[e.label] = i
	}
	slices.SortStableFunc(one.Values, func(a, b reading.Reading) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(order[a.ECU], order[b.ECU]))
	})
	return one, nil
}

// pidOf is the PID that an answer to service 01, or to the data identifier F4xx that mirrors it, is about.
func pidOf(v reading.Reading) byte {
	switch {
	case len(v.Raw) > 1 && v.Raw[0] == 0x41:
		return v.Raw[1]
	case len(v.Raw) > 2 && v.Raw[0] == 0x62 && v.Raw[1] == 0xF4:
		return v.Raw[2]
	}
	return 0
}

// rounds asks by service 01.
func (w *watch) rounds(ctx context.Context) error {
	var want obd.Set
	for _, id := range w.pids {
		want.Add(id)
	}
	if w.wide {
		for _, e := range w.ecus {
			want = want.Union(e.pids)
		}
		for base := 0; base <= 0xE0; base += 0x20 {
			want.Remove(byte(base))
		}
	}
	plan := obd.Plan(want, w.together())
	// Where others are asked in between, an adapter that has to be told each change of address is told none: the others have
	// nothing of what is asked of one alone.
	caps := w.caps()
	alone, several := 0, 0
	for _, payload := range plan {
		switch n := len(w.having(func(e *ecu) bool { return hasAny(e.pids, payload[1:]) })); {
		case n == 1:
			alone++
		case n > 1:
			several++
		}
	}
	w.sameAddress = caps.HalfDuplex && !caps.Instant && alone > 0 && several > 0
	defer func() { w.sameAddress = false }()
	for _, payload := range plan {
		if slices.ContainsFunc(payload[1:], func(id byte) bool { return slices.Contains(w.pids, id) }) {
			if err := w.batch(ctx, payload); err != nil {
				return err
			}
		}
	}
	return nil
}

// roundDIDs asks by service 22, ECU by ECU.
func (w *watch) roundDIDs(ctx context.Context) error {
	for _, e := range w.ecus {
		together, loose := steady(0xF4, slices.DeleteFunc(e.pids.IDs(), func(id byte) bool {
			return obd.IsBitmap(id) || !w.wide && !slices.Contains(w.pids, id)
		}))
		if _, err := w.dids(ctx, e, together, probable); err != nil {
			return err
		}
		for _, id := range loose {
			if !slices.Contains(w.pids, byte(id)) {
				continue
			}
			if _, err := w.oneDID(ctx, e, id, probable); err != nil {
				return err
			}
		}
	}
	return nil
}
