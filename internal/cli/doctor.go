package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"obdgate/internal/link"
	"obdgate/internal/link/elm327"
	"obdgate/internal/link/socketcan"
	"obdgate/internal/policy"
	"obdgate/internal/report"
	"obdgate/internal/store"

	"github.com/spf13/cobra"
)

func (p *program) doctor() *cobra.Command {
	var bundle string
	c := &cobra.Command{
		Use: "doctor [LINK]", Short: "What is wrong, and what to type", Args: argsBetween(0, 1),
		Long: `doctor looks at adapters, the state directory, keys, the log, recipients, certificates, the clock and free disk
space. With a LINK it also opens that adapter and says what it is and what it cannot
do; a vehicle on it is asked for its support maps. It changes nothing but makes the
state directory when there is none.

--bundle FILE also writes a file for support: versions, what adapters can do, counts and error codes. It holds no
name, no address, no VIN and nothing a vehicle said. It is a zip of plain text, listed when it is written; look
at it before you send it.`,
		Example: `  obdgate doctor
  obdgate doctor elm:///dev/ttyUSB0
  obdgate doctor elm:///dev/ttyUSB0 --bundle support.zip`,
		RunE: func(c *cobra.Command, args []string) error { return p.runDoctor(c.Context(), first(args, ""), bundle) },
	}
	c.Flags().StringVar(&bundle, "bundle", "", "also write a file for support, without anything personal")
	return c
}

func (p *program) runDoctor(ctx context.Context, uri, bundle string) error {
	out, closeBundle, err := create(bundle)
	if err != nil {
		return err
	}
	checks, codes := []report.Check{}, []report.SupportCheck{}
	add := func(name, found string, err error, hint string) {
		c := report.Check{Name: name, OK: err == nil, Found: found, Hint: hint}
		if err != nil {
			c.Found = strings.TrimSpace(found + " " + err.Error())
		} else {
			c.Hint = ""
		}
		checks = append(checks, c)
		codes = append(codes, supportCheck(name, uri, err))
	}
	adapters := p.checkAdapters(ctx, uri, add)
	p.checkState(ctx, add)
	rules, err := p.rules()
	if err == nil && len(rules.Lint()) > 0 {
		err = errors.New("contradictory or unclassified rules")
	}
	add("policy", versionOf(rules), err, "obdgate policy lint")
	if p.json {
		err = p.writeJSON(checks)
	} else {
		err = report.NewText(p.Out, p.words).Doctor(checks)
	}
	if out != nil && err == nil {
		err = p.writeBundle(ctx, out, bundle, report.NewSupport(rules), codes, adapters)
	}
	if err = errors.Join(err, closeBundle()); err != nil {
		return err
	}
	for _, c := range checks {
		if !c.OK {
			return fail(exitConfig, "do what stands behind the arrows above", errors.New(p.words.T("doctor.bad")))
		}
	}
	return nil
}

func versionOf(p *policy.Policy) string {
	if p == nil {
		return ""
	}
	return p.Version()
}

type addCheck func(name, found string, err error, hint string)

// checkAdapters returns what it found out of the adapter at uri.
func (p *program) checkAdapters(ctx context.Context, uri string, add addCheck) []report.SupportAdapter {
	found, err := candidates()
	what := strings.Join(found, ", ")
	if what == "" {
		what = p.words.T("doctor.no-adapter")
	}
	add("adapters", what, err, "")
	if uri == "" {
		return nil
	}
	l, err := p.links().Open(ctx, uri)
	if err != nil {
		_, hint := exitOf(err)
		add(uri, "", err, hint)
		return nil
	}
	caps, scheme := l.Caps(), ""
	scheme, _, _ = link.Split(uri)
	known := report.SupportAdapter{Link: report.Plain(scheme), Chip: "other"}
	if e, ok := l.(*elm327.Link); ok {
		p.checkELM(ctx, uri, e, add)
		if held, file := e.HeldBack(); held > 0 {
			add("USB", p.words.T("doctor.held-back", held.Milliseconds()), nil, "echo 1 | sudo tee "+file)
		}
		known = supportAdapter(scheme, e.Known())
	} else {
		add(uri, caps.Adapter, nil, "")
	}
	if err := l.Close(); err != nil {
		add(uri, "", err, "")
	}
	return []report.SupportAdapter{known}
}

// checkELM says what an adapter is and what it cannot do, by trying.
func (p *program) checkELM(ctx context.Context, uri string, l *elm327.Link, add addCheck) {
	rec, err := l.Probe(ctx)
	if err != nil {
		_, hint := exitOf(err)
		add(uri, l.Caps().Adapter, err, hint)
		return
	}
	badge := strings.ReplaceAll(string(rec.Badge()), " ", "-")
	found := p.words.T("doctor.adapter", l.Caps().Adapter, p.words.T("doctor.badge."+badge), rec.Trip.Round(time.Millisecond).Milliseconds())
	if rec.Volts != "" {
		found += "; " + rec.Volts + " V"
	}
	if l.Caps().Protocol == "" {
		found += "; " + p.words.T("doctor.untried")
	}
	add(uri, found, nil, "")
	for _, lack := range rec.Lacks() {
		add(report.CheckCannot, p.words.T("doctor.cannot."+string(lack)), nil, "")
	}
	if l.Caps().Lossy {
		add("line", "", errors.New(p.words.T("doctor.lossy")), p.words.T("doctor.lossy-hint"))
	}
}

// candidates lists addresses at which an adapter may be: serial ports and CAN interfaces that are up.
func candidates() ([]string, error) {
	ports, err := elm327.Ports()
	var out []string
	for _, port := range ports {
		out = append(out, "elm:"+port)
	}
	can, canErr := socketcan.Interfaces()
	for _, c := range can {
		if c.Up {
			out = append(out, "can://"+c.Name)
		}
	}
	return out, errors.Join(err, canErr)
}

// findAdapter picks the only address there is, or says which there are.
func (p *program) findAdapter(context.Context) (string, error) {
	found, err := candidates()
	switch {
	case len(found) == 1:
		p.say("scan.found", found[0])
		return found[0], nil
	case len(found) > 1:
		return "", usage("name one: obdgate scan "+found[0], fmt.Errorf("several adapters: %s", strings.Join(found, ", ")))
	}
	return "", errors.Join(&link.Error{Op: "find", URI: "auto", Err: link.ErrNoAdapter,
		Hint: "plug an adapter in, or name its address: obdgate scan elm+tcp://192.168.0.10:35000"}, err)
}

func (p *program) checkState(ctx context.Context, add addCheck) {
	s, err := p.openStore(ctx)
	if err != nil {
		_, hint := exitOf(err)
		add("state", p.home, err, hint)
		return
	}
	defer s.Close() //nolint:errcheck // nothing was written
	add("state", s.Home(), s.Check(ctx), "")
	add("station", s.Station().ID()+" "+hex.EncodeToString(s.Station().Public()), nil, "")
	add("key", s.KeySource(), nil, "")
	free, err := store.FreeDisk(s.Home())
	if err == nil && free < 100<<20 {
		err = errors.New("less than 100 MB left")
	}
	add("disk", p.words.T("doctor.free", free>>20), err, "free some space")
	r, err := s.Ledger().Verify(ctx)
	if err == nil && !r.OK() {
		err = errors.New("tampered with")
	}
	add("ledger", p.words.T("doctor.entries", r.Entries), err, "obdgate ledger verify")
	if es, err := s.Ledger().Entries(ctx, r.Entries-min(r.Entries, 1), 1); err == nil && len(es) == 1 && es[0].Time.After(p.now().Add(time.Minute)) {
		add("clock", p.now().Format(time.RFC3339), errors.New("is behind the log's last entry"), "set the clock of this computer")
	} else {
		add("clock", p.now().Format(time.RFC3339), nil, "")
	}
	all, err := s.Recipients(ctx)
	if err != nil {
		add("recipients", "", err, "")
	}
	for _, r := range all {
		err := r.Usable()
		if end := r.Expires(); err == nil && end.Before(p.now().AddDate(0, 0, 30)) {
			err = fmt.Errorf("its certificate ends on %s", end.Format(time.DateOnly))
		}
		add("recipient "+r.Name, r.URL, err, "enrol again: obdgate-collector keys, then obdgate recipient add --replace")
	}
}
