// Package rights does what a customer may ask for and what time asks for: a copy of everything held on a visit, its erasure,
// and the retention that ends by itself. Each leaves an entry in the ledger.
package rights

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/store"
)

// AccessSchema names the form of Copy.
const AccessSchema = "obdgate/access/v1"

// Copy is everything held on one visit, for its customer (Regulation (EU) 2016/679, Art. 15 and 20). Head and the hashes in
// Log prove that each thing listed stands in the log; TagKey lets the customer, or whoever helps, find in the log itself that
// nothing about the visit is missing from the list: see CheckCopies.
type Copy struct {
	Schema    string                     `json:"schema"`
	Made      time.Time                  `json:"made"`
	Station   string                     `json:"station"`
	Visit     json.RawMessage            `json:"visit"` // order, VIN, every reading
	Answers   []consent.Decision         `json:"answers"`
	Receipts  []consent.Receipt          `json:"receipts"`
	Log       []Entry                    `json:"log"`                 // what the ledger holds on the visit, in order
	Head      string                     `json:"head"`                // the signed head the entries stand under
	TagKey    []byte                     `json:"tag_key"`             // tells which entries of the log are the visit's; opens nothing
	Elsewhere map[string]json.RawMessage `json:"elsewhere,omitempty"` // what other rooms hold, as the caller handed it over
}

// Entry is one line of the ledger about the visit, with its proof.
type Entry struct {
	ledger.Entry
	Leaf json.RawMessage `json:"leaf"` // the bytes that were logged
	Path [][]byte        `json:"path"` // proof that they stand under the head
}

// Access makes the copy and logs that it was made. elsewhere holds what the caller's other rooms keep of the visit (what is
// queued for sending), by name. ErrNotFound of the store when the visit was erased: then nothing is held.
func Access(ctx context.Context, s *store.Store, visit string, now time.Time, elsewhere map[string]json.RawMessage) (Copy, error) {
	body, err := s.ExportVisit(ctx, visit)
	if err != nil {
		return Copy{}, err
	}
	if _, err := s.Ledger().Record(ctx, ledger.Event{Kind: ledger.Accessed, Visit: visit, At: now, Facts: ledger.Facts{Reason: "customer-copy"}}); err != nil {
		return Copy{}, err
	}
	c := Copy{Schema: AccessSchema, Made: now.UTC(), Station: s.Station().ID(), Visit: body, Elsewhere: elsewhere, Log: []Entry{}}
	if c.Answers, err = s.Ledger().Decisions(ctx, visit); err != nil {
		return Copy{}, store.Explain(err)
	}
	if c.Receipts, err = s.Receipts(ctx, visit); err != nil {
		return Copy{}, err
	}
	entries, head, paths, err := s.Ledger().ProvedEntries(ctx, visit)
	if err != nil {
		return Copy{}, store.Explain(err)
	}
	c.Head = string(head.Note)
	if c.TagKey, err = s.Ledger().TagKey(ctx, visit); err != nil {
		return Copy{}, store.Explain(err)
	}
	for i, e := range entries {
		c.Log = append(c.Log, Entry{e, e.Leaf(), paths[i]})
	}
	return c, nil
}

// Erase erases a visit at its customer's request: readings, order, answers, receipts, what waits to be sent. What was sent
// before is the recipients' to erase; the ledger keeps entries that name nobody.
func Erase(ctx context.Context, s *store.Store, visit string) error {
	return s.EraseVisit(ctx, visit, "customer-request")
}

// RecordsDays is how long answers and receipts are kept after the visit was closed: one year.
const RecordsDays = 365

const day = 24 * time.Hour

// Swept is what a sweep did.
type Swept struct {
	Visits   int `json:"visits"`   // looked at
	Values   int `json:"values"`   // shredded because their category's time was over
	Orders   int `json:"orders"`   // order notes removed
	Erased   int `json:"erased"`   // visits erased whole: a year after they were closed
	Purged   int `json:"purged"`   // unreadable remains of erased visits, brought back by an older copy of the state
	Requests int `json:"requests"` // settled requests dropped: a year after they were settled
	Links    int `json:"links"`    // addresses nobody confirmed in time, links a year after they ended
	Failures int `json:"failures"` // visits that could not be dealt with; the rest was
}

// Sweep enforces retention on closed visits: each value goes when its category's time is over, the order note when
// the time of customer data is, the whole visit with its answers after RecordsDays, a settled request as long after it was settled. It is meant for every start:
// a visit is only opened when something of it is due. One visit that fails does not keep the others; the errors are joined.
func Sweep(ctx context.Context, s *store.Store, p *policy.Policy, now time.Time) (Swept, error) {
	var out Swept
	var errs []error
	n, err := s.PurgeForgotten(ctx)
	if err != nil {
		return out, err
	}
	out.Purged = n
	if out.Requests, err = s.DropTickets(ctx, now.Add(-RecordsDays*day)); err != nil {
		return out, err
	}
	if out.Links, err = s.DropAddresses(ctx, now, now.Add(-RecordsDays*day)); err != nil {
		return out, err
	}
	due, err := s.DueForRetention(ctx, now)
	if err != nil {
		return out, err
	}
	for _, v := range due {
		out.Visits++
		if err := sweepVisit(ctx, s, p, v, now, &out); err != nil {
			if ctx.Err() != nil {
				return out, err
			}
			out.Failures++
			errs = append(errs, fmt.Errorf("visit %s: %w", v.ID, err))
		}
	}
	return out, errors.Join(errs...)
}

func sweepVisit(ctx context.Context, s *store.Store, p *policy.Policy, v store.Summary, now time.Time, out *Swept) error {
	end := v.Closed.Add(RecordsDays * day)
	if !now.Before(end) {
		if err := s.EraseVisit(ctx, v.ID, "retention"); err != nil {
			return err
		}
		out.Erased++
		return nil
	}
	next := end
	over := func(ends time.Time, ever bool) bool {
		if ever && now.Before(ends) && ends.Before(next) {
			next = ends
		}
		return ever && !now.Before(ends)
	}
	n, err := s.Shred(ctx, v.ID, "retention", func(k reading.Key) bool {
		return over(ends(p.Retention(p.TagKey(k).Category), v.Closed))
	})
	if err != nil {
		return err
	}
	out.Values += n
	if over(ends(p.Retention(policy.Customer), v.Closed)) {
		removed, err := s.ShredOrder(ctx, v.ID, "retention")
		if err != nil {
			return err
		}
		if removed {
			out.Orders++
		}
	}
	return s.SetRetention(ctx, v.ID, next)
}

// ends is when a category's values end in a visit closed at that time; false = not before the visit itself.
func ends(r policy.Retention, closed time.Time) (time.Time, bool) {
	switch r.Keep {
	case policy.KeepVehicleLife:
		return time.Time{}, false
	case policy.KeepDays:
		return closed.Add(time.Duration(r.Days) * day), true
	}
	return closed, true
}
