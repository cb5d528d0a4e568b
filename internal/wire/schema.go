package wire

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// The schemas are generated from the Go types (go test -run TestSchemas -update) and say additionalProperties: false at
// every level.
var (
	//go:embed schema/envelope.v1.json
	EnvelopeJSONSchema []byte
	//go:embed schema/receipt.v1.json
	ReceiptJSONSchema []byte
	//go:embed schema/erasure.v1.json
	ErasureJSONSchema []byte
	//go:embed schema/withdrawal.v1.json
	WithdrawalJSONSchema []byte
	//go:embed schema/statement.v1.json
	StatementJSONSchema []byte
)

var (
	envelopeSchema   = sync.OnceValues(func() (*schema, error) { return compile("envelope", EnvelopeJSONSchema) })
	receiptSchema    = sync.OnceValues(func() (*schema, error) { return compile("receipt", ReceiptJSONSchema) })
	erasureSchema    = sync.OnceValues(func() (*schema, error) { return compile("erasure", ErasureJSONSchema) })
	withdrawalSchema = sync.OnceValues(func() (*schema, error) { return compile("withdrawal", WithdrawalJSONSchema) })
	statementSchema  = sync.OnceValues(func() (*schema, error) { return compile("statement", StatementJSONSchema) })
)

// parse is size, JSON, schema, strict decoding. The caller compares with the canonical form, which also catches what
// encoding/json lets through (duplicate members, other spellings of a member's name).
func parse(body []byte, limit int, form func() (*schema, error), into any) error {
	if len(body) > limit {
		return fmt.Errorf("%w: larger than %d bytes", ErrInvalid, limit)
	}
	s, err := form()
	if err != nil {
		return err
	}
	doc, err := document(body)
	if err != nil {
		return fmt.Errorf("%w: not JSON", ErrInvalid) // the decoder's own words would quote the input
	}
	if bad := s.validate(doc); bad != "" {
		return fmt.Errorf("%w: schema: %s", ErrInvalid, bad)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: not in canonical form", ErrInvalid)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: data after the document", ErrInvalid)
	}
	return nil
}
