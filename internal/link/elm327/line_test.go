package elm327

import (
	"fmt"
	"strings"
	"testing"

	"obdgate/internal/frame"
	"obdgate/internal/link"

	"github.com/stretchr/testify/require"
)

// Texts of genuine chips and copies (ELM327 data sheet, STN manual, logs of copies), as the splitter delivers them.
var statusCases = []struct {
	line string
	want Status
	data string
}{
	{"?", NotUnderstood, ""},
	{"OK", OK, ""},
	{"NO DATA", NoData, ""},
	{"NODATA", NoData, ""},
	{"SEARCHING...", Searching, ""},
	{"SEARCHING: ", Searching, ""},
	{"SEARCHING...7E8 06 41 00", Searching, "7E8 06 41 00"},
	{"UNABLE TO CONNECT", UnableToConnect, ""},
	{"NABLETO CONNECT", UnableToConnect, ""},
	{"BUS INIT: ...OK", BusInit, ""},
	{"BUS INIT: OK", BusInit, ""},
	{"BUSINIT:OK", BusInit, ""},
	{"BUS INIT: OK48 6B 10 41 00", BusInit, "48 6B 10 41 00"},
	{"BUS INIT: ...ERROR", BusInitError, ""},
	{"BUS INIT: ERROR", BusInitError, ""},
	{"BUS ERROR", BusError, ""},
	{"BUS BUSY", BusBusy, ""},
	{"CAN ERROR", CANError, ""},
	{"FB ERROR", FeedbackError, ""},
	{"DATA ERROR", DataError, ""},
	{"7E8 06 41 00 BE 3E B8 13 <DATA ERROR", LineDataError, ""},
	{"7E8064100BE3EB813<DATA ERROR", LineDataError, ""},
	{"7E8 06 41 <RX ERROR", LineRXError, ""},
	{"BUFFER FULL", BufferFull, ""},
	{"7E8 06 41 00 BEBUFFER FULL", BufferFull, ""},
	{"STOPPED", Stopped, ""},
	{"7E8 06STOPPED", Stopped, ""},
	{"LV RESET", LowVoltageReset, ""},
	{"ELM327 V1.5", Banner, ""},
	{"ACT ALERT", ActivityAlert, ""},
	{"!ACT ALERT", ActivityAlert, ""},
	{"LP ALERT", LowPowerAlert, ""},
	{"ERR94", CANFatal, ""},
	{"ERR71", Internal, ""},
	{"ERROR", Internal, ""},
	{"FC RX TIMEOUT", FlowTimeout, ""},
	{"OUT OF MEMORY", OutOfMemory, ""},
	{"UART RX OVERFLOW", Overflow, ""},
	{"DATA", DataPrompt, ""},
	{"7E8 06 41 00 BE 3E B8 13 ", NoStatus, "7E8 06 41 00 BE 3E B8 13"},
	{"FEED", NoStatus, "FEED"},
	{"BADDAD", NoStatus, "BADDAD"},
	{"0:490201", NoStatus, ""},
	{"12.6V", NoStatus, ""},
	{"HELLO", NoStatus, ""},
	{"Searching...", Searching, ""},
	{"7e8 06 41 00 be", NoStatus, "7e8 06 41 00 be"},
}

func TestClassify(t *testing.T) {
	seen := statusSet(0)
	for _, c := range statusCases {
		s, data := Classify([]byte(c.line))
		require.Equal(t, c.want.String(), s.String(), c.line)
		require.Equal(t, c.data, string(data), c.line)
		seen.add(s)
	}
	for s := range statusCount {
		require.True(t, seen.has(s), "no line shows %v", s)
		require.NotEmpty(t, s.String())
		if statuses[s].err != nil && statuses[s].err != link.ErrGarbled {
			require.NotEmpty(t, statuses[s].hint+(&statusError{s}).Error())
		}
	}
}

// canCases are lines as adapters print them.
var canCases = []struct {
	line string
	bits int
	ext  bool
	f    frame.Frame
}{
	{"7E8064100BE3EB813", 0, false, frame.New(0x7E8, 0, 6, 0x41, 0, 0xBE, 0x3E, 0xB8, 0x13)},
	{"7E8 06 41 00 BE 3E B8 13", 11, false, frame.New(0x7E8, 0, 6, 0x41, 0, 0xBE, 0x3E, 0xB8, 0x13)},
	{"7E803410D32", 11, false, frame.New(0x7E8, 0, 3, 0x41, 0x0D, 0x32)},
	{"7E803410D32AAAAAAAA", 11, false, frame.New(0x7E8, 0, 3, 0x41, 0x0D, 0x32, 0xAA, 0xAA, 0xAA, 0xAA)},
	{"7E8 10 14 49 02 01 57 56 57", 11, false, frame.New(0x7E8, 0, 0x10, 0x14, 0x49, 2, 1, 0x57, 0x56, 0x57)},
	{"7E8 21 5A", 11, false, frame.New(0x7E8, 0, 0x21, 0x5A)},
	{"18 DA F1 10 06 41 00 BE 3E B8 13", 29, false, frame.New(0x18DAF110, 0, 6, 0x41, 0, 0xBE, 0x3E, 0xB8, 0x13)},
	{"18DAF110037F2231", 0, false, frame.New(0x18DAF110, 0, 3, 0x7F, 0x22, 0x31)},
	{"00000012" + "0141", 29, false, frame.New(0x12, frame.Extended, 1, 0x41)},
	{"607 F1 05 62 DD 68 99 BE", 11, true, frame.New(0x607, 0, 0xF1, 5, 0x62, 0xDD, 0x68, 0x99, 0xBE)},
	{"7E8300000", 11, false, frame.New(0x7E8, 0, 0x30, 0, 0)},
}

func TestParseCAN(t *testing.T) {
	for _, c := range canCases {
		var f frame.Frame
		require.NoError(t, ParseCAN([]byte(c.line), c.bits, c.ext, &f), c.line)
		c.f.Dir = frame.Received
		require.True(t, c.f == f, c.line)
		require.NoError(t, f.Validate())
	}
	for name, c := range map[string]struct {
		line string
		bits int
		is   error
	}{
		"nothing":                       {"", 11, errDigits},
		"identifier alone":              {"7E8", 11, errDigits},
		"digit lost":                    {"7E806410BE3EB8", 11, errDigits},
		"byte lost":                     {"7E8064100BE3EB8", 11, errShort},
		"29 bits on an 11-bit bus":      {"18DAF110037F2231", 11, errDigits},
		"11 bits on a 29-bit bus":       {"7E8037F2231", 29, errDigits},
		"identifier above 7FF":          {"8E8037F2231", 11, errID},
		"identifier above 29 bits":      {"98DAF110037F2231", 29, errID},
		"nine bytes":                    {"7E8064100BE3EB8130000", 11, errLong},
		"nine bytes, 29 bits":           {"18DAF110064100BE3EB8130000", 29, errLong},
		"no digit":                      {"7E8064100BE3EB8G3", 11, errHex},
		"first frame of seven bytes":    {"7E81014490201575", 11, errDigits},
		"first frame cut":               {"7E8101449020157", 11, errShort},
		"piece without data":            {"7E821", 11, errShort},
		"flow control cut":              {"7E83000", 11, errShort},
		"PCI of length 0":               {"7E8004100BE3EB813", 11, errPCI},
		"PCI of length 8":               {"7E8084100BE3EB81355", 11, errPCI},
		"PCI of no kind":                {"7E8414100BE3EB813", 11, errPCI},
		"a line that is longer by much": {strings.Repeat("7E8", 60), 11, errLong},
	} {
		var f frame.Frame
		err := ParseCAN([]byte(c.line), c.bits, false, &f)
		require.ErrorIs(t, err, c.is, name)
		require.ErrorIs(t, err, link.ErrGarbled, name)
	}
	var f frame.Frame
	require.ErrorIs(t, ParseCAN([]byte("607F1"), 11, true, &f), errShort, "address byte without PCI")
}

func TestParseLegacy(t *testing.T) {
	for _, c := range []struct {
		name, line string
		sum        checksums
		want       string
		is         error
	}{
		{"9141, sum", "48 6B 11 41 00 BE 1F B8 10 AA", sumUnknown, "486B11#4100BE1FB810", nil},
		{"KWP, sum", "86 F1 10 41 00 BE 3E F8 11 CD", sumUnknown, "86F110#4100BE3EF811", nil},
		{"KWP without sum, unknown", "86F1104100BE3EB811", sumUnknown, "86F110#4100BE3EB811", errNoChecksum},
		{"KWP without sum, known", "86F1104100BE3EB811", sumMissing, "86F110#4100BE3EB811", nil},
		{"KWP with a length byte", "80F1100341000AD0", sumUnknown, "", errChecksum},
		{"KWP with a length byte, sum right", "80F1100341000ACF", sumUnknown, "80F110#41000A", nil},
		{"J1850, CRC", "48 6B 10 41 00 BE 3E B8 11 FA", sumUnknown, "486B10#4100BE3EB811", nil},
		{"wrong sum, once known to be printed", "48 6B 11 41 00 BE 1F B8 10 AB", sumPrinted, "", errChecksum},
		{"wrong sum or none, unknown", "48 6B 11 41 00 BE 1F B8 10", sumUnknown, "486B11#4100BE1FB810", errNoChecksum},
		{"none, known", "48 6B 11 41 00 BE 1F B8 10", sumMissing, "486B11#4100BE1FB810", nil},
		{"KWP, wrong sum", "86F1104100BE3EF811CE", sumUnknown, "", errChecksum},
		{"KWP, byte lost", "86F1104100BE3EF8", sumUnknown, "", errShort},
		{"KWP, sum lost once it is printed", "86F1104100BE3EF811", sumPrinted, "", errShort},
		{"KWP, longer than it says", "83F1104100BE3EF811CD", sumUnknown, "", errLong},
		{"digit lost", "48 6B 11 41 00 BE 1F B8 10 A", sumUnknown, "", errDigits},
		{"too short for anything", "48 6B 11 41", sumUnknown, "", errShort},
		{"a CAN frame", "18DAF110064100BE3EB813", sumUnknown, "", errChecksum},
	} {
		var f frame.Frame
		err := ParseLegacy([]byte(c.line), c.sum, &f)
		if c.is == nil {
			require.NoError(t, err, c.name)
			require.NoError(t, f.Validate())
			require.True(t, f.Is(frame.Legacy))
		} else {
			require.ErrorIs(t, err, c.is, c.name)
		}
		if c.want != "" {
			require.Equal(t, c.want, fmt.Sprintf("%s#%X", f.IDString(), f.Bytes()), c.name)
		}
	}
	require.Equal(t, byte(0x4B), crc8([]byte("123456789")), "check value of CRC-8/SAE-J1850")
}

// print writes a frame as a chip does.
func printLine(f *frame.Frame, spaces bool) string {
	id := f.IDString()
	if spaces && f.Is(frame.Extended) {
		id = fmt.Sprintf("% X", []byte{byte(f.ID >> 24), byte(f.ID >> 16), byte(f.ID >> 8), byte(f.ID)})
	}
	if spaces {
		return fmt.Sprintf("%s % X ", id, f.Bytes())
	}
	return fmt.Sprintf("%s%X", id, f.Bytes())
}

// What is accepted is what was printed: printing it again gives the same digits, and cutting one away is noticed.
func FuzzParseCAN(f *testing.F) {
	for _, c := range canCases {
		f.Add([]byte(c.line), c.ext)
	}
	for _, c := range statusCases {
		f.Add([]byte(c.line), false)
	}
	squeeze := func(s string) string { return strings.ToUpper(strings.ReplaceAll(s, " ", "")) }
	f.Fuzz(func(t *testing.T, line []byte, ext bool) {
		s, data := Classify(line)
		if len(data) == 0 {
			return
		}
		if s != NoStatus && s != Searching && s != BusInit {
			t.Fatalf("data beside %v", s)
		}
		var fr, again frame.Frame
		if ParseCAN(data, 0, ext, &fr) != nil {
			return
		}
		if err := fr.Validate(); err != nil {
			t.Fatal(err)
		}
		text := printLine(&fr, false)
		if text != squeeze(string(data)) {
			t.Fatalf("%q was read as %q", data, text)
		}
		bits := 11
		if fr.Is(frame.Extended) {
			bits = 29
		}
		if err := ParseCAN([]byte(printLine(&fr, true)), bits, ext, &again); err != nil || again != fr {
			t.Fatalf("with spaces it is another frame: %v %v", again, err)
		}
		for i := range text {
			if ParseCAN([]byte(text[:i]+text[i+1:]), bits, ext, &again) == nil {
				t.Fatalf("%q without its digit %d was accepted", text, i)
			}
		}
	})
}

func FuzzParseLegacy(f *testing.F) {
	f.Add([]byte("48 6B 11 41 00 BE 1F B8 10 AA"), uint8(0))
	f.Add([]byte("86F1104100BE3EF811CD"), uint8(1))
	f.Add([]byte("86F1104100BE3EB811"), uint8(2))
	f.Add([]byte("80F1100341000ACF"), uint8(0))
	f.Fuzz(func(t *testing.T, line []byte, sum uint8) {
		var fr frame.Frame
		if ParseLegacy(line, checksums(sum%3), &fr) != nil {
			return
		}
		if err := fr.Validate(); err != nil || !fr.Is(frame.Legacy) {
			t.Fatalf("not a legacy frame: %v", err)
		}
		text := strings.ToUpper(strings.ReplaceAll(string(line), " ", ""))
		data := fmt.Sprintf("%X", fr.Bytes())
		if !strings.HasPrefix(text, fr.IDString()) || !strings.Contains(text[6:], data) || len(text) > 6+2+len(data)+2 {
			t.Fatalf("%q was read as %s %s", text, fr.IDString(), data)
		}
	})
}

// The same bytes give the same lines however a radio link cuts them, and NULs change nothing.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("ATZ\r\r\rELM327 v2.1\r\r>"), uint8(1))
	f.Add([]byte("7E8064100BE3EB813\r7E906410098188011\r\r>"), uint8(3))
	f.Add([]byte("DATA>\x007E8\r\n\xBE+"), uint8(7))
	split := func(b []byte, step int) (events []string, junk int) {
		var s Splitter
		for len(b) > 0 {
			part := b[:min(step, len(b))]
			b = b[len(part):]
			for len(part) > 0 {
				var e Event
				part, e = s.Next(part)
				switch e {
				case LineEnd, WantData:
					line, whole := s.Line()
					events = append(events, fmt.Sprintf("%d %s %v", e, line, whole))
				case Prompt:
					events = append(events, ">")
				}
			}
		}
		return events, s.Junk
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		all, junk := split(b, len(b)+1)
		cut, _ := split(b, int(step)+1)
		if fmt.Sprint(all) != fmt.Sprint(cut) {
			t.Fatalf("cut every %d bytes: %q, at once: %q", int(step)+1, cut, all)
		}
		nulled, njunk := split([]byte(strings.Join(strings.Split(string(b), ""), "\x00")), 16)
		if strings.ToValidUTF8(string(b), "") == string(b) && (fmt.Sprint(all) != fmt.Sprint(nulled) || junk != njunk) {
			t.Fatalf("NULs changed %q to %q", all, nulled)
		}
		for _, e := range all {
			if len(e) > MaxLine+16 {
				t.Fatal("a line longer than MaxLine")
			}
		}
	})
}

func TestParsingAllocatesNothing(t *testing.T) {
	text := []byte("SEARCHING...\r7E8 06 41 00 BE 3E B8 13 \r7E906410098188011\r48 6B 11 41 00 BE 1F B8 10 AA\r7E8 06 41BUFFER FULL\r\r>")
	var s Splitter
	var f frame.Frame
	lines := 0
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for b := text; len(b) > 0; {
			var e Event
			if b, e = s.Next(b); e != LineEnd {
				continue
			}
			line, _ := s.Line()
			_, data := Classify(line)
			_ = ParseCAN(data, 11, false, &f)
			_ = ParseLegacy(data, sumUnknown, &f)
			lines++
		}
	}))
	require.Equal(t, 101*5, lines)
}

func BenchmarkLine(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"bare", "7E8064100BE3EB813\r"},
		{"spaces", "7E8 06 41 00 BE 3E B8 13 \r"},
		{"29bit", "18DAF110064100BE3EB813\r"},
		{"status", "7E8 06 41 00 BE BUFFER FULL\r"},
	} {
		b.Run(c.name, func(b *testing.B) {
			text := []byte(c.text)
			var s Splitter
			var f frame.Frame
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				_, _ = s.Next(text)
				line, _ := s.Line()
				if _, data := Classify(line); data != nil {
					_ = ParseCAN(data, 0, false, &f)
				}
			}
		})
	}
}

// A reply of eight ECUs, as judged at its prompt.
func BenchmarkReply(b *testing.B) {
	var text strings.Builder
	for i := range 8 {
		fmt.Fprintf(&text, "7E%X064100BE3EB813\r", 8+i)
	}
	text.WriteString("\r>")
	raw := []byte(text.String())
	var r reply
	var frames []frame.Frame
	var seen shapes
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		r.begin("0100")
		if !r.feed(raw, 0) {
			b.Fatal("no prompt")
		}
		o := judge(&r, expectation{kind: can11, seen: &seen}, frames)
		frames = o.frames
	}
	if len(frames) != 8 {
		b.Fatal(len(frames))
	}
}
