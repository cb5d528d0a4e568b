package classify

// sift lets the lines of a block pass as they are or leaves them out, by their identifier. Nothing else is worked out, but a
// damaged line is told here as anywhere.
func (k *worker) sift(b *block) {
	text, ids := b.text, k.t.o.IDs
	out := b.out[:b.n]
	q, name := &k.q, k.quickName
	count, frames, bytes, dropped := 0, uint64(0), uint64(0), 0
	from, to := 0, 0 // out[:to] is done, the lines text[from:at] follow
	for at := 0; at < b.n; {
		if q.Name() == name {
			n, data, passed, left := q.Pass(text[at:], b.n-at, ids)
			count, frames, bytes, at = count+n, frames+uint64(n), bytes+uint64(data), at+passed
			if left > 0 {
				count, dropped = count+1, dropped+1
				to, from = cut(out, text, from, at, to), at+left
				at += left
				continue
			}
			if at == b.n {
				break
			}
		}
		count++
		id, flags, n, iface, next := q.Sift(text[at:])
		switch {
		case next == 0:
			b.count = count
			next = k.oddly(b, at)
			name = k.quickName
			if next < 0 {
				next = -next
				to, from = cut(out, text, from, at, to), at+next
			}
		case !ids.Pass(id, flags):
			dropped++
			to, from = cut(out, text, from, at, to), at+next
		default:
			frames++
			bytes += uint64(n)
			if q.Name() != name {
				k.line.Name = q.Name()
				k.named(b, nameAt(text[at+iface:]))
				name = k.quickName
			}
		}
		at += next
	}
	b.count, b.frames, b.bytes, b.dropped = count, b.frames+frames, b.bytes+bytes, b.dropped+dropped
	b.out = out[:cut(out, text, from, b.n, to)]
}

// oddly looks at a line that is not of the common form. It returns the line's length, negative for a line that does not pass.
func (k *worker) oddly(b *block, at int) int {
	text, l := b.text, &k.line
	if !k.slowly(text[at:b.n]) {
		if l.Data < 0 {
			b.fault(text[at : at+l.Next-1])
		}
		return -l.Next
	}
	if !k.t.o.IDs.Pass(l.ID, l.Flags) {
		b.dropped++
		return -l.Next
	}
	k.named(b, text[at+l.Iface:at+l.IfaceEnd])
	b.frames++
	b.bytes += uint64(l.Len)
	return l.Next
}

// nameAt is the interface at the beginning of text, up to the space behind it.
func nameAt(text []byte) []byte {
	n := 0
	for text[n] != ' ' {
		n++
	}
	return text[:n]
}
