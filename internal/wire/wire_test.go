package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "obdgate/internal/pinned"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func num(d string) Value {
	v, ok := Number(d)
	if !ok {
		panic(d)
	}
	return v
}

func txt(s string) Value {
	v, ok := Text(s)
	if !ok {
		panic(s)
	}
	return v
}

func sample() *Envelope {
	e := &Envelope{
		Station: "station-1", Day: "2026-11-20", VIN: "WVWZZZCD0NW000001", Purpose: "service", Receipt: "d-0001",
		Policy:   Policy{Version: "2026-11", Hash: strings.Repeat("ab", 32)},
		Readings: []Reading{{"obd.01.42", num("12.3"), "V", "7E8"}, {"obd.01.05", num("83"), "degC", "7E8"}, {"obd.01.01.mil_on", Truth(true), "", "7E8"}},
		Codes:    []Code{{"P0301", "stored", "7E8"}, {"C1678-9A", "pending", "7E9"}},
		Odometer: &Odometer{Km: num("1252.3"), Source: "obd.01.A6", ECU: "7E8", Verdict: "no-verdict"},
		Software: []Reading{{"obd.09.04", txt(`CAL "1" \ 2`), "", "7E8"}},
	}
	e.Canonicalise()
	return e
}

func consumption() *Envelope {
	e := &Envelope{
		Station: "station-1", Day: "2026-11-20", VIN: "WVWZZZCD0NW000001", Purpose: "obfcm", Receipt: "d-0002",
		Policy: Policy{Version: "2026-11", Hash: strings.Repeat("ab", 32)},
		OBFCM: &OBFCM{Verdict: "implausible", Reasons: []string{"recent-above-lifetime"}, Layout: "unconfirmed", ECU: "7E8",
			Values: []Reading{{"obfcm.lifetime_fuel", num("293.1"), "L", "7E8"}, {"obfcm.lifetime_distance", num("1252.3"), "km", "7E8"}}},
		Odometer: &Odometer{Km: num("1252.3"), Source: "obfcm.lifetime_distance", Sources: []Reading{{"obd.01.A6", num("1252.4"), "km", "7E8"}}},
	}
	e.Canonicalise()
	return e
}

// TestCanonicalIsWhatJSONWrites holds the hand-written encoder against encoding/json, which nobody here wrote.
func TestCanonicalIsWhatJSONWrites(t *testing.T) {
	for _, e := range []*Envelope{sample(), consumption()} {
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		require.NoError(t, enc.Encode(e))
		require.Equal(t, strings.TrimSuffix(want.String(), "\n"), string(e.Append(nil)))
	}
}

func TestParseReadsWhatAppendWrote(t *testing.T) {
	for _, e := range []*Envelope{sample(), consumption()} {
		got, err := Parse(e.Append(nil))
		require.NoError(t, err)
		require.Equal(t, e, got)
	}
}

// TestOneSpelling: whatever order a car answers in, the same content has the same bytes, so a repeat is seen as a repeat.
func TestOneSpelling(t *testing.T) {
	want := string(sample().Append(nil))
	rapid.Check(t, func(t *rapid.T) {
		e := sample()
		e.Readings = rapid.Permutation(append(e.Readings, e.Readings[0])).Draw(t, "readings")
		e.Codes = rapid.Permutation(append(e.Codes, e.Codes[1])).Draw(t, "codes")
		e.Canonicalise()
		require.Equal(t, want, string(e.Append(nil)))
	})
}

func TestHashCoversEveryMember(t *testing.T) {
	base := consumption()
	var doc map[string]any
	require.NoError(t, json.Unmarshal(base.Append(nil), &doc))
	seen := map[string]bool{base.ID: true}
	for name, change := range map[string]func(*Envelope){
		"station":  func(e *Envelope) { e.Station = "station-2" },
		"day":      func(e *Envelope) { e.Day = "2026-11-21" },
		"vin":      func(e *Envelope) { e.VIN = e.VIN[:11] },
		"purpose":  func(e *Envelope) { e.Purpose = "third-party:Verzekeraar" },
		"receipt":  func(e *Envelope) { e.Receipt = "d-0003" },
		"policy":   func(e *Envelope) { e.Policy.Version = "2026-12" },
		"readings": func(e *Envelope) { e.Readings = []Reading{{"obd.01.05", num("1"), "", ""}} },
		"codes":    func(e *Envelope) { e.Codes = []Code{{"P0301", "stored", ""}} },
		"obfcm":    func(e *Envelope) { e.OBFCM.Values[0].Value = num("1252.2") },
		"odometer": func(e *Envelope) { e.Odometer.Km = num("1252.2") },
		"software": func(e *Envelope) { e.Software = []Reading{{"obd.09.04", txt("X"), "", ""}} },
	} {
		require.Contains(t, doc, name)
		e := consumption()
		change(e)
		e.Canonicalise()
		require.False(t, seen[e.ID], name)
		seen[e.ID] = true
		delete(doc, name)
	}
	require.ElementsMatch(t, []string{"schema", "id"}, keys(doc), "a member without a case above")
}

func keys(m map[string]any) (ks []string) {
	for k := range m {
		ks = append(ks, k)
	}
	return ks
}

func TestParseRefuses(t *testing.T) {
	good := string(sample().Append(nil))
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			panic(old)
		}
		return strings.Replace(good, old, new, 1)
	}
	rehashed := func(change func(*Envelope)) string {
		e := sample()
		change(e)
		e.Canonicalise()
		return string(e.Append(nil))
	}
	unsorted := sample()
	unsorted.Readings[0], unsorted.Readings[1] = unsorted.Readings[1], unsorted.Readings[0]
	unsorted.ID = unsorted.Hash()
	const secret = "SECRET"
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"empty":                     {"", ErrInvalid},
		"no JSON":                   {good[:len(good)-1], ErrInvalid},
		"text after":                {good + "{}", ErrInvalid},
		"white space":               {good + "\n", ErrInvalid},
		"unknown member":            {swap(`{"schema"`, `{"customer":"`+secret+`","schema"`), ErrInvalid},
		"unknown member in reading": {swap(`"ecu":"7E8"}`, `"ecu":"7E8","`+secret+`":"12:00"}`), ErrInvalid},
		"unknown member in policy":  {swap(`"policy":{`, `"policy":{"by":"`+secret+`",`), ErrInvalid},
		"member twice":              {swap(`"station":"station-1"`, `"station":"`+secret+`","station":"station-1"`), ErrInvalid},
		"member in other case":      {swap(`"station"`, `"Station"`), ErrInvalid},
		"escaped spelling":          {swap(`"station-1"`, `"\u0073tation-1"`), ErrInvalid},
		"exponent":                  {swap(`12.3,`, `123e-1,`), ErrInvalid},
		"trailing zero":             {swap(`12.3,`, `12.30,`), ErrInvalid},
		"value missing":             {swap(`"value":83,`, ``), ErrInvalid},
		"value null":                {swap(`"value":83,`, `"value":null,`), ErrInvalid},
		"value object":              {swap(`"value":83,`, `"value":{"lat":"`+secret+`"},`), ErrInvalid},
		"list null":                 {swap(`"software":[`, `"software":null,"x":[`), ErrInvalid},
		"clock time in day":         {swap(`2026-11-20`, `2026-11-20T10:00:00Z`), ErrInvalid},
		"no such day":               {rehashed(func(e *Envelope) { e.Day = "2026-02-30" }), ErrInvalid},
		"other schema":              {swap(`envelope/v1`, `envelope/v2`), ErrInvalid},
		"short VIN":                 {rehashed(func(e *Envelope) { e.VIN = e.VIN[:12] }), ErrInvalid},
		"purpose":                   {rehashed(func(e *Envelope) { e.Purpose = "marketing" }), ErrInvalid},
		"third party without name":  {rehashed(func(e *Envelope) { e.Purpose = "third-party:" }), ErrInvalid},
		"unsorted":                  {string(unsorted.Append(nil)), ErrInvalid},
		"hash of something else":    {swap(`"value":83,`, `"value":84,`), ErrHash},
		"id of something else":      {swap(`"id":"`+sample().ID, `"id":"`+strings.Repeat("0", 64)), ErrHash},
		"service with consumption":  {rehashed(func(e *Envelope) { e.OBFCM = consumption().OBFCM }), ErrInvalid},
		"service with an obfcm key": {rehashed(func(e *Envelope) { e.Odometer.Source = "obfcm.lifetime_distance" }), ErrInvalid},
		"obfcm with a code":         {rehashed(func(e *Envelope) { e.Purpose, e.Readings, e.Software = "obfcm", nil, nil }), ErrInvalid},
		"quality with VIN":          {rehashed(func(e *Envelope) { e.Purpose, e.Day, e.Software = "quality", "2026-11-01", nil }), ErrInvalid},
		"quality with a day":        {rehashed(func(e *Envelope) { e.Purpose, e.VIN, e.Software = "quality", "", nil }), ErrInvalid},
		"quality with software":     {rehashed(func(e *Envelope) { e.Purpose, e.VIN, e.Day = "quality", "", "2026-11-01" }), ErrInvalid},
		"text with a line break":    {rehashed(func(e *Envelope) { e.Software[0].Value = Value{text, "a\nb"} }), ErrInvalid},
		"text too long":             {rehashed(func(e *Envelope) { e.Software[0].Value = Value{text, strings.Repeat("x", MaxText+1)} }), ErrInvalid},
		"number too long":           {rehashed(func(e *Envelope) { e.Odometer.Km = Value{number, strings.Repeat("9", MaxNumber+1)} }), ErrInvalid},
		"mileage as text":           {rehashed(func(e *Envelope) { e.Odometer.Km = txt("far") }), ErrInvalid},
		"too many readings": {rehashed(func(e *Envelope) {
			for i := range MaxReadings + 1 {
				e.Readings = append(e.Readings, Reading{"obd.06." + strconv.Itoa(i), num("1"), "", ""})
			}
		}), ErrInvalid},
		"over the size limit": {good + strings.Repeat(" ", MaxEnvelope), ErrInvalid},
	} {
		_, err := Parse([]byte(c.body))
		require.ErrorIs(t, err, c.want, name)
		require.NotContains(t, err.Error(), secret, "%s: the error echoes content", name)
	}
}

func TestNumbers(t *testing.T) {
	for d, want := range map[string]bool{
		"0": true, "-1": true, "1252.3": true, "-0.5": true, "18446744073709551615": true, "0.000001": true,
		"": false, "-": false, "-0": false, "01": false, "1.": false, ".5": false, "1.0": false, "1e3": false, "+1": false,
		"NaN": false, "1,5": false, "0x10": false, "1 ": false,
	} {
		_, ok := Number(d)
		require.Equal(t, want, ok, "%q", d)
	}
}

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func TestReceiptBindsEverything(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 30, 15, 999, time.FixedZone("CET", 3600))
	r := Receipt{Envelope: sample().ID, Station: "station-1", Collector: "dealer"}
	r.Sign(key(1), at)
	pub := key(1).Public().(ed25519.PublicKey)
	got, err := ParseReceipt(r.Append(nil))
	require.NoError(t, err)
	require.Equal(t, r, got)
	require.Equal(t, "2026-11-20T11:30:15Z", got.Received)
	require.NoError(t, got.Verify(pub))
	require.ErrorIs(t, got.Verify(key(2).Public().(ed25519.PublicKey)), ErrSignature)
	require.ErrorIs(t, got.Verify(nil), ErrSignature, "no key is no proof")
	for name, change := range map[string]func(*Receipt){
		"schema":    func(r *Receipt) { r.Schema = ErasureSchema },
		"envelope":  func(r *Receipt) { r.Envelope = consumption().ID },
		"station":   func(r *Receipt) { r.Station = "station-2" },
		"collector": func(r *Receipt) { r.Collector = "other" },
		"received":  func(r *Receipt) { r.Received = "2026-11-20T11:30:16Z" },
		"key":       func(r *Receipt) { r.Key = KeyID(key(2).Public().(ed25519.PublicKey)) },
		"signature": func(r *Receipt) { r.Signature = strings.Repeat("A", 86) },
	} {
		bad := r
		change(&bad)
		require.ErrorIs(t, bad.Verify(pub), ErrSignature, name)
	}

	s := Erasure{Envelope: sample().ID, Station: "station-1", Collector: "dealer"}
	s.Sign(key(1), at)
	back, err := ParseErasure(s.Append(nil))
	require.NoError(t, err)
	require.NoError(t, back.Verify(pub))
	back.Envelope = consumption().ID
	require.ErrorIs(t, back.Verify(pub), ErrSignature)
	_, err = ParseReceipt(s.Append(nil))
	require.ErrorIs(t, err, ErrInvalid, "a statement is no receipt")
}

func TestPrintable(t *testing.T) {
	require.Equal(t, "ECM-M?tronic", Printable("ECM-Mötronic\x00"[:13]))
	require.Len(t, Printable(strings.Repeat("x", 500)), MaxText)
	require.Equal(t, "", Printable("  "))
}

// FuzzParse: whatever is accepted is its own canonical form, so nothing can be smuggled beside the values.
func FuzzParse(f *testing.F) {
	for _, e := range []*Envelope{sample(), consumption()} {
		f.Add(e.Append(nil))
	}
	f.Add([]byte(`{"schema":"obdgate/envelope/v1"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := Parse(body)
		if err != nil {
			return
		}
		require.Equal(t, string(body), string(e.Append(nil)))
		require.Equal(t, e.ID, e.Hash())
		e.Canonicalise()
		require.Equal(t, string(body), string(e.Append(nil)))
	})
}

// FuzzParseReceipt: as FuzzParse, for the document the station keeps as its proof.
func FuzzParseReceipt(f *testing.F) {
	r := Receipt{Envelope: sample().ID, Station: "station-1", Collector: "dealer"}
	r.Sign(key(1), time.Unix(1795000000, 0))
	f.Add(r.Append(nil))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseReceipt(body)
		if err != nil {
			return
		}
		require.Equal(t, string(body), string(r.Append(nil)))
	})
}

func BenchmarkAppend(b *testing.B) {
	e := big()
	buf := e.Append(nil)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = e.Append(buf[:0])
	}
}

func BenchmarkParse(b *testing.B) {
	body := big().Append(nil)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReceiptVerify(b *testing.B) {
	r := Receipt{Envelope: sample().ID, Station: "station-1", Collector: "dealer"}
	r.Sign(key(1), time.Unix(1795000000, 0))
	body, pub := r.Append(nil), key(1).Public().(ed25519.PublicKey)
	b.ReportAllocs()
	for b.Loop() {
		got, err := ParseReceipt(body)
		if err != nil || got.Verify(pub) != nil {
			b.Fatal(err)
		}
	}
}

// big is about what a full scan of one car gives.
func big() *Envelope {
	e := sample()
	for i := range 120 {
		e.Readings = append(e.Readings, Reading{"obd.01." + string("0123456789ABCDEF"[i/16]) + string("0123456789ABCDEF"[i%16]), num("12.345"), "km", "7E8"})
	}
	e.Canonicalise()
	return e
}
