package i18n_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"obdgate/internal/i18n"

	"github.com/stretchr/testify/require"
)

func TestEveryLanguageHasTheSameWords(t *testing.T) {
	en, err := i18n.Load("en")
	require.NoError(t, err)
	verbs := regexp.MustCompile(`%[a-z]`)
	for _, lang := range i18n.Languages {
		c, err := i18n.Load(lang)
		require.NoError(t, err)
		require.Equal(t, en.Keys(), c.Keys(), lang)
		for _, k := range en.Keys() {
			require.Equal(t, verbs.FindAllString(en.T(k), -1), verbs.FindAllString(c.T(k), -1), "%s: %s: values in another order", lang, k)
			require.NotEmpty(t, c.T(k), "%s: %s", lang, k)
		}
	}
}

func TestLoad(t *testing.T) {
	for in, want := range map[string]string{"nl": "nl", "nl_BE.UTF-8": "nl", "DE": "de", "fr-LU": "fr", "en_GB": "en"} {
		c, err := i18n.Load(in)
		require.NoError(t, err)
		require.Equal(t, want, c.Lang())
	}
	_, err := i18n.Load("xx")
	require.ErrorContains(t, err, "en, nl, de, fr")
}

// Every literal key that code asks for has words: a missing one would show the key to a customer.
func TestEveryKeyInCodeHasWords(t *testing.T) {
	en, err := i18n.Load("en")
	require.NoError(t, err)
	seen := 0
	for _, dir := range []string{"../report", "../cli"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			tree, err := parser.ParseFile(token.NewFileSet(), file, src, 0)
			require.NoError(t, err)
			ast.Inspect(tree, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || sel.Sel.Name != "T" && sel.Sel.Name != "Heading" {
					return true
				}
				if lit, ok := call.Args[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					key, err := strconv.Unquote(lit.Value)
					require.NoError(t, err)
					require.True(t, en.Has(key), "%s asks for %q", file, key)
					seen++
				}
				return true
			})
		}
	}
	require.Greater(t, seen, 20, "the keys in code were not found")
}

// One day is not "1 days".
func TestOneIsSingular(t *testing.T) {
	for lang, want := range map[string][2]string{"en": {"1 day left", "2 days left"}, "de": {"noch 1 Tag", "noch 2 Tage"},
		"nl": {"nog 1 dag", "nog 2 dagen"}, "fr": {"encore 1 jour", "encore 2 jours"}} {
		c, err := i18n.Load(lang)
		require.NoError(t, err)
		require.Equal(t, want[0], c.T("ticket.left", 1))
		require.Equal(t, want[1], c.T("ticket.left", 2))
		require.Contains(t, c.T("ticket.remind", "t1", 1), want[0])
	}
}
