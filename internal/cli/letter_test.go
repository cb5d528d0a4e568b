package cli

import (
	"bytes"
	"encoding/json"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"obdgate/internal/consent"

	"github.com/stretchr/testify/require"
)

// pageWords are what a person sees of a page.
func pageWords(t *testing.T, file string) string {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	text := regexp.MustCompile(`(?s)<(style|script).*?</(style|script)>|<[^>]*>`).ReplaceAllString(string(b), " ")
	return strings.Join(strings.Fields(text), " ")
}

// Whatever a customer asks for ends in a letter that says so in the customer's language, names who to complain to, and that the
// log commits to, word for word.
func TestEveryRequestHasItsLetter(t *testing.T) {
	c := newCounter(t)
	c.ok("workshop", "--name", "Garage Noord", "--address", "Dorpsstraat 1", "--country", "BE", "--email", "dpo@garage.example")
	v, gone := c.visit(), c.visit()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name+".html") }
	// The program's language is not set: letters are in the customer's.
	say := func(args ...string) {
		t.Helper()
		var o, e bytes.Buffer
		code := Main(t.Context(), append([]string{"--home", c.home}, args...), Streams{In: strings.NewReader(""), Out: &o, Err: &e})
		require.Zero(t, code, "%v: %s", args, e.String())
	}
	for _, step := range []struct {
		name string
		args []string
		want []string
	}{
		{"received", []string{"rights", "open", v, "--request", "restriction"}, []string{"Wij hebben uw verzoek ontvangen: beperking", "uiterlijk op", "controleren wij of u het bent"}},
		{"access", []string{"rights", "access", v, "--identity", seen}, []string{"Uw verzoek: inzage. Ons antwoord", "kopie van alles"}},
		{"rectified", []string{"rights", "rectify", v, "--field", "order", "--to", "order 8 Peeters", "--identity", seen}, []string{"rectificatie", "order: order 8 Peeters"}},
		{"noted", []string{"rights", "rectify", v, "--note", "de stand is van het oude instrument", "--identity", seen}, []string{"Uw verklaring blijft", "de stand is van het oude instrument"}},
		{"restricted", []string{"rights", "restrict", v, "--reason", "accuracy-contested", "--identity", seen}, []string{"niet gebruikt, niet verzonden en niet gewist", "u betwist dat de gegevens juist zijn"}},
		{"lifted", []string{"rights", "restrict", v, "--lift", "--identity", seen}, []string{"De beperking van uw bezoek eindigt"}},
		{"taken", []string{"rights", "export", v, "--to", file("copy"), "--identity", seen}, []string{"overdraagbaarheid", "bestand dat machines kunnen lezen"}},
		{"objected", []string{"rights", "object", v, "--purpose", "service", "--identity", seen}, []string{"bezwaar", "gebruiken uw gegevens niet meer"}},
		{"erased", []string{"rights", "erase", gone, "--identity", seen, "--confirm"}, []string{"wissing", "de sleutel vernietigd"}},
	} {
		say(append(step.args, "--letter", file(step.name))...)
		got := pageWords(t, file(step.name))
		for _, w := range append(step.want, "Garage Noord", "Gegevensbeschermingsautoriteit", "Geachte klant") {
			require.Contains(t, got, w, step.name)
		}
		require.Contains(t, c.ok("rights", "check", file(step.name)), "genuine", step.name)
	}
	require.Contains(t, pageWords(t, file("access")), "order 7 Peeters")
	require.NotContains(t, pageWords(t, file("erased")), "Peeters", "what is gone is gone")

	// A request that came in waits; it is extended, and refused.
	say("rights", "open", v, "--request", "erasure", "--received", "2026-11-01")
	var open []struct{ Ticket, Identity string }
	require.NoError(t, json.Unmarshal([]byte(c.ok("--json", "rights", "list")), &open))
	require.Len(t, open, 1)
	k := open[0].Ticket
	code, _, text := c.run("rights", "close", k)
	require.Equal(t, exitUsage, code, "nobody is answered whose identity was not checked")
	require.Contains(t, text, "identity")
	say("rights", "close", k, "--extend", "drie werkplaatsen", "--letter", file("longer"))
	require.Contains(t, pageWords(t, file("longer")), "verlengen de termijn, eenmalig. U krijgt ons antwoord uiterlijk op 30-01-2027")
	require.Contains(t, pageWords(t, file("longer")), "drie werkplaatsen")
	say("rights", "close", k, "--refuse", "wij kunnen niet vaststellen wie u bent", "--letter", file("refused"))
	require.Contains(t, pageWords(t, file("refused")), "wij kunnen niet vaststellen wie u bent")
	require.Contains(t, pageWords(t, file("refused")), "klacht indienen bij de toezichthouder")
	require.Contains(t, pageWords(t, file("refused")), "naar de rechter")
	require.Contains(t, c.ok("rights", "check", file("longer")), "genuine")
	require.Contains(t, c.ok("rights", "check", file("refused")), "genuine")

	// Each language has its own; the proof is the same one.
	for lang, want := range map[string]string{"nl": "Uw verzoek: wissing. Waarom wij er niet aan voldoen", "de": "Ihr Antrag: Löschung. Warum wir ihm nicht nachkommen",
		"fr": "Votre demande : effacement. Pourquoi nous n&#39;y donnons pas suite", "en": "Your request: erasure. Why we do not comply"} {
		say("--lang", lang, "rights", "letter", k, "--to", file("letter-"+lang))
		require.Contains(t, pageWords(t, file("letter-"+lang)), want)
		require.Contains(t, c.ok("rights", "check", file("letter-"+lang)), "genuine")
	}

	// A changed word is found, and another station's key as well.
	b, err := os.ReadFile(file("refused"))
	require.NoError(t, err)
	forged := file("forged")
	require.NoError(t, os.WriteFile(forged, bytes.Replace(b, []byte(`"outcome":"refused"`), []byte(`"outcome":"done"`), 1), 0o600))
	code, _, _ = c.run("rights", "check", forged)
	require.Equal(t, exitData, code)
	code, _, _ = c.run("rights", "check", file("refused"), "--station-key", strings.Repeat("5a", 32))
	require.Equal(t, exitData, code)
	code, _, _ = c.run("rights", "letter", "tnone", "--to", "-")
	require.Equal(t, exitNoInput, code)

	// The erased visit's letter can be written again: what it says names nobody.
	var all []struct{ Ticket, Request, Visit string }
	require.NoError(t, json.Unmarshal([]byte(c.ok("--json", "rights", "list", "--all")), &all))
	for _, x := range all {
		if x.Visit == "" && x.Request == "erasure" {
			say("rights", "letter", x.Ticket, "--to", file("again"))
			require.Contains(t, pageWords(t, file("again")), "Wij hebben uw bezoek gewist")
		}
	}
	require.FileExists(t, file("again"))
}

// A customer with three visits: the copy is checked by somebody who has the copy, the log's lines and the station's key, and
// nothing else. Whatever is left out is missed.
func TestACopyOfThreeVisitsIsProvedComplete(t *testing.T) {
	c := newCounter(t)
	ids := []string{c.visit(), c.visit(), c.visit()}
	c.visit() // somebody else's
	dir := t.TempDir()
	save := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	copies := c.ok(append([]string{"rights", "access", "--identity", seen}, ids...)...)
	file := save("copy.json", copies)
	log := save("log.jsonl", c.ok("ledger", "show", "--exact"))
	key := regexp.MustCompile(`[0-9a-f]{64}`).FindString(c.ok("workshop"))
	elsewhere := counter{t, filepath.Join(t.TempDir(), "no state here")}

	out := elsewhere.ok("rights", "check", file, "--log", log, "--station-key", key)
	for _, id := range ids {
		require.Contains(t, out, id)
	}
	require.Equal(t, 3, strings.Count(out, "no entry about this visit is missing"))
	require.NoDirExists(t, elsewhere.home)
	require.Contains(t, elsewhere.ok("rights", "check", file, "--station-key", key), "only the log itself", "without the log it does not claim more than it proves")

	page := filepath.Join(dir, "copy.html")
	c.ok(append([]string{"rights", "access", "--identity", seen, "--html", page}, ids...)...)
	later := save("later.jsonl", c.ok("ledger", "show", "--exact"))
	require.Equal(t, 3, strings.Count(elsewhere.ok("rights", "check", page, "--log", later, "--station-key", key), "no entry about this visit is missing"),
		"the page to read holds the copy for machines")

	var docs []map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(copies), &docs))
	var elsewhereHeld map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(docs[0]["elsewhere"], &elsewhereHeld))
	for _, held := range []string{"sent", "told", "requests", "signatures", "links", "address"} {
		require.Contains(t, elsewhereHeld, held, "everything held is in the copy")
	}
	without := func(field string, i int) string {
		var all []json.RawMessage
		require.NoError(t, json.Unmarshal(docs[1][field], &all))
		whole := docs[1][field]
		defer func() { docs[1][field] = whole }()
		var err error
		docs[1][field], err = json.Marshal(append(append([]json.RawMessage{}, all[:i]...), all[i+1:]...))
		require.NoError(t, err)
		b, err := json.Marshal(docs)
		require.NoError(t, err)
		return save("short.json", string(b))
	}
	var entries []json.RawMessage
	require.NoError(t, json.Unmarshal(docs[1]["log"], &entries))
	for i := range entries {
		code, _, text := elsewhere.run("rights", "check", without("log", i), "--log", log, "--station-key", key)
		require.Equal(t, exitData, code, "entry %d of the list left out", i)
		require.Regexp(t, "is not number|is about visit|answers are logged", text)
	}
	code, _, text := elsewhere.run("rights", "check", without("receipts", 1), "--station-key", key)
	require.Equal(t, exitData, code)
	require.Contains(t, text, "1 receipts")
	code, _, text = elsewhere.run("rights", "check", without("answers", 0), "--station-key", key)
	require.Equal(t, exitData, code)
	require.Contains(t, text, "the copy has 1")

	logged, err := os.ReadFile(log)
	require.NoError(t, err)
	lines := strings.SplitAfter(strings.TrimSpace(string(logged)), "\n")
	code, _, _ = elsewhere.run("rights", "check", file, "--log", save("cut.jsonl", strings.Join(lines[:len(lines)-8], "")), "--station-key", key)
	require.Equal(t, exitData, code, "a log that is shorter than its head")
	code, _, _ = elsewhere.run("rights", "check", file, "--log", save("less.jsonl", strings.Join(append(append([]string{}, lines[:7]...), lines[8:]...), "")), "--station-key", key)
	require.Equal(t, exitData, code, "a log without one of its lines")
}

// The form a customer signs says the same in each language as the notices do, names who would receive, and has both boxes.
func TestTheFormAsksEveryPurposeByItself(t *testing.T) {
	c := newCounter(t)
	_, file := dealer(t, "Maker")
	c.ok("recipient", "add", file, "--agreement", "DPA 8")
	c.ok("workshop", "--name", "Garage Noord", "--address", "Dorpsstraat 1", "--country", "LU")
	v := strings.TrimSpace(c.ok("visit", "open", "--order", "order 7", "--customer-lang", "nl"))
	for _, lang := range consent.Languages {
		form := filepath.Join(t.TempDir(), "form.html")
		code, _, text := c.run("--lang", lang, "consent", "form", "--visit", v, "--third-party", "Noord", "--to", form)
		require.Zero(t, code, text)
		got := html.UnescapeString(pageWords(t, form))
		for _, p := range []consent.Purpose{consent.Service, consent.OBFCM, consent.Quality, consent.ThirdParty("Noord")} {
			n, err := consent.NoticeFor(p, lang)
			require.NoError(t, err)
			for _, words := range []string{n.Title, n.Question, n.What, n.Why, n.Who, n.HowLong, n.No, n.Withdraw, n.Hash[:16]} {
				require.Contains(t, got, words, lang)
			}
		}
		require.Equal(t, 3, strings.Count(got, "Maker · NL"), "by name, where there is one")
		require.Contains(t, got, "cnpd", "the authority of the country")
		b, err := os.ReadFile(form)
		require.NoError(t, err)
		require.Equal(t, 8, strings.Count(string(b), `class="box"`))
		require.NotContains(t, string(b), "checked")
	}
	code, _, _ := c.run("consent", "form", "--visit", v)
	require.Equal(t, exitUsage, code)
}
