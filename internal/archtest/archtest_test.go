package archtest

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestHouse(t *testing.T) {
	source, err := load(os.DirFS("../.."))
	require.NoError(t, err)
	require.Greater(t, len(source.pkgs), 20, "not the module's root")
	for _, v := range check(source, &house) {
		t.Error(v)
	}
	goMod, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	found, err := checkRequirements(source, goMod)
	require.NoError(t, err)
	for _, v := range found {
		t.Error(v)
	}
}

func TestRequirementsCanBeBroken(t *testing.T) {
	source, err := load(fstest.MapFS{"a/a_test.go": &fstest.MapFile{
		Data: []byte("package a\nimport (_ \"fmt\"; _ \"obdgate/b\"; _ \"example.com/dep/v2/sub\"; _ \"example.com/dep\")\n")}})
	require.NoError(t, err)
	const head = "module obdgate\ngo 1.26\n"
	for goMod, want := range map[string]string{
		"require (\nexample.com/dep v1.0.0\nexample.com/dep/v2 v2.0.0\n)\n":                       "",
		"require (\nexample.com/dep v1.0.0\nexample.com/dep/v2 v2.0.0 // indirect\n)\n":           "go.mod: example.com/dep/v2 is marked indirect: a/a_test.go:2 imports it",
		"require example.com/dep/v2 v2.0.0\n":                                                     "a/a_test.go:2: a imports example.com/dep: go.mod does not require it: go get it",
		"require (\nexample.com/dep v1.0.0\nexample.com/dep/v2 v2.0.0\n)\nreplace a.b/c => ./c\n": "go.mod: replaces a.b/c",
	} {
		found, err := checkRequirements(source, []byte(head+goMod))
		require.NoError(t, err)
		if want == "" {
			require.Empty(t, found)
			continue
		}
		require.Len(t, found, 1)
		require.Contains(t, found[0].String(), want)
	}
}

// A rule that cannot fail protects nothing. Each case changes a small house that obeys all rules, and names what must be
// reported.
func TestEachRuleCanBeBroken(t *testing.T) {
	obeyed := func() (map[string]string, rules) {
		files := map[string]string{
			"internal/value/value.go":      "package value\nimport \"time\"\ntype V struct{ T time.Time }\n",
			"internal/value/value_test.go": "package value\nimport (\"os/exec\"; \"time\"; \"testing\"; \"obdgate/internal/fake\")\nvar _, _, _, _ = exec.Command, time.Now, testing.Short, fake.F\n",
			"internal/codec/codec.go":      "package codec\nimport (\"net/url\"; \"obdgate/internal/value\")\nvar _ value.V\nvar _ url.URL\n",
			"internal/out/out.go":          "package out\nimport (\"net/http\"; _ \"embed\"; \"obdgate/internal/value\"; \"example.com/dep/sub\")\nvar _ value.V\nvar _ http.Client\nvar _ = sub.X\nfunc f(s interface{ Reveal() string }) string { return s.Reveal() }\n",
			"internal/fake/fake.go":        "package fake\nimport \"testing\"\nvar F testing.TB\n",
			"cmd/prog/main.go":             "package main\nimport \"obdgate/internal/out\"\nvar _ = out.O\nfunc main() {}\n",
			"testdata/x/x.go":              "package util\nimport \"unsafe\"\n",
		}
		r := rules{
			rooms: []room{
				{dir: "internal/fake", tests: true},
				{dir: "internal/value", pure: true},
				{dir: "internal/codec", pure: true, may: []string{"internal/value"}},
				{dir: "internal/out", may: []string{"internal/value"}},
				{dir: "cmd/prog", may: []string{"internal/out"}},
			},
			never: []never{
				{from: "internal/out", to: []string{"internal/codec"}, why: "out is out"},
				{from: "cmd/prog", to: []string{"internal/codec"}, indirect: true, why: "not even through others"},
			},
			packages: []restricted{
				{path: "unsafe", why: "no memory faults"}, {path: "os/exec", why: "no programs"}, {path: "C", why: "no C"},
				{path: "net", rooms: nil, why: "no sockets"}, {path: "net/url", rooms: []string{"*"}},
				{path: "net/http", rooms: []string{"internal/out"}, why: "one door"},
				{path: "testing", rooms: []string{"internal/fake"}, why: "test support"},
				{path: "example.com/dep", rooms: []string{"internal/out"}, why: "wrapped once"},
			},
			clocks: house.clocks,
			calls:  []restrictedCall{{name: "Reveal", rooms: []string{"internal/out"}, why: "secrets"}},
			names:  house.names,
			blank:  map[string][]string{"example.com/driver": {"internal/out"}},
		}
		return files, r
	}
	add := func(file, code string) func(map[string]string, *rules) {
		return func(files map[string]string, _ *rules) { files[file] = code }
	}
	for _, c := range []struct {
		name   string
		change func(files map[string]string, r *rules)
		want   string // "" = nothing is reported
	}{
		{"nothing", func(map[string]string, *rules) {}, ""},
		{"a package without a line", add("internal/new/new.go", "package new\n"), "internal/new: package is not in the table"},
		{"a package of tests only, without a line", add("internal/new/new_test.go", "package new\n"), "internal/new: package is not in the table"},
		{"a line without a package", func(_ map[string]string, r *rules) { r.rooms = append(r.rooms, room{dir: "internal/gone"}) },
			"internal/gone: named in the table but there is no such package"},
		{"a never rule about nothing", func(_ map[string]string, r *rules) {
			r.never = append(r.never, never{from: "internal/out", to: []string{"internal/gone"}})
		}, "internal/gone: named in a never rule"},
		{"a package rule about nothing", func(_ map[string]string, r *rules) { r.packages[5].rooms = []string{"internal/out", "internal/gone"} },
			"internal/gone: named in the rule for net/http"},
		{"a call rule about nothing", func(_ map[string]string, r *rules) { r.calls[0].rooms = []string{"internal/out", "internal/gone"} },
			"internal/gone: named in the rule for Reveal"},
		{"an import the line does not allow", add("internal/codec/more.go", "package codec\nimport _ \"obdgate/internal/out\"\n"),
			"internal/codec/more.go:2: internal/codec imports internal/out"},
		{"the same behind a build tag", add("internal/codec/more_windows.go", "//go:build windows\n\npackage codec\nimport \"obdgate/internal/out\"\nvar _ = out.O\n"),
			"internal/codec/more_windows.go:4: internal/codec imports internal/out"},
		{"permission nobody uses", func(files map[string]string, _ *rules) { files["internal/codec/codec.go"] = "package codec\n" },
			"internal/codec: the table allows internal/value, which it does not import"},
		{"permission for a package nobody uses", func(_ map[string]string, r *rules) { r.packages[5].rooms = []string{"internal/out", "cmd/prog"} },
			"cmd/prog: the table allows net/http, which it does not import"},
		{"a table that runs backwards", func(_ map[string]string, r *rules) { r.rooms[1].may = []string{"internal/codec"} },
			"internal/value: the table allows internal/codec, which does not stand above it"},
		{"a room that allows itself", func(_ map[string]string, r *rules) { r.rooms[1].may = []string{"internal/value"} },
			"internal/value: the table allows internal/value"},
		{"a package twice in the table", func(_ map[string]string, r *rules) { r.rooms = append(r.rooms, room{dir: "cmd/prog"}) },
			"cmd/prog: is in the table twice"},
		{"a table edited around a never rule", func(_ map[string]string, r *rules) { r.rooms[3].may = []string{"internal/codec"} },
			"internal/out: the table allows internal/codec: out is out"},
		{"a never rule in the source", add("internal/out/more.go", "package out\nimport \"obdgate/internal/codec\"\n"),
			"internal/out/more.go:2: internal/out imports internal/codec: out is out"},
		{"a never rule broken through another room", add("internal/out/more.go", "package out\nimport \"obdgate/internal/codec\"\n"),
			"cmd/prog imports internal/codec through internal/out: not even through others"},
		{"tests may do what the product may not", add("internal/out/more_test.go", "package out\nimport \"obdgate/internal/codec\"\n"), ""},
		{"test support in the product", add("internal/value/more.go", "package value\nimport \"obdgate/internal/fake\"\n"),
			"internal/value imports internal/fake: it serves tests"},
		{"a goroutine without a net", add("internal/value/more.go", "package value\nfunc f() {\n\tgo func() {}()\n}\n"),
			"internal/value/more.go:3: internal/value starts a goroutine without a net"},
		{"one of a group", add("internal/value/more.go", "package value\nimport \"sync\"\nfunc f(wg *sync.WaitGroup) {\n\twg.Go(g)\n}\nfunc g() { defer g() }\n"),
			"internal/value/more.go:4: internal/value starts a goroutine without a net"},
		{"one that runs what is handed in", add("internal/value/more.go", "package value\nfunc f(g func()) {\n\tgo g()\n}\n"),
			"internal/value/more.go:3: internal/value starts a goroutine without a net"},
		{"a goroutine with a net", add("internal/value/more.go", "package value\nfunc f(net interface{ Catch() }) {\n\tgo func() { defer net.Catch() }()\n}\ntype t struct{ net interface{ Catch() } }\nfunc (x t) run() { defer x.net.Catch() }\nfunc (x t) g() { go x.run() }\n"), ""},
		{"the network", add("internal/codec/more.go", "package codec\nimport \"net/http\"\n"), "internal/codec imports net/http: one door"},
		{"sockets, even beside HTTP", add("internal/out/more.go", "package out\nimport \"net\"\n"), "internal/out imports net: no sockets"},
		{"mail is the network too", add("internal/out/more.go", "package out\nimport \"net/smtp\"\n"), "internal/out imports net/smtp: no sockets"},
		{"other programs", add("internal/out/more.go", "package out\nimport \"os/exec\"\n"), "internal/out imports os/exec: no programs"},
		{"unsafe", add("internal/out/more.go", "package out\nimport \"unsafe\"\n"), "internal/out imports unsafe: no memory faults"},
		{"C", add("internal/out/more.go", "package out\nimport \"C\"\n"), "internal/out imports C: no C"},
		{"tools may start programs", func(files map[string]string, r *rules) {
			files["tool/tool.go"] = "package tool\nimport \"os/exec\"\n"
			r.rooms = append(r.rooms, room{dir: "tool", tooling: true})
		}, ""},
		{"testing in the product", add("internal/out/more.go", "package out\nimport \"testing\"\n"), "internal/out imports testing: test support"},
		{"a dependency in a second place", add("internal/codec/more.go", "package codec\nimport \"example.com/dep\"\n"),
			"internal/codec imports example.com/dep: wrapped once"},
		{"a dependency nobody decided on", add("internal/out/more.go", "package out\nimport \"example.com/dependable\"\n"),
			"internal/out imports example.com/dependable: a dependency is wrapped in one place"},
		{"input and output in a pure room", add("internal/value/more.go", "package value\nimport \"os\"\n"), "internal/value imports os: this room is pure"},
		{"chance in a pure room", add("internal/value/more.go", "package value\nimport \"crypto/rand\"\n"), "internal/value imports crypto/rand: this room is pure"},
		{"a clock in a pure room", add("internal/value/more.go", "package value\nimport \"time\"\nvar t = time.Now()\n"),
			"internal/value/more.go:3: internal/value uses time.Now: this room reads no clock"},
		{"a clock under another name", add("internal/value/more.go", "package value\nimport clock \"time\"\nvar now = clock.Since\n"),
			"internal/value/more.go:3: internal/value uses time.Since"},
		{"a variable called time is not the clock", add("internal/value/more.go", "package value\nimport clock \"time\"\nvar time struct{ Now clock.Time }\nvar x = time.Now\n"), ""},
		{"a secret revealed", add("internal/codec/more.go", "package codec\nfunc f(s interface{ Reveal() string }) string { return s.Reveal() }\n"),
			"internal/codec/more.go:2: internal/codec uses .Reveal: secrets"},
		{"a secret revealed later", add("internal/codec/more.go", "package codec\nfunc f(s interface{ Reveal() string }) func() string { return s.Reveal }\n"),
			"internal/codec uses .Reveal"},
		{"an init function", add("internal/codec/more.go", "package codec\nfunc init() {}\n"), "internal/codec/more.go:2: init function"},
		{"property tests with other cases each time", add("internal/codec/codec_test.go", "package codec\nimport _ \"pgregory.net/rapid\"\n"), "internal/codec/codec_test.go:2: internal/codec imports pgregory.net/rapid without obdgate/internal/pinned"},
		{"a method called init", add("internal/codec/more.go", "package codec\ntype t int\nfunc (t) init() {}\n"), ""},
		{"a drawer", func(files map[string]string, r *rules) {
			files["internal/util/x.go"] = "package util\n"
			r.rooms = append(r.rooms, room{dir: "internal/util"})
		}, "internal/util/x.go: package is called util"},
		{"a drawer under a false name", func(files map[string]string, r *rules) {
			files["internal/x/x.go"] = "package helpers\n"
			r.rooms = append(r.rooms, room{dir: "internal/x"})
		}, "internal/x/x.go: package is called helpers"},
		{"a dot import", add("internal/codec/more.go", "package codec\nimport . \"strings\"\n"), "dot import of strings"},
		{"a dot import in a test", add("internal/codec/more_test.go", "package codec\nimport . \"strings\"\n"), "dot import of strings"},
		{"an import for its side effect", add("internal/codec/more.go", "package codec\nimport _ \"image/png\"\n"),
			"import of image/png for its side effect"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, r := obeyed()
			c.change(files, &r)
			fsys := fstest.MapFS{}
			for name, code := range files {
				fsys[name] = &fstest.MapFile{Data: []byte(code)}
			}
			source, err := load(fsys)
			require.NoError(t, err)
			var text []string
			for _, v := range check(source, &r) {
				text = append(text, v.String())
			}
			if c.want == "" {
				require.Empty(t, text)
				return
			}
			require.Contains(t, strings.Join(text, "\n"), c.want)
		})
	}
}

// Every rule says why, because the failure is read by somebody who does not know the rule.
func TestEveryRuleHasAReason(t *testing.T) {
	for _, n := range house.never {
		require.NotEmpty(t, n.why, n.from)
	}
	for _, p := range house.packages {
		if len(p.rooms) != 1 || p.rooms[0] != everybody {
			require.NotEmpty(t, p.why, p.path)
		}
	}
	for _, c := range house.calls {
		require.NotEmpty(t, c.why, c.name)
	}
}

// A file that does not parse must not be passed over.
func TestSourceThatDoesNotParseIsAnError(t *testing.T) {
	_, err := load(fstest.MapFS{"a/a.go": &fstest.MapFile{Data: []byte("package")}})
	require.Error(t, err)
}
