package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"
)

// schema is a JSON Schema (draft 2020-12) of the keywords that ours use; another keyword is an error. A library that knows
// all keywords of all drafts compiles the drafts themselves at each start of the program, a third of the time in which
// "obdgate --help" is done; the tests hold the two together.
type schema struct {
	Draft      string             `json:"$schema"`
	Title      string             `json:"title"`
	Type       string             `json:"type"`
	Enum       []string           `json:"enum"`
	MaxLength  *int               `json:"maxLength"` // in characters
	Pattern    string             `json:"pattern"`
	Items      *schema            `json:"items"`
	MinItems   int                `json:"minItems"`
	MaxItems   *int               `json:"maxItems"`
	Properties map[string]*schema `json:"properties"`
	Additional *bool              `json:"additionalProperties"`
	Required   []string           `json:"required"`
	OneOf      []*schema          `json:"oneOf"`

	names   []string // of Properties, sorted
	pattern *regexp.Regexp
}

func compile(name string, text []byte) (*schema, error) {
	var s schema
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&s)
	if err == nil {
		err = s.prepare()
	}
	if err != nil {
		return nil, fmt.Errorf("wire: schema %s: %w", name, err)
	}
	return &s, nil
}

func (s *schema) prepare() (err error) {
	switch s.Type {
	case "", "object", "array", "string", "number", "boolean":
	default:
		return fmt.Errorf("type %q", s.Type)
	}
	if s.Type == "" && len(s.OneOf) == 0 {
		return errors.New("a schema without a type")
	}
	if s.Type == "object" && (s.Additional == nil || *s.Additional) {
		return errors.New("an object without additionalProperties: false")
	}
	if s.Pattern != "" {
		if s.pattern, err = regexp.Compile(s.Pattern); err != nil {
			return err
		}
	}
	s.names = slices.Sorted(maps.Keys(s.Properties))
	for _, name := range s.names {
		if err := s.Properties[name].prepare(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, o := range s.OneOf {
		if err := o.prepare(); err != nil {
			return err
		}
	}
	if s.Items != nil {
		return s.Items.prepare()
	}
	return nil
}

// document reads JSON as validate wants it: numbers as they are written, nothing behind the document.
func document(body []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data after the document")
	}
	return doc, nil
}

// validate returns "" for a document that fits, else the place in the schema of the first rule that does not: never a value
// or a name out of the document.
func (s *schema) validate(doc any) string { return s.at(doc, "#") }

func (s *schema) at(doc any, place string) string {
	if s.Type != "" && typeOf(doc) != s.Type {
		return place + "/type"
	}
	if text, is := doc.(string); is {
		switch {
		case s.Enum != nil && !slices.Contains(s.Enum, text):
			return place + "/enum"
		case s.MaxLength != nil && utf8.RuneCountInString(text) > *s.MaxLength:
			return place + "/maxLength"
		case s.pattern != nil && !s.pattern.MatchString(text):
			return place + "/pattern"
		}
	} else if s.Enum != nil {
		return place + "/enum"
	}
	switch doc := doc.(type) {
	case []any:
		switch {
		case len(doc) < s.MinItems:
			return place + "/minItems"
		case s.MaxItems != nil && len(doc) > *s.MaxItems:
			return place + "/maxItems"
		case s.Items != nil:
			for _, item := range doc {
				if bad := s.Items.at(item, place+"/items"); bad != "" {
					return bad
				}
			}
		}
	case map[string]any:
		if bad := s.object(doc, place); bad != "" {
			return bad
		}
	}
	if s.OneOf != nil {
		return s.one(doc, place)
	}
	return ""
}

func (s *schema) object(doc map[string]any, place string) string {
	for _, name := range s.Required {
		if _, has := doc[name]; !has {
			return place + "/required"
		}
	}
	known := 0
	for _, name := range s.names {
		member, has := doc[name]
		if !has {
			continue
		}
		known++
		if bad := s.Properties[name].at(member, place+"/properties/"+name); bad != "" {
			return bad
		}
	}
	if known < len(doc) && s.Additional != nil && !*s.Additional {
		return place + "/additionalProperties"
	}
	return ""
}

// one holds the document against the alternatives, of which exactly one must fit. When none does, the first rule of the one
// of its type is told.
func (s *schema) one(doc any, place string) string {
	fit, bad := 0, ""
	for i, o := range s.OneOf {
		b := o.at(doc, place+"/oneOf/"+strconv.Itoa(i))
		if b == "" {
			fit++
		} else if bad == "" && o.Type == typeOf(doc) {
			bad = b
		}
	}
	switch {
	case fit == 1:
		return ""
	case bad == "" || fit > 1:
		return place + "/oneOf"
	}
	return bad
}

func typeOf(doc any) string {
	switch doc.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}
