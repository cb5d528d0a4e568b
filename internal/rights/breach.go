package rights

import (
	"context"
	"errors"
	"time"

	"obdgate/internal/ledger"
	"obdgate/internal/store"
)

// NoticeHours is how soon after a breach is known the affected customers are told.
const NoticeHours = 48

// Breach says whose data was where since when, out of the ledger.
type Breach struct {
	Since    time.Time  `json:"since"`
	Made     time.Time  `json:"made"`
	Deadline time.Time  `json:"deadline"` // customers are told by then
	Drill    bool       `json:"drill"`
	Affected []Affected `json:"affected"`
	Gone     int        `json:"erased_since"` // visits erased since: held for part of the time, nobody can tell whose they were
	Entry    uint64     `json:"entry"`        // of the log, about this list
}

// Affected is one visit whose data was held.
type Affected struct {
	Visit    string    `json:"visit"`
	Order    string    `json:"order,omitempty"` // how the workshop finds the customer
	Language string    `json:"language"`
	Opened   time.Time `json:"opened"`
	Where    []Where   `json:"elsewhere"` // recipients it had left to, by the time of the list
	Read     []Where   `json:"accessed"`  // accesses to its personal part since
}

// Where is one place data was in, or one access to it.
type Where struct {
	At        time.Time `json:"at"`
	Recipient string    `json:"recipient,omitempty"`
	Purpose   string    `json:"purpose,omitempty"`
	Content   string    `json:"content,omitempty"` // hex SHA-256 of what was sent
	Reason    string    `json:"reason,omitempty"`
	Entry     uint64    `json:"entry"` // in the log
}

// Affects lists the visits whose data was held at any time since, and where it had gone. The list itself is logged; a drill
// is logged as one.
func Affects(ctx context.Context, s *store.Store, since, now time.Time, drill bool) (Breach, error) {
	b := Breach{Since: since.UTC(), Made: now.UTC(), Deadline: now.UTC().Add(NoticeHours * time.Hour), Drill: drill, Affected: []Affected{}}
	all, err := s.ListVisits(ctx)
	if err != nil {
		return b, err
	}
	for _, sum := range all {
		v, err := s.Visit(ctx, sum.ID)
		if errors.Is(err, store.ErrNotFound) {
			continue // erased meanwhile: counted below
		}
		if err != nil {
			return b, err
		}
		a := Affected{Visit: v.ID, Order: v.Order, Language: v.Language, Opened: v.Opened, Where: []Where{}, Read: []Where{}}
		entries, err := s.Ledger().VisitEntries(ctx, v.ID)
		if err != nil {
			return b, store.Explain(err)
		}
		for _, e := range entries {
			w := Where{At: e.Time, Recipient: e.Facts.Recipient, Purpose: e.Facts.Purpose, Content: e.Facts.Content, Reason: e.Facts.Reason, Entry: e.Seq}
			switch {
			case e.Kind == ledger.Released: // it may have arrived, whatever was answered
				a.Where = append(a.Where, w)
			case e.Kind == ledger.Accessed && !e.Time.Before(since):
				a.Read = append(a.Read, w)
			}
		}
		b.Affected = append(b.Affected, a)
	}
	err = eachEntry(ctx, s, func(e ledger.Entry) {
		if e.Kind == ledger.Erased && !e.Time.Before(since) {
			b.Gone++
		}
	})
	if err != nil {
		return b, err
	}
	reason := "breach-list"
	if drill {
		reason = "breach-drill"
	}
	e, err := s.Ledger().Record(ctx, ledger.Event{Kind: ledger.Rights, At: now, Facts: ledger.Facts{Reason: reason}})
	b.Entry = e.Seq
	return b, err
}

// Gone is one destruction the log proves: when, what kind, why, and never what it was.
type Gone struct {
	At     time.Time   `json:"at"`
	Kind   ledger.Kind `json:"kind"`
	Reason string      `json:"reason,omitempty"`
	Count  int         `json:"count,omitempty"`
	Entry  uint64      `json:"entry"`
}

// Destructions lists everything that was erased, shredded or destroyed, in the order of the log.
func Destructions(ctx context.Context, s *store.Store) ([]Gone, error) {
	out := []Gone{}
	err := eachEntry(ctx, s, func(e ledger.Entry) {
		if e.Kind == ledger.Erased || e.Kind == ledger.Shredded || e.Kind == ledger.Destroyed || e.Kind == ledger.Dropped {
			out = append(out, Gone{e.Time, e.Kind, e.Facts.Reason, e.Facts.Count, e.Seq})
		}
	})
	return out, err
}

func eachEntry(ctx context.Context, s *store.Store, f func(ledger.Entry)) error {
	const page = 1000
	for from := uint64(0); ; from += page {
		es, err := s.Ledger().Entries(ctx, from, page)
		if err != nil {
			return store.Explain(err)
		}
		for _, e := range es {
			f(e)
		}
		if len(es) < page {
			return nil
		}
	}
}
