package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"obdgate/internal/collector"
	"obdgate/internal/consent"
	"obdgate/internal/outbox"
	"obdgate/internal/policy"
	"obdgate/internal/recipient"
	"obdgate/internal/report"
	"obdgate/internal/scan"
	"obdgate/internal/sim"
	"obdgate/internal/sim/elm"
	"obdgate/internal/store"
	"obdgate/internal/visit"

	"github.com/spf13/cobra"
)

func (p *program) demo() *cobra.Command {
	var refuse bool
	var vehicle string
	c := &cobra.Command{
		Use: "demo", Short: "The whole way without hardware: car, adapter, answers, scan, upload, receipt", Args: exactArgs(0),
		Long: `demo puts a virtual VW Golf 8 behind a simulated ELM327, starts a collector on loopback, opens a visit,
records the customer's answers, scans, uploads, and prints what left and what stayed, and why. Everything
happens in a temporary directory that is removed afterwards.`,
		Example: "  obdgate demo\n  obdgate demo --refuse-obfcm",
		RunE:    func(c *cobra.Command, _ []string) error { return p.runDemo(c.Context(), vehicle, refuse) },
	}
	c.Flags().BoolVar(&refuse, "refuse-obfcm", false, "the customer refuses the consumption record: it is not even asked for")
	c.Flags().StringVar(&vehicle, "vehicle", "golf8", "another built-in vehicle")
	return c
}

func (p *program) runDemo(ctx context.Context, vehicle string, refuse bool) (err error) {
	dir, err := os.MkdirTemp("", "obdgate-demo-")
	if err != nil {
		return fail(exitCantCreate, "", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithCancel(ctx)
	d := demonstration{program: p, vehicleName: vehicle, refuse: refuse, dir: dir}
	defer func() { cancel(); err = errors.Join(err, d.wait()) }()
	return d.run(ctx)
}

// demonstration is one run of the demo: the outside world on loopback, and a workshop.
type demonstration struct {
	*program
	vehicleName string
	refuse      bool
	dir         string
	car         *sim.Vehicle
	collector   *collector.Collector
	running     []func() error
}

// background runs f until the demo ends; wait collects its error.
func (d *demonstration) background(f func() error) {
	d.running = append(d.running, inBackground(f))
}

func (d *demonstration) wait() (err error) {
	for _, wait := range d.running {
		err = errors.Join(err, wait())
	}
	if d.collector != nil {
		err = errors.Join(err, d.collector.Close())
	}
	return err
}

func (d *demonstration) run(ctx context.Context) error {
	workshop := *d.program
	workshop.home = filepath.Join(d.dir, "workshop")
	address, err := d.startCar(ctx)
	if err != nil {
		return err
	}
	d.step("demo.car", d.vehicleName, address)
	bundle, err := d.startCollector(ctx)
	if err != nil {
		return err
	}
	d.step("demo.collector", bundle.URL)
	return workshop.withStore(ctx, func(s *store.Store) error {
		to := bundle.Recipient()
		to.Agreement = "demo agreement 1"
		if err := s.AddRecipient(ctx, to); err != nil {
			return err
		}
		v, err := s.OpenVisit(ctx, visit.Visit{Order: "demo order", Language: d.words.Lang()})
		if err != nil {
			return err
		}
		d.step("demo.visit", v.ID)
		if err := d.answers(ctx, s, v); err != nil {
			return err
		}
		result, err := workshop.scanFor(ctx, s, v, address)
		if err != nil {
			return err
		}
		return d.tell(ctx, s, v.ID, result)
	})
}

func (d *demonstration) step(key string, args ...any) {
	if !d.json {
		d.say(key, args...)
	}
}

func (d *demonstration) startCar(ctx context.Context) (address string, err error) {
	if d.car, err = sim.Load(d.vehicleName); err != nil {
		return "", fail(exitNoInput, "see: obdgate sim", err)
	}
	adapter, err := elm.ByName("")
	if err != nil {
		return "", err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	d.background(func() error { return elm.ServeTCP(ctx, ln, d.car, adapter, elm.Options{Scale: 0}) })
	return "elm+tcp://" + ln.Addr().String(), nil
}

func (d *demonstration) startCollector(ctx context.Context) (recipient.Bundle, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return recipient.Bundle{}, err
	}
	d.collector, err = collector.Open(ctx, collector.Options{
		Home: filepath.Join(d.dir, "collector"), Name: "Demo Dealer", Country: "NL", URL: "https://" + ln.Addr().String(), Logger: d.log,
	})
	if err != nil {
		return recipient.Bundle{}, errors.Join(err, ln.Close())
	}
	d.background(func() error { return d.collector.Serve(ctx, ln) })
	return d.collector.Enroll(ctx, "demo-workshop")
}

// answers records what the demo's customer says: yes to the dealer, yes or no to the consumption record, nothing about
// quality, which therefore is no.
func (d *demonstration) answers(ctx context.Context, s *store.Store, v visit.Visit) error {
	obfcm := consent.Granted
	if d.refuse {
		obfcm = consent.Refused
	}
	for _, a := range []struct {
		purpose consent.Purpose
		answer  consent.Answer
	}{{consent.Service, consent.Granted}, {consent.OBFCM, obfcm}} {
		_, err := s.RecordDecision(ctx, v.ID, consent.Decision{
			Purpose: a.purpose, Answer: a.answer, At: d.now(), Language: v.Language, TakenBy: "demo",
			Evidence: consent.Evidence{Kind: consent.Paper, Reference: "demo form 1"},
		})
		if err != nil {
			return err
		}
		t := report.NewText(d.Err, d.words)
		d.step("demo.answer", t.Purpose(a.purpose), t.Answer(a.answer))
	}
	return nil
}

// scanFor reads the vehicle at an address for a visit.
func (p *program) scanFor(ctx context.Context, s *store.Store, v visit.Visit, address string) (visit.Scan, error) {
	l, err := links().Open(ctx, address)
	if err != nil {
		return visit.Scan{}, err
	}
	result, err := p.readVehicle(ctx, s, v, l, address, scan.Full, nil)
	return result, errors.Join(err, l.Close())
}

// tell prints the report, sends, and prints the two lists.
func (d *demonstration) tell(ctx context.Context, s *store.Store, id string, result visit.Scan) error {
	rules, err := policy.Default()
	if err != nil {
		return err
	}
	doc := report.New(id, result, rules, d.words.Lang())
	out := report.NewText(d.Out, d.words)
	if !d.json {
		if err := out.Scan(doc); err != nil {
			return err
		}
	}
	q, err := outbox.Open(ctx, s, outbox.Options{Now: d.now})
	if err != nil {
		return err
	}
	if _, err := d.seal(ctx, s, q, id); err != nil {
		return err
	}
	sent, err := q.Drain(ctx, connect, outbox.DrainOptions{Visit: id, All: true})
	if err != nil {
		return err
	}
	lists, err := d.lists(ctx, s, q, id, result, rules)
	if err != nil {
		return err
	}
	if d.json {
		err = d.writeJSON(map[string]any{"scan": doc, "left": lists.Left, "stayed": lists.Stayed, "obfcm_requests_on_the_bus": d.car.OBFCMRequests()})
	} else {
		err = out.Lists(lists)
		out.Line("")
		out.Line("%s", d.words.T("demo.asked", d.car.OBFCMRequests()))
	}
	if err != nil {
		return err
	}
	held, err := d.collector.Count(ctx)
	if err == nil && held != sent.Sent {
		err = fail(exitSoftware, "please report it", fmt.Errorf("the collector holds %d envelopes, %d were sent", held, sent.Sent))
	}
	return errors.Join(err, d.verdictOf(sent, kept{}))
}

func (p *program) lists(ctx context.Context, s *store.Store, q *outbox.Outbox, id string, result visit.Scan, rules *policy.Policy) (report.Lists, error) {
	ds, err := s.Ledger().Decisions(ctx, id)
	if err != nil {
		return report.Lists{}, err
	}
	items, err := q.Items(ctx, id)
	if err != nil {
		return report.Lists{}, err
	}
	var left []report.Sent
	for _, it := range items {
		if it.State != outbox.Done {
			continue
		}
		body, err := q.Body(ctx, it.Recipient, it.ID)
		if err != nil {
			return report.Lists{}, err
		}
		left = append(left, report.Sent{Item: it, Body: body})
	}
	return report.NewLists(result, ds, left, rules, p.now())
}
