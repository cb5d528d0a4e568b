// Package loggen makes recordings to measure and test with: a database of 80 messages and about 640 signals of every kind
// (both byte orders, signed, floats, multiplexed once and twice, 29-bit), and a candump log of its frames with a tester's
// conversation between them, as classic CAN and as CAN FD. The same numbers give the same bytes on every machine. Every
// vehicle in it is invented.
package loggen

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
)

// Messages is how many messages a database has.
const Messages = 80

// Bus is a kind of bus.
type Bus uint8

const (
	Classic Bus = iota // eight bytes in every message
	FD                 // 8 to 64 bytes, all with the bit rate switched
)

// message is what the log needs to know of one.
type message struct {
	id       uint32
	extended bool
	length   int
	mux      int // values of the switch in the first byte, 0 = none
	second   int // values of the switch in the second byte, which is there when the first is 1
}

// writer collects the text of one database.
type writer struct {
	rnd                                 *rand.Rand
	signals, attributes, floats, ranges strings.Builder
}

// catalogue draws the messages and writes their text.
func (b Bus) catalogue() (string, []message) {
	w := &writer{rnd: rand.New(rand.NewPCG(80, 600+uint64(b)))}
	w.signals.WriteString("VERSION \"1\"\n\nNS_ :\n\nBS_:\n\nBU_: ECU TESTER\n\n")
	var out []message
	for i := range Messages {
		m := message{id: uint32(0x0A0 + 17*i), length: 8}
		if i%10 == 9 {
			m.id, m.extended = uint32(0x0CF00000+i*0x101), true
		}
		if b == FD {
			m.length = []int{64, 12, 32, 8, 48, 16, 24, 20}[i%8]
		}
		switch {
		case i%40 == 12:
			m.mux, m.second = 2, 3
		case i%13 == 5:
			m.mux = 4
		}
		w.message(i, &m)
		out = append(out, m)
	}
	w.signals.WriteString("BA_DEF_ SG_ \"PrivacyClass\" ENUM \"personal\",\"technical\";\nBA_DEF_ SG_ \"PrivacyCategory\" STRING;\n" +
		"BA_DEF_DEF_ \"PrivacyClass\" \"personal\";\nBA_DEF_DEF_ \"PrivacyCategory\" \"\";\n")
	return w.signals.String() + w.attributes.String() + w.floats.String() + w.ranges.String(), out
}

// dbcID is an identifier as .dbc files write it: bit 31 says 29 bits.
func (m *message) dbcID() uint32 {
	if m.extended {
		return m.id | 1<<31
	}
	return m.id
}

func (w *writer) message(i int, m *message) {
	fmt.Fprintf(&w.signals, "BO_ %d MSG%02d: %d ECU\n", m.dbcID(), i, m.length)
	n, bits, few := 0, 8*m.length, 0
	if m.length > 8 {
		few = 1 // more bytes, not many more signals
	}
	fill := func(name, mux string, from, most int, sizes ...int) {
		most -= most / 3 * few
		for k, at := 0, from; at < bits && k < most; k++ {
			size := min(sizes[w.rnd.IntN(len(sizes))], bits-at)
			w.signal(i, m, n, fmt.Sprintf("%s%d", name, k), mux, at, size)
			if mux != "" && m.second > 0 {
				w.selected(m, fmt.Sprintf("%s%d", name, k), mux, i)
			}
			n++
			at += size
			if few > 0 {
				at += w.rnd.IntN(1 + bits/24) // holes
			}
		}
	}
	if m.mux == 0 {
		sizes := []int{1, 1, 2, 4, 8, 8, 10, 12, 16, 16, 32}
		if i%20 == 3 || i%20 == 4 {
			sizes = []int{32, 64}
		}
		fill(fmt.Sprintf("S%02d_", i), "", 0, 12, sizes...)
	} else {
		w.toggle(i, m, "Switch", "M", 0)
		if m.second > 0 {
			w.toggle(i, m, "Second", "m1M", 8)
			w.selected(m, fmt.Sprintf("Second%02d", i), "m1", i)
		}
		for v := range m.mux {
			if v == 1 && m.second > 0 {
				for v := range m.second {
					fill(fmt.Sprintf("T%02d_%d_", i, v), fmt.Sprintf("m%d", v), 16, 5, 8, 12, 16)
				}
				continue
			}
			fill(fmt.Sprintf("S%02d_%d_", i, v), fmt.Sprintf("m%d", v), 8, 7, 8, 12, 16, 4)
		}
	}
	w.signals.WriteString("\n")
}

// toggle writes a multiplexer switch of one byte.
func (w *writer) toggle(i int, m *message, name, mux string, first int) {
	fmt.Fprintf(&w.signals, " SG_ %s%02d %s : %d|8@1+ (1,0) [0|0] \"\" TESTER\n", name, i, mux, first)
	w.privacy(m, fmt.Sprintf("%s%02d", name, i), 1, "condition")
}

// selected says by which switch a signal of a message with two is selected.
func (w *writer) selected(m *message, name, mux string, i int) {
	by := "Switch"
	if name[0] == 'T' {
		by = "Second"
	}
	fmt.Fprintf(&w.ranges, "SG_MUL_VAL_ %d %s %s%02d %s-%s;\n", m.dbcID(), name, by, i, mux[1:], mux[1:])
}

func (w *writer) signal(i int, m *message, n int, name, mux string, first, size int) {
	start, order := first, 1
	if i%3 == 1 { // from the most significant bit on
		start, order = first/8*8+7-first%8, 0
	}
	sign := "+"
	if w.rnd.IntN(4) == 0 {
		sign = "-"
	}
	factor := []string{"1", "0.1", "0.25", "0.5", "0.01", "5"}[w.rnd.IntN(6)]
	offset := []string{"0", "0", "-40", "100"}[w.rnd.IntN(4)]
	if size == 64 || size == 32 && n%2 == 0 {
		fmt.Fprintf(&w.floats, "SIG_VALTYPE_ %d %s : %d;\n", m.dbcID(), name, size/32)
		sign, factor, offset = "-", "1", "0"
	}
	if mux != "" {
		mux += " "
	}
	fmt.Fprintf(&w.signals, " SG_ %s %s: %d|%d@%d%s (%s,%s) [0|0] \"\" TESTER\n", name, mux, start, size, order, sign, factor, offset)
	class, category := 1, []string{"condition", "fault-memory", "service"}[w.rnd.IntN(3)]
	if i%4 == 3 || i%4 == 2 && n%2 == 1 {
		class, category = 0, []string{"movement", "location", "occupant"}[w.rnd.IntN(3)]
	}
	w.privacy(m, name, class, category)
}

// privacy writes the attributes of a signal; the class by its place in the enumeration, as the format wants it.
func (w *writer) privacy(m *message, name string, class int, category string) {
	fmt.Fprintf(&w.attributes, "BA_ \"PrivacyClass\" SG_ %d %s %d;\nBA_ \"PrivacyCategory\" SG_ %d %s \"%s\";\n", m.dbcID(), name, class, m.dbcID(), name, category)
}

// DBC is the database as text.
func (b Bus) DBC() []byte { text, _ := b.catalogue(); return []byte(text) }

// exchange is what the tester and the car say to each other: identifier and data of each frame.
var exchange = [...]struct {
	id   uint32
	data [8]byte
}{
	{0x7DF, [8]byte{2, 0x01, 0x0C}}, {0x7E8, [8]byte{4, 0x41, 0x0C, 0x1A, 0xF8}},
	{0x7DF, [8]byte{2, 0x01, 0x0D}}, {0x7E8, [8]byte{3, 0x41, 0x0D, 0x32}},
	{0x7E0, [8]byte{2, 0x01, 0x05}}, {0x7E8, [8]byte{3, 0x41, 0x05, 0x73}},
	{0x7E0, [8]byte{3, 0x22, 0xD1, 0x0D}}, {0x7E8, [8]byte{5, 0x62, 0xD1, 0x0D, 0x12, 0x34}},
}

// long is a VIN asked for and told, in a message of several frames.
var long = [...]struct {
	id   uint32
	data [8]byte
}{
	{0x7E0, [8]byte{2, 0x09, 0x02}},
	{0x7E8, [8]byte{0x10, 20, 0x49, 0x02, 0x01, 'W', 'V', 'W'}},
	{0x7E0, [8]byte{0x30}},
	{0x7E8, [8]byte{0x21, 'Z', 'Z', 'Z', 'C', 'D', '0', 'N'}},
	{0x7E8, [8]byte{0x22, 'W', '0', '0', '0', '0', '0', '1'}},
}

// Log writes n frames to w, 200 microseconds apart. Every fortieth is the tester's or the answer to it, and every hundredth
// of his questions is for the VIN. seed changes the content, not the order of the frames.
func (b Bus) Log(w io.Writer, n int, seed uint64) error {
	_, ms := b.catalogue()
	order, content := rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(seed, 2))
	out := bufio.NewWriterSize(w, 1<<20)
	var line []byte
	said, asking := 0, 0
	for i := range n {
		at := time.Unix(1690000000, 0).Add(time.Duration(i) * 200 * time.Microsecond)
		var f frame.Frame
		if i%40 == 39 {
			k := said % (100*len(exchange) + len(long))
			if asking = k - 100*len(exchange); asking >= 0 {
				f = frame.New(long[asking].id, 0, long[asking].data[:]...)
			} else {
				f = frame.New(exchange[k%len(exchange)].id, 0, exchange[k%len(exchange)].data[:]...)
			}
			said++
		} else {
			m := &ms[order.IntN(len(ms))]
			f = frame.Frame{ID: m.id, Len: uint8(m.length)}
			if m.extended {
				f.Flags = frame.Extended
			}
			if b == FD {
				f.Flags |= frame.FD | frame.BRS
			}
			for j := 0; j < m.length; j += 8 {
				binary.LittleEndian.PutUint64(f.Data[j:], content.Uint64())
			}
			clear(f.Data[m.length:])
			if m.mux > 0 {
				f.Data[0] %= byte(m.mux)
			}
			if m.second > 0 && f.Data[0] == 1 {
				f.Data[1] %= byte(m.second)
			}
		}
		line = append(canlog.Append(line[:0], &f, "can0", at), '\n')
		if _, err := out.Write(line); err != nil {
			return fmt.Errorf("loggen: %w", err)
		}
	}
	return out.Flush()
}
