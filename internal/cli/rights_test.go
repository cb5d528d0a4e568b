package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// counter runs commands against one state directory, as a person at the counter does.
type counter struct {
	t    *testing.T
	home string
}

func newCounter(t *testing.T) counter {
	t.Setenv("OBDGATE_KEYRING", "off")
	return counter{t, filepath.Join(t.TempDir(), "home")}
}

func (c counter) run(args ...string) (code int, out, err string) {
	c.t.Helper()
	var o, e bytes.Buffer
	code = Main(c.t.Context(), append([]string{"--home", c.home, "--lang", "en"}, args...), Streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func (c counter) ok(args ...string) string {
	c.t.Helper()
	code, out, err := c.run(args...)
	require.Zero(c.t, code, "%v: %s", args, err)
	return out
}

func (c counter) visit() string {
	c.t.Helper()
	v := strings.TrimSpace(c.ok("visit", "open", "--order", "order 7 Peeters", "--customer-lang", "nl"))
	c.ok("consent", "record", "--visit", v, "--purpose", "service=yes", "--purpose", "obfcm=no", "--evidence", "paper form 7")
	c.ok("scan", "sim:golf8", "--visit", v)
	return v
}

const seen = "passport seen"

func TestRightsAtTheCounter(t *testing.T) {
	c := newCounter(t)
	c.ok("workshop", "--name", "Garage Noord", "--address", "Dorpsstraat 1", "--country", "BE")
	a, b, d := c.visit(), c.visit(), c.visit()

	code, _, text := c.run("rights", "access", a)
	require.Equal(t, exitUsage, code, "nobody is answered unchecked")
	require.Contains(t, text, "--identity")

	var copies []struct {
		Schema   string
		Receipts []any
		Log      []any
		Head     string
	}
	require.NoError(t, json.Unmarshal([]byte(c.ok("rights", "access", a, b, d, "--identity", seen)), &copies))
	require.Len(t, copies, 3, "a customer with three visits")
	for _, one := range copies {
		require.Len(t, one.Receipts, 2)
		require.NotEmpty(t, one.Log)
		require.NotEmpty(t, one.Head)
	}
	page := filepath.Join(t.TempDir(), "copy.html")
	code, _, text = c.run("--lang", "fr", "rights", "access", a, b, "--identity", seen, "--html", page)
	require.Zero(t, code, text)
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, held := range []string{"Garage Noord", "order 7 Peeters", "Ce que nous détenons sur vous", "Autorité de protection des données", a, b, "P0301"} {
		require.Contains(t, string(html), held)
	}

	c.ok("rights", "rectify", a, "--field", "order", "--to", "order 8", "--identity", seen)
	c.ok("rights", "rectify", a, "--note", "the mileage is that of the old cluster", "--identity", seen)
	require.Contains(t, c.ok("visit", "show", a), "order 8")
	require.Contains(t, c.ok("rights", "access", a, "--identity", seen), "old cluster", "the statement is part of every copy")

	file := filepath.Join(t.TempDir(), "take.json")
	c.ok("rights", "export", a, "--to", file, "--identity", seen)
	taken, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(taken), "obdgate/access/v1")
	code, _, _ = c.run("rights", "export", a, "--recipient", "Nobody", "--identity", seen)
	require.Equal(t, exitNoInput, code)
	require.Contains(t, c.ok("rights", "list"), "30 days left", "what could not be done stays open")

	c.ok("rights", "restrict", b, "--reason", "legal-hold", "--identity", "order of the court")
	code, _, text = c.run("rights", "erase", b, "--identity", seen, "--confirm")
	require.Equal(t, exitNoPerm, code)
	require.Contains(t, text, "legal-hold", "a refusal is told with its reason, at once")
	require.Contains(t, text, "gegevensbeschermingsautoriteit.be", "and where to complain")
	c.ok("visit", "show", b)
	require.Contains(t, c.ok("rights", "list", "--all"), "refused")
	c.ok("rights", "restrict", b, "--lift", "--identity", "order of the court")
	c.ok("rights", "erase", b, "--identity", seen, "--confirm")
	code, _, _ = c.run("visit", "show", b)
	require.Equal(t, exitNoInput, code)

	c.ok("rights", "object", d, "--identity", seen)
	shown := c.ok("consent", "show", d)
	require.NotContains(t, shown, "not asked")
	require.Contains(t, shown, "withdrawn")

	var open []struct {
		Ticket string
		Left   int `json:"days_left"`
	}
	require.NoError(t, json.Unmarshal([]byte(c.ok("--json", "rights", "list")), &open))
	require.Len(t, open, 1)
	c.ok("rights", "close", open[0].Ticket, "--extend", "three workshops")
	require.Contains(t, c.ok("rights", "list"), "days left")
	code, _, _ = c.run("rights", "close", open[0].Ticket, "--extend", "again")
	require.Equal(t, exitData, code, "once")
	c.ok("rights", "close", open[0].Ticket, "--refuse", "no agreement with this recipient")
	code, _, _ = c.run("rights", "close", open[0].Ticket)
	require.Equal(t, exitData, code)
	c.ok("ledger", "verify")
}

func TestWithdrawalByReceiptNumber(t *testing.T) {
	c := newCounter(t)
	v := c.visit()
	var receipts []struct {
		ID string `json:"receipt_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(c.ok("consent", "receipt", "--visit", v)), &receipts))
	c.ok("consent", "withdraw", "--receipt", receipts[0].ID)
	require.Contains(t, c.ok("consent", "show", v), "withdrawn")
	code, _, _ := c.run("consent", "withdraw", "--receipt", "rnone")
	require.Equal(t, exitNoInput, code)
	code, _, _ = c.run("consent", "withdraw")
	require.Equal(t, exitUsage, code)

	page := filepath.Join(t.TempDir(), "receipt.html")
	c.ok("consent", "receipt", receipts[1].ID, "--html", page)
	require.Contains(t, c.ok("consent", "receipt", "--verify", page), "genuine")
	require.Regexp(t, `answer +no`, c.ok("consent", "receipt", "--verify", page), "and what it says, whatever the page shows")
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(b), `lang="en"`, "--lang decides")
	require.NoError(t, os.WriteFile(page, bytes.Replace(b, []byte(`"state":"refused"`), []byte(`"state":"granted"`), 1), 0o600))
	code, _, _ = c.run("consent", "receipt", "--verify", page)
	require.Equal(t, exitData, code)
}

func TestBreachLettersAndRetention(t *testing.T) {
	c := newCounter(t)
	c.ok("workshop", "--name", "Garage Noord", "--address", "Dorpsstraat 1", "--country", "NL", "--contact", "dpo@garage.example")
	v := c.visit()
	dir := t.TempDir()
	out := c.ok("rights", "breach", "--since", "2020-01-01", "--drill", "--letters", filepath.Join(dir, "letters"),
		"--what", "nl: Een laptop is gestolen.", "--what", "A laptop was stolen.", "--what", "fr: Un portable", "--measures", "De sleutels zijn vervangen.")
	require.Contains(t, out, "EXERCISE")
	require.Contains(t, out, v)
	letter := pageWords(t, filepath.Join(dir, "letters", v+".html"))
	for _, s := range []string{"DIT IS EEN OEFENING", "order 7 Peeters", "Een laptop is gestolen.", "De sleutels zijn vervangen.", "niets naar anderen verzonden",
		"dpo@garage.example", "Autoriteit Persoonsgegevens", "01-01-2020", "staat in ons logboek"} {
		require.Contains(t, letter, s, "in the customer's language, whatever the workshop's")
	}
	code, _, _ := c.run("rights", "breach")
	require.Equal(t, exitUsage, code)

	c.ok("rights", "erase", v, "--identity", seen, "--confirm")
	kept := c.ok("rights", "retention")
	require.Contains(t, kept, "28 days")
	require.Contains(t, kept, "customer-request", "what was erased when, and why")
}

// A second party keeps heads and sees that a state directory was put back.
func TestASecondPartySeesThatTheLogWasPutBack(t *testing.T) {
	c := newCounter(t)
	c.visit()
	dir := t.TempDir()
	head, kept := filepath.Join(dir, "head.json"), filepath.Join(dir, "kept.json")
	take := func(args ...string) {
		require.NoError(t, os.WriteFile(head, []byte(c.ok(append([]string{"ledger", "head"}, args...)...)), 0o600))
	}
	take()
	c.ok("ledger", "witness", head, "--kept", kept)
	old := filepath.Join(dir, "old")
	require.NoError(t, os.CopyFS(old, os.DirFS(c.home)))
	require.NoError(t, os.Chmod(old, 0o700))
	for _, f := range []string{"obdgate.db", "obdgate.lock", "station.key"} {
		require.NoError(t, os.Chmod(filepath.Join(old, f), 0o600))
	}

	c.visit()
	take()
	code, _, text := c.run("ledger", "witness", head, "--kept", kept)
	require.Equal(t, exitData, code)
	require.Contains(t, text, "since", "it says which proof to ask for")
	var have struct {
		Heads []struct {
			Entries int `json:"entries"`
		}
	}
	b, err := os.ReadFile(kept)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &have))
	take("--since", strconv.Itoa(have.Heads[0].Entries))
	c.ok("ledger", "witness", head, "--kept", kept)
	require.Contains(t, c.ok("ledger", "verify", "--head", kept), "unchanged")

	now := c.home
	c.home = old
	take()
	code, _, text = c.run("ledger", "witness", head, "--kept", kept)
	require.Equal(t, exitData, code)
	require.Contains(t, text, "FORK")
	code, _, _ = c.run("ledger", "verify", "--head", kept)
	require.Equal(t, exitData, code, "the station can be asked about its own past as well")
	c.home = now
	code, _, _ = c.run("ledger", "witness", kept, "--kept", kept)
	require.Equal(t, exitData, code)
	code, _, _ = c.run("ledger", "head", "--since", "100000")
	require.Equal(t, exitData, code)
}

// A restriction keeps what a no would destroy, and nothing is forgotten when it is lifted: the mark of the mileage and the
// consumption record go then. The page to read lists what the copy for machines lists.
func TestANoDuringARestrictionIsMadeUpFor(t *testing.T) {
	c := newCounter(t)
	v := strings.TrimSpace(c.ok("visit", "open", "--customer-lang", "de"))
	c.ok("consent", "record", "--visit", v, "--purpose", "service=yes", "--purpose", "service=yes", "--purpose", "obfcm=yes", "--evidence", "paper form 1")
	c.ok("scan", "sim:golf8", "--visit", v)
	page := filepath.Join(t.TempDir(), "copy.html")
	held := func() (mark, record bool) {
		c.ok("rights", "access", v, "--identity", seen, "--html", page, "--note", "alles bitte")
		text := pageWords(t, page)
		require.Contains(t, text, "alles bitte", "what the customer asked for is in it")
		copied := c.ok("rights", "access", v, "--identity", seen)
		mark, record = strings.Contains(copied, `"mileage_mark"`), strings.Contains(copied, `"obfcm.lifetime_fuel"`)
		require.Equal(t, mark, regexp.MustCompile(`mileage kept for the next visit \d+ km`).MatchString(text))
		return mark, record
	}
	mark, record := held()
	require.True(t, mark && record)
	c.ok("rights", "restrict", v, "--reason", "accuracy-contested", "--identity", seen)
	c.ok("rights", "object", v, "--purpose", "service", "--purpose", "obfcm", "--identity", seen)
	mark, record = held()
	require.True(t, mark && record, "kept, unused")
	c.ok("rights", "restrict", v, "--lift", "--identity", seen)
	mark, record = held()
	require.False(t, mark || record)
	require.Contains(t, c.ok("rights", "retention"), "mileage-mark", "what was destroyed when")
	c.ok("ledger", "verify")
}
