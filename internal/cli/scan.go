package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"obdgate/dbc"
	"obdgate/internal/consent"
	"obdgate/internal/ledger"
	"obdgate/internal/link"
	"obdgate/internal/link/elm327"
	"obdgate/internal/link/replay"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/obfcm"
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
	r, dir := links(), p.home
	if dir == "" {
		dir, _ = store.DefaultHome() // without a home nothing is remembered
	}
	remembered := elm327.Options{Dir: dir}
	r["elm"], r["elm+tcp"] = remembered.Open, remembered.Open
	return r
}

type scanOptions struct {
	visit, depth, record string
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
  auto                                          looks for an adapter (default)`,
		Example: `  obdgate scan elm:///dev/ttyUSB0
  obdgate scan can://can0 --plan quick --json
  obdgate scan sim:golf8 --record car.log`,
		RunE: func(c *cobra.Command, args []string) error { return p.runScan(c.Context(), first(args, "auto"), o) },
	}
	visitFlag(c, &o.visit)
	f := c.Flags()
	f.StringVar(&o.depth, "plan", "full", "quick or full")
	f.StringVar(&o.record, "record", "", "write a candump log of the session here, personal bytes masked")
	return c
}

func (p *program) runScan(ctx context.Context, uri string, o scanOptions) (err error) {
	depth, err := scan.ParseDepth(o.depth)
	if err != nil {
		return usage("--plan quick or --plan full", err)
	}
	record, closeRecord, err := create(o.record)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRecord()) }()
	return p.withStore(ctx, func(s *store.Store) error {
		p.retain(ctx, s)
		if uri == "auto" {
			if uri, err = p.findAdapter(ctx); err != nil {
				return err
			}
		}
		l, err := p.links().Open(ctx, uri)
		if err != nil {
			return err
		}
		v, err := p.visitToScan(ctx, s, o.visit)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		result, err := p.readVehicle(ctx, s, v, l, uri, depth, record)
		return errors.Join(err, l.Close(), p.outcome(v.ID, result, err))
	})
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
// make the plan, and again after: a no that came meanwhile destroys what was read of the consumption record.
func (p *program) readVehicle(ctx context.Context, s *store.Store, v visit.Visit, l link.Link, uri string, depth scan.Depth, record io.Writer) (visit.Scan, error) {
	rules, err := policy.Default()
	if err != nil {
		return visit.Scan{}, err
	}
	signals, err := broadcasts(uri)
	if err != nil {
		return visit.Scan{}, err
	}
	answer, _, _, err := s.Standing(ctx, v.ID, consent.OBFCM, "", p.now())
	if err != nil {
		return visit.Scan{}, err
	}
	progress, done := p.progress()
	result, readErr := scan.Run(ctx, l, scan.Options{
		Plan: scan.NewPlan(depth, answer), Policy: rules, DBC: signals, Link: uri, At: p.now().UTC(),
		Record: record, Progress: progress, Log: p.log,
	})
	done()
	if readErr != nil && len(result.ECUs) == 0 {
		return result, readErr
	}
	keep := context.WithoutCancel(ctx) // what was read is kept even when the user stops the program now
	if !v.VIN.IsZero() && !result.VIN.IsZero() && !v.VIN.Equal(result.VIN) {
		return result, errors.Join(readErr, fail(exitData, "close the visit and scan again, or name the right one with --visit",
			errors.New("this is another vehicle than the visit's: nothing was stored")))
	}
	if _, err := s.AppendScan(keep, v.ID, result); err != nil {
		return result, errors.Join(readErr, err)
	}
	if err := p.accountFor(keep, s, v.ID, result, rules); err != nil {
		return result, errors.Join(readErr, err)
	}
	return result, errors.Join(readErr, p.honourLateRefusal(keep, s, v.ID, &result))
}

// broadcasts are the signals of the vehicle at an address. The database that ships with the program describes the virtual
// vehicles; on a real one the same identifiers mean other things, and nothing but what a rule names is technical.
func broadcasts(uri string) (*dbc.Database, error) {
	if scheme, _, _ := link.Split(uri); scheme != "sim" {
		return nil, nil
	}
	return dbc.Embedded()
}

// accountFor writes into the ledger what was read by category, and that a refusal was honoured.
func (p *program) accountFor(ctx context.Context, s *store.Store, id string, result visit.Scan, rules *policy.Policy) error {
	counts := map[string]int{}
	for _, r := range result.Readings {
		category := rules.Tag(r).Tag().Category
		if category == "" {
			category = policy.NoCategory
		}
		counts[string(category)]++
	}
	asked := "asked"
	if !result.OBFCM.Outcome.Asked() {
		asked = string(result.OBFCM.Outcome)
	}
	_, err := s.Ledger().Record(ctx, ledger.Event{Kind: ledger.Asked, Visit: id, At: p.now(),
		Facts: ledger.Facts{Counts: counts, OBFCM: asked, Policy: rules.Version()}})
	if err != nil || asked == "asked" {
		return store.Explain(err)
	}
	_, err = s.Ledger().Record(ctx, ledger.Event{Kind: ledger.RefusalHonoured, Visit: id, At: p.now(),
		Facts: ledger.Facts{Purpose: string(consent.OBFCM), Reason: asked}})
	return store.Explain(err)
}

// honourLateRefusal destroys the consumption values when the customer said no while they were being read.
func (p *program) honourLateRefusal(ctx context.Context, s *store.Store, id string, result *visit.Scan) error {
	if !result.OBFCM.Outcome.Asked() {
		return nil
	}
	now, _, _, err := s.Standing(ctx, id, consent.OBFCM, "", p.now())
	if err != nil || now.Yes() {
		return err
	}
	if _, err := s.Shred(ctx, id, "obfcm-"+now.String(), isConsumption); err != nil {
		return err
	}
	v, err := s.Visit(ctx, id)
	if err == nil && len(v.Scans) > 0 {
		*result = v.Scans[len(v.Scans)-1]
		result.OBFCM.Outcome = obfcm.Refused
	}
	return err
}
