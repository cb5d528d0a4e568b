package ledger

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is what an entry is about.
type Kind string

// The kinds of entries. The comment names the facts each may carry; anything else is refused.
const (
	KeyEvent         Kind = "key"               // Reason created|replaced, Key
	VisitOpened      Kind = "visit-opened"      //
	VisitClosed      Kind = "visit-closed"      //
	Answer           Kind = "answer"            // made by RecordDecision only
	Asked            Kind = "asked"             // Counts by category, OBFCM asked|refused|unasked, Policy
	RefusalHonoured  Kind = "refusal-honoured"  // Purpose, Reason refused|unasked|withdrawn|expired|deferred
	Queued           Kind = "queued"            // Purpose, Recipient, Content, Policy, Count (bytes)
	Released         Kind = "released"          // Purpose, Recipient, Content
	Acknowledged     Kind = "acknowledged"      // Purpose, Recipient, Content, Receipt
	Rejected         Kind = "rejected"          // Purpose, Recipient, Content, Reason
	Destroyed        Kind = "destroyed"         // Purpose, Recipient, Count (items), Reason, Content
	NoticeQueued     Kind = "notice-queued"     // Purpose, Recipient, Content, Reason stop|erase: a recipient is to be told of a withdrawal
	NoticeAnswered   Kind = "notice-answered"   // Purpose, Recipient, Content, Receipt (of the statement), Count (erased there), Reason
	Shredded         Kind = "shredded"          // Counts by category or Count (values), Reason
	Erased           Kind = "erased"            // Reason
	Cleared          Kind = "cleared"           // Reason requested, cleared, incomplete, failed; Count (ECUs), Commitment (of the request)
	Pinned           Kind = "pinned"            // Counts by category, Reason
	Accessed         Kind = "accessed"          // Reason
	Rights           Kind = "rights"            // Reason (the right and its state), Commitment (of what the customer is told)
	Dropped          Kind = "dropped"           // Reason requests|notices, Count: records kept their time
	RecipientAdded   Kind = "recipient-added"   // Recipient, Role, Country
	RecipientRemoved Kind = "recipient-removed" // Recipient, Reason
)

// Facts are what an entry says. They hold no personal content: names of registered recipients, stable keys, counts, hashes
// of content and salted commitments. Every field is checked for its form, so that free text cannot slip in.
type Facts struct {
	Purpose    string         `json:"purpose,omitempty"`    // service, obfcm, quality, third-party: never a third party's name
	Recipient  string         `json:"recipient,omitempty"`  // name in the register
	Answer     string         `json:"answer,omitempty"`     // granted, refused, deferred, withdrawn
	Notice     string         `json:"notice,omitempty"`     // version
	Evidence   string         `json:"evidence,omitempty"`   // kind only
	Commitment string         `json:"commitment,omitempty"` // hex, of the whole decision
	Content    string         `json:"content,omitempty"`    // hex SHA-256 of the sealed bytes
	Receipt    string         `json:"receipt,omitempty"`    // hex SHA-256 of the collector's receipt
	Policy     string         `json:"policy,omitempty"`     // version of the policy in force
	OBFCM      string         `json:"obfcm,omitempty"`      // asked, refused, unasked
	Count      int            `json:"count,omitempty"`
	Counts     map[string]int `json:"counts,omitempty"` // by category
	Reason     string         `json:"reason,omitempty"` // stable key
	Key        string         `json:"key,omitempty"`    // hex of a public key
	Role       string         `json:"role,omitempty"`
	Country    string         `json:"country,omitempty"`
}

// Event is one thing to be recorded.
type Event struct {
	Kind  Kind
	Visit string    // the visit's id; "" where the entry concerns none. The log holds only a tag made from the visit's key
	At    time.Time // wall clock, UTC in the log; the order of the log does not depend on it
	Facts Facts
}

var allowed = map[Kind]string{
	KeyEvent:         "reason key",
	VisitOpened:      "",
	VisitClosed:      "",
	Answer:           "purpose recipient answer notice evidence commitment",
	Asked:            "counts obfcm policy count",
	RefusalHonoured:  "purpose reason recipient",
	Queued:           "purpose recipient content policy count",
	Released:         "purpose recipient content count",
	Acknowledged:     "purpose recipient content receipt",
	Rejected:         "purpose recipient content reason count",
	Destroyed:        "purpose recipient content count reason",
	NoticeQueued:     "purpose recipient content reason",
	NoticeAnswered:   "purpose recipient content receipt count reason",
	Shredded:         "purpose counts count reason",
	Erased:           "reason",
	Cleared:          "count reason commitment",
	Pinned:           "counts count reason",
	Accessed:         "reason",
	Rights:           "reason commitment",
	Dropped:          "reason count",
	RecipientAdded:   "recipient role country",
	RecipientRemoved: "recipient reason",
}

// About a visit or about the station: which kinds need one, which must have none.
var withoutVisit = []Kind{KeyEvent, RecipientAdded, RecipientRemoved, Dropped}

// An answer may come after the visit was erased.
var perhapsVisit = []Kind{NoticeAnswered, Rights}

// stableKey is the form of a key that keeps its meaning.
var stableKey = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,63}$`) })

// forms are made when first needed: most commands write no event.
var forms = sync.OnceValue(func() map[string]*regexp.Regexp {
	var (
		key        = stableKey()
		hash       = regexp.MustCompile(`^[0-9a-f]{64}$`)
		version    = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+/-]{0,63}$`)
		recipientN = regexp.MustCompile(`^[\pL\pN](?:[\pL\pN .&_+-]{0,62}[\pL\pN.])?$`)
		country    = regexp.MustCompile(`^[A-Z]{2}$`)
	)
	return map[string]*regexp.Regexp{
		"purpose": key, "recipient": recipientN, "answer": key, "notice": version, "evidence": key,
		"commitment": hash, "content": hash, "receipt": hash, "policy": version, "obfcm": key, "reason": key,
		"key": hash, "role": key, "country": country,
	}
})

// check refuses an event that would put anything but closed facts into the log.
func (e Event) check() ([]byte, error) {
	fields, known := allowed[e.Kind]
	switch {
	case !known:
		return nil, fmt.Errorf("%w: unknown kind %q", ErrEvent, e.Kind)
	case e.At.IsZero():
		return nil, fmt.Errorf("%w: %s without a time", ErrEvent, e.Kind)
	case !slices.Contains(perhapsVisit, e.Kind) && slices.Contains(withoutVisit, e.Kind) != (e.Visit == ""):
		return nil, fmt.Errorf("%w: %s with the wrong visit: some kinds need one, some must have none", ErrEvent, e.Kind)
	}
	b, err := json.Marshal(e.Facts)
	if err != nil {
		return nil, err
	}
	var have map[string]any
	if err := json.Unmarshal(b, &have); err != nil {
		return nil, err
	}
	may := strings.Fields(fields)
	for name, v := range have {
		if !slices.Contains(may, name) {
			return nil, fmt.Errorf("%w: %s carries no %s", ErrEvent, e.Kind, name)
		}
		if s, ok := v.(string); ok && !forms()[name].MatchString(s) {
			return nil, fmt.Errorf("%w: %s of %s does not have the form the log allows", ErrEvent, name, e.Kind)
		}
	}
	for category := range e.Facts.Counts {
		if !stableKey().MatchString(category) {
			return nil, fmt.Errorf("%w: a category of %s does not have the form the log allows", ErrEvent, e.Kind)
		}
	}
	return b, nil
}
