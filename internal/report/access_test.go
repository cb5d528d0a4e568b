package report_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/i18n"
	"obdgate/internal/ledger"
	"obdgate/internal/policy"
	"obdgate/internal/report"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

// What the log says about a visit is read by its customer: no stable key is left in the page, in any language.
func TestTheLogIsInTheCustomersWords(t *testing.T) {
	at := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	kinds := []ledger.Kind{ledger.VisitOpened, ledger.VisitClosed, ledger.Answer, ledger.Asked, ledger.RefusalHonoured, ledger.Queued, ledger.Released,
		ledger.Acknowledged, ledger.Rejected, ledger.Destroyed, ledger.NoticeQueued, ledger.NoticeAnswered, ledger.Shredded, ledger.Erased, ledger.Cleared,
		ledger.Pinned, ledger.Accessed, ledger.Rights}
	reasons := []string{"customer-copy", "visit-show", "form", "letter", "retention", "customer-request", "mileage-mark", "stop", "erase", "access-opened",
		"rectification-done", "erasure-refused", "portability-extended", "objection-identified", "restricted.legal-hold", "restriction-lifted", "withdrawn", "unasked"}
	var log []ledger.Entry
	for i := range max(len(kinds), len(reasons)) {
		log = append(log, ledger.Entry{Seq: uint64(i), Time: at, Kind: kinds[i%len(kinds)],
			Facts: ledger.Facts{Purpose: "obfcm", Answer: "withdrawn", Recipient: "Maker", Reason: reasons[i%len(reasons)]}})
	}
	rules, err := policy.Default()
	require.NoError(t, err)
	for _, lang := range consent.Languages {
		words, err := i18n.Load(lang)
		require.NoError(t, err)
		var b bytes.Buffer
		one := report.AccessVisit{Visit: visit.Visit{ID: "v1", Opened: at}, Log: log, Mark: "120400 km · 2026-11"}
		one.Sheet.Answers = []report.Answer{{Purpose: "service", Answer: "granted", Evidence: "verbal Jan Peeters"}}
		require.NoError(t, report.Access(&b, words, consent.Workshop{Country: "BE"}, []report.AccessVisit{one}, rules, at, []string{"</script>"}))
		page := b.String()
		require.NotContains(t, page, `"</script>`, "no text ends the element that holds the copy for machines")
		page = regexp.MustCompile(`(?s)<(style|script).*?</(style|script)>`).ReplaceAllString(page, "")
		for _, k := range kinds {
			require.Contains(t, page, strings.ReplaceAll(words.T("event."+string(k)), "'", "&#39;"), lang)
		}
		require.Contains(t, page, "120400 km")
		require.Contains(t, page, words.T("evidence.verbal")+" Jan Peeters")
		for _, r := range reasons {
			if strings.ContainsAny(r, "-.") {
				require.NotContains(t, page, r, lang)
			}
		}
		if lang != "en" {
			for _, english := range []string{"withdrawn", "visit-opened", "erased", "accessed"} {
				require.NotContains(t, page, english, lang)
			}
		}
	}
}
