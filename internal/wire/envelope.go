// Package wire is the upload schema: the envelope a station sends, the receipt and the erasure statement a collector
// signs. One document has one spelling: the bytes on the wire are the canonical bytes, and anything else is refused.
//
// Canonical form: UTF-8 JSON without white space; members in the order of the Go structs; optional members left out when
// empty; lists sorted (see Canonicalise) and free of duplicates; strings of printable ASCII with only " and \ escaped;
// numbers as plain decimals without exponent, leading or trailing zeros. The id of an envelope is the lower-case hex
// SHA-256 of its canonical form with the member "id" left out.
package wire

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Names and limits of the schema. A document over a limit is refused by both sides.
const (
	EnvelopeSchema = "obdgate/envelope/v1"
	MaxEnvelope    = 256 << 10 // bytes of one envelope
	MaxReadings    = 2048      // entries in readings and in software, each
	MaxCodes       = 1024      // trouble codes
	MaxValues      = 64        // values of the consumption record, sources of the mileage
	MaxText        = 128       // characters of a text value
	MaxKey         = 160       // characters of a key
	MaxNumber      = 32        // characters of a number
)

// ErrInvalid marks a document that breaks the schema or its rules. The error says which rule and where, never the value.
var ErrInvalid = errors.New("not a valid document")

// ErrHash marks an envelope whose id is not the hash of its content.
var ErrHash = errors.New("the id is not the hash of the content")

// Envelope is what leaves: values of one vehicle for one purpose, on one day, under one consent receipt. They are technical,
// save in a customer's own copy for another controller (Portable).
type Envelope struct {
	Schema  string `json:"schema" jsonschema:"enum=obdgate/envelope/v1"`
	ID      string `json:"id" jsonschema:"pattern=^[0-9a-f]{64}$"`
	Station string `json:"station" jsonschema:"maxLength=64,pattern=^[A-Za-z0-9][A-Za-z0-9._-]*$"`
	// Day is the calendar day of the reading at the station, without a clock time; for quality the first of the month.
	Day string `json:"day" jsonschema:"pattern=^[0-9]{4}-[0-9]{2}-[0-9]{2}$"`
	// VIN is whole (17) or its first 11 characters; absent for quality and where none was read.
	VIN     string `json:"vin,omitempty" jsonschema:"pattern=^[0-9A-HJ-NPR-Z]{11}([0-9A-HJ-NPR-Z]{6})?$"`
	Purpose string `json:"purpose" jsonschema:"maxLength=256,pattern=^(service|obfcm|quality|(third-party|portability):[!-~]([ -~]*[!-~])?)$"`
	// Receipt is the id of the consent receipt; for quality a keyed pseudonym that only the station can resolve.
	Receipt  string    `json:"receipt" jsonschema:"maxLength=96,pattern=^[A-Za-z0-9][A-Za-z0-9._:-]*$"`
	Policy   Policy    `json:"policy"`
	Readings []Reading `json:"readings" jsonschema:"maxItems=2048"`
	Codes    []Code    `json:"codes" jsonschema:"maxItems=1024"`
	OBFCM    *OBFCM    `json:"obfcm,omitempty"`
	Odometer *Odometer `json:"odometer,omitempty"`
	Software []Reading `json:"software" jsonschema:"maxItems=2048"`
}

// Policy names the rules that decided what is technical.
type Policy struct {
	Version string `json:"version" jsonschema:"maxLength=64,pattern=^[!-~]+$"`
	Hash    string `json:"hash" jsonschema:"pattern=^[0-9a-f]{64}$"`
}

// Reading is one value of one ECU. Absent values are not sent.
type Reading struct {
	Key   string `json:"key" jsonschema:"maxLength=160,pattern=^(odometer|obd|uds|obfcm|dbc|maker)([.][A-Za-z0-9_]+)*$"`
	Value Value  `json:"value"`
	Unit  string `json:"unit,omitempty" jsonschema:"maxLength=16,pattern=^[!-~]+$"`
	ECU   string `json:"ecu,omitempty" jsonschema:"maxLength=16,pattern=^[0-9A-Za-z._-]+$"`
}

// Code is one trouble code of one ECU.
type Code struct {
	Code   string `json:"code" jsonschema:"maxLength=16,pattern=^[A-Z0-9][A-Z0-9-]+$"`
	Status string `json:"status" jsonschema:"maxLength=32,pattern=^[a-z0-9][a-z0-9_-]*$"`
	ECU    string `json:"ecu,omitempty" jsonschema:"maxLength=16,pattern=^[0-9A-Za-z._-]+$"`
}

// OBFCM is the consumption record with its judgement.
type OBFCM struct {
	Verdict string   `json:"verdict" jsonschema:"enum=plausible,enum=implausible,enum=vehicle-error"`
	Reasons []string `json:"reasons,omitempty" jsonschema:"maxItems=64"`
	// Layout is "unconfirmed" when a value came through a layout no capture has confirmed.
	Layout string    `json:"layout,omitempty" jsonschema:"enum=unconfirmed"`
	ECU    string    `json:"ecu,omitempty" jsonschema:"maxLength=16,pattern=^[0-9A-Za-z._-]+$"`
	Values []Reading `json:"values" jsonschema:"maxItems=64"`
}

// Odometer is the mileage in km with its source. For quality it is rounded down to 10,000 km and has no verdict.
type Odometer struct {
	Km      Value     `json:"km"`
	Source  string    `json:"source" jsonschema:"maxLength=160,pattern=^(odometer|obd|uds|obfcm|dbc)([.][A-Za-z0-9_]+)*$"`
	ECU     string    `json:"ecu,omitempty" jsonschema:"maxLength=16,pattern=^[0-9A-Za-z._-]+$"`
	Verdict string    `json:"verdict,omitempty" jsonschema:"enum=consistent,enum=inconsistent,enum=no-verdict"`
	Sources []Reading `json:"sources,omitempty" jsonschema:"maxItems=64"`
}

// Canonicalise sorts every list by key, ECU, unit, value and drops exact duplicates, replaces nil lists by empty ones,
// and sets Schema and ID. It changes e only; it does not validate.
func (e *Envelope) Canonicalise() {
	e.Schema = EnvelopeSchema
	e.Readings, e.Software = sorted(e.Readings, compareReading), sorted(e.Software, compareReading)
	e.Codes = sorted(e.Codes, compareCode)
	if e.OBFCM != nil {
		e.OBFCM.Values = sorted(e.OBFCM.Values, compareReading)
		e.OBFCM.Reasons = omitEmpty(sorted(e.OBFCM.Reasons, cmp.Compare[string]))
	}
	if e.Odometer != nil {
		e.Odometer.Sources = omitEmpty(sorted(e.Odometer.Sources, compareReading))
	}
	e.ID = e.Hash()
}

func sorted[T comparable](s []T, by func(a, b T) int) []T {
	if s == nil {
		return []T{}
	}
	slices.SortFunc(s, by)
	return slices.Compact(s)
}

func omitEmpty[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

func compareReading(a, b Reading) int {
	return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ECU, b.ECU), cmp.Compare(a.Unit, b.Unit),
		cmp.Compare(a.Value.kind, b.Value.kind), cmp.Compare(a.Value.text, b.Value.text))
}

func compareCode(a, b Code) int {
	return cmp.Or(cmp.Compare(a.ECU, b.ECU), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Status, b.Status))
}

// Hash returns the id the content of e calls for.
func (e *Envelope) Hash() string {
	sum := sha256.Sum256(e.append(nil, false))
	return hex.EncodeToString(sum[:])
}

// Keys calls yield for every policy key the envelope carries, trouble codes as obd.dtc.STATUS. The receiving side asks
// its own policy about each.
func (e *Envelope) Keys(yield func(key string) bool) {
	lists := [][]Reading{e.Readings, e.Software}
	if e.OBFCM != nil {
		lists = append(lists, e.OBFCM.Values)
	}
	if e.Odometer != nil {
		lists = append(lists, e.Odometer.Sources)
		if !yield(e.Odometer.Source) {
			return
		}
	}
	for _, l := range lists {
		for _, r := range l {
			if !yield(r.Key) {
				return
			}
		}
	}
	for _, c := range e.Codes {
		if !yield(CodeKey + c.Status) {
			return
		}
	}
}

// CodeKey is the policy key of a trouble code without its status.
const CodeKey = "obd.dtc."

// Append adds the canonical form of e to dst. The result is valid only after Canonicalise.
func (e *Envelope) Append(dst []byte) []byte { return e.append(dst, true) }

// Parse reads one envelope: size, schema, canonical spelling, rules between members, then the hash. Errors wrap
// ErrInvalid or ErrHash and never carry content.
func Parse(body []byte) (*Envelope, error) {
	e := new(Envelope)
	if err := parse(body, MaxEnvelope, envelopeSchema, e); err != nil {
		return nil, err
	}
	if err := e.rules(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if !e.ordered() || string(e.Append(nil)) != string(body) {
		return nil, fmt.Errorf("%w: not in canonical form", ErrInvalid)
	}
	if e.Hash() != e.ID {
		return nil, ErrHash
	}
	return e, nil
}

// Portable reports whether e is a customer's own copy for another controller: it may hold personal values, and is for no use but
// that customer's.
func (e *Envelope) Portable() bool { return strings.HasPrefix(e.Purpose, "portability:") }

// ordered reports whether every list is strictly ascending, which is what Canonicalise leaves.
func (e *Envelope) ordered() bool {
	ok := ascending(e.Readings, compareReading) && ascending(e.Software, compareReading) && ascending(e.Codes, compareCode)
	if e.OBFCM != nil {
		ok = ok && ascending(e.OBFCM.Values, compareReading) && ascending(e.OBFCM.Reasons, cmp.Compare[string])
	}
	return ok && (e.Odometer == nil || ascending(e.Odometer.Sources, compareReading))
}

func ascending[T any](s []T, by func(a, b T) int) bool {
	for i := 1; i < len(s); i++ {
		if by(s[i-1], s[i]) >= 0 {
			return false
		}
	}
	return true
}

// rules are those a JSON Schema cannot say.
func (e *Envelope) rules() error {
	day, err := time.Parse(time.DateOnly, e.Day)
	if err != nil {
		return errors.New("day is not a calendar day")
	}
	if e.Purpose == "quality" {
		switch {
		case e.VIN != "":
			return errors.New("quality carries no vin")
		case day.Day() != 1:
			return errors.New("quality carries the first day of the month")
		case len(e.Software) > 0:
			return errors.New("quality carries no software identification")
		}
	}
	if e.Purpose == "obfcm" && len(e.Readings)+len(e.Codes)+len(e.Software) > 0 {
		return errors.New("obfcm carries the consumption record and the mileage only")
	}
	if e.Purpose != "obfcm" && !e.Portable() {
		if e.OBFCM != nil {
			return errors.New("only obfcm carries the consumption record")
		}
		for k := range e.Keys {
			if strings.HasPrefix(k, "obfcm.") {
				return errors.New("only obfcm carries consumption keys")
			}
		}
	}
	if e.OBFCM != nil {
		for _, r := range e.OBFCM.Values {
			if !strings.HasPrefix(r.Key, "obfcm.") {
				return errors.New("obfcm values have obfcm keys")
			}
		}
		for _, r := range e.OBFCM.Reasons {
			if len(r) == 0 || len(r) > 64 || strings.Trim(r, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
				return errors.New("a reason is a stable key")
			}
		}
	}
	if e.Odometer != nil && e.Odometer.Km.kind != number {
		return errors.New("mileage is a number")
	}
	return nil
}
