// Package i18n gives the words people see, in Dutch, German, French and English. The words are data: one file per
// language under messages/, all with the same keys, and one per language but English under names/.
package i18n

import (
	"embed"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

//go:embed messages/*.yaml names/*.csv
var files embed.FS

// Languages are the languages there are, English first: it is also what others fall back to.
var Languages = []string{"en", "nl", "de", "fr"}

// Catalog is one language's words. It is read-only and safe for concurrent use.
type Catalog struct {
	lang     string
	messages map[string]string
	names    map[string]string // by English words; nil in English
}

// Load returns the catalog of lang ("nl", "nl_BE.UTF-8" and "nl-BE" all mean nl). An unknown language is an error that
// names the known ones.
func Load(lang string) (*Catalog, error) {
	base := strings.ToLower(lang)
	if i := strings.IndexAny(base, "_-.@"); i >= 0 {
		base = base[:i]
	}
	if !slices.Contains(Languages, base) {
		return nil, fmt.Errorf("i18n: no language %q; there are %s", lang, strings.Join(Languages, ", "))
	}
	b, err := files.ReadFile("messages/" + base + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("i18n: %w", err)
	}
	c := &Catalog{lang: base}
	if err := yaml.UnmarshalWithOptions(b, &c.messages, yaml.DisallowUnknownField()); err != nil {
		return nil, fmt.Errorf("i18n: %s: %w", base, err)
	}
	c.names, err = names(base)
	return c, err
}

// FromEnv picks the language of the user's environment (LC_ALL, LC_MESSAGES, LANG in that order), "en" when it is none
// of ours.
func FromEnv() string {
	for _, k := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(k); v != "" {
			if c, err := Load(v); err == nil {
				return c.lang
			}
			return "en"
		}
	}
	return "en"
}

// Lang is the language's two letters.
func (c *Catalog) Lang() string { return c.lang }

// T returns the words for key with args filled in as fmt does; a key without words returns the key, which the tests of
// this package keep from happening.
func (c *Catalog) T(key string, args ...any) string {
	m, ok := c.messages[key]
	if !ok {
		return key
	}
	if len(args) == 0 {
		return m
	}
	return fmt.Sprintf(m, args...)
}

// Has reports whether there are words for key.
func (c *Catalog) Has(key string) bool { _, ok := c.messages[key]; return ok }

// Keys returns every key, sorted.
func (c *Catalog) Keys() []string { return slices.Sorted(maps.Keys(c.messages)) }
