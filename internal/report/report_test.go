package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/i18n"
	"obdgate/internal/policy"
	"obdgate/internal/report"
	"obdgate/internal/scan"
	"obdgate/internal/sim"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

var languages = []string{"nl", "de", "fr", "en"}

// read scans a virtual car whose customer gave an answer to the consumption record.
func read(t testing.TB, name string, answer consent.Answer) (visit.Scan, *policy.Policy) {
	t.Helper()
	p, err := policy.Default()
	require.NoError(t, err)
	l, err := sim.Open(t.Context(), "sim:"+name)
	require.NoError(t, err)
	defer l.Close()
	s, err := scan.Run(t.Context(), l, scan.Options{Plan: scan.NewPlan(scan.Full, answer), Policy: p, Link: "sim:" + name,
		At: time.Unix(1_790_000_000, 0)})
	require.NoError(t, err)
	return s, p
}

func text(t testing.TB, lang string, f func(*report.Text) error) string {
	t.Helper()
	words, err := i18n.Load(lang)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, f(report.NewText(&b, words)))
	return b.String()
}

// sections cuts a report at its headings.
func sections(s string) (parts []string) {
	for _, part := range strings.Split(s, "\n\n") {
		parts = append(parts, strings.TrimSpace(part))
	}
	return parts
}

// The technician's repair report does not depend on the customer's answer: yes, no and nothing at all give the same lines
// but for the section about the record itself. Whoever finds another difference can put pressure on the next customer.
func TestTheReportIsTheSameForYesAndNo(t *testing.T) {
	for _, name := range sim.Names() {
		if name == "broken-mute" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			answers := []consent.Answer{consent.Granted, consent.Refused, consent.Unasked}
			var scans []visit.Scan
			p, err := policy.Default()
			require.NoError(t, err)
			for _, answer := range answers {
				s, _ := read(t, name, answer)
				scans = append(scans, s)
			}
			for _, lang := range languages {
				words, err := i18n.Load(lang)
				require.NoError(t, err)
				var first []string
				seen := map[string]bool{}
				for i, answer := range answers {
					s := scans[i]
					all := sections(text(t, lang, func(r *report.Text) error { return r.Scan(report.New("v1", s, p, lang)) }))
					at := slices.IndexFunc(all, func(part string) bool { return strings.HasPrefix(part, words.T("scan.obfcm")) })
					require.GreaterOrEqual(t, at, 0, "no section about the record")
					seen[all[at]] = true
					others := slices.Delete(slices.Clone(all), at, at+1)
					if first == nil {
						first = others
					}
					require.Equal(t, first, others, "%s, %s", answer, lang)
				}
				// Read, refused, not asked: three sections, or the comparison above compared nothing.
				require.Len(t, seen, 3)
			}
		})
	}
}

// Programs rely on the names; a name that changes needs another schema. The list is the contract of cli.md.
func TestNamesOfTheDocument(t *testing.T) {
	s, p := read(t, "golf8", consent.Granted)
	s.Errors = []visit.ReadError{{ECU: "7E9", Request: "0902", Error: "e", Hint: "h"}}
	b, err := report.New("v1", s, p, "en").JSON()
	require.NoError(t, err)
	require.Equal(t, byte('\n'), b[len(b)-1])
	var doc any
	require.NoError(t, json.Unmarshal(b, &doc))
	names := map[string]bool{}
	paths(doc, "", names)
	for _, want := range []string{
		"schema", "visit", "link", "protocol", "vin", "ecus[].address", "ecus[].name",
		"dtcs[].code", "dtcs[].format", "dtcs[].status", "dtcs[].ecu", "dtcs[].text", "dtcs[].tag", "mil", "readiness.monitors[].name",
		"obfcm.asked", "obfcm.total_distance_km", "obfcm.total_fuel_l", "obfcm.verdict",
		"odometer.km", "odometer.source", "odometer.verdict", "odometer.sources[].km",
		"readings[].key", "readings[].name", "readings[].value", "readings[].unit", "readings[].ecu", "readings[].tag", "readings[].category",
		"readings[].raw", "frames.total", "frames.technical", "frames.personal", "withheld[].category", "withheld[].count",
		"errors[].ecu", "errors[].request", "errors[].error", "errors[].hint",
	} {
		require.True(t, names[want], "%s is gone", want)
	}
	require.Contains(t, string(b), `"schema": "obdgate/scan/v1"`)

	// A number in JSON is exactly the number the car sent: 1252.3, not 1252.3000000000002.
	s, _ = read(t, "e350", consent.Granted)
	b, err = report.New("v1", s, p, "en").JSON()
	require.NoError(t, err)
	require.Contains(t, string(b), `"total_distance_km": 1252.3,`)
	require.Contains(t, string(b), `"total_fuel_l": 293.1`)
	require.Contains(t, string(b), `"recent_distance_km": 1251.2`)
	require.Contains(t, string(b), `"recent_fuel_l": 292.58`)
}

func paths(v any, at string, out map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			paths(x, strings.TrimPrefix(at+"."+k, "."), out)
		}
	case []any:
		for _, x := range v {
			paths(x, at+"[]", out)
		}
	default:
		out[at] = true
	}
}

// Empty lists are [], missing values null: a program need not ask whether a member is there.
func TestNothingReadIsADocumentToo(t *testing.T) {
	p, err := policy.Default()
	require.NoError(t, err)
	b, err := report.New("v1", visit.Scan{}, p, "en").JSON()
	require.NoError(t, err)
	for _, want := range []string{`"vin": null`, `"mil": null`, `"readiness": null`, `"ecus": []`, `"dtcs": []`, `"readings": []`, `"withheld": []`,
		`"errors": []`, `"asked": false`, `"reason": "unasked"`, `"km": null`, `"verdict": "no-verdict"`} {
		require.Contains(t, string(b), want)
	}
	for _, lang := range languages {
		out := text(t, lang, func(r *report.Text) error { return r.Scan(report.New("v1", visit.Scan{}, p, lang)) })
		require.NotContains(t, out, "%!")
	}
}

// "Not available" is told as such, never as a number.
func TestAbsentIsNotANumber(t *testing.T) {
	s, p := read(t, "bev", consent.Granted)
	d := report.New("v1", s, p, "en")
	require.Nil(t, d.OBFCM.TotalFuel)
	require.Equal(t, "21034.5 km", d.OBFCM.TotalDistance.String())
	b, err := d.JSON()
	require.NoError(t, err)
	require.NotContains(t, string(b), "total_fuel_l")
	require.NotContains(t, string(b), "42949672")
	absent := 0
	for _, r := range d.Readings {
		if r.Absent != "" {
			absent++
			require.Nil(t, r.Value, r.Key)
		}
	}
	require.Positive(t, absent)
	out := text(t, "en", func(r *report.Text) error { return r.Scan(d) })
	require.NotContains(t, out, "42949672")
}

// Every word a technician or customer reads exists in four languages: no key and no English left over.
func TestReportsSpeakFourLanguages(t *testing.T) {
	key := regexp.MustCompile(`\b(scan|obfcm|odometer|lists|dtc|answer|purpose|category|upload|visit|tag)\.[a-z]`)
	english := map[string]bool{}
	s, p := read(t, "golf8", consent.Refused)
	for _, lang := range []string{"en", "nl", "de", "fr"} {
		out := text(t, lang, func(r *report.Text) error {
			if err := r.Scan(report.New("v1", s, p, lang)); err != nil {
				return err
			}
			l, err := report.NewLists(s, nil, nil, p, time.Now())
			if err != nil {
				return err
			}
			return r.Lists(l)
		})
		require.Empty(t, key.FindAllString(out, -1), lang)
		require.NotContains(t, out, "%!", lang)
		for _, part := range sections(out) {
			head, _, _ := strings.Cut(part, "\n")
			if head == "Software" { // in all four
				continue
			}
			if lang == "en" {
				english[head] = true
			} else {
				require.False(t, english[head], "%s: %q is English", lang, head)
			}
		}
	}
}

// What stayed is told with the reason of each: personal, not asked, no consent, not needed for what was agreed.
func TestWhatStayedAndWhy(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	yes := func(p consent.Purpose) consent.Decision {
		return consent.Decision{Purpose: p, Answer: consent.Granted, At: now}
	}
	for _, c := range []struct {
		name    string
		answer  consent.Answer
		ds      []consent.Decision
		reasons map[string]string
	}{
		{"nobody asked", consent.Unasked, nil, map[string]string{"movement": "personal", "consumption": "not-asked-unasked", "condition": "no-consent"}},
		{"no", consent.Refused, []consent.Decision{yes(consent.Service)},
			map[string]string{"movement": "personal", "consumption": "not-asked-refused", "condition": "not-needed"}},
		{"yes, nothing sent yet", consent.Granted, []consent.Decision{yes(consent.OBFCM)},
			map[string]string{"movement": "personal", "consumption": "not-needed", "fault-memory": "no-consent"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, p := read(t, "golf8", c.answer)
			l, err := report.NewLists(s, c.ds, nil, p, now)
			require.NoError(t, err)
			require.Empty(t, l.Left)
			got := map[string]string{}
			total := 0
			for _, x := range l.Stayed {
				got[x.Category] = x.Reason
				total += x.Count
			}
			require.Subset(t, got, c.reasons)
			require.Equal(t, len(s.Readings), total, "some values neither left nor stayed")
		})
	}
}

// A writer that fails is an error, not half a report with exit code 0.
func TestAFullPipe(t *testing.T) {
	words, err := i18n.Load("en")
	require.NoError(t, err)
	s, p := read(t, "golf8", consent.Granted)
	for n := range 40 {
		w := &short{left: n * 200}
		err := report.NewText(w, words).Scan(report.New("v1", s, p, "en"))
		if w.full {
			require.ErrorIs(t, err, errFull)
		} else {
			require.NoError(t, err)
		}
	}
}

var errFull = fmt.Errorf("no space left on device")

type short struct {
	left int
	full bool
}

func (w *short) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		w.full = true
		return 0, errFull
	}
	return len(b), nil
}
