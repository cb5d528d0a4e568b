package i18n

import (
	"strconv"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

// The files are YAML: a library that reads all of it finds the same words.
func TestMessagesAreYAML(t *testing.T) {
	for _, lang := range Languages {
		b, err := files.ReadFile("messages/" + lang + ".yaml")
		require.NoError(t, err)
		var want map[string]string
		require.NoError(t, yaml.UnmarshalWithOptions(b, &want, yaml.Strict()))
		got, err := messages(string(b))
		require.NoError(t, err)
		require.NotEmpty(t, got)
		require.Equal(t, want, got)
	}
}

func TestMessagesRefuse(t *testing.T) {
	for text, problem := range map[string]string{
		"a: b\nc":              "line 2: write key: words",
		": b":                  "line 1: write key: words",
		"a: 'b'":               "double quotes",
		"a: b: c":              "double quotes",
		"a: b # c":             "double quotes",
		"a: |":                 "double quotes",
		"a: \"b":               "line 1",
		"  a: b":               "double quotes",
		"a: b\n\n# c\na: d\n":  `line 4: "a" stands twice`,
		"a: \"b\" c":           "line 1",
		"a: [b]":               "double quotes",
		"\"a\\q\": b":          "line 1",
		"a: b\r\nb: \"c\\n\"d": "line 2",
	} {
		_, err := messages(text)
		require.ErrorContains(t, err, problem, "%q", text)
	}
}

// Whatever the words, there is a way to write them.
func FuzzMessages(f *testing.F) {
	f.Add("yes", "c \"d\"\n")
	f.Add("f: g", "h, i: (j) 100 % # k")
	f.Add("", "é\xff\x00")
	f.Fuzz(func(t *testing.T, key, words string) {
		got, err := messages("# words\n" + strconv.Quote(key) + ": " + strconv.Quote(words) + "\n")
		require.NoError(t, err)
		require.Equal(t, map[string]string{key: words}, got)
	})
}
