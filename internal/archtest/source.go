// Package archtest holds the house rules of the source tree as a test: which room may import which, who may touch the
// network, who may reveal a vehicle's identity, who may read a clock. The table is in table.go; each rule has a reason,
// which the failure prints, and a test that breaks it on purpose.
//
// The source is read in this process. A test that asks the go command instead is answered from the test cache after a
// forbidden import was added, because the cache does not see what a child process reads.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is this module's path in go.mod.
const module = "obdgate"

// file is one Go file.
type file struct {
	path string // from the module's root, with slashes
	test bool
	ast  *ast.File
}

// pkg is one directory with Go files, of every operating system and build tag.
type pkg struct {
	dir   string // from the module's root: "internal/gate"
	files []file
}

// tree is the parsed source of the module.
type tree struct {
	fset *token.FileSet
	pkgs map[string]*pkg
}

// load parses every Go file below fsys, the module's root. Directories that the go command skips (testdata, vendor,
// those that begin with a dot or an underscore) are skipped.
func load(fsys fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet(), pkgs: map[string]*pkg{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_'):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(base, ".go"):
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(t.fset, name, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		p := t.pkgs[dir]
		if p == nil {
			p = &pkg{dir: dir}
			t.pkgs[dir] = p
		}
		p.files = append(p.files, file{path: name, test: strings.HasSuffix(base, "_test.go"), ast: parsed})
		return nil
	})
	return t, err
}

// dirs lists the directories in order.
func (t *tree) dirs() []string {
	var dirs []string
	for dir := range t.pkgs {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return dirs
}

// at prints where a node is.
func (t *tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// imported is one import of one file.
type imported struct {
	path  string
	name  string // given name: "", "_", "." or an alias
	where string
	test  bool
}

func (t *tree) imports(p *pkg) []imported {
	var list []imported
	for _, f := range p.files {
		for _, spec := range f.ast.Imports {
			text, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue // the parser has refused it already
			}
			i := imported{path: text, where: t.at(spec), test: f.test}
			if spec.Name != nil {
				i.name = spec.Name.Name
			}
			list = append(list, i)
		}
	}
	return list
}

// local returns the directory of an import of this module.
func local(importPath string) (dir string, ok bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// standard reports whether an import path belongs to the standard library: its first element has no dot.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return first != module && !strings.Contains(first, ".")
}

// below reports whether an import path is prefix or inside it.
func below(importPath, prefix string) bool {
	return importPath == prefix || strings.HasPrefix(importPath, prefix+"/")
}
