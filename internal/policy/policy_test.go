package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"obdgate/dbc"
	"obdgate/internal/obd"
	"obdgate/internal/policy"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
)

func TestDefaultIsClean(t *testing.T) {
	p := defaultPolicy(t)
	require.Empty(t, p.Lint())
	require.Regexp(t, `^\d{4}-\d{2}\+[0-9a-f]{8}$`, p.Version())
	require.Len(t, p.Hash(), 64)
	for _, r := range p.Rules() {
		require.NotEmpty(t, r.Source, r.ID)
		for _, lang := range []string{"en", "nl", "de", "fr"} {
			require.NotEmpty(t, r.Reason.In(lang), r.ID)
		}
	}
}

// The table of the founding promises: category and tag of everything somebody asked about.
func TestSharpEdges(t *testing.T) {
	p := defaultPolicy(t)
	for key, want := range map[reading.Key]string{
		"obd.09.02": "technical/vehicle-identity", "uds.22.F190": "technical/vehicle-identity", "obd.09.0A": "technical/vehicle-identity",
		"obd.09.04": "technical/software", "obd.09.06": "technical/software", "uds.22.F189": "technical/software",
		"obd.dtc.stored": "technical/fault-memory", "obd.dtc.pending": "technical/fault-memory", "obd.dtc.permanent": "technical/fault-memory",
		"uds.19.02.dtc": "technical/fault-memory", "uds.19.42.dtc": "technical/fault-memory",
		"obd.01.01.mil_on": "technical/fault-memory", "obd.06.21.80.value": "technical/fault-memory", "uds.22.F621.80.value": "technical/fault-memory",
		"obd.02.04": "technical/fault-memory", "obd.02.0C": "technical/fault-memory", "obd.02.11": "technical/fault-memory",
		"obd.02.0D": "personal/movement", "obd.02.1F": "personal/movement", "obd.02.49": "personal/movement", "obd.02.4E": "personal/movement",
		"obd.01.05": "technical/condition", "obd.01.0C": "technical/condition", "obd.01.2F": "technical/condition", "obd.01.42": "technical/condition",
		"obd.01.A6": "technical/condition", "odometer": "technical/condition", "odometer.22.D10D": "technical/condition", "obd.01.5B": "technical/condition",
		"obd.01.0D": "personal/movement", "uds.22.F40D": "personal/movement", "obd.01.11": "personal/movement", "obd.01.49": "personal/movement",
		"obd.01.4A": "personal/movement", "obd.01.4B": "personal/movement", "obd.01.4C": "personal/movement", "obd.01.5A": "personal/movement",
		"obd.01.61": "personal/movement", "obd.01.A4.gear_ratio": "personal/movement", "obd.01.45": "personal/movement",
		"obd.01.1F": "technical/load-profile", "obd.01.21": "technical/load-profile", "obd.01.31": "technical/load-profile", "obd.09.08.obdcond": "technical/load-profile",
		"obfcm.lifetime_fuel": "technical/consumption", "obd.09.17": "technical/consumption", "uds.22.F81B": "technical/consumption", "obfcm.raw_16": "technical/consumption",
		"uds.19.04.F40D": "personal/movement", "uds.19.04.F405": "technical/fault-memory", "uds.19.04.1701": "personal/movement", "uds.19.04.raw": "personal/movement",
		"uds.19.04.dtc": "technical/fault-memory", "uds.19.06.raw": "personal/unclassified",
		"uds.22.D10D": "personal/unclassified", "uds.22.F198": "personal/unclassified", "obd.01.FD": "personal/unclassified",
		"kwp.1A.90": "technical/vehicle-identity", "kwp.21.28": "personal/unclassified", "kwp.18.dtc": "technical/fault-memory",
		"customer.name": "personal/customer", "workshop.work": "technical/workshop-record",
		"": "personal/unclassified", "obd": "personal/unclassified", "no.such.key": "personal/unclassified", "obd.01.05.": "technical/condition",
	} {
		require.Equal(t, want, p.TagKey(key).String(), "%s", key)
	}
}

// The tables and the rules know each other: TestDefaultIsClean fails when a table gains a key that no rule names.
func TestEveryTableKeyIsNamed(t *testing.T) {
	p := defaultPolicy(t)
	n := 0
	for k := range policy.TableKeys {
		n++
		x, err := p.Explain(k)
		require.NoError(t, err, k)
		require.NotEmpty(t, x.Rule, k)
	}
	require.Greater(t, n, 2300)

	// A key nobody named is found.
	q, err := policy.WithoutRule("vehicle-speed")
	require.NoError(t, err)
	var missing []string
	for _, f := range q.Lint() {
		missing = append(missing, f.String())
	}
	require.Equal(t, []string{"unclassified: no rule names obd.01.0D", "unclassified: no rule names obd.02.0D", "unclassified: no rule names uds.22.F40D"}, missing,
		"the snapshot's speed is still named by the rule for all snapshots")
}

func TestLintDBC(t *testing.T) {
	p := defaultPolicy(t)
	require.Empty(t, p.LintDBC(database(t)), "what ships with the program")
	d, err := dbc.Parse("x.dbc", []byte(`BO_ 1 M: 8 A
 SG_ Nobody : 0|8@1+ (1,0) [0|0] "" A
 SG_ Odd : 8|8@1+ (1,0) [0|0] "" A
 SG_ Torn : 16|8@1+ (1,0) [0|0] "" A
 SG_ Good : 24|8@1+ (1,0) [0|0] "" A
BA_DEF_ SG_ "PrivacyClass" ENUM "personal","technical";
BA_ "PrivacyClass" SG_ 1 Odd "personal";
BA_ "PrivacyCategory" SG_ 1 Odd "moonlight";
BA_ "PrivacyClass" SG_ 1 Torn "technical";
BA_ "PrivacyCategory" SG_ 1 Torn "movement";
BA_ "PrivacyClass" SG_ 1 Good "technical";
BA_ "PrivacyCategory" SG_ 1 Good "condition";
BA_ "VssPath" SG_ 1 Good "speed";
`))
	require.NoError(t, err)
	var got []string
	for _, f := range p.LintDBC(d) {
		got = append(got, f.String())
	}
	require.Equal(t, []string{"unclassified: M.Nobody has no PrivacyClass", `contradictory: M.Odd: the policy has no category "moonlight"`,
		`contradictory: M.Torn is marked technical, its category "movement" is not`, `unreachable: M.Good: VssPath "speed" is no path; write Vehicle.Branch.Signal`}, got)
}

// The three ways to read a PID agree on whether a value is personal, but for what the founding promises split: a freeze
// frame holds engine values as fault memory, and times as movement.
func TestMirrorsAgree(t *testing.T) {
	p := defaultPolicy(t)
	for pid := range 256 {
		if len(obd.Fields(byte(pid))) == 0 || obd.IsBitmap(byte(pid)) {
			continue
		}
		one := p.TagKey(reading.Key(fmt.Sprintf("obd.01.%02X", pid)))
		require.Equal(t, one, p.TagKey(reading.Key(fmt.Sprintf("uds.22.F4%02X", pid))), "%02X", pid)
		frozen := p.TagKey(reading.Key(fmt.Sprintf("obd.02.%02X", pid)))
		require.Equal(t, frozen, p.TagKey(reading.Key(fmt.Sprintf("uds.19.04.F4%02X", pid))), "%02X", pid)
	}
}

func TestTagOfAnIdentity(t *testing.T) {
	p := defaultPolicy(t)
	v := reading.NewIdentity("WVWZZZCD0NW000001")
	require.Equal(t, policy.Technical, p.Tag(reading.Reading{Key: "obd.09.02", Value: v}).Tag().Class)
	require.Equal(t, policy.Tag{}, p.Tag(reading.Reading{Key: "obd.09.04", Value: v}).Tag(), "a VIN under another key is not released as software")
}

func TestRetention(t *testing.T) {
	p := defaultPolicy(t)
	for c, want := range map[policy.Category]string{
		policy.VehicleIdentity: "vehicle-life", policy.Movement: "visit (pinned: 28 days)", policy.Occupant: "never",
		policy.Customer: "28 days", policy.NoCategory: "visit (pinned: 28 days)", "": "visit (pinned: 28 days)", "made-up": "visit (pinned: 28 days)",
	} {
		require.Equal(t, want, p.Retention(c).String(), "%q", c)
	}
	cats := p.Categories()
	require.Len(t, cats, 19)
	require.Equal(t, policy.Technical, cats[0].Class)
	require.Equal(t, policy.Personal, cats[18].Class)
}

func TestOverlay(t *testing.T) {
	for _, c := range []struct{ name, yaml, err string }{
		{"stricter", `{id: x, category: movement, match: [obd.01.0C.**]}`, ""},
		{"stricter below a rule", `{id: x, category: customer, match: [uds.22.F187.serial]}`, ""},
		{"added technical keys", `{id: x, category: condition, match: [uds.22.D10D]}`, ""},
		{"added personal range", `{id: x, category: location, match: ["uds.22.D1*"]}`, ""},
		{"added broadcast signal", `{id: x, category: condition, match: [dbc.OTHER.Oil]}`, ""},
		{"other technical category", `{id: x, category: fault-memory, match: [obd.01.42.**]}`, ""},
		{"speed made technical", `{id: x, category: condition, match: [obd.01.0D]}`, "weaker"},
		{"part of the snapshots made technical", `{id: x, category: condition, match: [uds.19.04.1700]}`, "weaker"},
		{"consumption made unrefusable", `{id: x, category: condition, match: ["obfcm.**"]}`, "weaker"},
		{"personal category with longer retention", `{id: x, category: customer, match: [obd.01.0D.**]}`, "weaker"},
		{"a whole service technical", `{id: x, category: condition, match: ["uds.22.**"]}`, "weaker"},
		{"nearly a whole service technical", `{id: x, category: condition, match: ["uds.22.D*"]}`, "weaker"},
		{"crossing a built-in rule", `{id: x, category: movement, match: ["obd.*.05"]}`, "contradictory"},
		{"crossing, neither more specific", `{id: x, category: movement, match: ["obd.0*.05.x"]}`, "contradictory"},
		{"crossing for real", `{id: x, category: condition, match: ["uds.19.0*.dtc"]}`, "weaker"},
		{"taken id", `{id: vin, category: movement, match: [obd.01.05]}`, "already"},
		{"no such category", `{id: x, category: fun, match: [obd.01.05]}`, "no category"},
	} {
		t.Run(c.name, func(t *testing.T) {
			y := "version: site-1\nrules:\n  - " + strings.TrimSuffix(c.yaml, "}") + ", reason: {en: because}}\n"
			p, err := policy.Load(strings.NewReader(y))
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Contains(t, p.Version(), "/site-1+")
			require.NotEqual(t, defaultPolicy(t).Hash(), p.Hash())
			require.Empty(t, p.Lint())
		})
	}
}

func TestOverlayTakesEffect(t *testing.T) {
	p, err := policy.Load(strings.NewReader("version: s\ncategories:\n  movement: {retention: {keep: never}}\nrules:\n" +
		"  - {id: rpm, category: movement, match: [obd.01.0C.**], reason: {en: house rule}}\n  - {id: km, category: condition, match: [uds.22.D10D], reason: {en: mileage}}\n"))
	require.NoError(t, err)
	require.Equal(t, "personal/movement", p.TagKey("obd.01.0C").String())
	require.Equal(t, "technical/condition", p.TagKey("uds.22.D10D").String())
	require.Equal(t, "never", p.Retention(policy.Movement).String())
	x, err := p.Explain("010C")
	require.NoError(t, err)
	require.Equal(t, "house rule", x.Reason.In("de"))
	require.Equal(t, "technical/condition", defaultPolicy(t).TagKey("obd.01.0C").String(), "the built-in policy is not changed")
}

func TestOverlayCategories(t *testing.T) {
	for yaml, want := range map[string]string{
		"movement: {retention: {keep: days, days: 30}}": "weaker",
		"movement: {tag: technical}":                    "cannot be changed",
		"fun: {tag: technical, name: {en: f}, basis: {en: b}, source: s, retention: {keep: visit}}": "must be personal",
		"fun: {tag: personal, name: {en: f}, basis: {en: b}, source: s, retention: {keep: visit}}":  "",
		"fun: {tag: purple}":                                   "technical or personal",
		"movement: {retention: {keep: always}}":                "must be never",
		"movement: {retention: {keep: visit, pinned-days: 7}}": "",
	} {
		_, err := policy.Load(strings.NewReader("version: s\ncategories:\n  " + yaml + "\n"))
		if want == "" {
			require.NoError(t, err, yaml)
		} else {
			require.ErrorContains(t, err, want, yaml)
		}
	}
}

// An error in a file a workshop wrote says what and where.
func TestBadFiles(t *testing.T) {
	rule := func(s string) string { return "version: s\nrules:\n  - {" + s + "}\n" }
	for name, c := range map[string][2]string{
		"not yaml":         {"version: [", "[1:10]"},
		"unknown field":    {"version: s\ncolour: red\n", "[2:1]"},
		"no version":       {"rules: []\n", "no version"},
		"talkative":        {"version: \"for Els, 1-XKJ-904\"\n", "letters, digits"},
		"long":             {"version: " + strings.Repeat("x", 25) + "\n", "letters, digits"},
		"no id":            {rule("category: movement, match: [vin]"), "no id"},
		"no match":         {rule("id: x, category: movement, reason: {en: r}"), "matches nothing"},
		"no category":      {rule("id: x, match: [vin], reason: {en: r}"), "no category"},
		"no reason":        {rule("id: x, match: [vin], category: movement"), "no reason"},
		"two of one name":  {rule("id: x, match: [vin], category: movement, reason: {en: r}") + "  - {id: x, match: [vin], category: movement, reason: {en: r}}\n", "two rules"},
		"every key":        {rule(`id: x, match: ["**"], category: movement, reason: {en: r}`), "every key"},
		"star in front":    {rule(`id: x, match: ["*.01"], category: movement, reason: {en: r}`), "first part"},
		"star inside":      {rule(`id: x, match: ["uds.22.F*0"], category: movement, reason: {en: r}`), "end the part"},
		"deep inside":      {rule(`id: x, match: ["uds.**.0"], category: movement, reason: {en: r}`), "last part"},
		"empty part":       {rule(`id: x, match: ["uds..0"], category: movement, reason: {en: r}`), "empty part"},
		"open brace":       {rule(`id: x, match: ["uds.{22.0"], category: movement, reason: {en: r}`), "not closed"},
		"stray brace":      {rule(`id: x, match: ["uds.22}.0"], category: movement, reason: {en: r}`), "without {"},
		"empty choice":     {rule(`id: x, match: ["uds.{22,}.0"], category: movement, reason: {en: r}`), "empty alternative"},
		"backward range":   {rule(`id: x, match: ["uds.22.{F190-F180}"], category: movement, reason: {en: r}`), "smaller first"},
		"flood":            {rule(`id: x, match: ["uds.22.{0000-0FFF}.{0000-0FFF}"], category: movement, reason: {en: r}`), "alternatives"},
		"odd character":    {rule(`id: x, match: ["uds.22.F1 9"], category: movement, reason: {en: r}`), "keys are letters"},
		"too long a file":  {"version: s\n#" + strings.Repeat("x", 1<<20), "more than"},
		"contradicts self": {rule("id: x, match: [vin.a], category: movement, reason: {en: r}") + "  - {id: y, match: [vin.a], category: location, reason: {en: r}}\n", "both name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.Load(strings.NewReader(c[0]))
			require.ErrorContains(t, err, c[1])
		})
	}
}

func TestLintFindsWhatIsWrong(t *testing.T) {
	p, err := policy.Load(strings.NewReader(`version: s
rules:
  - {id: small, category: movement, match: [uds.22.d10d, obd.01.5, tyres.left], reason: {en: r}}
  - {id: a, category: movement, match: ["dbc.M*.Speed"], reason: {en: r}}
  - {id: b, category: location, match: ["dbc.MOTOR.S*"], reason: {en: r}}
`))
	require.NoError(t, err)
	var got []string
	for _, f := range p.Lint() {
		got = append(got, f.Kind+" "+f.Rule)
	}
	require.Equal(t, []string{"unreachable small", "unreachable small", "unreachable small", "contradictory b"}, got)
}

// The hash says what the rules mean, not how the file is written.
func TestHash(t *testing.T) {
	load := func(rules string) string {
		p, err := policy.Load(strings.NewReader("version: s\nrules:\n" + rules))
		require.NoError(t, err)
		return p.Hash()
	}
	a := load("  - {id: a, category: movement, match: [vin.a, vin.b], reason: {en: r}}\n  - {id: b, category: location, match: [vin.c], reason: {en: r}}\n")
	require.Equal(t, a, load("  # a remark\n  - {id: b, category: location, match: [vin.c], reason: {en: r}}\n  - {id: a, category: movement, match: [vin.b, vin.a], reason: {en: r}}\n"))
	require.NotEqual(t, a, load("  - {id: a, category: location, match: [vin.a, vin.b], reason: {en: r}}\n  - {id: b, category: location, match: [vin.c], reason: {en: r}}\n"))
}

func TestTagKeyAllocatesNothing(t *testing.T) {
	p := defaultPolicy(t).With(database(t))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		p.TagKey("obd.01.01.mil_on")
		p.TagKey("uds.22.F199")
		p.TagKey("dbc.TRIP.AverageSpeed")
		p.TagKey("no.such.key.at.all")
	}))
}

func TestWithKnowsSignals(t *testing.T) {
	p := defaultPolicy(t)
	require.Equal(t, policy.Tag{}, p.TagKey("dbc.TRIP.EngineStarts"), "without a database a signal is unclassified")
	q := p.With(database(t))
	require.Equal(t, "technical/load-profile", q.TagKey("dbc.TRIP.EngineStarts").String())
	require.Equal(t, "personal/movement", q.TagKey("dbc.TRIP.AverageSpeed").String())
}
