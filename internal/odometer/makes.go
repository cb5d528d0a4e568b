package odometer

import (
	_ "embed"
	"encoding/csv"
	"strings"
	"sync"
)

//go:embed makes.csv
var makesCSV string

var makes = sync.OnceValue(func() map[string][]string {
	c := csv.NewReader(strings.NewReader(makesCSV))
	c.Comment, c.FieldsPerRecord = '#', 3
	all, err := c.ReadAll()
	must(err)
	out := map[string][]string{}
	for _, r := range all[1:] {
		out[r[0]] = strings.Split(r[1], "|")
	}
	return out
})

// ForMaker returns the places where the maker of a vehicle with this world manufacturer identifier keeps the mileage,
// confirmed ones first, then in the table's order; none for a maker the table does not know. The same control unit
// under the same identifier is another thing in another make, so nothing else may be asked.
func ForMaker(wmi string) []Row {
	var of []string
	for n := len(wmi); n >= 2 && of == nil; n-- {
		of = makes()[wmi[:n]]
	}
	var out []Row
	for _, verified := range []bool{true, false} {
		for _, m := range of {
			for _, r := range makers() {
				if r.Make == m && r.Verified == verified {
					out = append(out, r)
				}
			}
		}
	}
	return out
}
