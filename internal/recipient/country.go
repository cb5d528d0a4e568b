package recipient

import (
	_ "embed"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Area is how the law of data transfers sees a country.
type Area string

const (
	EEA         Area = "eea"         // European Economic Area
	Adequate    Area = "adequate"    // the Commission found its protection adequate
	Conditional Area = "conditional" // adequate for some organisations only: needs a safeguard on record
	Other       Area = "other"
)

//go:embed countries.csv
var countryFile string

// Country is a row of the table.
type Country struct {
	Code     string // ISO 3166-1 alpha-2
	Area     Area
	Reason   string    // the treaty or decision it rests on
	Until    time.Time // the first moment it does not hold any more, UTC; zero = no end is known
	Verified bool      // whether a source confirmed the reason; Source says which
	Source   string
}

var countries = sync.OnceValue(func() map[string]Country {
	m := map[string]Country{}
	for line := range strings.Lines(countryFile) {
		f := strings.Split(strings.TrimSpace(line), ",")
		if len(f) != 6 || f[0] == "code" || strings.HasPrefix(f[0], "#") {
			continue
		}
		c := Country{Code: f[0], Area: Area(f[1]), Reason: f[2], Verified: f[4] == "true", Source: f[5]}
		if f[3] != "" {
			last, err := time.Parse(time.DateOnly, f[3])
			if err != nil {
				continue // left out is "other"; a test reads every row
			}
			c.Until = last.AddDate(0, 0, 1)
		}
		m[c.Code] = c
	}
	return m
})

// Countries returns the table, sorted by code. The caller may keep it.
func Countries() []Country {
	return slices.SortedFunc(maps.Values(countries()), func(a, b Country) int { return strings.Compare(a.Code, b.Code) })
}

// AreaOn classifies an ISO 3166-1 alpha-2 code as the law stands on a day; a country the table does not name, or whose decision
// has ended by then, is Other.
func AreaOn(code string, day time.Time) Area {
	c, ok := countries()[code]
	if !ok || !c.Until.IsZero() && !day.Before(c.Until) {
		return Other
	}
	return c.Area
}

// AreaOf is AreaOn without an end: what the table says of a country for people. What may leave is decided with AreaOn.
func AreaOf(code string) Area { return AreaOn(code, time.Time{}) }

// CountryKnown reports whether code has the form of an ISO 3166-1 alpha-2 code that is not reserved for private use.
func CountryKnown(code string) bool {
	if len(code) != 2 || code == "EU" || code == "UK" {
		return false
	}
	for _, c := range code {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return code != "AA" && code != "ZZ" && code[0] != 'X' || code == "XK"
}
