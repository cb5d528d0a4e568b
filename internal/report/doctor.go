package report

// Check is one thing doctor looked at.
type Check struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Found string `json:"found"`
	Hint  string `json:"hint,omitempty"` // what to do when it is not ok
}

// Doctor writes the checks, what is wrong marked, and under them what to do about it.
func (t *Text) Doctor(checks []Check) error {
	t.Rows(rowsOf(checks, func(i int) []string {
		mark := "ok"
		if !checks[i].OK {
			mark = t.bad.Render("!!")
		}
		return []string{mark, checks[i].Name, checks[i].Found}
	}))
	for _, c := range checks {
		if c.Hint != "" {
			t.Line("  %s → %s", c.Name, c.Hint)
		}
	}
	return t.err
}
