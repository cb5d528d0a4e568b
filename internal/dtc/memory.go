package dtc

import (
	"cmp"
	"slices"
	"strings"

	"obdgate/internal/reading"
)

// Entry is one fault in one ECU as all memories together tell it.
type Entry struct {
	Code      Code
	ECU       string
	Stored    bool // service 03, or the confirmed bit
	Pending   bool // service 07, or the pending bit
	Permanent bool // service 0A, 19 15 or 19 55
	Active    bool // the test-failed bit
	Lamp      bool // the warning indicator bit
	Status    Status
	HasStatus bool     // Status was sent: service 19
	Severity  Severity // 19 42, 08, 09; 0 where it was not told
	From      []uint64 // frames that carried it, ascending
}

// everFailed are the status bits of which a code must have one: without any it is a test that has not failed, listed by
// ECUs that list all they know.
const everFailed = TestFailed | TestFailedThisCycle | Pending | Confirmed | FailedSinceClear | WarningRequested

// Failed reports whether the test behind a code ever failed as far as the ECU tells.
func (e Entry) Failed() bool { return !e.HasStatus || e.Permanent || e.Status&everFailed != 0 }

// State is what matters most: "permanent", "stored", "pending", "history" for a code with none of those bits that failed
// once since the memory was cleared, or "listed" for one that did not fail.
func (e Entry) State() string {
	switch {
	case e.Permanent:
		return "permanent"
	case e.Stored:
		return "stored"
	case e.Pending || e.Active:
		return "pending"
	case !e.Failed():
		return "listed"
	}
	return "history"
}

// States lists every memory the code is in, in that order.
func (e Entry) States() []string {
	var out []string
	if e.Permanent {
		out = append(out, "permanent")
	}
	if e.Stored {
		out = append(out, "stored")
	}
	if e.Pending {
		out = append(out, "pending")
	}
	if out == nil {
		out = []string{e.State()}
	}
	return out
}

// Of returns the entry a reading carries; ok is false for readings that are no trouble code.
func Of(r reading.Reading) (e Entry, ok bool) {
	c, isCode := r.Value.(reading.Code)
	if !isCode {
		return Entry{}, false
	}
	e = Entry{ECU: r.ECU, From: r.From}
	switch r.Key {
	case KeyStored, KeyPending, KeyPermanent:
		e.Code = Code{uint32(c.N), J2012}
		e.Stored, e.Pending, e.Permanent = r.Key == KeyStored, r.Key == KeyPending, r.Key == KeyPermanent
	case KeyKWP:
		e.Code, e.Stored = Code{uint32(c.N >> 8), J2012}, true
	default:
		sub, isUDS := strings.CutPrefix(string(r.Key), "uds.19.")
		if sub, ok = strings.CutSuffix(sub, ".dtc"); !ok || !isUDS {
			return Entry{}, false
		}
		e.Code, e.Status, e.HasStatus = Code{uint32(c.N >> 8), J2012FTB}, Status(c.N), true
		if h, err := Parse(c.Label); err == nil && h.Format == Hex {
			e.Code = h
		}
		e.Stored, e.Pending = e.Status&Confirmed != 0, e.Status&Pending != 0
		e.Active, e.Lamp = e.Status&TestFailed != 0, e.Status&WarningRequested != 0
		e.Permanent = sub == "15" || sub == "55"
		if sub == "42" && len(r.Raw) == 7 || (sub == "08" || sub == "09") && len(r.Raw) == 8 {
			e.Severity = Severity(r.Raw[2])
		}
	}
	return e, true
}

// Merge joins what the readings of all services say of each fault, per ECU: the same code from 03, 07 and 0A is one
// entry, and so is its three-byte form from 19 where the ECU has exactly one failure type for it (00, no failure type, is
// then left off). The result is ordered
// by what matters: permanent and stored first, then pending, then history; among them those that ask for the lamp or for a
// check at once, then those that fail now; then ECU and code.
func Merge(readings []reading.Reading) []Entry {
	var out []Entry
	at := func(ecu string, c Code) int {
		return slices.IndexFunc(out, func(e Entry) bool { return e.ECU == ecu && e.Code == c })
	}
	var all []Entry
	for _, r := range readings {
		if e, ok := Of(r); ok {
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return cmp.Compare(b.Code.Format, a.Code.Format) })
	for _, e := range all {
		i := at(e.ECU, e.Code)
		if i < 0 && e.Code.Format == J2012 {
			i = onlyForm(out, e)
		}
		if i < 0 {
			e.From = slices.Clone(e.From)
			out = append(out, e)
			continue
		}
		if f, ok := out[i].Code.FailureType(); ok && f == 0 && e.Code.Format == J2012 {
			out[i].Code = e.Code // failure type 00 says nothing: the code is the one people know
		}
		out[i].join(e)
	}
	slices.SortStableFunc(out, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(b.urgency(), a.urgency()), cmp.Compare(a.ECU, b.ECU), cmp.Compare(a.Code.String(), b.Code.String()))
	})
	return out
}

// onlyForm finds the one three-byte form of a two-byte code in the same ECU.
func onlyForm(have []Entry, e Entry) int {
	found := -1
	for i, h := range have {
		if h.ECU == e.ECU && h.Code.Format == J2012FTB && h.Code.base() == e.Code.base() {
			if found >= 0 {
				return -1
			}
			found = i
		}
	}
	return found
}

func (e *Entry) join(o Entry) {
	e.Stored, e.Pending, e.Permanent = e.Stored || o.Stored, e.Pending || o.Pending, e.Permanent || o.Permanent
	e.Active, e.Lamp = e.Active || o.Active, e.Lamp || o.Lamp
	if o.HasStatus {
		e.Status, e.HasStatus = e.Status|o.Status, true
	}
	e.Severity |= o.Severity
	e.From = append(e.From, o.From...)
	slices.Sort(e.From)
	e.From = slices.Compact(e.From)
}

func (e Entry) rank() int {
	return slices.Index([]string{"permanent", "stored", "pending", "history", "listed"}, e.State())
}

// urgency orders codes of one state: what the ECU itself calls urgent, then what fails at this moment.
func (e Entry) urgency() (n int) {
	switch e.Severity.Urgency() {
	case "check-immediately":
		n += 8
	case "check-at-next-halt":
		n += 4
	}
	if e.Lamp {
		n += 2
	}
	if e.Active {
		n++
	}
	return n
}
