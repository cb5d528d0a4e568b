package i18n_test

import (
	"encoding/csv"
	"os"
	"regexp"
	"strings"
	"testing"

	"obdgate/internal/i18n"

	"github.com/stretchr/testify/require"
)

// column gives one column of an embedded table of another room, by its heading.
func column(t *testing.T, file, name string) []string {
	t.Helper()
	b, err := os.ReadFile("../" + file)
	require.NoError(t, err)
	r := csv.NewReader(strings.NewReader(string(b)))
	r.Comment = '#'
	all, err := r.ReadAll()
	require.NoError(t, err)
	for i, heading := range all[0] {
		if heading == name {
			var out []string
			for _, row := range all[1:] {
				out = append(out, row[i])
			}
			return out
		}
	}
	t.Fatalf("%s has no column %s", file, name)
	return nil
}

func loaded(t *testing.T) map[string]*i18n.Catalog {
	t.Helper()
	all := map[string]*i18n.Catalog{}
	for _, lang := range i18n.Languages {
		c, err := i18n.Load(lang)
		require.NoError(t, err)
		all[lang] = c
	}
	return all
}

// Whatever a decoding table calls by a name, a technician reads in his own language.
func TestEveryNameInTheTablesIsTranslated(t *testing.T) {
	catalogs := loaded(t)
	seen := 0
	for _, table := range []struct{ file, column string }{
		{"obd/pids.csv", "name"}, {"obd/enums.csv", "label"}, {"obd/infotypes.csv", "name"}, {"obd/iupr.csv", "name"}, {"obd/mids.csv", "name"},
		{"obd/tids.csv", "name"}, {"uds/dids.csv", "name"}, {"uds/records.csv", "name"}, {"scan/units.csv", "name"}, {"odometer/makers.csv", "ecu"},
		{"obfcm/layouts.csv", "name"}, {"uds/records.csv", "name"}, {"maker/tables/bmw_mini.csv", "name"}, {"maker/tables/ford.csv", "name"},
		{"maker/tables/hyundai_kia.csv", "name"}, {"maker/tables/toyota.csv", "name"}, {"maker/tables/vw.csv", "name"}, {"maker/tables/toyota.csv", "ecu"}, {"diag/nrc.csv", "name"}, {"diag/nrc.csv", "advice"},
	} {
		for _, name := range column(t, table.file, table.column) {
			require.Equal(t, name, catalogs["en"].Name(name))
			for _, lang := range []string{"nl", "de", "fr"} {
				if !i18n.Translated(catalogs[lang], name) {
					t.Errorf("%s: %q has no words in %s", table.file, name, lang)
				}
			}
			seen++
		}
	}
	require.Greater(t, seen, 700)
}

// The sentences that a scan puts into its report are translated as the names are.
func TestWhatAScanSaysIsTranslated(t *testing.T) {
	sentence := regexp.MustCompile(`(?:errors\.New|Errorf)\("([^"]*)"|missing\(.*, "([^"]+)"\)`)
	catalogs := loaded(t)
	seen := 0
	for _, file := range []string{"../scan/ask.go", "../scan/steps.go", "../scan/scan.go", "../obd/errors.go", "../diag/diag.go"} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range sentence.FindAllStringSubmatch(string(b), -1) {
			text := strings.ReplaceAll(m[1]+m[2], "%d", "7")
			if strings.HasPrefix(text, "scan: ") || strings.Contains(text, "%") || strings.Contains(text, "ask ") {
				continue // not of the vehicle, or put together from others
			}
			for _, lang := range []string{"nl", "de", "fr"} {
				if !i18n.Translated(catalogs[lang], text) {
					t.Errorf("%s: %q has no words in %s", file, text, lang)
				}
			}
			seen++
		}
	}
	require.Greater(t, seen, 12)
}

func TestName(t *testing.T) {
	nl, err := i18n.Load("nl")
	require.NoError(t, err)
	fr, err := i18n.Load("fr")
	require.NoError(t, err)
	for _, c := range []struct{ english, nl, fr string }{
		{"Engine coolant temperature", "Koelvloeistoftemperatuur", "Température du liquide de refroidissement"},
		{"Short term fuel trim bank 2", "Korte-termijn brandstofcorrectie bank 2", "Correction de carburant à court terme, rangée 2"},
		{"Oxygen sensor monitor, B1S2: sensor period", "Lambdasondebewaking, B1S2: sondeperiode", "Surveillance de la sonde lambda, B1S2 : période de la sonde"},
		{"Mileage, engine, high resolution", "Kilometerstand, motor, hoge resolutie", "Kilométrage, moteur, haute résolution"},
		{"Distance charge depleting, engine off, lifetime", "Afstand ontladend, motor uit, totaal", "Distance en décharge, moteur arrêté, total"},
		{"service 2A refused: conditions not correct (NRC 0x22)", "dienst 2A geweigerd: voorwaarden niet vervuld (NRC 0x22)", "service 2A refusé : conditions non remplies (NRC 0x22)"},
		{"service 22 id F190: answer is too short: 5 bytes, 20 expected", "dienst 22 id F190: antwoord is te kort: 5 bytes, 20 verwacht", "service 22 id F190 : la réponse est trop courte : 5 octets, 20 attendus"},
		{"ECM-EngineControl", "ECM-EngineControl", "ECM-EngineControl"},
		{"", "", ""},
	} {
		require.Equal(t, c.nl, nl.Name(c.english))
		require.Equal(t, c.fr, fr.Name(c.english))
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"Short term fuel trim bank 2", ": , : (", "a, b, c, d, e, f, g, h, i, j", "# 1", "\xff: 0x22 (NRC 0x22)"} {
		f.Add(s)
	}
	c, err := i18n.Load("de")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, s string) {
		if out := c.Name(s); out != s {
			require.True(t, i18n.Translated(c, s))
		}
	})
}
