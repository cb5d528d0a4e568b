package policy_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"obdgate/dbc"
	"obdgate/internal/frame"
	"obdgate/internal/obd"
	"obdgate/internal/odometer"
	"obdgate/internal/policy"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
)

// full says that the long runs are wanted: OBDGATE_COVERAGE=full takes about a minute.
func full() bool { return os.Getenv("OBDGATE_COVERAGE") == "full" }

// On every 11-bit identifier with random payloads, and on a million random 29-bit ones, with a database and with none:
// nothing is shown that no technical signal covers, and nothing is technical by no rule.
func TestEveryIdentifier(t *testing.T) {
	p, db := defaultPolicy(t), database(t)
	q := p.With(db)
	rnd := rand.New(rand.NewPCG(6, 1))
	payloads, wide := 8, 50_000
	if full() {
		payloads, wide = 200, 1_000_000
	}
	covered := map[*dbc.Message]map[*dbc.Signal]bool{}
	for _, m := range db.Messages() {
		covered[m] = map[*dbc.Signal]bool{}
		for _, s := range m.Signals {
			covered[m][s] = q.TagKey(reading.Key(s.Key())).Class == policy.Technical
		}
	}
	with, without := policy.NewTagger(p, db), policy.NewTagger(p, nil)
	n, shown := 0, 0
	check := func(f *frame.Frame) {
		for j := range int(f.Len) {
			f.Data[j] = byte(rnd.Uint32())
		}
		n++
		for _, tg := range []*policy.Tagger{with, without} {
			ft, alone := tg.Alone(f)
			if !alone {
				continue // of a conversation: TestEveryDiagnosticAnswer
			}
			if ft.Class == policy.Technical && (ft.Rule == "" || ft.Category == "") {
				t.Fatalf("%s is technical by no rule", f.IDString())
			}
			g := *f
			ft.Mask(&g)
			var may [64]byte
			if m := db.Lookup(f.ID, f.Is(frame.Extended)); m != nil && tg == with && int(f.Len) >= m.Length {
				for _, s := range m.Signals {
					if s.Active(f) && covered[m][s] {
						for i := range may {
							may[i] |= s.Bits(i)
						}
					}
				}
			}
			for i := range int(f.Len) {
				if left := g.Data[i] &^ may[i]; left != 0 {
					t.Fatalf("%s byte %d shows bits %08b that no technical signal covers", f.IDString(), i, left)
				}
				shown += int(g.Data[i])
			}
		}
	}
	for id := range uint32(frame.MaxStandardID + 1) {
		for range payloads {
			f := frame.New(id, 0)
			f.Len = uint8(rnd.IntN(9))
			check(&f)
		}
	}
	ids := []uint32{}
	for _, m := range db.Messages() {
		if m.Extended {
			ids = append(ids, m.ID)
		}
	}
	for range wide {
		f := frame.Frame{ID: rnd.Uint32() & 0x1FFFFFFF, Flags: frame.Extended, Len: uint8(rnd.IntN(9))}
		if rnd.IntN(1000) == 0 {
			f.ID = ids[rnd.IntN(len(ids))]
		}
		check(&f)
	}
	require.Positive(t, shown, "nothing was shown at all: nothing was tested")
	t.Logf("%d frames", n)
}

// The answer to every question there is, with random data: data bytes are shown only where a rule names a technical key for
// that service and identifier.
func TestEveryDiagnosticAnswer(t *testing.T) {
	p := defaultPolicy(t)
	rnd := rand.New(rand.NewPCG(6, 2))
	rounds := 2
	if full() {
		rounds = 40
	}
	technical := func(prefix string) bool { return p.TagKey(reading.Key(prefix)).Class == policy.Technical }
	pid := func(prefix string, id int) bool {
		for _, f := range obd.Fields(byte(id)) {
			if technical(fmt.Sprintf("%s%02X.%s", prefix, id, f.Key)) {
				return true
			}
		}
		return technical(fmt.Sprintf("%s%02X", prefix, id))
	}
	did := func(id int) bool {
		switch id >> 8 {
		case 0xF4:
			return pid("uds.22.F4", id&0xFF)
		case 0xF6, 0xF8:
			return technical(fmt.Sprintf("uds.22.%04X", id)) || technical(fmt.Sprintf("uds.22.%04X.80.value", id))
		}
		return technical(fmt.Sprintf("uds.22.%04X", id))
	}
	questions, shown := 0, 0
	ask := func(question []byte, may bool) {
		questions++
		for range rounds {
			answer := append([]byte{question[0] + 0x40}, question[1:]...)
			echo := len(answer)
			for range rnd.IntN(40) {
				answer = append(answer, byte(rnd.Uint32()))
			}
			tg := policy.NewTagger(p, nil)
			frames := append(segment(0x7E0, false, 0, question, 0xCC), segment(0x7E8, false, 0, answer, 0xCC)...)
			at := 0
			for _, g := range run(tg, number(frames)) {
				if g.f.ID != 0x7E8 {
					continue
				}
				head := 1
				if at == 0 && len(answer) > 7 {
					head = 2
				}
				for j := head; j < int(g.f.Len) && at < len(answer); j, at = j+1, at+1 {
					if g.ft.Personal>>j&1 == 1 || at < echo {
						continue
					}
					shown++
					if !may {
						t.Fatalf("question %X: byte %d of the answer is shown, and no rule names a technical value there", question, at)
					}
				}
				if g.ft.Class == policy.Technical && g.ft.Rule == "" {
					t.Fatalf("question %X: technical by no rule", question)
				}
			}
		}
	}
	for id := range 256 {
		ask([]byte{0x01, byte(id)}, pid("obd.01.", id))
		ask([]byte{0x02, byte(id), 0}, pid("obd.02.", id))
		ask([]byte{0x06, byte(id)}, technical(fmt.Sprintf("obd.06.%02X", id)))
		ask([]byte{0x09, byte(id)}, technical(fmt.Sprintf("obd.09.%02X", id)))
		ask([]byte{0x21, byte(id)}, false)
		ask([]byte{0x1A, byte(id)}, technical(fmt.Sprintf("kwp.1A.%02X", id)))
		ask([]byte{0x19, byte(id), 0xFF}, true) // a report's head is its codes: what follows is TestTagsAreExact
		switch byte(id) {
		case 0x01, 0x02, 0x03, 0x06, 0x07, 0x09, 0x0A, 0x10, 0x18, 0x19, 0x1A, 0x21, 0x22:
		default:
			if id < 0x40 { // services that write, move and unlock, and those of no standard
				ask([]byte{byte(id), 1, 2}, id == 0x04 || id == 0x11 || id == 0x14 || id == 0x20 || id == 0x3E)
			}
		}
	}
	step := 37
	if full() {
		step, rounds = 1, 2
	}
	for id := 0; id <= 0xFFFF; id += step {
		ask([]byte{0x22, byte(id >> 8), byte(id)}, did(id))
	}
	for id := 0xF100; id <= 0xF1FF; id++ {
		ask([]byte{0x22, byte(id >> 8), byte(id)}, did(id))
	}
	named := 0
	for _, row := range odometer.Rows() { // the makers' own identifiers mean something else in another make
		if q := row.Payload; len(q) == 3 && q[0] == 0x22 {
			named++
			ask(q, false)
		}
	}
	require.Greater(t, named, 10)
	require.Positive(t, shown)
	t.Logf("%d questions", questions)
}

const privacyDBC = `VERSION ""
BO_ 256 M: 8 A
 SG_ Unmarked : 0|8@1+ (1,0) [0|0] "" A
 SG_ Torn : 8|8@1+ (1,0) [0|0] "" A
 SG_ NoSuchCategory : 16|8@1+ (1,0) [0|0] "" A
 SG_ Technical : 24|16@1+ (1,0) [0|0] "" A
 SG_ Under : 28|8@1+ (1,0) [0|0] "" A
 SG_ NoCategory : 40|8@1+ (1,0) [0|0] "" A
BA_DEF_ SG_ "PrivacyClass" ENUM "personal","technical";
BA_DEF_DEF_ "PrivacyClass" "technical";
BA_ "PrivacyClass" SG_ 256 Torn "technical";
BA_ "PrivacyCategory" SG_ 256 Torn "movement";
BA_ "PrivacyClass" SG_ 256 NoSuchCategory "technical";
BA_ "PrivacyCategory" SG_ 256 NoSuchCategory "moonlight";
BA_ "PrivacyClass" SG_ 256 Technical "technical";
BA_ "PrivacyCategory" SG_ 256 Technical "condition";
BA_ "PrivacyClass" SG_ 256 Under "personal";
BA_ "PrivacyCategory" SG_ 256 Under "location";
BA_ "PrivacyClass" SG_ 256 NoCategory "technical";
`

// What a database does not mark, or marks against itself, is personal, whatever its default says; where a personal signal
// lies under a technical one, the bits are personal; a frame shorter than its message shows nothing.
func TestUnmarkedIsPersonal(t *testing.T) {
	p := defaultPolicy(t)
	db, err := dbc.Parse("privacy.dbc", []byte(privacyDBC))
	require.NoError(t, err)
	q := p.With(db)
	for name, want := range map[string]policy.Class{"Unmarked": policy.Unclassified, "Torn": policy.Personal, "NoSuchCategory": policy.Personal,
		"Technical": policy.Technical, "Under": policy.Personal, "NoCategory": policy.Personal} {
		require.Equal(t, want, q.TagKey(reading.Key("dbc.M."+name)).Class, name)
	}
	f := parseFrame(t, "100#"+strings.Repeat("FF", 8))
	ft, ok := policy.NewTagger(p, db).Alone(&f)
	require.True(t, ok)
	ft.Mask(&f)
	require.Equal(t, parseFrame(t, "100#0000000FF0000000").Data, f.Data)
	f = parseFrame(t, "100#FFFFFFFFFFFF")
	ft, _ = policy.NewTagger(p, db).Alone(&f)
	ft.Mask(&f)
	require.Equal(t, parseFrame(t, "100#000000000000").Data, f.Data)
}

// Two vehicles on two buses: what was asked on one explains nothing on the other.
func TestBusesAreApart(t *testing.T) {
	question, answer := parseFrame(t, "7E0#0322F18700000000"), parseFrame(t, "7E8#0762F18741424344")
	for _, c := range []struct {
		bus   uint8
		shown bool
	}{{0, true}, {1, false}} {
		answer.Bus = c.bus
		got := run(policy.NewTagger(defaultPolicy(t), nil), number([]frame.Frame{question, answer}))
		require.Equal(t, c.shown, got[1].ft.Personal == 0, "bus %d", c.bus)
	}
	// And a message begun on one is not continued on the other.
	first, rest := parseFrame(t, "7E8#1014490201575657"), parseFrame(t, "7E8#215A5A5A43443057")
	rest.Bus = 1
	for _, g := range run(policy.NewTagger(defaultPolicy(t), nil), number([]frame.Frame{first, rest})) {
		require.NotEqual(t, policy.Technical, g.ft.Class)
	}
	// Nor is a broadcast frame of one an answer because somebody spoke to the control unit of that number on the other.
	asked, broadcast := parseFrame(t, "6F1#12023E00"), parseFrame(t, "612#F1037F2231")
	for _, bus := range []uint8{0, 1, 255} {
		broadcast.Bus = bus
		got := run(policy.NewTagger(defaultPolicy(t), nil), number([]frame.Frame{asked, broadcast}))
		require.Equal(t, bus == 0, got[1].ft.Class == policy.Technical, "bus %d", bus)
	}
}

// Several identifiers in one answer: where a personal one ends is not known, and what follows it is not shown.
func TestAnswerOfSeveralIdentifiers(t *testing.T) {
	q := segment(0x7E0, false, 0, hexBytes(t, "22 D10D F187"), 0)
	a := segment(0x7E8, false, 0, hexBytes(t, "62 D10D 4A414E F187 53454E"), 0) // "JAN", then "SEN" behind what looks like a part number
	for _, g := range run(policy.NewTagger(defaultPolicy(t), nil), number(append(q, a...))) {
		if g.f.ID == 0x7E8 {
			m := g.masked()
			require.NotContains(t, string(m.Data[:]), "SEN")
			require.NotContains(t, string(m.Data[:]), "JA")
		}
	}
}
