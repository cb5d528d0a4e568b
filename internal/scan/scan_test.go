package scan_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdgate/dbc"
	"obdgate/fixtures"
	"obdgate/internal/consent"
	"obdgate/internal/dtc"
	"obdgate/internal/frame"
	"obdgate/internal/link"
	"obdgate/internal/link/replay"
	"obdgate/internal/obd"
	"obdgate/internal/obfcm"
	"obdgate/internal/odometer"
	"obdgate/internal/policy"
	"obdgate/internal/reading"
	"obdgate/internal/scan"
	"obdgate/internal/sim"
	"obdgate/internal/visit"

	"github.com/stretchr/testify/require"
)

func options(t testing.TB, depth scan.Depth, consumption consent.Answer) scan.Options {
	t.Helper()
	p, err := policy.Default()
	require.NoError(t, err)
	d, err := dbc.Embedded()
	require.NoError(t, err)
	return scan.Options{Plan: scan.NewPlan(depth, consumption), Policy: p, DBC: d, Link: "sim:x", At: time.Unix(1_790_000_000, 0)}
}

// car opens a virtual vehicle on stepped time: no wait costs anything, and no answer depends on a clock.
func car(t testing.TB, name string) (link.Link, *sim.Vehicle) {
	t.Helper()
	l, v, err := sim.OpenVehicle(t.Context(), "sim:"+name)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l, v
}

func run(t testing.TB, name string, o scan.Options) visit.Scan {
	t.Helper()
	l, _ := car(t, name)
	s, err := scan.Run(t.Context(), l, o)
	require.NoError(t, err)
	return s
}

// altered writes a built-in vehicle with every text replaced to a file and returns its path.
func altered(t testing.TB, name string, replace ...string) string {
	t.Helper()
	text, err := fs.ReadFile(fixtures.Vehicles(), name+".yaml")
	require.NoError(t, err)
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, string(text), replace[i])
		text = bytes.ReplaceAll(text, []byte(replace[i]), []byte(replace[i+1]))
	}
	return write(t, name, text)
}

func write(t testing.TB, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".yaml")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

func codes(s visit.Scan) string {
	var out []string
	for _, e := range dtc.Merge(s.Readings) {
		out = append(out, e.ECU+" "+e.Code.String()+" "+strings.Join(e.States(), "+"))
	}
	return strings.Join(out, ", ")
}

func ecus(s visit.Scan) string {
	var out []string
	for _, e := range s.ECUs {
		out = append(out, strings.TrimSpace(e.Address+" "+e.Name))
	}
	return strings.Join(out, ", ")
}

func faults(s visit.Scan) string {
	var out []string
	for _, e := range s.Errors {
		out = append(out, strings.TrimSpace(e.ECU+" "+e.Request))
	}
	return strings.Join(out, ", ")
}

func number(s visit.Scan, key, ecu string) string {
	for _, r := range s.Readings {
		if string(r.Key) == key && (ecu == "" || r.ECU == ecu) {
			if q, ok := r.Value.(reading.Quantity); ok {
				return q.String()
			}
			return fmt.Sprint(r.Value)
		}
	}
	return ""
}

// Each kind of car a workshop sees gives what its maker wrote into it, and nothing is reported missing. The expected
// values stand in the comments of fixtures/vehicles.
func TestCarsAreReadWhole(t *testing.T) {
	for _, c := range []struct {
		name, vin, ecus, codes string
		lamp                   bool
		km                     string // "" = the car gives none
		mileage                odometer.Outcome
		outcome                obfcm.Outcome
		distance, fuel         string // over life
	}{
		{"golf8", "WVWZZZCD0NW000001", "77A Gateway, 77E Instrument cluster, 7E8 ECM-EngineControl, 7E9 TCM-TransmisCtrl",
			"7E8 P0301 permanent+stored+pending, 77A U2009-00 stored, 7E8 P0171 pending", true, "45721.3 km", odometer.Consistent,
			obfcm.OK, "45702.8 km", "2924.98 L"},
		{"e350", "1FDWE3FK0LDC00001", "7E8 ECM-EngineControl, 7E9 TCM-TransmisCtrl", "", false, "1252.3 km", odometer.Consistent,
			obfcm.OK, "1252.3 km", "293.1 L"},
		{"phev", "WVWZZZ3CZPE000002", "7E8 ECM-EngineControl, 7EA HPC-HybridPtCtrl", "", false, "38420.7 km", odometer.Consistent,
			obfcm.OK, "38412 km", "1203.44 L"},
		{"bev", "KMHK281HGMU000003", "7EA VMC-VehMotorCtrl, 7EB, 7EC BECM-B+EnergyCtrl, 7ED BCCM-ChargerCtrl",
			"7EC P0AA6 stored", false, "21034.9 km", odometer.Consistent, obfcm.OK, "21034.5 km", "{not available}"},
		{"mini", "WMWXR310X02P00004", "612 Engine, 618 Gearbox, 660 Instrument cluster, 7E8 DME-EngineControl, 7E9 TCM-TransmisCtrl",
			"612 1F0910 stored+pending, 660 E10C4F stored, 7E8 P0456 pending", false,
			"64210 km", odometer.Consistent, obfcm.OK, "64198.2 km", "4558.07 L"},
		{"tahoe", "1GNSKBKD0NR000005", "18DAF110 ECM-EngineControl, 18DAF118 TCM-TransmisCtrl, 18DAF11D",
			"18DAF110 P0191-11 stored, 18DAF110 U0405-81 stored", false,
			"58236.1 km", odometer.Consistent, obfcm.OK, "58233.4 km", "5124.54 L"},
		{"legacy", "WAUZZZ8P05A000006", "10, 18",
			"10 P0171 stored, 10 P0300 stored, 10 P0420 stored+pending, 10 P0456 stored, 10 U0121 stored", true, "",
			odometer.NoVerdict, obfcm.NotFitted, "", ""},
		{"obdonuds", "VF1RJB00X70000007", "7E8 ECM-EngineControl, 7EB",
			"7E8 P0134-00 permanent+stored+pending, 7E8 P0107-00 stored+pending, 7E8 P0420-00 pending", true, "12044.7 km", odometer.Consistent,
			obfcm.OK, "12043.1 km", "674.41 L"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := run(t, c.name, options(t, scan.Full, consent.Granted))
			require.Empty(t, s.Errors)
			require.True(t, s.Complete())
			require.Equal(t, c.vin, s.VIN.Reveal())
			require.Equal(t, c.ecus, ecus(s))
			require.Equal(t, c.codes, codes(s))
			require.NotNil(t, obd.MIL(s.Readings))
			require.Equal(t, c.lamp, *obd.MIL(s.Readings))
			require.NotNil(t, obd.ReadinessOf(s.Readings))
			require.Equal(t, c.mileage, s.Odometer.Outcome)
			if c.km == "" {
				require.Negative(t, s.Odometer.Chosen)
			} else {
				require.Equal(t, c.km, s.Odometer.Sources[s.Odometer.Chosen].Km.String())
			}
			require.Equal(t, c.outcome, s.OBFCM.Outcome)
			require.Equal(t, c.distance, number(s, "obfcm.lifetime_distance", s.OBFCM.ECU))
			require.Equal(t, c.fuel, number(s, "obfcm.lifetime_fuel", s.OBFCM.ECU))
			require.Equal(t, s.Frames.Total, s.Frames.Technical+s.Frames.Personal)
			for _, r := range s.Readings {
				require.NotEmpty(t, r.ECU, r.Key)
				require.NotEmpty(t, r.From, "%s does not say which frames it came from", r.Key)
			}
			// Software is what a recall is decided by: it must not be the part that is forgotten on some kind of car.
			cal := number(s, "obd.09.04", "") + number(s, "uds.22.F804", "")
			require.NotEmpty(t, cal)
		})
	}
}

// What is broken is named with the control unit and the question, what is well is read all the same, and no value is
// read that the same car without the fault would not have given.
func TestBrokenCarsAreNotTakenForHealthyOnes(t *testing.T) {
	for _, c := range []struct{ name, errors string }{
		{"broken-short", "7E8 07, 7E8 0902, 7E8 0917"},
		{"broken-overlong", "7E8 03, 7E8 0902, 7E8 0917"},
		{"broken-half", "7E8 0904, 7E8 0906, 7E8 090A, 7E8 0917"},
		{"broken-pending", "7E9 03, 7E9 0900"},
		{"broken-busy", "7E9 0900"},
		{"broken-garbage", "7E9 0100"},
		// These three annoy, but everything can be read.
		{"broken-sequence", ""}, {"broken-duplicate", ""}, {"broken-interleave", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := run(t, c.name, options(t, scan.Full, consent.Granted))
			require.Equal(t, c.errors, faults(s))
			require.Equal(t, c.errors == "", s.Complete())
			for _, e := range s.Errors {
				require.NotEmpty(t, e.Error)
			}
			require.Equal(t, "WVWZZZ", s.VIN.Reveal()[:6], "the other control unit has the VIN too")

			healthy := run(t, write(t, "healthy", repaired(t, c.name)), options(t, scan.Full, consent.Granted))
			require.Empty(t, healthy.Errors)
			requirePartOf(t, s, healthy)
			if c.errors == "" {
				require.Len(t, s.Readings, len(healthy.Readings))
			}
		})
	}
}

var broken = regexp.MustCompile(`(?m)^    (faults|answers): *[{\[].*\n|^    answers:\n(      - .*\n)+`)

// repaired is a broken vehicle without its faults.
func repaired(t testing.TB, name string) []byte {
	t.Helper()
	text, err := fs.ReadFile(fixtures.Vehicles(), name+".yaml")
	require.NoError(t, err)
	return broken.ReplaceAll(text, nil)
}

// requirePartOf: every value of part stands in whole.
func requirePartOf(t testing.TB, part, whole visit.Scan) {
	t.Helper()
	have := map[string]int{}
	for _, r := range whole.Readings {
		have[valueOf(r)]++
	}
	for _, r := range part.Readings {
		if r.Key == "obfcm.raw_17" {
			continue // the bytes of a record whose length no layout knows, kept as such
		}
		require.Positive(t, have[valueOf(r)], "%s of %s is not what the car has", r.Key, r.ECU)
		have[valueOf(r)]--
	}
	if !part.VIN.IsZero() {
		require.True(t, part.VIN.Equal(whole.VIN))
	}
}

func valueOf(r reading.Reading) string {
	if id, ok := r.Value.(reading.Identity); ok {
		return fmt.Sprint(r.Key, r.ECU, id.Reveal())
	}
	return fmt.Sprintf("%s %s %T %v", r.Key, r.ECU, r.Value, r.Value)
}

// A car that says nothing at all is no car with nothing wrong.
func TestIgnitionOff(t *testing.T) {
	l, _ := car(t, "broken-mute")
	s, err := scan.Run(t.Context(), l, options(t, scan.Full, consent.Granted))
	require.ErrorIs(t, err, link.ErrNoVehicle)
	require.Empty(t, s.ECUs)
	require.Empty(t, s.Readings)
	var e *link.Error
	require.ErrorAs(t, err, &e)
	require.Contains(t, e.Hint, "ignition")
}

var noes = []consent.Answer{consent.Unasked, consent.Deferred, consent.Refused, consent.Withdrawn, consent.Expired}

// The promise of the project: without a yes the question is not on the bus, whatever the car. The car itself kept count.
func TestWithoutAYesNoConsumptionQuestionIsOnTheBus(t *testing.T) {
	asked := 0
	for _, name := range sim.Names() {
		if name == "broken-mute" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			yes, car1 := car(t, name)
			with, err := scan.Run(t.Context(), yes, options(t, scan.Full, consent.Granted))
			require.NoError(t, err)
			asked += car1.OBFCMRequests()
			if name != "legacy" {
				require.Positive(t, car1.OBFCMRequests(), "this car cannot show that a refusal matters")
			}
			for _, no := range noes {
				for _, depth := range []scan.Depth{scan.Quick, scan.Full} {
					l, v := car(t, name)
					s, err := scan.Run(t.Context(), l, options(t, depth, no))
					require.NoError(t, err)
					require.NotEmpty(t, v.Log())
					require.Zero(t, v.OBFCMRequests(), "%v %v", no, depth)
					require.False(t, s.OBFCM.Outcome.Asked())
					for _, r := range s.Readings {
						require.False(t, strings.HasPrefix(string(r.Key), "obfcm."), r.Key)
					}
					if depth == scan.Full {
						require.Equal(t, without(with.Readings, "obfcm."), without(s.Readings, "obfcm."), "a no costs more than the record")
					}
				}
			}
		})
	}
	require.Positive(t, asked)
}

// without leaves out a family of keys, and which frames a value came from: their numbers count the questions.
func without(rs []reading.Reading, prefix string) []string {
	var out []string
	for _, r := range rs {
		if !strings.HasPrefix(string(r.Key), prefix) {
			out = append(out, valueOf(r))
		}
	}
	return out
}

func TestWhyTheRecordWasNotAsked(t *testing.T) {
	for answer, want := range map[consent.Answer]obfcm.Outcome{consent.Unasked: obfcm.Unasked, consent.Deferred: obfcm.Unasked,
		consent.Expired: obfcm.Unasked, consent.Refused: obfcm.Refused, consent.Withdrawn: obfcm.Refused} {
		require.Equal(t, want, run(t, "golf8", options(t, scan.Quick, answer)).OBFCM.Outcome, answer.String())
	}
	require.Equal(t, obfcm.Unasked, run(t, "golf8", scan.Options{Policy: options(t, scan.Quick, 0).Policy}).OBFCM.Outcome,
		"the zero plan must not ask")
}

// tap counts frames and breaks the link after some of them, as pulling the plug does.
type tap struct {
	link.Link
	left int
	err  error
	stop context.CancelFunc // instead of breaking: the user stops the program
}

func (p *tap) spend() error {
	if p.left--; p.left >= 0 {
		return nil
	}
	if p.stop != nil {
		p.stop()
		return nil
	}
	return &link.Error{Op: "receive", URI: "test", Err: p.err, Hint: "plug it in again"}
}

func (p *tap) Send(ctx context.Context, f frame.Frame) error {
	if err := p.spend(); err != nil {
		return err
	}
	return p.Link.Send(ctx, f)
}

func (p *tap) Recv(ctx context.Context) (frame.Frame, error) {
	if err := p.spend(); err != nil {
		return frame.Frame{}, err
	}
	return p.Link.Recv(ctx)
}

// Pulled out after any number of frames: the scan ends at once with the link's error, keeps what it has, and has nothing
// that the whole scan does not have.
func TestUnpluggedAtEveryStep(t *testing.T) {
	for _, name := range []string{"golf8", "tahoe", "legacy", "obdonuds", "broken-interleave"} {
		t.Run(name, func(t *testing.T) {
			whole := run(t, name, options(t, scan.Full, consent.Granted))
			most, step := 0, 3
			if name == "golf8" {
				step = 1
			}
			for n := 0; ; n += step {
				l, _ := car(t, name)
				p := &tap{Link: l, left: n, err: link.ErrGone}
				s, err := scan.Run(t.Context(), p, options(t, scan.Full, consent.Granted))
				if p.left >= 0 {
					require.NoError(t, err)
					require.Len(t, s.Readings, len(whole.Readings))
					require.Greater(t, n, 30)
					break
				}
				require.ErrorIs(t, err, link.ErrGone, "after %d", n)
				requirePartOf(t, s, whole)
				require.Equal(t, len(s.ECUs) == 0, s.Complete(), "a scan that broke off looks whole")
				require.GreaterOrEqual(t, len(s.Readings), most, "after %d: less is kept of a longer session", n)
				most = len(s.Readings)
			}
			require.Positive(t, most)
		})
	}
}

// Stopped by the user after any number of frames: the same.
func TestStoppedAtEveryStep(t *testing.T) {
	whole := run(t, "golf8", options(t, scan.Full, consent.Granted))
	for n := 0; ; n++ {
		l, _ := car(t, "golf8")
		ctx, stop := context.WithCancel(t.Context())
		p := &tap{Link: l, left: n, stop: stop}
		s, err := scan.Run(ctx, p, options(t, scan.Full, consent.Granted))
		stop()
		if p.left >= 0 {
			require.NoError(t, err)
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		requirePartOf(t, s, whole)
		require.Equal(t, len(s.ECUs) == 0, s.Complete(), "a scan that was stopped looks whole")
	}
}

// loss drops one frame the vehicle sent.
type loss struct {
	link.Link
	drop, seen int
}

func (p *loss) Recv(ctx context.Context) (frame.Frame, error) {
	for {
		f, err := p.Link.Recv(ctx)
		if err != nil {
			return f, err
		}
		if p.seen++; p.seen-1 != p.drop {
			return f, nil
		}
	}
}

// Any one frame may get lost. What is then missing was asked again or is named; nothing is silently gone, nothing is wrong.
func TestOneFrameLost(t *testing.T) {
	for _, name := range []string{"golf8", "bev", "tahoe", "legacy", "obdonuds"} {
		t.Run(name, func(t *testing.T) {
			whole := run(t, name, options(t, scan.Full, consent.Granted))
			step := 3 // with golf8 each frame, with the others each third
			if name == "golf8" {
				step = 1
			}
			for n, seen := 0, 1; n < seen; n += step {
				synctest.Test(t, func(t *testing.T) { // who waits for the lost frame waits for nothing
					l, _ := car(t, name)
					p := &loss{Link: l, drop: n}
					s, err := scan.Run(t.Context(), p, options(t, scan.Full, consent.Granted))
					require.NoError(t, err)
					requirePartOf(t, s, whole)
					if s.Complete() {
						requirePartOf(t, whole, s)
					}
					seen = p.seen
				})
			}
		})
	}
}

// A bus that breaks down for good ends the scan after a few questions instead of failing all of them one by one.
func TestADeadBusEndsTheScan(t *testing.T) {
	l, v := car(t, "golf8")
	p := &tap{Link: l, left: 30, err: link.ErrBus}
	s, err := scan.Run(t.Context(), p, options(t, scan.Full, consent.Granted))
	require.ErrorIs(t, err, link.ErrBus)
	require.NotEmpty(t, s.ECUs)
	require.NotEmpty(t, s.Errors)
	require.Less(t, len(v.Log()), 15)
}

// A transmission from a scrapyard tells another VIN. The engine's counts, and the technician is told.
func TestTwoVINs(t *testing.T) {
	path := altered(t, "golf8", `"02": "01 {vin}"
      "04": "01 '0GC`, `"02": "01 'WVWZZZCD0NW009999'"
      "04": "01 '0GC`)
	s := run(t, path, options(t, scan.Full, consent.Granted))
	require.Equal(t, "WVWZZZCD0NW000001", s.VIN.Reveal())
	require.Equal(t, "7E9 0902", faults(s))
	require.Contains(t, s.Errors[0].Error, "another VIN")
	require.NotContains(t, s.Errors[0].Error, "009999")
}

// Cars before 2008 have no 09 02; the data identifier serves.
func TestVINByDataIdentifier(t *testing.T) {
	path := altered(t, "golf8", `      "02": "01 {vin}"`+"\n", "")
	s := run(t, path, options(t, scan.Full, consent.Refused))
	require.Equal(t, "WVWZZZCD0NW000001", s.VIN.Reveal())
	require.Empty(t, s.Errors)
}

func TestQuickAsksLess(t *testing.T) {
	full, quick := run(t, "golf8", options(t, scan.Full, consent.Granted)), run(t, "golf8", options(t, scan.Quick, consent.Granted))
	require.Less(t, quick.Frames.Total*3, full.Frames.Total*2)
	require.Equal(t, "7E8 P0301 permanent+stored+pending, 7E8 P0171 pending", codes(quick), "what the law has every vehicle tell")
	require.Contains(t, codes(full), "77A U2009-00 stored", "what other control units have")
	require.Equal(t, full.Odometer.Outcome, quick.Odometer.Outcome)
	require.Equal(t, full.OBFCM, quick.OBFCM, "the plan's depth has nothing to do with the customer's answer")
	require.Contains(t, ecus(full), ecus(quick))
	require.Equal(t, "quick", quick.Plan)
	require.Empty(t, number(quick, "obd.09.04", ""))
	_, err := scan.ParseDepth("deep")
	require.ErrorContains(t, err, "quick, full")
}

// What --record writes is the session without what it carried of persons: played back it gives the same technical part,
// with the place of every masked byte kept.
func TestRecordingPlaysBack(t *testing.T) {
	for _, name := range []string{"golf8", "e350", "phev", "bev", "mini", "tahoe", "obdonuds"} {
		t.Run(name, func(t *testing.T) {
			o := options(t, scan.Full, consent.Granted)
			var log bytes.Buffer
			o.Record = &log
			live := run(t, name, o)
			require.Equal(t, live.Frames.Total, bytes.Count(log.Bytes(), []byte("\n")))

			o.Record = nil
			l, err := replay.New(t.Context(), "replay:x", bytes.NewReader(log.Bytes()))
			require.NoError(t, err)
			defer l.Close()
			back, err := scan.Run(t.Context(), l, o)
			require.NoError(t, err)
			require.Empty(t, back.Errors)
			require.Equal(t, live.OBFCM, back.OBFCM)
			require.Equal(t, live.Odometer, back.Odometer)
			require.Equal(t, live.VIN, back.VIN)
			require.Equal(t, technical(o.Policy, live), technical(o.Policy, back))
			require.Equal(t, kept(live), kept(back))
			personal := 0
			for _, r := range back.Readings {
				if o.Policy.Tag(r).Tag().Class == policy.Technical {
					continue
				}
				personal++
				head := 2 // service and PID
				switch {
				case r.Raw[0] == 0x62:
					head = 3 // service and data identifier
				case strings.HasPrefix(string(r.Key), "uds.19.06."):
					head = 6 // service, report, code, status
				case r.Key == "uds.19.04.raw":
					head = 8 // and record number, count
				case r.Raw[0] == 0x59:
					head = 9 // code, status, record number, data identifier
				}
				require.Equal(t, make([]byte, len(r.Raw)-head), []byte(r.Raw[head:]), "%s was recorded", r.Key)
			}
			require.Positive(t, personal, "the car sent nothing personal: nothing was tested")
		})
	}
}

// kept counts the readings outside snapshots: where the bytes of one are masked, it cannot be taken apart any more.
func kept(s visit.Scan) (n int) {
	for _, r := range s.Readings {
		if !strings.HasPrefix(string(r.Key), "uds.19.04.") {
			n++
		}
	}
	return n
}

func technical(p *policy.Policy, s visit.Scan) []string {
	var out []string
	for _, r := range s.Readings {
		if p.Tag(r).Tag().Class == policy.Technical {
			out = append(out, valueOf(r))
		}
	}
	return out
}

// A recording that was never made is no reason to lose the scan.
func TestRecordingFails(t *testing.T) {
	o := options(t, scan.Full, consent.Granted)
	full := errors.New("no space left on device")
	o.Record = writer(func([]byte) (int, error) { return 0, full })
	l, _ := car(t, "golf8")
	s, err := scan.Run(t.Context(), l, o)
	require.ErrorIs(t, err, full)
	require.True(t, s.Complete())
	require.Greater(t, len(s.Readings), 100)
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestNoPolicyNoScan(t *testing.T) {
	l, v := car(t, "golf8")
	_, err := scan.Run(t.Context(), l, scan.Options{})
	require.ErrorIs(t, err, scan.ErrNoPolicy)
	require.Empty(t, v.Log())
}

// Progress names every step once, in order, also for steps that have nothing to do.
func TestProgress(t *testing.T) {
	o := options(t, scan.Full, consent.Refused)
	var got []scan.Step
	o.Progress = func(s scan.Step) { got = append(got, s) }
	run(t, "golf8", o)
	require.Equal(t, scan.Steps, got)
}

// The whole of a scan without waiting for a car: what our side of it costs.
func BenchmarkScan(b *testing.B) {
	o := options(b, scan.Full, consent.Granted)
	b.ReportAllocs()
	for b.Loop() {
		l, _, err := sim.OpenVehicle(b.Context(), "sim:golf8")
		require.NoError(b, err)
		s, err := scan.Run(b.Context(), l, o)
		require.NoError(b, err)
		require.Empty(b, s.Errors)
	}
}
