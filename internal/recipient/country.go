package recipient

import (
	_ "embed"
	"strings"
	"sync"
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

var countries = sync.OnceValue(func() map[string]Area {
	m := map[string]Area{}
	for line := range strings.Lines(countryFile) {
		f := strings.Split(strings.TrimSpace(line), ",")
		if len(f) < 2 || f[0] == "code" || strings.HasPrefix(f[0], "#") {
			continue
		}
		m[f[0]] = Area(f[1])
	}
	return m
})

// AreaOf classifies an ISO 3166-1 alpha-2 code; a country the table does not name is Other.
func AreaOf(code string) Area {
	if a, ok := countries()[code]; ok {
		return a
	}
	return Other
}

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
