package elm327_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/internal/link/elm327"
	"obdgate/internal/scan"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

// A second adapter, written from the public descriptions alone and sharing nothing with the simulator: a small car in front of
// which an ELM327 has manners of its own, drawn anew for each run.

// manners of an adapter. None of them damages what the car says; lossy apart, each must be read whole.
type manners struct {
	echoStuck, spacesStuck, linefeedStuck, lower, dlcStuck bool
	nul, high, chatter, promptTwice                        bool
	promptBare                                             bool // no empty line before the prompt
	promptFeeds                                            bool // \r\n before it
	padding, cutFirst                                      bool // AA up to eight bytes; single frames only as long as they are
	searching, dots, busInit                               bool // in front of the first answer, in its line
	banners                                                bool // ATD prints one
	resetDrops                                             bool // ATZ and ATWS end the link
	slow                                                   time.Duration
	pieces                                                 bool
	refuse                                                 []string // commands answered by ?
	count                                                  string   // "yes", "no" (?), "ignored", "messages"
	stopped                                                int      // one answer in so many is STOPPED
	late                                                   int      // one answer in so many comes late, behind its prompt
	lossy                                                  bool     // characters that come faster than their echo get lost
	typed                                                  bool     // of those that come at once only the first is sure to be taken
	wide                                                   bool     // a car with 29-bit identifiers
	noFilterEffect                                         bool
	setupForgets                                           bool // ATTP and ATSP put E, S and H back
}

func draw(rnd *rand.Rand) manners {
	one := func(n int) bool { return rnd.IntN(n) == 0 }
	m := manners{
		echoStuck: one(4), spacesStuck: one(3), linefeedStuck: one(4), lower: one(4), dlcStuck: one(8), nul: one(4), high: one(6), chatter: one(8),
		promptTwice: one(6), promptBare: one(4), promptFeeds: one(6), padding: one(2), cutFirst: one(3), searching: one(2), dots: one(3), busInit: one(6),
		banners: one(6), resetDrops: one(4), pieces: one(3), wide: one(3), noFilterEffect: one(5), setupForgets: one(5), lossy: one(12), typed: one(15),
		count: []string{"yes", "yes", "no", "ignored", "messages"}[rnd.IntN(5)],
	}
	m.slow = []time.Duration{0, 0, 20 * time.Millisecond, 80 * time.Millisecond, 200 * time.Millisecond}[rnd.IntN(5)]
	if one(5) {
		m.stopped = 15 + rnd.IntN(30)
	}
	if one(6) {
		m.late = 20 + rnd.IntN(30)
	}
	for _, c := range []string{"ATD", "ATM0", "ATCAF1", "ATST", "ATTP", "ATPC", "STI", "ATCRA", "ATL0", "ATAL", "ATWS", "ATAT", "ATCF", "ATFC", "ATE1"} {
		if one(7) {
			m.refuse = append(m.refuse, c)
		}
	}
	return m
}

// foe is the adapter with its car.
type foe struct {
	manners
	rnd                      *rand.Rand
	in                       chan byte
	out                      io.Writer
	echo, spaces, head, feed bool
	header, filter           string
	proto                    string
	wait                     time.Duration
	found, gone              bool
	asked                    int
	orders                   *[]string
}

// The car: what each control unit answers to each question.
func (f *foe) answers(payload []byte, to string) map[string][]byte {
	engine, gearbox := "7E8", "7E9"
	everybody, first, second := "7DF", "7E0", "7E1"
	if f.wide {
		engine, gearbox, everybody, first, second = "18DAF110", "18DAF118", "18DB33F1", "18DA10F1", "18DA18F1"
	}
	out := map[string][]byte{}
	for i, one := range []struct{ id, addr string }{{engine, first}, {gearbox, second}} {
		if to != everybody && to != one.addr {
			continue
		}
		if a := unit(i, payload, to == everybody); a != nil {
			out[one.id] = a
		}
	}
	return out
}

// values of service 01 of the two control units; the second has others under the same names.
var foeValues = [2]map[byte]string{
	{0x01: "830765E5", 0x03: "0200", 0x04: "30", 0x05: "70", 0x06: "80", 0x0B: "22", 0x0C: "0BE8", 0x0D: "00", 0x0F: "44", 0x11: "22", 0x1C: "06", 0x1F: "04EF",
		0x21: "000C", 0x2F: "9E", 0x30: "0A", 0x31: "2104", 0x33: "65", 0x42: "3714", 0x44: "8000", 0x46: "3C", 0x49: "25", 0x4C: "11", 0x51: "01", 0x5C: "82"},
	{0x01: "00000000", 0x04: "41", 0x05: "52", 0x0C: "0AF0", 0x1C: "06", 0x42: "36F0"},
}

func unit(i int, q []byte, all bool) []byte {
	refuse := func(nrc byte) []byte {
		if all && (nrc == 0x11 || nrc == 0x12 || nrc == 0x31) {
			return nil // ISO 14229-1: to a question to everybody nobody says that he has it not
		}
		return []byte{0x7F, q[0], nrc}
	}
	vals := foeValues[i]
	switch q[0] {
	case 0x01:
		a := []byte{0x41}
		for _, id := range q[1:] {
			if id&0x1F == 0 {
				var bits uint32
				for p := range vals {
					if p > id && p <= id+0x20 {
						bits |= 1 << (32 - (p - id))
					}
					if p > id+0x20 {
						bits |= 1
					}
				}
				if bits != 0 {
					a = append(a, id, byte(bits>>24), byte(bits>>16), byte(bits>>8), byte(bits))
				}
			} else if v, ok := vals[id]; ok {
				a = append(append(a, id), unhexed(v)...)
			}
		}
		if len(a) == 1 {
			return nil
		}
		return a
	case 0x03:
		if i == 0 {
			return unhexed("430303010420C101")
		}
		return unhexed("4300")
	case 0x07:
		if i == 1 {
			return unhexed("47010700")
		}
		return unhexed("4700")
	case 0x0A:
		return unhexed("4A00")
	case 0x09:
		if len(q) != 2 {
			return nil
		}
		switch {
		case q[1] == 0 && i == 0:
			return unhexed("490054400000")
		case q[1] == 0:
			return unhexed("490000400000")
		case q[1] == 0x02 && i == 0:
			return append([]byte{0x49, 2, 1}, "ZZZZZZ00000000038"...)
		case q[1] == 0x04 && i == 0:
			return append([]byte{0x49, 4, 2}, "CAL-0001\x00\x00\x00\x00\x00\x00\x00\x00CAL-0002\x00\x00\x00\x00\x00\x00\x00\x00"...)
		case q[1] == 0x06 && i == 0:
			return unhexed("490602DEADBEEF01020304")
		case q[1] == 0x0A:
			return append([]byte{0x49, 0x0A, 1}, []string{"ECM\x00-EngineControl\x00\x00", "TCM\x00-TransmisCtrl\x00\x00\x00"}[i]...)
		}
		return nil
	case 0x02, 0x06:
		return refuse(0x12)
	}
	return refuse(0x11)
}

func unhexed(s string) (b []byte) {
	for i := 0; i+1 < len(s); i += 2 {
		n, err := strconv.ParseUint(s[i:i+2], 16, 8)
		if err != nil {
			panic(err)
		}
		b = append(b, byte(n))
	}
	return b
}

func (f *foe) reset() {
	f.echo, f.spaces, f.head, f.feed = true, true, false, f.linefeedStuck
	f.header, f.filter, f.proto, f.wait, f.found = "", "", "", 200*time.Millisecond, false
}

// run serves one connection until it is closed.
func (f *foe) run(conn io.ReadWriteCloser) {
	f.out, f.in, f.gone = conn, make(chan byte, 1<<14), false
	ears := rand.New(rand.NewPCG(f.rnd.Uint64(), 7))
	go func() {
		defer close(f.in)
		for buf := make([]byte, 64); ; {
			n, err := conn.Read(buf)
			for i, c := range buf[:n] {
				if !(f.lossy && i > 5 && ears.IntN(60) == 0 || f.typed && i > 0 && ears.IntN(2) == 0) {
					f.in <- c
				}
			}
			if err != nil {
				return
			}
		}
	}()
	var line []byte
	for c := range f.in {
		switch {
		case c == '\r':
			if f.echo || f.echoStuck {
				f.say("\r")
			}
			f.do(strings.ToUpper(string(line)))
			if line = line[:0]; f.gone {
				_ = conn.Close()
				for range f.in { // until the reader has noticed
				}
				return
			}
			continue
		case f.echo || f.echoStuck:
			f.say(string(c))
		}
		if c > ' ' {
			line = append(line, c)
		}
	}
}

// say sends text, with what this adapter adds to it.
func (f *foe) say(text string) {
	var b bytes.Buffer
	for _, c := range []byte(text) {
		if f.nul && f.rnd.IntN(30) == 0 {
			b.WriteByte(0)
		}
		if f.high && f.rnd.IntN(60) == 0 {
			b.WriteByte(0xFC)
		}
		b.WriteByte(c)
		if c == '\r' && f.feed {
			b.WriteByte('\n')
		}
	}
	for out := b.Bytes(); len(out) > 0; {
		n := len(out)
		if f.pieces {
			n = min(n, 1+f.rnd.IntN(12))
			time.Sleep(time.Duration(f.rnd.IntN(8)) * time.Millisecond)
		}
		_, _ = f.out.Write(out[:n])
		out = out[n:]
	}
}

func (f *foe) prompt() {
	end := "\r>"
	switch {
	case f.promptBare:
		end = ">"
	case f.promptFeeds:
		end = "\r\n>"
	}
	if f.promptTwice && f.rnd.IntN(8) == 0 {
		end += ">"
	}
	f.say(end)
}

// pause waits like a chip at work: a character that comes ends it.
func (f *foe) pause(d time.Duration) (broken bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case _, ok := <-f.in:
		f.gone = f.gone || !ok
		return true
	case <-t.C:
		return false
	}
}

func (f *foe) do(line string) {
	if line == "" || f.pause(time.Millisecond+time.Duration(f.rnd.Int64N(int64(f.slow)+1))) {
		f.say("STOPPED\r")
		f.prompt()
		return
	}
	line = strings.ReplaceAll(line, " ", "")
	if strings.HasPrefix(line, "AT") || strings.HasPrefix(line, "ST") || strings.HasPrefix(line, "VT") {
		if text := f.command(line); !f.gone {
			f.say(text + "\r")
			f.prompt()
		}
		return
	}
	f.question(line)
}

func (f *foe) command(c string) string {
	for _, r := range f.refuse {
		if strings.HasPrefix(c, r) {
			return "?"
		}
	}
	const name = "ELM327 v1.5"
	rest := ""
	if len(c) > 4 {
		rest = c[4:]
	}
	switch {
	case c == "ATZ" || c == "ATWS":
		f.reset()
		if f.resetDrops {
			f.gone = true
			return ""
		}
		time.Sleep(300 * time.Millisecond)
		return "\r\r" + name
	case c == "ATD":
		f.reset()
		if f.banners {
			return "OK\r" + name
		}
	case c == "ATI":
		return name
	case c == "ATRV":
		return "12.4V"
	case c == "ATDPN":
		return f.proto
	case c == "ATE0" || c == "ATE1":
		f.echo = c == "ATE1"
	case c == "ATS0" || c == "ATS1":
		f.spaces = c == "ATS1"
	case c == "ATH0" || c == "ATH1":
		f.head = c == "ATH1"
	case c == "ATL0" || c == "ATL1":
		f.feed = c == "ATL1" || f.linefeedStuck
	case strings.HasPrefix(c, "ATSP"), strings.HasPrefix(c, "ATTP"):
		f.proto, f.header, f.filter, f.found = rest, "", "", false
		if f.setupForgets {
			f.spaces, f.head = true, false
		}
	case strings.HasPrefix(c, "ATSH"):
		if f.header = rest; len(rest) == 6 {
			f.header = "18" + rest
		}
	case strings.HasPrefix(c, "ATCP"), c == "ATPC", c == "ATM0", c == "ATCAF1", strings.HasPrefix(c, "ATAT"), c == "ATAL", strings.HasPrefix(c, "ATFC"),
		strings.HasPrefix(c, "ATCM"), strings.HasPrefix(c, "ATCF"), c == "ATAR":
	case strings.HasPrefix(c, "ATCRA"):
		f.filter = c[5:]
	case strings.HasPrefix(c, "ATST"):
		n, err := strconv.ParseUint(rest, 16, 8)
		if err != nil {
			return "?"
		}
		f.wait = time.Duration(max(n, 1)) * 4096 * time.Microsecond
	default:
		return "?"
	}
	return "OK"
}

// question puts one on the bus and prints the answers.
func (f *foe) question(line string) {
	limit := 0
	if len(line)%2 == 1 {
		if f.count == "no" {
			f.say("?\r")
			f.prompt()
			return
		}
		limit = int(line[len(line)-1] - '0')
		if f.count == "ignored" {
			limit = 0
		}
		line = line[:len(line)-1]
	}
	if strings.Trim(line, "0123456789ABCDEF") != "" || len(line) == 0 || len(line) > 14 {
		f.say("?\r")
		f.prompt()
		return
	}
	payload := unhexed(line)
	if order(payload) {
		*f.orders = append(*f.orders, line)
	}
	right, to := "6", "7DF"
	if f.wide {
		right, to = "7", "18DB33F1"
	}
	if f.header != "" {
		to = f.header
	}
	f.asked++
	if f.proto != right && f.proto != "0" {
		if f.pause(f.wait) {
			f.say("STOPPED\r")
		} else {
			f.say("CAN ERROR\r")
		}
		f.prompt()
		return
	}
	if !f.found && f.searching {
		f.say("SEARCHING...")
		for range 3 {
			if f.dots {
				time.Sleep(100 * time.Millisecond)
				f.say(".")
			}
		}
	}
	if !f.found && f.busInit {
		f.say("BUS INIT: ...OK\r")
	}
	f.found = true
	got := f.answers(payload, to)
	if f.stopped > 0 && f.asked%f.stopped == 0 {
		f.say("STOPPED\r")
		f.prompt()
		return
	}
	var lines []string
	ids := []string{}
	for id := range got {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	f.rnd.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	ends := map[int]bool{}
	for _, id := range ids {
		if f.filter != "" && !f.noFilterEffect && f.filter != id {
			continue
		}
		for _, fr := range frames(got[id]) {
			lines = append(lines, f.show(id, fr))
		}
		ends[len(lines)] = true
	}
	late := f.late > 0 && f.asked%f.late == 0
	if late {
		lines = nil
	}
	if f.pause(8 * time.Millisecond) {
		f.say("STOPPED\r")
		f.prompt()
		return
	}
	messages := 0
	for i, l := range lines {
		f.say(l + "\r")
		if ends[i+1] {
			messages++
		}
		if limit > 0 && (f.count == "messages" && messages >= limit || f.count != "messages" && i+1 >= limit) {
			f.prompt()
			return
		}
	}
	switch {
	case f.pause(f.wait):
		f.say("STOPPED\r")
	case len(lines) == 0:
		f.say("NO DATA\r")
	}
	f.prompt()
	if late { // what was missed comes when nobody asks for it any more
		for _, id := range ids {
			for _, fr := range frames(got[id]) {
				f.say(f.show(id, fr) + "\r")
			}
		}
		f.prompt()
	}
}

// frames cuts a message into CAN frames, PCI first.
func frames(m []byte) (out [][]byte) {
	if len(m) < 8 {
		return [][]byte{append([]byte{byte(len(m))}, m...)}
	}
	out = append(out, append([]byte{0x10 | byte(len(m)>>8), byte(len(m))}, m[:6]...))
	for n, rest := 1, m[6:]; len(rest) > 0; n++ {
		k := min(7, len(rest))
		out = append(out, append([]byte{0x20 | byte(n&15)}, rest[:k]...))
		rest = rest[k:]
	}
	return out
}

// show prints a frame as this adapter does.
func (f *foe) show(id string, b []byte) string {
	dlc := len(b)
	if f.padding {
		dlc = 8
		for len(b) < 8 && !(f.cutFirst && b[0]>>4 == 0) {
			b = append(b, 0xAA)
		}
	}
	if !f.head {
		return fmt.Sprintf("%X", b[1:])
	}
	if f.wide {
		id = strings.TrimSpace(fmt.Sprintf("% X", unhexed(id)))
	}
	text := id
	if f.dlcStuck {
		text += fmt.Sprintf(" %X", dlc)
	}
	text += fmt.Sprintf(" % X ", b)
	if !f.spaces && !f.spacesStuck {
		text = strings.ReplaceAll(text, " ", "")
	}
	if f.lower {
		text = strings.ToLower(text)
	}
	if f.chatter && f.rnd.IntN(12) == 0 {
		text = "+CONNECTING<<00:1D\r" + text
	}
	return text
}

// meet scans the car behind an adapter with these manners.
func meet(t *testing.T, m manners, seed uint64) (s visit.Scan, took time.Duration, orders []string, err error) {
	t.Helper()
	o := options(t)
	synctest.Test(t, func(t *testing.T) {
		f := &foe{manners: m, rnd: rand.New(rand.NewPCG(seed, 7)), orders: &orders}
		f.reset()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		plugs := make(chan *end, 64)
		var wg sync.WaitGroup
		wg.Go(func() {
			for there := range plugs {
				f.run(there)
			}
		})
		began := time.Now()
		l, openErr := elm327.OpenOver(ctx, func(int) (io.ReadWriteCloser, error) {
			here, there := cable()
			here.tap, there.tap = new(spent), new(spent)
			plugs <- there
			return here, nil
		}, 0)
		if err = openErr; err == nil {
			s, err = scan.Run(ctx, l, o)
			require.NoError(t, l.Close())
		}
		took = time.Since(began)
		require.NoError(t, ctx.Err(), "hangs")
		close(plugs)
		wg.Wait()
	})
	return s, took, orders, err
}

// TestManners reads a car through adapters that have manners of their own in any mixture. All is read, or what is missing is
// named; nothing is wrong, nothing is ordered, and it ends. OBDGATE_MANNERS=5000 looks at as many.
func TestManners(t *testing.T) {
	plain := manners{count: "yes"}
	want := map[bool]facts{}
	for _, wide := range []bool{false, true} {
		m := plain
		m.wide = wide
		s, _, _, err := meet(t, m, 1)
		require.NoError(t, err)
		require.Empty(t, s.Errors)
		require.Greater(t, len(s.Readings), 45)
		want[wide] = facts{scan: s}
	}
	n, from := 150, uint64(0)
	if s := os.Getenv("OBDGATE_MANNERS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
		from = rand.Uint64N(1 << 40)
		t.Logf("from seed %d", from)
	}
	if s := os.Getenv("OBDGATE_MANNERS_SEED"); s != "" {
		var err error
		from, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		n = 1
	}
	count := map[string]int{}
	for seed := from; seed < from+uint64(n); seed++ {
		m := draw(rand.New(rand.NewPCG(seed, 3)))
		s, took, orders, err := meet(t, m, seed)
		lost, wrong := compare(want[m.wide], s)
		what := complete
		switch {
		case len(wrong) > 0:
			what = lies
			t.Errorf("seed %d: wrong: %v\n%+v", seed, wrong, m)
		case len(lost) > 0 && err == nil && len(s.Errors) == 0:
			what = silently
			t.Errorf("seed %d: lost in silence: %v\n%+v", seed, lost, m)
		case len(lost) > 0 && err != nil && len(s.Readings) == 0:
			what = refused
		case len(lost) > 0:
			what = partial
		}
		// Asked twice, a value may be late twice: then it is named.
		if what != complete && !m.lossy && !m.typed && !(m.late > 0 && what == partial && len(s.Errors) >= len(lost)) {
			t.Errorf("seed %d: %s, %d lost, %v %v\n%+v", seed, what, len(lost), err, s.Errors, m)
		}
		if took > 60*time.Second {
			t.Errorf("seed %d: %v\n%+v", seed, took, m)
		}
		if len(orders) > 0 {
			t.Errorf("seed %d: orders %v", seed, orders)
		}
		count[what]++
	}
	t.Log(count)
}
