package report

import "strings"

// Check is one thing doctor looked at.
type Check struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Found string `json:"found"`
	Hint  string `json:"hint,omitempty"` // what to do when it is not ok
}

// CheckCannot is the name of something an adapter was seen not to be able to do. It is no fault, but cars are lost by it.
const CheckCannot = "cannot"

// Doctor writes the checks, what is wrong marked, and under them what to do about it.
func (t *Text) Doctor(checks []Check) error {
	t.Rows(rowsOf(checks, func(i int) []string {
		mark := "ok"
		if checks[i].Name == CheckCannot {
			mark = " !"
		}
		if !checks[i].OK {
			mark = t.bad.Render("!!")
		}
		return []string{mark, t.checkName(checks[i].Name), checks[i].Found}
	}))
	for _, c := range checks {
		if c.Hint != "" {
			t.Line("  %s → %s", t.checkName(c.Name), c.Hint)
		}
	}
	return t.err
}

// checkName is what people call a check; addresses are called by themselves.
func (t *Text) checkName(name string) string {
	kind, of, _ := strings.Cut(name, " ")
	if key := "doctor.name." + kind; t.words.Has(key) {
		return strings.TrimSpace(t.words.T(key) + " " + of)
	}
	return name
}
