package consent

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// ReceiptSchema names the form of Receipt.
const ReceiptSchema = "obdgate/consent-receipt/v1"

// Errors of VerifyReceipt.
var (
	ErrReceiptForm      = errors.New("consent: not a receipt of this form")
	ErrReceiptSignature = errors.New("consent: the receipt's signature does not fit: it was changed or comes from another station")
)

// Receipt is the customer's proof of one answer, for a no as much as for a yes. Fields follow ISO/IEC TS 27560 (consent
// records and receipts) with terms of the W3C Data Privacy Vocabulary. It is complete by itself: what was asked, in which
// words (by hash), on which legal basis, who receives, for how long, how to withdraw. It names no person and no vehicle.
type Receipt struct {
	Schema   string        `json:"schema"`
	ID       string        `json:"receipt_id"` // random; the envelope carries it
	RecordID string        `json:"record_id"`  // Decision.ID
	Issued   time.Time     `json:"issued"`
	Language string        `json:"language,omitempty"`
	Subject  Subject       `json:"pii_principal"`
	Party    Party         `json:"pii_controller"`
	Process  Processing    `json:"processing"`
	Event    Event         `json:"consent_event"`
	Ledger   LedgerPlace   `json:"ledger"`
	Key      ReceiptKey    `json:"signing_key"`
	Sig      ReceiptSigned `json:"signature"`
}

// Subject is whom the answer concerns, by the visit's random number only.
type Subject struct {
	Visit string `json:"visit"`
}

// Party is the workshop that asked.
type Party struct {
	Station string `json:"station"`
	Name    string `json:"name,omitempty"`
}

// Processing is what was asked for.
type Processing struct {
	Purpose       Purpose  `json:"purpose"`
	PurposeTerms  []string `json:"purpose_terms"` // W3C DPV
	LegalBasis    string   `json:"legal_basis"`   // W3C DPV, extension eu-gdpr
	Law           string   `json:"law"`
	Categories    []string `json:"data_categories"`
	Recipients    []string `json:"recipients"` // as the register stood when the answer was given
	Retention     string   `json:"retention"`
	NoticeVersion string   `json:"notice_version"`
	NoticeHash    string   `json:"notice_sha256"`
	Withdrawal    string   `json:"withdrawal"`
	Rights        []string `json:"rights"` // W3C DPV, extension eu-gdpr
}

// Event is the answer itself.
type Event struct {
	State     string     `json:"state"`      // granted, refused, deferred, withdrawn
	StateTerm string     `json:"state_term"` // W3C DPV
	At        time.Time  `json:"at"`
	Until     *time.Time `json:"until,omitempty"`
	Recipient string     `json:"recipient,omitempty"` // set when the answer is about this one recipient
	Method    string     `json:"method,omitempty"`    // EvidenceKind
}

// LedgerPlace ties the receipt to the log entry: whoever holds the decision and the salt can open the commitment.
type LedgerPlace struct {
	Seq        uint64 `json:"entry"`
	Commitment string `json:"commitment"` // hex
}

// ReceiptKey names the key that signed.
type ReceiptKey struct {
	Algorithm string `json:"algorithm"` // "Ed25519"
	Public    string `json:"public"`    // base64
}

// ReceiptSigned is the signature in base64, over the receipt's JSON with an empty signature.
type ReceiptSigned string

// Signer signs with the station's Ed25519 key.
type Signer interface {
	Public() ed25519.PublicKey
	Sign(message []byte) []byte
}

const receiptContext = ReceiptSchema + "\n"

// NewReceipt makes the unsigned receipt of a recorded decision. names are the recipients that stand in the register for
// the purpose; an empty list is written as one, never left out.
func NewReceipt(id string, d Decision, station string, names []string, place LedgerPlace, issued time.Time) (Receipt, error) {
	d = d.Normal()
	n, err := NoticeVersion(d.Notice, d.Purpose, d.Language)
	if err != nil {
		return Receipt{}, err
	}
	if id == "" || d.ID == "" || d.Visit == "" || station == "" {
		return Receipt{}, fmt.Errorf("%w: id, record, visit and station are needed", ErrReceiptForm)
	}
	if names == nil {
		names = []string{}
	}
	t := n.Terms
	r := Receipt{
		Schema: ReceiptSchema, ID: id, RecordID: d.ID, Issued: issued.UTC().Truncate(time.Millisecond), Language: n.Language,
		Subject: Subject{Visit: d.Visit}, Party: Party{Station: station},
		Process: Processing{
			Purpose: d.Purpose, PurposeTerms: t.Purpose, LegalBasis: t.Basis, Law: t.Law, Categories: t.Categories,
			Recipients: names, Retention: n.HowLong, NoticeVersion: n.Version, NoticeHash: n.Hash, Withdrawal: n.Withdraw,
			Rights: t.Rights,
		},
		Event: Event{
			State: d.Answer.String(), StateTerm: stateTerm(d.Answer), At: d.At, Recipient: d.Recipient,
			Method: string(d.Evidence.Kind),
		},
		Ledger: place,
	}
	if !d.Until.IsZero() {
		r.Event.Until = &d.Until
	}
	return r, nil
}

func stateTerm(a Answer) string {
	switch a {
	case Granted:
		return "dpv:ConsentGiven"
	case Refused:
		return "dpv:ConsentRefused"
	case Withdrawn:
		return "dpv:ConsentWithdrawn"
	case Deferred:
		return "dpv:ConsentRequestDeferred"
	}
	return "dpv:ConsentUnknown"
}

// SignReceipt returns r with the key named and the signature set.
func SignReceipt(r Receipt, s Signer) (Receipt, error) {
	r.Key = ReceiptKey{Algorithm: "Ed25519", Public: base64.StdEncoding.EncodeToString(s.Public())}
	b, err := r.signed()
	if err != nil {
		return Receipt{}, err
	}
	r.Sig = ReceiptSigned(base64.StdEncoding.EncodeToString(s.Sign(b)))
	return r, nil
}

// VerifyReceipt checks r against the station's public key, which must come from elsewhere (the register, the station's
// card, an earlier receipt): the key inside r is only a label. A nil error means not a character was changed.
func VerifyReceipt(r Receipt, station ed25519.PublicKey) error {
	if r.Schema != ReceiptSchema || len(station) != ed25519.PublicKeySize {
		return ErrReceiptForm
	}
	if r.Key.Algorithm != "Ed25519" || r.Key.Public != base64.StdEncoding.EncodeToString(station) {
		return ErrReceiptSignature
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(string(r.Sig))
	if err != nil {
		return ErrReceiptSignature
	}
	b, err := r.signed()
	if err != nil || !ed25519.Verify(station, b, sig) {
		return ErrReceiptSignature
	}
	return nil
}

// signed returns the bytes under the signature.
func (r Receipt) signed() ([]byte, error) {
	r.Sig = ""
	b, err := json.Marshal(r)
	return append([]byte(receiptContext), b...), err
}

// ParseReceipt reads a receipt as JSON; unknown fields and anything after it are refused.
func ParseReceipt(b []byte) (Receipt, error) {
	var r Receipt
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil || r.Schema != ReceiptSchema {
		return Receipt{}, ErrReceiptForm
	}
	if _, err := d.Token(); err != io.EOF {
		return Receipt{}, ErrReceiptForm
	}
	return r, nil
}
