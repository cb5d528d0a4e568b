package report

import (
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"obdgate/internal/policy"
)

// Support is what a file for support says: versions, counts and codes. It has no place for a name, an address, an order, a
// vehicle's identity or a value it said: every text in it is one of few words, a version or a hash (see Plain).
type Support struct {
	Schema   string             `json:"schema"` // obdgate/support/v1
	Day      string             `json:"day"`    // UTC
	Program  SupportProgram     `json:"program"`
	Policy   SupportPolicy      `json:"policy"`
	Settings SupportSettings    `json:"settings"`
	Checks   []SupportCheck     `json:"checks"`
	Adapters []SupportAdapter   `json:"adapters"` // those this computer knows, in no meaningful order
	State    SupportState       `json:"state"`
	To       []SupportRecipient `json:"recipients"`
}

// SupportProgram is what runs where.
type SupportProgram struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from changed sources
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	CPUs     int    `json:"cpus"`
}

// SupportPolicy names the rules in force. The version of the workshop's own file is its own words and is left out; the hash
// covers it.
type SupportPolicy struct {
	BuiltIn string `json:"built_in"`
	Hash    string `json:"hash,omitempty"` // "" = the rules cannot be loaded
	Own     bool   `json:"own"`            // there is a file of the workshop's own
	Rules   int    `json:"rules"`
	VSS     string `json:"vss,omitempty"`
	DPV     string `json:"dpv,omitempty"`
}

// SupportSettings are settings without their values where a value could be a name.
type SupportSettings struct {
	Language string `json:"language"`
	Home     bool   `json:"home"`  // named by --home or OBDGATE_HOME
	Roles    bool   `json:"roles"` // duties are shared out
	Terminal bool   `json:"terminal"`
}

// SupportCheck is one of doctor's checks.
type SupportCheck struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Code  int    `json:"code"` // the exit code a command would end with, 0 = none
}

// SupportAdapter is what an adapter can do. Its answers count only where they are of a form known not to hold anything else.
type SupportAdapter struct {
	Link   string            `json:"link"` // scheme of the address: elm, elm+tcp, can; "remembered"
	Chip   string            `json:"chip"` // "ELM327 v1.5", "other"
	STN    string            `json:"stn,omitempty"`
	Badge  string            `json:"badge,omitempty"`
	Level  string            `json:"level,omitempty"`
	Gap    bool              `json:"gap,omitempty"`
	Baud   int               `json:"baud,omitempty"`
	TripMS int64             `json:"trip_ms,omitempty"`
	Can    map[string]string `json:"can,omitempty"`
}

// SupportState counts what is stored.
type SupportState struct {
	Key        string         `json:"key,omitempty"` // file, keyring, …
	FreeGB     int64          `json:"free_gb"`
	Entries    uint64         `json:"ledger_entries"`
	Problems   int            `json:"ledger_problems"`
	Kinds      map[string]int `json:"ledger_problem_kinds,omitempty"`
	Visits     map[string]int `json:"visits,omitempty"`              // open, closed
	Outbox     map[string]int `json:"outbox,omitempty"`              // by state
	Scans      map[string]int `json:"scans,omitempty"`               // whole, partial: of the visits still readable
	Unanswered map[string]int `json:"unanswered_services,omitempty"` // questions without a whole answer, by service byte
}

// SupportRecipient is a receiving end without its name and address.
type SupportRecipient struct {
	Country   string   `json:"country"`
	Role      string   `json:"role"`
	Agreement bool     `json:"agreement"`
	Usable    bool     `json:"usable"`
	DaysLeft  int      `json:"certificate_days_left"`
	Purposes  []string `json:"purposes"` // a third party's name is left out
}

// NewSupport starts a file for support with what this program knows of itself; rules is nil when they cannot be loaded.
func NewSupport(rules *policy.Policy) Support {
	s := Support{Schema: "obdgate/support/v1", Checks: []SupportCheck{}, Adapters: []SupportAdapter{}, To: []SupportRecipient{},
		Program: SupportProgram{Version: "unknown", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}}
	if info, ok := debug.ReadBuildInfo(); ok {
		s.Program.Version = info.Main.Version
		for _, v := range info.Settings {
			switch v.Key {
			case "vcs.revision":
				s.Program.Revision = v.Value
			case "vcs.modified":
				s.Program.Modified = v.Value == "true"
			}
		}
	}
	if p, err := policy.Default(); err == nil {
		s.Policy.BuiltIn = p.Version()
	}
	if rules != nil {
		s.Policy.Hash, s.Policy.Rules = rules.Hash(), len(rules.Rules())
		s.Policy.VSS, s.Policy.DPV = rules.Vocabularies()
	}
	return s
}

// words are the texts that may stand in a file for support, the same everywhere.
var words = strings.Fields(`unknown other nl de fr en
	adapters link adapter state station key disk ledger clock recipients recipient policy
	elm elm+tcp can sim replay remembered unproven genuine good-copy poor-copy yes no file keyring controller processor
	service obfcm quality third-party portability open closed whole partial queued sending done destroyed rejected
	requests count filter flow-control long-requests long-answers 29-bit extended timeout protocol stpx segments
	edited missing tree head tag decision beginning external`)

// short are codes of two characters: a service of the diagnostic protocol, a country.
var short = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([0-9A-F]{2}|[A-Z]{2})$`) })

// chip are the forms in which adapters name themselves. A text of any other form may be anything.
var chip = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(ELM327 v\d\.\d[a-z]?|STN\d{4} v\d{1,2}\.\d{1,2}\.\d{1,2}|\d\.\d[a-z]?)$`)
})

// Plain returns s if it is a word or a code that can stand in a file for support, else "other". It is the door for texts that
// come from elsewhere: a setting, a register's entry, what was stored.
func Plain(s string) string {
	s = strings.ReplaceAll(s, " ", "-")
	if slices.Contains(words, s) || short().MatchString(s) {
		return s
	}
	return "other"
}

// PlainChip is Plain for the names of adapters; "" stays "".
func PlainChip(s string) string {
	if s == "" || chip().MatchString(s) {
		return s
	}
	return "other"
}
