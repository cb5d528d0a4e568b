package policy

import "obdgate/internal/frame"

// FrameTag is the decision on one frame. The zero FrameTag is personal, unclassified, with nothing masked: Tagger always
// sets Personal.
//
// Tag speaks of the fields the frame carries; Personal of its bytes. A frame whose fields are all technical may still
// have padding, which is no field and may hold anything: write a frame out only through FrameTag.Mask or Mask.
type FrameTag struct {
	Tag
	Personal uint64 // bit i: data byte i carries something personal or unknown, padding included

	keep *[frame.MaxData]byte // technical bits of a broadcast frame; nil = whole bytes by Personal
}

// Mask sets the data bytes named in personal to zero. The length, and with it the form of the message, stays.
func Mask(f *frame.Frame, personal uint64) {
	for i := range min(int(f.Len), frame.MaxData) {
		if personal>>i&1 == 1 {
			f.Data[i] = 0
		}
	}
}

// Mask sets everything in f that is not technical to zero: like Mask(f, t.Personal), but exact to the bit where a
// broadcast frame's technical signal shares a byte with others. f must be the frame t was given for.
func (t FrameTag) Mask(f *frame.Frame) {
	if t.keep == nil {
		Mask(f, t.Personal)
		return
	}
	for i := range min(int(f.Len), frame.MaxData) {
		f.Data[i] &= t.keep[i]
	}
}
