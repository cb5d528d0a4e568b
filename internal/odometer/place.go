package odometer

// Place returns where the mileage stands in the answer: bytes after the echo of the question, and how many.
func (r Row) Place() (offset, width int) { return r.offset, r.width }
