package dtc

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

//go:embed data/codes.csv
var codesCSV string

//go:embed data/components.csv
var componentsCSV string

//go:embed data/failures.csv
var failuresCSV string

//go:embed data/locations.csv
var locationsCSV string

//go:embed data/failure_types.csv
var failureTypesCSV string

// Languages are those names exist in. Any other is treated as "en".
var Languages = []string{"en", "nl", "de", "fr"}

func langIndex(lang string) int { return max(0, slices.Index(Languages, lang)) }

// Fact is what the table says of a generic code.
type Fact struct {
	Component, Failure string // keys
	Location           string // "bank=1;sensor=2"
	Monitor            string // readiness monitor the component belongs to, empty = not known
	RequestsMIL        bool   // the code passes on another unit's lamp request
	Confidence         string // confirmed, pattern, single
	AOptional          bool   // "position=A" may be left out
}

// Lookup returns the fact behind a generic code, its failure type aside; ok is false for codes the table does not know,
// among them every maker's own.
func Lookup(c Code) (f Fact, ok bool) {
	row := find(codesCSV, c.Base())
	if row == nil || c.Base() == "" {
		return Fact{}, false
	}
	f = Fact{Component: row[1], Location: row[2], Failure: row[3], Confidence: row[5], AOptional: row[6] == "1"}
	f.Monitor, _ = strings.CutPrefix(row[4], "monitor:")
	if row[4] == "requests_mil" {
		f.Monitor, f.RequestsMIL = "", true
	}
	return f, true
}

// find searches a sorted table with a header for the row whose first column is key, without reading the rest.
func find(table, key string) []string {
	start := strings.IndexByte(table, '\n') + 1
	lo, hi := start, len(table) // line starts
	for lo < hi {
		mid := lo + (hi-lo)/2
		begin := max(strings.LastIndexByte(table[:mid], '\n')+1, lo)
		end := strings.IndexByte(table[begin:], '\n')
		if end < 0 {
			end = len(table)
		} else {
			end += begin
		}
		line := table[begin:end]
		first := line[:max(0, strings.IndexByte(line, ','))]
		switch {
		case first == key:
			row, err := csv.NewReader(strings.NewReader(line)).Read()
			if err != nil {
				return nil
			}
			return row
		case first < key:
			lo = min(end+1, hi)
		default:
			hi = begin
		}
	}
	return nil
}

type words [4]string // in the order of Languages

type failure struct {
	position string // suffix, prefix, none
	text     words
}

type place struct {
	key, value string // value "*" stands for any
	id         bool   // part of the component's name ("A"), not in brackets
	order      int
	text       words
}

type failureType struct {
	status string // assigned, manufacturer, reserved
	text   words
}

type vocabulary struct {
	failures map[string]failure
	places   []place
	types    [256]failureType
}

var vocab = sync.OnceValue(func() *vocabulary {
	v := &vocabulary{failures: map[string]failure{}}
	for _, r := range rows(failuresCSV, 6) {
		v.failures[r[0]] = failure{r[1], words(r[2:6])}
	}
	for _, r := range rows(locationsCSV, 8) {
		order, err := strconv.Atoi(r[3])
		if err != nil {
			panic("dtc: locations.csv: " + err.Error())
		}
		v.places = append(v.places, place{r[0], r[1], r[2] == "id", order, words(r[4:8])})
	}
	for i, r := range rows(failureTypesCSV, 6) {
		if r[0] != fmt.Sprintf("%02X", i) {
			panic("dtc: failure_types.csv: row " + r[0])
		}
		v.types[i] = failureType{r[1], words(r[2:6])}
	}
	return v
})

// rows parses an embedded table; a broken one is a broken build, which the tests notice.
func rows(text string, n int) [][]string {
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = n
	all, err := r.ReadAll()
	if err != nil {
		panic("dtc: embedded table: " + err.Error())
	}
	return all[1:]
}

// Text names a code in lang (nl, de, fr, en) for people. A generic code of the table is named by component, place and
// failure, and by its failure type where it has one; any other is said to be unknown, with what its structure tells: the
// system, whether the maker defines it, the failure type. The zero Code gives "".
func Text(c Code, lang string) string {
	l := langIndex(lang)
	if c.Format == 0 {
		return ""
	}
	text := unknown(c, l)
	if f, ok := Lookup(c); ok {
		text = compose(f, l)
	}
	if b, ok := c.FailureType(); ok && b != 0 {
		if t := vocab().types[b]; t.status != "reserved" {
			text += " – " + t.text[l]
		}
	}
	return text
}

// FailureTypeText is the meaning of a failure type byte in lang, "" for 00 and reserved ones.
func FailureTypeText(b byte, lang string) string {
	if t := vocab().types[b]; b != 0 && t.status != "reserved" {
		return t.text[langIndex(lang)]
	}
	return ""
}

func compose(f Fact, l int) string {
	v := vocab()
	comp := find(componentsCSV, f.Component)
	fail := v.failures[f.Failure]
	if comp == nil {
		return ""
	}
	type part struct {
		order int
		text  string
	}
	var ids, brackets []part
	for _, pair := range strings.Split(f.Location, ";") {
		k, val, ok := strings.Cut(pair, "=")
		if !ok {
			continue
		}
		for _, p := range v.places {
			if p.key != k || p.value != "*" && p.value != val {
				continue
			}
			text := part{p.order, strings.ReplaceAll(p.text[l], "{v}", val)}
			switch {
			case f.Component == "cylinder" && k == "cylinder":
				ids = append(ids, part{p.order, val})
			case p.id:
				ids = append(ids, text)
			default:
				brackets = append(brackets, text)
			}
			break
		}
	}
	name := comp[1+l]
	sort.SliceStable(ids, func(i, j int) bool { return ids[i].order < ids[j].order })
	sort.SliceStable(brackets, func(i, j int) bool { return brackets[i].order < brackets[j].order })
	for _, p := range ids {
		name += " " + p.text
	}
	for i, p := range brackets {
		if open, more := strings.CutSuffix(name, ")"); i == 0 && more { // a name with brackets of its own has one pair
			name = open + ", " + p.text
			continue
		}
		name += [...]string{" (", ", "}[min(i, 1)] + p.text
	}
	if len(brackets) > 0 {
		name += ")"
	}
	colon := ": "
	if Languages[l] == "fr" {
		colon = "\u00a0: "
	}
	switch fail.position {
	case "suffix":
		name += colon + fail.text[l]
	case "prefix":
		name = fail.text[l] + colon + name
	}
	return capitalised(name)
}

func capitalised(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

var (
	unknownCode  = words{"Unknown code", "Onbekende code", "Unbekannter Code", "Code inconnu"}
	makersCode   = words{"defined by the maker", "door de fabrikant bepaald", "vom Hersteller festgelegt", "défini par le constructeur"}
	standardCode = words{"reserved by the standard", "door de norm gereserveerd", "durch die Norm reserviert", "réservé par la norme"}
	systems      = [4]words{
		{"powertrain", "aandrijflijn", "Antrieb", "groupe motopropulseur"},
		{"chassis", "chassis", "Fahrwerk", "châssis"},
		{"body", "carrosserie", "Karosserie", "carrosserie"},
		{"network", "netwerk", "Netzwerk", "réseau"},
	}
)

// unknown says honestly that the code has no name here.
func unknown(c Code, l int) string {
	if c.Format == Hex {
		return unknownCode[l] + " (" + makersCode[l] + ")"
	}
	who := makersCode
	if c.Generic() {
		who = standardCode
	}
	return unknownCode[l] + " (" + systems[c.base()>>14][l] + ", " + who[l] + ")"
}
