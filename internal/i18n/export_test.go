package i18n

// Translated reports whether there are words for an English text, be they the same.
func Translated(c *Catalog, english string) bool {
	_, ok := c.name(english, maxParts)
	return ok
}
