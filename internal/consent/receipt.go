package consent

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// ReceiptSchema names the form of Receipt.
const ReceiptSchema = "obdgate/consent-receipt/v1"

// Errors of VerifyReceipt.
var (
	ErrReceiptForm      = errors.New("consent: not a receipt of this form")
	ErrReceiptSignature = errors.New("consent: the receipt's signature does not fit: it was changed or comes from another station")
)

// Receipt is the customer's proof of one answer, for a no as much as for a yes. It has the mandatory fields of ISO/IEC TS
// 27560:2023 (header, processing, parties, event) and those optional ones that Regulation (EU) 2016/679 Art. 13 makes
// mandatory, with terms of the W3C Data Privacy Vocabulary; Fields27560 says where each stands. It is complete by itself:
// what was asked, in which words (by hash), on which legal basis, who receives, for how long, how to withdraw, where to
// complain. It names no customer and no vehicle.
type Receipt struct {
	Schema    string             `json:"schema"`
	ID        string             `json:"receipt_id"` // random; the envelope carries it
	RecordID  string             `json:"record_id"`  // Decision.ID
	Issued    time.Time          `json:"issued"`
	Language  string             `json:"language,omitempty"`
	Subject   Subject            `json:"pii_principal"`
	Party     Party              `json:"pii_controller"`
	Process   Processing         `json:"processing"`
	Parties   []ReceiptRecipient `json:"recipients"` // as the register stood when the answer was given
	Authority Authority          `json:"authority"`  // where to complain
	Event     Event              `json:"consent_event"`
	Ledger    LedgerPlace        `json:"ledger"`
	Key       ReceiptKey         `json:"signing_key"`
	Sig       ReceiptSigned      `json:"signature"`
}

// Subject is whom the answer concerns, by the visit's random number only.
type Subject struct {
	Visit string `json:"visit"` // pii_principal_id
}

// Party is the workshop that asked, the controller.
type Party struct {
	Station string `json:"station"` // party_id
	Workshop
	Role string `json:"role"` // W3C DPV
}

// ReceiptRecipient is one who would receive.
type ReceiptRecipient struct {
	Name      string `json:"name"`
	Country   string `json:"country,omitempty"`
	Role      string `json:"role"` // W3C DPV
	Retention string `json:"retention,omitempty"`
}

// Processing is what was asked for.
type Processing struct {
	Purpose       Purpose  `json:"purpose"`
	PurposeName   string   `json:"purpose_name"`  // in Language, the title of the notice
	PurposeTerms  []string `json:"purpose_terms"` // W3C DPV
	LegalBasis    string   `json:"legal_basis"`   // W3C DPV, extension eu-gdpr
	Law           string   `json:"law"`
	Categories    []string `json:"data_categories"`
	Sensitive     bool     `json:"sensitive_data"`    // never: no category of ours is
	Special       bool     `json:"special_data"`      // of Art. 9: never
	Source        string   `json:"collection_method"` // where the data come from
	Methods       []string `json:"processing_terms"`  // W3C DPV
	Automated     bool     `json:"automated_decision"`
	Storage       []string `json:"storage_locations"` // ISO countries: the workshop's, then the recipients'
	Geography     string   `json:"geographic_restriction"`
	Jurisdiction  string   `json:"jurisdiction"` // ISO country, or EU where the workshop's is not set
	Service       string   `json:"service"`
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
	Type      string     `json:"type"`       // W3C DPV: how the will was expressed
	Entity    string     `json:"entity"`     // whose will it was: the data subject, by the visit's number
	At        time.Time  `json:"at"`
	Until     *time.Time `json:"until,omitempty"`
	Validity  string     `json:"validity"`            // "until" and a time, or until-purpose-ended
	Recipient string     `json:"recipient,omitempty"` // set when the answer is about this one recipient
	Method    string     `json:"method,omitempty"`    // EvidenceKind
	// Who obtained the answer for the controller, and under which reference of theirs; "" when the controller asked itself.
	ObtainedBy string `json:"obtained_by,omitempty"`
	Reference  string `json:"reference,omitempty"`
}

// Issuer is who issues a receipt.
type Issuer struct {
	Station  string // id
	Workshop Workshop
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

// NewReceipt makes the unsigned receipt of a recorded decision. to are the recipients that stand in the register for the
// purpose; an empty list is written as one, never left out.
func NewReceipt(id string, d Decision, by Issuer, to []ReceiptRecipient, place LedgerPlace, issued time.Time) (Receipt, error) {
	d = d.Normal()
	n, err := NoticeVersion(d.Notice, d.Purpose, d.Language)
	if err != nil {
		return Receipt{}, err
	}
	if id == "" || d.ID == "" || d.Visit == "" || by.Station == "" {
		return Receipt{}, fmt.Errorf("%w: id, record, visit and station are needed", ErrReceiptForm)
	}
	w := by.Workshop.orDefault(by.Station)
	t := n.Terms
	r := Receipt{
		Schema: ReceiptSchema, ID: id, RecordID: d.ID, Issued: issued.UTC().Truncate(time.Millisecond), Language: n.Language,
		Subject: Subject{Visit: d.Visit}, Party: Party{Station: by.Station, Workshop: w, Role: "dpv:DataController"},
		Process: Processing{
			Purpose: d.Purpose, PurposeName: n.Title, PurposeTerms: t.Purpose, LegalBasis: t.Basis, Law: t.Law, Categories: t.Categories,
			Source: "vehicle-diagnostic-connector", Methods: []string{"dpv:Collect", "dpv:Store", "dpv:Transmit"},
			Storage: []string{}, Geography: "eea-or-safeguard", Jurisdiction: cmp.Or(w.Country, "EU"), Service: "workshop-visit",
			Retention: n.HowLong, NoticeVersion: n.Version, NoticeHash: n.Hash, Withdrawal: n.Withdraw, Rights: t.Rights,
		},
		Parties: []ReceiptRecipient{}, Authority: AuthorityOf(w.Country),
		Event: Event{
			State: d.Answer.String(), StateTerm: stateTerm(d.Answer), Type: "dpv:ExplicitlyExpressedConsent", Entity: d.Visit, At: d.At,
			Validity: "until-purpose-ended", Recipient: d.Recipient, Method: string(d.Evidence.Kind),
		},
		Ledger: place,
	}
	if d.Evidence.Kind == Principal {
		r.Event.ObtainedBy, r.Event.Reference = d.Evidence.Principal, d.Evidence.Reference
	}
	countries := []string{w.Country}
	for _, p := range to {
		r.Parties = append(r.Parties, p)
		countries = append(countries, p.Country)
	}
	for _, c := range countries {
		if c != "" && !slices.Contains(r.Process.Storage, c) {
			r.Process.Storage = append(r.Process.Storage, c)
		}
	}
	if len(r.Process.Storage) == 0 {
		r.Process.Storage = append(r.Process.Storage, r.Process.Jurisdiction)
	}
	if !d.Until.IsZero() {
		r.Event.Until = &d.Until
		r.Event.Validity = "until " + d.Until.Format(time.RFC3339)
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
