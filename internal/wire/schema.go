package wire

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
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
	envelopeSchema   = sync.OnceValues(func() (*jsonschema.Schema, error) { return compile("envelope", EnvelopeJSONSchema) })
	receiptSchema    = sync.OnceValues(func() (*jsonschema.Schema, error) { return compile("receipt", ReceiptJSONSchema) })
	erasureSchema    = sync.OnceValues(func() (*jsonschema.Schema, error) { return compile("erasure", ErasureJSONSchema) })
	withdrawalSchema = sync.OnceValues(func() (*jsonschema.Schema, error) { return compile("withdrawal", WithdrawalJSONSchema) })
	statementSchema  = sync.OnceValues(func() (*jsonschema.Schema, error) { return compile("statement", StatementJSONSchema) })
)

func compile(name string, text []byte) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("wire: schema %s: %w", name, err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name+".json", doc); err != nil {
		return nil, fmt.Errorf("wire: schema %s: %w", name, err)
	}
	return c.Compile(name + ".json")
}

// parse is size, JSON, schema, strict decoding. The caller compares with the canonical form, which also catches what
// encoding/json lets through (duplicate members, other spellings of a member's name).
func parse(body []byte, limit int, schema func() (*jsonschema.Schema, error), into any) error {
	if len(body) > limit {
		return fmt.Errorf("%w: larger than %d bytes", ErrInvalid, limit)
	}
	s, err := schema()
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: not JSON", ErrInvalid) // the decoder's own words would quote the input
	}
	if err := s.Validate(doc); err != nil {
		return fmt.Errorf("%w: schema: %s", ErrInvalid, where(err))
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

// where names the first rule that failed, by its place in the schema: never a value or a name out of the document.
func where(err error) string {
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return "refused"
	}
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	path := v.SchemaURL
	if i := bytes.IndexByte([]byte(path), '#'); i >= 0 {
		path = path[i:]
	}
	for _, k := range v.ErrorKind.KeywordPath() {
		path += "/" + k
	}
	return path
}
