package wire

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// schemas are the committed ones, ours and as a library that knows all keywords understands them.
func schemas(t require.TestingT) map[string]struct {
	ours  *schema
	peers *jsonschema.Schema
} {
	out := map[string]struct {
		ours  *schema
		peers *jsonschema.Schema
	}{}
	for name, text := range map[string][]byte{"envelope": EnvelopeJSONSchema, "receipt": ReceiptJSONSchema, "erasure": ErasureJSONSchema,
		"withdrawal": WithdrawalJSONSchema, "statement": StatementJSONSchema} {
		ours, err := compile(name, text)
		require.NoError(t, err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		require.NoError(t, err)
		c := jsonschema.NewCompiler()
		require.NoError(t, c.AddResource(name+".json", doc))
		x := out[name]
		x.ours, x.peers = ours, c.MustCompile(name+".json")
		out[name] = x
	}
	return out
}

// documents are valid ones of every kind.
func documents() map[string][][]byte {
	hash, sig := strings.Repeat("0a", 32), strings.Repeat("A", 86)
	write := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return b
	}
	const at = "2026-11-20T10:00:00Z"
	return map[string][][]byte{
		"envelope": {sample().Append(nil), consumption().Append(nil)},
		"receipt":  {write(Receipt{"obdgate/receipt/v1", hash, "station-1", "collector", at, hash[:16], sig})},
		"erasure":  {write(Erasure{"obdgate/erasure/v1", hash, "station-1", "collector", at, hash[:16], sig})},
		"withdrawal": {write(Withdrawal{Schema: "obdgate/withdrawal/v1", ID: hash, Station: "station-1", Action: "stop", Receipts: []string{"d-1"},
			Envelopes: []string{hash}})},
		"statement": {write(Statement{Schema: "obdgate/statement/v1", Withdrawal: hash, Station: "station-1", Collector: "c", Action: "erase", At: at,
			Receipts: []string{"d-1"}, Held: []string{}, Erased: []string{hash}, Absent: []string{}, Key: hash[:16], Signature: sig})},
	}
}

// What is refused is what the library refuses, whatever was done to a document, and the place told is one of the schema.
func TestSchemaIsUnderstoodAsByOthers(t *testing.T) {
	all, valid := schemas(t), documents()
	fits := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(all))).Draw(t, "schema")
		doc, err := document(rapid.SampledFrom(valid[name]).Draw(t, "document"))
		require.NoError(t, err)
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			doc = change(t, doc)
		}
		bad, err := all[name].ours.validate(doc), all[name].peers.Validate(doc)
		require.Equal(t, err == nil, bad == "", "%s: %s, %v", name, bad, err)
		if fits[bad == ""]++; bad != "" {
			require.True(t, strings.HasPrefix(bad, "#/"))
			place(t, name, bad)
		}
	})
	require.Positive(t, fits[true])
	require.Positive(t, fits[false])
}

// change replaces, removes or adds something somewhere in a document.
func change(t *rapid.T, doc any) any {
	deeper := rapid.IntRange(0, 4).Draw(t, "deeper") > 0
	switch x := doc.(type) {
	case map[string]any:
		names := slices.Sorted(maps.Keys(x))
		if deeper && len(names) > 0 {
			name := rapid.SampledFrom(names).Draw(t, "member")
			x[name] = change(t, x[name])
			return x
		}
		switch rapid.IntRange(0, 2).Draw(t, "object") {
		case 0:
			x[rapid.SampledFrom([]string{"id", "unit", "vin", "Key", "other", "ecu"}).Draw(t, "added")] = thing(t)
			return x
		case 1:
			if len(names) > 0 {
				delete(x, rapid.SampledFrom(names).Draw(t, "removed"))
			}
			return x
		}
	case []any:
		if deeper && len(x) > 0 {
			i := rapid.IntRange(0, len(x)-1).Draw(t, "item")
			x[i] = change(t, x[i])
			return x
		}
		if n := rapid.SampledFrom([]int{0, 1, 65, 513, 1025, 2049}).Draw(t, "length"); len(x) > 0 && rapid.Bool().Draw(t, "resize") {
			long := make([]any, n)
			for i := range long {
				long[i] = x[0]
			}
			return long
		}
	case string:
		if deeper {
			return rapid.SampledFrom([]string{"", x + "\n", x + "x", strings.ToUpper(x), strings.Repeat("é", 64), strings.Repeat("a", 64),
				strings.Repeat("a", 65), strings.Repeat("a", 257), "7E8", " ", "é", "stop", "2026-11-20"}).Draw(t, "text")
		}
	}
	return thing(t)
}

func thing(t *rapid.T) any {
	return rapid.SampledFrom([]any{nil, true, "text", json.Number("1"), json.Number("1e400"), json.Number("-0.5"), []any{}, map[string]any{}, []any{"d-1"}}).Draw(t, "thing")
}

// place follows a pointer into the schema's own text.
func place(t require.TestingT, name, pointer string) {
	text := map[string][]byte{"envelope": EnvelopeJSONSchema, "receipt": ReceiptJSONSchema, "erasure": ErasureJSONSchema,
		"withdrawal": WithdrawalJSONSchema, "statement": StatementJSONSchema}[name]
	var at any
	require.NoError(t, json.Unmarshal(text, &at))
	for _, part := range strings.Split(pointer, "/")[1:] {
		switch x := at.(type) {
		case map[string]any:
			require.Contains(t, x, part, pointer)
			at = x[part]
		case []any:
			at = x[int(part[0]-'0')]
		default:
			t.Errorf("%s is no place", pointer)
			return
		}
	}
}

// A schema that says more than is understood is refused, not half obeyed.
func TestSchemaRefuses(t *testing.T) {
	for text, problem := range map[string]string{
		`{"type":"string","format":"uri"}`:                         "format",
		`{"type":"integer"}`:                                       "integer",
		`{"type":"object","properties":{}}`:                        "additionalProperties",
		`{"type":"object","additionalProperties":true}`:            "additionalProperties",
		`{"type":"array","items":{"type":"string","pattern":"("}}`: "missing closing",
		`{}`: "without a type",
		`{"type":"object","additionalProperties":false,"properties":{"a":{"minimum":1}}}`: "minimum",
		`{"oneOf":[{"const":1}]}`: "const",
		`[]`:                      "cannot unmarshal",
	} {
		_, err := compile("x", []byte(text))
		require.ErrorContains(t, err, problem, text)
	}
}
