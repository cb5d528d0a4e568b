package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"

	"obdgate/fixtures"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

// canary is a personal value that was put somewhere, in every form in which it may come out again.
type canary struct {
	name  string
	forms []*regexp.Regexp
}

// newCanary makes the forms of some bytes: as they are, hexadecimal with and without separators, base64 at each of its
// three alignments, and for texts both cases and UTF-16.
func newCanary(name string, b []byte, text bool) canary {
	c := canary{name: name}
	add := func(pattern string) { c.forms = append(c.forms, regexp.MustCompile(pattern)) }
	c.forms = append(c.forms, bytesPattern(b))
	var spaced []string
	for _, x := range b {
		spaced = append(spaced, hex.EncodeToString([]byte{x}))
	}
	add("(?i)" + strings.Join(spaced, `[ :.,_-]?(?:0x|\\x)?`))
	for skip := range 3 {
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			// What is before and after is not known: the characters that depend on it are left out.
			s := enc.EncodeToString(append(make([]byte, skip), b...))
			from := (skip*8 + 5) / 6
			s = s[from : (skip+len(b))*8/6]
			if len(s) >= 5 {
				add(regexp.QuoteMeta(s))
			}
		}
	}
	if text {
		add("(?i)" + regexp.QuoteMeta(string(b)))
		for _, order := range []func(uint16) []byte{
			func(u uint16) []byte { return []byte{byte(u), byte(u >> 8)} }, func(u uint16) []byte { return []byte{byte(u >> 8), byte(u)} },
		} {
			var wide []byte
			for _, u := range utf16.Encode([]rune(string(b))) {
				wide = append(wide, order(u)...)
			}
			c.forms = append(c.forms, bytesPattern(wide))
		}
	}
	return c
}

// bytesPattern matches bytes as they are. Regular expressions of Go work on runes: the bytes are shown to them as Latin-1.
func bytesPattern(b []byte) *regexp.Regexp { return regexp.MustCompile(regexp.QuoteMeta(latin1(b))) }

func latin1(b []byte) string {
	r := make([]rune, len(b))
	for i, x := range b {
		r[i] = rune(x)
	}
	return string(r)
}

// found names the canaries in some bytes.
func found(b []byte, all []canary) (names []string) {
	text := latin1(b)
	for _, c := range all {
		for _, f := range c.forms {
			if f.MatchString(text) {
				names = append(names, c.name)
				break
			}
		}
	}
	return names
}

// A search that finds nothing proves something only if it would have found it.
func TestTheSearchFinds(t *testing.T) {
	text, data := newCanary("name", []byte("Vermeulen-Claes"), true), newCanary("latitude", []byte{0x8D, 0x0F, 0x37, 0x1F}, false)
	all := []canary{text, data}
	for _, x := range []string{"order for Vermeulen-Claes, 2nd", "VERMEULEN-CLAES", "{\"o\":\"vermeulen-claes\"}",
		hex.EncodeToString([]byte("Vermeulen-Claes")), base64.StdEncoding.EncodeToString([]byte("xVermeulen-Claes")),
		base64.URLEncoding.EncodeToString([]byte("Mr Vermeulen-Claes.")), "V\x00e\x00r\x00m\x00e\x00u\x00l\x00e\x00n\x00-\x00C\x00l\x00a\x00e\x00s\x00"} {
		require.Equal(t, []string{"name"}, found([]byte(x), all), x)
	}
	for _, x := range []string{"\x01\x8D\x0F\x37\x1F\xFF", "310#8D0F371F7FF1EA02", "8d 0f 37 1f", "8D:0F:37:1F",
		base64.StdEncoding.EncodeToString([]byte{1, 2, 0x8D, 0x0F, 0x37, 0x1F, 9})} {
		require.Equal(t, []string{"latitude"}, found([]byte(x), all), "%q", x)
	}
	require.Empty(t, found([]byte("order for Vermeulen and Claes 8D0F371E"), all))
}

// files calls f with every file below dir, however it is called.
func files(t testing.TB, dir string, f func(path string, b []byte)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		f(path, append(b, "\n"+filepath.Base(path)...))
		return err
	}))
}

// The personal values of the car (position, phone book, seat, driver, speed, planted in its broadcast frames and its fault
// snapshots) and of the customer (a name in the order, in the evidence, of the witness) are looked for in everything the
// program leaves and sends. They may be on the technician's own screen: the report, the sheet of the visit.
func TestCanaries(t *testing.T) {
	t.Parallel()
	planted := carCanaries(t)
	order := newCanary("customer in the order", []byte("Vermeulen-Claes"), true)
	plate := newCanary("plate in the order", []byte("1-XKJ-904"), true)
	witness := newCanary("witness in the evidence", []byte("Elodie Maes"), true)
	form := newCanary("reference of the form", []byte("form 88-Q17-Vanden"), true)
	by := newCanary("who asked", []byte("Bakker Willem"), true)
	customer := []canary{order, plate, witness, form, by}

	s, l := newShop(t), newLiar(t, "BE")
	spoken := new(buffer) // stdout and stderr of everything but the two screens
	say := func(args ...string) string {
		r := s.run(append(args, "-v")...)
		require.Contains(t, []int{0, 77}, r.code, "%v: %s", args, r)
		fmt.Fprintln(spoken, r.out, r.errs)
		return strings.TrimSpace(r.out)
	}
	say("recipient", "add", l.file, "--agreement", "DPA 2026-07")
	id := say("visit", "open", "--order", "Vermeulen-Claes, 1-XKJ-904, knocks when cold")
	say("consent", "record", "--visit", id, "--purpose", "service=yes", "--evidence", "paper form 88-Q17-Vanden", "--by", "Bakker Willem")
	say("consent", "record", "--visit", id, "--purpose", "obfcm=yes", "--purpose", "quality=yes", "--evidence", "verbal Elodie Maes")

	record := filepath.Join(s.dir, "car.log")
	r := s.run("scan", "sim:golf8?traffic=1&clock=real", "--visit", id, "--record", record, "-v")
	require.Zero(t, r.code, r)
	fmt.Fprintln(spoken, r.errs)
	require.Empty(t, found([]byte(r.out), customer), "the report shows the customer")
	log, err := os.ReadFile(record)
	require.NoError(t, err)
	for _, frame := range []string{" 153#", " 2B2#", " 2D0#", " 310#", " 3C2#", " 5F3#"} {
		require.Contains(t, string(log), frame, "the frame that carries a canary was not on the bus: nothing was tested")
	}
	dry := say("upload", "--dry-run")
	require.Equal(t, 3, strings.Count(dry, `"purpose"`))
	say("upload")
	require.Empty(t, found([]byte(s.must("visit", "report", id, "--json")), customer), "the report shows the customer")
	say("consent", "receipt", "--visit", id, "--json")
	say("ledger", "show", "--json")
	say("ledger", "verify")
	say("consent", "withdraw", "--visit", id, "--purpose", "service")
	say("upload")
	say("doctor", "--bundle", filepath.Join(s.dir, "support.zip"))
	bundle, err := os.ReadFile(filepath.Join(s.dir, "support.zip"))
	require.NoError(t, err)
	require.Contains(t, string(bundle), `"ledger_entries"`, "packed: nothing would be found in it")
	require.Empty(t, found(bundle, []canary{newCanary("VIN", []byte("WVWZZZCD0NW000001"), true), newCanary("end of the VIN", []byte("NW000001"), true),
		newCanary("visit", []byte(id), true), newCanary("recipient", []byte("Dealer"), true), newCanary("address", []byte("127.0.0.1"), true),
		newCanary("directory", []byte(s.dir), true)}), "in the file for support")
	say("visit", "close", id)

	require.Contains(t, l.heard(), "POST /v1/envelopes HTTP/1.1")
	require.Contains(t, l.heard(), "WVWZZZCD0NW000001")
	require.Empty(t, found([]byte(l.heard()), append(planted, customer...)), "sent to the recipient")
	require.Empty(t, found([]byte(spoken.String()), planted), "printed")
	require.Empty(t, found([]byte(spoken.String()), []canary{order, plate}), "printed")
	n := 0
	files(t, s.dir, func(path string, b []byte) {
		n++
		require.Empty(t, found(b, append(planted, customer...)), "in %s", path)
	})
	require.Greater(t, n, 2)

	// It was all there, though: the technician sees it.
	require.NotEmpty(t, found([]byte(s.must("visit", "show", id)), []canary{order}))
}

// carCanaries are the virtual Golf's, those of two bytes doubled as the frame has them: two bytes are found by chance.
func carCanaries(t testing.TB) (all []canary) {
	t.Helper()
	car, err := sim.Load("golf8")
	require.NoError(t, err)
	for _, c := range car.Spec().Canaries {
		if text, ok := strings.CutPrefix(c.Bytes, "'"); ok {
			all = append(all, newCanary(c.Name, []byte(strings.TrimSuffix(text, "'")), true))
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(c.Bytes, " ", ""))
		require.NoError(t, err)
		if len(b) < 4 {
			b = append(b, b...)
		}
		all = append(all, newCanary(c.Name, b, false))
	}
	require.GreaterOrEqual(t, len(all), 10)
	text, err := fs.ReadFile(fixtures.Vehicles(), "golf8.yaml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(found(bytes.ReplaceAll(text, []byte("' "), []byte("'")), all)), 10, "the car does not carry what is looked for")
	return all
}

// What leaves does not depend on what stays: a car driven differently, by somebody else, somewhere else, and a customer with
// another name give the same bytes to the recipient, the same lines on the terminal, the same exit codes.
func TestNothingAboutWhatStayedGoesOut(t *testing.T) {
	t.Parallel()
	other := driven(t)
	type session struct{ report, dry, sent, printed, exported, bundle string }
	run := func(car, order string) session {
		s, l := newShop(t), newLiar(t, "BE")
		var printed strings.Builder
		say := func(args ...string) string {
			r := s.run(append(args, "-v")...)
			fmt.Fprintln(&printed, args[0], r.code, r.errs)
			require.Zero(t, r.code, r)
			return strings.TrimSpace(r.out)
		}
		say("recipient", "add", l.file, "--agreement", "DPA 2026-07")
		id := say("visit", "open", "--order", order)
		say("consent", "record", "--purpose", "service=yes", "--purpose", "obfcm=yes", "--purpose", "quality=yes", "--evidence", "paper form 7")
		record := filepath.Join(s.dir, "car.log")
		report := say("scan", "sim:"+car, "--visit", id, "--record", record)
		dry := say("upload", "--dry-run")
		printed.WriteString(say("upload"))
		exported := say("classify", "--to", "candump", "--only", "technical", record) + say("classify", "--to", "jsonl", "--mask", "personal", record)
		say("doctor", "--bundle", filepath.Join(s.dir, "support.zip"))
		bundle, err := os.ReadFile(filepath.Join(s.dir, "support.zip"))
		require.NoError(t, err)
		return session{report, random(dry), random(l.heard()), random(printed.String()), exported, random(string(bundle))}
	}
	same := filepath.Join(t.TempDir(), "golf8.yaml")
	text, err := fs.ReadFile(fixtures.Vehicles(), "golf8.yaml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(same, text, 0o600))
	one, two := run(same, "Vermeulen-Claes"), run(other, "Peeters")
	require.NotEqual(t, one.report, two.report, "the technician sees no difference: nothing was tested")
	require.Equal(t, 3, strings.Count(one.dry, `"receipt":"R"`))
	require.Equal(t, 3, strings.Count(one.sent, "POST /v1/envelopes HTTP/1.1"))
	require.Equal(t, one.dry, two.dry, "the envelopes differ")
	require.Equal(t, one.sent, two.sent, "what went over the wire differs")
	require.Equal(t, one.printed, two.printed, "what was printed differs")
	require.Greater(t, strings.Count(one.exported, "7E8"), 200)
	require.Equal(t, one.exported, two.exported, "what a recording lets through differs")
	require.Contains(t, one.bundle, `"ledger_entries"`)
	require.Equal(t, one.bundle, two.bundle, "the file for support differs")
}

// random replaces what is different each time by nature: receipt and visit numbers and with them the content hashes, the
// clock, port, key and directory names. Nothing else.
func random(s string) string {
	for _, r := range []struct{ what, by string }{
		{`\b[0-9a-f]{64}\b`, "H"}, {`"receipt":"[rq]-?[a-z0-9]+"`, `"receipt":"R"`}, {`receipt r[a-z0-9]{20}`, "receipt R"},
		{`\bv[a-z2-7]{12}\b`, "V"}, {`sha256 [0-9a-f]{16}…`, "sha256 H"}, {`time=\S+ `, ""}, {`signed \S+, key [0-9a-f]{16}`, "signed"},
		{`127\.0\.0\.1:\d+`, "HOST"}, {`"free_gb": \d+`, ""}, {`bundle" to "\S+"`, ""}, {`/\S*/support\.zip`, "ZIP"}, {`/[^\s"]*/(golf8|driven)\.yaml`, "CAR"}, {`\b\d+(\.\d+)?(ms|µs|s)\b`, "T"},
	} {
		s = regexp.MustCompile(r.what).ReplaceAllString(s, r.by)
	}
	return s
}

// driven is golf8 with every personal byte replaced by another: speed, pedals, throttle, torque demand, the moment of the
// fault, the snapshot's time and place, and all that its broadcast frames say of persons.
func driven(t testing.TB) (path string) {
	t.Helper()
	text, err := fs.ReadFile(fixtures.Vehicles(), "golf8.yaml")
	require.NoError(t, err)
	out := string(text)
	p, err := policy.Default()
	require.NoError(t, err)
	changed := 0
	pid := regexp.MustCompile(`(?m)^(      "([0-9A-F]{2})": )"?([0-9A-F ]+|u\d+\(\d+\))"?(\s*(#.*)?)$`)
	section := ""
	var lines []string
	for line := range strings.SplitSeq(out, "\n") {
		if strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "     ") {
			section = strings.TrimSuffix(strings.TrimSpace(line), ":")
		}
		m := pid.FindStringSubmatch(line)
		key := map[string]string{"pids": "obd.01.", "freeze": "obd.02."}[section]
		if m != nil && key != "" && !strings.HasPrefix(m[3], "u") && p.TagKey(reading.Key(key+m[2])).Class != policy.Technical {
			b, err := hex.DecodeString(strings.ReplaceAll(m[3], " ", ""))
			require.NoError(t, err)
			for i := range b {
				b[i] ^= 0x2A
			}
			line = fmt.Sprintf(`%s"%X"%s`, m[1], b, m[4])
			changed++
		}
		lines = append(lines, line)
	}
	require.Greater(t, changed, 8, "hardly anything of the car is personal")
	out = strings.Join(lines, "\n")
	for _, r := range [][2]string{
		{"2607130914", "2511290233"}, {"1F36F70D", "0A0B0C0D"}, {"02EAF17F", "0D0C0B0A"}, {"1703 2F59", "1703 1A1B"}, {"'DRV-KEY7'", "'DRV-KEY2'"},
		{"2F59 2F59", "1A1B 1A1B"}, {"5EA7C0DE", "01020304"}, {"8D0F371F", "11223344"}, {"7FF1EA02", "55667788"}, {"'JANSEN '", "'PIETER '"},
		{"'JANSEN'", "'PIETER'"}, {"'MARIEKE'", "'LIESBET'"}, {"'CABIN-22'", "'CABIN-71'"}, {`"2F59"`, `"1A1B"`},
	} {
		require.Contains(t, out, r[0])
		out = strings.ReplaceAll(out, r[0], r[1])
	}
	path = filepath.Join(t.TempDir(), "driven.yaml")
	require.NoError(t, os.WriteFile(path, []byte(out), 0o600))
	_, err = sim.Load(path)
	require.NoError(t, err)
	return path
}
