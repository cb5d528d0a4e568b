// Package loggen makes recordings to measure and test with: a database of 80 messages and about 600 signals of every kind
// (both byte orders, signed, floats, multiplexed, 29-bit), and a candump log of its frames with a tester's conversation
// between them. The same numbers give the same bytes on every machine. Every vehicle in it is invented.
package loggen

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/frame"
)

// Messages is how many messages the database has.
const Messages = 80

// message is what the log needs to know of one.
type message struct {
	id       uint32
	extended bool
	length   int
	mux      int // values of the switch in the first byte, 0 = none
}

// catalogue draws the messages and writes their text.
func catalogue() (string, []message) {
	rnd := rand.New(rand.NewPCG(80, 600))
	var b, attributes, floats strings.Builder
	b.WriteString("VERSION \"1\"\n\nNS_ :\n\nBS_:\n\nBU_: ECU TESTER\n\n")
	var out []message
	for i := range Messages {
		m := message{id: uint32(0x0A0 + 17*i), length: 8}
		if i%10 == 9 {
			m.id, m.extended = uint32(0x0CF00000+i*0x101), true
		}
		if i%13 == 5 {
			m.mux = 4
		}
		id := m.id
		if m.extended {
			id |= 1 << 31
		}
		fmt.Fprintf(&b, "BO_ %d MSG%02d: %d ECU\n", id, i, m.length)
		n := 0
		put := func(name, mux string, first, size int) {
			big := i%3 == 1 && mux == ""
			start, order := first, 1
			if big {
				start, order = first/8*8+7-first%8, 0
			}
			sign := "+"
			if rnd.IntN(4) == 0 && size > 1 {
				sign = "-"
			}
			if size == 32 && n%2 == 0 {
				fmt.Fprintf(&floats, "SIG_VALTYPE_ %d %s : 1;\n", id, name)
			}
			factor := []string{"1", "0.1", "0.25", "0.5", "0.01", "5"}[rnd.IntN(6)]
			offset := []string{"0", "0", "-40", "100"}[rnd.IntN(4)]
			fmt.Fprintf(&b, " SG_ %s %s: %d|%d@%d%s (%s,%s) [0|0] \"\" TESTER\n", name, mux, start, size, order, sign, factor, offset)
			class, category := "technical", []string{"condition", "fault-memory", "service"}[rnd.IntN(3)]
			if i%4 == 3 || i%4 == 2 && n%2 == 1 {
				class, category = "personal", []string{"movement", "location", "occupant"}[rnd.IntN(3)]
			}
			fmt.Fprintf(&attributes, "BA_ \"PrivacyClass\" SG_ %d %s \"%s\";\nBA_ \"PrivacyCategory\" SG_ %d %s \"%s\";\n", id, name, class, id, name, category)
			n++
		}
		if m.mux > 0 {
			fmt.Fprintf(&b, " SG_ Switch%02d M : 0|8@1+ (1,0) [0|0] \"\" TESTER\n", i)
			fmt.Fprintf(&attributes, "BA_ \"PrivacyClass\" SG_ %d Switch%02d \"technical\";\nBA_ \"PrivacyCategory\" SG_ %d Switch%02d \"condition\";\n", id, i, id, i)
			for v := range m.mux {
				for k, at := 0, 8; at < 64; k++ {
					size := min([]int{8, 12, 16, 4}[rnd.IntN(4)], 64-at)
					put(fmt.Sprintf("S%02d_%d_%d", i, v, k), fmt.Sprintf("m%d ", v), at, size)
					at += size
				}
			}
		} else {
			for at := 0; at < 64; {
				size := min([]int{1, 2, 4, 8, 8, 10, 12, 16, 16, 32}[rnd.IntN(10)], 64-at)
				put(fmt.Sprintf("S%02d_%d", i, n), "", at, size)
				at += size
			}
		}
		b.WriteString("\n")
		out = append(out, m)
	}
	b.WriteString("BA_DEF_ SG_ \"PrivacyClass\" ENUM \"personal\",\"technical\";\nBA_DEF_ SG_ \"PrivacyCategory\" STRING;\n")
	b.WriteString(attributes.String())
	b.WriteString(floats.String())
	return b.String(), out
}

// DBC is the database as text.
func DBC() []byte { text, _ := catalogue(); return []byte(text) }

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
func Log(w io.Writer, n int, seed uint64) error {
	_, ms := catalogue()
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
			x := content.Uint64()
			for j := range m.length {
				f.Data[j] = byte(x >> (8 * j))
			}
			if m.mux > 0 {
				f.Data[0] %= byte(m.mux)
			}
		}
		line = append(canlog.Append(line[:0], &f, "can0", at), '\n')
		if _, err := out.Write(line); err != nil {
			return fmt.Errorf("loggen: %w", err)
		}
	}
	return out.Flush()
}
