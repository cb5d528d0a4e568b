package scan

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"obdgate/internal/diag"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

//go:embed units.csv
var unitsCSV string

// unit is one control unit that a maker's vehicles may have.
type unit struct {
	prefixes []string
	name     string
	addr     isotp.Address
}

const testerAddress = 0xF1 // extended addressing: the byte in front of what an ECU answers

// unitTable is the embedded table; a damaged one is a damaged build, which the package's tests notice.
var unitTable = sync.OnceValue(func() []unit {
	c := csv.NewReader(strings.NewReader(unitsCSV))
	c.Comment, c.FieldsPerRecord = '#', 5
	rows, err := c.ReadAll()
	if err != nil {
		panic("scan: units.csv: " + err.Error())
	}
	var out []unit
	for _, r := range rows[1:] {
		tx, ext, isExt := identifier(r[2])
		rx, _, _ := identifier(r[3])
		u := unit{prefixes: strings.Split(r[0], "|"), name: r[1],
			addr: isotp.Address{Tx: tx, Rx: rx, Extended29: tx > 0x7FF, Ext: isExt, TxTarget: ext}}
		if isExt {
			u.addr.RxTarget = testerAddress
		}
		out = append(out, u)
	}
	return out
})

// identifier reads "714" or, with extended addressing, "6F1/60".
func identifier(s string) (id uint32, ext byte, isExt bool) {
	text, target, isExt := strings.Cut(s, "/")
	n, err := strconv.ParseUint(text, 16, 32)
	var t uint64
	if err == nil && isExt {
		t, err = strconv.ParseUint(target, 16, 8)
	}
	if err != nil {
		panic(fmt.Sprintf("scan: units.csv: %q: %v", s, err))
	}
	return uint32(n), byte(t), isExt
}

// unitsOf are the rows of the maker of this vehicle.
func unitsOf(wmi string) []unit {
	var out []unit
	for _, u := range unitTable() {
		if slices.Contains(u.prefixes, wmi) {
			out = append(out, u)
		}
	}
	return out
}

// readUnits visits the control units beyond the emission ones.
func (r *reader) readUnits(ctx context.Context) error {
	return r.findUnits(ctx, func(e *ecu) error { return r.visit(ctx, e) })
}

// findUnits finds the control units beyond the emission ones by asking for their trouble codes, where the maker is known,
// and tells found of each. Each that a maker's vehicle may have is asked once by itself: silence means that it is not
// fitted, and nobody else is woken. (One functional question would find them faster; but then every answer of several
// frames needs flow control to another ECU at once, which adapters cannot give.)
func (r *reader) findUnits(ctx context.Context, found func(*ecu) error) error {
	if r.s.VIN.IsZero() || r.o.Plan.Depth() != Full || r.bus.Functional.Legacy {
		return nil
	}
	var jobs []func(context.Context) error
	for _, u := range unitsOf(r.s.VIN.WMI()) {
		if u.addr.Extended29 != r.bus.Functional.Extended {
			continue // another kind of identifiers would have an adapter look for the bus anew
		}
		jobs = append(jobs, func(ctx context.Context) error { return r.findUnit(ctx, u, found) })
	}
	return r.abreast(ctx, jobs)
}

func (r *reader) findUnit(ctx context.Context, u unit, found func(*ecu) error) error {
	r.tags.tagger.Follow(u.addr)
	req := []byte{0x19, byStatus, nowOrStored}
	answers, err := r.probe(ctx, u.addr, req)
	if e := r.known(u.addr); err == nil && e != nil {
		answers, err = r.doubt(ctx, req, e, answers)
	}
	if err != nil {
		return err
	}
	for _, a := range answers {
		a.ecu.known = true // it has no service 01 to be asked about
		a.ecu.name = cmp.Or(a.ecu.name, u.name)
	}
	r.keepReports(req, answers, never)
	if e := r.known(u.addr); e != nil {
		return found(e)
	}
	return nil
}

// probe asks an address where there may be nobody, twice before it is taken to be empty: one lost frame must not hide a
// control unit. Both times as long as this vehicle's control units have been seen to need, and never less than ISO 14229-2
// allows them (50 ms). An empty address is not asked again in this scan.
func (r *reader) probe(ctx context.Context, a isotp.Address, req []byte) ([]answer, error) {
	if e := r.known(a); e != nil {
		return r.put(ctx, diag.Request{To: diag.Physical(a), Payload: req, Expect: 1}, []*ecu{e}, probable)
	}
	for range 2 {
		if slices.Contains(r.empty, a) {
			break
		}
		answers, fault, err := r.question(ctx, diag.Request{To: diag.Physical(a), Payload: req, Expect: 1, Retried: true})
		if fault != nil && !errors.Is(fault, link.ErrUnrecorded) { // a recording knows no unit that was added to the table later
			r.missing("", req, fault, hintOf(fault))
		}
		if err != nil || len(answers) > 0 {
			return answers, err
		}
	}
	r.empty = append(r.empty, a)
	return nil, nil
}
