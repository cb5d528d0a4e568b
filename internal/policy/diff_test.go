package policy_test

import (
	"io"
	"strings"
	"testing"

	_ "obdgate/internal/pinned"
	"obdgate/internal/policy"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func overlay(rules ...string) string {
	y := "version: s\nrules:\n"
	for _, r := range rules {
		y += "  - " + strings.TrimSuffix(r, "}") + ", reason: {en: r}}\n"
	}
	return y
}

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		want           []string
	}{
		{"the same", "", overlay(`{id: x, category: movement, match: [obd.01.0D.**]}`), nil},
		{"stricter", "", overlay(`{id: rpm, category: movement, match: [obd.01.0C.**]}`), []string{"obd.01.0C.** technical/condition personal/movement stronger"}},
		{"taken back", overlay(`{id: rpm, category: movement, match: [obd.01.0C.**]}`), "", []string{"obd.01.0C.** personal/movement technical/condition weaker"}},
		{"named technical", "", overlay(`{id: km, category: condition, match: [uds.22.D10D]}`), []string{"uds.22.D10D personal/unclassified technical/condition opened"}},
		{"named personal", "", overlay(`{id: km, category: location, match: ["uds.22.D1*"]}`), []string{"uds.22.D1* personal/unclassified personal/location sideways"}},
		{"what Load refuses", "", overlay(`{id: x, category: condition, match: [obd.01.0D]}`), []string{"obd.01.0D personal/movement technical/condition weaker"}},
		{"crossing", "", overlay(`{id: x, category: movement, match: ["obd.*.05"]}`), []string{"obd.*.05 personal/unclassified personal/movement sideways"}},
		{"crossing, the other way", "", overlay(`{id: x, category: movement, match: ["obd.0*.05.x"]}`), []string{
			"obd.0*.05.x personal/unclassified personal/movement sideways"}},
		{"retention", "", "version: s\ncategories:\n  movement: {retention: {keep: never}}\n", []string{" personal/movement personal/movement stronger"}},
		{"longer retention", "", "version: s\ncategories:\n  movement: {retention: {keep: days, days: 40}}\n", []string{" personal/movement personal/movement weaker"}},
		{"refusable no more", "", overlay(`{id: x, category: condition, match: [obd.09.17.**]}`), []string{"obd.09.17.** technical/consumption technical/condition weaker"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			read := func(s string) io.Reader {
				if s == "" {
					return nil
				}
				return strings.NewReader(s)
			}
			d, err := policy.Diff(read(c.from), read(c.to))
			require.NoError(t, err)
			var got []string
			weaker := false
			for _, x := range d.Changes {
				got = append(got, strings.Join([]string{x.Keys, x.From.String(), x.To.String(), x.Direction.String()}, " "))
				weaker = weaker || x.Direction == policy.Weaker
			}
			require.Equal(t, c.want, got)
			require.Equal(t, weaker, d.Weaker())
			require.NotEqual(t, d.From, d.To)
		})
	}
	_, err := policy.Diff(nil, strings.NewReader("version: ["))
	require.Error(t, err)
}

// Whatever two policies say differently of whatever key, a change names it; and what a change names is said differently.
func TestDiffIsComplete(t *testing.T) {
	categories := []string{"condition", "movement", "location", "fault-memory", "consumption"}
	parts := []string{"uds", "22", "19", "04", "D10D", "D1FF", "F190", "17", "x"}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) string {
			var rules []string
			for i := range rapid.IntRange(0, 3).Draw(t, label) {
				p := []string{rapid.SampledFrom([]string{"uds", "dbc"}).Draw(t, "root")}
				for range rapid.IntRange(1, 3).Draw(t, "depth") {
					s := rapid.SampledFrom(parts[1:]).Draw(t, "part")
					if rapid.IntRange(0, 2).Draw(t, "open") == 0 {
						s = s[:rapid.IntRange(0, len(s)-1).Draw(t, "cut")] + "*"
					}
					p = append(p, s)
				}
				if rapid.Bool().Draw(t, "deep") {
					p = append(p, "**")
				}
				rules = append(rules, `{id: r`+string(rune('a'+i))+`, category: `+rapid.SampledFrom(categories).Draw(t, "category")+`, match: ["`+strings.Join(p, ".")+`"]}`)
			}
			return overlay(rules...)
		}
		one, two := draw("one"), draw("two")
		a, errA := policy.Load(strings.NewReader(one))
		b, errB := policy.Load(strings.NewReader(two))
		if errA != nil || errB != nil {
			t.Skip("not a pair of valid policies")
		}
		d, err := policy.Diff(strings.NewReader(one), strings.NewReader(two))
		require.NoError(t, err)
		for range 50 {
			k := []string{rapid.SampledFrom([]string{"uds", "dbc"}).Draw(t, "root")}
			for range rapid.IntRange(0, 4).Draw(t, "depth") {
				k = append(k, rapid.SampledFrom(parts[1:]).Draw(t, "part"))
			}
			key := strings.Join(k, ".")
			was, is := a.TagKey(reading.Key(key)), b.TagKey(reading.Key(key))
			named := false
			for _, c := range d.Changes {
				named = named || matches(c.Keys, key) && c.From.String() == was.String() && c.To.String() == is.String()
			}
			if was.String() != is.String() {
				require.True(t, named, "%s: %s, %s", key, was, is)
			}
		}
	})
}

// matches says whether a pattern without braces matches a key; it is written apart from the package's own.
func matches(pattern, key string) bool {
	p, k := strings.Split(pattern, "."), strings.Split(key, ".")
	if p[len(p)-1] == "**" {
		if p = p[:len(p)-1]; len(k) < len(p) {
			return false
		}
		k = k[:len(p)]
	}
	if len(p) != len(k) {
		return false
	}
	for i := range p {
		begin, open := strings.CutSuffix(p[i], "*")
		if open && !strings.HasPrefix(k[i], begin) || !open && p[i] != k[i] {
			return false
		}
	}
	return true
}
