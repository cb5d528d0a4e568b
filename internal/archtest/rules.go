package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// violation is one broken rule.
type violation struct {
	where string // file:line, or the package
	what  string
	why   string
}

func (v violation) String() string { return fmt.Sprintf("%s: %s: %s", v.where, v.what, v.why) }

// rules are the tables a tree is checked against.
type rules struct {
	rooms    []room              // in order: a room may import only rooms above it
	never    []never             // imports that no edit of rooms may allow
	packages []restricted        // standard library and third-party packages that few may import
	clocks   []string            // functions of package time that read or wait for the clock
	calls    []restrictedCall    // methods that few may call
	names    map[string]string   // package names nobody may use, and why
	blank    map[string][]string // package imported for its side effect → rooms
}

// room is one package of the module.
type room struct {
	dir     string
	may     []string // directories its non-test files may import
	pure    bool     // no input or output, no clock, no chance
	tests   bool     // serves tests: only test files import it
	tooling bool     // not part of the product: runs programs, reads the tree
}

// never forbids imports with a reason. With indirect, also through others.
type never struct {
	from     string
	to       []string
	indirect bool
	why      string
}

// everybody in place of rooms takes a package out of a wider rule: net/url out of net.
const everybody = "*"

// restricted is a package (and those below it) that only the named rooms may import in non-test files. With no rooms,
// nobody may.
type restricted struct {
	path  string
	rooms []string
	why   string
}

// restrictedCall is a method or function name that only the named rooms may mention in non-test files.
type restrictedCall struct {
	name  string
	rooms []string
	why   string
}

func (r *rules) room(dir string) *room {
	for i := range r.rooms {
		if r.rooms[i].dir == dir {
			return &r.rooms[i]
		}
	}
	return nil
}

// check returns every violation, rooms first.
func check(t *tree, r *rules) []violation {
	var found []violation
	for _, rule := range []func(*tree, *rules) []violation{
		checkTable, checkRooms, checkOrder, checkNever, checkLocal, checkUnused, checkPackages, checkPure, checkCalls, checkForm, checkPinned, checkNets,
	} {
		found = append(found, rule(t, r)...)
	}
	return found
}

// checkTable: the table and the tree have the same packages.
func checkTable(t *tree, r *rules) (found []violation) {
	for _, dir := range t.dirs() {
		if r.room(dir) == nil {
			found = append(found, violation{dir, "package is not in the table",
				"add it to internal/archtest/table.go, at its place in the order, with what it may import"})
		}
	}
	return found
}

// checkRooms: what the table names exists, so that no rule outlives its subject unseen.
func checkRooms(t *tree, r *rules) (found []violation) {
	gone := func(dir, in string) {
		if dir != everybody && t.pkgs[dir] == nil {
			found = append(found, violation{dir, "named in " + in + " but there is no such package",
				"a rule about nothing protects nothing; remove it or correct the name"})
		}
	}
	for _, room := range r.rooms {
		gone(room.dir, "the table")
	}
	for _, n := range r.never {
		gone(n.from, "a never rule")
		for _, to := range n.to {
			gone(to, "a never rule")
		}
	}
	for _, p := range r.packages {
		for _, dir := range p.rooms {
			gone(dir, "the rule for "+p.path)
		}
	}
	for _, c := range r.calls {
		for _, dir := range c.rooms {
			gone(dir, "the rule for "+c.name)
		}
	}
	return found
}

// checkOrder: the table itself runs one way. No cycle can be allowed by a line added in a hurry.
func checkOrder(_ *tree, r *rules) (found []violation) {
	seen := map[string]bool{}
	for _, room := range r.rooms {
		if seen[room.dir] {
			found = append(found, violation{room.dir, "is in the table twice", "one package, one line"})
		}
		for _, to := range room.may {
			if !seen[to] {
				found = append(found, violation{room.dir, "the table allows " + to + ", which does not stand above it",
					"imports run one way, in the order data flows"})
			}
		}
		seen[room.dir] = true
	}
	return found
}

// checkNever looks at the table as well as at the source, so that the table cannot be edited around it.
func checkNever(t *tree, r *rules) (found []violation) {
	for _, n := range r.never {
		if room := r.room(n.from); room != nil {
			for _, to := range room.may {
				if slices.Contains(n.to, to) {
					found = append(found, violation{n.from, "the table allows " + to, n.why})
				}
			}
		}
		seen := map[string]bool{}
		var visit func(dir, through string)
		visit = func(dir, through string) {
			p := t.pkgs[dir]
			if p == nil || seen[dir] {
				return
			}
			seen[dir] = true
			for _, i := range t.imports(p) {
				to, ok := local(i.path)
				if !ok || i.test {
					continue
				}
				if slices.Contains(n.to, to) {
					found = append(found, violation{i.where, n.from + " imports " + to + through, n.why})
				}
				if n.indirect {
					visit(to, " through "+to)
				}
			}
		}
		visit(n.from, "")
	}
	return found
}

// checkLocal: a room imports what its line allows. Test files may use any room: they put rooms together to test them.
func checkLocal(t *tree, r *rules) (found []violation) {
	for _, dir := range t.dirs() {
		room := r.room(dir)
		if room == nil {
			continue
		}
		for _, i := range t.imports(t.pkgs[dir]) {
			to, ok := local(i.path)
			if !ok || i.test {
				continue
			}
			if target := r.room(to); target != nil && target.tests && !room.tests {
				found = append(found, violation{i.where, dir + " imports " + to, "it serves tests; the product must not carry it"})
			}
			if !slices.Contains(room.may, to) {
				found = append(found, violation{i.where, dir + " imports " + to,
					"its line in the table does not allow it; a room uses what stands above it and only what it needs"})
			}
		}
	}
	return found
}

// checkUnused: what a line allows is used. Permission nobody needs is an import nobody will look at when it comes.
func checkUnused(t *tree, r *rules) (found []violation) {
	uses := func(dir string, match func(path string) bool) bool {
		p := t.pkgs[dir]
		return p == nil || slices.ContainsFunc(t.imports(p), func(i imported) bool { return !i.test && match(i.path) })
	}
	for _, room := range r.rooms {
		for _, to := range room.may {
			if !uses(room.dir, func(path string) bool { return path == module+"/"+to }) {
				found = append(found, violation{room.dir, "the table allows " + to + ", which it does not import",
					"take it out of internal/archtest/table.go"})
			}
		}
	}
	for _, p := range r.packages {
		for _, dir := range p.rooms {
			if dir != everybody && !uses(dir, func(path string) bool { return below(path, p.path) }) {
				found = append(found, violation{dir, "the table allows " + p.path + ", which it does not import",
					"take it out of internal/archtest/table.go"})
			}
		}
	}
	return found
}

// checkPackages: standard and third-party packages that few may import; a third-party package must have a line.
func checkPackages(t *tree, r *rules) (found []violation) {
	for _, dir := range t.dirs() {
		room := r.room(dir)
		for _, i := range t.imports(t.pkgs[dir]) {
			if i.test {
				continue
			}
			if _, ok := local(i.path); ok {
				continue
			}
			// The longest prefix decides: net/url is not net, go.einride.tech/can/pkg/dbc is not the socket.
			var rule *restricted
			for k := range r.packages {
				if p := &r.packages[k]; below(i.path, p.path) && (rule == nil || len(p.path) > len(rule.path)) {
					rule = p
				}
			}
			switch {
			case rule == nil && !standard(i.path):
				found = append(found, violation{i.where, dir + " imports " + i.path,
					"a dependency is wrapped in one place: give it a line with a reason in internal/archtest/table.go"})
			case rule != nil && !slices.Contains(rule.rooms, everybody) && !slices.Contains(rule.rooms, dir) &&
				(room == nil || !room.tooling):
				found = append(found, violation{i.where, dir + " imports " + i.path, rule.why})
			}
		}
	}
	return found
}

// impure packages give a room a clock, chance or the outside world. Embedded files are part of the program.
var impure = []string{"os", "io/fs", "io/ioutil", "net", "syscall", "log", "database", "math/rand", "crypto/rand", "runtime",
	"path/filepath", "testing"}

// harmless are inside impure ones but only names and values.
var harmless = []string{"net/url", "net/netip", "log/slog"}

// checkPure: bytes in, values out.
func checkPure(t *tree, r *rules) (found []violation) {
	for _, room := range r.rooms {
		p := t.pkgs[room.dir]
		if p == nil || !room.pure {
			continue
		}
		for _, i := range t.imports(p) {
			in := func(list []string) bool {
				return slices.ContainsFunc(list, func(prefix string) bool { return below(i.path, prefix) })
			}
			if !i.test && in(impure) && !in(harmless) {
				found = append(found, violation{i.where, room.dir + " imports " + i.path,
					"this room is pure: the same bytes give the same answer on every machine and at every hour"})
			}
		}
		for _, f := range p.files {
			if f.test {
				continue
			}
			for node := range mentions(f.ast, "time") {
				if slices.Contains(r.clocks, node.Sel.Name) {
					found = append(found, violation{t.at(node), room.dir + " uses time." + node.Sel.Name,
						"this room reads no clock: time is passed in"})
				}
			}
		}
	}
	return found
}

// mentions yields every NAME.Something where NAME is the file's name for the package importPath.
func mentions(f *ast.File, importPath string) func(func(*ast.SelectorExpr) bool) {
	return func(yield func(*ast.SelectorExpr) bool) {
		name := ""
		for _, spec := range f.Imports {
			if spec.Path.Value == `"`+importPath+`"` {
				name = path.Base(importPath)
				if spec.Name != nil {
					name = spec.Name.Name
				}
			}
		}
		if name == "" {
			return
		}
		for node := range selectors(f) {
			if x, ok := node.X.(*ast.Ident); ok && x.Name == name && !yield(node) {
				return
			}
		}
	}
}

// selectors yields every X.Name of a file.
func selectors(f *ast.File) func(func(*ast.SelectorExpr) bool) {
	return func(yield func(*ast.SelectorExpr) bool) {
		done := false
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && !done {
				done = !yield(s)
			}
			return !done
		})
	}
}

// checkCalls: methods whose every use is a decision. A mention counts, called or not.
func checkCalls(t *tree, r *rules) (found []violation) {
	for _, dir := range t.dirs() {
		for _, f := range t.pkgs[dir].files {
			if f.test {
				continue
			}
			for node := range selectors(f.ast) {
				for _, c := range r.calls {
					if node.Sel.Name == c.name && !slices.Contains(c.rooms, dir) {
						found = append(found, violation{t.at(node), dir + " uses ." + c.name, c.why})
					}
				}
			}
		}
	}
	return found
}

// checkNets: a panic that nobody catches ends the program and is printed by the runtime, with what it quotes.
func checkNets(t *tree, r *rules) (found []violation) {
	for _, dir := range t.dirs() {
		if room := r.room(dir); room != nil && (room.tests || room.tooling) {
			continue
		}
		bodies := map[string][]*ast.BlockStmt{} // of the package's functions and methods
		for _, f := range t.pkgs[dir].files {
			for _, d := range f.ast.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && !f.test {
					bodies[fn.Name.Name] = append(bodies[fn.Name.Name], fn.Body)
				}
			}
		}
		for _, f := range t.pkgs[dir].files {
			if f.test {
				continue
			}
			for at, run := range goroutines(f.ast) {
				var does []*ast.BlockStmt
				switch fn := run.(type) {
				case *ast.FuncLit:
					does = append(does, fn.Body)
				case *ast.Ident:
					does = bodies[fn.Name]
				case *ast.SelectorExpr:
					does = bodies[fn.Sel.Name]
				}
				if len(does) == 0 || slices.ContainsFunc(does, func(b *ast.BlockStmt) bool { return !catches(b) }) {
					found = append(found, violation{t.at(at), dir + " starts a goroutine without a net",
						"a panic in it would be printed with what it quotes: start it with a crash.Net, or defer its Catch in it, and Raise where it is waited for"})
				}
			}
		}
	}
	return found
}

// goroutines are the go statements and the calls of a WaitGroup's Go, with the function that is run.
func goroutines(f *ast.File) func(func(ast.Node, ast.Expr) bool) {
	return func(yield func(ast.Node, ast.Expr) bool) {
		done := false
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				done = done || !yield(n, n.Call.Fun)
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" && len(n.Args) == 1 {
					done = done || !yield(n, n.Args[0])
				}
			}
			return !done
		})
	}
}

// catches reports whether a function defers a Catch.
func catches(b *ast.BlockStmt) bool {
	return b != nil && slices.ContainsFunc(b.List, func(s ast.Stmt) bool {
		d, ok := s.(*ast.DeferStmt)
		if !ok {
			return false
		}
		fn, ok := d.Call.Fun.(*ast.SelectorExpr)
		return ok && fn.Sel.Name == "Catch"
	})
}

// pins: importing the one asks for importing the other, in the same package.
var pins = map[string]string{"pgregory.net/rapid": "obdgate/internal/pinned"}

// checkPinned: property tests have the same cases every time.
func checkPinned(t *tree, _ *rules) (found []violation) {
	for _, dir := range t.dirs() {
		has, where := map[string]bool{}, map[string]string{}
		for _, i := range t.imports(t.pkgs[dir]) {
			has[i.path], where[i.path] = true, i.where
		}
		for path, pin := range pins {
			if own, _ := local(pin); has[path] && !has[pin] && own != dir {
				found = append(found, violation{where[path], dir + " imports " + path + " without " + pin,
					"a property test that draws other cases each time fails for the wrong person; import it for its effect"})
			}
		}
	}
	return found
}

// checkForm: names, init functions, imports that hide where a name comes from or act by being imported.
func checkForm(t *tree, r *rules) (found []violation) {
	for _, dir := range t.dirs() {
		for _, f := range t.pkgs[dir].files {
			name := strings.TrimSuffix(f.ast.Name.Name, "_test")
			for _, word := range []string{name, path.Base(dir)} {
				if why, bad := r.names[word]; bad {
					found = append(found, violation{f.path, "package is called " + word, why})
					break
				}
			}
			if f.test {
				continue
			}
			for _, d := range f.ast.Decls {
				room := r.room(dir)
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" && (room == nil || !room.tests) {
					found = append(found, violation{t.at(fn), "init function",
						"a program that does things before main cannot be read from main; make it a call"})
				}
			}
		}
		for _, i := range t.imports(t.pkgs[dir]) {
			switch {
			case i.name == ".":
				found = append(found, violation{i.where, "dot import of " + i.path, "it hides where a name comes from"})
			case i.name == "_" && !i.test && i.path != "embed" && !slices.Contains(r.blank[i.path], dir):
				found = append(found, violation{i.where, "import of " + i.path + " for its side effect",
					"only database drivers, in the rooms that open databases"})
			}
		}
	}
	return found
}
