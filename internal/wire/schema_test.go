package wire

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"testing"

	generate "github.com/invopop/jsonschema"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the committed schemas from the Go types")

// TestSchemas: a partner who validates against the committed schema must get the answer our types give.
func TestSchemas(t *testing.T) {
	max := uint64(MaxText)
	r := generate.Reflector{
		Anonymous: true, DoNotReference: true,
		Mapper: func(t reflect.Type) *generate.Schema {
			if t != reflect.TypeFor[Value]() {
				return nil
			}
			return &generate.Schema{OneOf: []*generate.Schema{
				{Type: "number"}, {Type: "boolean"}, {Type: "string", MaxLength: &max, Pattern: "^[ -~]+$"}}}
		},
	}
	for name, v := range map[string]any{"envelope": &Envelope{}, "receipt": &Receipt{}, "erasure": &Erasure{},
		"withdrawal": &Withdrawal{}, "statement": &Statement{}} {
		s := r.Reflect(v)
		s.Title = "obdgate/" + name + "/v1"
		text, err := json.MarshalIndent(s, "", "  ")
		require.NoError(t, err)
		text = append(text, '\n')
		path := "schema/" + name + ".v1.json"
		if *update {
			require.NoError(t, os.WriteFile(path, text, 0o644))
			continue
		}
		have, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(have, text), "%s is not what the Go types say: go test ./internal/wire -run TestSchemas -update", path)
	}
}

// TestLimitsInSchema: the constants people read and the schema machines read are the same numbers.
func TestLimitsInSchema(t *testing.T) {
	var s struct {
		AdditionalProperties any
		Properties           map[string]struct {
			MaxItems             int
			AdditionalProperties any
			Items                struct {
				AdditionalProperties any
				Properties           map[string]struct{ MaxLength int }
			}
		}
	}
	require.NoError(t, json.Unmarshal(EnvelopeJSONSchema, &s))
	require.Equal(t, false, s.AdditionalProperties)
	require.Equal(t, MaxReadings, s.Properties["readings"].MaxItems)
	require.Equal(t, MaxReadings, s.Properties["software"].MaxItems)
	require.Equal(t, MaxCodes, s.Properties["codes"].MaxItems)
	require.Equal(t, MaxKey, s.Properties["readings"].Items.Properties["key"].MaxLength)
	for _, nested := range []string{"policy", "obfcm", "odometer"} {
		require.Equal(t, false, s.Properties[nested].AdditionalProperties, nested)
	}
	for _, list := range []string{"readings", "codes", "software"} {
		require.Equal(t, false, s.Properties[list].Items.AdditionalProperties, list)
	}
}
