package classify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"obdgate/dbc"
	"obdgate/internal/canlog"
	"obdgate/internal/canlog/pcapng"
	"obdgate/internal/classify/loggen"
	"obdgate/internal/crash"
	"obdgate/internal/frame"
	"obdgate/internal/isotp"
	_ "obdgate/internal/pinned"
	"obdgate/internal/policy"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func rules(t testing.TB) *policy.Policy {
	t.Helper()
	p, err := policy.Default()
	require.NoError(t, err)
	return p
}

// buses is the generator's database, one with every sort of switch, and one with long frames.
func buses(t testing.TB) *dbc.Database {
	t.Helper()
	gen, err := dbc.Parse("loggen.dbc", loggen.Classic.DBC())
	require.NoError(t, err)
	own, err := dbc.Parse("own.dbc", []byte(`VERSION ""
BO_ 2 NESTED: 8 E
 SG_ Top M : 0|8@1+ (1,0) [0|0] "" X
 SG_ Middle m1M : 8|8@1+ (1,0) [0|0] "" X
 SG_ Deep m2 : 16|8@1+ (1,0) [0|0] "" X
 SG_ Flat m1 : 32|8@1+ (1,0) [0|0] "" X
BO_ 3 HIDDEN: 8 E
 SG_ By M : 0|3@1+ (1,0) [0|0] "" X
 SG_ One m1 : 8|8@1+ (0.5,0) [0|0] "" X
 SG_ Two m2 : 16|8@1+ (1,0) [0|0] "" X
BO_ 4 LONG: 24 E
 SG_ Head : 0|8@1+ (1,0) [0|0] "" X
 SG_ Tail : 180|5@1+ (1,0) [0|0] "" X
BO_ 1536 ANSWERLIKE: 8 E
 SG_ All : 0|64@1+ (1,0) [0|0] "" X
BA_DEF_ SG_ "PrivacyClass" ENUM "personal","technical";
BA_DEF_ SG_ "PrivacyCategory" STRING;
`+marks(2, "Top technical condition", "Middle technical condition", "Deep technical service", "Flat personal movement")+
		marks(3, "By personal movement", "One technical condition", "Two technical condition")+
		marks(4, "Head technical condition", "Tail technical condition")+marks(1536, "All technical condition")+
		"SG_MUL_VAL_ 2 Deep Middle 2-2;\nSG_MUL_VAL_ 2 Flat Top 1-1;\nSG_MUL_VAL_ 2 Middle Top 1-1;\n"))
	require.NoError(t, err)
	d, err := dbc.Merge(gen, own)
	require.NoError(t, err)
	return d
}

func marks(id int, signals ...string) (out string) {
	for _, s := range signals {
		w := strings.Fields(s)
		out += fmt.Sprintf("BA_ \"PrivacyClass\" SG_ %d %s \"%s\";\nBA_ \"PrivacyCategory\" SG_ %d %s \"%s\";\n", id, w[0], w[1], id, w[0], w[2])
	}
	return out
}

// plainly is the obvious way: one line after the other through one Tagger.
func plainly(t require.TestingT, log []byte, o Options, ids string) (out []byte, all Count, faults []int) {
	tg := policy.NewTagger(o.Policy, o.DB, policy.WithMakers(o.Makers))
	var lines [][]byte
	emit := func(f *frame.Frame, ft policy.FrameTag) {
		line := lines[0]
		lines = lines[1:]
		all.Frames++
		all.Bytes += uint64(f.Len)
		if o.Only && ft.Tag.Class != policy.Technical {
			return
		}
		if o.Mask || o.Only {
			masked := *f
			ft.Mask(&masked)
			data := bytes.IndexByte(line, '#') + 1
			if f.Is(frame.FD) {
				data += 2
			}
			for i := range int(f.Len) {
				if ft.Personal>>i&1 == 1 && !f.Is(frame.Remote) {
					copy(line[data+2*i:], fmt.Sprintf("%02X", masked.Data[i]))
				}
			}
		}
		out = append(append(out, line...), '\n')
	}
	var names []string
	split := bytes.Split(log, []byte("\n"))
	if len(split[len(split)-1]) == 0 {
		split = split[:len(split)-1]
	}
	for n, l := range split {
		trimmed := bytes.TrimSpace(l)
		if len(trimmed) == 0 || trimmed[0] == '#' {
			continue
		}
		var f frame.Frame
		name, err := canlog.Parse(trimmed, &f)
		if err == nil && ids != "" && !named(ids, &f) {
			continue
		}
		if err == nil {
			bus := slices.Index(names, string(name))
			if bus < 0 {
				bus = len(names)
				names = append(names, string(name))
			}
			if f.Bus = uint8(bus); bus >= 64 {
				names, err = names[:64], canlog.ErrBuses
			}
		}
		if err != nil {
			faults = append(faults, n+1)
			continue
		}
		lines = append(lines, bytes.Clone(l))
		tg.Push(&f, emit)
	}
	tg.Flush(emit)
	return out, all, faults
}

// named says of one frame what a list of identifiers says, word by word.
func named(list string, f *frame.Frame) bool {
	list, drop := strings.CutPrefix(list, "not:")
	if f.Flags&(frame.Error|frame.Legacy) != 0 {
		return drop
	}
	digits := 3
	if f.Is(frame.Extended) {
		digits = 8
	}
	return drop != slices.Contains(strings.Split(list, ","), fmt.Sprintf("%0*X", digits, f.ID))
}

func run(t require.TestingT, log []byte, o Options) (string, *Summary) {
	var out bytes.Buffer
	s, err := Run(context.Background(), bytes.NewReader(log), &out, o)
	require.NoError(t, err)
	return out.String(), s
}

// conversation is a tester's, with what goes wrong on a bus.
var conversation = []string{
	"7DF#0201050000000000", "7E8#0341057355555555", "7E0#0209020000000000", "7E8#1014490201575657", "7E0#3000000000000000",
	"7E8#215A5A5A4344304E", "7E8#2257303030303031", "7E8#2257303030303031", "7E8#0341054142434445", "7E0#0322D10D00000000", "7E8#0562D10D12345555",
	"6F1#1203220101", "612#F1056201011234FF", "612#F110", "600#F10341057301020304", "600#000341057301020304", "18DA10F1#02090200",
	"18DAF110#1014490201575657", "18DAF110#215A5A5A4344304E", "18DAF110#2257303030303031", "7E8#10",
	"714#0322220300000000", "77E#0662220301020355", "77E#0341054155555555", "77E#100A622203010203", "714#3000000000000000", "77E#21040506070899AA",
	"7E0#0209020000000000", "7E8#10144902015A5A5A", "7E0#3000000000000000", "7E8#215A5A5A4344304E", "7E8#2257303030303031",
	"714#0322F18700000000", "77E#0762F18741424344",
}

// makers know of Volkswagens: one control unit, and where its mileage stands.
var makers = policy.Makers{
	All: []isotp.Address{{Tx: 0x714, Rx: 0x77E}},
	Of: func(wmi string) (m policy.Maker) {
		if wmi == "WVW" {
			m.Places = []policy.Place{{Addr: isotp.Address{Tx: 0x714, Rx: 0x77E}, Question: []byte{0x22, 0x22, 0x03}, Width: 3, Key: "odometer.22.2203"}}
		}
		return m
	},
}

// drawLog draws a recording: broadcast, conversations, long frames, damage, odd spelling.
func drawLog(t *rapid.T, ms []*dbc.Message) []byte {
	var b strings.Builder
	talk := 0
	at := 1690000000000000
	for range rapid.IntRange(0, 60).Draw(t, "lines") {
		at += rapid.SampledFrom([]int{100, 100, 5000, 1100000, 20000000, -3000000}).Draw(t, "pause")
		head := fmt.Sprintf("(%d.%06d) %s ", at/1000000, at%1000000, rapid.SampledFrom([]string{"can0", "can0", "can1", "longname01"}).Draw(t, "bus"))
		var body string
		switch kind := rapid.IntRange(0, 15).Draw(t, "kind"); kind {
		case 0:
			b.WriteString(rapid.SampledFrom([]string{"\n", "# a note\n", "garbage\n", head + "7E8#123\n", head + "7E8#12 X\n", head + "999#12\n", strings.Repeat("y", 400) + "\n", " \t\n"}).Draw(t, "odd"))
			continue
		case 1, 2, 3, 4:
			body = conversation[talk%len(conversation)]
			talk += rapid.SampledFrom([]int{1, 1, 1, 1, 2, 5}).Draw(t, "skip")
		case 5:
			body = rapid.SampledFrom([]string{"123#R", "7E8#R8", "20000004#0004000000000000", "486B10#4100BE3EB811", "486B10#410D32", "7E8#", "0A0#1122"}).Draw(t, "special")
		case 6:
			body = fmt.Sprintf("004##1%X", rapid.SliceOfN(rapid.Byte(), 24, 24).Draw(t, "long"))
		default:
			m := rapid.SampledFrom(ms).Draw(t, "message")
			n := rapid.SampledFrom([]int{8, 8, 8, 8, 8, 3}).Draw(t, "length")
			data := rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "data")
			data[0] %= rapid.SampledFrom([]byte{4, 255}).Draw(t, "switch")
			if m.Extended {
				body = fmt.Sprintf("%08X#%X", m.ID, data)
			} else {
				body = fmt.Sprintf("%03X#%X", m.ID, data)
			}
		}
		line := head + body
		switch rapid.IntRange(0, 9).Draw(t, "spelling") {
		case 0:
			line = strings.ToLower(line)
		case 1:
			line += rapid.SampledFrom([]string{" R", " T", "\r", "  "}).Draw(t, "tail")
			if strings.Contains(line, "#r") {
				line = head + body
			}
		case 2:
			line = " " + line
		}
		b.WriteString(line + "\n")
	}
	s := b.String()
	if rapid.Bool().Draw(t, "no last line feed") {
		s = strings.TrimSuffix(s, "\n")
	}
	return []byte(s)
}

// Whatever the recording, the size of the blocks and the number of workers, the result is that of one Tagger that saw one
// line after the other.
func TestManyWorkersAreOneTagger(t *testing.T) {
	p, db := rules(t), buses(t)
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t, db.Messages())
		ids := ""
		o := Options{Policy: p, DB: db, Makers: makers, To: Candump, Workers: rapid.IntRange(1, 3).Draw(t, "workers"), block: rapid.SampledFrom([]int{300, 500, 2000, 1 << 20}).Draw(t, "block")}
		switch rapid.IntRange(0, 3).Draw(t, "what") {
		case 1:
			o.Mask = true
		case 2:
			o.Only = true
		case 3:
			o.Count = true
		}
		if o.IDs, ids = nil, rapid.SampledFrom([]string{"", "", "not:7E8,0A0,0CF00909", "0A0,0B1,002,004,7E8,7E0,18DAF110", "not:123"}).Draw(t, "ids"); ids != "" {
			var err error
			o.IDs, err = canlog.ParseIDs(ids)
			require.NoError(t, err)
		}
		want, all, faults := plainly(t, log, o, ids)
		got, s := run(t, log, o)
		require.Equal(t, string(want), got)
		require.Equal(t, all, s.All)
		require.Equal(t, len(faults), s.Damaged)
		for i, f := range s.Faults {
			require.Equal(t, faults[i], f.Line)
			require.ErrorIs(t, f.Err, canlog.ErrSyntax)
		}
		for _, c := range s.Categories {
			var sum Count
			for _, o := range c.Over {
				sum.add(o)
			}
			require.Equal(t, c.Count, sum)
		}

		o.To = JSONL // the same with one worker and one block
		got, _ = run(t, log, o)
		o.Workers, o.block = 1, 1<<20
		again, _ := run(t, log, o)
		require.Equal(t, again, got)
		for l := range strings.Lines(got) {
			require.True(t, json.Valid([]byte(l)), l)
		}
		o.To = Nothing
		_, nothing := run(t, log, o)
		if o.Mask || o.Only || o.Count { // else nothing was tagged
			require.Equal(t, s.Categories, nothing.Categories)
		}
		require.Equal(t, s.All, nothing.All)
	})
}

// Whatever stands in the bytes that are personal or unknown, what may leave stays the same to the bit, in every format.
func TestPersonalBytesChangeNothing(t *testing.T) {
	p, db := rules(t), buses(t)
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t, db.Messages())
		tg := policy.NewTagger(p, db, policy.WithMakers(makers))
		lines := bytes.SplitAfter(log, []byte("\n"))
		other := make([][]byte, len(lines))
		type place struct{ line, data int }
		var places []place
		var names []string
		emit := func(f *frame.Frame, ft policy.FrameTag) {
			at := places[0]
			places = places[1:]
			if f.Is(frame.Remote) {
				return
			}
			shown := *f
			for i := range shown.Data {
				shown.Data[i] = 0xFF
			}
			ft.Mask(&shown)
			for i := range int(f.Len) {
				if ft.Personal>>i&1 == 0 || transport(f, i) {
					continue
				}
				x := rapid.Byte().Draw(t, "other")&^shown.Data[i] | f.Data[i]&shown.Data[i]
				copy(other[at.line][at.data+2*i:], fmt.Sprintf(rapid.SampledFrom([]string{"%02X", "%02x"}).Draw(t, "spelling"), x))
			}
		}
		var f frame.Frame
		for i, l := range lines {
			other[i] = bytes.Clone(l)
			name, err := canlog.Parse(bytes.TrimSpace(l), &f)
			if err != nil {
				continue
			}
			if !slices.Contains(names, string(name)) {
				names = append(names, string(name))
			}
			f.Bus = uint8(slices.Index(names, string(name)))
			data := bytes.IndexByte(l, '#') + 1
			if f.Is(frame.FD) {
				data += 2
			}
			places = append(places, place{i, data})
			tg.Push(&f, emit)
		}
		tg.Flush(emit)
		for _, o := range []Options{{Mask: true}, {Only: true}} {
			for _, o.To = range []Format{Candump, JSONL, PCAPNG} {
				o.Policy, o.DB, o.Makers, o.block = p, db, makers, 700
				a, sa := run(t, log, o)
				b, sb := run(t, bytes.Join(other, nil), o)
				require.Equal(t, a, b)
				require.Equal(t, sa, sb)
			}
		}
	})
}

// transport reports whether a byte of an unfollowed diagnostic frame says what the frame is: changing it makes another
// conversation, not the same with other values.
func transport(f *frame.Frame, i int) bool {
	if f.Is(frame.Legacy) {
		return i < 3
	}
	diagnostic := f.Flags&frame.Extended == 0 && (f.ID >= 0x600 && f.ID <= 0x6FF || f.ID >= 0x7DF && f.ID <= 0x7EF || f.ID == 0x714 || f.ID == 0x77E) || f.ID&0x1FFF0000 == 0x18DA0000
	return diagnostic && i < 4
}

// Nothing nobody knows leaves: every 11-bit identifier no database names, and 29-bit ones.
func TestNothingUnclassifiedLeaves(t *testing.T) {
	var log strings.Builder
	for id := range 2048 {
		fmt.Fprintf(&log, "(1690000000.%06d) can0 %03X#A1B2C3D4E5F60718\n", id, id)
	}
	for i := range 20000 {
		fmt.Fprintf(&log, "(1690000001.%06d) can0 %08X#A1B2C3D4E5F60718\n", i, uint32(i)*0x9E3779B1&frame.MaxExtendedID)
	}
	shown := regexp.MustCompile(`(#|data":")[0-9A-F]*(A1B2|B2C3|C3D4|D4E5|E5F6|F607|0718)`)
	for _, to := range []Format{Candump, JSONL} {
		out, s := run(t, []byte(log.String()), Options{Policy: rules(t), To: to, Only: true})
		require.EqualValues(t, 22048, s.All.Frames)
		require.Empty(t, shown.FindString(out))
		require.False(t, strings.Contains(out, "unclassified"))
		out, _ = run(t, []byte(log.String()), Options{Policy: rules(t), To: to, Mask: true})
		require.Equal(t, 22048, strings.Count(out, "\n"))
		require.Empty(t, shown.FindString(out))
		out, _ = run(t, []byte(log.String()), Options{Policy: rules(t), To: to})
		require.NotEmpty(t, shown.FindString(out), "the expression finds nothing")
	}
}

func TestPCAPNGHasTheTagInTheComment(t *testing.T) {
	log := "(1690000000.123456) can0 7E0#0209020000000000\n(1690000000.123457) can1 123#FF\n(1690000000.123458) can0 486B10#410D32\n"
	out, s := run(t, []byte(log), Options{Policy: rules(t), To: PCAPNG, Mask: true})
	require.EqualValues(t, 1, s.LeftOut)
	r := pcapng.NewReader(strings.NewReader(out))
	var f frame.Frame
	require.NoError(t, r.Next(&f))
	require.Contains(t, r.Comment(), "technical protocol")
	require.NoError(t, r.Next(&f))
	require.Equal(t, "personal unclassified", r.Comment())
	require.Equal(t, []byte{0}, f.Bytes())
	require.Equal(t, []string{"can0", "can1"}, r.Interfaces())
	require.ErrorIs(t, r.Next(&f), io.EOF)
}

// Time is counted from the first frame, be it a tester's, whose frames are decided later than their neighbours.
func TestTimeBeginsWithTheFirstFrame(t *testing.T) {
	_, s := run(t, []byte("(1690000000.000000) can0 7E8#1014490201575657\n(1690000005.000000) can0 123#FF\n"), Options{Policy: rules(t)})
	require.Equal(t, 1690000000*time.Second, s.Start)
	for _, c := range s.Categories {
		require.Len(t, c.Over, 51)
		require.Equal(t, Count{1, 1}, c.Over[50])
		require.Equal(t, Count{1, 8}, c.Over[0])
	}
}

// A recording that breaks off, and a disk that is full, are told; what was done until then is not lost.
func TestReadAndWriteErrors(t *testing.T) {
	log := []byte("(1690000000.123456) can0 123#FF\n")
	var out bytes.Buffer
	o := Options{Policy: rules(t), To: Candump, block: 300}
	s, err := Run(context.Background(), io.MultiReader(bytes.NewReader(log), iotest.ErrReader(io.ErrUnexpectedEOF)), &out, o)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.EqualValues(t, 1, s.All.Frames)
	require.Equal(t, string(log), out.String())

	full := errors.New("full")
	_, err = Run(context.Background(), bytes.NewReader(bytes.Repeat(log, 10000)), failing{full}, o)
	require.ErrorIs(t, err, full)

	ctx, stop := context.WithCancel(context.Background())
	stop()
	_, err = Run(ctx, bytes.NewReader(bytes.Repeat(log, 10000)), io.Discard, o)
	require.ErrorIs(t, err, context.Canceled)
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// A recording with more interfaces than there are is damaged from there on, whoever reads it.
func TestTooManyInterfaces(t *testing.T) {
	var log strings.Builder
	for i := range 200 {
		fmt.Fprintf(&log, "(1690000000.%06d) can%d 123#FF\n(1690000000.%06d) can1 7E8#10%02X\n", i, i%80, i, i)
	}
	o := Options{Policy: rules(t), To: Candump, block: 400}
	want, all, faults := plainly(t, []byte(log.String()), o, "")
	got, s := run(t, []byte(log.String()), o)
	require.Equal(t, string(want), got)
	require.Equal(t, all, s.All)
	require.Equal(t, len(faults), s.Damaged)
	require.Equal(t, faults[0], s.Faults[0].Line)
	require.ErrorIs(t, s.Faults[0].Err, canlog.ErrBuses)
}

// A byte that two values of a switch share out differently is masked by the bit, though in all else they are decided alike.
func TestAByteIsSharedOutByTheSwitch(t *testing.T) {
	db, err := dbc.Parse("shared.dbc", []byte(`VERSION ""
BO_ 5 SHARED: 8 E
 SG_ By M : 0|3@1+ (1,0) [0|0] "" X
 SG_ Driver : 3|5@1+ (1,0) [0|0] "" X
 SG_ Low m1 : 8|4@1+ (1,0) [0|0] "" X
 SG_ Seat m1 : 12|4@1+ (1,0) [0|0] "" X
 SG_ Place m2 : 8|4@1+ (1,0) [0|0] "" X
 SG_ High m2 : 12|4@1+ (1,0) [0|0] "" X
BA_DEF_ SG_ "PrivacyClass" ENUM "personal","technical";
BA_DEF_ SG_ "PrivacyCategory" STRING;
`+marks(5, "By technical condition", "Low technical condition", "High technical condition", "Driver personal movement", "Seat personal movement", "Place personal movement")))
	require.NoError(t, err)
	log := []byte("(1690000000.000000) can0 005#01FFFFFFFFFFFFFF\n(1690000000.000000) can0 005#02FFFFFFFFFFFFFF\n")
	o := Options{Policy: rules(t), DB: db, To: Candump, Mask: true}
	got, _ := run(t, log, o)
	want, _, _ := plainly(t, log, o, "")
	require.Equal(t, string(want), got)
	require.Contains(t, got, "005#010F")
	require.Contains(t, got, "005#02F0")
}

// The values in JSON lines are those of the database, and only those that may be shown.
func TestValues(t *testing.T) {
	db := buses(t)
	for _, c := range []struct {
		line string
		safe bool
		want string
	}{
		{"002#0102050007000000", false, `"values":{"Top":1,"Middle":2,"Deep":5,"Flat":7}`},
		{"002#0102050007000000", true, `"data":"0102050000000000","tag":"personal","category":"movement","values":{"Top":1,"Middle":2,"Deep":5}`},
		{"003#0103050000000000", false, `"values":{"By":1,"One":1.5}`},
		{"003#0103050000000000", true, `"data":"0000000000000000","tag":"personal","category":"movement"}`},
		{"004##1070000000000000000000000000000000000000000005000", false, `"fd":true,"data":"070000000000000000000000000000000000000000005000","tag":"technical","category":"condition","values":{"Head":7,"Tail":5}`},
		{"004##1070000000000000000000000000000000000000000005FFF", true, `"data":"070000000000000000000000000000000000000000005001","tag":"technical","category":"condition","values":{"Head":7,"Tail":21}`},
		{"004#07", false, `"data":"07","tag":"personal","category":"unclassified"}`},
	} {
		got, _ := run(t, []byte("(0001690000.123456) can0 "+c.line+"\n"), Options{Policy: rules(t), DB: db, To: JSONL, Mask: c.safe})
		require.True(t, json.Valid([]byte(got)), got)
		require.Contains(t, got, c.want)
		require.Contains(t, got, `{"time":1690000.123456,"bus":"can0","id":"`+c.line[:3]+`"`)
	}
}

// fallingReader has a few good lines and then a fault of its own.
type fallingReader struct{ left []byte }

func (r *fallingReader) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		panic("7E8#62F190WVWZZZ")
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// A fault in one of the goroutines reaches whoever called Run, who knows how to tell of it without quoting it.
func TestAPanicIsTheCallers(t *testing.T) {
	defer func() {
		c, ok := recover().(*crash.Crash)
		require.True(t, ok)
		require.Contains(t, string(c.Stack), "fallingReader")
	}()
	r := &fallingReader{[]byte(strings.Repeat("(1690000000.000000) can0 123#11\n", 50))}
	_, _ = Run(t.Context(), r, io.Discard, Options{Policy: rules(t), DB: buses(t), To: Candump, block: 300})
	t.Error("the fault was swallowed")
}
