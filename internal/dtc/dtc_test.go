package dtc_test

import (
	"os"
	"strings"
	"testing"
	"unicode"

	"obdgate/internal/dtc"
	_ "obdgate/internal/pinned"
	"obdgate/internal/reading"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestString(t *testing.T) {
	for _, c := range []struct {
		bytes []byte
		want  string
	}{
		{[]byte{0x01, 0x23}, "P0123"}, {[]byte{0x45, 0x67}, "C0567"}, {[]byte{0x9A, 0xBC}, "B1ABC"}, {[]byte{0xD0, 0x08}, "U1008"},
		{[]byte{0x56, 0x78, 0x9A}, "C1678-9A"}, {[]byte{0x58, 0x12, 0x87}, "C1812-87"}, {[]byte{0x26, 0xE4, 0x00}, "P26E4-00"},
	} {
		code := dtc.New2(c.bytes[0], c.bytes[1])
		if len(c.bytes) == 3 {
			code = dtc.New3(c.bytes[0], c.bytes[1], c.bytes[2])
		}
		require.Equal(t, c.want, code.String())
		back, err := dtc.Parse(strings.ToLower(c.want))
		require.NoError(t, err)
		require.Equal(t, code, back)
	}
	require.Equal(t, "CD9628", dtc.New3(0xCD, 0x96, 0x28).AsHex().String())
	require.Equal(t, "", dtc.Code{}.String())
	for _, bad := range []string{"", "P", "P4000", "X0123", "P012", "P01234", "P0123-1", "P0123+11", "GD9628", "P0I23", "É0123"} {
		_, err := dtc.Parse(bad)
		require.ErrorIs(t, err, dtc.ErrCode, bad)
	}
}

func TestEveryCodeParsesBack(t *testing.T) {
	for n := range 1 << 16 {
		c := dtc.New2(byte(n>>8), byte(n))
		back, err := dtc.Parse(c.String())
		require.NoError(t, err)
		if back != c {
			t.Fatal(c.String(), back)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"P0301", "C1678-9A", "CD9628", "u0100-87", " B1ABC ", "P3FFF", "030E05"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := dtc.Parse(s)
		if err != nil {
			return
		}
		require.Equal(t, strings.ToUpper(strings.TrimSpace(s)), c.String())
		for _, lang := range dtc.Languages {
			require.NotEmpty(t, dtc.Text(c, lang))
		}
	})
}

func TestGeneric(t *testing.T) {
	for s, want := range map[string]bool{"P0301": true, "P2463": true, "P1233": false, "P3012": false, "P3401": true, "U0100": true, "U1008": false,
		"U3000": true, "B0001": true, "B1ABC": false, "C0031": true, "C2000": false, "CD9628": false} {
		c, err := dtc.Parse(s)
		require.NoError(t, err)
		require.Equal(t, want, c.Generic(), s)
	}
}

// Names a technician reads: ten worked examples in four languages, and what is said of codes nobody has described.
func TestText(t *testing.T) {
	for _, c := range []struct{ code, en, nl, de, fr string }{
		{"P0102", "Mass air flow sensor A: signal too low", "Luchtmassameter A: signaal te laag", "Luftmassenmesser A: Signal zu niedrig", "Débitmètre d'air A : signal trop faible"},
		{"P0171", "Air-fuel mixture (bank 1): too lean", "Mengsel (bank 1): te arm", "Gemisch (Bank 1): zu mager", "Mélange air-carburant (banc 1) : trop pauvre"},
		{"P0301", "Cylinder 1: misfire detected", "Cilinder 1: misfire (verbrandingsuitval) herkend", "Zylinder 1: Verbrennungsaussetzer erkannt", "Cylindre 1 : ratés de combustion détectés"},
		{"P0420", "Catalytic converter (bank 1): efficiency below threshold", "Katalysator (bank 1): rendement onder grenswaarde", "Katalysator (Bank 1): Wirkungsgrad unter Grenzwert", "Catalyseur (banc 1) : efficacité sous le seuil"},
		{"P0455", "EVAP system: large leak detected", "EVAP-systeem (tankontluchting): groot lek herkend", "EVAP-System (Tankentlüftung): große Leckage erkannt", "Système EVAP (vapeurs de carburant) : grosse fuite détectée"},
		{"P2463", "Particulate filter, soot load (bank 1): restricted", "Roetfilter, roetbelading (bank 1): vernauwd of verstopt", "Partikelfilter, Rußbeladung (Bank 1): verengt oder verstopft", "Filtre à particules, charge en suie (banc 1) : colmatage"},
		{"U0121", "No communication with: ABS control module A", "Geen communicatie met: ABS-regeleenheid A", "Keine Kommunikation mit: ABS-Steuergerät A", "Pas de communication avec : calculateur ABS A"},
		{"C0031", "Wheel speed sensor (front left): fault", "Wielsnelheidssensor (linksvoor): storing", "Raddrehzahlsensor (vorn links): Störung", "Capteur de vitesse de roue (avant gauche) : défaut"},
		{"B0001", "Front airbag (stage 1, driver): deployment control fault", "Frontairbag (trap 1, bestuurder): storing in ontstekingscircuit", "Frontairbag (Stufe 1, Fahrer): Fehler im Zündkreis", "Airbag frontal (étage 1, conducteur) : défaut du circuit de mise à feu"},
		{"P0AA6", "HV system: isolation fault", "HV-systeem: isolatiefout", "HV-System: Isolationsfehler", "Système haute tension : défaut d'isolement"},
		{"P0102-11", "Mass air flow sensor A: signal too low – short to ground", "Luchtmassameter A: signaal te laag – kortsluiting naar massa", "", ""},
		{"P0102-00", "Mass air flow sensor A: signal too low", "", "", ""},
		{"P1233", "Unknown code (powertrain, defined by the maker)", "Onbekende code (aandrijflijn, door de fabrikant bepaald)", "Unbekannter Code (Antrieb, vom Hersteller festgelegt)", "Code inconnu (groupe motopropulseur, défini par le constructeur)"},
		{"B1603-87", "Unknown code (body, defined by the maker) – message missing", "", "", ""},
		{"CD9628", "Unknown code (defined by the maker)", "", "", ""},
	} {
		code, err := dtc.Parse(c.code)
		require.NoError(t, err)
		for lang, want := range map[string]string{"en": c.en, "nl": c.nl, "de": c.de, "fr": c.fr} {
			if want != "" {
				require.Equal(t, want, strings.ReplaceAll(dtc.Text(code, lang), "\u00a0", " "), "%s in %s", c.code, lang)
			}
		}
	}
	require.Equal(t, "", dtc.Text(dtc.Code{}, "en"))
	c, _ := dtc.Parse("P0420")
	require.Contains(t, dtc.Text(c, "fr"), "\u00a0: ", "a French colon has a no-break space before it")
	require.Equal(t, dtc.Text(c, "en"), dtc.Text(c, "es"), "an unknown language reads English")
}

// Every row of the table is found, names a known component, failure and place, and gives a name in each language.
func TestEveryRowHasANameInEachLanguage(t *testing.T) {
	raw, err := os.ReadFile("data/codes.csv")
	require.NoError(t, err)
	rows := strings.Split(strings.TrimSpace(string(raw)), "\n")[1:]
	require.Greater(t, len(rows), 9000)
	last := ""
	for _, row := range rows {
		cols := strings.Split(row, ",")
		require.Less(t, last, cols[0], "codes.csv must be sorted")
		last = cols[0]
		code, err := dtc.Parse(cols[0])
		require.NoError(t, err)
		f, ok := dtc.Lookup(code)
		require.True(t, ok, cols[0])
		require.Equal(t, cols[1], f.Component)
		for _, lang := range dtc.Languages {
			name := dtc.Text(code, lang)
			if name == "" || strings.ContainsAny(name, "{}") || strings.HasSuffix(name, ": ") || strings.HasPrefix(name, ":") || unicode.IsLower([]rune(name)[0]) {
				t.Fatalf("%s in %s: %q", cols[0], lang, name)
			}
			for _, pair := range strings.Split(f.Location, ";") { // no part of the place may be lost
				if _, v, ok := strings.Cut(pair, "="); ok && len(v) == 1 && !strings.HasPrefix(pair, "row=") && !strings.Contains(name, v) {
					t.Fatalf("%s in %s: %q lacks %s", cols[0], lang, name, pair)
				}
			}
		}
	}
	_, ok := dtc.Lookup(dtc.New2(0x12, 0x33))
	require.False(t, ok)
}

func code(key reading.Key, ecu string, c dtc.Code, st ...dtc.Status) reading.Reading {
	r := dtc.Reading2(key, c)
	if len(st) > 0 {
		r = dtc.Reading3(key, c, st[0])
	}
	r.ECU = ecu
	return r
}

// One fault is one line, whatever services told of it, and another ECU's fault is another line.
func TestMerge(t *testing.T) {
	p0301, p0420, p1233 := dtc.New2(0x03, 0x01), dtc.New2(0x04, 0x20), dtc.New2(0x12, 0x33)
	got := dtc.Merge([]reading.Reading{
		code(dtc.KeyPending, "7E8", p1233),
		code(dtc.KeyStored, "7E8", p0301),
		code(dtc.KeyPending, "7E8", p0301),
		code(dtc.KeyPermanent, "7E8", p0420),
		code(dtc.KeyStored, "7E9", p0301),
		code(dtc.KeyUDS(0x02), "7E8", dtc.New3(0x03, 0x01, 0x00), 0x8C),
		code(dtc.KeyUDS(0x02), "7EA", dtc.New3(0xC1, 0x00, 0x87), 0x20),
		{Key: "obd.01.05", ECU: "7E8", Value: reading.Code{N: 1}},
	})
	var lines []string
	for _, e := range got {
		lines = append(lines, e.ECU+" "+e.Code.String()+" "+strings.Join(e.States(), "+"))
	}
	require.Equal(t, []string{"7E8 P0420 permanent", "7E8 P0301 stored+pending", "7E9 P0301 stored", "7E8 P1233 pending", "7EA U0100-87 history"}, lines)
	require.True(t, got[1].Lamp)

	two := dtc.Merge([]reading.Reading{ // two failure types: which one the two-byte code means is not known
		code(dtc.KeyStored, "7E8", p0301),
		code(dtc.KeyUDS(0x02), "7E8", dtc.New3(0x03, 0x01, 0x11), 0x08),
		code(dtc.KeyUDS(0x02), "7E8", dtc.New3(0x03, 0x01, 0x12), 0x08),
	})
	require.Len(t, two, 3)
}

// The severity of a WWH-OBD code comes with it, and a code that never failed is no fault.
func TestSeverityAndListed(t *testing.T) {
	r := dtc.Reading3(dtc.KeyUDS(0x42), dtc.New3(0x03, 0x01, 0x00), 0xAF, 0x59, 0x42, 0x84, 0x03, 0x01, 0x00, 0xAF)
	r.ECU = "7E8"
	plain := code(dtc.KeyUDS(0x02), "7E8", dtc.New3(0x03, 0x01, 0x00), 0xAF)
	listed := code(dtc.KeyUDS(0x0A), "7E8", dtc.New3(0x04, 0x20, 0x00), 0x50)
	got := dtc.Merge([]reading.Reading{listed, plain, r})
	require.Len(t, got, 2)
	require.Equal(t, dtc.Severity(0x84), got[0].Severity)
	require.Equal(t, "check-immediately", got[0].Severity.Urgency())
	require.Equal(t, "B1", got[0].Severity.Class())
	require.Equal(t, "listed", got[1].State())
	require.False(t, got[1].Failed())
	require.Equal(t, "maintenance", dtc.Severity(0x22).Urgency())
	require.Equal(t, "A", dtc.Severity(0x22).Class())
	require.Empty(t, dtc.Severity(0).Urgency()+dtc.Severity(1).Class())
}

// Whatever services tell of a fault, in whatever order and however often: it is one line per control unit, in every memory
// that has it, and in none that has not.
func TestNoFaultIsCountedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type fault struct {
			ecu    string
			hi, lo byte
		}
		want := map[fault]string{}
		var told []reading.Reading
		for range rapid.IntRange(0, 12).Draw(t, "faults") {
			f := fault{rapid.SampledFrom([]string{"7E8", "7E9", "18DAF110"}).Draw(t, "ecu"), rapid.Byte().Draw(t, "hi"), rapid.Byte().Draw(t, "lo")}
			if want[f] != "" || f.hi|f.lo == 0 {
				continue
			}
			stored, pending, permanent := rapid.Bool().Draw(t, "stored"), rapid.Bool().Draw(t, "pending"), rapid.Bool().Draw(t, "permanent")
			ftb := rapid.SampledFrom([]byte{0x00, 0x11, 0x87}).Draw(t, "failure type") // one for each fault
			var st dtc.Status
			c2, c3 := dtc.New2(f.hi, f.lo), dtc.New3(f.hi, f.lo, ftb)
			if stored {
				st |= dtc.Confirmed
				told = append(told, code(dtc.KeyStored, f.ecu, c2))
			}
			if pending {
				st |= dtc.Pending
				told = append(told, code(dtc.KeyPending, f.ecu, c2))
			}
			if permanent {
				told = append(told, code(dtc.KeyPermanent, f.ecu, c2), code(dtc.KeyUDS(0x55), f.ecu, c3, st))
			}
			if st != 0 && rapid.Bool().Draw(t, "three bytes too") {
				told = append(told, code(dtc.KeyUDS(0x02), f.ecu, c3, st), code(dtc.KeyUDS(0x42), f.ecu, c3, st), code(dtc.KeyUDS(0x04), f.ecu, c3, st))
			}
			if !stored && !pending && !permanent {
				continue
			}
			var states []string
			for _, m := range []struct {
				is   bool
				name string
			}{{permanent, "permanent"}, {stored, "stored"}, {pending, "pending"}} {
				if m.is {
					states = append(states, m.name)
				}
			}
			want[f] = strings.Join(states, "+")
		}
		for range rapid.IntRange(0, 4).Draw(t, "told again") {
			if len(told) > 0 {
				told = append(told, rapid.SampledFrom(told).Draw(t, "which"))
			}
		}
		got := map[fault]string{}
		for _, e := range dtc.Merge(rapid.Permutation(told).Draw(t, "order")) {
			base, err := dtc.Parse(e.Code.Base())
			require.NoError(t, err)
			f := fault{e.ECU, byte(base.N >> 8), byte(base.N)}
			require.Empty(t, got[f], "%v twice", e.Code)
			got[f] = strings.Join(e.States(), "+")
		}
		require.Equal(t, want, got)
	})
}

// Among stored codes those come first that the ECU calls urgent, then those behind the lamp, then those failing now.
func TestOrder(t *testing.T) {
	of := func(sev byte, lo byte, st dtc.Status) reading.Reading {
		r := dtc.Reading3(dtc.KeyUDS(0x42), dtc.New3(0x03, lo, 0x00), st, 0x59, 0x42, sev, 0x03, lo, 0x00, byte(st))
		r.ECU = "7E8"
		return r
	}
	var got []string
	for _, e := range dtc.Merge([]reading.Reading{of(0x20, 1, 0x08), of(0x20, 2, 0x09), of(0x20, 3, 0x88), of(0x40, 4, 0x08), of(0x80, 5, 0x08), of(0x80, 6, 0x04)}) {
		got = append(got, e.Code.Base())
	}
	require.Equal(t, []string{"P0305", "P0304", "P0303", "P0302", "P0301", "P0306"}, got)
}

func TestStatusNames(t *testing.T) {
	require.Equal(t, []string{"pending", "confirmed", "warning indicator requested"}, dtc.Status(0x8C).Names())
	require.Empty(t, dtc.Status(0).Names())
}

func BenchmarkText(b *testing.B) {
	c := dtc.New2(0x04, 0x20)
	b.ReportAllocs()
	for b.Loop() {
		if dtc.Text(c, "nl") == "" {
			b.Fatal("no text")
		}
	}
}
