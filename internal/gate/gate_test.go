package gate_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"obdgate/internal/consent"
	"obdgate/internal/gate"
	"obdgate/internal/obfcm"
	_ "obdgate/internal/pinned"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/recipient"
	"obdgate/internal/vin"
	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const theVIN = "WVWZZZCD0NW000001"

// ledger is a list of answers; what is not in it was never asked.
type ledger map[string]consent.Answer

var errLedger = errors.New("ledger unreadable")

func (l ledger) Standing(_ context.Context, visit string, p consent.Purpose, recipient string) (consent.Answer, string, error) {
	if l == nil {
		return consent.Granted, "r-leak", errLedger
	}
	a := l[visit+"/"+string(p)+"/"+recipient]
	return a, "r-" + visit, nil
}

type hmacKey []byte

func (k hmacKey) MAC(data []byte) []byte {
	m := hmac.New(sha256.New, k)
	m.Write(data)
	return m.Sum(nil)
}

func q(num, den int64, unit reading.Unit) reading.Quantity {
	v, ok := reading.Scaled(num, 1, den, 0, 1, unit)
	if !ok {
		panic("quantity")
	}
	return v
}

// scan is what a car gave: technical and personal mixed, as the decoder leaves it.
func scan() []reading.Reading {
	return []reading.Reading{
		{Key: "obd.01.05", ECU: "7E8", Value: q(83, 1, "degC")},
		{Key: "obd.01.0D", ECU: "7E8", Value: q(47, 1, "km/h")},
		{Key: "obd.01.42", ECU: "7E8", Value: q(12345, 1000, "V")},
		{Key: "obd.01.01.mil_on", ECU: "7E8", Value: reading.Code{N: 1, Bool: true}},
		{Key: "obd.01.A6", ECU: "7E8", Value: q(12523, 10, "km")},
		{Key: "obd.01.31", ECU: "7E8", Value: reading.Absent{}},
		{Key: "obd.dtc.stored", ECU: "7E8", Value: reading.Code{N: 0x0301, Label: "P0301"}},
		{Key: "obd.09.02", ECU: "7E8", Value: reading.NewIdentity(theVIN)},
		{Key: "obd.09.04", ECU: "7E8", Value: reading.Text("CAL-4711\x00Ö")},
		{Key: "obd.09.0A", ECU: "7E8", Value: reading.Text("ECM-EngineControl")},
		{Key: "uds.22.F18C", ECU: "7E8", Value: reading.Text("SERIAL-000042")},
		{Key: "uds.22.F187", ECU: "7E8", Value: reading.Text("PART NW000001")},
		{Key: "obfcm.lifetime_fuel", ECU: "7E8", Value: q(29310, 100, "L")},
		{Key: "obfcm.lifetime_distance", ECU: "7E8", Value: q(12523, 10, "km")},
		{Key: "obfcm.recent_distance", ECU: "7E8", Value: reading.Absent{}},
		{Key: "odometer", ECU: "7E8", Value: q(12523, 10, "km")},
		{Key: "dbc.UNKNOWN.Phonebook", ECU: "", Value: reading.Text("MAARTJE +31 6")},
	}
}

func tagged(t require.TestingT, rs []reading.Reading) (out []policy.Tagged) {
	p, err := policy.Default()
	require.NoError(t, err)
	for _, r := range rs {
		out = append(out, p.Tag(r))
	}
	return out
}

func input(t require.TestingT, p consent.Purpose) gate.Input {
	v, err := vin.Parse(theVIN)
	require.NoError(t, err)
	pol, err := policy.Default()
	require.NoError(t, err)
	return gate.Input{
		Visit: "v1", VIN: v, Values: tagged(t, scan()), Purpose: p,
		OBFCM: obfcm.Verdict{Outcome: obfcm.OK, ECU: "7E8"},
		Recipient: recipient.Recipient{Name: "Dealer", Country: "NL", Agreement: "A-1", Purposes: []consent.Purpose{
			consent.Service, consent.OBFCM, consent.Quality, consent.ThirdParty("Dealer"), consent.Portability("Dealer")}},
		Station: "station-1", Day: time.Date(2026, 11, 20, 23, 59, 0, 0, time.FixedZone("CET", 3600)),
		Policy: wire.Policy{Version: pol.Version(), Hash: pol.Hash()},
	}
}

func yes(p consent.Purpose) ledger { return ledger{"v1/" + string(p) + "/Dealer": consent.Granted} }

func seal(t require.TestingT, l ledger, in gate.Input) *wire.Envelope {
	s, err := gate.New(l, hmacKey("k")).Seal(context.Background(), in)
	require.NoError(t, err)
	e, err := wire.Parse(s.Stored().Body)
	require.NoError(t, err)
	return e
}

func keysOf(rs []wire.Reading) (ks []string) {
	for _, r := range rs {
		ks = append(ks, r.Key)
	}
	return ks
}

func TestServiceCarriesTechnicalValuesOnly(t *testing.T) {
	e := seal(t, yes(consent.Service), input(t, consent.Service))
	require.Equal(t, theVIN, e.VIN)
	require.Equal(t, "2026-11-20", e.Day)
	require.Equal(t, "r-v1", e.Receipt)
	require.Equal(t, []string{"obd.01.01.mil_on", "obd.01.05", "obd.01.42", "obd.01.A6", "obd.09.0A", "uds.22.F187", "uds.22.F18C"}, keysOf(e.Readings))
	require.Equal(t, []string{"obd.09.04"}, keysOf(e.Software))
	v, _ := e.Software[0].Value.Text()
	require.Equal(t, "CAL-4711??", v)
	require.Equal(t, []wire.Code{{Code: "P0301", Status: "stored", ECU: "7E8"}}, e.Codes)
	require.Nil(t, e.OBFCM)
	km, _ := e.Odometer.Km.Number()
	require.Equal(t, "1252.3", km, "as read")
	require.Equal(t, "obd.01.A6", e.Odometer.Source)
	require.Equal(t, "no-verdict", e.Odometer.Verdict, "the judgement must not rest on a consumption value that stays")
	require.Equal(t, []string{"obd.01.A6"}, keysOf(e.Odometer.Sources))
}

// TestConsumptionRefusedOrNotServiceIsTheSame: what the service's recipient gets must not tell whether the customer let the
// consumption record be read.
func TestConsumptionRefusedOrNotServiceIsTheSame(t *testing.T) {
	for _, p := range []consent.Purpose{consent.Service, consent.Quality, consent.ThirdParty("Dealer")} {
		with, without := input(t, p), input(t, p)
		without.Values = tagged(t, slices.DeleteFunc(scan(), func(r reading.Reading) bool { return strings.HasPrefix(string(r.Key), "obfcm.") }))
		without.OBFCM = obfcm.Verdict{Outcome: obfcm.Refused}
		require.Equal(t, string(seal(t, yes(p), with).Append(nil)), string(seal(t, yes(p), without).Append(nil)), p)
	}
}

func TestConsumptionCarriesTheRecordOnly(t *testing.T) {
	e := seal(t, yes(consent.OBFCM), input(t, consent.OBFCM))
	require.Equal(t, []string{"obfcm.lifetime_distance", "obfcm.lifetime_fuel"}, keysOf(e.OBFCM.Values))
	require.Equal(t, "plausible", e.OBFCM.Verdict)
	require.Equal(t, "consistent", e.Odometer.Verdict)
	require.Empty(t, e.Readings)
	require.Empty(t, e.Codes)
	require.Empty(t, e.Software)
	require.Equal(t, theVIN, e.VIN)
}

// Raw words of a consumption InfoType that no law asks for stay, though their category is that of the record.
func TestRawWordsOfTheRecordStay(t *testing.T) {
	in := input(t, consent.OBFCM)
	in.Values = append(in.Values, tagged(t, []reading.Reading{{Key: "obd.09.1C", ECU: "7E8", Value: reading.Code{N: 4711}}})...)
	require.Equal(t, policy.Consumption, in.Values[len(in.Values)-1].Tag().Category)
	e := seal(t, yes(consent.OBFCM), in)
	require.Empty(t, e.Readings)
	require.NotContains(t, string(e.Append(nil)), "4711")
}

func TestQualityLeadsNowhere(t *testing.T) {
	in := input(t, consent.Quality)
	e := seal(t, yes(consent.Quality), in)
	require.Empty(t, e.VIN)
	require.Equal(t, "2026-11-01", e.Day)
	require.True(t, strings.HasPrefix(e.Receipt, "q-"), e.Receipt)
	require.NotContains(t, e.Receipt, "v1")
	require.Empty(t, e.Software)
	require.Equal(t, []string{"obd.01.01.mil_on", "obd.01.42"}, keysOf(e.Readings))
	require.Empty(t, e.Readings[0].ECU+e.Readings[1].ECU)
	volts, _ := e.Readings[1].Value.Number()
	require.Equal(t, "12", volts)
	km, _ := e.Odometer.Km.Number()
	require.Equal(t, "0", km, "1,252 km is rounded down to 10,000")
	require.Equal(t, []wire.Code{{Code: "P0301", Status: "stored"}}, e.Codes)

	in.Values = tagged(t, []reading.Reading{{Key: "obd.01.A6", ECU: "7E8", Value: q(1_239_999, 10, "km")}})
	km, _ = seal(t, yes(consent.Quality), in).Odometer.Km.Number()
	require.Equal(t, "120000", km)
}

func TestOutsideTheEEANothingNamesTheVehicle(t *testing.T) {
	for name, c := range map[string]struct {
		country, safeguard string
		purpose            consent.Purpose
		whole              bool
	}{
		"Netherlands":                       {"NL", "", consent.Service, true},
		"Norway":                            {"NO", "", consent.Service, true},
		"United States":                     {"US", "", consent.Service, false},
		"unknown":                           {"", "", consent.Service, false},
		"clauses, purpose names nobody":     {"US", "SCC 2026-1", consent.Service, false},
		"clauses, purpose names recipient":  {"US", "SCC 2026-1", consent.ThirdParty("Dealer"), true},
		"adequate, purpose names recipient": {"CH", "", consent.ThirdParty("Dealer"), true},
		"adequate, purpose names nobody":    {"CH", "", consent.Service, false},
		"none, purpose names recipient":     {"US", "", consent.ThirdParty("Dealer"), false},
		"Netherlands, named, no safeguards": {"NL", "", consent.ThirdParty("Dealer"), true},
	} {
		in := input(t, c.purpose)
		in.Recipient.Country, in.Recipient.Safeguard = c.country, c.safeguard
		e := seal(t, yes(c.purpose), in)
		if c.whole {
			require.Equal(t, theVIN, e.VIN, name)
			require.Contains(t, keysOf(e.Readings), "uds.22.F18C", name)
			continue
		}
		require.Equal(t, theVIN[:11], e.VIN, name)
		require.NotContains(t, keysOf(e.Readings), "uds.22.F18C", "%s: a serial number names the car as the VIN does", name)
		require.NotContains(t, string(e.Append(nil)), theVIN[11:], "%s: a text repeats what the VIN was cut of", name)
	}
	in := input(t, consent.ThirdParty("Dealer"))
	in.Recipient.Country = "GB"
	require.Equal(t, theVIN, seal(t, yes(in.Purpose), in).VIN)
	in.Day = time.Date(2031, 12, 28, 0, 0, 0, 0, time.UTC)
	require.Equal(t, theVIN[:11], seal(t, yes(in.Purpose), in).VIN, "the decision has ended")
}

// A customer's own copy for another controller: every value the vehicle gave, save what people entered; never where nobody protects
// it, and no other purpose carries more for it.
func TestPortabilityCarriesWhatTheVehicleGave(t *testing.T) {
	in := input(t, consent.Portability("Dealer"))
	in.Values = append(in.Values, tagged(t, []reading.Reading{{Key: "customer.name", Value: reading.Text("Peeters")}, {Key: "workshop.parts", Value: reading.Text("belt")}})...)
	e := seal(t, yes(in.Purpose), in)
	require.NotContains(t, string(e.Append(nil)), "Peeters")
	require.NotContains(t, string(e.Append(nil)), "belt")
	have := map[string]bool{}
	for k := range e.Keys {
		have[k] = true
	}
	rules, err := policy.Default()
	require.NoError(t, err)
	personal := 0
	for _, r := range scan() {
		tag := rules.Tag(r).Tag()
		never := tag.Category == policy.Customer || tag.Category == policy.Occupant || tag.Category == policy.WorkshopRecord
		_, absent := r.Value.(reading.Absent)
		_, identity := r.Value.(reading.Identity)
		_, code := r.Value.(reading.Code)
		if absent || identity || code && r.Value.(reading.Code).Label == "" && strings.HasPrefix(string(r.Key), wire.CodeKey) || r.Key == "odometer" {
			continue
		}
		require.Equal(t, !never, have[string(r.Key)], "%s %s", r.Key, tag.Category)
		if !never && !tag.Class.Releasable() {
			personal++
		}
	}
	require.Positive(t, personal)
	require.NotNil(t, e.OBFCM)
	require.Equal(t, theVIN, e.VIN)

	for _, p := range []consent.Purpose{consent.Service, consent.ThirdParty("Dealer"), consent.Portability("Other")} {
		_, err := gate.New(yes(p), hmacKey("k")).Seal(t.Context(), in)
		require.ErrorIs(t, err, gate.ErrNoConsent, "a yes to %s is none to this", p)
	}
	in.Recipient.Country = "US"
	_, err = gate.New(yes(in.Purpose), hmacKey("k")).Seal(t.Context(), in)
	require.ErrorIs(t, err, gate.ErrUnsafe)
	in.Recipient.Safeguard = "SCC 2026-1"
	require.Equal(t, theVIN, seal(t, yes(in.Purpose), in).VIN)
	in.Purpose = consent.Portability("Somebody else")
	in.Recipient.Purposes = append(in.Recipient.Purposes, in.Purpose)
	_, err = gate.New(yes(in.Purpose), hmacKey("k")).Seal(t.Context(), in)
	require.ErrorIs(t, err, gate.ErrPurpose)
}

func TestSealRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		ledger ledger
		change func(*gate.Input)
		want   error
	}{
		"nobody asked":         {ledger{}, nil, gate.ErrNoConsent},
		"deferred":             {ledger{"v1/service/Dealer": consent.Deferred}, nil, gate.ErrNoConsent},
		"expired":              {ledger{"v1/service/Dealer": consent.Expired}, nil, gate.ErrNoConsent},
		"refused":              {ledger{"v1/service/Dealer": consent.Refused}, nil, gate.ErrRefused},
		"withdrawn":            {ledger{"v1/service/Dealer": consent.Withdrawn}, nil, gate.ErrRefused},
		"yes to another":       {ledger{"v1/obfcm/Dealer": consent.Granted}, nil, gate.ErrNoConsent},
		"yes for another":      {ledger{"v1/service/Other": consent.Granted}, nil, gate.ErrNoConsent},
		"yes of another visit": {ledger{"v2/service/Dealer": consent.Granted}, nil, gate.ErrNoConsent},
		"ledger unreadable":    {nil, nil, errLedger},
		"no agreement":         {yes(consent.Service), func(in *gate.Input) { in.Recipient.Agreement = "" }, gate.ErrNoAgreement},
		"no recipient":         {yes(consent.Service), func(in *gate.Input) { in.Recipient = recipient.Recipient{} }, gate.ErrNoAgreement},
		"not its purpose":      {yes(consent.Service), func(in *gate.Input) { in.Recipient.Purposes = nil }, gate.ErrPurpose},
		"nothing read":         {yes(consent.Service), func(in *gate.Input) { in.Values = nil }, gate.ErrNothing},
		"only personal": {yes(consent.Service), func(in *gate.Input) {
			in.Values = tagged(t, []reading.Reading{{Key: "obd.01.0D", ECU: "7E8", Value: q(47, 1, "km/h")}})
		}, gate.ErrNothing},
		"the zero Tagged":    {yes(consent.Service), func(in *gate.Input) { in.Values = make([]policy.Tagged, 3) }, gate.ErrNothing},
		"record without VIN": {yes(consent.OBFCM), func(in *gate.Input) { in.Purpose, in.VIN = consent.OBFCM, vin.VIN{} }, gate.ErrNothing},
		"record read before a refusal": {yes(consent.OBFCM), func(in *gate.Input) {
			in.Purpose, in.OBFCM.Outcome = consent.OBFCM, obfcm.Refused
		}, gate.ErrRefused},
	} {
		in := input(t, consent.Service)
		if c.change != nil {
			c.change(&in)
		}
		s, err := gate.New(c.ledger, hmacKey("k")).Seal(t.Context(), in)
		require.ErrorIs(t, err, c.want, name)
		require.Empty(t, s.ID(), name)
	}
}

func TestReleaseFindsTampering(t *testing.T) {
	l := yes(consent.Service)
	g := gate.New(l, hmacKey("k"))
	sealed, err := g.Seal(t.Context(), input(t, consent.Service))
	require.NoError(t, err)
	good := sealed.Stored()
	e, err := g.Release(t.Context(), good)
	require.NoError(t, err)
	require.Equal(t, good.Body, e.Bytes())
	require.Equal(t, good.ID, e.ID())
	require.Equal(t, "station-1", e.Station())

	other, err := wire.Parse(good.Body)
	require.NoError(t, err)
	other.VIN = "WVWZZZCD0NW000002"
	other.Canonicalise()
	for name, change := range map[string]func(*gate.Stored){
		"visit with a yes of its own": func(s *gate.Stored) { s.Visit = "v2" },
		"purpose":                     func(s *gate.Stored) { s.Purpose = consent.Quality },
		"recipient":                   func(s *gate.Stored) { s.Recipient = "Other" },
		"id":                          func(s *gate.Stored) { s.ID = other.ID },
		"body":                        func(s *gate.Stored) { s.Body, s.ID = other.Append(nil), other.ID },
		"no MAC":                      func(s *gate.Stored) { s.MAC = nil },
		"MAC of another station":      func(s *gate.Stored) { s.MAC = hmacKey("other").MAC(s.Body) },
	} {
		s := sealed.Stored()
		change(&s)
		all := ledger{}
		for _, v := range []string{"v1", "v2"} {
			for _, r := range []string{"Dealer", "Other"} {
				for _, p := range []consent.Purpose{consent.Service, consent.Quality} {
					all[v+"/"+string(p)+"/"+r] = consent.Granted
				}
			}
		}
		_, err := gate.New(all, hmacKey("k")).Release(t.Context(), s)
		require.ErrorIs(t, err, gate.ErrTampered, name)
	}
}

func TestReleaseAsksAgain(t *testing.T) {
	l := yes(consent.Service)
	g := gate.New(l, hmacKey("k"))
	s, err := g.Seal(t.Context(), input(t, consent.Service))
	require.NoError(t, err)
	for _, a := range []consent.Answer{consent.Withdrawn, consent.Refused, consent.Expired, consent.Deferred, consent.Unasked} {
		l["v1/service/Dealer"] = a
		e, err := g.Release(t.Context(), s.Stored())
		require.ErrorIs(t, err, gate.ErrNoConsent, a)
		require.Empty(t, e.Bytes())
	}
	l["v1/service/Dealer"] = consent.Granted
	_, err = g.Release(t.Context(), s.Stored())
	require.NoError(t, err)
}

// personal keys and keys nobody has classified, with values that would be noticed.
var personalKeys = []reading.Key{
	"obd.01.0D", "obd.02.0D", "obd.01.49", "uds.22.1234", "dbc.GPS.Latitude", "dbc.SEAT.Position", "obd.dtc.snapshot_time", "zzz", "",
	"uds.22.F190x", "obd.01", "odo", "obd.01.FE", "customer.name",
}

// TestPersonalBytesChangeNothing is the promise of the gate: whatever personal or unclassified values a scan holds, however
// many and in whatever order, what leaves is the same, byte for byte.
func TestPersonalBytesChangeNothing(t *testing.T) {
	pol, err := policy.Default()
	require.NoError(t, err)
	for _, k := range personalKeys {
		require.False(t, pol.TagKey(k).Class.Releasable(), "%q", k)
	}
	technical := slices.DeleteFunc(scan(), func(r reading.Reading) bool { return !pol.TagKey(r.Key).Class.Releasable() })
	for _, p := range []consent.Purpose{consent.Service, consent.OBFCM, consent.Quality, consent.ThirdParty("Dealer")} {
		want := func() []byte {
			in := input(t, p)
			in.Values = tagged(t, technical)
			return seal(t, yes(p), in).Append(nil)
		}()
		rapid.Check(t, func(t *rapid.T) {
			in := input(t, p)
			personal := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) reading.Reading {
				return reading.Reading{
					Key: rapid.SampledFrom(personalKeys).Draw(t, "key"), Name: rapid.String().Draw(t, "name"),
					ECU: rapid.SampledFrom([]string{"7E8", "7E9", "", "Jan"}).Draw(t, "ecu"), Value: value(t),
				}
			}), 0, 8).Draw(t, "personal")
			in.Values = tagged(t, rapid.Permutation(append(slices.Clone(technical), personal...)).Draw(t, "order"))
			require.Equal(t, string(want), string(seal(t, yes(p), in).Append(nil)))
		})
	}
}

func value(t *rapid.T) reading.Value {
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return reading.Text(rapid.String().Draw(t, "text"))
	case 1:
		return q(rapid.Int64Range(-1e6, 1e6).Draw(t, "n"), 1, "km")
	case 2:
		return reading.Code{N: rapid.Uint64().Draw(t, "n"), Label: "P0420"}
	case 3:
		return reading.NewIdentity("WVWZZZCD0NW000009")
	}
	return reading.Absent{}
}

func TestSealedDoesNotPrintTheVIN(t *testing.T) {
	g := gate.New(yes(consent.Service), hmacKey("k"))
	s, err := g.Seal(t.Context(), input(t, consent.Service))
	require.NoError(t, err)
	e, err := g.Release(t.Context(), s.Stored())
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(verb, s), theVIN, verb)
		require.NotContains(t, fmt.Sprintf(verb, e), theVIN, verb)
		require.NotContains(t, fmt.Sprintf(verb, s.Stored()), theVIN, verb)
	}
	b, _ := json.Marshal(s) //lint:ignore SA9005 that nothing comes out is what is tested
	require.NotContains(t, string(b), theVIN)
}

func BenchmarkSeal(b *testing.B) {
	in := input(b, consent.Service)
	for i := range 120 {
		in.Values = append(in.Values, tagged(b, []reading.Reading{{Key: reading.Key(fmt.Sprintf("obd.06.01.%d", i)), ECU: "7E8", Value: q(int64(i), 7, "V")}})...)
	}
	g := gate.New(yes(consent.Service), hmacKey("k"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Seal(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRelease(b *testing.B) {
	g := gate.New(yes(consent.Service), hmacKey("k"))
	s, err := g.Seal(b.Context(), input(b, consent.Service))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Release(b.Context(), s.Stored()); err != nil {
			b.Fatal(err)
		}
	}
}
