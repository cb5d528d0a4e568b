package policy

// WithoutRule is the built-in policy with one rule left out, to see what notices.
func WithoutRule(id string) (*Policy, error) {
	d, err := embeddedDocument()
	if err != nil {
		return nil, err
	}
	c := *d
	c.Rules = nil
	for _, r := range d.Rules {
		if r.ID != id {
			c.Rules = append(c.Rules, r)
		}
	}
	return compile(&c)
}
