package report

import (
	"time"

	"obdgate/internal/outbox"
	"obdgate/internal/wire"
)

// Told is one recipient that was, or is to be, told that a yes has ended.
type Told struct {
	Recipient string          `json:"recipient"`
	Purpose   string          `json:"purpose"`
	Action    string          `json:"action"`            // stop, erase
	Receipt   string          `json:"receipt,omitempty"` // of the customer's withdrawal
	State     string          `json:"state"`             // queued, done, rejected
	Queued    time.Time       `json:"queued"`
	Settled   time.Time       `json:"settled,omitzero"`
	Reason    string          `json:"reason,omitempty"`
	Statement *wire.Statement `json:"statement,omitempty"` // the recipient's signed answer
}

func newTold(n outbox.Notice) Told {
	t := Told{Recipient: n.Recipient, Purpose: string(n.Purpose), Action: n.Action, Receipt: n.Answer, State: string(n.State),
		Queued: n.Queued, Settled: n.Settled, Reason: n.Reason}
	if len(n.Statement) > 0 {
		if s, err := wire.ParseStatement(n.Statement); err == nil {
			t.Statement = &s
		}
	}
	return t
}

// WithNotices adds what recipients were told.
func (v Visit) WithNotices(notices []outbox.Notice) Visit {
	for _, n := range notices {
		v.Told = append(v.Told, newTold(n))
	}
	return v
}

// told writes who was told of a withdrawal and what they answered. It writes nothing for none.
func (t *Text) told(all []Told) {
	for i, n := range all {
		if i == 0 {
			t.Heading("visit.told")
		}
		t.Rows([][]string{{n.Recipient, t.words.T("told." + n.Action), t.words.T("told." + n.State), n.Reason}})
		if s := n.Statement; s != nil {
			t.Line("    %s", t.dim.Render(t.words.T("told.statement", s.At, s.Key, len(s.Held), len(s.Erased), len(s.Absent))))
		}
	}
}
