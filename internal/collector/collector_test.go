package collector_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"obdgate/internal/collector"
	"obdgate/internal/recipient"
	"obdgate/internal/wire"

	"github.com/stretchr/testify/require"
)

func TestReceiptForEverySameEnvelope(t *testing.T) {
	onEach(t, func(t *testing.T, o collector.Options) {
		s := serve(t, o)
		b := enrol(t, s, "station-1")
		c := client(t, b, false)
		e := envelope(t)
		status, first := post(t, c, s.url, e.Append(nil))
		require.Equal(t, 200, status, first)
		r, err := wire.ParseReceipt([]byte(first))
		require.NoError(t, err)
		require.NoError(t, r.Verify(b.ReceiptKey))
		require.Equal(t, e.ID, r.Envelope)
		require.Equal(t, "Dealer%20%C3%A9", r.Collector)

		var wg sync.WaitGroup // many at once, as replicas and impatient stations do
		for range 8 {
			wg.Go(func() {
				if _, again := post(t, c, s.url, e.Append(nil)); again != first {
					t.Errorf("another receipt: %s", again)
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1, count(t, s))

		c.CloseIdleConnections()
		s.stop() // and after a restart
		s = serve(t, o)
		_, again := post(t, client(t, b, false), s.url, e.Append(nil))
		require.Equal(t, first, again)
		require.Equal(t, 1, count(t, s))
	})
}

func TestRefusals(t *testing.T) {
	onEach(t, func(t *testing.T, o collector.Options) {
		s := serve(t, o)
		b, other := enrol(t, s, "station-1"), enrol(t, s, "station-2")
		good := string(envelope(t).Append(nil))
		const secret = "CANARY"
		with := func(f func(*wire.Envelope)) string { return string(envelope(t, f).Append(nil)) }
		key := func(k string) string {
			return with(func(e *wire.Envelope) { e.Readings[0].Key = k })
		}
		for name, c := range map[string]struct {
			body   string
			client *http.Client
			header []string
			status int
			kind   string
		}{
			"too large":              {strings.Repeat(secret, wire.MaxEnvelope), nil, nil, 413, "too-large"},
			"no certificate":         {good, client(t, b, true), nil, 403, "certificate"},
			"another's certificate":  {good, client(t, other, false), nil, 403, "station"},
			"another's, and invalid": {strings.Replace(good, "{", `{"x":1,`, 1), client(t, other, false), nil, 403, "station"},
			"no JSON":                {secret, nil, nil, 422, "schema"},
			"nothing":                {"", nil, nil, 422, "schema"},
			"unknown member":         {strings.Replace(good, "{", `{"`+secret+`":1,`, 1), nil, nil, 422, "schema"},
			"changed":                {strings.Replace(good, ":83,", ":84,", 1), nil, nil, 422, "hash"},
			"white space":            {good + "\n", nil, nil, 422, "schema"},
			"speed":                  {key("obd.01.0D"), nil, nil, 422, "personal"},
			"unclassified":           {key("dbc." + secret + ".Lat"), nil, nil, 422, "personal"},
			"a copy for somebody else": {with(func(e *wire.Envelope) {
				e.Purpose, e.Readings[0] = "portability:Somebody", wire.Reading{Key: "obd.01.0D", Value: num(t, "1")}
			}), nil, nil, 422, "personal"},
			"personal software": {with(func(e *wire.Envelope) { e.Software = []wire.Reading{{Key: "obd.01.0D", Value: num(t, "1")}} }), nil, nil, 422, "personal"},
			"personal code":     {with(func(e *wire.Envelope) { e.Codes = []wire.Code{{Code: "P0301", Status: "snapshot_time"}} }), nil, nil, 422, "personal"},
			"personal mileage": {with(func(e *wire.Envelope) {
				e.Odometer = &wire.Odometer{Km: num(t, "1"), Source: "dbc.GPS.Trip"}
			}), nil, nil, 422, "personal"},
			"form":       {good, nil, []string{"Content-Type", "text/plain"}, 415, "media-type"},
			"compressed": {good, nil, []string{"Content-Encoding", "gzip"}, 415, "media-type"},
		} {
			cl := c.client
			if cl == nil {
				cl = client(t, b, false)
			}
			status, answer := post(t, cl, s.url, []byte(c.body), c.header...)
			require.Equal(t, c.status, status, "%s: %s", name, answer)
			var p wire.Problem
			require.NoError(t, json.Unmarshal([]byte(answer), &p), name)
			require.Equal(t, wire.ProblemType+c.kind, p.Type, name)
			require.NotContains(t, answer, secret, name)
		}
		require.Zero(t, count(t, s))
		require.NotContains(t, s.logs.String(), secret)
		require.NotContains(t, s.logs.String(), theVIN)

		// A body that does not say how long it is must not get past the limit either.
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+collector.Path, io.LimitReader(zeros{}, wire.MaxEnvelope+1))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		res, err := client(t, b, false).Do(req)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 413, res.StatusCode)

		n, err := s.Revoke(t.Context(), "station-1")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		status, _ := post(t, client(t, b, false), s.url, []byte(good))
		require.Equal(t, 403, status)
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func TestHealthNeedsNoCertificate(t *testing.T) {
	s := serve(t, collector.Options{})
	c := client(t, enrol(t, s, "station-1"), true)
	res, err := c.Get(s.url + collector.HealthPath)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "ok\n", string(text))
}

func TestEraseKeepsNoValues(t *testing.T) {
	onEach(t, func(t *testing.T, o collector.Options) {
		s := serve(t, o)
		b := enrol(t, s, "station-1")
		c := client(t, b, false)
		mine := envelope(t)
		cut := envelope(t, func(e *wire.Envelope) { e.VIN = theVIN[:11] })
		other := envelope(t, func(e *wire.Envelope) { e.VIN = "WVWZZZCD0NW000002" })
		var receipt string
		for _, e := range []*wire.Envelope{other, cut, mine} {
			status, answer := post(t, c, s.url, e.Append(nil))
			require.Equal(t, 200, status)
			receipt = answer
		}
		_, err := s.EraseVIN(t.Context(), "WVWZZZCD0NW999999")
		require.ErrorIs(t, err, collector.ErrNotFound)
		_, err = s.EraseEnvelope(t.Context(), "")
		require.ErrorIs(t, err, collector.ErrNotFound)
		done, err := s.EraseVIN(t.Context(), " "+strings.ToLower(theVIN))
		require.NoError(t, err)
		require.Len(t, done, 1)
		require.Equal(t, mine.ID, done[0].Envelope)
		back, err := wire.ParseErasure(done[0].Append(nil))
		require.NoError(t, err)
		require.NoError(t, back.Verify(b.ReceiptKey))
		require.Equal(t, 2, count(t, s))
		_, err = s.EraseEnvelope(t.Context(), mine.ID)
		require.ErrorIs(t, err, collector.ErrNotFound, "erased once")

		_, again := post(t, c, s.url, mine.Append(nil))
		require.Equal(t, receipt, again, "a late repeat is answered")
		require.Equal(t, 2, count(t, s), "and does not bring it back")
		done, err = s.EraseEnvelope(t.Context(), cut.ID)
		require.NoError(t, err)
		require.Len(t, done, 1)
		require.Equal(t, 1, count(t, s))
	})
}

func TestNothingReadableAtRest(t *testing.T) {
	o := collector.Options{Home: t.TempDir()}
	s := serve(t, o)
	c := client(t, enrol(t, s, "station-1"), false)
	status, _ := post(t, c, s.url, envelope(t).Append(nil))
	require.Equal(t, 200, status)
	s.stop()
	files, err := filepath.Glob(filepath.Join(o.Home, "*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		require.NotContains(t, string(text), theVIN, f)
		require.NotContains(t, string(text), "obd.01.05", f)
		info, err := os.Stat(f)
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "%s is %v", f, info.Mode())
	}
}

func consumption(t testing.TB, change ...func(*wire.Envelope)) *wire.Envelope {
	return envelope(t, append([]func(*wire.Envelope){func(e *wire.Envelope) {
		e.Purpose, e.Readings = "obfcm", nil
		e.OBFCM = &wire.OBFCM{Verdict: "plausible", ECU: "7E8", Values: []wire.Reading{
			{Key: "obfcm.lifetime_fuel", Value: num(t, "293.1"), Unit: "L", ECU: "7E8"},
			{Key: "obfcm.lifetime_distance", Value: num(t, "1252.3"), Unit: "km", ECU: "7E8"},
			{Key: "obfcm.recent_distance", Value: num(t, "1251.2"), Unit: "km", ECU: "7E8"},
			{Key: "obfcm.lifetime_grid_energy_into_battery", Value: num(t, "12.5"), Unit: "kWh", ECU: "7E8"},
			{Key: "obfcm.lifetime_fuel", Value: num(t, "999"), Unit: "L", ECU: "7E9"},
		}}
	}}, change...)...)
}

func TestExport(t *testing.T) {
	onEach(t, func(t *testing.T, o collector.Options) {
		s := serve(t, o)
		c := client(t, enrol(t, s, "station-1"), false)
		set := func(distance string) func(*wire.Envelope) {
			return func(e *wire.Envelope) { e.OBFCM.Values[1].Value = num(t, distance) }
		}
		all := []*wire.Envelope{
			envelope(t), // another purpose
			consumption(t, set("900")), consumption(t, set("1252.3")), consumption(t, set("1000.5")),
			consumption(t, func(e *wire.Envelope) { e.Day = "2027-01-05" }),
			consumption(t, func(e *wire.Envelope) { e.VIN, e.OBFCM.Layout = "WVWZZZCD0NW000002", "unconfirmed" }),
			consumption(t, func(e *wire.Envelope) { e.VIN, e.OBFCM.Verdict = "WVWZZZCD0NW000003", "implausible" }),
			consumption(t, func(e *wire.Envelope) { e.VIN = theVIN[:11] }),
			// A customer's own copy, with a personal value, is taken and is in no return to the Commission.
			consumption(t, func(e *wire.Envelope) {
				e.Purpose, e.VIN = "portability:"+wire.Name(s.Name()), "WVWZZZCD0NW000004"
				e.Readings = []wire.Reading{{Key: "obd.01.0D", Value: num(t, "50"), Unit: "km/h", ECU: "7E8"}}
			}),
		}
		var lines []string
		for _, e := range all {
			status, answer := post(t, c, s.url, e.Append(nil))
			require.Equal(t, 200, status, answer)
			lines = append(lines, string(e.Append(nil)))
		}
		var out bytes.Buffer
		require.NoError(t, s.ExportJSONL(t.Context(), &out))
		require.ElementsMatch(t, lines, strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"))

		out.Reset()
		require.NoError(t, s.ExportEEA(t.Context(), &out))
		rows, err := csv.NewReader(&out).ReadAll()
		require.NoError(t, err)
		require.Equal(t, []string{"Vehicle Identifier", "OBFCM data source", "OBFCM ReportingPeriod", "Total fuel consumed (lifetime) (l)",
			"Total distance travelled (lifetime) (km)"}, rows[0][:5])
		require.Equal(t, "Total grid energy into the battery (lifetime) (kWh)", rows[0][10])
		require.Equal(t, [][]string{
			{theVIN, "BDR", "2026", "293.1", "1252.3", "", "", "", "", "", "12.5"},
			{theVIN, "BDR", "2027", "293.1", "1252.3", "", "", "", "", "", "12.5"},
			{"WVWZZZCD0NW000002", "BDR", "2026", "293.1", "1252.3", "", "", "", "", "", ""},
		}, rows[1:])
	})
}

// TestManyEnvelopes: an export reads in pages and must neither skip nor repeat.
func TestManyEnvelopes(t *testing.T) {
	s := serve(t, collector.Options{})
	c := client(t, enrol(t, s, "station-1"), false)
	const n = 600
	for i := range n {
		e := envelope(t, func(e *wire.Envelope) { e.Readings[0].Value = num(t, fmt.Sprint(i)) })
		status, _ := post(t, c, s.url, e.Append(nil))
		require.Equal(t, 200, status)
	}
	seen := map[string]bool{}
	require.NoError(t, s.Envelopes(t.Context(), func(h collector.Held) error { seen[h.Hash] = true; return nil }))
	require.Len(t, seen, n)
}

func TestSettingsAndKeys(t *testing.T) {
	home := filepath.Join(t.TempDir(), "new", "home dir?#%41")
	_, err := collector.Open(t.Context(), collector.Options{Home: home, MustExist: true})
	require.ErrorIs(t, err, collector.ErrNotSetUp)
	c, err := collector.Open(t.Context(), collector.Options{Home: home})
	require.NoError(t, err)
	for _, set := range []collector.Options{{Name: "Dealer"}, {Country: "NL"}, {URL: "https://collector.example:8443"}} {
		_, err = c.Enroll(t.Context(), "station-1")
		require.ErrorIs(t, err, collector.ErrSettings)
		require.NoError(t, c.Close())
		set.Home = home
		c, err = collector.Open(t.Context(), set)
		require.NoError(t, err)
	}
	for _, bad := range []string{"", "a b", "ü", strings.Repeat("x", 65), "-x"} {
		_, err = c.Enroll(t.Context(), bad)
		require.ErrorIs(t, err, collector.ErrStation, bad)
	}
	b, err := c.Enroll(t.Context(), "station-1")
	require.NoError(t, err)
	text, err := b.Encode()
	require.NoError(t, err)
	back, err := recipient.ParseBundle(text)
	require.NoError(t, err)
	require.Equal(t, "https://collector.example:8443", back.URL)
	require.Equal(t, recipient.Controller, back.Role)
	all, err := c.Stations(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.NoError(t, c.Close())

	_, err = collector.Open(t.Context(), collector.Options{Home: home, DSN: "mysql://x"})
	require.ErrorIs(t, err, collector.ErrDatabase)
	_, err = collector.Open(t.Context(), collector.Options{Home: home, DSN: "postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=1"})
	require.ErrorIs(t, err, collector.ErrDatabase)
	require.NotContains(t, err.Error(), "hunter2")
	require.NoError(t, os.WriteFile(filepath.Join(home, "identity.json"), []byte("{}"), 0o600))
	_, err = collector.Open(t.Context(), collector.Options{Home: home})
	require.ErrorContains(t, err, "damaged", "keys that cannot be read are never replaced")
}

// TestTwoAtOnce: two processes that set up the same home at the same moment end with the same keys.
func TestTwoAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, o collector.Options) {
		o.Name, o.Country, o.URL = "Dealer", "NL", "https://localhost:8443"
		var wg sync.WaitGroup
		keys := make([]string, 4)
		for i := range keys {
			wg.Go(func() {
				c, err := collector.Open(t.Context(), o)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				b, err := c.Enroll(t.Context(), fmt.Sprintf("station-%d", i))
				if err != nil {
					t.Error(err)
					return
				}
				keys[i] = string(b.ReceiptKey)
			})
		}
		wg.Wait()
		for _, k := range keys {
			require.Equal(t, keys[0], k)
		}
	})
}

func TestShutdownFinishesWhatIsUnderWay(t *testing.T) {
	s := serve(t, collector.Options{})
	c := client(t, enrol(t, s, "station-1"), false)
	e := envelope(t).Append(nil)
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+collector.Path, r)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Expect", "100-continue") // the body is read once the handler asks for it
	c.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	req.ContentLength = int64(len(e))
	answered := make(chan int, 1)
	go func() {
		res, err := c.Do(req)
		if err != nil {
			t.Log(err)
			answered <- 0
			return
		}
		res.Body.Close()
		answered <- res.StatusCode
	}()
	_, err = w.Write(e[:10]) // the request is under way
	require.NoError(t, err)
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	_, err = w.Write(e[10:])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Equal(t, 200, <-answered)
	<-stopped
}

func BenchmarkReceive(b *testing.B) {
	s := serve(b, collector.Options{})
	c := client(b, enrol(b, s, "station-1"), false)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e := envelope(b, func(e *wire.Envelope) { e.Readings[0].Value = num(b, fmt.Sprint(i)) })
		if status, answer := post(b, c, s.url, e.Append(nil)); status != 200 {
			b.Fatal(answer)
		}
	}
}
