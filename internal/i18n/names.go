package i18n

import (
	"bytes"
	"encoding/csv"
	"regexp"
	"strings"
	"sync"
)

// The decoding tables hold their words in English: names of values and control units, states, reasons, advice. The other
// languages are files under names/, by those English words.

// number is what stands as # in the files: a hexadecimal number of its own, with or without 0x, or digits within a word.
var number = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`0x[0-9A-F]+|\b[0-9A-F]*[0-9][0-9A-F]*\b|[0-9]+`) })

// names reads a language's file; English has none. The files are part of the program: a broken one panics in every test.
func names(lang string) map[string]string {
	b, err := files.ReadFile("names/" + lang + ".csv")
	if err != nil {
		return nil // the tables' own language
	}
	r := csv.NewReader(bytes.NewReader(b))
	r.Comment, r.FieldsPerRecord = '!', 2
	rows, err := r.ReadAll()
	if err != nil {
		panic("i18n: names of " + lang + ": " + err.Error())
	}
	out := make(map[string]string, len(rows))
	for _, row := range rows[1:] {
		out[row[0]] = row[1]
	}
	return out
}

// Name returns the words for an English word of the decoding tables: "Short term fuel trim bank 1". What consists of
// several ("Misfire monitor, cylinder 2: sensor period") is put together from them. What nobody has translated, a maker's
// own text above all, comes back as it is.
func (c *Catalog) Name(english string) string {
	if english == "" || c.names() == nil {
		return english
	}
	if s, ok := c.name(english, maxParts); ok {
		return s
	}
	return english
}

const maxParts = 6

func (c *Catalog) name(english string, depth int) (string, bool) {
	if s, ok := c.whole(english); ok {
		return s, true
	}
	if depth == 0 {
		return "", false
	}
	if before, inside, ok := strings.Cut(english, " ("); ok && strings.HasSuffix(inside, ")") {
		a, okA := c.name(before, depth-1)
		b, okB := c.name(strings.TrimSuffix(inside, ")"), depth-1)
		if okA && okB {
			return a + " (" + b + ")", true
		}
	}
	for _, between := range []string{": ", ", "} {
		for at := 0; ; {
			i := strings.Index(english[at:], between)
			if i < 0 {
				break
			}
			at += i
			a, okA := c.name(english[:at], depth-1)
			b, okB := c.name(english[at+len(between):], depth-1)
			if okA && okB {
				return a + c.colon(between) + b, true
			}
			at += len(between)
		}
	}
	return "", false
}

// colon has a space in front in French.
func (c *Catalog) colon(between string) string {
	if c.lang == "fr" && between == ": " {
		return " : "
	}
	return between
}

// whole looks a text up with its numbers taken out, and puts them back.
func (c *Catalog) whole(english string) (string, bool) {
	numbers := number().FindAllString(english, -1)
	words, ok := c.names()[number().ReplaceAllString(english, "#")]
	if !ok {
		return "", false
	}
	var out strings.Builder
	for _, n := range numbers {
		before, after, _ := strings.Cut(words, "#")
		out.WriteString(before + n)
		words = after
	}
	return out.String() + words, true
}
