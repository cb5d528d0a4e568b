package cli

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"obdgate/internal/collector"
	"obdgate/internal/consent"

	"github.com/stretchr/testify/require"
)

// dealer is a collector on loopback, and the file its stations are enrolled with.
func dealer(t *testing.T, name string, purposes ...consent.Purpose) (*collector.Collector, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	col, err := collector.Open(t.Context(), collector.Options{Home: filepath.Join(t.TempDir(), "collector"), Name: name, Country: "NL",
		URL: "https://" + ln.Addr().String(), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- col.Serve(ctx, ln) }()
	t.Cleanup(func() { stop(); <-done; col.Close() })
	b, err := col.Enroll(t.Context(), "lane-1")
	require.NoError(t, err)
	if len(purposes) > 0 {
		b.Purposes = purposes
	}
	text, err := b.Encode()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "enrolment.json")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return col, file
}

func envelopes(t *testing.T, col *collector.Collector) []string {
	var b bytes.Buffer
	require.NoError(t, col.ExportJSONL(t.Context(), &b))
	return strings.FieldsFunc(b.String(), func(r rune) bool { return r == '\n' })
}

// A customer takes the data straight to another controller, with a request, an identity that was checked and a yes that names it,
// and gets a letter that says so: every value the vehicle gave, personal ones too, and nothing people entered. Nobody else gets
// anything, and no other way leads there.
func TestDataGoStraightToAnotherController(t *testing.T) {
	c := newCounter(t)
	const name = "Noord Insurance"
	other, otherFile := dealer(t, name, consent.ThirdParty(name), consent.Portability(name))
	maker, makerFile := dealer(t, "Maker")
	c.ok("recipient", "add", otherFile, "--agreement", "DPA 7", "--purpose", "third-party:"+name)
	c.ok("recipient", "add", makerFile, "--agreement", "DPA 8")
	v := c.visit()

	ask := []string{"rights", "export", v, "--recipient", name}
	evidence := []string{"--evidence", "paper form 2026-120"}
	code, _, text := c.run(append(append(ask, evidence...), "--identity", seen)...)
	require.Equal(t, exitNoPerm, code, "its agreement does not cover it")
	require.Contains(t, text, "--purpose")
	require.NotContains(t, c.ok("consent", "show", v), name, "and then no answer is recorded")
	c.ok("recipient", "add", otherFile, "--agreement", "DPA 7", "--replace")
	code, _, _ = c.run("consent", "record", "--visit", v, "--purpose", "portability:"+name+"=yes", "--evidence", "paper form 1")
	require.Equal(t, exitUsage, code, "nobody records it without the request")
	require.Contains(t, c.ok("rights", "list"), "portability", "the request that failed stays open")
	code, _, _ = c.run(append(ask, "--identity", seen)...)
	require.Equal(t, exitNoPerm, code, "the service yes is not a yes to the insurer")
	stranger := c.visit()
	code, _, _ = c.run("rights", "export", stranger, "--recipient", name, "--evidence", "paper form 2026-120")
	require.Equal(t, exitUsage, code, "nobody checked who asks")
	require.Empty(t, envelopes(t, other))

	// Technical values, where the customer wants no more than that.
	c.ok("consent", "record", "--visit", v, "--purpose", "third-party:"+name+"=yes", "--evidence", "paper form 2026-119")
	code, _, text = c.run("consent", "withdraw", "--visit", v, "--purpose", "service", "--recipient", "Maker")
	require.Zero(t, code, text)
	c.ok("upload", "--visit", v)
	got := envelopes(t, other)
	require.Len(t, got, 1)
	require.Contains(t, got[0], `"third-party:Noord%20Insurance"`)
	require.NotContains(t, got[0], `"obd.01.0D"`)

	letter := filepath.Join(t.TempDir(), "letter.html")
	c.ok(append(append(ask, evidence...), "--identity", seen, "--letter", letter)...)
	got = envelopes(t, other)
	require.Len(t, got, 2)
	whole := got[slices.IndexFunc(got, func(e string) bool { return strings.Contains(e, `"portability:Noord%20Insurance"`) })]
	require.True(t, strings.Contains(whole, "WVWZZZCD0NW000001"))
	require.True(t, strings.Contains(whole, `"obd.01.0D"`), "the speed is a personal value, and the customer's to take along")
	for _, entered := range []string{"Peeters", "order 7", "passport", "obfcm."} {
		require.False(t, strings.Contains(got[0]+got[1], entered), entered)
	}
	require.Contains(t, pageWords(t, letter), "personal values too, straight over to: Noord Insurance")
	require.Contains(t, c.ok("visit", "show", v), "save in the full copy that the customer asked for: Noord Insurance")
	c.ok("scan", "sim:golf8", "--plan", "quick", "--visit", v) // other values, so it would be another copy
	c.run("upload", "--visit", v)
	require.Equal(t, 1, strings.Count(strings.Join(envelopes(t, other), "\n"), "portability:"), "what is read later is not part of the request")
	require.Empty(t, envelopes(t, maker), "only the one that was asked for")
	require.Contains(t, c.ok("consent", "show", v, "--recipients"), "Noord Insurance")

	// Per recipient: the overview says who may, and one is stopped alone.
	type may struct{ Recipient, Purpose, Answer string }
	standing := func() map[may]bool {
		var all []may
		require.NoError(t, json.Unmarshal([]byte(c.ok("--json", "consent", "show", v, "--recipients")), &all))
		m := map[may]bool{}
		for _, x := range all {
			m[x] = true
		}
		return m
	}
	require.True(t, standing()[may{"Maker", "service", "withdrawn"}])
	require.True(t, standing()[may{"Maker", "obfcm", "refused"}])
	require.True(t, standing()[may{"Maker", "quality", "unasked"}])
	require.True(t, standing()[may{"Noord Insurance", "third-party:Noord Insurance", "granted"}])
	require.True(t, standing()[may{"Noord Insurance", "portability:Noord Insurance", "granted"}])
	c.ok("consent", "withdraw", "--visit", v, "--purpose", "portability:Noord Insurance")
	require.True(t, standing()[may{"Noord Insurance", "portability:Noord Insurance", "withdrawn"}])
	require.True(t, standing()[may{"Noord Insurance", "third-party:Noord Insurance", "granted"}], "each on its own")
	require.Empty(t, envelopes(t, maker))

	// An erasure is passed on to who got something, and answered.
	c.ok("rights", "erase", v, "--identity", seen, "--confirm", "--letter", letter)
	require.Contains(t, pageWords(t, letter), "asked to erase it: Noord Insurance")
	require.Empty(t, envelopes(t, other))
}

// The whole of a refusal, seen from every side: the receipt verifies, the report differs in its own line only, no export of the
// receiving end holds anything of the vehicle, and what can be told is a count.
func TestARefusalFromEverySide(t *testing.T) {
	c := newCounter(t)
	col, file := dealer(t, "Maker")
	c.ok("recipient", "add", file, "--agreement", "DPA 8")
	report := map[string]string{}
	for _, answer := range []string{"yes", "no"} {
		v := strings.TrimSpace(c.ok("visit", "open", "--customer-lang", "nl"))
		args := []string{"consent", "record", "--visit", v, "--purpose", "obfcm=" + answer}
		if answer == "yes" {
			args = append(args, "--evidence", "paper form 1")
		} else {
			args = append(args, "--purpose", "service=no", "--purpose", "quality=no")
		}
		c.ok(args...)
		car := map[string]string{"yes": "sim:mini", "no": "sim:golf8"}[answer]
		c.ok("scan", car, "--visit", v)
		report[answer] = v
	}
	_, _, _ = c.run("upload")
	const refusing = "WVWZZZCD0NW000001"
	var exports bytes.Buffer
	require.NoError(t, col.ExportJSONL(t.Context(), &exports))
	require.Len(t, envelopes(t, col), 1, "of the customer who said yes")
	require.NoError(t, col.ExportEEA(t.Context(), &exports))
	require.ErrorIs(t, col.ExportQuality(t.Context(), &exports, collector.MinK), collector.ErrTooFew)
	for _, of := range []string{refusing, refusing[:11], refusing[11:], "refus", report["no"]} {
		require.NotContains(t, exports.String(), of)
	}

	// Two visits of one car that differ in the answer alone: the same report but for the consumption record.
	text := map[string][]string{}
	for _, answer := range []string{"yes", "no"} {
		c := newCounter(t) // of its own: an earlier visit's mileage would be compared
		v := strings.TrimSpace(c.ok("visit", "open", "--customer-lang", "nl"))
		c.ok("consent", "record", "--visit", v, "--purpose", "obfcm="+answer, "--evidence", "paper form 1")
		lines := strings.Split(regexp.MustCompile(`v[a-z2-7]{12}|\d\d:\d\d(:\d\d)?`).ReplaceAllString(c.ok("scan", "sim:golf8", "--visit", v), "…"), "\n")
		text[answer] = lines
	}
	only := func(in, not string) (lines []string) {
		for _, l := range text[in] {
			if !slices.Contains(text[not], l) {
				lines = append(lines, strings.Fields(l)[0])
			}
		}
		return lines
	}
	require.Equal(t, []string{"not"}, only("no", "yes"), "not read, the customer refused")
	require.Equal(t, []string{"verdict", "total", "total"}, only("yes", "no"))

	var receipts []json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(c.ok("consent", "receipt", "--visit", report["no"])), &receipts))
	require.Len(t, receipts, 3)
	for _, r := range receipts {
		f := filepath.Join(t.TempDir(), "r.json")
		require.NoError(t, os.WriteFile(f, r, 0o600))
		require.Contains(t, c.ok("consent", "receipt", "--verify", f), "genuine")
		require.NotContains(t, string(r), refusing)
	}
	require.Regexp(t, `consumption record.*no +1\n`, c.ok("consent", "count"), "all that can be told is how many")
}

// Every state a purpose can be in is reached by commands, and every kind of evidence is taken and shown.
func TestEveryStateAndEveryEvidence(t *testing.T) {
	c := newCounter(t)
	v := strings.TrimSpace(c.ok("visit", "open", "--customer-lang", "nl"))
	state := func() string {
		var all []struct{ Purpose, Answer, Evidence string }
		require.NoError(t, json.Unmarshal([]byte(c.ok("--json", "consent", "show", v)), &all))
		for _, a := range all {
			if a.Purpose == "service" {
				return a.Answer + " " + a.Evidence
			}
		}
		return ""
	}
	require.Equal(t, "unasked ", state())
	c.ok("consent", "record", "--visit", v, "--purpose", "service=later")
	require.Equal(t, "deferred ", state())
	code, _, _ := c.run("consent", "record", "--visit", v, "--purpose", "service=yes")
	require.Equal(t, exitUsage, code, "nobody answers yes for the customer")
	png := filepath.Join(t.TempDir(), "signature.png")
	require.NoError(t, os.WriteFile(png, append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 100)...), 0o600))
	for _, evidence := range []string{"paper form 2026-114", "verbal Jan Peeters", `principal "Noord Insurance" claim 88-1`, "customer-page lk3v9"} {
		c.ok("consent", "record", "--visit", v, "--purpose", "service=yes", "--evidence", evidence)
		require.Equal(t, "granted "+evidence, state())
	}
	c.ok("consent", "record", "--visit", v, "--purpose", "service=yes", "--evidence", "signature "+png)
	require.Regexp(t, `^granted signature [0-9a-f]{64}$`, state())
	require.Contains(t, c.ok("rights", "access", v, "--identity", seen), `"signatures"`)
	code, _, _ = c.run("consent", "record", "--visit", v, "--purpose", "service=yes", "--evidence", "signature nowhere.png")
	require.Equal(t, exitNoInput, code)
	require.NoError(t, os.WriteFile(png, []byte("no image"), 0o600))
	code, _, _ = c.run("consent", "record", "--visit", v, "--purpose", "service=yes", "--evidence", "signature "+png)
	require.Equal(t, exitData, code)

	c.ok("consent", "record", "--visit", v, "--purpose", "service=yes", "--evidence", "paper form 2", "--until", time.Now().AddDate(0, 0, 1).Format(time.DateOnly))
	require.Equal(t, "granted paper form 2", state())
	var o, e bytes.Buffer
	later := &program{Streams: Streams{In: strings.NewReader(""), Out: &o, Err: &e}, now: func() time.Time { return time.Now().AddDate(0, 0, 3) }}
	root := later.root()
	root.SetArgs([]string{"--home", c.home, "--lang", "en", "consent", "show", v})
	require.NoError(t, root.ExecuteContext(t.Context()), e.String())
	require.Regexp(t, "service data.*expired", o.String())
	c.ok("consent", "withdraw", "--visit", v, "--purpose", "service")
	require.Equal(t, "withdrawn ", state())
	c.ok("consent", "record", "--visit", v, "--purpose", "service=no")
	require.Equal(t, "refused ", state())
}

// The workshop's program has a collector in its demonstration, and none of what speaks to PostgreSQL: every start would pay for it.
func TestTheWorkshopsProgramShipsWithoutPostgreSQL(t *testing.T) {
	require.NotContains(t, sql.Drivers(), "pgx")
	_, err := collector.Open(t.Context(), collector.Options{Home: t.TempDir(), DSN: "postgres://u@127.0.0.1:1/x"})
	require.ErrorIs(t, err, collector.ErrDatabase)
	require.ErrorContains(t, err, "run obdgate-collector")
}
