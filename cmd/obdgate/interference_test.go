package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"obdgate/fixtures"
	"obdgate/internal/cli"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/sim"

	"github.com/stretchr/testify/require"
)

// Everything that can get out of a workshop in one visit, each as it would be seen outside.
type egress struct {
	sent      string // requests to the recipient as they went over the wire, in their order, with their sizes
	dry       string // what --dry-run shows would leave
	spoken    string // exit codes, logs and messages of every command with -v, and what they print but for the two screens
	recording string
	exports   map[string]string // what classify makes of the recording
	bundle    string            // the file for support
	files     string            // names of everything in the state directory
	ledger    string            // what the log says, times and numbers aside
}

// TestNonInterference replaces every personal and unknown byte of a session by arbitrary others: what the car's control
// units and its bus say, what the snapshot holds, the order's text, the evidence and the names. Nothing that gets out
// changes by a bit. OBDGATE_INTERFERENCE=N tries N such sessions instead of three.
func TestNonInterference(t *testing.T) {
	n := 3
	if s := os.Getenv("OBDGATE_INTERFERENCE"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	for name, value := range map[string]string{"OBDGATE_KEYRING": "off", "LANG": "C.UTF-8", "OBDGATE_HOME": "", "HOME": t.TempDir()} {
		t.Setenv(name, value)
	}
	plain, err := fs.ReadFile(fixtures.Vehicles(), "golf8.yaml")
	require.NoError(t, err)
	want, screen := session(t, string(plain), "Vermeulen-Claes, 1-XKJ-904", "paper form 88-Q17", "Bakker Willem")
	require.Equal(t, 3, strings.Count(want.sent, "POST /v1/envelopes HTTP/1.1"), want.spoken)
	require.Greater(t, strings.Count(want.recording, "7E8#"), 100)
	require.Contains(t, want.bundle, `"ledger_entries"`)
	require.NotContains(t, want.files, "WVW", "a file is named after the car")
	for form, text := range want.exports {
		require.Greater(t, len(text), 300, form)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range n {
		text := func() string {
			b := make([]rune, 1+rnd.IntN(40))
			for i := range b {
				b[i] = []rune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ 0123456789-,.äéß€漢")[rnd.IntN(55)]
			}
			return "x" + string(b) + "x"
		}
		car := stranger(t, string(plain), rnd)
		got, other := session(t, car, text(), "paper "+text(), text())
		require.NotEqual(t, screen, other, "the technician sees no difference: nothing was tested")
		for form := range want.exports {
			require.Equal(t, want.exports[form], got.exports[form], "session %d: what classify makes of the recording: %s", i, form)
		}
		for name, pair := range map[string][2]string{"requests": {want.sent, got.sent}, "dry run": {want.dry, got.dry}, "messages": {want.spoken, got.spoken},
			"recording": {want.recording, got.recording}, "support bundle": {want.bundle, got.bundle}, "file names": {want.files, got.files},
			"log": {want.ledger, got.ledger}} {
			require.Equal(t, strings.Split(pair[0], "\n"), strings.Split(pair[1], "\n"), "session %d: %s", i, name)
		}
	}
	t.Logf("%d sessions, %d bytes of egress each, identical", n, len(fmt.Sprint(want)))
}

// session is one visit from the order to the upload and what got out of it; screen is what the technician saw.
func session(t *testing.T, car, order, evidence, by string) (out egress, screen string) {
	t.Helper()
	dir := t.TempDir()
	home, record, bundle := filepath.Join(dir, "state"), filepath.Join(dir, "car.log"), filepath.Join(dir, "support.zip")
	vehicle := filepath.Join(dir, "golf8.yaml")
	require.NoError(t, os.WriteFile(vehicle, []byte(car), 0o600))
	var spoken strings.Builder
	run := func(args ...string) string {
		var o, e bytes.Buffer
		code := cli.Main(t.Context(), append([]string{"--home", home, "-v"}, args...), cli.Streams{In: strings.NewReader(""), Out: &o, Err: &e})
		fmt.Fprintln(&spoken, args[0], code, e.String())
		require.Zero(t, code, e.String())
		return strings.TrimSpace(o.String())
	}
	say := func(args ...string) string {
		o := run(args...)
		fmt.Fprintln(&spoken, o)
		return o
	}
	l := newLiar(t, "BE")
	run("recipient", "add", l.file, "--agreement", "DPA 2026-07")
	id := say("visit", "open", "--order", order)
	run("consent", "record", "--visit", id, "--purpose", "service=yes", "--purpose", "obfcm=yes", "--purpose", "quality=yes", "--evidence", evidence, "--by", by)
	screen = run("scan", "sim:"+vehicle, "--visit", id, "--record", record)
	out.dry = random(run("upload", "--dry-run"))
	say("upload")
	say("doctor", "--bundle", bundle)
	read := func(path string) string {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(b)
	}
	out.recording = read(record)
	// The bus as it is, with its broadcast frames, and what a supplier may be given of it.
	bus := filepath.Join(dir, "bus.log")
	require.NoError(t, os.WriteFile(bus, broadcastsOf(t, vehicle), 0o600))
	db := filepath.Join("..", "..", "dbc", "broadcast.dbc")
	out.exports = map[string]string{}
	for _, form := range [][]string{{"--to", "candump", "--only", "technical"}, {"--to", "candump", "--mask", "personal"}, {"--to", "jsonl", "--mask", "personal"},
		{"--to", "jsonl", "--only", "technical"}, {"--to", "pcapng", "--mask", "personal"}, {"--to", "pcapng", "--only", "technical"}} {
		for _, file := range []string{record, bus} {
			out.exports[strings.Join(form, " ")+" "+filepath.Base(file)] = run(append(append([]string{"classify", "--dbc", db}, form...), file)...)
		}
	}
	out.bundle = random(read(bundle))
	out.sent = random(l.heard())
	out.ledger = entries.ReplaceAllString(random(run("ledger", "show")), "")
	var names []string
	require.NoError(t, filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		names = append(names, strings.TrimPrefix(path, home))
		return err
	}))
	slices.Sort(names)
	out.files = strings.Join(names, "\n")
	out.spoken = machine.ReplaceAllString(strings.ReplaceAll(random(spoken.String()), dir, "DIR"), "")
	return out, screen
}

// entries are the parts of the log's lines that differ each time: the moment and the hash of a commitment.
var entries = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?|\b[0-9a-f]{8,64}…?`)

// machine are the parts of doctor's report that are this computer's: its own number, the room on its disk, its clock.
var machine = regexp.MustCompile(`\bst-[a-z2-7]{10}\b|\d+ MB free|clock +\S+`)

// broadcastsOf is what the virtual car's bus carries unasked, five rounds of it, as candump would show it.
func broadcastsOf(t *testing.T, vehicle string) []byte {
	t.Helper()
	car, err := sim.Load(vehicle)
	require.NoError(t, err)
	var log bytes.Buffer
	for round := range 5 {
		for i, b := range car.Spec().Broadcast {
			fmt.Fprintf(&log, "(%d.%06d) can0 %s#", 1700000000+round, i, b.ID)
			for j, part := range strings.Split(b.Data, "'") {
				if j%2 == 1 {
					part = hex.EncodeToString([]byte(part))
				}
				log.WriteString(strings.ToUpper(strings.ReplaceAll(part, " ", "")))
			}
			log.WriteByte('\n')
		}
	}
	require.Contains(t, log.String(), " 310#")
	return log.Bytes()
}

// stranger is golf8 with every personal byte drawn anew.
func stranger(t *testing.T, text string, rnd *rand.Rand) string {
	t.Helper()
	p, err := policy.Default()
	require.NoError(t, err)
	draw := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return strings.ToUpper(hex.EncodeToString(b))
	}
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"[rnd.IntN(37)]
		}
		return string(b)
	}
	pid := regexp.MustCompile(`^      "([0-9A-F]{2})": ("([0-9A-F ]+)"|u(8|16|24|32)\(\d+\))(.*)$`)
	section, changed := "", 0
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "     ") {
			section, _, _ = strings.Cut(strings.TrimSpace(line), ":")
		}
		key := map[string]string{"pids": "obd.01.", "freeze": "obd.02."}[section]
		if m := pid.FindStringSubmatch(line); m != nil && key != "" && p.TagKey(reading.Key(key+m[1])).Class != policy.Technical {
			n := len(strings.ReplaceAll(m[3], " ", "")) / 2
			if m[4] != "" {
				bits, _ := strconv.Atoi(m[4])
				n = bits / 8
			}
			line = fmt.Sprintf(`      "%s": "%s"%s`, m[1], draw(n), m[5])
			changed++
		}
		lines = append(lines, line)
	}
	require.Greater(t, changed, 10, "hardly anything of the car is personal")
	out := strings.Join(lines, "\n")
	// The snapshot: time, place, speed, driver. The identifiers stay: they are the record's form.
	for _, r := range []struct{ was, is string }{
		{"1700 u32(45589)", "1700 " + draw(4)}, {"2607130914", draw(5)}, {"1F36F70D 02EAF17F", draw(4) + " " + draw(4)}, {"1703 2F59", "1703 " + draw(2)},
		{"'DRV-KEY7'", "'" + word(8) + "'"}, {`extended: ["01 05", "02 0C"]`, `extended: ["01 ` + draw(1) + `", "02 ` + draw(1) + `"]`},
		// The broadcast frames: speed, seat, driver, place, phone book, wagon.
		{"2F59 2F59", draw(2) + " " + draw(2)}, {"5EA7C0DE", draw(4)}, {"8D0F371F", draw(4)}, {"7FF1EA02", draw(4)},
		{"'JANSEN '", "'" + word(7) + "'"}, {"'MARIEKE'", "'" + word(7) + "'"}, {"'CABIN-22'", "'" + word(8) + "'"},
	} {
		require.Contains(t, out, r.was)
		out = strings.ReplaceAll(out, r.was, r.is)
	}
	path := filepath.Join(t.TempDir(), "golf8.yaml")
	require.NoError(t, os.WriteFile(path, []byte(out), 0o600))
	_, err = sim.Load(path)
	require.NoError(t, err)
	return out
}
