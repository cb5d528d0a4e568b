package decode

import (
	"bytes"
	"cmp"
	"slices"
)

// reordered puts together a message whose frames a recording has out of order (logs that were sorted, shuffled or pasted
// together): exactly one first frame, and every consecutive frame it needs exactly once, copies aside. Sequence numbers
// repeat after fifteen (ISO 15765-2, 9.6.4.3), so that longer messages are taken in order or not at all.
func reordered(frames [][]byte, ext bool) []byte {
	const most = 15
	var first []byte
	var parts [most + 1][]byte
	for _, f := range frames {
		if ext {
			f = f[min(1, len(f)):]
		}
		switch {
		case len(f) < 2:
		case f[0]>>4 == 1 && (first == nil || bytes.Equal(first, f)):
			first = f
		case f[0]>>4 == 1:
			return nil
		case f[0]>>4 == 2:
			n := f[0] & 0xF
			if n == 0 || parts[n] != nil && !bytes.Equal(parts[n], f) {
				return nil
			}
			parts[n] = f
		}
	}
	if len(first) < 3 {
		return nil
	}
	want := int(first[0]&0xF)<<8 | int(first[1])
	out := append([]byte(nil), first[2:]...)
	n := 1
	for ; n <= most && parts[n] != nil && len(out) < want; n++ {
		out = append(out, parts[n][1:]...)
	}
	if len(out) < want || want < len(first)-2 || slices.ContainsFunc(parts[min(n, most+1):], func(p []byte) bool { return p != nil }) {
		return nil
	}
	return out[:want]
}

// inOrder sorts the numbered messages of a K-line or J1850 answer to service 09, where every number from 1 on is there
// once; anything else stays as it is.
func inOrder(in [][]byte) [][]byte {
	seen := map[byte]bool{}
	top := byte(0)
	for _, m := range in {
		if len(m) < 4 || m[0] != 0x49 || m[1] != in[0][1] || seen[m[2]] {
			return in
		}
		seen[m[2]], top = true, max(top, m[2])
	}
	if len(in) < 2 || int(top) != len(in) {
		return in
	}
	out := slices.Clone(in)
	slices.SortFunc(out, func(a, b []byte) int { return cmp.Compare(a[2], b[2]) })
	return out
}
