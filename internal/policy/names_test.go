package policy_test

import (
	"encoding/csv"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"obdgate/internal/obd"
	"obdgate/internal/policy"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
)

// The names used, as they stand in the releases named in the policy. To check the lists against the releases themselves, or
// to write them anew: OBDGATE_VSS=DIR (a checkout of COVESA/vehicle_signal_specification at the release's tag) and
// OBDGATE_DPV=DIR (of w3c/dpv); OBDGATE_UPDATE=1 rewrites.
const (
	vssList = "testdata/vss-6.0.txt"
	dpvList = "testdata/dpv-2.3.txt"
)

func list(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var out []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}

// agree compares the names used with the list, and both with the release where it is at hand.
func agree(t *testing.T, path, head string, used []string, release map[string]bool) {
	t.Helper()
	if release != nil {
		for _, name := range used {
			require.True(t, release[name], "%s is in no such release", name)
		}
		if os.Getenv("OBDGATE_UPDATE") != "" {
			require.NoError(t, os.WriteFile(path, []byte(head+strings.Join(used, "\n")+"\n"), 0o644))
		}
	}
	require.Equal(t, used, list(t, path), "a name was added or dropped: check it against the release and write the list anew (OBDGATE_UPDATE=1)")
}

func TestVSSPathsExist(t *testing.T) {
	p := defaultPolicy(t).With(database(t))
	vss, _ := p.Vocabularies()
	require.Equal(t, "6.0", vss)
	var release map[string]bool
	if dir := os.Getenv("OBDGATE_VSS"); dir != "" {
		release = leaves(t, dir)
		require.Greater(t, len(release), 1000)
	}
	used := p.Paths()
	for _, m := range database(t).Messages() {
		for _, s := range m.Signals {
			if s.VSS != "" {
				require.Contains(t, used, s.VSS, "%s is not written as a path", s.Key())
			}
		}
	}
	agree(t, vssList, "# Signals of the COVESA Vehicle Signal Specification 6.0 (and its extension for OBD) that the policy and the databases name.\n", used, release)
}

// Every key with a path is a key the tables can give, and the mapping knows no key by halves: all four mirrors of a PID have it.
func TestVSSKeysExist(t *testing.T) {
	p := defaultPolicy(t)
	n := 0
	for _, path := range p.Paths() {
		for _, k := range p.Keys(path) {
			rest, ok := strings.CutPrefix(string(k), "obd.01.")
			if !ok {
				continue
			}
			n++
			if f, ok := obd.FieldOf(k); ok {
				require.Equal(t, strings.Contains(rest, "."), !f.Only(), "%s", k)
			} else {
				t.Errorf("%s: %s is in no table", path, k)
			}
			for _, prefix := range []string{"obd.02.", "uds.22.F4", "uds.19.04.F4"} {
				require.Equal(t, p.VSS(k), p.VSS(reading.Key(prefix+rest)))
			}
		}
	}
	require.Greater(t, n, 120)
	require.Equal(t, []string{"Vehicle.OBD.Speed", "Vehicle.Speed"}, p.VSS("uds.19.04.F40D"))
	require.Nil(t, p.VSS("obd.01.A9"))
}

// Every term of the Data Privacy Vocabulary that stands anywhere in the program, the policy, the notices and the receipts.
func TestDPVTermsExist(t *testing.T) {
	_, dpv := defaultPolicy(t).Vocabularies()
	require.Equal(t, "2.3", dpv)
	term := regexp.MustCompile(`\b(dpv|pd|eu-gdpr):[A-Za-z][A-Za-z0-9-]*`)
	used := map[string]bool{}
	require.NoError(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "testdata") ||
			!slices.Contains([]string{".go", ".json", ".yaml", ".csv"}, filepath.Ext(path)) {
			return err
		}
		b, err := os.ReadFile(path)
		for _, w := range term.FindAllString(string(b), -1) {
			used[w] = true
		}
		return err
	}))
	delete(used, "dpv:Term") // the form, in messages
	delete(used, "pd:Term")
	require.Greater(t, len(used), 60)
	var release map[string]bool
	if dir := os.Getenv("OBDGATE_DPV"); dir != "" {
		release = map[string]bool{}
		for space, file := range map[string]string{"dpv": "dpv/dpv.csv", "pd": "pd/pd.csv", "eu-gdpr": "legal/eu/gdpr/eu-gdpr.csv"} {
			f, err := os.Open(filepath.Join(dir, dpv, file))
			require.NoError(t, err)
			defer f.Close()
			rows, err := csv.NewReader(f).ReadAll()
			require.NoError(t, err)
			for _, row := range rows[1:] {
				release[space+":"+row[0]] = true
			}
		}
		require.Greater(t, len(release), 1000)
	}
	agree(t, dpvList, "# Terms of the W3C Data Privacy Vocabulary 2.3 that the program names: dpv: https://w3id.org/dpv#, pd: https://w3id.org/dpv/pd#,\n"+
		"# eu-gdpr: https://w3id.org/dpv/legal/eu/gdpr#.\n", slices.Sorted(maps.Keys(used)), release)
}

// Every category says what it is called in the vocabulary, and says the same kind of thing as its tag.
func TestCategoriesHaveTerms(t *testing.T) {
	for _, c := range defaultPolicy(t).Categories() {
		require.NotEmpty(t, c.DPV, c.Key)
		if c.Class == policy.Personal {
			require.NotContains(t, c.DPV, "dpv:NonPersonalData", c.Key)
		}
	}
}

func TestExplainNames(t *testing.T) {
	p := defaultPolicy(t)
	x, err := p.Explain("Vehicle.Speed")
	require.NoError(t, err)
	require.Equal(t, "personal/movement", x.Tag.String())
	var keys []string
	for _, part := range x.Parts {
		keys = append(keys, part.Subject+" "+part.Tag.String())
	}
	require.Equal(t, []string{"obd.01.0D personal/movement", "obd.02.0D personal/movement", "uds.22.F40D personal/movement",
		"uds.19.04.F40D personal/movement", "dbc.CHASSIS_SPEED.VehicleSpeed personal/movement"}, keys)
	require.Equal(t, []string{"pd:VehicleUsage", "pd:TravelHistory"}, x.DPV)

	// Live the driver's foot, in a freeze frame an engine value: the whole is as personal as its most personal part.
	x, err = p.Explain("Vehicle.OBD.ThrottlePosition")
	require.NoError(t, err)
	require.Equal(t, "personal/movement", x.Tag.String())
	require.Equal(t, "technical/fault-memory", x.Parts[1].Tag.String())

	x, err = p.Explain("Vehicle.Cabin.Seat.Row1.DriverSide.Massage.Level")
	require.NoError(t, err)
	require.Equal(t, "personal/unclassified", x.Tag.String())
	require.Empty(t, x.Parts)

	x, err = p.Explain("010C")
	require.NoError(t, err)
	require.Equal(t, []string{"Vehicle.OBD.EngineSpeed", "Vehicle.Powertrain.CombustionEngine.Speed"}, x.VSS)
	x, err = p.Explain("POSITION.Latitude")
	require.NoError(t, err)
	require.Equal(t, []string{"Vehicle.CurrentLocation.Latitude"}, x.VSS)

	for answer, want := range map[string]string{"41 0D 32": "personal/movement", "410C1AF8": "technical/condition", "62F187 4D4D4D": "technical/vehicle-identity"} {
		x, err = p.Explain(answer)
		require.NoError(t, err, answer)
		require.Equal(t, want, x.Tag.String(), answer)
		require.NotContains(t, fmt.Sprintf("%+v", x), "4D4D")
	}
	for _, bad := range []string{"Vehicle", "Vehicle.", "Vehicle..Speed", "Vehicle.speed", "vehicle.Speed", "41zz", "99 99 99"} {
		_, err := p.Explain(bad)
		require.ErrorIs(t, err, policy.ErrNotUnderstood, bad)
	}
}

// leaves reads a checkout of the Vehicle Signal Specification: every signal and attribute of the standard catalogue and of
// the OBD extension, instances written out.
func leaves(t *testing.T, dir string) map[string]bool {
	t.Helper()
	type node struct{ kind, instances, last string }
	nodes := map[string]*node{}
	include := regexp.MustCompile(`^#include\s+(\S+)(?:\s+(\S+))?\s*$`)
	name := regexp.MustCompile(`^([A-Za-z][\w.]*):\s*$`)
	field := regexp.MustCompile(`^  (\w+):\s*(.*)$`)
	item := regexp.MustCompile(`^\s+- (.*)$`)
	join := func(a, b string) string { return strings.Trim(a+"."+b, ".") }
	var load func(file, prefix string)
	load = func(file, prefix string) {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		var cur *node
		for line := range strings.Lines(string(b)) {
			line = strings.TrimRight(line, "\r\n")
			if m := include.FindStringSubmatch(line); m != nil {
				cur = nil
				next := filepath.Join(filepath.Dir(file), m[1])
				if _, err := os.Stat(next); err != nil {
					next = filepath.Join(dir, "spec", m[1])
				}
				load(next, join(prefix, m[2]))
			} else if m := name.FindStringSubmatch(line); m != nil {
				path := join(prefix, m[1])
				if nodes[path] == nil {
					nodes[path] = &node{}
				}
				cur = nodes[path]
			} else if m := field.FindStringSubmatch(line); m != nil && cur != nil {
				switch cur.last = m[1]; cur.last {
				case "type":
					cur.kind = m[2]
				case "instances":
					cur.instances = m[2]
				}
			} else if m := item.FindStringSubmatch(line); m != nil && cur != nil && cur.last == "instances" {
				cur.instances += "|" + m[1]
			}
		}
	}
	load(filepath.Join(dir, "spec/VehicleSignalSpecification.vspec"), "")
	load(filepath.Join(dir, "overlays/extensions/OBD.vspec"), "")
	numbered := regexp.MustCompile(`^(\w+)\[(\d+),(\d+)\]$`)
	out := map[string]bool{}
	for path, n := range nodes {
		if n.kind == "branch" {
			continue
		}
		whole := []string{""}
		at := ""
		for part := range strings.SplitSeq(path, ".") {
			at = join(at, part)
			for i := range whole {
				whole[i] = join(whole[i], part)
			}
			branch := nodes[at]
			if branch == nil || at == path {
				continue
			}
			for level := range strings.SplitSeq(branch.instances, "|") {
				var labels []string
				if level = strings.TrimSpace(level); level == "" {
					continue
				} else if m := numbered.FindStringSubmatch(level); m != nil {
					for c := m[2][0]; c <= m[3][0]; c++ {
						labels = append(labels, m[1]+string(c))
					}
				} else {
					for l := range strings.SplitSeq(strings.Trim(level, "[]"), ",") {
						labels = append(labels, strings.Trim(strings.TrimSpace(l), `"`))
					}
				}
				var next []string
				for _, w := range whole {
					for _, l := range labels {
						next = append(next, join(w, l))
					}
				}
				whole = next
			}
		}
		for _, w := range whole {
			out[w] = true
		}
	}
	return out
}
