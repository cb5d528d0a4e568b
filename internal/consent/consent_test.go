package consent_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"obdgate/internal/consent"

	"github.com/stretchr/testify/require"
)

var at = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)

func granted() consent.Decision {
	return consent.Decision{ID: "d1", Visit: "va", Purpose: consent.Service, Answer: consent.Granted, At: at, Language: "nl",
		TakenBy: "Jo", Notice: consent.CurrentNotice, Evidence: consent.Evidence{Kind: consent.Paper, Reference: "2026-114"}}
}

func TestZeroIsNo(t *testing.T) {
	var a consent.Answer
	require.Equal(t, consent.Unasked, a)
	for a := consent.Unasked; a <= consent.Expired+3; a++ {
		require.Equal(t, a == consent.Granted, a.Yes(), a)
	}
	got, _ := consent.Standing(nil, consent.Service, at)
	require.Equal(t, consent.Unasked, got)
}

func TestStanding(t *testing.T) {
	d := func(seq uint64, recipient string, a consent.Answer, hours int) consent.Decision {
		x := granted()
		x.Seq, x.Recipient, x.Answer, x.At = seq, recipient, a, at.Add(time.Duration(hours)*time.Hour)
		return x
	}
	const dealer = "Dealer NV"
	for name, c := range map[string]struct {
		ds             []consent.Decision
		dealer, others consent.Answer
	}{
		"the log decides, not the clock":                      {[]consent.Decision{d(1, "", consent.Granted, 5), d(2, "", consent.Refused, -5)}, consent.Refused, consent.Refused},
		"without a place in the log the clock does":           {[]consent.Decision{d(0, "", consent.Granted, 1), d(0, "", consent.Refused, 0)}, consent.Granted, consent.Granted},
		"stopped for one recipient":                           {[]consent.Decision{d(1, "", consent.Granted, 0), d(2, dealer, consent.Withdrawn, 0)}, consent.Withdrawn, consent.Granted},
		"a yes to all does not undo a no to one":              {[]consent.Decision{d(1, dealer, consent.Refused, 0), d(2, "", consent.Granted, 0)}, consent.Refused, consent.Granted},
		"a yes to the one does":                               {[]consent.Decision{d(1, dealer, consent.Refused, 0), d(2, "", consent.Granted, 0), d(3, dealer, consent.Granted, 0)}, consent.Granted, consent.Granted},
		"a yes to one is a yes to no other":                   {[]consent.Decision{d(1, dealer, consent.Granted, 0)}, consent.Granted, consent.Unasked},
		"a later no to all stops the one as well":             {[]consent.Decision{d(1, dealer, consent.Granted, 0), d(2, "", consent.Withdrawn, 0)}, consent.Withdrawn, consent.Withdrawn},
		"a deferral for one is answered by a yes to all":      {[]consent.Decision{d(1, dealer, consent.Deferred, 0), d(2, "", consent.Granted, 0)}, consent.Granted, consent.Granted},
		"a no to all before a yes to one leaves that yes":     {[]consent.Decision{d(1, "", consent.Refused, 0), d(2, dealer, consent.Granted, 0)}, consent.Granted, consent.Refused},
		"two noes: the newer is told":                         {[]consent.Decision{d(1, dealer, consent.Refused, 0), d(2, "", consent.Withdrawn, 0)}, consent.Withdrawn, consent.Withdrawn},
		"the answer to another purpose says nothing about it": {[]consent.Decision{{Purpose: consent.OBFCM, Answer: consent.Granted, Seq: 9}}, consent.Unasked, consent.Unasked},
	} {
		for range 5 { // in any order
			rand.Shuffle(len(c.ds), func(i, j int) { c.ds[i], c.ds[j] = c.ds[j], c.ds[i] })
			got, _ := consent.StandingFor(c.ds, consent.Service, dealer, at)
			require.Equal(t, c.dealer, got, name)
			got, _ = consent.StandingFor(c.ds, consent.Service, "Maker SE", at)
			require.Equal(t, c.others, got, name)
		}
	}
}

func TestATermEnds(t *testing.T) {
	d := granted()
	d.Until = at.Add(time.Hour)
	for _, c := range []struct {
		now  time.Time
		want consent.Answer
	}{{at, consent.Granted}, {at.Add(time.Hour - 1), consent.Granted}, {at.Add(time.Hour), consent.Expired}, {at.AddDate(9, 0, 0), consent.Expired}} {
		got, _ := consent.Standing([]consent.Decision{d}, consent.Service, c.now)
		require.Equal(t, c.want, got)
	}
}

func TestValidate(t *testing.T) {
	require.NoError(t, granted().Validate())
	no := granted()
	no.Answer, no.Evidence, no.Language = consent.Refused, consent.Evidence{}, ""
	require.NoError(t, no.Validate(), "no is at least as easy as yes: it needs no proof")
	for name, f := range map[string]func(*consent.Decision){
		"no visit":            func(d *consent.Decision) { d.Visit = "" },
		"purpose":             func(d *consent.Decision) { d.Purpose = "marketing" },
		"nameless third":      func(d *consent.Decision) { d.Purpose = "third-party:" },
		"unasked":             func(d *consent.Decision) { d.Answer = consent.Unasked },
		"expired":             func(d *consent.Decision) { d.Answer = consent.Expired },
		"no time":             func(d *consent.Decision) { d.At = time.Time{} },
		"term before":         func(d *consent.Decision) { d.Until = at },
		"language":            func(d *consent.Decision) { d.Language = "xx" },
		"no language":         func(d *consent.Decision) { d.Language = "" },
		"nobody asked":        func(d *consent.Decision) { d.TakenBy = "" },
		"no evidence":         func(d *consent.Decision) { d.Evidence = consent.Evidence{} },
		"kind":                func(d *consent.Decision) { d.Evidence.Kind = "hearsay" },
		"paper":               func(d *consent.Decision) { d.Evidence.Reference = "" },
		"signature":           func(d *consent.Decision) { d.Evidence.Kind = consent.Signature },
		"verbal":              func(d *consent.Decision) { d.Evidence.Kind = consent.Verbal },
		"principal":           func(d *consent.Decision) { d.Evidence.Kind = consent.Principal },
		"principal reference": func(d *consent.Decision) { d.Evidence = consent.Evidence{Kind: consent.Principal, Principal: "Noord"} },
		"page":                func(d *consent.Decision) { d.Evidence = consent.Evidence{Kind: consent.CustomerPage} },
		"control character":   func(d *consent.Decision) { d.TakenBy = "Jo\x1b[2J" },
		"too long":            func(d *consent.Decision) { d.Evidence.Reference = strings.Repeat("x", 201) },
	} {
		d := granted()
		f(&d)
		require.ErrorIs(t, d.Validate(), consent.ErrInvalid, name)
	}
	d := no
	d.Evidence.Kind = "hearsay"
	require.ErrorIs(t, d.Validate(), consent.ErrInvalid, "but proof of an unknown kind is refused for a no too")
}

var evidenceCases = []struct {
	in   string
	want consent.Evidence
}{
	{"paper form 2026-114", consent.Evidence{Kind: consent.Paper, Reference: "form 2026-114"}},
	{"paper: 7", consent.Evidence{Kind: consent.Paper, Reference: "7"}},
	{"verbal Jan Peeters", consent.Evidence{Kind: consent.Verbal, Witness: "Jan Peeters"}},
	{"verbal witness Jan", consent.Evidence{Kind: consent.Verbal, Witness: "Jan"}},
	{`principal "Noord Insurance" claim 88-1`, consent.Evidence{Kind: consent.Principal, Principal: "Noord Insurance", Reference: "claim 88-1"}},
	{"principal Noord 88-1", consent.Evidence{Kind: consent.Principal, Principal: "Noord", Reference: "88-1"}},
	{"customer-page k3v9", consent.Evidence{Kind: consent.CustomerPage, Reference: "k3v9"}},
	{"signature " + strings.Repeat("AB", 32), consent.Evidence{Kind: consent.Signature, Reference: strings.Repeat("ab", 32)}},
	{"", consent.Evidence{}}, {"paper", consent.Evidence{}}, {"verbal", consent.Evidence{}}, {"he nodded", consent.Evidence{}},
	{`principal "Noord`, consent.Evidence{}}, {"principal Noord", consent.Evidence{}}, {"signature abc", consent.Evidence{}},
	{"paper \xff", consent.Evidence{}},
}

func TestParseEvidence(t *testing.T) {
	for _, c := range evidenceCases {
		got, err := consent.ParseEvidence(c.in)
		require.Equal(t, c.want == consent.Evidence{}, err != nil, "%q: %v", c.in, err)
		require.Equal(t, c.want, got, c.in)
	}
}

// What is accepted is complete proof, and writes back to itself.
func FuzzParseEvidence(f *testing.F) {
	for _, c := range evidenceCases {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := consent.ParseEvidence(s)
		if err != nil {
			require.ErrorIs(t, err, consent.ErrInvalid)
			return
		}
		require.NoError(t, e.Validate(consent.Granted))
		if strings.Contains(e.Principal, `"`) {
			return // a quote inside an unquoted name has no quoted spelling
		}
		back, err := consent.ParseEvidence(e.Format())
		require.NoError(t, err, e.Format())
		require.Equal(t, e, back)
	})
}

func TestCommitment(t *testing.T) {
	salt := [32]byte{1}
	base, err := granted().Commit(salt)
	require.NoError(t, err)
	recorded := granted()
	recorded.Seq = 12
	recorded.At = recorded.At.In(time.FixedZone("CET", 3600)).Add(300 * time.Microsecond)
	same, err := recorded.Commit(salt)
	require.NoError(t, err)
	require.Equal(t, base, same, "place in the log, time zone and microseconds are no part of it")
	other, err := granted().Commit([32]byte{2})
	require.NoError(t, err)
	require.NotEqual(t, base, other)
	for _, f := range []func(*consent.Decision){
		func(d *consent.Decision) { d.ID = "d2" }, func(d *consent.Decision) { d.Visit = "vb" },
		func(d *consent.Decision) { d.Purpose = consent.OBFCM }, func(d *consent.Decision) { d.Recipient = "X" },
		func(d *consent.Decision) { d.Answer = consent.Refused }, func(d *consent.Decision) { d.At = d.At.Add(time.Second) },
		func(d *consent.Decision) { d.Until = at.Add(time.Hour) }, func(d *consent.Decision) { d.Evidence.Reference = "2026-115" },
		func(d *consent.Decision) { d.Language = "fr" }, func(d *consent.Decision) { d.TakenBy = "Al" },
		func(d *consent.Decision) { d.Notice = "2025-01" },
	} {
		d := granted()
		f(&d)
		got, err := d.Commit(salt)
		require.NoError(t, err)
		require.NotEqual(t, base, got, "%+v", d)
	}
}

func TestAnswersAreWrittenAsWords(t *testing.T) {
	b, err := json.Marshal(granted())
	require.NoError(t, err)
	require.Contains(t, string(b), `"answer":"granted"`)
	var back consent.Decision
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, granted(), back)
	_, err = consent.ParseAnswer("maybe")
	require.Error(t, err)
	for word, want := range map[string]consent.Answer{"yes": consent.Granted, "no": consent.Refused, "withdrawn": consent.Withdrawn} {
		got, err := consent.ParseAnswer(word)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
