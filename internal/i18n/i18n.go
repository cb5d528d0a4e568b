// Package i18n gives the words people see, in Dutch, German, French and English. The words are data: one file per
// language under messages/, all with the same keys, and one per language but English under names/.
package i18n

import (
	"embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed messages/*.yaml names/*.csv
var files embed.FS

// Languages are the languages there are, English first: it is also what others fall back to.
var Languages = []string{"en", "nl", "de", "fr"}

// Catalog is one language's words. It is read-only and safe for concurrent use.
type Catalog struct {
	lang     string
	messages func() map[string]string // both are read when first asked for
	names    func() map[string]string // by English words; nil in English
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
	return &Catalog{
		lang:     base,
		messages: sync.OnceValue(func() map[string]string { return embedded(base) }),
		names:    sync.OnceValue(func() map[string]string { return names(base) }),
	}, nil
}

// embedded reads a file of the program: a broken one is a broken build, which the tests notice.
func embedded(lang string) map[string]string {
	b, err := files.ReadFile("messages/" + lang + ".yaml")
	if err != nil {
		panic("i18n: " + err.Error())
	}
	m, err := messages(string(b))
	if err != nil {
		panic("i18n: " + lang + ": " + err.Error())
	}
	return m
}

// messages reads the flat YAML the words are written in, a key and its words to a line, plain or in double quotes. Nearly
// every command reads one such file, and a reader of all of YAML would need longer for it than for all else.
func messages(text string) (map[string]string, error) {
	out := make(map[string]string, strings.Count(text, "\n"))
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		quoted, _ := strconv.QuotedPrefix(line)
		key, words, ok := strings.Cut(line[len(quoted):], ": ")
		err := errors.New(`write key: words, the words perhaps in "double quotes"`)
		if key = quoted + key; ok && key != "" {
			if key, err = scalar(key); err == nil {
				words, err = scalar(words)
			}
		}
		if _, twice := out[key]; twice {
			err = fmt.Errorf("%q stands twice", key)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out[key] = words
	}
	return out, nil
}

// scalar is a plain YAML scalar or one in double quotes, which is written like Go's.
func scalar(s string) (string, error) {
	switch {
	case s != "" && s[0] == '"':
		return strconv.Unquote(s)
	case s == "" || strings.ContainsRune(" '|>&*!%@`{}[],?:#-", rune(s[0])), strings.Contains(s, " #"), strings.Contains(s, ": "), s[len(s)-1] == ' ', s[len(s)-1] == ':':
		return "", fmt.Errorf("%q means something else in YAML: write it in double quotes", s)
	}
	return s, nil
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
// this package keep from happening. Where the first number among args is 1, the words of key.one are taken if there are any.
func (c *Catalog) T(key string, args ...any) string {
	m, ok := c.messages()[key]
	if !ok {
		return key
	}
	if len(args) == 0 {
		return m
	}
	if i := slices.IndexFunc(args, func(a any) bool { _, number := a.(int); return number }); i >= 0 && args[i] == 1 {
		if one, ok := c.messages()[key+".one"]; ok {
			m = one
		}
	}
	return fmt.Sprintf(m, args...)
}

// Has reports whether there are words for key.
func (c *Catalog) Has(key string) bool { _, ok := c.messages()[key]; return ok }

// Keys returns every key, sorted.
func (c *Catalog) Keys() []string { return slices.Sorted(maps.Keys(c.messages())) }
