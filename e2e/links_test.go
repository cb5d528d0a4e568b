// Package e2e_test holds the program against the same virtual cars over every kind of link: what a technician reads must
// not depend on the adapter, and neither may what a car is asked after a refusal.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"obdgate/internal/canlog"
	"obdgate/internal/cli"
	"obdgate/internal/frame"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"
	"obdgate/internal/testtier"

	"github.com/stretchr/testify/require"
)

// A way puts a virtual car within the program's reach and gives its address, and the car to ask what it was asked. In
// process the program makes the car itself; its recording says what was asked.
type way struct {
	name string
	tier testtier.Tier
	put  func(t *testing.T, vehicle string) (uri string, car *sim.Vehicle)
}

var ways = []way{
	{"sim", "", func(_ *testing.T, vehicle string) (string, *sim.Vehicle) { return "sim:" + vehicle, nil }},
	{"elm-tcp", "", func(t *testing.T, vehicle string) (string, *sim.Vehicle) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		car := load(t, vehicle)
		background(t, func(ctx context.Context) error { return elm.ServeTCP(ctx, ln, car, personality(t), elm.Options{}) })
		return "elm+tcp://" + ln.Addr().String(), car
	}},
	{"elm-pty", "", func(t *testing.T, vehicle string) (string, *sim.Vehicle) {
		if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
			t.Skip("no pseudo terminals")
		}
		car, port := load(t, vehicle), make(chan string, 1)
		background(t, func(ctx context.Context) error {
			return elm.ServePTY(ctx, "", car, personality(t), elm.Options{Ready: func(a string) { port <- a }})
		})
		return (<-port) + "?baud=38400", car
	}},
	{"vcan", testtier.VCAN, func(t *testing.T, vehicle string) (string, *sim.Vehicle) {
		uri := "can://" + testtier.Require(t, testtier.VCAN)
		car := load(t, vehicle)
		l, err := socketcan.Open(t.Context(), uri)
		require.NoError(t, err)
		background(t, func(ctx context.Context) error { return car.Serve(ctx, l) })
		t.Cleanup(func() { _ = l.Close() })
		return uri, car
	}},
}

func load(t *testing.T, vehicle string) *sim.Vehicle {
	t.Helper()
	car, err := sim.Load(vehicle)
	require.NoError(t, err)
	return car
}

func personality(t *testing.T) elm.Personality {
	p, err := elm.ByName("")
	require.NoError(t, err)
	return p
}

// background runs f until the test ends and requires that it ends well.
func background(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the virtual car does not end")
		}
	})
}

// workshop is one state directory.
type workshop struct {
	t    *testing.T
	home string
}

func newWorkshop(t *testing.T) workshop {
	t.Helper()
	return workshop{t, filepath.Join(t.TempDir(), "state")}
}

func (w workshop) run(args ...string) (code int, out, errs string) {
	w.t.Helper()
	var o, e bytes.Buffer
	ctx, stop := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer stop()
	code = cli.Main(ctx, append([]string{"--home", w.home}, args...), cli.Streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

// scan reads a car whose customer gave these answers, and returns the document without what may differ between links, the
// exit code, and how often the recording shows the consumption record being asked for.
func (w workshop) scan(uri string, answers ...string) (doc map[string]any, code, asked int) {
	t := w.t
	t.Helper()
	code, visit, errs := w.run("visit", "open")
	require.Zero(t, code, errs)
	id := strings.TrimSpace(visit)
	for _, a := range answers {
		code, _, errs = w.run("consent", "record", "--visit", id, "--purpose", a, "--evidence", "paper form 7")
		require.Zero(t, code, errs)
	}
	record := filepath.Join(t.TempDir(), "car.log")
	code, out, errs := w.run("scan", uri, "--json", "--visit", id, "--record", record)
	require.NotEmpty(t, out, "exit code %d: %s", code, errs)
	return document(t, out), code, consumptionQuestions(t, record)
}

func document(t *testing.T, text string) (doc map[string]any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	require.NoError(t, d.Decode(&doc))
	delete(doc, "visit")
	require.NotEmpty(t, doc["link"])
	delete(doc, "link")
	frames := doc["frames"].(map[string]any)
	require.NotEqual(t, json.Number("0"), frames["total"])
	delete(doc, "frames")
	return doc
}

// consumptionQuestions counts the questions for the consumption record in a recording, told by the simulator's own rule.
func consumptionQuestions(t *testing.T, path string) (n int) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r := canlog.NewReader(f)
	frames := 0
	for {
		var f frame.Frame
		if err := r.Next(&f); err != nil {
			break
		}
		frames++
		b := f.Bytes()
		if !f.Is(frame.Legacy) {
			if len(b) < 2 || b[0] == 0 || b[0] > 7 || int(b[0]) >= len(b) {
				continue
			}
			b = b[1 : 1+b[0]]
		}
		q := sim.Request{Bytes: b}
		if q.OBFCM() {
			n++
		}
	}
	require.Greater(t, frames, 10)
	return n
}

func vehicles(with func(name string) bool) (names []string) {
	for _, n := range sim.Names() {
		if with(n) {
			names = append(names, n)
		}
	}
	return names
}

// The broken ones break off at the mercy of timers: over the kernel's bus what becomes of them is not the same each time.
func fits(w way, vehicle string) bool {
	broken := strings.HasPrefix(vehicle, "broken-")
	switch {
	case vehicle == "broken-mute":
		return false // gives no document
	case w.tier == testtier.VCAN:
		return !broken && vehicle != "legacy"
	case vehicle == "broken-pending":
		return false // its promises are waited for in real time; diag tests them on stepped time
	case w.name == "elm-pty":
		return !broken || vehicle == "broken-half"
	}
	return true
}

// In the test machine, whose processor is slow, only what needs the machine is run.
func skip(t *testing.T, w way) {
	t.Helper()
	if w.tier != "" {
		testtier.Require(t, w.tier)
		return
	}
	if testtier.Machine() {
		t.Skip("runs on any host")
	}
	t.Parallel()
}

// One car gives one document, whatever it is read through: control units, codes, values, mileage, consumption record,
// errors, the order of everything.
func TestSameDocumentOverEveryLink(t *testing.T) {
	for _, name := range vehicles(func(n string) bool { return n != "broken-mute" }) {
		if testtier.Machine() && !fits(ways[3], name) {
			continue // its processor is slow, and these run on any host
		}
		t.Run(name, func(t *testing.T) {
			want, code, asked := newWorkshop(t).scan("sim:"+name, "obfcm=yes", "service=yes")
			require.Contains(t, []int{0, 76}, code)
			if name != "legacy" {
				require.Positive(t, asked)
			}
			for _, w := range ways[1:] {
				if !fits(w, name) {
					continue
				}
				t.Run(w.name, func(t *testing.T) {
					skip(t, w)
					uri, _ := w.put(t, name)
					got, gotCode, _ := newWorkshop(t).scan(uri, "obfcm=yes", "service=yes")
					if name == "broken-garbage" { // what this control unit sends an ELM327 takes for noise and keeps to itself
						require.Len(t, want["errors"], 1)
						require.LessOrEqual(t, len(got["errors"].([]any)), 1)
						got["errors"], gotCode = want["errors"], code
					}
					require.Equal(t, text(want), text(got))
					require.Equal(t, code, gotCode)
				})
			}
		})
	}
}

// text gives differences a line each.
func text(doc map[string]any) string {
	b, _ := json.MarshalIndent(doc, "", " ")
	return string(b)
}

// The promise, proved by the car: asked when the customer agreed, never when the customer refused, withdrew, or was not
// asked. -v prints the counts.
func TestRefusalIsSeenByTheCar(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			skip(t, w)
			cars := []string{"golf8", "phev", "tahoe", "obdonuds"}
			if testtier.Machine() {
				cars = cars[:2]
			}
			for _, vehicle := range cars {
				counts := map[string]int{}
				for _, answers := range [][]string{{"obfcm=yes"}, {"obfcm=no"}, {"service=yes", "obfcm=later"}, {"obfcm=yes", "obfcm=no"}, nil} {
					t.Run(fmt.Sprint(vehicle, answers), func(t *testing.T) {
						uri, car := w.put(t, vehicle)
						doc, _, asked := newWorkshop(t).scan(uri, answers...)
						if car != nil {
							require.Equal(t, asked, car.OBFCMRequests(), "the recording and the car count differently")
							require.NotEmpty(t, car.Log())
						}
						counts[fmt.Sprint(answers)] = asked
						record := doc["obfcm"].(map[string]any)
						if len(answers) == 1 && answers[0] == "obfcm=yes" {
							require.Positive(t, asked)
							require.Equal(t, true, record["asked"])
							return
						}
						require.Zero(t, asked)
						require.Equal(t, false, record["asked"])
						for name := range record {
							require.Contains(t, []string{"asked", "reason", "outcome"}, name, "more than that it was not asked, and why")
						}
					})
				}
				t.Logf("%s over %s: questions for the consumption record: %v", vehicle, w.name, counts)
			}
		})
	}
}

// A recording is a vehicle too: read back it gives the same document, but for what was masked.
func TestReplayGivesTheSameDocument(t *testing.T) {
	if testtier.Machine() {
		t.Skip("runs on any host")
	}
	for _, vehicle := range []string{"golf8", "e350", "phev", "bev", "tahoe", "mini", "obdonuds"} {
		t.Run(vehicle, func(t *testing.T) {
			t.Parallel()
			uri, _ := ways[1].put(t, vehicle)
			w := newWorkshop(t)
			code, _, errs := w.run("visit", "open")
			require.Zero(t, code, errs)
			code, _, errs = w.run("consent", "record", "--purpose", "obfcm=yes", "--evidence", "paper form 7")
			require.Zero(t, code, errs)
			record := filepath.Join(t.TempDir(), "car.log")
			code, live, errs := w.run("scan", uri, "--json", "--record", record)
			require.Zero(t, code, errs)
			code, back, errs := w.run("scan", "replay:"+record, "--json")
			require.Zero(t, code, errs)
			a, b := document(t, live), document(t, back)
			if vehicle == "mini" { // a maker's snapshot whose bytes are masked cannot be taken apart any more
				withoutSnapshots(t, a)
				withoutSnapshots(t, b)
			}
			personal := technicalOnly(a)
			require.Equal(t, personal, technicalOnly(b), "personal values are not where they were")
			require.Positive(t, personal)
			unmask(t, a, b)
			require.Equal(t, text(a), text(b))
		})
	}
}

// withoutSnapshots takes what was kept with codes out of a document.
func withoutSnapshots(t *testing.T, doc map[string]any) {
	require.NotEmpty(t, doc["snapshots"])
	delete(doc, "snapshots")
	delete(doc, "withheld")
	doc["readings"] = slices.DeleteFunc(doc["readings"].([]any), func(v any) bool {
		return strings.HasPrefix(v.(map[string]any)["key"].(string), "uds.19.04.")
	})
}

// technicalOnly takes the values that are not technical out of a document, wherever they are, and returns how many there
// were.
func technicalOnly(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if list, ok := x.([]any); ok {
				var kept []any
				for _, one := range list {
					if m, ok := one.(map[string]any); ok && m["tag"] == "personal" {
						n++
					} else {
						kept = append(kept, one)
					}
				}
				v[k] = kept
			}
			n += technicalOnly(v[k])
		}
	case []any:
		for _, x := range v {
			n += technicalOnly(x)
		}
	}
	return n
}

// unmask puts back into the raw bytes of back what the recording zeroed: bytes of an answer that no value came from are
// masked too.
func unmask(t *testing.T, live, back any) {
	t.Helper()
	switch l := live.(type) {
	case map[string]any:
		b, ok := back.(map[string]any)
		if !ok {
			return
		}
		was, _ := l["raw"].(string)
		is, _ := b["raw"].(string)
		if len(was) == len(is) && was != is {
			for i := 0; i < len(is); i += 2 {
				require.Contains(t, []string{was[i : i+2], "00"}, is[i:i+2], "masking changed a byte of %s", was)
			}
			b["raw"] = was
		}
		for k := range l {
			unmask(t, l[k], b[k])
		}
	case []any:
		if b, ok := back.([]any); ok && len(b) == len(l) {
			for i := range l {
				unmask(t, l[i], b[i])
			}
		}
	}
}
