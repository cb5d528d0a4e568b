package report

// Check is one thing doctor looked at.
type Check struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Found string `json:"found"`
	Hint  string `json:"hint,omitempty"` // what to do when it is not ok
}

// Doctor writes the checks, what is wrong marked.
func (t *Text) Doctor(checks []Check) error {
	for _, c := range checks {
		mark := "ok"
		if !c.OK {
			mark = t.bad.Render("!!")
		}
		t.Rows([][]string{{mark, c.Name, c.Found}})
		if c.Hint != "" {
			t.Line("      → %s", c.Hint)
		}
	}
	return t.err
}
