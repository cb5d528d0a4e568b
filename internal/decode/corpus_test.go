package decode_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"obdgate/internal/decode"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
)

// pair is one entry of the corpus of recorded answers.
type pair struct {
	ID, Kind, Note string
	Request        struct{ ID, Payload *string }
	Command        string
	RawText        string `json:"raw_text"`
	Responses      []struct {
		ID      *string
		Payload string
	}
	Frames  [][2]string
	Decoded json.RawMessage
	Flags   []string
}

// corpus finds the recorded answers: OBDGATE_CORPUS, or a directory shared/facts beside one of the parents.
func corpus(t testing.TB) []pair {
	path := os.Getenv("OBDGATE_CORPUS")
	if path == "" {
		dir, err := os.Getwd()
		require.NoError(t, err)
		for ; path == "" && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if p := filepath.Join(dir, "shared", "facts", "real_responses.json"); fileExists(p) {
				path = p
			}
		}
	}
	if path == "" {
		t.Skip("no corpus of recorded answers here (set OBDGATE_CORPUS to one)")
	}
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var doc struct{ Pairs []pair }
	require.NoError(t, json.Unmarshal(raw, &doc))
	require.NotEmpty(t, doc.Pairs)
	return doc.Pairs
}

func fileExists(p string) bool { _, err := os.Stat(p); return err == nil }

// lines gives an entry's answer in one of the forms people write it down.
func (p pair) lines(frames bool) []string {
	var out []string
	if p.RawText != "" {
		return []string{p.RawText}
	}
	if frames {
		for _, f := range p.Frames {
			out = append(out, f[0]+" "+spaced(f[1]))
		}
		return out
	}
	for _, r := range p.Responses {
		out = append(out, strings.TrimSpace(text(r.ID)+" "+r.Payload))
	}
	return out
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func spaced(s string) string {
	var b strings.Builder
	for i := 0; i+1 < len(s); i += 2 {
		b.WriteString(s[i:i+2] + " ")
	}
	return strings.TrimSpace(b.String())
}

func reveal(id reading.Identity) string { return id.Reveal() }

// document decodes an entry and gives the JSON a user gets.
func (p pair) document(t testing.TB, frames bool) map[string]any {
	req := text(p.Request.Payload)
	if req == "" && p.Command != "" {
		req = p.Command[strings.LastIndexByte(p.Command, '.')+1:]
		req, _, _ = strings.Cut(req, "|")
	}
	res := decode.Read(decode.Record{Request: req, Response: p.lines(frames)})
	b, err := json.Marshal(res.Document(decode.Show{Reveal: reveal}))
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(b, &out))
	return out
}

// contradicted lists entries whose published value is not what their bytes say, with what the bytes do say: field, value.
var contradicted = map[string]struct{ field, bytes, why string }{
	"r0262": {"calids", "[CB24AFB7]", "43 42 32 34 41 46 42 37 is CB24AFB7; the list gives B4#D4FB7"},
	"r0350": {"serial", "0030039779", "30 30 33 30 30 33 39 37 37 39 is 0030039779; the list gives 0300309779"},
	"r0374": {"odometer", "<nil>", "1FFFFFFF in steps of 8 km is the end of the counter: not available; the publisher cuts it to 1,000,000"},
}

// Every recorded answer of the corpus decodes to what its publisher says it means, from frames and from whole messages.
func TestCorpus(t *testing.T) {
	type count struct{ right, scope, plain, other int }
	table := map[string]*count{}
	var wrong []string
	for _, p := range corpus(t) {
		kind := p.Kind
		if strings.HasPrefix(kind, "s01_pid_") {
			kind = "s01_pid_*"
		}
		if table[kind] == nil {
			table[kind] = &count{}
		}
		c := table[kind]
		c.scope++
		var forms []bool
		if len(p.Frames) > 0 {
			forms = append(forms, true)
		}
		if len(p.Responses) > 0 || p.RawText != "" || len(forms) == 0 {
			forms = append(forms, false)
		}
		ok := true
		for _, f := range forms {
			doc := p.document(t, f)
			if x, published := contradicted[p.ID]; published {
				require.Equal(t, x.bytes, fmt.Sprint(field(doc, x.field)), "%s: %s", p.ID, x.why)
				c.other++
				ok = false
				break
			}
			if bad := p.check(doc); len(bad) > 0 {
				ok = false
				wrong = append(wrong, fmt.Sprintf("%s %s (frames %v): %s", p.ID, p.Kind, f, strings.Join(bad, "; ")))
			}
		}
		if ok {
			c.right++
		}
		if len(p.Decoded) == 0 || string(p.Decoded) == "null" {
			c.plain++
		}
	}
	var kinds []string
	for k := range table {
		kinds = append(kinds, k)
	}
	sort.Strings(kinds)
	var b strings.Builder
	total := count{}
	for _, k := range kinds {
		c := table[k]
		fmt.Fprintf(&b, "%-24s %4d / %4d", k, c.right, c.scope)
		if c.plain > 0 {
			fmt.Fprintf(&b, "   (%d without published values: structure checked)", c.plain)
		}
		if c.other > 0 {
			fmt.Fprintf(&b, "   (%d published value contradicts its bytes: decoded as the bytes say)", c.other)
		}
		b.WriteString("\n")
		total.right, total.scope = total.right+c.right, total.scope+c.scope
	}
	fmt.Fprintf(&b, "%-24s %4d / %4d\n", "all", total.right, total.scope)
	t.Log("recorded answers decoded right / in the corpus\n" + b.String())
	require.Empty(t, wrong)
}

// field is one value of the first ECU of a document.
func field(doc map[string]any, name string) any {
	e := doc["ecus"].([]any)[0].(map[string]any)
	if name != "serial" {
		return e[name]
	}
	return e["readings"].([]any)[0].(map[string]any)["value"]
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Max(1, math.Abs(b)) }

// check compares a document with the published values; the result lists what differs.
func (p pair) check(doc map[string]any) []string {
	var bad []string
	ecus, _ := doc["ecus"].([]any)
	if len(p.Decoded) == 0 || string(p.Decoded) == "null" {
		return p.structure(doc, ecus)
	}
	var want any
	_ = json.Unmarshal(p.Decoded, &want)
	if m, ok := want.(map[string]any); ok && p.perECU(m) {
		for label, w := range m {
			e := p.find(ecus, label)
			if e == nil {
				bad = append(bad, "no answer of "+label)
				continue
			}
			bad = append(bad, compare(label, w, []any{e})...)
		}
		return bad
	}
	return compare("", want, ecus)
}

// perECU reports whether the published values are keyed by the answering ECU.
func (p pair) perECU(m map[string]any) bool {
	for _, r := range p.Responses {
		if _, ok := m[text(r.ID)]; ok && r.ID != nil {
			return true
		}
	}
	return false
}

// find returns the ECU of a label.
func (p pair) find(ecus []any, label string) map[string]any {
	for _, e := range ecus {
		if m := e.(map[string]any); m["ecu"] == label {
			return m
		}
	}
	return nil
}

func (p pair) structure(doc map[string]any, ecus []any) []string {
	for _, e := range ecus {
		m := e.(map[string]any)
		if s, ok := m["error"]; ok && p.Kind != "quirk_overlong" && p.Kind != "quirk_stray_frame" && p.Kind != "isotp_first_frame_only" {
			return []string{fmt.Sprintf("%v: %v", m["ecu"], s)}
		}
	}
	switch p.Kind {
	case "no_response":
		if doc["error"] == nil {
			return []string{"silence is not told"}
		}
	case "isotp_first_frame_only":
		if len(ecus) != 1 || ecus[0].(map[string]any)["incomplete"] != true {
			return []string{"an unfinished answer is not told"}
		}
	case "dirty_text":
		if len(ecus) != 1 || len(ecus[0].(map[string]any)["readings"].([]any)) == 0 {
			return []string{"no reading"}
		}
	default:
		if len(ecus) == 0 {
			return []string{"nothing decoded"}
		}
	}
	return nil
}

// nrcNames of the corpus.
var nrcNames = map[string]string{"subfunction_not_supported": "12", "out_of_range": "31", "service_not_supported": "11", "busy_repeat": "21", "response_pending": "78", "conditions_not_correct": "22"}

// compare looks for one ECU's published values among its answers.
func compare(label string, want any, ecus []any) (bad []string) {
	miss := func(format string, a ...any) {
		bad = append(bad, strings.TrimSpace(label+" "+fmt.Sprintf(format, a...)))
	}
	if len(ecus) == 0 {
		return []string{"nothing decoded"}
	}
	e := ecus[len(ecus)-1].(map[string]any)
	switch w := want.(type) {
	case string: // an ECU name
		if e["ecu_name"] != w {
			miss("ecu_name %v, want %q", e["ecu_name"], w)
		}
	case []any:
		bad = append(bad, compareList(label, w, e)...)
	case map[string]any:
		for k, v := range w {
			if !hasField(e, k, v, w) {
				miss("%s: want %v", k, v)
			}
		}
	}
	return bad
}

func compareList(label string, w []any, e map[string]any) (bad []string) {
	dtcs, hasDTCs := e["dtcs"].([]any)
	tests, _ := e["tests"].([]any)
	calids, hasCALIDs := e["calids"].([]any)
	fail := func(what any) { bad = append(bad, fmt.Sprintf("%s %v", label, what)) }
	if len(w) == 0 {
		if !(hasDTCs && len(dtcs) == 0 || hasCALIDs && len(calids) == 0) {
			fail("want an empty list")
		}
		return bad
	}
	for i, x := range w {
		switch x := x.(type) {
		case string:
			if hasDTCs && (i >= len(dtcs) || dtcs[i].(map[string]any)["code"] != x) || !hasDTCs && (i >= len(calids) || calids[i] != x) {
				fail("want " + x)
			}
		case map[string]any:
			if code, ok := x["dtc"]; ok {
				if i >= len(dtcs) || dtcs[i].(map[string]any)["code"] != code || dtcs[i].(map[string]any)["status_byte"] != x["status"] {
					fail(x)
				}
				continue
			}
			if i >= len(tests) {
				fail(x)
				continue
			}
			for k, v := range x {
				if got := tests[i].(map[string]any)[k]; !same(got, v) {
					fail(fmt.Sprintf("test %d %s: %v, want %v", i, k, got, v))
				}
			}
		}
	}
	if hasDTCs && len(dtcs) != len(w) || tests != nil && len(tests) != len(w) {
		fail("another number of entries")
	}
	return bad
}

func same(got, want any) bool {
	g, ok1 := got.(float64)
	w, ok2 := want.(float64)
	if b, ok := got.(bool); ok && ok2 {
		return b == (w == 1)
	}
	if ok1 && ok2 {
		return near(g, w)
	}
	return got == want
}

// hasField looks for one published value: in the ECU's own fields, then among its readings.
func hasField(e map[string]any, k string, want any, all map[string]any) bool {
	sub := func(name string) map[string]any { m, _ := e[name].(map[string]any); return m }
	values := func(want []any, got []any) bool {
		if len(want) != len(got) {
			return false
		}
		for i := range want {
			if want[i] != got[i] {
				return false
			}
		}
		return true
	}
	switch k {
	case "nrc":
		if want == nil {
			return sub("nrc")["code"] == all["raw_nrc"]
		}
		return sub("nrc")["code"] == nrcNames[want.(string)]
	case "raw_nrc":
		return sub("nrc")["code"] == want
	case "vin":
		return e["vin"] == want
	case "calids", "cvns":
		got, _ := e[k].([]any)
		return values(want.([]any), got)
	case "infotypes":
		got, _ := e["supported"].([]any)
		return values(want.([]any), got)
	case "dtcs":
		got, ok := e["dtcs"].([]any)
		return ok && len(got) == len(want.([]any))
	case "odometer_km", "odometer_mi":
		o := sub("odometer")
		return o["unit"] == k[9:] && same(o["value"], want)
	}
	for _, m := range []map[string]any{sub("obfcm"), sub("iupr")} {
		if v, ok := m[k]; ok {
			return same(v, want)
		}
	}
	keys := map[string]string{"active_session": "uds.22.F186", "serial": "uds.22.F18C", "manufacturing_date": "uds.22.F18B", "supplier_id": "uds.22.F18A",
		"p2_ms": "uds.10.p2_ms", "p2_star_ms": "uds.10.p2_star_ms"}
	key := keys[k]
	if did, ok := strings.CutPrefix(k, "DID_"); ok {
		key = "uds.22." + did
	} else if len(k) == 4 && k[0] == 'F' {
		key = "uds.22." + k
	}
	for _, r := range e["readings"].([]any) {
		m := r.(map[string]any)
		if m["field"] == k || key != "" && m["key"] == key || k == "ascii" {
			return same(m["value"], want)
		}
	}
	return false
}
