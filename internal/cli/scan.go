package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"obdgate/dbc"
	"obdgate/internal/consent"
	"obdgate/internal/link"
	"obdgate/internal/link/elm327"
	"obdgate/internal/link/replay"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/policy"
	"obdgate/internal/scan"
	"obdgate/internal/sim"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/spf13/cobra"
)

// links are the kinds of addresses a vehicle can have.
func links() link.Registry {
	return link.Registry{
		"can": socketcan.Open, "elm": elm327.Open, "elm+tcp": elm327.Open, "replay": replay.Open, "sim": sim.Open,
	}
}

// links remembers in the state directory what ELM327 adapters can do, so that the next start is fast.
func (p *program) links() link.Registry {
	r := links()
	remembered := elm327.Options{Dir: p.stateDir(), Lost: p.lost} // without a home nothing is remembered
	r["elm"], r["elm+tcp"] = remembered.Open, remembered.Open
	if p.wires != nil {
		return p.wires(r)
	}
	return r
}

type scanOptions struct {
	visit, depth, record string
	live                 liveOptions
}

func (p *program) scan() *cobra.Command {
	var o scanOptions
	c := &cobra.Command{
		Use: "scan [LINK]", Short: "Read a vehicle and print the report", Args: argsBetween(0, 1),
		Long: `scan reads trouble codes, readiness, values, mileage, software and, where the customer agreed, the
consumption record (OBFCM), and prints the report with the tag beside each value. It opens a visit when
none is open. LINK is one of

  elm:///dev/ttyUSB0?baud=115200  elm:COM5      ELM327 or STN on a serial port, baud probed when left out
  elm+tcp://192.168.0.10:35000                  Wi-Fi ELM327
  can://can0                                    SocketCAN (Linux)
  replay:car.log                                a recorded session
  sim:golf8                                     a built-in virtual vehicle
  auto                                          looks for an adapter (default)

--plan live shows chosen values as they change, with the least and the most each has been, until Ctrl-C: in place on
a terminal, a line for each value elsewhere, JSON lines with --json. It opens no visit and nothing of it is stored;
speed and other movement values are shown and marked personal.`,
		Example: `  obdgate scan elm:///dev/ttyUSB0
  obdgate scan can://can0 --plan quick --json
  obdgate scan sim:golf8 --record car.log
  obdgate scan elm:/dev/ttyUSB0 --plan live --pid 0C,05,42 --every 500ms`,
		RunE: func(c *cobra.Command, args []string) error { return p.runScan(c.Context(), first(args, "auto"), o) },
	}
	visitFlag(c, &o.visit)
	f := c.Flags()
	f.StringVar(&o.depth, "plan", "full", "quick, full, or live: watch chosen values")
	f.StringVar(&o.record, "record", "", "write a candump log of the session here, personal bytes masked")
	f.StringVar(&o.live.pids, "pid", "", "live: PIDs of service 01 in hexadecimal, such as 0C,05 (default: what this vehicle has of the usual ones)")
	f.DurationVar(&o.live.every, "every", time.Second, "live: the pace; 0 = as fast as the vehicle answers")
	f.IntVar(&o.live.count, "count", 0, "live: end after so many rounds; 0 = at Ctrl-C")
	return c
}

func (p *program) runScan(ctx context.Context, uri string, o scanOptions) (err error) {
	depth, err := scan.ParseDepth(o.depth)
	if err != nil {
		return usage("--plan quick, --plan full or --plan live", err)
	}
	if depth == scan.Watch {
		return p.runLive(ctx, uri, o)
	}
	if o.live.pids != "" || o.live.count != 0 {
		return usage("add --plan live", errors.New("--pid and --count are of a live view"))
	}
	record, closeRecord, err := create(o.record)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRecord()) }()
	begun := false
	err = p.withStore(ctx, func(s *store.Store) error {
		begun = true
		p.retain(ctx, s)
		l, err := p.openLink(ctx, &uri)
		if err != nil {
			return err
		}
		v, err := p.visitToScan(ctx, s, o.visit)
		if noRoom(err) {
			return errors.Join(p.scanUnkept(ctx, l, uri, depth, record, err), l.Close())
		}
		if err != nil {
			return errors.Join(err, l.Close())
		}
		result, err := p.readVehicle(ctx, s, v, l, uri, depth, record)
		p.tellLost(l)
		return errors.Join(err, l.Close(), p.outcome(v.ID, result, err))
	})
	if begun || !noRoom(err) {
		return err
	}
	l, linkErr := p.openLink(ctx, &uri)
	if linkErr != nil {
		return errors.Join(err, linkErr)
	}
	return errors.Join(p.scanUnkept(ctx, l, uri, depth, record, err), l.Close())
}

// openLink opens the vehicle at *uri, which becomes the adapter's own address when it is auto.
func (p *program) openLink(ctx context.Context, uri *string) (link.Link, error) {
	if *uri == "auto" {
		found, err := p.findAdapter(ctx)
		if err != nil {
			return nil, err
		}
		*uri = found
	}
	return p.links().Open(ctx, *uri)
}

// noRoom reports whether the state cannot be written where it lies: the disk is full or broken, or somebody else's.
func noRoom(err error) bool {
	return errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrIO) || errors.Is(err, store.ErrReadOnly)
}

// scanUnkept reads a vehicle although nothing can be stored: the car is on the lift, and its report does not need a disk.
// Nobody's answer is known then, so the consumption record is not asked for. The error is why.
func (p *program) scanUnkept(ctx context.Context, l link.Link, uri string, depth scan.Depth, record io.Writer, why error) error {
	result, err := p.read(ctx, l, uri, record, scan.NewPlan(depth, consent.Unasked), nil)
	err = errors.Join(why, err, p.outcome("", result, why))
	p.say("scan.unkept")
	return err
}

// tellLost says how many frames the kernel dropped because they came faster than they were taken: an answer may have been
// among them.
func (p *program) tellLost(l link.Link) {
	if s, ok := l.(interface{ Stats() socketcan.Stats }); ok {
		if n := s.Stats().Lost; n > 0 {
			p.say("monitor.dropped", n)
		}
	}
}

// outcome prints what was read, also after a fault, and says with its error how whole it is.
func (p *program) outcome(id string, result visit.Scan, fault error) error {
	if fault != nil && len(result.ECUs) == 0 {
		return nil
	}
	if err := p.printScan(id, result); err != nil {
		return err
	}
	f := result.Frames
	p.say("scan.frames", f.Total, f.Technical, f.Personal)
	if fault == nil && !result.Complete() {
		return fail(exitProtocol, p.words.T("scan.partial-hint"), fmt.Errorf("%s", p.words.T("scan.partial", len(result.Errors))))
	}
	return nil
}

// create makes a file for the recording; "" records nothing. An existing file is not overwritten.
func create(path string) (io.Writer, func() error, error) {
	if path == "" {
		return nil, func() error { return nil }, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, nil, fail(exitCantCreate, "choose another name or remove it", fmt.Errorf("%s exists already", path))
	}
	if err != nil {
		return nil, nil, fail(exitCantCreate, "", err)
	}
	return f, f.Close, nil
}

// visitToScan is the visit meant, or a new one when none is open.
func (p *program) visitToScan(ctx context.Context, s *store.Store, id string) (visit.Visit, error) {
	if id == "" {
		open, err := openVisits(ctx, s)
		if err != nil {
			return visit.Visit{}, err
		}
		if len(open) == 0 {
			v, err := s.OpenVisit(ctx, visit.Visit{Language: p.words.Lang()})
			if err == nil {
				p.say("scan.visit-opened", v.ID)
			}
			return v, err
		}
	}
	v, err := theVisit(ctx, s, id)
	if err == nil && !v.Closed.IsZero() {
		return v, fail(exitUsage, "open a new one: obdgate visit open", fmt.Errorf("visit %s is closed", v.ID))
	}
	return v, err
}

// readVehicle makes one scan of an open link for a visit and keeps it there. The customer's answer is asked before, to
// make the plan, again before each question it is about, and once more when the scan is stored.
func (p *program) readVehicle(ctx context.Context, s *store.Store, v visit.Visit, l link.Link, uri string, depth scan.Depth, record io.Writer) (visit.Scan, error) {
	stands := func(ctx context.Context) (consent.Answer, error) {
		answer, _, _, err := s.Standing(ctx, v.ID, consent.OBFCM, "", p.now())
		return answer, err
	}
	answer, err := stands(ctx)
	if err != nil {
		return visit.Scan{}, err
	}
	result, readErr := p.read(ctx, l, uri, record, scan.NewPlan(depth, answer), stands)
	if readErr != nil && len(result.ECUs) == 0 {
		return result, readErr
	}
	if !v.VIN.IsZero() && !result.VIN.IsZero() && !v.VIN.Equal(result.VIN) {
		return result, errors.Join(readErr, fail(exitData, "close the visit and scan again, or name the right one with --visit",
			errors.New("this is another vehicle than the visit's: nothing was stored")))
	}
	rules, err := p.rules()
	if err != nil {
		return result, errors.Join(readErr, err)
	}
	keep := context.WithoutCancel(ctx) // what was read is kept even when the user stops the program now
	result, err = s.KeepScan(keep, v.ID, result, categories(result, rules), rules.Version())
	if noRoom(err) {
		p.say("scan.unkept")
	}
	return result, errors.Join(readErr, err)
}

// read makes one scan of an open link, with its progress on stderr.
func (p *program) read(ctx context.Context, l link.Link, uri string, record io.Writer, plan scan.Plan,
	stands func(context.Context) (consent.Answer, error)) (visit.Scan, error) {
	rules, err := p.rules()
	if err != nil {
		return visit.Scan{}, err
	}
	signals, err := broadcasts(uri)
	if err != nil {
		return visit.Scan{}, err
	}
	progress, done := p.progress()
	defer done()
	return scan.Run(ctx, l, scan.Options{
		Plan: plan, Policy: rules, DBC: signals, Link: uri, At: p.now().UTC(),
		Record: record, Consent: stands, Progress: progress, Log: p.log,
	})
}

// broadcasts are the signals of the vehicle at an address. The database that ships with the program describes the virtual
// vehicles; on a real one the same identifiers mean other things, and nothing but what a rule names is technical.
func broadcasts(uri string) (*dbc.Database, error) {
	if scheme, _, _ := link.Split(uri); scheme != "sim" {
		return nil, nil
	}
	return dbc.Embedded()
}

// categories counts what was read, for the ledger.
func categories(result visit.Scan, rules *policy.Policy) map[string]int {
	counts := map[string]int{}
	for _, r := range result.Readings {
		category := rules.Tag(r).Tag().Category
		if category == "" {
			category = policy.NoCategory
		}
		counts[string(category)]++
	}
	return counts
}
