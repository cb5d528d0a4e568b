package sim

// Literal reads the byte notation of vehicle files.
func Literal(s string) ([]byte, error) { return literal(s, "WVWZZZCD0NW000001") }
