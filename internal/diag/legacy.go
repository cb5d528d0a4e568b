package diag

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	"obdgate/internal/link"
)

// Buses before ISO 15765: K-line (ISO 9141-2, ISO 14230) and J1850. A message is one line of at most 7 bytes after the
// header; what is longer comes as several lines. Nothing announces how many, so the link says when it is quiet.
//
//	48 6B 10 | 49 02 01 00 00 00 31    J1850 VPW, ISO 9141-2: third header byte is the ECU
//	87 F1 10 | 49 02 01 00 00 00 31    ISO 14230: first header byte carries the length

const tester = 0xF1

var errMissing = errors.New("a numbered message is missing")

// legacyResponder gives the ECU that sent f, to be asked with header tx; ok is false for a header that is not an answer
// to a tester.
func legacyResponder(f *frame.Frame, tx uint32) (isotp.Address, bool) {
	format, target, source := byte(f.ID>>16), byte(f.ID>>8), byte(f.ID)
	if source == tester || target != tester && target != 0x6B {
		return isotp.Address{}, false
	}
	if format&0x80 != 0 {
		format &= 0xC0 // without the length, or one ECU would have several addresses
	}
	return isotp.Address{Tx: tx, Rx: uint32(format)<<16 | uint32(target)<<8 | uint32(source),
		Legacy: true}, true
}

// legacyLine takes one message of a legacy bus.
func (c *Conn) legacyLine(p *peer, f *frame.Frame) {
	m := f.Bytes()
	p.running = append(p.running[:0], f.Seq)
	c.open() // the next line has as much time as this one had
	if v := c.ex.q.match(m); v != match {
		c.message(p, m)
		return
	}
	if m[0] == 0x7F {
		// ISO 14230 has the reason third; J1850 repeats the request before it.
		c.message(p, []byte{0x7F, m[1], m[len(m)-1]})
		return
	}
	c.activate(p)
	if p.answered && !p.negative {
		p.repeats++
		c.stats.Duplicates++
		return
	}
	p.waiting, p.busy = false, false
	p.lines = append(p.lines, line{data: bytes.Clone(m), seq: f.Seq})
}

// join makes one message of the lines of each ECU. After damage on the way the lines cannot be trusted to be all.
func (c *Conn) join() {
	for _, p := range c.ex.active {
		if len(p.lines) == 0 {
			continue
		}
		var seqs []uint64
		for _, l := range p.lines {
			seqs = append(seqs, l.seq)
		}
		m, err := joinLines(p.lines)
		if c.ex.garbled {
			err = link.ErrGarbled
		}
		if err != nil {
			p.lost(ErrSequence, err, seqs, 0, 0)
		} else {
			p.finish(m, seqs, false)
		}
		p.lines = p.lines[:0]
	}
}

// joinLines is documented at Answer.Legacy.
func joinLines(lines []line) ([]byte, error) {
	first := lines[0].data
	switch first[0] {
	case 0x49:
		if len(first) > 3 && !countsMessages(first[1]) {
			return joinNumbered(lines)
		}
	case 0x43, 0x47, 0x4A, 0x46:
		m := bytes.Clone(first)
		for _, l := range lines[1:] {
			m = append(m, l.data[1:]...)
		}
		return m, nil
	}
	return first, nil // one line by definition; a second one is the first again
}

// countsMessages: the odd InfoTypes up to 09 tell how many messages the next one has, in one line without number.
func countsMessages(infoType byte) bool { return infoType&1 == 1 && infoType <= 0x09 }

// messages is how many lines an InfoType has: exactly n, or a multiple (SAE J1979: VIN 5, calibration ids 4 each).
var messages = map[byte]struct {
	n        int
	multiple bool
}{0x02: {n: 5}, 0x04: {n: 4, multiple: true}}

func joinNumbered(lines []line) ([]byte, error) {
	sorted := slices.Clone(lines)
	for _, l := range sorted {
		if len(l.data) < 4 || l.data[1] != lines[0].data[1] {
			return nil, errMissing
		}
	}
	slices.SortStableFunc(sorted, func(a, b line) int { return int(a.data[2]) - int(b.data[2]) })
	m := []byte{0x49, sorted[0].data[1], 1}
	number := 0
	for i, l := range sorted {
		if i > 0 && l.data[2] == sorted[i-1].data[2] {
			if !bytes.Equal(l.data, sorted[i-1].data) {
				return nil, ErrConflict
			}
			continue
		}
		if number++; int(l.data[2]) != number {
			return nil, fmt.Errorf("%w: number %d", errMissing, number)
		}
		m = append(m, l.data[3:]...)
	}
	if want, ok := messages[m[1]]; ok && (want.multiple && number%want.n != 0 || !want.multiple && number != want.n) {
		return nil, fmt.Errorf("%w: %d came", errMissing, number)
	}
	return m, nil
}
