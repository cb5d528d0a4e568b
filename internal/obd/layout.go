package obd

// What follows lets others work out which byte of an answer carries which field without decoding it (the tagger masks
// bytes, not values).

// Bits returns where the field's bits lie in the data of its PID: bits after the most significant bit of byte A, and how
// many.
func (f Field) Bits() (start, n int) { return f.start, f.bits }

// SupportBit returns the bit of byte A that must be 1 for the field to be valid; ok is false when there is none.
func (f Field) SupportBit() (bit int, ok bool) { return int(f.support), f.support >= 0 }

// Only reports whether the field is its PID's only one, so that its key is the PID's.
func (f Field) Only() bool { return f.only }

// InfoShape is the form of one InfoType's data.
type InfoShape struct {
	Counted bool // a leading count byte on CAN
	List    bool // the count byte counts items; otherwise it is 01
	Width   int  // bytes of one item, 0 = all that is left
}

// ShapeOf returns the form of an InfoType's data; ok is false for types no row describes.
func ShapeOf(infotype byte) (s InfoShape, ok bool) {
	t := infoTable().types[infotype]
	if t == nil {
		return InfoShape{}, false
	}
	s = InfoShape{Counted: t.count != "", List: t.count == "n", Width: t.width}
	if t.kind == "bitmap" {
		s.Width = 4
	}
	return s, true
}
